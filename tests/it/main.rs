//! The integration tests: the real binary, started as a container engine would start it.
//!
//! One crate, so that the harness is compiled and linked once. A folder is a subject, a test's name
//! is a sentence about it: `cargo test --test it start::drift::` runs one subject.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends at its first surprise"
)]
#![allow(
    clippy::needless_pass_by_value,
    reason = "json!(…) is written where it is used, a reference would only be noise"
)]

/// Everything that more than one subject needs: images, starts, outcomes, strace, Docker.
mod harness;

/// The commands beside `run`: usage, `check`, `digest`, `init`, `plan`, `schema`, `status`,
/// `verify`.
mod commands;
/// Real services in real Docker containers.
mod containers;
/// Kills, failing system calls, full disks and power cuts at every instant of a start.
mod failures;
/// Manifests with mistakes: refused with their place and the remedy.
mod manifest;
/// The service after the drop of privileges: credentials, environment, program.
mod service;
/// The repository itself: its documentation and the rules of its source tree.
mod source;
/// First and later starts: installed, sealed, verified, drifted, restored, refused.
mod start;
/// Supervised services: signals, orphans, exit status, terminals.
mod supervise;
