//! Declared destinations.

use std::path::PathBuf;

use crate::declaration::place::{Place, Placed};
use crate::declaration::value::Account;
use crate::digest::Digest;

/// A destination and its wanted state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeclaredEntry {
    /// Absolute, without `.`, `..` and empty components.
    pub(crate) dest: PathBuf,
    pub(crate) place: Place,
    pub(crate) kind: DeclaredKind,
}

/// The wanted state of a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DeclaredKind {
    File(DeclaredFile),
    Directory(DeclaredDirectory),
    Absent,
}

/// A file to install.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeclaredFile {
    pub(crate) content: DeclaredContent,
    pub(crate) owner: Option<Placed<Account>>,
    pub(crate) group: Option<Placed<Account>>,
    pub(crate) mode: Option<u32>,
    /// The source may be missing; the destination is removed then.
    pub(crate) optional: bool,
    /// The hash that the source must have.
    pub(crate) sha256: Option<Digest>,
    /// Neither content nor hash may be printed.
    pub(crate) secret: bool,
    /// Installed once and not verified.
    pub(crate) mutable: bool,
}

/// The content of a declared file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DeclaredContent {
    Inline(String),
    Source(DeclaredSource),
}

/// A file or directory to read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeclaredSource {
    /// The path at which this process finds it.
    pub(crate) path: PathBuf,
    /// Declared as a path of its own, not relative to the document.
    pub(crate) is_absolute: bool,
}

/// A directory to copy, or to create for the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeclaredDirectory {
    pub(crate) source: Option<DeclaredSource>,
    pub(crate) owner: Option<Placed<Account>>,
    pub(crate) group: Option<Placed<Account>>,
    pub(crate) mode: Option<u32>,
    /// The mode of the copied files.
    pub(crate) file_mode: Option<u32>,
    /// Other names in it are removed at the first start, and are drift later.
    pub(crate) exact: bool,
    /// Everything below is given to owner and group.
    pub(crate) recursive: bool,
}
