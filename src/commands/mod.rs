//! The commands: one file each.

pub(crate) mod check;
pub(crate) mod init;
pub(crate) mod plan;
pub(crate) mod status;
pub(crate) mod verify;
