//! Differences between the disk and the seal.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::digest::Digest;
use crate::escape::escaped;
use crate::fs::metadata::FileKind;

/// One difference between the disk and the seal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Drift {
    /// A sealed entry is gone.
    Missing { path: PathBuf, expected: FileKind },
    /// There is a name where none may be.
    Extra {
        path: PathBuf,
        found: FileKind,
        of: Exclusion,
    },
    /// An entry, or a directory on the way to one, is of another type.
    Type {
        path: PathBuf,
        expected: FileKind,
        found: FileKind,
    },
    /// A file has other content.
    Content {
        path: PathBuf,
        change: ContentChange,
    },
    /// An entry belongs to another user.
    Owner {
        path: PathBuf,
        expected: u32,
        found: u32,
    },
    /// An entry belongs to another group.
    Group {
        path: PathBuf,
        expected: u32,
        found: u32,
    },
    /// An entry has other permission bits.
    Mode {
        path: PathBuf,
        expected: u32,
        found: u32,
    },
    /// A directory on the way lets users other than `installer` replace what is below it.
    UnsafeParent {
        path: PathBuf,
        installer: u32,
        uid: u32,
        mode: u32,
    },
    /// An entry could not be compared.
    Unreadable { path: PathBuf, why: String },
    /// The start was given another command after `--`; both as they are printed.
    Command { expected: String, found: String },
}

/// The reason why a name may not be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exclusion {
    /// It is declared absent.
    Absent,
    /// Its directory is `exact`.
    Exact,
}

/// How the content of a file differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ContentChange {
    /// A secret's: neither hash nor size is printed.
    Secret,
    /// The size differs, so the content was not read.
    Size {
        digest: Digest,
        expected: u64,
        found: u64,
    },
    /// The hash differs.
    Hash { expected: Digest, found: Digest },
}

/// The kind of change, in the words of file integrity checkers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Change {
    Missing,
    Extra,
    Changed,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Changed => "changed",
        })
    }
}

/// A difference as logs and reports show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct RenderedDrift {
    /// Escaped; `--` for the command.
    pub(crate) path: String,
    pub(crate) change: Change,
    pub(crate) attribute: &'static str,
    pub(crate) expected: String,
    pub(crate) found: String,
}

/// Shown where nothing is expected or found.
const NOTHING: &str = "nothing";

impl Drift {
    /// The path that differs; `None` for the command.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Missing { path, .. }
            | Self::Extra { path, .. }
            | Self::Type { path, .. }
            | Self::Content { path, .. }
            | Self::Owner { path, .. }
            | Self::Group { path, .. }
            | Self::Mode { path, .. }
            | Self::UnsafeParent { path, .. }
            | Self::Unreadable { path, .. } => Some(path),
            Self::Command { .. } => None,
        }
    }

    /// The kind of change.
    pub(crate) fn change(&self) -> Change {
        match self {
            Self::Missing { .. } => Change::Missing,
            Self::Extra { .. } => Change::Extra,
            _ => Change::Changed,
        }
    }

    /// The words for logs and reports.
    pub(crate) fn rendered(&self) -> RenderedDrift {
        let (attribute, expected, found) = self.words();
        RenderedDrift {
            path: self
                .path()
                .map_or_else(|| "--".into(), |path| escaped(path).to_string()),
            change: self.change(),
            attribute,
            expected,
            found,
        }
    }

    /// Attribute, expected value and found value.
    fn words(&self) -> (&'static str, String, String) {
        let octal = |mode: &u32| format!("{mode:04o}");
        match self {
            Self::Missing { expected, .. } => ("type", expected.name().into(), NOTHING.into()),
            Self::Extra { found, of, .. } => {
                let attribute = match of {
                    Exclusion::Absent => "type",
                    Exclusion::Exact => "extra",
                };
                (attribute, NOTHING.into(), found.name().into())
            }
            Self::Type {
                expected, found, ..
            } => ("type", expected.name().into(), found.name().into()),
            Self::Content { change, .. } => {
                let (expected, found) = change.words();
                ("content", expected, found)
            }
            Self::Owner {
                expected, found, ..
            } => ("owner", expected.to_string(), found.to_string()),
            Self::Group {
                expected, found, ..
            } => ("group", expected.to_string(), found.to_string()),
            Self::Mode {
                expected, found, ..
            } => ("mode", octal(expected), octal(found)),
            Self::UnsafeParent {
                installer,
                uid,
                mode,
                ..
            } => (
                "parent",
                format!("owned by {installer} and writable for its owner alone"),
                format!("owned by {uid} with mode {mode:04o}"),
            ),
            Self::Unreadable { why, .. } => ("unreadable", "readable".into(), why.clone()),
            Self::Command { expected, found } => ("command", expected.clone(), found.clone()),
        }
    }
}

impl ContentChange {
    fn words(&self) -> (String, String) {
        match self {
            Self::Secret => ("the sealed secret".into(), "another".into()),
            Self::Size {
                digest,
                expected,
                found,
            } => (
                format!("{digest} ({expected} bytes)"),
                format!("{found} bytes"),
            ),
            Self::Hash { expected, found } => (expected.to_string(), found.to_string()),
        }
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RenderedDrift {
            path,
            attribute,
            expected,
            found,
            ..
        } = self.rendered();
        write!(f, "{path}: {attribute}: expected {expected}, found {found}")
    }
}
