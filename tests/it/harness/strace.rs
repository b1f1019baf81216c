//! System calls of a start: listed, and made to fail, to lie, to wait or to kill, by strace(1).
//!
//! strace stands in front of sealinit, which stays PID 1 (`-D`). Which calls there are is read from
//! an undisturbed start, so nothing here has to be kept in step with the code.

use std::collections::BTreeMap;
use std::fs;

use super::image::Sandbox;
use super::launch::Launch;

/// The list of system calls in the sandbox, in a directory that is left out of all comparisons.
pub(crate) const TRACE: &str = "/trace/log";

/// The options of strace that do this to system calls of this name, and print nothing: the effects
/// of its `inject=` expression, such as `signal=KILL:when=3` or `error=EIO:when=2+`.
pub(crate) fn injection(call: &str, effect: &str) -> [String; 6] {
    let (trace, inject) = (format!("trace={call}"), format!("inject={call}:{effect}"));
    ["-o", "/dev/null", "-e", &trace, "-e", &inject].map(str::to_owned)
}

impl Launch<'_> {
    /// Runs sealinit under strace with these options.
    pub(crate) fn strace<S: AsRef<str>>(self, options: impl IntoIterator<Item = S>) -> Self {
        let options = options.into_iter().map(|option| option.as_ref().to_owned());
        self.wrapper(["strace", "-D"]).wrapper(options)
    }

    /// Has the kernel do this to sealinit's system calls of this name; see [`injection`].
    pub(crate) fn inject(self, call: &str, effect: &str) -> Self {
        self.strace(injection(call, effect))
    }

    /// [`Self::inject`] for sealinit's child processes as well, each of which is counted for
    /// itself.
    pub(crate) fn inject_into_all(self, call: &str, effect: &str) -> Self {
        self.strace(["-f"]).wrapper(injection(call, effect))
    }

    /// Has the kernel kill sealinit on entry to the `nth` system call of this name.
    pub(crate) fn killed_at(self, call: &str, nth: usize) -> Self {
        self.inject(call, &format!("signal=KILL:when={nth}"))
    }

    /// Has the `nth` system call of this name fail.
    pub(crate) fn failing_at(self, call: &str, errno: &str, nth: usize) -> Self {
        self.inject(call, &format!("error={errno}:when={nth}"))
    }

    /// Has the `nth` system call of this name do nothing, and return this value.
    pub(crate) fn lying_at(self, call: &str, value: usize, nth: usize) -> Self {
        self.inject(call, &format!("retval={value}:when={nth}"))
    }

    /// Lists the system calls of these names in [`TRACE`]; of all names if there are none.
    pub(crate) fn traced(self, names: &[&str]) -> Self {
        let launch = self.strace(["-y", "-s", "256", "-o", TRACE]);
        if names.is_empty() {
            return launch;
        }
        launch.wrapper(["-e", &format!("trace={}", names.join(","))])
    }
}

/// The system calls of a start up to the exec of the service, in order; `-y` has named the files.
pub(crate) fn calls_of(sandbox: &Sandbox) -> Vec<String> {
    let traced = sandbox.launch().traced(&[]).output();
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

/// The name of a system call as strace prints it.
pub(crate) fn name_of(call: &str) -> &str {
    call.split('(').next().unwrap_or_default()
}

/// System calls that leave the disk as they find it. A kill on entry to one is a kill on entry to
/// the next that does not, so each state of the disk is tested once. A call that is not listed
/// counts as one that writes. `umask` is left out on purpose: it is called before everything that
/// writes and once more before the service's exec, the two ends that have to be among the points.
const READ_ONLY: [&str; 57] = [
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
    "futex",
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

/// Reports if a system call may change the disk.
pub(crate) fn writes(call: &str) -> bool {
    match name_of(call) {
        "open" | "openat" => call.contains("O_CREAT") || call.contains("O_TRUNC"),
        name => !READ_ONLY.contains(&name),
    }
}

/// The points at which a start is to be killed: a call's name, and its number among the calls of
/// that name, from 1.
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
