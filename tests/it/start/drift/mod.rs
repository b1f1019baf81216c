//! Drift: every kind under every policy.

mod kinds;
mod policies;
mod report;

use serde_json::{Value, json};

use crate::harness::{Outcome, Sandbox, every_kind, hash};

/// Seals a configuration with an entry of every kind, whose service prints `ran`.
fn configured(sandbox: &Sandbox, on_drift: &str) {
    sandbox
        .every_kind(&manifest(on_drift))
        .source("tree/sub/b", "b\n");
    assert_eq!(sandbox.start().success().state(), "sealed");
}

fn manifest(on_drift: &str) -> Value {
    let mut manifest = every_kind();
    manifest["on_drift"] = json!(on_drift);
    manifest
}

/// A drift in the log: path, attribute, sealed and found value.
struct Expected {
    path: &'static str,
    attribute: &'static str,
    sealed: String,
    found: String,
}

fn expected(path: &'static str, attribute: &'static str, sealed: &str, found: &str) -> Expected {
    Expected {
        path,
        attribute,
        sealed: sealed.into(),
        found: found.into(),
    }
}

impl Expected {
    /// The fields as in a text log, where a value of more than one word is quoted.
    fn line(&self) -> String {
        let quoted = |value: &str| {
            if value.contains(' ') {
                format!("\"{value}\"")
            } else {
                value.to_owned()
            }
        };
        let Self {
            path,
            attribute,
            sealed,
            found,
        } = self;
        format!(
            "drift path={path} attribute={attribute} expected={} found={}",
            quoted(sealed),
            quoted(found)
        )
    }

    #[track_caller]
    fn in_lines(&self, lines: &[&str], outcome: &Outcome) {
        let line = self.line();
        assert!(
            lines.iter().any(|candidate| candidate.contains(&line)),
            "no line says {line:?}\n{outcome:?}"
        );
    }
}

/// The drift of a content of another length than the sealed one; the log has the lengths.
fn resized(path: &'static str, sealed: &str, found: &str) -> Expected {
    let hash = hash(sealed);
    expected(
        path,
        "content",
        &format!("sha256:{hash} ({} bytes)", sealed.len()),
        &format!("{} bytes", found.len()),
    )
}

/// A change to the sealed disk.
type Tamper = fn(&Sandbox);
