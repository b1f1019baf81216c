//! Killed at every system call of a start, or failed at some, then started again.

use std::path::Path;

use super::{assert_sound, comparable, image, killed_first_start, tamper};
use crate::harness::{CONF, CONTENT, SEAL, calls_of, for_each, kill_points, name_of, sandbox_test};

// Promise 3: a kill at any instant of the first start leaves no seal, and the next start repairs
// everything; or a seal that matches.
sandbox_test!(
    promise_3_a_first_start_can_be_killed_at_every_system_call,
    strace,
    |golden| {
        image(&golden);
        let before = golden.tree();
        let points = kill_points(&calls_of(&golden));
        let after = comparable(golden.tree());
        assert!(
            points.len() > 50,
            "a first start makes more system calls than {}",
            points.len()
        );

        for_each(&points, |(name, nth)| {
            let at = format!("killed on entry to {name} number {nth}");
            let sandbox = golden.another();
            image(&sandbox);
            let sealed = killed_first_start(&sandbox, (name, *nth), &at, (&before, &after));
            let next = sandbox.start().success();
            assert_eq!(next.stdout, "ran\n", "{at}");
            let expected = if sealed {
                &["verified"][..]
            } else {
                &["sealed", "resumed"]
            };
            assert!(
                expected.contains(&next.state().as_str()),
                "{at}, sealed: {sealed}\n{next:?}"
            );
            after.assert_equals(&comparable(sandbox.tree()));
            assert!(sandbox.object(SEAL).starts_with("file 0400 0:0 "), "{at}");
        });
    }
);

// The same for a restore, the only later start that writes.
sandbox_test!(
    a_restoring_start_can_be_killed_at_every_system_call,
    strace,
    |golden| {
        image(&golden);
        let _ = golden.start().success();
        let after = comparable(golden.tree());
        tamper(&golden);
        let before = comparable(golden.tree());
        let calls = calls_of(&golden);
        after.assert_equals(&comparable(golden.tree()));
        let points = kill_points(&calls);

        for_each(&points, |(name, nth)| {
            let at = format!("killed on entry to {name} number {nth}");
            let sandbox = golden.another();
            image(&sandbox);
            let _ = sandbox.start().success();
            tamper(&sandbox);
            let killed = sandbox.launch().killed_at(name, *nth).output();
            assert_eq!(
                String::from_utf8_lossy(&killed.stdout),
                "",
                "{at}: the service ran"
            );
            assert_sound(&comparable(sandbox.tree()), &before, &after);

            let next = sandbox.start().success();
            assert!(
                ["restored", "verified"].contains(&next.state().as_str()),
                "{at}\n{next:?}"
            );
            after.assert_equals(&comparable(sandbox.tree()));
        });
    }
);

// Promise 3, an I/O error: the first and the last call of each kind that writes fails.
sandbox_test!(
    promise_3_a_write_that_fails_leaves_no_seal_and_the_next_start_repairs_it,
    strace,
    |golden| {
        image(&golden);
        let calls = calls_of(&golden);
        let after = comparable(golden.tree());
        let mut faults = Vec::new();
        for (name, errno) in [
            ("write", "ENOSPC"),
            ("write", "EIO"),
            ("fsync", "EIO"),
            ("fchown", "EPERM"),
            ("fchmod", "EPERM"),
            ("mkdirat", "ENOSPC"),
            ("renameat", "EXDEV"),
            ("unlinkat", "EIO"),
        ] {
            // Not the log: a start runs even if its log cannot be written.
            let made: Vec<usize> = calls
                .iter()
                .filter(|call| name_of(call) == name)
                .zip(1..)
                .filter(|(call, _)| !call.starts_with("write(2"))
                .map(|(_, nth)| nth)
                .collect();
            assert!(!made.is_empty(), "a first start makes no {name}");
            faults.extend([made[0], *made.last().unwrap()].map(|nth| (name, errno, nth)));
        }

        for_each(&faults, |(name, errno, nth)| {
            let at = format!("{errno} from {name} number {nth}");
            let sandbox = golden.another();
            image(&sandbox);
            let start = sandbox.launch().failing_at(name, errno, *nth).start();
            let code = start.exit_code();
            if code == 0 {
                // Allowed only for the removal of the journal beside a finished seal.
                let _ = start.success();
                assert!(sandbox.exists(SEAL), "{at}");
            } else {
                assert!([73, 74].contains(&code), "{at}\n{start:?}");
                let failed = start.failed(code, "cannot ");
                assert_eq!(failed.errors().len(), 1, "{at}\n{failed:?}");
            }
            let _ = sandbox.start().success();
            after.assert_equals(&comparable(sandbox.tree()));
        });
    }
);

// A driver that reports a write that it has not done: the hash covers the content on disk.
sandbox_test!(
    promise_1_a_write_that_did_not_happen_is_not_sealed,
    strace,
    |sandbox| {
        sandbox.one_file(&["echo", "ran"]);
        let twin = sandbox.another();
        twin.one_file(&["echo", "ran"]);
        let calls = calls_of(&twin);
        let nth = calls
            .iter()
            .filter(|call| name_of(call) == "write")
            .position(|call| call.contains("debug = false"))
            .expect("the content is written by write(2)");
        let lying = sandbox.launch().lying_at("write", CONTENT.len(), nth + 1);
        let start = lying.start();
        start.failed(74, CONF);
        assert!(!sandbox.exists(SEAL));
        assert_eq!(sandbox.start().success().state(), "resumed");
    }
);

// Promise 3, a power cut: everything sealed is on the disk before the seal is. Here the system
// calls show that it was requested in this order; the power cut tests show that it is.
sandbox_test!(
    promise_3_everything_is_synced_before_the_seal_appears,
    strace,
    |sandbox| {
        image(&sandbox);
        let calls = calls_of(&sandbox);
        let quoted = |call: &str, nth: usize| {
            call.split('"')
                .nth(2 * nth + 1)
                .unwrap_or_default()
                .to_owned()
        };
        let directory_of =
            |call: &str| call.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
        let is_rename =
            |call: &&String| name_of(call).starts_with("rename") && call.ends_with("= 0");
        let sealed = calls
            .iter()
            .position(|call| is_rename(&call) && quoted(call, 1) == "seal")
            .expect("the seal is renamed into place");
        let synced = |path: &str, from: usize, to: usize| {
            calls[from..to].iter().any(|call| {
                call.starts_with("fsync(") && directory_of(call) == path && call.ends_with("= 0")
            })
        };
        let mut installed = 0;
        for (at, call) in calls.iter().enumerate() {
            let name = name_of(call);
            if !call.ends_with("= 0") {
                continue;
            }
            let directory = directory_of(call);
            let entry = Path::new(&directory).join(quoted(call, 0));
            let entry = entry.to_str().unwrap();
            match name {
                "renameat" | "renameat2" => {
                    installed += 1;
                    // After its last change, and before it gets its name.
                    let changed = calls[..at].iter().rposition(|call| {
                        ["write", "fchown", "fchmod"].contains(&name_of(call))
                            && directory_of(call) == entry
                    });
                    assert!(
                        synced(entry, changed.unwrap_or(0), at),
                        "{entry} is not synced before\n{call}"
                    );
                    if at < sealed {
                        assert!(
                            synced(&directory, at, sealed),
                            "{directory} is not synced between the seal and\n{call}"
                        );
                    }
                }
                "mkdirat" | "unlinkat" if at < sealed => {
                    let removed_itself = calls[at..sealed].iter().any(|call| {
                        name_of(call) == "unlinkat" && directory.ends_with(&quoted(call, 0))
                    });
                    assert!(
                        removed_itself || synced(&directory, at, sealed),
                        "{directory} is not synced between the seal and\n{call}"
                    );
                }
                _ => {}
            }
        }
        // Three files and two below a directory, the journal, and the seal.
        assert_eq!(
            installed,
            7,
            "{}",
            calls
                .iter()
                .filter(is_rename)
                .cloned()
                .collect::<Vec<_>>()
                .join("\n")
        );
        assert!(
            synced("/var/lib/sealinit", sealed, calls.len()),
            "the seal's own name is not synced before the service runs"
        );
    }
);
