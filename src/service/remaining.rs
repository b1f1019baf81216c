//! Ends the processes that are left over when the service has ended.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::sys::signal::Signal;
use crate::sys::{self, Received};

/// Time to reap killed processes for an init that is not PID 1, which they could outlive.
const REAP_LIMIT: Duration = Duration::from_secs(1);

/// Ends left-over processes: SIGTERM, then after `grace` SIGKILL. A termination signal ends the
/// grace early.
pub(crate) fn terminate_remaining(grace: Duration) {
    if none_remain() {
        return;
    }
    if !signal_remaining(Signal::TERM) {
        // Processes of another uid, started by `docker exec`: this process may not signal them.
        return;
    }
    signal_remaining(Signal::CONT); // a stopped process handles no other signal
    let is_termination = |received: Received| received.signal.is_termination();
    if wait_for_remaining(grace, is_termination) {
        return;
    }
    signal_remaining(Signal::KILL);
    // The kernel kills all other processes when PID 1 ends. Any other init has to wait for them.
    let deadline = Instant::now() + REAP_LIMIT;
    while std::process::id() != 1
        && Instant::now() < deadline
        && !wait_for_remaining(REAP_LIMIT / 50, |_| false)
    {
        // Processes that were forked in the meantime.
        signal_remaining(Signal::KILL);
    }
}

/// Reaps until no process remains (true), or until the time is over or a signal cuts it short
/// (false).
fn wait_for_remaining(limit: Duration, cut_short: impl Fn(Received) -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if none_remain() {
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

/// Reaps every process that has ended. Returns true if that was the last.
fn none_remain() -> bool {
    loop {
        match sys::child_change() {
            Ok(None) => return false,
            Ok(Some(_)) | Err(Errno::EINTR) => {}
            Err(_) => return true,
        }
    }
}

/// Sends `signal` to all that remain. Returns false if there is no process that may be signalled.
fn signal_remaining(signal: Signal) -> bool {
    if std::process::id() == 1 {
        return sys::send(-1, signal).is_ok();
    }
    let reached = descendants()
        .into_iter()
        .filter(|pid| sys::send(*pid, signal).is_ok());
    reached.count() > 0
}

/// Returns all processes below this one, as far as /proc shows them.
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

/// Returns the parent in `proc_pid_stat(5)`: the second field after the name, which is in
/// parentheses and may hold anything.
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
