//! Stays as PID 1 while the service runs as a child: passes signals on, reaps orphans, stops the whole tree, ends as the service ended.
//!
//! Never logs once the service runs (a log reader that has stopped reading would stop us), never wakes up without a reason, and
//! keeps nothing of root: it has the service's uid and no capability by then.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::unistd::{Pid, getpgrp, setpgid, tcgetpgrp, tcsetpgrp};

use crate::error::Error;
use crate::manifest::SignalTarget;
use crate::signal::Signal;
use crate::sys::{self, Change, Received};

/// How long what the service left behind may take to end, unless the operator says otherwise: less than the ten seconds after which
/// Docker kills. In seconds.
pub(crate) const DEFAULT_GRACE: u32 = 8;

/// How long what was killed may take to be reaped, where we are not PID 1 and it would outlive us.
const REAP_LIMIT: Duration = Duration::from_secs(1);

/// How a service is supervised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manners {
    pub(crate) target: SignalTarget,
    /// Which signal is passed on as which; `None` is not passed on.
    pub(crate) rewrite: BTreeMap<Signal, Option<Signal>>,
    /// Exit codes that count as success.
    pub(crate) expected_exit: Vec<u8>,
    /// How long what the service left behind may take to end.
    pub(crate) grace: Duration,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            target: SignalTarget::Child,
            rewrite: BTreeMap::new(),
            expected_exit: Vec::new(),
            grace: Duration::from_secs(DEFAULT_GRACE.into()),
        }
    }
}

/// Which of the two processes after [`split`] this is.
#[derive(Debug)]
pub(crate) enum Half {
    /// The child, which becomes the service once [`Turn::comes`].
    Service(Turn),
    /// PID 1, which supervises it.
    Init(Child),
}

/// The child's turn to go on, which comes when both processes have given up their privileges.
#[derive(Debug)]
pub(crate) struct Turn(UnixStream);

impl Turn {
    /// Says that the child has done so, and waits; false if PID 1 has ended instead, having said why.
    pub(crate) fn comes(mut self) -> bool {
        self.0.write_all(b"!").and_then(|()| self.0.read_exact(&mut [0])).is_ok()
    }
}

/// The service's process, seen from PID 1.
#[derive(Debug)]
pub(crate) struct Child {
    pid: i32,
    turn: UnixStream,
}

/// Makes a child that waits, in a process group of its own, and in the foreground of the terminal if we were.
///
/// # Errors
/// That the kernel does not give us a process or a pipe.
pub(crate) fn split() -> Result<Half, Error> {
    let failed = |step| move |source| Error::Supervise { step, source };
    // Inherited as ignored, SIGCHLD would have children reaped without us. The others stay as they are until the exec: what is
    // blocked waits even if it is ignored, and a log that nobody reads must not end us by SIGPIPE.
    sys::default_signal(Signal::CHLD);
    // From here on every signal waits for us, or in the child for the service.
    sys::block_signals().map_err(failed("blocking signals"))?;
    if std::process::id() != 1 {
        // Orphans come to us all the same. A kernel that does not know this gives them to PID 1.
        let _ = prctl::set_child_subreaper(true);
    }
    let (turn, theirs) = UnixStream::pair().map_err(|error| {
        let source = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
        Error::Supervise { step: "socketpair", source }
    })?;
    let foreground = tcgetpgrp(std::io::stdin()).is_ok_and(|group| group == getpgrp());
    let join_group = |pid: i32| {
        // Done by both processes, so that it is done whoever runs first. A failure means that the other was faster, or that
        // the child has ended.
        let _ = setpgid(Pid::from_raw(pid), Pid::from_raw(pid));
        if foreground {
            let group = if pid == 0 { getpgrp() } else { Pid::from_raw(pid) };
            let _ = tcsetpgrp(std::io::stdin(), group);
        }
    };
    match sys::fork().map_err(failed("fork"))? {
        None => {
            drop(turn);
            join_group(0);
            Ok(Half::Service(Turn(theirs)))
        }
        Some(pid) => {
            join_group(pid);
            Ok(Half::Init(Child { pid, turn }))
        }
    }
}

impl Child {
    /// Lets the child go on and supervises it to its end; gives the exit code to end with.
    ///
    /// This process has given up its privileges by now, and owns no descriptor any more.
    pub(crate) fn supervise(self, manners: &Manners) -> u8 {
        let Self { pid, mut turn } = self;
        // Nobody of the service's uid may look into this process (ptrace(2), /proc/1/environ).
        let _ = prctl::set_dumpable(false);
        // A directory of ours would keep its file system from being unmounted.
        let _ = std::env::set_current_dir("/");
        let supervising = Supervising { pid, manners, stopped: false };
        // Until the child has the service's uid too, it could not be signalled. One that says nothing has ended, which the
        // loop will see.
        let _ = turn.read_exact(&mut [0]);
        // What came before there was a service is for it all the same, and before its first instruction.
        while let Ok(Some(received)) = sys::wait_signal(Some(Duration::ZERO)) {
            supervising.take(received);
        }
        let _ = turn.write_all(b"!");
        drop(turn);
        sys::close_from(3);
        let code = supervising.until_the_end();
        end_the_rest(manners.grace);
        if manners.expected_exit.contains(&code) { 0 } else { code }
    }

    /// Lets the child go on for as long as `limit`, and then ends it and all that it started; gives its exit code, or `None` if it had
    /// to be ended.
    ///
    /// This process has given up its privileges by now.
    pub(crate) fn within(self, limit: Duration) -> Option<u8> {
        let Self { pid, mut turn } = self;
        let _ = prctl::set_dumpable(false);
        // As in `supervise`; but a signal waits for the service, which this is not.
        let _ = turn.read_exact(&mut [0]).and_then(|()| turn.write_all(b"!"));
        drop(turn);
        let deadline = Instant::now() + limit;
        let mut supervising = Supervising { pid, manners: &Manners::default(), stopped: false };
        let code = loop {
            if let Some(code) = supervising.reap() {
                break Some(code);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break None;
            }
            let _ = sys::wait_signal(Some(left));
        };
        // Its group also where /proc does not tell who else there is.
        let _ = sys::send(-pid, Signal::KILL);
        end_the_rest(Duration::ZERO);
        code
    }

    /// Ends the child before its turn: the socket closes without a word. (SIGKILL may be no longer ours to send.)
    pub(crate) fn abandon(self) {
        drop(self.turn);
    }
}

struct Supervising<'a> {
    pid: i32,
    manners: &'a Manners,
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
            // An error is an interruption by a tracer; there is nothing to do but to wait again.
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
                Err(_) => return Some(crate::error::exit_code::BUG),
            }
        }
    }

    fn pass_on(&self, received: Signal) {
        let signal = match self.manners.rewrite.get(&received) {
            None => received,
            Some(Some(signal)) => *signal,
            Some(None) => return,
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
    // A second Ctrl-C is for us: the group that had the terminal is gone.
    let _ = tcsetpgrp(std::io::stdin(), getpgrp());
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
    while std::process::id() != 1 && Instant::now() < deadline && !wait_for_the_rest(REAP_LIMIT / 50, |_| false) {
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
    let reached = descendants().into_iter().filter(|pid| sys::send(*pid, signal).is_ok());
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
        found.extend(parents.iter().filter(|(_, parent)| *parent == above).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}

/// The parent in `proc_pid_stat(5)`: the second field after the name, which is in parentheses and may hold anything.
fn parent_of(process: &Path) -> Option<i32> {
    let stat = std::fs::read(process.join("stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
