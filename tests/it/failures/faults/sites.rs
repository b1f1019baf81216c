//! The system calls that are to fail, and the errors that each can have.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::harness::{Sandbox, Start, TRACE, name_of};

/// The errors of each call in its manual page. A call that is not listed cannot fail, or (`brk`,
/// `mmap`) only before `main`.
const ERRORS: [(&str, &[&str]); 24] = [
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
    ("syncfs", &["EDQUOT", "EINTR", "EIO", "ENOSPC", "EPERM"]),
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
        // `read_dir` of the standard library, which walks the sources, does not repeat an
        // interrupted call.
        "openat" | "open" if call.contains("O_DIRECTORY") && !call.contains("O_NOFOLLOW") => {
            vec!["EACCES", "EIO", "EMFILE"]
        }
        "openat" | "open" => vec!["EACCES", "EINTR", "EIO", "EMFILE"],
        // A file that was only read has nothing to write back.
        "close" if call.contains("</etc/sealinit/") || call.contains("</proc/") => vec!["EINTR"],
        // The kernel's own files are in memory.
        "getdents64" if !call.contains("</proc/") => vec!["EIO"],
        "fcntl" if call.contains("F_DUPFD") => vec!["EMFILE"],
        "setgroups" | "setresgid" | "setresuid" if call.ends_with("= 0") => {
            vec!["EAGAIN", "EINVAL", "EPERM"]
        }
        // Not EINVAL, which ends the list of capabilities; a proof afterwards shows that it did not
        // end too early.
        "prctl" if call.contains("PR_CAPBSET_DROP") => vec!["EPERM"],
        "prctl" if call.contains("PR_SET_") => vec!["EINVAL", "EPERM"],
        _ => ERRORS
            .iter()
            .find(|(known, _)| *known == name)
            .map_or_else(Vec::new, |(_, errors)| errors.to_vec()),
    }
}

/// The words for an error, of glibc, musl or nix, without the first letter, in which they differ.
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
pub(super) struct Fault<'a> {
    /// As strace showed it in the undisturbed start.
    pub(super) call: &'a str,
    /// Its number among the calls of that name, from 1.
    pub(super) nth: usize,
    /// Its index among all calls.
    pub(super) at: usize,
    pub(super) errno: &'static str,
}

impl Fault<'_> {
    pub(super) fn describe(&self) -> String {
        format!(
            "{} from {} number {}, which is\n{}",
            self.errno,
            name_of(self.call),
            self.nth,
            self.call
        )
    }

    pub(super) fn start(&self, sandbox: &Sandbox) -> Start {
        let name = name_of(self.call);
        let inject = format!("inject={name}:error={}:when={}", self.errno, self.nth);
        let traced = sandbox.launch().traced(&[name]);
        let start = traced.wrapper(["-e", &inject]).start();
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

    /// The words for the error in the log of a start; the first known ones if there are none.
    pub(super) fn reason(&self, start: &Start) -> &'static str {
        let mut known = words_of(self.errno).split('|');
        let first = known.clone().next().unwrap_or_default();
        known
            .find(|words| start.log().contains(words))
            .unwrap_or(first)
    }

    /// The file that the call is about, where it is one of the disk.
    pub(super) fn path(&self) -> Option<String> {
        // For a temporary file, the message names its directory.
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

/// The part that equal calls have in common: the name, the files and the flags.
fn site(call: &str) -> String {
    let name = name_of(call);
    // Without the result, which differs when the call fails.
    let call = call.rsplit_once(" = ").map_or(call, |(call, _)| call);
    let mut site = name.to_owned();
    if name.starts_with("cap") {
        return site;
    }
    if name.starts_with("set") {
        // Their arguments distinguish them: to act as another user, to drop root, to try to get it
        // back.
        return call.trim_end().to_owned();
    }
    let paths = call
        .split('<')
        .skip(1)
        .filter_map(|part| part.split('>').next());
    // The numbers of pipes differ at each start.
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
pub(super) fn faults(calls: &[String]) -> Vec<Fault<'_>> {
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
