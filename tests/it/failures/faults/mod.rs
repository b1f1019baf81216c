//! Failed at every system call, with every error that its manual page names.
//!
//! Equal calls are one *site*: the same name with the same files and flags. Of each site the first
//! and the last call fails with every error, and the middle one with one of them. That reaches one
//! directory in preflight, verification and installation and leaves out the tenth look at it: all
//! calls times all errors take five times as long and reach no other line of the code. The outcomes
//! are a table for each kind of start, `target/*/tmp/faults-*.txt`.

mod sites;
mod table;

use sites::{Fault, faults};
use table::Table;

use std::sync::Mutex;

use super::{comparable, image, image_with_many, tamper};
use crate::harness::{
    Outcome, SEAL, Sandbox, Start, Tree, calls_of, name_of, sandbox_test, writes,
};

/// An undisturbed start.
struct Golden<'a> {
    calls: &'a [String],
    after: Tree,
    /// The first call that changes the disk.
    first_write: usize,
    /// The call that puts the seal in its place.
    commit: usize,
}

impl<'a> Golden<'a> {
    fn new(calls: &'a [String], after: Tree) -> Self {
        // Calls on the disk, not on the log or a pipe.
        let on_disk =
            |call: &String| writes(call) && !call.contains("<pipe:") && call.contains('<');
        let first_write = calls
            .iter()
            .position(|call| on_disk(call) && name_of(call) != "fsync")
            .unwrap_or(calls.len());
        let is_commit = |call: &String| name_of(call) == "renameat" && call.contains("\"seal\"");
        let commit = calls.iter().position(is_commit).unwrap_or(calls.len());
        Self {
            calls,
            after,
            first_write,
            commit,
        }
    }
}

/// A failed exec, the last call of all: the summary has been written by then and is the only one.
fn not_executed(start: Start) -> Outcome {
    let outcome = start.code(126);
    assert_eq!(outcome.stdout, "", "the service ran\n{outcome:?}");
    let summaries = outcome
        .stderr
        .lines()
        .filter(|line| line.contains(" state="))
        .count();
    assert_eq!(
        summaries, 1,
        "every start has exactly one summary line\n{outcome:?}"
    );
    outcome
}

/// Runs a start with one failing call, and then the next start. Returns the outcome in a word.
fn outcome(sandbox: &Sandbox, fault: &Fault<'_>, golden: &Golden<'_>) -> String {
    let at = fault.describe();
    let start = fault.start(sandbox);
    let code = start.one_of(&[0, 66, 67, 73, 74, 77, 78, 80, 126, 127]);
    let word = if code == 0 {
        // A start runs even if its log cannot be written, and then there is no summary.
        let is_log = fault.call.starts_with("write(2<");
        let ran = if is_log {
            start.code(0)
        } else {
            start.success()
        };
        assert_eq!(ran.stdout, "ran\n", "{at}");
        // The result is that of an undisturbed start.
        golden.after.assert_equals(&comparable(
            sandbox.tree().without(&["/var/lib/sealinit/journal"]),
        ));
        "ran".to_owned()
    } else {
        let reason = fault.reason(&start);
        let failed = match name_of(fault.call) {
            "execve" => not_executed(start),
            _ if fault.at < golden.first_write => start.refused(code, reason),
            _ => start.failed(code, reason),
        };
        assert_eq!(
            failed.errors().len(),
            1,
            "one failure, one line: {at}\n{failed:?}"
        );
        let error = failed.errors()[0];
        assert!(
            error.contains("cannot ") || code == 126,
            "the line names no act: {at}\n{failed:?}"
        );
        assert!(
            error.contains(reason),
            "the line does not say why: {at}\n{failed:?}"
        );
        if let Some(path) = fault.path() {
            // The walker of the sources does not report which of its directories could not be
            // listed.
            let listed =
                name_of(fault.call) == "getdents64" && path.starts_with("/etc/sealinit/tree");
            let named = error.contains(&path) || listed && error.contains("/etc/sealinit/tree");
            assert!(named, "the line does not name {path}: {at}\n{failed:?}");
        }
        code.to_string()
    };
    assert!(
        fault.errno != "EINTR" || code == 0,
        "an interrupted call is to be made again: {at}\n{word}"
    );
    let sealed = sandbox.exists(SEAL);
    // The seal exists from its rename on, and not before.
    assert!(
        code == 0 || fault.at > golden.commit || !sealed,
        "there is a seal: {at}"
    );

    let next = sandbox.start().success();
    assert_eq!(next.stdout, "ran\n", "{at}");
    let states = if sealed {
        &["verified"][..]
    } else {
        &["sealed", "resumed"]
    };
    assert!(states.contains(&next.state().as_str()), "{at}\n{next:?}");
    golden.after.assert_equals(&comparable(sandbox.tree()));
    word
}

// Promise 3: an I/O error or a full disk at any instant of the first start leaves no seal, and the
// next start repairs everything.
sandbox_test!(
    promise_3_each_call_of_a_first_start_can_fail,
    strace,
    |original| {
        image(&original);
        let calls = calls_of(&original);
        let golden = Golden::new(&calls, comparable(original.tree()));
        let faults = faults(golden.calls);
        assert!(
            faults.len() > 500,
            "only {} failures of a first start",
            faults.len()
        );
        let table = Table::default();
        table.fill("first-start", &faults, |fault| {
            let sandbox = original.another();
            image(&sandbox);
            (
                name_of(fault.call).into(),
                fault.errno.into(),
                outcome(&sandbox, fault, &golden),
            )
        });

        let words = |call, error| {
            table
                .outcomes(call, error)
                .into_iter()
                .collect::<Vec<_>>()
                .join(" ")
        };
        for (call, error, expected) in [
            ("write", "ENOSPC", "73 74 ran"), // ran: the log
            ("fsync", "EIO", "73 74 ran"),    // ran: the journal's directory, after the seal
            ("renameat", "EXDEV", "73 74"),
            ("mkdirat", "EROFS", "73 74"),
            ("fchmod", "EPERM", "73 74"),
            ("setresuid", "EPERM", "77"),
            ("setgroups", "EPERM", "77 ran"), // ran: to look with the eyes of the service, before anything is done
            ("capset", "EPERM", "77"),
            ("execve", "EIO", "126"),
            ("close_range", "ENOSYS", "ran"),
            ("read", "EINTR", "ran"),
        ] {
            assert_eq!(words(call, error), expected, "{error} from {call}");
        }
    }
);

// The same of a start that syncs whole file systems, at the calls that the one above does not make.
sandbox_test!(
    promise_3_each_call_of_a_first_start_with_many_files_can_fail,
    strace,
    |original| {
        image_with_many(&original);
        let calls = calls_of(&original);
        let golden = Golden::new(&calls, comparable(original.tree()));
        let mut faults = faults(golden.calls);
        faults.retain(|fault| {
            ["fstatfs", "fsync", "syncfs"].contains(&name_of(fault.call))
                || fault.call.contains("/tree/many/07")
                || fault.call.contains("/tree/many>")
        });
        assert!(faults.len() > 50, "only {} failures", faults.len());
        let table = Table::default();
        table.fill("first-start-many", &faults, |fault| {
            let sandbox = original.another();
            image_with_many(&sandbox);
            (
                name_of(fault.call).into(),
                fault.errno.into(),
                outcome(&sandbox, fault, &golden),
            )
        });
        // The first of these calls only finds out whether there is such a call.
        for (error, expected) in [("EIO", &["73", "ran"][..]), ("EINTR", &["ran"])] {
            let outcomes: Vec<_> = table.outcomes("syncfs", error).into_iter().collect();
            assert_eq!(outcomes, expected, "{error} from syncfs");
        }
    }
);

// An old system call stands in for a missing new one: seccomp profiles return EPERM, kernels and
// sandboxes ENOSYS or EINVAL.
sandbox_test!(
    a_start_works_without_calls_that_a_profile_or_sandbox_refuses,
    strace,
    |original| {
        image(&original);
        let calls = calls_of(&original);
        let after = comparable(original.tree());
        // PR_CAP_AMBIENT is from Linux 4.3, and gVisor did not have it for long: a set that does
        // not exist need not be emptied.
        let ambient = calls
            .iter()
            .filter(|call| name_of(call) == "prctl")
            .position(|call| call.contains("CLEAR_ALL"));
        let ambient = format!(
            "prctl:error=EINVAL:when={}",
            ambient.expect("the ambient set is cleared") + 1
        );
        let every = |name: &str, errno: &str| format!("{name}:error={errno}");
        let mut missing = vec![ambient];
        for name in [
            "close_range",
            "fstatfs",
            "prlimit64",
            "rseq",
            "set_robust_list",
            "statx",
        ] {
            missing.extend([every(name, "ENOSYS"), every(name, "EPERM")]);
        }
        missing.push(every("faccessat2", "ENOSYS"));
        let table = Table::default();
        table.fill("missing", &missing, |missing| {
            let sandbox = original.another();
            image(&sandbox);
            let name = missing.split(':').next().unwrap();
            let effect = missing.split_once(':').unwrap().1;
            let ran = sandbox.launch().inject(name, effect).start().success();
            assert_eq!(
                (ran.stdout.as_str(), ran.summarised("lock").as_str()),
                ("ran\n", "full"),
                "{missing}"
            );
            after.assert_equals(&comparable(sandbox.tree()));
            assert_eq!(sandbox.start().success().state(), "verified", "{missing}");
            (
                name.into(),
                missing.split(['=', ':']).nth(2).unwrap().into(),
                "ran".into(),
            )
        });
    }
);

// Each write of content, journal and seal once reports ten written bytes and writes none.
sandbox_test!(
    promise_1_a_short_write_that_did_not_happen_is_not_sealed,
    strace,
    |original| {
        image(&original);
        let calls = calls_of(&original);
        let after = comparable(original.tree());
        let made: Vec<(usize, &String)> = (1..)
            .zip(calls.iter().filter(|call| name_of(call) == "write"))
            .collect();
        assert!(made.len() > 6, "{made:?}");
        let table = Table::default();
        table.fill("lying-writes", &made, |(nth, call)| {
            let sandbox = original.another();
            image(&sandbox);
            let length: usize = call.rsplit(' ').next().unwrap().parse().unwrap();
            let lying = sandbox.launch().lying_at("write", length.min(10), *nth);
            let start = lying.start();
            let code = start.exit_code();
            if code == 0 {
                // Only a write of the log.
                assert_eq!(start.code(0).stdout, "ran\n", "{call}");
            } else {
                assert!([73, 74].contains(&code), "exit code {code}: {call}");
                let compared = "content: expected ";
                let reason = if start.log().contains(compared) {
                    compared
                } else {
                    "the disk holds other content than was written"
                };
                let failed = start.failed(code, reason);
                assert_eq!(failed.errors().len(), 1, "{call}\n{failed:?}");
                assert!(
                    !sandbox.exists(SEAL),
                    "what was not written is sealed: {call}"
                );
            }
            let next = sandbox.start().success();
            let states = if code == 0 {
                &["verified"][..]
            } else {
                &["sealed", "resumed"]
            };
            assert!(states.contains(&next.state().as_str()), "{call}\n{next:?}");
            after.assert_equals(&comparable(sandbox.tree()));
            let what = call.split(['<', '>']).nth(1).unwrap();
            let what = if what.starts_with("pipe") {
                "log"
            } else {
                what
            };
            (
                format!("write {what}"),
                "lies".into(),
                if code == 0 {
                    "ran".into()
                } else {
                    code.to_string()
                },
            )
        });
    }
);

// A later start changes nothing if a call fails: an entry that could not be read is neither
// verified nor drift.
sandbox_test!(each_call_of_a_later_start_can_fail, strace, |sandbox| {
    image(&sandbox);
    let _ = sandbox.start().success();
    let calls = calls_of(&sandbox);
    // Every start is of the same disk, since none may change it.
    let faults = faults(&calls);
    let table = Table::default();
    let fresh = || {
        let disk = sandbox.another();
        image(&disk);
        let _ = disk.start().success();
        disk
    };
    let disks: Mutex<Vec<Sandbox>> = Mutex::default();
    table.fill("later-start", &faults, |fault| {
        let disk = disks.lock().unwrap().pop();
        let disk = disk.unwrap_or_else(fresh);
        let at = fault.describe();
        let start = fault.start(&disk);
        start.untouched();
        let code = start.exit_code();
        let outcome = match code {
            0 if fault.call.starts_with("write(2<") => start.code(0),
            0 => start.success(),
            126 => not_executed(start),
            // 73 if not even the root directory can be opened.
            73 | 74 | 77 => {
                let reason = fault.reason(&start);
                start.failed(code, reason)
            }
            _ => panic!("{at}\n{:?}", start.code(0)),
        };
        disks.lock().unwrap().push(disk);
        if code == 0 {
            assert_eq!(outcome.stdout, "ran\n", "{at}");
        } else {
            assert_eq!(outcome.errors().len(), 1, "{at}\n{outcome:?}");
        }
        assert!(
            fault.errno != "EINTR" || code == 0,
            "an interrupted call is to be made again: {at}\n{outcome:?}"
        );
        (
            name_of(fault.call).into(),
            fault.errno.into(),
            if code == 0 {
                "ran".into()
            } else {
                code.to_string()
            },
        )
    });
    for disk in disks.into_inner().unwrap() {
        assert_eq!(disk.start().success().state(), "verified");
    }
});

// A restore that fails has not run the service, and the next start completes it.
sandbox_test!(
    each_call_of_a_restoring_start_can_fail,
    strace,
    |original| {
        image(&original);
        let _ = original.start().success();
        let after = comparable(original.tree());
        tamper(&original);
        let calls = calls_of(&original);
        after.assert_equals(&comparable(original.tree()));
        let mut faults = faults(&calls);
        // Reading is the same as in a later start; here the calls that write, and the reads with
        // two errors.
        faults.retain(|fault| {
            writes(fault.call)
                || ["EIO", "EINTR"].contains(&fault.errno) && name_of(fault.call) == "read"
        });
        let table = Table::default();
        table.fill("restore", &faults, |fault| {
            let sandbox = original.another();
            image(&sandbox);
            let _ = sandbox.start().success();
            tamper(&sandbox);
            let at = fault.describe();
            let start = fault.start(&sandbox);
            let code = start.exit_code();
            if code == 0 {
                let ran = if fault.call.starts_with("write(2<") {
                    start.code(0)
                } else {
                    start.success()
                };
                assert_eq!(ran.stdout, "ran\n", "{at}");
                after.assert_equals(&comparable(sandbox.tree()));
            } else {
                assert!(
                    [66, 73, 74, 77, 80].contains(&code),
                    "exit code {code}: {at}"
                );
                // A source that cannot be read is not restored from, and the drift remains.
                let reason = match code {
                    80 => "cannot restore ",
                    _ => fault.reason(&start),
                };
                let failed = start.failed(code, reason);
                assert!(!failed.errors().is_empty(), "{at}\n{failed:?}");
            }
            assert!(
                fault.errno != "EINTR" || code == 0,
                "an interrupted call is to be made again: {at}"
            );
            let next = sandbox.start().success();
            assert!(
                ["restored", "verified"].contains(&next.state().as_str()),
                "{at}\n{next:?}"
            );
            after.assert_equals(&comparable(sandbox.tree()));
            (
                name_of(fault.call).into(),
                fault.errno.into(),
                if code == 0 {
                    "ran".into()
                } else {
                    code.to_string()
                },
            )
        });
    }
);
