//! The program; all of it is in the library, where tests and examples reach it too.

use std::process::ExitCode;

/// A start is over in less than a millisecond, and what it frees it needs again: musl's allocator, made for small memory, would go
/// to the kernel for that each time.
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    sealinit::main()
}
