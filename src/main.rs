//! The program; all of it is in the library, where tests and examples reach it too.

use std::process::ExitCode;

fn main() -> ExitCode {
    sealinit::main()
}
