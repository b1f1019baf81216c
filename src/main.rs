//! The program; all of it is in the library, where tests and examples reach it too.

use std::process::ExitCode;

#[global_allocator]
static HEAP: sealinit::Heap = sealinit::Heap;

fn main() -> ExitCode {
    sealinit::main()
}
