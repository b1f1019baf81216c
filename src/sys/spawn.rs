//! Starts child processes, and reports the changes of their state.

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::ptr;

use nix::errno::Errno;
use nix::libc::{self, c_char, c_int, c_void};
use rustix::process::{WaitOptions, wait};

use crate::sys::signal::Signal;
use crate::sys::signals::set_mask;

/// Makes a copy of this process. Returns its pid here, and `None` in the copy.
pub(crate) fn fork() -> Result<Option<i32>, Errno> {
    // SAFETY: this process has one thread (the drop of privileges asserts it), so no other thread
    // can hold a lock that the copy would wait for.
    match Errno::result(unsafe { libc::fork() })? {
        0 => Ok(None),
        pid => Ok(Some(pid)),
    }
}

/// A program to be started as a child.
#[derive(Debug)]
pub(crate) struct Program<'a> {
    pub(crate) path: &'a CStr,
    pub(crate) arguments: &'a [CString],
    pub(crate) environment: &'a [CString],
    /// The index of the variable that becomes `LISTEN_PID` with the child's own pid.
    pub(crate) listen_pid: Option<usize>,
    /// True if the child takes the terminal behind standard input.
    pub(crate) foreground: bool,
    /// The signals that the child sends itself before the exec. A stop signal must not be among
    /// them: it would stop this process too, which waits for the exec.
    pub(crate) signals: &'a [Signal],
}

/// The arguments of [`become_program`], in memory that the child shares with its parent.
struct SpawnArguments {
    path: *const c_char,
    arguments: *const *const c_char,
    environment: *const *const c_char,
    listen_pid: ListenPid,
    foreground: bool,
    signals: *const [Signal],
    /// The error of the exec.
    errno: Option<Errno>,
}

/// `LISTEN_PID=`, ten digits at most, and a NUL.
type ListenPid = [u8; 24];
const LISTEN_PID: &[u8] = b"LISTEN_PID=";

/// Starts a program as a child in a process group of its own, with no signal blocked and all other
/// attributes of this process. Returns its pid when the exec has succeeded.
///
/// The child shares this process's memory until then, since fork(2) would copy its page tables.
///
/// # Errors
///
/// The error of clone(2) or execve(2).
pub(crate) fn spawn(program: &Program<'_>) -> Result<i32, Errno> {
    /// 16 KiB, aligned as both architectures require.
    type Stack = [u128; 1024];
    let pointers = |strings: &[CString]| -> Vec<*const c_char> {
        strings
            .iter()
            .map(|string| string.as_ptr())
            .chain([ptr::null()])
            .collect()
    };
    let (arguments, mut environment) = (pointers(program.arguments), pointers(program.environment));
    let mut child = SpawnArguments {
        path: program.path.as_ptr(),
        arguments: arguments.as_ptr(),
        environment: ptr::null(),
        listen_pid: [0; 24],
        foreground: program.foreground,
        signals: program.signals,
        errno: None,
    };
    if let Some(variable) = program
        .listen_pid
        .and_then(|index| environment.get_mut(index))
    {
        *variable = (&raw const child.listen_pid).cast();
    }
    child.environment = environment.as_ptr();
    let mut stack = MaybeUninit::<Stack>::uninit();
    // SAFETY: the pointer is one past the end of the allocation; the stack grows down from there.
    let top = unsafe { stack.as_mut_ptr().add(1) };
    // CLONE_VFORK suspends this thread, the only one, until the child has executed or ended.
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the stack is aligned and used by nothing else; `child`, all that it points to and the
    // stack outlive the child's use of them, for this thread waits until the child has executed the
    // program or ended.
    let pid = Errno::result(unsafe {
        libc::clone(become_program, top.cast(), flags, (&raw mut child).cast())
    })?;
    // SAFETY: the value is live. The read is volatile because the child has written it.
    match unsafe { (&raw const child.errno).read_volatile() } {
        None => Ok(pid),
        Some(errno) => {
            let _ = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None);
            Err(errno)
        }
    }
}

/// Runs in the child of [`spawn`]. It makes only system calls, since the memory is the parent's.
extern "C" fn become_program(child: *mut c_void) -> c_int {
    let child: *mut SpawnArguments = child.cast();
    // SAFETY: the parent has passed a live `SpawnArguments` and does not touch it while this
    // function runs; the pointers in it are to NUL-terminated strings and null-terminated arrays of
    // them. The calls take numbers and pointers to live values.
    unsafe {
        let pid = libc::getpid();
        libc::setpgid(0, 0);
        if (*child).foreground {
            // SIGTTOU, which the kernel sends for this call in the background, is blocked.
            libc::tcsetpgrp(libc::STDIN_FILENO, pid);
        }
        write_listen_pid(&mut (*child).listen_pid, pid.unsigned_abs());
        for signal in &*(*child).signals {
            libc::kill(pid, c_int::from(signal.0));
        }
        // A Ctrl-Z at this moment would stop the child, and so the parent, which waits for the
        // exec. The exec removes the handler.
        libc::signal(
            libc::SIGTSTP,
            ignore as extern "C" fn(c_int) as libc::sighandler_t,
        );
        let _ = set_mask(0);
        libc::execve((*child).path, (*child).arguments, (*child).environment);
        (&raw mut (*child).errno).write_volatile(Some(Errno::last()));
        libc::_exit(127)
    }
}

/// Handles a signal by doing nothing.
extern "C" fn ignore(_: c_int) {}

/// Writes `LISTEN_PID=` and `pid` to the variable, without allocating memory.
fn write_listen_pid(variable: &mut ListenPid, pid: u32) {
    let digits = pid.checked_ilog10().unwrap_or(0);
    let digits = (0..=digits)
        .rev()
        .map(|place| b'0' + u8::try_from(pid / 10_u32.pow(place) % 10).unwrap_or(0));
    for (byte, written) in variable
        .iter_mut()
        .zip(LISTEN_PID.iter().copied().chain(digits).chain([0]))
    {
        *byte = written;
    }
}

/// A change of a child's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// It ended, with this exit code: 128 + n for signal n.
    Ended(u8),
    Stopped,
    Continued,
}

/// Returns the next change of any child, without waiting; `None` if there is none.
///
/// nix's `waitpid` is not used: it fails, after reaping, for a child that a real-time signal ended.
///
/// # Errors
/// [`Errno::ECHILD`] when there are no children.
pub(crate) fn child_change() -> Result<Option<(i32, Change)>, Errno> {
    let options = WaitOptions::NOHANG | WaitOptions::UNTRACED | WaitOptions::CONTINUED;
    let changed = wait(options).map_err(|error| Errno::from_raw(error.raw_os_error()))?;
    let Some((pid, status)) = changed else {
        return Ok(None);
    };
    let code = |number: i32| u8::try_from(number & 0xff).unwrap_or(u8::MAX);
    let change = match (status.exit_status(), status.terminating_signal()) {
        (Some(status), _) => Change::Ended(code(status)),
        (None, Some(signal)) => Change::Ended(128_u8.saturating_add(code(signal))),
        (None, None) if status.stopped() => Change::Stopped,
        (None, None) => Change::Continued,
    };
    Ok(Some((pid.as_raw_nonzero().get(), change)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pid_of_socket_activation_is_written_in_decimal() {
        for pid in [1, 7, 10, 4_194_304, 2_147_483_647] {
            let mut variable = [b'x'; 24];
            write_listen_pid(&mut variable, pid);
            let written = CStr::from_bytes_until_nul(&variable).map(CStr::to_bytes);
            assert_eq!(written, Ok(format!("LISTEN_PID={pid}").as_bytes()));
        }
    }
}
