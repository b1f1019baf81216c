//! The file system below a root, reached through directory descriptors.

pub(crate) mod barrier;
mod cores;
pub(crate) mod dir;
pub(crate) mod error;
pub(crate) mod file;
pub(crate) mod impersonate;
pub(crate) mod metadata;
pub(crate) mod mounts;
pub(crate) mod progress;
pub(crate) mod root;
pub(crate) mod source;
pub(crate) mod walk;
