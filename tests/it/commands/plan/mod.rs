//! `plan`: shows what a start would do, entry by entry, and does nothing.

mod entries;
mod obstacles;

use serde_json::{Value, json};

use crate::harness::{CONF, Launch, Outcome, Sandbox};

#[track_caller]
fn plan(launch: Launch<'_>, arguments: &[&str]) -> Outcome {
    let start = launch.subcommand([&["plan"], arguments].concat()).start();
    start.untouched();
    let outcome = start.code(0);
    assert_eq!(outcome.stderr, "", "{outcome:?}");
    outcome
}

#[track_caller]
fn planned(sandbox: &Sandbox, arguments: &[&str]) -> Value {
    planned_by(sandbox.launch(), arguments)
}

#[track_caller]
fn planned_by(launch: Launch<'_>, arguments: &[&str]) -> Value {
    let outcome = plan(launch, &[&["--format", "json"], arguments].concat());
    assert_eq!(outcome.stdout.lines().count(), 1, "{outcome:?}");
    serde_json::from_str(&outcome.stdout).unwrap()
}

/// An image and a configuration with an entry for every action.
fn prepared(sandbox: &Sandbox, on_drift: &str) {
    sandbox
        .manifest(&json!({
            "version": 1,
            "service": {"user": "app", "command": ["echo", "ran"]},
            "files": [
                {"source": "app.conf", "dest": CONF},
                {"content": "the key\n", "dest": "/etc/app/key.pem", "secret": true},
                {"content": "new\n", "dest": "/etc/app/new"},
                {"content": "same\n", "dest": "/etc/app/same", "mode": "0644", "group": "root"},
                {"content": "seed\n", "dest": "/srv/data/seed", "owner": "app", "mutable": true},
            ],
            "directories": [{"path": "/etc/app/tree", "source": "tree", "exact": true}, {"path": "/srv/data"}],
            "absent": ["/etc/app/default.conf", "/etc/app/never"],
            "on_drift": on_drift,
        }))
        .source("app.conf", "a\nb\nc\n")
        .source("tree/a", "a\n")
        .file(CONF, "a\nB\u{1b}[31m\nc\n")
        .file("/etc/app/key.pem", "old key\n")
        .file("/etc/app/same", "same\n")
        .file("/etc/app/default.conf", "")
        .file("/etc/app/tree/extra", "");
}
