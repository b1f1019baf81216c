//! `check`: reports every problem of a first start at once, and writes nothing.

mod machine;
mod report;

use std::process::Output;

use serde_json::Value;

use crate::harness::{Launch, MANIFEST, Outcome, Sandbox, on_host};

/// A change to the image.
type Tamper = fn(&Sandbox);

#[track_caller]
fn check(launch: Launch<'_>, arguments: &[&str], code: i32) -> Outcome {
    let start = launch.subcommand([&["check"], arguments].concat()).start();
    start.untouched();
    let outcome = start.code(code);
    assert_eq!(outcome.stderr, "", "{outcome:?}");
    outcome
}

#[track_caller]
fn found(launch: Launch<'_>, arguments: &[&str], code: i32) -> Value {
    let outcome = check(launch, &[arguments, &["--format", "json"]].concat(), code);
    assert_eq!(outcome.stdout.lines().count(), 1, "{outcome:?}");
    serde_json::from_str(&outcome.stdout).unwrap()
}

fn messages(findings: &Value) -> Vec<&str> {
    findings
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| finding["message"].as_str().unwrap())
        .collect()
}

fn from_host(sandbox: &Sandbox, arguments: &[&str]) -> Output {
    let (root, manifest) = (sandbox.path("/"), sandbox.path(MANIFEST));
    let below = [
        "--root",
        root.to_str().unwrap(),
        "--manifest",
        manifest.to_str().unwrap(),
    ];
    on_host([&["check"], arguments, &below].concat())
}
