//! The integration tests: the real binary, started as a container engine would start it, and the kernel's word on what came of it.
//!
//! One crate, so that the harness is compiled and linked once. A module is a subject, a test's name is a sentence about it:
//! `cargo test --test it drift::` runs one subject.
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

/// The harness: Docker, with the images, configurations and containers of a test.
mod engine;
/// The harness: a start that is watched while it runs, and the probe that sends and counts signals.
mod running;
/// The harness: a private root in which the binary is PID 1.
mod sandbox;

/// The command line: usage, help, `digest`, log formats.
mod cli;
/// Real services in real Docker containers, under the options that operators harden them with.
mod container;
/// What a start costs: system calls, memory.
mod cost;
/// Killed at every system call of a start, then started again.
mod crash;
/// The digest by other means, and for ever.
mod digest;
/// What the documentation says, tried.
mod docs;
/// Every kind of drift under every policy.
mod drift;
/// Failed at every system call of a start, then started again.
mod faults;
/// A first start: what is installed, with which owner and mode, in which order.
mod first_start;
/// Full disks of every size, read-only mounts and mount points in every place.
mod full;
/// Generated configurations and disks, and a second opinion on what must come of them.
mod generated;
/// Much to hash: on all cores or on one, the same.
mod hashing;
/// Planted states: links, pipes, foreign directories, damaged seals, full disks.
mod hostile;
/// `sealinit init`: signals, reaping and the privilege drop without any configuration.
mod init;
/// Bad input: each mistake has its exit code and its message, and nothing is written.
mod invalid;
/// Manual pages and shell completions.
mod manual;
/// A real file system on a real block device, of which the power is cut.
mod power_cut;
/// Every way to be started with too much or too little, and drops that only say so.
mod privileges;
/// `check`: would a first start succeed here?
mod report_check;
/// Health checks, smoke tests and Compose, in real Docker containers.
mod report_container;
/// `plan`: what a start would do now.
mod report_plan;
/// `schema`: what an editor is told about a manifest.
mod report_schema;
/// `verify` and `status`: what is sealed, and what has drifted.
mod report_verify;
/// Later starts: verified, manifest changed or gone, pins.
mod restart;
/// Killed again at every system call of a resumed start.
mod resumed;
/// What the service gets, in the kernel's words.
mod service;
/// Changing sources, sizes at the limits, odd accounts, a log that is gone.
mod strange;
/// A supervised service: signals, orphans, the end of the whole tree, and what the init is meanwhile.
mod supervise;
/// Supervised services in real Docker containers.
mod supervise_container;
/// A supervised service on a terminal: job control, Ctrl-C, Ctrl-Z, window size.
mod terminal;
/// The service's own check before the seal, and where a refusal is told.
mod trial;
/// Without root, with too few capabilities, in user namespaces.
mod unprivileged;
