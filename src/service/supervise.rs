//! Supervises the service: passes signals on, reaps orphans, and ends with its exit code.
//!
//! Nothing is logged once the service runs: a full pipe would block the init.

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

/// This process, prepared to supervise a child.
#[derive(Debug)]
pub(crate) struct Supervisor {
    /// True if this process is in the foreground of the terminal, which the service then gets.
    pub(crate) foreground: bool,
    /// Signals that arrived before the service, which gets them before its first instruction.
    pub(crate) early: Vec<Signal>,
}

impl Supervisor {
    pub(crate) fn new(config: &SupervisionConfig) -> Self {
        if std::process::id() != 1 {
            // Orphans become children of this process. On a kernel without the call, PID 1 reaps
            // them.
            let _ = prctl::set_child_subreaper(true);
        }
        // Keeps processes of the service's uid from reading this one (ptrace(2), /proc/1/environ).
        // Until the child executes its program it also shares this process's memory: before Linux
        // 5.16, a core dump of the child would end both.
        let _ = prctl::set_dumpable(false);
        let foreground = tcgetpgrp(std::io::stdin()).is_ok_and(|group| group == getpgrp());
        Self {
            foreground,
            early: early_signals(config),
        }
    }
}

/// Returns the pending signals as they are passed on, except stop signals, which are passed on when
/// the program runs.
fn early_signals(config: &SupervisionConfig) -> Vec<Signal> {
    let pending = sys::pending_signals().into_iter();
    pending
        .filter_map(|signal| config.passed_on(signal))
        .filter(|signal| !signal.is_stop())
        .collect()
}

/// Takes the terminal back if it was `given` to the service: the process that reads it next needs
/// it, and a second Ctrl-C must reach this process.
pub(crate) fn take_terminal_back(given: bool) {
    if given {
        // SIGTTOU, which the kernel sends for this call in the background, is blocked.
        let _ = tcsetpgrp(std::io::stdin(), getpgrp());
    }
}

/// The supervised child process.
#[derive(Debug)]
pub(crate) struct SupervisedChild {
    pid: i32,
    /// True if it was given the terminal.
    foreground: bool,
}

impl SupervisedChild {
    /// Returns the child of `supervisor` with `pid`.
    pub(crate) fn new(pid: i32, supervisor: &Supervisor) -> Self {
        // A working directory would keep its file system from being unmounted.
        let _ = std::env::set_current_dir("/");
        Self {
            pid,
            foreground: supervisor.foreground,
        }
    }

    /// Supervises the child until it has ended. Returns the exit code to end with.
    ///
    /// Closes every descriptor from 3 on: the caller has dropped all that it owned.
    pub(crate) fn supervise(self, config: &SupervisionConfig) -> u8 {
        sys::close_from(3);
        let Ended { code, stop } = Supervision::of(&self, config).wait();
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

    /// Waits until the child has ended, for at most `limit` or until a termination signal, and then
    /// ends it and its descendants. Returns its exit code, or `None` if it was ended.
    pub(crate) fn wait_timeout(self, limit: Duration) -> Option<u8> {
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

    /// Ends the child and its descendants.
    pub(crate) fn end(self) {
        // /proc may not show the processes of its group.
        let _ = sys::send(-self.pid, Signal::KILL);
        take_terminal_back(self.foreground);
        terminate_remaining(Duration::ZERO);
    }
}

/// The wait for the end of a child.
struct Supervision<'a> {
    pid: i32,
    config: &'a SupervisionConfig,
    /// True while the service is stopped, and does not handle termination signals.
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

    fn wait(mut self) -> Ended {
        let code = self.exit_code();
        Ended {
            code,
            stop: self.stop,
        }
    }

    fn exit_code(&mut self) -> u8 {
        loop {
            // Before the first wait too: a child that ended at once may have been reported already.
            if let Some(code) = self.reap() {
                return code;
            }
            // An error is an interruption by a tracer: wait again.
            if let Ok(Some(received)) = sys::wait_signal(None) {
                // Lower signals are delivered before SIGCHLD: the service may have stopped before
                // this one.
                if let Some(code) = self.reap() {
                    return code;
                }
                self.take(received);
            }
        }
    }

    /// Passes a signal on, except a SIGCHLD from the kernel, which is meant for this process.
    fn take(&mut self, received: Received) {
        // A signal from a terminal is meant for the programs in it, and does not begin the grace.
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
                // No child is left, and the service's end was not reported. This cannot happen, and
                // must not hang the container.
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
        // Fails if the service has ended, or runs as another uid, which needs CAP_KILL.
        let _ = sys::send(target, signal);
        if self.stopped && received.is_termination() {
            let _ = sys::send(target, Signal::CONT);
        }
    }
}
