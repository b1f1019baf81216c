//! Stays as PID 1 while the service runs as a child: passes signals on, reaps orphans, stops the whole tree, ends as the service ended.
//!
//! Never logs once the service runs (a log reader that has stopped reading would stop us), never wakes up without a reason, and
//! keeps nothing of root: it has the service's uid and no capability by then.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::unistd::{getpgrp, tcgetpgrp, tcsetpgrp};

use crate::manifest::SignalTarget;
use crate::plan::supervision::SupervisionConfig;
use crate::sys::signal::Signal;
use crate::sys::{self, Change, Received};

/// How long what was killed may take to be reaped, where we are not PID 1 and it would outlive us.
const REAP_LIMIT: Duration = Duration::from_secs(1);

/// Returns what waits for a service that there is not yet, as it will be passed on. What does not
/// end a program that has just begun is passed on again when it has, and heard then.
fn early(config: &SupervisionConfig) -> Vec<Signal> {
    let pending = sys::pending_signals().into_iter();
    pending
        .filter_map(|signal| config.passed_on(signal))
        .filter(|signal| !signal.is_stop())
        .collect()
}

/// A process that is ready to have the service for a child.
#[derive(Debug)]
pub(crate) struct Init {
    /// Whether the service is to have the terminal, as we have it.
    pub(crate) foreground: bool,
    /// What has come before there is a service, for it to hear before its first instruction.
    pub(crate) early: Vec<Signal>,
}

impl Init {
    pub(crate) fn new(manners: &SupervisionConfig) -> Self {
        if std::process::id() != 1 {
            // Orphans come to us all the same. A kernel that does not know this gives them to PID 1.
            let _ = prctl::set_child_subreaper(true);
        }
        // Nobody of the service's uid may look into this process (ptrace(2), /proc/1/environ). And until the child executes its program it
        // shares this process's memory: if it dumped core, older kernels would take both down (before Linux 5.16).
        let _ = prctl::set_dumpable(false);
        let foreground = tcgetpgrp(std::io::stdin()).is_ok_and(|group| group == getpgrp());
        Self {
            foreground,
            early: early(manners),
        }
    }
}

/// Takes the terminal back, if the service was given it: for whoever reads it after us, and because a second Ctrl-C is for us. One that was
/// not ours stays whose it is.
pub(crate) fn take_terminal_back(given: bool) {
    if given {
        // SIGTTOU, which this is about, is blocked.
        let _ = tcsetpgrp(std::io::stdin(), getpgrp());
    }
}

/// The service's process, seen from its init.
#[derive(Debug)]
pub(crate) struct Child {
    pid: i32,
    /// Whether it was given the terminal.
    foreground: bool,
}

impl Child {
    /// The child of `init` that is process `pid` now.
    pub(crate) fn new(pid: i32, init: &Init) -> Self {
        // A directory of ours would keep its file system from being unmounted.
        let _ = std::env::set_current_dir("/");
        Self {
            pid,
            foreground: init.foreground,
        }
    }

    /// Supervises the child to its end; gives the exit code to end with.
    ///
    /// This process owns no descriptor any more, and nothing on the heap.
    pub(crate) fn supervise(self, manners: &SupervisionConfig) -> u8 {
        sys::close_from(3);
        sys::forget_program();
        let code = Supervising {
            pid: self.pid,
            manners,
            stopped: false,
        }
        .until_the_end();
        take_terminal_back(self.foreground);
        end_the_rest(manners.grace);
        if manners.expected_exit.contains(&code) {
            0
        } else {
            code
        }
    }

    /// Lets the child go on for as long as `limit`, or until a signal comes to stop it, and then ends it and all that it started; gives its
    /// exit code, or `None` if it had to be ended.
    pub(crate) fn within(self, limit: Duration) -> Option<u8> {
        let deadline = Instant::now() + limit;
        let mut supervising = Supervising {
            pid: self.pid,
            manners: &SupervisionConfig::default(),
            stopped: false,
        };
        let code = loop {
            if let Some(code) = supervising.reap() {
                break Some(code);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break None;
            }
            if let Ok(Some(received)) = sys::wait_signal(Some(left))
                && received.signal.is_termination()
            {
                break None;
            }
        };
        self.end();
        code
    }

    /// Ends the child and all that it started.
    pub(crate) fn end(self) {
        // Its group also where /proc does not tell who else there is.
        let _ = sys::send(-self.pid, Signal::KILL);
        take_terminal_back(self.foreground);
        end_the_rest(Duration::ZERO);
    }
}

struct Supervising<'a> {
    pid: i32,
    manners: &'a SupervisionConfig,
    /// Whether the service is stopped, and could not hear that it shall end.
    stopped: bool,
}

impl Supervising<'_> {
    fn until_the_end(mut self) -> u8 {
        loop {
            // Before the first wait too: a child that ended at once may have been reported before anyone listened.
            if let Some(code) = self.reap() {
                return code;
            }
            // An error is an interruption by a tracer: wait again.
            if let Ok(Some(received)) = sys::wait_signal(None) {
                // The lowest signal comes first: that the service was stopped may be known only now.
                if let Some(code) = self.reap() {
                    return code;
                }
                self.take(received);
            }
        }
    }

    /// Passes on what is meant for the service; that a child has changed is meant for us.
    fn take(&self, received: Received) {
        if received.signal != Signal::CHLD || received.sent {
            self.pass_on(received.signal);
        }
    }

    /// Reaps whoever has ended; gives the service's exit code if it was among them.
    fn reap(&mut self) -> Option<u8> {
        loop {
            match sys::child_change() {
                Ok(Some((pid, change))) if pid == self.pid => match change {
                    Change::Ended(code) => return Some(code),
                    Change::Stopped => self.stopped = true,
                    Change::Continued => self.stopped = false,
                },
                Ok(Some(_)) | Err(Errno::EINTR) => {}
                Ok(None) => return None,
                // Nobody is left, and the service's end was not told: that cannot be, and must not hang us.
                Err(_) => return Some(crate::exit_code::BUG),
            }
        }
    }

    fn pass_on(&self, received: Signal) {
        let Some(signal) = self.manners.passed_on(received) else {
            return;
        };
        let target = match self.manners.target {
            SignalTarget::Child => self.pid,
            SignalTarget::Group => -self.pid,
        };
        // A service that has ended is reaped next; one that became somebody else cannot be signalled without CAP_KILL.
        let _ = sys::send(target, signal);
        if self.stopped && received.is_termination() {
            let _ = sys::send(target, Signal::CONT);
        }
    }
}

/// Ends what the service left behind: SIGTERM, time to finish, SIGKILL. A termination signal meanwhile cuts the time short.
fn end_the_rest(grace: Duration) {
    if nobody_left() {
        return;
    }
    if !signal_the_rest(Signal::TERM) {
        // Root's, left by `docker exec`: not ours to signal, and not ours to wait for.
        return;
    }
    signal_the_rest(Signal::CONT); // whoever is stopped must be able to hear it
    let impatient = |received: Received| received.signal.is_termination();
    if wait_for_the_rest(grace, impatient) {
        return;
    }
    signal_the_rest(Signal::KILL);
    // The kernel ends everybody with PID 1; otherwise what we killed must be gone before we are.
    let deadline = Instant::now() + REAP_LIMIT;
    while std::process::id() != 1
        && Instant::now() < deadline
        && !wait_for_the_rest(REAP_LIMIT / 50, |_| false)
    {
        // What was forked in the meantime.
        signal_the_rest(Signal::KILL);
    }
}

/// Reaps until nobody is left (true), or until the time is over or a signal cuts it short (false).
fn wait_for_the_rest(limit: Duration, cut_short: impl Fn(Received) -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if nobody_left() {
            return true;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        if let Ok(Some(received)) = sys::wait_signal(Some(left))
            && cut_short(received)
        {
            return false;
        }
    }
}

/// Reaps whoever has ended, and says whether that was the last.
fn nobody_left() -> bool {
    loop {
        match sys::child_change() {
            Ok(None) => return false,
            Ok(Some(_)) | Err(Errno::EINTR) => {}
            Err(_) => return true,
        }
    }
}

/// Sends `signal` to all that is left; false if there is nobody whom we may send it.
fn signal_the_rest(signal: Signal) -> bool {
    if std::process::id() == 1 {
        return sys::send(-1, signal).is_ok();
    }
    let reached = descendants()
        .into_iter()
        .filter(|pid| sys::send(*pid, signal).is_ok());
    reached.count() > 0
}

/// All processes below this one, as far as /proc tells.
fn descendants() -> Vec<i32> {
    let parents: Vec<(i32, i32)> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            Some((pid, parent_of(&entry.path())?))
        })
        .collect();
    let mut found = vec![std::process::id().cast_signed()];
    let mut next = 0;
    while let Some(above) = found.get(next).copied() {
        found.extend(
            parents
                .iter()
                .filter(|(_, parent)| *parent == above)
                .map(|(pid, _)| *pid),
        );
        next += 1;
    }
    found.split_off(1)
}

/// The parent in `proc_pid_stat(5)`: the second field after the name, which is in parentheses and may hold anything.
fn parent_of(process: &Path) -> Option<i32> {
    let stat = std::fs::read(process.join("stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()
}
