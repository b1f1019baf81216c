//! Standard error that does not block: a log that nobody reads must not stop PID 1.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::sys;
use crate::sys::signal::Signal;

/// Standard error. If its reader is stuck, what is written is dropped.
pub(crate) struct NonBlockingStderr;

/// Milliseconds to wait for a reader that is stuck; once, since the next line has the same reader.
const MAX_WAIT: u16 = 1000;

/// Set when the reader was waited for in vain.
static STUCK: AtomicBool = AtomicBool::new(false);

impl io::Write for NonBlockingStderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        /// A pipe that is ready takes this much without blocking: `PIPE_BUF` of limits.h.
        const AT_ONCE: usize = 4096;
        let mut stderr = io::stderr();
        let wait = if STUCK.load(Ordering::Relaxed) {
            0
        } else {
            MAX_WAIT
        };
        let mut descriptors = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
        if poll(&mut descriptors, PollTimeout::from(wait)) == Ok(0) {
            STUCK.store(true, Ordering::Relaxed);
            return Ok(bytes.len()); // dropped
        }
        let written = stderr.write(&bytes[..bytes.len().min(AT_ONCE)]);
        if written
            .as_ref()
            .is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
        {
            // The signal is pending, blocked, and would reach the service, which wrote nothing.
            sys::forget_signal(Signal::PIPE);
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
