//! The harness: everything that more than one subject needs.

mod container;
mod docker;
mod host;
mod image;
mod launch;
mod namespaces;
pub(crate) mod needs;
mod outcome;
mod parallel;
mod probe;
mod running;
mod snapshot;
mod strace;
mod terminal;

pub(crate) use container::Container;
pub(crate) use docker::{Configuration, Image, Volume, poll};
pub(crate) use host::{Directory, all_text, digest, on_host, repository, sealinit, unique};
pub(crate) use image::{
    APP, CERTS, CONF, CONTENT, JOURNAL, KEY, MANIFEST, OTHER, SEAL, Sandbox, every_kind, one_file,
};
pub(crate) use launch::Launch;
pub(crate) use namespaces::UserNamespace;
pub(crate) use needs::{has_program, leave_out, skip};
pub(crate) use outcome::{CAPABILITY_SETS, EMPTY_SET, Outcome, Start};
pub(crate) use parallel::for_each;
pub(crate) use probe::{PROBE, catchable, probe, send, send_until_it_ends, with_probe};
pub(crate) use running::{Running, children, status, wait_until};
pub(crate) use snapshot::{Object, Tree, hash, is_temporary};
pub(crate) use strace::{TRACE, calls_of, injection, kill_points, name_of, writes};
pub(crate) use terminal::{CTRL_BACKSLASH, CTRL_C, CTRL_Z, SHELL, Terminal, in_foreground};

/// A test with a fresh image: `sandbox_test!(name, |sandbox| { ... });`.
///
/// Between the name and the closure stand further needs, functions of [`needs`]: `probe`, `strace`.
/// A test whose needs are not met is skipped, or fails where every test must run. Attributes stand
/// before the name.
macro_rules! sandbox_test {
    ($(#[$attribute:meta])* $name:ident $(, $need:ident)*, |$sandbox:ident| $body:block) => {
        #[test]
        $(#[$attribute])*
        fn $name() {
            let Some($sandbox) = $crate::harness::Sandbox::new() else {
                return;
            };
            $(if !$crate::harness::needs::$need(&$sandbox) {
                return;
            })*
            $body
        }
    };
}

/// A test with Docker, left out unless ignored tests are asked for: `docker_test!(name, { ... });`.
macro_rules! docker_test {
    ($(#[$attribute:meta])* $name:ident, $body:block) => {
        #[test]
        #[ignore = "needs root and a Docker engine"]
        $(#[$attribute])*
        fn $name() $body
    };
}

pub(crate) use {docker_test, sandbox_test};
