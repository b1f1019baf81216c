//! `probe.c`, compiled when it is first needed: a program that sends and counts signals.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::OnceLock;

use super::image::Sandbox;

/// The probe's path in a sandbox.
pub(crate) const PROBE: &str = "/sbin/probe";

/// The signals that a process can get: all but KILL and STOP.
pub(crate) fn catchable() -> impl Iterator<Item = i32> {
    (1..=64).filter(|number| ![9, 19].contains(number))
}

/// The probe, compiled.
pub(crate) fn probe() -> &'static Path {
    static PROBE: OnceLock<PathBuf> = OnceLock::new();
    PROBE.get_or_init(|| {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/harness/probe.c");
        let (path, new) = (
            directory.join("probe"),
            directory.join(format!("probe.{}", process::id())),
        );
        // Static, to run in any root; a machine that links a static Rust program can do that.
        let compiled = Command::new("cc")
            .args(["-static", "-O1", "-o"])
            .arg(&new)
            .arg(source)
            .output()
            .unwrap();
        assert!(
            compiled.status.success(),
            "{}",
            String::from_utf8_lossy(&compiled.stderr)
        );
        fs::rename(new, &path).unwrap();
        path
    })
}

/// Puts the probe into an image.
pub(crate) fn with_probe(sandbox: &Sandbox) {
    sandbox
        .file(PROBE, fs::read(probe()).unwrap())
        .mode(PROBE, 0o755);
}

/// Sends signals to a process of the host.
#[track_caller]
pub(crate) fn send(pid: u32, signals: impl IntoIterator<Item = i32>) {
    let sent = probe_sends(pid, signals);
    assert_eq!(sent, Some(0), "signals cannot be sent to {pid}");
}

/// Sends signals to a process of the host that may end of them before the last one is sent.
#[track_caller]
pub(crate) fn send_until_it_ends(pid: u32, signals: impl IntoIterator<Item = i32>) {
    let sent = probe_sends(pid, signals);
    assert!(
        matches!(sent, Some(0 | NO_SUCH_PROCESS)),
        "signals cannot be sent to {pid}: {sent:?}"
    );
}

/// The probe's exit code where the process to be signalled does not exist.
const NO_SUCH_PROCESS: i32 = 3;

fn probe_sends(pid: u32, signals: impl IntoIterator<Item = i32>) -> Option<i32> {
    let numbers = signals.into_iter().map(|number| number.to_string());
    Command::new(probe())
        .arg("send")
        .arg(pid.to_string())
        .args(numbers)
        .status()
        .unwrap()
        .code()
}
