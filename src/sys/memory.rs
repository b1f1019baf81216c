//! Memory of a process that is about to sleep.

use std::ptr;

use nix::libc;

/// Lets the kernel forget which pages of the program were used: they come back from the page cache
/// when they are needed. Without it the sleeping init keeps more than a megabyte of its own, for
/// the kernel maps 64 KiB around each page that a start touches.
///
/// It is a saving: an error means that nothing is saved.
pub(crate) fn forget_program() {
    // Symbols of the linker: the first byte of the program's file, and the end of its code.
    unsafe extern "C" {
        safe static __executable_start: u8;
        safe static etext: u8;
    }
    let (begin, end) = (&raw const __executable_start, &raw const etext);
    let length = end.addr().saturating_sub(begin.addr());
    let program = ptr::without_provenance_mut(begin.addr());
    // SAFETY: what is between the two is mapped read-only from the program's file, and has the same
    // content when it is read again.
    unsafe { libc::madvise(program, length, libc::MADV_DONTNEED) };
}
