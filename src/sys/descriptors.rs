//! File descriptors at an exec, and the access control lists of open files.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::libc::{self, c_int};
use rustix::fs::fremovexattr;

/// `close_range(2)`, which neither the C library on musl nor the crates in use have.
fn close_range(first: u32, flags: u32) -> Result<(), Errno> {
    // SAFETY: all three arguments are numbers. Callers that close descriptors own none of them.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, flags) };
    Errno::result(result).map(drop)
}

/// Marks every descriptor from `first` on to be closed by an exec.
pub(crate) fn close_on_exec_from(first: u32) -> Result<(), Errno> {
    const CLOSE_RANGE_CLOEXEC: u32 = 4;
    close_range(first, CLOSE_RANGE_CLOEXEC)
}

/// Closes every descriptor from `first` on. The caller has dropped every descriptor that it owned.
/// A kernel without the call leaves inherited descriptors open, which is harmless.
pub(crate) fn close_from(first: u32) {
    let _ = close_range(first, 0);
}

/// Sets the flags of a descriptor. One that is not open is not an error.
fn set_flags(descriptor: c_int, flags: c_int) {
    // SAFETY: F_SETFD changes a flag of the descriptor, if it is open, and closes nothing.
    unsafe { libc::fcntl(descriptor, libc::F_SETFD, flags) };
}

/// Marks one descriptor to be closed by an exec. One that is not open is not an error.
pub(crate) fn close_on_exec(descriptor: c_int) {
    set_flags(descriptor, libc::FD_CLOEXEC);
}

/// Lets one descriptor pass an exec. One that is not open is not an error.
pub(crate) fn keep_on_exec(descriptor: c_int) {
    set_flags(descriptor, 0);
}

/// Removes the access control lists of an open file or directory (acl(5)), including the default
/// one that new files in a directory inherit.
pub(crate) fn remove_acls(file: impl AsFd) -> Result<(), Errno> {
    for name in [c"system.posix_acl_access", c"system.posix_acl_default"] {
        match fremovexattr(&file, name).map_err(|error| Errno::from_raw(error.raw_os_error())) {
            // The file or the file system has no lists; a regular file has no default list; the
            // kernel or the seccomp profile does not know extended attributes.
            Ok(())
            | Err(
                Errno::ENODATA | Errno::EOPNOTSUPP | Errno::EACCES | Errno::EINVAL | Errno::ENOSYS,
            ) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
