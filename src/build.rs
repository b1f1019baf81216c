//! Build script: what the linker is told about a release.
//!
//! Never touches a build that could be debugged, profiled or tested by unwinding, and never needs to run for the program to work.

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// Leaves out the tables for unwinding, a tenth of the program: a panic in it is told by its hook and ends it (`report_panics`), and
/// nothing else unwinds. The standard library comes with them compiled in, and no option of the compiler takes them out again. What the
/// start files of C have of them stays: it marks their beginning and their end.
const SCRIPT: &str = "SECTIONS {
  /DISCARD/ : { *(EXCLUDE_FILE(*crtbegin*.o *crtend*.o) .eh_frame) *(.gcc_except_table .gcc_except_table.*) }
} INSERT AFTER .bss;
";

fn main() -> io::Result<()> {
    let mut cargo = io::stdout();
    writeln!(cargo, "cargo::rerun-if-changed=src/build.rs")?;
    let is = |variable: &str, value: &str| env::var(variable).is_ok_and(|found| found == value);
    // Debuggers and profilers read the tables, too.
    let shipped =
        is("PROFILE", "release") && is("DEBUG", "false") && is("CARGO_CFG_TARGET_OS", "linux");
    // Not every linker knows such a script; the one that comes with Rust does, and so does that of the GNU binutils.
    let rustflags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let known_linker = env::var_os("RUSTC_LINKER").is_none() && !rustflags.contains("fuse-ld");
    if let (true, true, Some(directory)) = (shipped, known_linker, env::var_os("OUT_DIR")) {
        let script = Path::new(&directory).join("release.ld");
        fs::write(&script, SCRIPT)?;
        writeln!(
            cargo,
            "cargo::rustc-link-arg-bin=sealinit=-Wl,--no-eh-frame-hdr"
        )?;
        writeln!(
            cargo,
            "cargo::rustc-link-arg-bin=sealinit=-T{}",
            script.display()
        )?;
    }
    Ok(())
}
