//! Killed at every system call of a start, failed by the kernel at some, then started again.
//!
//! strace stands in front of sealinit, which stays PID 1 (`-D`), and has the kernel kill it on entry to the chosen call. Which calls
//! there are is read from an undisturbed start, so nothing here has to be kept in step with the code.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::Path;
use std::sync::Mutex;
use std::{fs, thread};

use serde_json::json;

use crate::sandbox::{
    APP, CONF, CONTENT, JOURNAL, Launch, Object, SEAL, Sandbox, Tree, has_program, is_temporary,
    skip,
};

/// In the sandbox; the harness keeps this directory out of all comparisons.
pub(crate) const TRACE: &str = "/trace/log";

/// An image in which a first start has something of every sort to do.
pub(crate) fn image(sandbox: &Sandbox) {
    sandbox
        .manifest(&json!({
            "version": 1,
            "service": {"user": "app", "command": ["echo", "ran"]},
            "files": [
                {"source": "app.conf", "dest": CONF},
                {"content": "secret\n", "dest": "/etc/app/key.pem", "mode": "0400", "secret": true},
                {"source": "gone", "dest": "/etc/app/optional.conf", "optional": true},
                {"content": "seed\n", "dest": "/srv/data/state", "owner": "app", "mode": "0600", "mutable": true},
            ],
            "directories": [
                {"path": "/etc/app/tree", "source": "tree", "exact": true},
                {"path": "/srv/data"},
                {"path": "/srv/old", "recursive": true},
            ],
            "absent": ["/etc/app/default.conf", "/etc/app/conf.d"],
            "on_drift": "restore",
        }))
        .source("app.conf", CONTENT)
        .source("tree/a", "a\n")
        .source("tree/sub/b", "b\n")
        .file(CONF, "the image's\n")
        .file("/etc/app/optional.conf", "the image's\n")
        .file("/etc/app/default.conf", "the image's\n")
        .file("/etc/app/conf.d/sub/file", "the image's\n")
        .file("/etc/app/tree/extra/file", "the image's\n")
        .file("/srv/old/sub/file", "the image's\n")
        .mode("/srv/old", 0o700);
}

/// What the image of [`image`] is drifted to after its first start.
pub(crate) fn tamper(sandbox: &Sandbox) {
    sandbox
        .file(CONF, "tampered\n")
        .mode("/etc/app/key.pem", 0o600)
        .remove("/etc/app/tree/sub")
        .file("/etc/app/tree/extra", "")
        .file("/etc/app/default.conf", "")
        .owner("/srv/data", 0, 0);
}

pub(crate) fn strace<'a>(launch: Launch<'a>, options: &[&str]) -> Launch<'a> {
    launch.wrapper(["strace", "-D"]).wrapper(options)
}

/// A start that is killed on entry to the `nth` system call of this name.
pub(crate) fn killed<'a>(sandbox: &'a Sandbox, call: &str, nth: usize) -> Launch<'a> {
    let (trace, inject) = (
        format!("trace={call}"),
        format!("inject={call}:signal=KILL:when={nth}"),
    );
    strace(
        sandbox.launch(),
        &["-o", "/dev/null", "-e", &trace, "-e", &inject],
    )
}

/// The system calls of a start up to the exec of the service, in order; `-y` has named the files.
pub(crate) fn calls_of(sandbox: &Sandbox) -> Vec<String> {
    let traced = strace(sandbox.launch(), &["-y", "-s", "256", "-o", TRACE]).output();
    assert_eq!(
        String::from_utf8_lossy(&traced.stdout),
        "ran\n",
        "{traced:?}"
    );
    let trace = fs::read_to_string(sandbox.path(TRACE)).unwrap();
    let mut calls: Vec<String> = trace
        .lines()
        .filter(|line| line.contains('(') && !line.starts_with(['-', '+']))
        .map(Into::into)
        .collect();
    // The last exec that succeeded is the service's.
    let exec = calls
        .iter()
        .rposition(|call| call.starts_with("execve(") && call.ends_with("= 0"))
        .unwrap();
    calls.truncate(exec + 1);
    calls
}

pub(crate) fn name_of(call: &str) -> &str {
    call.split('(').next().unwrap_or_default()
}

/// Calls that leave the disk as they find it. To be killed on entry to one is to be killed on entry to the next that does not:
/// each state of the disk is tested once. A call that is not listed is taken for one that writes, and `umask` is left out on purpose:
/// it is called before all that writes and once more before the service's exec, the two ends that have to be among the points.
const LOOKS: [&str; 56] = [
    "access",
    "arch_prctl",
    "brk",
    "capget",
    "capset",
    "chdir",
    "close",
    "close_range",
    "execve",
    "faccessat",
    "faccessat2",
    "fcntl",
    "fstat",
    "fstatfs",
    "getcwd",
    "getdents64",
    "getegid",
    "geteuid",
    "getgroups",
    "getpid",
    "getrandom",
    "getresgid",
    "getresuid",
    "gettid",
    "getuid",
    "ioctl",
    "lseek",
    "madvise",
    "mmap",
    "mprotect",
    "mremap",
    "munmap",
    "newfstatat",
    "poll",
    "pread64",
    "prctl",
    "prlimit64",
    "read",
    "readlink",
    "readlinkat",
    "rseq",
    "rt_sigaction",
    "rt_sigprocmask",
    "sched_getaffinity",
    "set_robust_list",
    "set_tid_address",
    "setfsgid",
    "setfsuid",
    "setgid",
    "setgroups",
    "setresgid",
    "setresuid",
    "setuid",
    "sigaltstack",
    "stat",
    "statx",
];

pub(crate) fn writes(call: &str) -> bool {
    match name_of(call) {
        "open" | "openat" => call.contains("O_CREAT") || call.contains("O_TRUNC"),
        name => !LOOKS.contains(&name),
    }
}

/// Every point at which a start is to be killed: a call's name, and how often it was called before, plus one.
pub(crate) fn kill_points(calls: &[String]) -> Vec<(String, usize)> {
    let mut count = BTreeMap::new();
    let mut points = Vec::new();
    for call in calls {
        let nth = count.entry(name_of(call)).or_insert(0);
        *nth += 1;
        if writes(call) {
            points.push((name_of(call).to_owned(), *nth));
        }
    }
    points
}

/// Runs `test` for every item, on all processors.
pub(crate) fn for_each<T: Sync>(items: &[T], test: impl Fn(&T) + Sync) {
    let next = Mutex::new(items.iter());
    let workers = thread::available_parallelism().map_or(2, NonZero::get);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let Some(item) = next.lock().unwrap().next() else {
                        break;
                    };
                    test(item);
                }
            });
        }
    });
}

/// The tree without what two equal starts do not leave alike: the seal holds the time.
pub(crate) fn comparable(tree: Tree) -> Tree {
    tree.without(&[SEAL])
}

/// Promise 3: no half-written file is ever visible under its final name, and no file is ever more readable than its final mode.
pub(crate) fn assert_sound(now: &Tree, before: &Tree, after: &Tree) {
    for (path, object) in &now.0 {
        let is = format!("{} {object}", path.display());
        if path.starts_with("/var/lib/sealinit") {
            assert_eq!((object.mode & 0o077, object.uid), (0, 0), "{is}");
            continue;
        }
        let finals: Vec<&Object> = [before, after]
            .into_iter()
            .filter_map(|tree| tree.0.get(path))
            .collect();
        if is_temporary(path) {
            // It may have any of the final modes, but no content that is readable for others than will be.
            assert_eq!(object.mode & 0o007, 0, "{is}");
            assert!(object.mode & 0o070 == 0 || object.gid == APP, "{is}");
        } else if object.kind == "directory" {
            // It is made or taken over in steps, none of which opens it further than it was or will be.
            let widest = finals.iter().fold(0, |modes, object| modes | object.mode);
            assert!(
                !finals.is_empty() && object.mode & 0o077 & !widest == 0,
                "{is}"
            );
        } else {
            let sound = finals.iter().any(|expected| {
                // Given to another owner in place, and so in two steps: below a recursive directory.
                let given_away = path.starts_with("/srv/old");
                *expected == object
                    || (given_away
                        && (expected.mode, &expected.content) == (object.mode, &object.content))
            });
            assert!(sound, "neither the old nor the new one: {is}");
        }
    }
}

#[track_caller]
pub(crate) fn needs_strace() -> Option<Sandbox> {
    let sandbox = Sandbox::new()?;
    if !has_program("strace") {
        skip("needs strace");
        return None;
    }
    Some(sandbox)
}

/// Has a first start killed at a system call: the service has not run, and what is there is sound between how it was before and how it will be
/// after; if there is a seal, it is all there. Gives whether there is one.
pub(crate) fn killed_first_start(
    sandbox: &Sandbox,
    (call, nth): (&str, usize),
    at: &str,
    (before, after): (&Tree, &Tree),
) -> bool {
    let killed = killed(sandbox, call, nth).output();
    assert_eq!(
        String::from_utf8_lossy(&killed.stdout),
        "",
        "{at}: the service ran"
    );
    let now = sandbox.tree();
    assert_sound(&now, before, after);
    let sealed = sandbox.exists(SEAL);
    if sealed {
        after.assert_equals(&comparable(now.without(&[JOURNAL])));
    }
    sealed
}

/// Promise 3: a kill at any instant of the first start leaves no seal, and the next start repairs everything; or a seal that
/// matches.
#[test]
fn promise_3_a_first_start_can_be_killed_at_every_system_call() {
    let Some(golden) = needs_strace() else { return };
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

/// The same for the one later start that writes.
#[test]
fn a_restoring_start_can_be_killed_at_every_system_call() {
    let Some(golden) = needs_strace() else { return };
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
        let killed = killed(&sandbox, name, *nth).output();
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

/// Promise 3, an I/O error: each call that writes is made to fail, the first and the last time it is made.
#[test]
fn promise_3_a_write_that_fails_leaves_no_seal_and_the_next_start_repairs_it() {
    let Some(golden) = needs_strace() else { return };
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
        // Not what ends the log: a log that cannot be written is no reason not to run.
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
        let (trace, inject) = (
            format!("trace={name}"),
            format!("inject={name}:error={errno}:when={nth}"),
        );
        let start = strace(
            sandbox.launch(),
            &["-o", "/dev/null", "-e", &trace, "-e", &inject],
        )
        .start();
        let code = start.exit_code();
        if code == 0 {
            // Allowed only where nothing is lost by it: the journal beside a finished seal.
            let _ = start.success();
            assert!(sandbox.exists(SEAL), "{at}");
        } else {
            assert!([73, 74].contains(&code), "{at}\n{start:?}");
            let failed = start.failed(code, "");
            assert_eq!(failed.errors().len(), 1, "{at}\n{failed:?}");
        }
        let _ = sandbox.start().success();
        after.assert_equals(&comparable(sandbox.tree()));
    });
}

/// A driver that says it has written what it has not: what is hashed is what is on the disk, never what was meant.
#[test]
fn promise_1_a_write_that_lied_is_not_sealed() {
    let Some(sandbox) = needs_strace() else {
        return;
    };
    sandbox.one_file(&["echo", "ran"]);
    let twin = sandbox.another();
    twin.one_file(&["echo", "ran"]);
    let calls = calls_of(&twin);
    let nth = calls
        .iter()
        .filter(|call| name_of(call) == "write")
        .position(|call| call.contains("debug = false"))
        .expect("the content is written by write(2)");
    let inject = format!("inject=write:retval={}:when={}", CONTENT.len(), nth + 1);
    let start = strace(
        sandbox.launch(),
        &["-o", "/dev/null", "-e", "trace=write", "-e", &inject],
    )
    .start();
    start.failed(74, CONF);
    assert!(!sandbox.exists(SEAL));
    assert_eq!(sandbox.start().success().state(), "resumed");
}

/// Promise 3, a power cut: what the seal vouches for must be on the disk before the seal is. Whether it is, no test without a
/// disk of its own can see; that it was asked for, in this order, the system calls show.
#[test]
fn promise_3_everything_is_synced_before_the_seal_appears() {
    let Some(sandbox) = needs_strace() else {
        return;
    };
    image(&sandbox);
    let calls = calls_of(&sandbox);
    let quoted = |call: &str, nth: usize| {
        call.split('"')
            .nth(2 * nth + 1)
            .unwrap_or_default()
            .to_owned()
    };
    let directory_of = |call: &str| call.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
    let is_rename = |call: &&String| name_of(call).starts_with("rename") && call.ends_with("= 0");
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
