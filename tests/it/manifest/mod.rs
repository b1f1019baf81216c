//! Manifests: every mistake has its exit code and one clear message, and nothing is written.

mod document;
mod entries;
mod ids;
mod keys;
mod modes;
mod paths;
mod service;
mod sources;

use crate::harness::{CONTENT, MANIFEST, Sandbox};

/// Starts with a manifest in which a `▸` stands before each place that is at fault, and asserts
/// that exactly these problems are reported, each with its place: `$.path: message`.
#[track_caller]
fn problems(original: &Sandbox, marked: &str, expected: &[&str]) {
    let sandbox = original.another();
    sandbox
        .source("app.conf", CONTENT)
        .directory("/etc/sealinit/tree", 0o755);
    let mut places = Vec::new();
    for (line, text) in marked.lines().enumerate() {
        for (nth, (offset, _)) in text.match_indices('▸').enumerate() {
            places.push((line + 1, text[..offset].chars().count() - nth + 1));
        }
    }
    assert_eq!(
        places.len(),
        expected.len(),
        "the test must mark each place once"
    );
    sandbox.file(MANIFEST, marked.replace('▸', ""));
    let refused = sandbox.start().refused(78, MANIFEST);
    let expected: Vec<_> = places
        .iter()
        .zip(expected)
        .map(|((line, column), problem)| format!("{MANIFEST}:{line}:{column}: {problem}"))
        .collect();
    assert_eq!(refused.errors(), expected, "{refused:?}");
}

/// A manifest around these members of its one file.
fn file(members: &str) -> String {
    format!(
        r#"{{"version": 1, "service": {{"user": "app", "command": ["true"]}}, "files": [{{{members}}}]}}"#
    )
}

/// A manifest around these members of its service, which has no others.
fn service(members: &str) -> String {
    format!(r#"{{"version": 1, "service": {{{members}}}}}"#)
}

/// A manifest around these members of its one directory.
fn directory(members: &str) -> String {
    format!(
        r#"{{"version": 1, "service": {{"user": "app", "command": ["true"]}}, "directories": [{{{members}}}]}}"#
    )
}
