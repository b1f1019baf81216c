//! Signals of this process: dispositions, the blocked set, waiting and sending.
//!
//! Uses the kernel's own calls: the C library hides the signals that it reserves (32 to 34), which
//! a container engine or a shell may have left ignored or blocked.

use std::mem::MaybeUninit;
use std::ptr;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc::{self, c_int, siginfo_t, timespec};

use crate::sys::signal::Signal;

/// A set as the kernel lays it out: bit n - 1 is signal n.
pub(super) type SignalSet = u64;

const ALL: SignalSet = SignalSet::MAX;

/// Gives every signal its default disposition.
pub(crate) fn default_signals() {
    for number in 1..=64 {
        default_signal(Signal(number));
    }
}

/// Gives one signal its default disposition. The kernel refuses it for KILL and STOP, which always
/// have it.
pub(crate) fn default_signal(signal: Signal) {
    // A zeroed `struct sigaction` as the kernel lays it out: SIG_DFL, no flags, no restorer, an
    // empty mask.
    let default = [0_u64; 4];
    let old = ptr::null_mut::<u64>();
    // SAFETY: the pointer is to as many bytes as the kernel reads, no old action is requested, and
    // SIG_DFL installs no handler.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            c_int::from(signal.0),
            default.as_ptr(),
            old,
            size_of::<SignalSet>(),
        )
    };
}

/// Makes `set` the blocked signals of this thread.
pub(super) fn set_mask(set: SignalSet) -> Result<(), Errno> {
    let old = ptr::null_mut::<SignalSet>();
    // SAFETY: the pointer is to as many bytes as the size says; no old mask is requested.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const set,
            old,
            size_of::<SignalSet>(),
        )
    };
    Errno::result(result).map(drop)
}

/// Blocks every signal that can be blocked. A blocked signal is not lost: it stays pending.
pub(crate) fn block_signals() -> Result<(), Errno> {
    set_mask(ALL)
}

/// Unblocks all signals.
pub(crate) fn unblock_signals() -> Result<(), Errno> {
    set_mask(0)
}

/// Returns the blocked signals that have arrived.
pub(crate) fn pending_signals() -> Vec<Signal> {
    let mut set: SignalSet = 0;
    // SAFETY: the pointer is to as many writable bytes as the size says.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigpending,
            &raw mut set,
            size_of::<SignalSet>(),
        )
    };
    (1..=64)
        .filter(|number| set >> (number - 1) & 1 == 1)
        .map(Signal)
        .collect()
}

/// A signal that was received by waiting for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) signal: Signal,
    /// True if a process sent it, false if the kernel generated it.
    pub(crate) sent: bool,
}

/// Waits for a signal of `set` (`rt_sigtimedwait(2)`). Returns `None` after the timeout.
fn wait_for(set: SignalSet, timeout: Option<Duration>) -> Result<Option<Received>, Errno> {
    let timeout = timeout.map(|timeout| timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let limit = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
    let mut info = MaybeUninit::<siginfo_t>::zeroed();
    // SAFETY: the set is as large as the size says, the information is a writable siginfo_t, and
    // the limit is null or a live timespec.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigtimedwait,
            &raw const set,
            info.as_mut_ptr(),
            limit,
            size_of::<SignalSet>(),
        )
    };
    match Errno::result(result) {
        Ok(number) => {
            // SAFETY: zeroes are a valid siginfo_t, and the kernel has written another.
            let code = unsafe { info.assume_init_ref() }.si_code;
            let number = u8::try_from(number).map_err(|_| Errno::EINVAL)?;
            // Codes of calls that send signals are 0 (SI_USER) or below; the kernel's own are
            // above.
            Ok(Some(Received {
                signal: Signal(number),
                sent: code <= 0,
            }))
        }
        Err(Errno::EAGAIN) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Waits for a blocked signal. Returns `None` after `timeout`, if there is one.
pub(crate) fn wait_signal(timeout: Option<Duration>) -> Result<Option<Received>, Errno> {
    wait_for(ALL, timeout)
}

/// Discards a blocked signal, if it has arrived.
pub(crate) fn forget_signal(signal: Signal) {
    let _ = wait_for(1 << (signal.0 - 1), Some(Duration::ZERO));
}

/// Sends `signal` to a process, to a process group (negative), or to every process that may be
/// signalled (-1).
pub(crate) fn send(pid: i32, signal: Signal) -> Result<(), Errno> {
    // SAFETY: kill(2) takes numbers.
    Errno::result(unsafe { libc::kill(pid, c_int::from(signal.0)) }).map(drop)
}
