//! Standard error that does not block: a log without a reader must not stop PID 1.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::sys;
use crate::sys::signal::Signal;

/// Standard error. Drops what is written while its reader does not read.
pub(crate) struct NonBlockingStderr;

/// Milliseconds to wait once for a reader that does not read.
const MAX_WAIT: u16 = 1000;

/// True after a wait that ended without room in the pipe.
static STUCK: AtomicBool = AtomicBool::new(false);

impl io::Write for NonBlockingStderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        /// Bytes that a ready pipe accepts without blocking: `PIPE_BUF` of limits.h.
        const MAX_WRITE: usize = 4096;
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
        let written = stderr.write(&bytes[..bytes.len().min(MAX_WRITE)]);
        if written
            .as_ref()
            .is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
        {
            // The blocked SIGPIPE would stay pending and end the service.
            sys::forget_signal(Signal::PIPE);
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
