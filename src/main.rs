//! The program; all of it is in the library, where tests and examples reach it too.

use std::process::ExitCode;

#[cfg(target_env = "musl")]
#[global_allocator]
static HEAP: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    sealinit::main()
}
