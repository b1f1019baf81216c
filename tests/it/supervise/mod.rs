//! A supervised service: the init stays as PID 1, or as any other process.
//!
//! The service is mostly the probe (`harness/probe.c`), which prints the signals that it gets; the
//! host's `/proc` shows the init.

mod early_signals;
mod exit_status;
mod orphans;
mod privileges;
mod readme;
mod signals;
mod streams;
mod terminal;

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Launch, PROBE, Sandbox, one_file, with_probe};

/// The probe that prints the signals that it gets, and leaves after the last.
const COUNT: &[&str] = &[PROBE, "signals", "main", "64"];

/// [`one_file`], supervised.
fn supervised(command: &[&str]) -> Value {
    let mut manifest = one_file(command);
    manifest["service"]["supervise"] = json!(true);
    manifest
}

/// An image with the probe and this supervised service.
fn service(sandbox: &Sandbox, command: &[&str]) {
    with_probe(sandbox);
    sandbox.one_file(command).manifest(&supervised(command));
}

/// An image with the probe and this manifest, beside another.
fn beside(sandbox: &Sandbox, manifest: &Value) -> Sandbox {
    let sandbox = sandbox.another();
    with_probe(&sandbox);
    sandbox.one_file(&[]).manifest(manifest);
    sandbox
}

/// Puts a process above it that lists the processes that outlive it, as under `docker run --init`
/// or in a pod with a shared process namespace.
fn below_another_init(launch: Launch<'_>) -> Launch<'_> {
    let script = "\"$@\"; code=$?; cd /proc
        for process in [0-9]*; do [ $process = 1 ] || echo outlived by $(cat $process/comm); done
        exit $code";
    launch.wrapper(["sh", "-c", script, "sh"])
}

/// As PID 1, and as another process.
fn both(sandbox: &Sandbox) -> [Launch<'_>; 2] {
    [sandbox.launch(), below_another_init(sandbox.launch())]
}

/// The lines of the probe `main`, in the order in which it got the signals.
fn got(numbers: impl IntoIterator<Item = i32>) -> String {
    numbers
        .into_iter()
        .fold("main ready\n".to_owned(), |text, number| {
            format!("{text}main {number}\n")
        })
}

fn summaries(log: &str) -> usize {
    log.lines().filter(|line| line.contains(" state=")).count()
}

fn is_gone(pid: u32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}
