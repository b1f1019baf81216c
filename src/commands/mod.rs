//! The commands: one file each, with its options.

pub(crate) mod check;
pub(crate) mod digest;
pub(crate) mod init;
pub(crate) mod options;
pub(crate) mod outside;
pub(crate) mod plan;
pub(crate) mod run;
pub(crate) mod schema;
pub(crate) mod status;
pub(crate) mod verify;
