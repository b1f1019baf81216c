//! Failed at every system call: what a disk, a quota, a mount or a sandbox can answer instead of doing what it was asked to.
//!
//! Which calls there are is read from an undisturbed start (see [`crash`](crate::crash)). Equal calls are one *site*: the same name
//! with the same files and flags. Of each site the first and the last call is failed with every error, and the middle one with one
//! of them. That reaches one directory in preflight, verification and installation and leaves out the tenth look at it: all calls
//! times all errors take five times as long and reach no other line of the code. What came of it is a table for each kind of start,
//! `target/*/tmp/faults-*.txt`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;

use crate::crash::{
    TRACE, calls_of, comparable, for_each, image, name_of, needs_strace, strace, tamper, writes,
};
use crate::sandbox::{Outcome, SEAL, Sandbox, Start, Tree};

/// What each call can answer in life, in the words of its manual page. A call that is not listed cannot fail, or (`brk`, `mmap`)
/// can do so only before `main`.
const ERRORS: [(&str, &[&str]); 23] = [
    ("capget", &["EPERM"]),
    ("capset", &["EPERM"]),
    ("close", &["EDQUOT", "EINTR", "EIO", "ENOSPC"]), // what a network file system writes back then
    ("close_range", &["EINVAL", "ENOSYS", "EPERM"]),
    ("execve", &["EACCES", "EAGAIN", "EIO", "EPERM"]),
    ("faccessat2", &["EACCES", "EIO", "EROFS"]),
    ("fchmod", &["EIO", "EPERM", "EROFS"]),
    ("fchown", &["EDQUOT", "EIO", "EPERM", "EROFS"]),
    ("fchownat", &["EDQUOT", "EIO", "EPERM", "EROFS"]),
    ("flock", &["EINTR", "ENOLCK"]),
    ("fstat", &["EIO"]),
    ("fstatfs", &["EINTR", "EIO", "ENOSYS"]),
    ("fsync", &["EDQUOT", "EINTR", "EIO", "ENOSPC", "EROFS"]),
    ("getcwd", &["EACCES", "ENOENT"]),
    ("getrandom", &["EINTR"]),
    (
        "mkdirat",
        &["EACCES", "EDQUOT", "EIO", "ENOSPC", "EPERM", "EROFS"],
    ),
    ("newfstatat", &["EACCES", "EIO"]),
    ("read", &["EINTR", "EIO"]),
    ("readlinkat", &["EACCES", "EIO"]),
    (
        "renameat",
        &[
            "EACCES", "EBUSY", "EDQUOT", "EIO", "ENOSPC", "EPERM", "EROFS", "EXDEV",
        ],
    ),
    ("statx", &["EACCES", "EIO"]),
    ("unlinkat", &["EACCES", "EBUSY", "EIO", "EPERM", "EROFS"]),
    ("write", &["EDQUOT", "EINTR", "EIO", "ENOSPC", "EPERM"]),
];

fn errors_of(call: &str) -> Vec<&'static str> {
    let name = name_of(call);
    match name {
        "openat" | "open" if call.contains("O_CREAT") => {
            vec![
                "EACCES", "EDQUOT", "EINTR", "EIO", "EMFILE", "ENOSPC", "EPERM", "EROFS",
            ]
        }
        // The standard library's `read_dir`, which walks the sources, does not try again.
        "openat" | "open" if call.contains("O_DIRECTORY") && !call.contains("O_NOFOLLOW") => {
            vec!["EACCES", "EIO", "EMFILE"]
        }
        "openat" | "open" => vec!["EACCES", "EINTR", "EIO", "EMFILE"],
        // What was only read has nothing to write back.
        "close" if call.contains("</etc/sealinit/") || call.contains("</proc/") => vec!["EINTR"],
        // The kernel's own files are in memory.
        "getdents64" if !call.contains("</proc/") => vec!["EIO"],
        "fcntl" if call.contains("F_DUPFD") => vec!["EMFILE"],
        "setgroups" | "setresgid" | "setresuid" if call.ends_with("= 0") => {
            vec!["EAGAIN", "EINVAL", "EPERM"]
        }
        // Not EINVAL: that is what ends the list of capabilities, and that it does not end too early is proven afterwards.
        "prctl" if call.contains("PR_CAPBSET_DROP") => vec!["EPERM"],
        "prctl" if call.contains("PR_SET_") => vec!["EINVAL", "EPERM"],
        _ => ERRORS
            .iter()
            .find(|(known, _)| *known == name)
            .map_or_else(Vec::new, |(_, errors)| errors.to_vec()),
    }
}

/// What a message says of an error: glibc's words, musl's, or nix's, without the letter in which they differ.
fn words_of(errno: &str) -> &'static str {
    match errno {
        "EACCES" => "ermission denied",
        "EAGAIN" => "Try again|emporarily unavailable",
        "EBUSY" => "esource busy",
        "EDQUOT" => "uota exceeded",
        "EINTR" => "nterrupted system call",
        "EINVAL" => "nvalid argument",
        "EIO" => "/O error|nput/output error",
        "EMFILE" => "oo many open files|o file descriptors available",
        "ENOENT" => "o such file or directory",
        "ENOLCK" => "o locks available",
        "ENOSPC" => "o space left on device",
        "ENOSYS" => "unction not implemented",
        "EPERM" => "peration not permitted",
        "EROFS" => "ead-only file system",
        "EXDEV" => "ross-device link",
        other => panic!("{other} has no words here"),
    }
}

/// One call that is to fail.
struct Fault<'a> {
    /// As strace showed it in the undisturbed start.
    call: &'a str,
    /// How often this name was called before, plus one.
    nth: usize,
    /// Where it stands among all calls.
    at: usize,
    errno: &'static str,
}

impl Fault<'_> {
    fn describe(&self) -> String {
        format!(
            "{} from {} number {}, which is\n{}",
            self.errno,
            name_of(self.call),
            self.nth,
            self.call
        )
    }

    fn start(&self, sandbox: &Sandbox) -> Start {
        let (name, errno, nth) = (name_of(self.call), self.errno, self.nth);
        let (trace, inject) = (
            format!("trace={name}"),
            format!("inject={name}:error={errno}:when={nth}"),
        );
        let start = strace(
            sandbox.launch(),
            &["-y", "-s", "256", "-o", TRACE, "-e", &trace, "-e", &inject],
        )
        .start();
        // Starts are repeatable: the call that fails is the one that was chosen.
        let trace = fs::read_to_string(sandbox.path(TRACE)).unwrap();
        let injected: Vec<&str> = trace
            .lines()
            .filter(|line| line.ends_with("(INJECTED)"))
            .collect();
        assert_eq!(injected.len(), 1, "{}", self.describe());
        assert_eq!(site(injected[0]), site(self.call), "{}", self.describe());
        start
    }

    /// The file that the call is about, where it is one of the disk.
    fn path(&self) -> Option<String> {
        // Under its temporary name a file is nobody's concern: its directory is named.
        let is_temporary = |name: &str| {
            name.starts_with(".sealinit.") || name == "seal.new" || name == "journal.new"
        };
        let directory = self
            .call
            .split(['<', '>'])
            .nth(1)
            .filter(|path| path.starts_with('/'));
        let directory = directory.map(|path| match path.rsplit_once('/') {
            Some((directory, name)) if is_temporary(name) => directory,
            _ => path,
        });
        let name = takes_name(name_of(self.call))
            .then(|| self.call.split('"').nth(1))
            .flatten();
        let path = match (directory, name) {
            (_, Some(name)) if name.starts_with('/') => name.to_owned(),
            (Some(directory), Some("" | ".") | None) => directory.to_owned(),
            (Some(directory), Some(name)) if is_temporary(name) => directory.into(),
            (Some(directory), Some(name)) => Path::new(directory).join(name).to_str()?.to_owned(),
            (None, _) => return None,
        };
        (!path.starts_with("/proc") && !path.contains("pipe:") && path != "/dev/null")
            .then_some(path)
    }
}

fn takes_name(call: &str) -> bool {
    [
        "execve",
        "faccessat2",
        "mkdirat",
        "newfstatat",
        "open",
        "openat",
        "readlink",
        "readlinkat",
        "renameat",
        "statx",
        "unlinkat",
    ]
    .contains(&call)
}

/// What equal calls have in common: the name, the files and the flags.
fn site(call: &str) -> String {
    let name = name_of(call);
    // Not the result, which is another one when the call fails.
    let call = call.rsplit_once(" = ").map_or(call, |(call, _)| call);
    let mut site = name.to_owned();
    if name.starts_with("cap") {
        return site;
    }
    if name.starts_with("set") {
        // Ids are what these are about: to act as somebody for a while, to drop root, to try to get it back.
        return call.trim_end().to_owned();
    }
    let paths = call
        .split('<')
        .skip(1)
        .filter_map(|part| part.split('>').next());
    // The numbers of pipes are other ones at each start.
    for path in paths.filter(|path| path.starts_with('/')) {
        write!(site, " <{path}>").unwrap();
    }
    if takes_name(name) {
        let names = if name.starts_with("rename") { 2 } else { 1 };
        for quoted in call.split('"').skip(1).step_by(2).take(names) {
            write!(site, " {quoted:?}").unwrap();
        }
    }
    for word in call.split(|c: char| !c.is_ascii_uppercase() && c != '_') {
        if ["O_", "AT_", "F_", "PR_"]
            .iter()
            .any(|prefix| word.starts_with(prefix))
        {
            write!(site, " {word}").unwrap();
        }
    }
    site
}

/// The first and the last call of each site with each of its errors, and the middle one with one.
fn faults(calls: &[String]) -> Vec<Fault<'_>> {
    let mut counts = BTreeMap::new();
    let mut sites: BTreeMap<String, Vec<(usize, usize)>> = BTreeMap::new();
    // The first call is the exec of sealinit itself: strace does it, and does not count it.
    for (at, call) in calls.iter().enumerate().skip(1) {
        let nth = counts.entry(name_of(call)).or_insert(0);
        *nth += 1;
        sites.entry(site(call)).or_default().push((*nth, at));
    }
    let mut faults = Vec::new();
    for positions in sites.into_values() {
        let last = positions.len() - 1;
        let chosen: BTreeSet<usize> = [0, positions.len() / 2, last].into();
        for chosen in chosen {
            let (nth, at) = positions[chosen];
            let call = calls[at].as_str();
            let errors = errors_of(call)
                .into_iter()
                .take(if [0, last].contains(&chosen) {
                    usize::MAX
                } else {
                    1
                });
            faults.extend(errors.map(|errno| Fault {
                call,
                nth,
                at,
                errno,
            }));
        }
    }
    faults
}

/// Outcomes by call and error.
#[derive(Default)]
struct Table(Mutex<BTreeMap<(String, String), BTreeMap<String, usize>>>);

impl Table {
    /// Tests every item, on all processors, and publishes the table before it fails for those that were not as they must be.
    fn fill<T: Sync>(
        &self,
        name: &str,
        items: &[T],
        test: impl Fn(&T) -> (String, String, String) + Sync,
    ) {
        let failed = Mutex::new(0);
        for_each(items, |item| {
            match catch_unwind(AssertUnwindSafe(|| test(item))) {
                Ok((call, error, outcome)) => {
                    let mut rows = self.0.lock().unwrap();
                    *rows
                        .entry((call, error))
                        .or_default()
                        .entry(outcome)
                        .or_default() += 1;
                }
                // Its message was printed when it panicked.
                Err(_) => *failed.lock().unwrap() += 1,
            }
        });
        self.publish(name);
        let failed = failed.into_inner().unwrap();
        assert_eq!(
            failed,
            0,
            "{failed} of {} failures did not end as they must: see above",
            items.len()
        );
    }

    /// All outcomes of a call and an error.
    fn outcomes(&self, call: &str, error: &str) -> BTreeSet<String> {
        let rows = self.0.lock().unwrap();
        rows.get(&(call.into(), error.into()))
            .map_or_else(BTreeSet::new, |row| row.keys().cloned().collect())
    }

    /// Writes it where it can be read.
    fn publish(&self, name: &str) {
        let mut text = format!("{:<14} {:<10} outcome (how often)\n", "call", "error");
        for ((call, error), outcomes) in self.0.lock().unwrap().iter() {
            let outcomes: Vec<String> = outcomes
                .iter()
                .map(|(outcome, count)| format!("{outcome} ({count})"))
                .collect();
            writeln!(text, "{call:<14} {error:<10} {}", outcomes.join(", ")).unwrap();
        }
        fs::write(
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("faults-{name}.txt")),
            &text,
        )
        .unwrap();
    }
}

/// What an undisturbed start does.
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
        // Not what ends a log or gives away a pipe: it has to be on the disk.
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

/// The last thing of all that can fail: the summary has been written by then, and says what the configuration is. There is no second.
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

/// A start with one failing call, and then the next one. Gives the outcome in a word.
fn outcome(sandbox: &Sandbox, fault: &Fault<'_>, golden: &Golden<'_>) -> String {
    let at = fault.describe();
    let start = fault.start(sandbox);
    let code = start.one_of(&[0, 66, 67, 73, 74, 77, 78, 80, 126, 127]);
    let word = if code == 0 {
        // A log that cannot be written is no reason not to run, and then there is no summary to look at.
        let is_log = fault.call.starts_with("write(2<");
        let ran = if is_log {
            start.code(0)
        } else {
            start.success()
        };
        assert_eq!(ran.stdout, "ran\n", "{at}");
        // Success is success: the service has what it would have had.
        golden.after.assert_equals(&comparable(
            sandbox.tree().without(&["/var/lib/sealinit/journal"]),
        ));
        "ran".to_owned()
    } else {
        let failed = match name_of(fault.call) {
            "execve" => not_executed(start),
            _ if fault.at < golden.first_write => start.refused(code, ""),
            _ => start.failed(code, ""),
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
            words_of(fault.errno)
                .split('|')
                .any(|words| error.contains(words)),
            "the line does not say why: {at}\n{failed:?}"
        );
        if let Some(path) = fault.path() {
            // Which of its directories could not be listed, the walker of the sources does not tell.
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
    // Until it is renamed there is none, and once it is, what it seals is there.
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

/// Promise 3: an I/O error or a full disk at any instant of the first start leaves no seal, and the next start repairs everything.
#[test]
fn promise_3_each_call_of_a_first_start_can_fail() {
    let Some(original) = needs_strace() else {
        return;
    };
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

/// Where a new call is missing, an old one does: seccomp profiles answer EPERM, kernels and sandboxes ENOSYS or EINVAL.
#[test]
fn a_call_that_a_profile_or_sandbox_lacks_is_done_without() {
    let Some(original) = needs_strace() else {
        return;
    };
    image(&original);
    let calls = calls_of(&original);
    let after = comparable(original.tree());
    // PR_CAP_AMBIENT is from Linux 4.3, and gVisor had none for long: what does not exist needs not to be emptied.
    let ambient = calls
        .iter()
        .filter(|call| name_of(call) == "prctl")
        .position(|call| call.contains("CLEAR_ALL"));
    let ambient = format!(
        "prctl:error=EINVAL:when={}",
        ambient.expect("the ambient set is cleared") + 1
    );
    let every = |name: &str, errno: &str| format!("{name}:error={errno}");
    let mut lacking = vec![ambient];
    for name in [
        "close_range",
        "fstatfs",
        "prlimit64",
        "rseq",
        "set_robust_list",
        "statx",
    ] {
        lacking.extend([every(name, "ENOSYS"), every(name, "EPERM")]);
    }
    lacking.push(every("faccessat2", "ENOSYS"));
    let table = Table::default();
    table.fill("lacking", &lacking, |lacking| {
        let sandbox = original.another();
        image(&sandbox);
        let name = lacking.split(':').next().unwrap();
        let (trace, inject) = (format!("trace={name}"), format!("inject={lacking}"));
        let ran = strace(
            sandbox.launch(),
            &["-o", "/dev/null", "-e", &trace, "-e", &inject],
        )
        .start()
        .success();
        assert_eq!(
            (ran.stdout.as_str(), ran.summarised("lock").as_str()),
            ("ran\n", "full"),
            "{lacking}"
        );
        after.assert_equals(&comparable(sandbox.tree()));
        assert_eq!(sandbox.start().success().state(), "verified", "{lacking}");
        (
            name.into(),
            lacking.split(['=', ':']).nth(2).unwrap().into(),
            "ran".into(),
        )
    });
}

/// A write that says it has written ten bytes and has written none: every one, of content, journal and seal. What is not on the
/// disk is not vouched for.
#[test]
fn promise_1_a_write_that_lies_short_is_never_sealed() {
    let Some(original) = needs_strace() else {
        return;
    };
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
        let inject = format!("inject=write:retval={}:when={nth}", length.min(10));
        let start = strace(
            sandbox.launch(),
            &["-o", "/dev/null", "-e", "trace=write", "-e", &inject],
        )
        .start();
        let code = start.exit_code();
        if code == 0 {
            // Its own log only.
            assert_eq!(start.code(0).stdout, "ran\n", "{call}");
        } else {
            assert!([73, 74].contains(&code), "exit code {code}: {call}");
            let failed = start.failed(code, "");
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

/// A later start changes nothing, whatever fails: what could not be looked at is neither verified nor drift.
#[test]
fn each_call_of_a_later_start_can_fail() {
    let Some(sandbox) = needs_strace() else {
        return;
    };
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
            // 73 where not even the root directory can be opened.
            73 | 74 | 77 => start.failed(code, ""),
            _ => panic!("{at}\n{:?}", start.code(0)),
        };
        disks.lock().unwrap().push(disk);
        if code == 0 {
            assert_eq!(outcome.stdout, "ran\n", "{at}");
        } else {
            assert_eq!(outcome.errors().len(), 1, "{at}\n{outcome:?}");
            let said = words_of(fault.errno)
                .split('|')
                .any(|words| outcome.errors()[0].contains(words));
            assert!(said, "the line does not say why: {at}\n{outcome:?}");
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
}

/// A restore that fails has not run the service, and the next start completes it.
#[test]
fn each_call_of_a_restoring_start_can_fail() {
    let Some(original) = needs_strace() else {
        return;
    };
    image(&original);
    let _ = original.start().success();
    let after = comparable(original.tree());
    tamper(&original);
    let calls = calls_of(&original);
    after.assert_equals(&comparable(original.tree()));
    let mut faults = faults(&calls);
    // Where it only looks, it is a later start; here the first call of each site that writes, and all of what it reads back.
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
            let failed = start.failed(code, "");
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
