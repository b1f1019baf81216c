//! First and later starts: what is installed, sealed, verified, refused and restored.

mod accounts;
mod changing_sources;
mod config_test;
mod cost;
mod destinations;
mod directories;
mod drift;
mod generated;
mod hashing;
mod install;
mod interrupted;
mod later;
mod limits;
mod log;
mod mounts;
mod pins;
mod seals;
mod secrets;

use crate::harness::{CONF, Sandbox};

/// Seals a configuration with one file.
fn sealed(sandbox: &Sandbox) {
    sandbox.one_file(&["cat", CONF]);
    let _ = sandbox.start().success();
}
