//! The command line and the commands beside `run`.

mod check;
mod digest;
mod init;
mod manual;
mod plan;
mod schema;
mod status;
mod usage;
mod verify;

use std::process::Output;

use serde_json::{Value, json};

use crate::harness::{Outcome, Sandbox, every_kind, on_host};

/// A configuration with an entry of every kind.
fn configured(sandbox: &Sandbox) {
    let mut manifest = every_kind();
    manifest["service"]["supplementary_groups"] = json!(["certs"]);
    let seed =
        json!({"content": "seed", "dest": "/srv/data/seed", "owner": "app", "mutable": true});
    manifest["files"].as_array_mut().unwrap().push(seed);
    sandbox.every_kind(&manifest);
}

/// Seals a configuration with an entry of every kind.
fn sealed(sandbox: &Sandbox) {
    configured(sandbox);
    let _ = sandbox.start().success();
}

/// Runs a reporting command inside, where it must write nothing, neither on the disk nor to the
/// log.
#[track_caller]
fn inside(sandbox: &Sandbox, arguments: &[&str], code: i32) -> Outcome {
    let start = sandbox.launch().subcommand(arguments).start();
    start.untouched();
    let outcome = start.code(code);
    assert_eq!(outcome.stderr, "", "{outcome:?}");
    outcome
}

#[track_caller]
fn json_of(sandbox: &Sandbox, arguments: &[&str], code: i32) -> Value {
    let outcome = inside(sandbox, &[arguments, &["--format", "json"]].concat(), code);
    assert_eq!(outcome.stdout.lines().count(), 1, "{outcome:?}");
    serde_json::from_str(&outcome.stdout).unwrap()
}

/// Runs a reporting command on the host, below the root of the sandbox.
fn from_host(arguments: &[&str], sandbox: &Sandbox) -> Output {
    let root = sandbox.path("/");
    on_host([arguments, &["--root", root.to_str().unwrap()]].concat())
}

/// The output of a process, which must be UTF-8.
fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}
