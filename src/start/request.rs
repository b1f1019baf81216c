//! The request of a start, from the command line and the environment.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::digest::Digest;

/// The parameters of a start, which `plan` and `check` take as well.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// The path of the manifest.
    pub(crate) manifest: PathBuf,
    /// The directory of journal and seal.
    pub(crate) state_dir: PathBuf,
    /// The only configuration that may be installed or run.
    pub(crate) pin: Option<Digest>,
    /// The command after `--`; empty for the manifest's.
    pub(crate) command: Vec<OsString>,
}
