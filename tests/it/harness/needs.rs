//! Tests that cannot run on this machine: `SKIP`, or a failure where every test must run.

use std::io::Write as _;
use std::{env, thread};

use super::image::Sandbox;
use super::probe::with_probe;

/// Reports if a program is on the `PATH` of this machine.
pub(crate) fn has_program(name: &str) -> bool {
    env::split_paths(&env::var_os("PATH").unwrap_or_default())
        .any(|directory| directory.join(name).is_file())
}

/// Reports that a test cannot run here. Panics if `REQUIRE_SANDBOX` or `CI` says that it must.
#[track_caller]
pub(crate) fn skip(reason: &str) {
    let required = ["REQUIRE_SANDBOX", "CI"]
        .iter()
        .any(|name| env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0"));
    assert!(!required, "cannot run here: {reason}");
    note(&format!("SKIP {}: {reason}", test_name()));
}

/// Writes a line to the real standard error: libtest captures only the output of the macros.
pub(super) fn note(line: &str) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

pub(super) fn test_name() -> String {
    thread::current().name().unwrap_or("test").into()
}

/// Reports that a test is left out here, even where every test must run.
pub(crate) fn leave_out(reason: &str) {
    note(&format!("SKIP {}: {reason}", test_name()));
}

/// The test needs `probe.c`'s program, which is put at [`PROBE`](super::PROBE).
pub(crate) fn probe(sandbox: &Sandbox) -> bool {
    with_probe(sandbox);
    true
}

/// The test needs strace(1).
pub(crate) fn strace(_: &Sandbox) -> bool {
    program("strace")
}

/// The test needs prlimit(1).
pub(crate) fn prlimit(_: &Sandbox) -> bool {
    program("prlimit")
}

fn program(name: &str) -> bool {
    let found = has_program(name);
    if !found {
        skip(&format!("needs {name}"));
    }
    found
}
