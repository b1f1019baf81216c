//! The exit codes. 64 to 78 are those of sysexits.h; 126 and 127 those of env(1) and sh.

/// `verify` or `check` found a problem.
pub(crate) const FOUND: u8 = 1;
/// Wrong usage.
pub(crate) const USAGE: u8 = 2;
/// A source is missing or unreadable (`EX_NOINPUT` of sysexits.h).
pub(crate) const SOURCE: u8 = 66;
/// A user or group is unknown (`EX_NOUSER`).
pub(crate) const ACCOUNT: u8 = 67;
/// A bug in sealinit (`EX_SOFTWARE`).
pub(crate) const BUG: u8 = 70;
/// An entry cannot be installed (`EX_CANTCREAT`).
pub(crate) const INSTALL: u8 = 73;
/// The state, the seal or an entry cannot be read or written (`EX_IOERR`).
pub(crate) const STATE: u8 = 74;
/// Privileges are missing (`EX_NOPERM`).
pub(crate) const PRIVILEGE: u8 = 77;
/// The manifest is missing or invalid (`EX_CONFIG`).
pub(crate) const MANIFEST: u8 = 78;
/// The disk differs from the seal.
pub(crate) const DRIFT: u8 = 80;
/// The seal is invalid.
pub(crate) const SEAL: u8 = 81;
/// The digest is not the pinned one.
pub(crate) const PIN: u8 = 82;
/// The first start of another configuration was interrupted.
pub(crate) const INTERRUPTED: u8 = 83;
/// The service's own check failed.
pub(crate) const CHECK: u8 = 84;
/// The service cannot be executed (env(1), sh).
pub(crate) const NOT_EXECUTABLE: u8 = 126;
/// The service was not found.
pub(crate) const NOT_FOUND: u8 = 127;
