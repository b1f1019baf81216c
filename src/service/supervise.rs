//! Supervises the service as PID 1, or as any other process: passes signals on, reaps orphans,
//! ends the whole tree, and ends as the service ended.
//!
//! Nothing is logged once the service runs: a log reader that has stopped reading would stop the
//! init.

use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::unistd::{getpgrp, tcgetpgrp, tcsetpgrp};

use crate::declaration::SignalTarget;
use crate::exit_code;
use crate::plan::supervision::SupervisionConfig;
use crate::service::remaining::terminate_remaining;
use crate::sys::signal::Signal;
use crate::sys::{self, Change, Received};

/// A process that is ready to have the service for a child.
#[derive(Debug)]
pub(crate) struct Supervisor {
    /// True if the service is to have the terminal, as this process has it.
    pub(crate) foreground: bool,
    /// The signals that arrived before there was a service, which gets them before its first
    /// instruction.
    pub(crate) early: Vec<Signal>,
}

impl Supervisor {
    pub(crate) fn new(config: &SupervisionConfig) -> Self {
        if std::process::id() != 1 {
            // Orphans come to this process all the same. A kernel that does not know this gives
            // them to PID 1.
            let _ = prctl::set_child_subreaper(true);
        }
        // No process of the service's uid may look into this one (ptrace(2), /proc/1/environ). And
        // until the child executes its program it shares this process's memory: if it dumped core,
        // older kernels would take both down (before Linux 5.16).
        let _ = prctl::set_dumpable(false);
        let foreground = tcgetpgrp(std::io::stdin()).is_ok_and(|group| group == getpgrp());
        Self {
            foreground,
            early: early(config),
        }
    }
}

/// Returns the signals that wait for a service, as they will be passed on. One that stops a
/// program is not among them: it is passed on when the program runs.
fn early(config: &SupervisionConfig) -> Vec<Signal> {
    let pending = sys::pending_signals().into_iter();
    pending
        .filter_map(|signal| config.passed_on(signal))
        .filter(|signal| !signal.is_stop())
        .collect()
}

/// Takes the terminal back if the service was given it: for the process that reads it next, and
/// because a second Ctrl-C is for this process. Another terminal stays where it is.
pub(crate) fn take_terminal_back(given: bool) {
    if given {
        // SIGTTOU, which this is about, is blocked.
        let _ = tcsetpgrp(std::io::stdin(), getpgrp());
    }
}

/// The service's process, as its init sees it.
#[derive(Debug)]
pub(crate) struct SupervisedChild {
    pid: i32,
    /// True if it was given the terminal.
    foreground: bool,
}

impl SupervisedChild {
    /// The child of `supervisor` that is process `pid` now.
    pub(crate) fn new(pid: i32, supervisor: &Supervisor) -> Self {
        // A working directory would keep its file system from being unmounted.
        let _ = std::env::set_current_dir("/");
        Self {
            pid,
            foreground: supervisor.foreground,
        }
    }

    /// Supervises the child to its end. Returns the exit code to end with.
    ///
    /// This process owns no descriptor any more.
    pub(crate) fn supervise(self, config: &SupervisionConfig) -> u8 {
        sys::close_from(3);
        let Ended { code, stop } = Supervision::of(&self, config).until_the_end();
        take_terminal_back(self.foreground);
        // The grace begins with the stop signal, as the engine's own limit does. A signal long
        // before the end had another purpose, such as a thread dump on SIGQUIT.
        let spent = stop
            .map(|stop| stop.elapsed())
            .filter(|spent| *spent <= config.grace * 2);
        terminate_remaining(config.grace.saturating_sub(spent.unwrap_or_default()));
        if config.expected_exit.contains(&code) {
            0
        } else {
            code
        }
    }

    /// Lets the child run for as long as `limit`, or until a termination signal, and then ends it
    /// and all that it started. Returns its exit code, or `None` if it had to be ended.
    pub(crate) fn within(self, limit: Duration) -> Option<u8> {
        let deadline = Instant::now() + limit;
        let config = SupervisionConfig::default();
        let mut supervision = Supervision::of(&self, &config);
        let code = loop {
            if let Some(code) = supervision.reap() {
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
        // Its group is signalled also where /proc does not show the processes in it.
        let _ = sys::send(-self.pid, Signal::KILL);
        take_terminal_back(self.foreground);
        terminate_remaining(Duration::ZERO);
    }
}

/// The wait for the end of a child.
struct Supervision<'a> {
    pid: i32,
    config: &'a SupervisionConfig,
    /// True while the service is stopped, and cannot hear that it shall end.
    stopped: bool,
    /// The time of the latest stop signal that a process has sent.
    stop: Option<Instant>,
}

/// The end of a child.
struct Ended {
    code: u8,
    stop: Option<Instant>,
}

impl<'a> Supervision<'a> {
    fn of(child: &SupervisedChild, config: &'a SupervisionConfig) -> Self {
        Self {
            pid: child.pid,
            config,
            stopped: false,
            stop: None,
        }
    }

    fn until_the_end(mut self) -> Ended {
        let code = self.exit_code();
        Ended {
            code,
            stop: self.stop,
        }
    }

    fn exit_code(&mut self) -> u8 {
        loop {
            // Before the first wait too: a child that ended at once may have been reported before
            // this process listened.
            if let Some(code) = self.reap() {
                return code;
            }
            // An error is an interruption by a tracer: wait again.
            if let Ok(Some(received)) = sys::wait_signal(None) {
                // The lowest signal comes first: that the service was stopped may be known only
                // now.
                if let Some(code) = self.reap() {
                    return code;
                }
                self.take(received);
            }
        }
    }

    /// Passes on what is meant for the service; that a child has changed is meant for its init.
    fn take(&mut self, received: Received) {
        // One from a terminal is meant for what runs in it, not to stop the container.
        if received.sent && received.signal.is_termination() {
            self.stop = Some(Instant::now());
        }
        if received.signal != Signal::CHLD || received.sent {
            self.pass_on(received.signal);
        }
    }

    /// Reaps every process that has ended. Returns the service's exit code if it was among them.
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
                // There are no children, and the service's end was not reported: that cannot be,
                // and must not hang the container.
                Err(_) => return Some(exit_code::BUG),
            }
        }
    }

    fn pass_on(&self, received: Signal) {
        let Some(signal) = self.config.passed_on(received) else {
            return;
        };
        let target = match self.config.target {
            SignalTarget::Child => self.pid,
            SignalTarget::Group => -self.pid,
        };
        // A service that has ended is reaped next; one that has become another uid cannot be
        // signalled without CAP_KILL.
        let _ = sys::send(target, signal);
        if self.stopped && received.is_termination() {
            let _ = sys::send(target, Signal::CONT);
        }
    }
}
