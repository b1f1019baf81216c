//! Planned destinations.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::declaration::destination::TEMPORARY_PREFIX;
use crate::digest::{Digest, FileDigest};
use crate::error::Error;
use crate::escape::escaped;
use crate::fs::metadata::Ownership;

/// A destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) dest: PathBuf,
    pub(crate) kind: EntryKind,
    /// The service must not be able to change it, nor a directory on the way.
    pub(crate) locked: bool,
}

impl Entry {
    /// Returns true if a later start compares it with the disk.
    pub(crate) fn is_verified(&self) -> bool {
        !matches!(&self.kind, EntryKind::File(file) if file.mutable)
    }
}

/// The planned state of a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EntryKind {
    File(PlannedFile),
    Directory(PlannedDirectory),
    Absent,
}

impl EntryKind {
    /// The planned owner, group and mode; `None` for [`Self::Absent`].
    pub(crate) fn ownership(&self) -> Option<Ownership> {
        match self {
            Self::File(file) => Some(file.ownership),
            Self::Directory(directory) => Some(directory.ownership),
            Self::Absent => None,
        }
    }
}

/// A file to install.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlannedFile {
    /// `None` if the source could not be read, which was reported; such a plan is not installed.
    pub(crate) content: Option<FileDigest>,
    pub(crate) origin: ContentOrigin,
    pub(crate) ownership: Ownership,
    /// Neither content nor hash may be printed.
    pub(crate) secret: bool,
    /// Installed once and not verified.
    pub(crate) mutable: bool,
}

impl PlannedFile {
    /// The content to install at `dest`.
    ///
    /// # Errors
    ///
    /// [`Error::Internal`] if the source could not be read.
    pub(crate) fn known_content(&self, dest: &Path) -> Result<FileDigest, Error> {
        self.content.ok_or_else(|| {
            Error::internal("a file without content is to be installed", &escaped(dest))
        })
    }
}

/// The place of a file's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ContentOrigin {
    Inline(String),
    Source(PathBuf),
}

/// A directory to create or take over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlannedDirectory {
    pub(crate) ownership: Ownership,
    /// The names that may be in it, if others are drift.
    pub(crate) exact: Option<BTreeSet<OsString>>,
    /// Everything below belongs to the same owner and group.
    pub(crate) recursive: bool,
}

/// The temporary name under which `dest` is written. It is the same at every start, so that a
/// leftover is found again, and short for a name of any length.
pub(crate) fn temporary_name(dest: &Path) -> OsString {
    let hash = Digest::of(dest.as_os_str().as_bytes()).hex();
    let mut name = OsString::from(TEMPORARY_PREFIX);
    name.push(OsStr::new(&hash[..16]));
    name
}
