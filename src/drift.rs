//! Differences between the disk and the seal.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::digest::Digest;
use crate::escape::escaped;
use crate::fs::metadata::FileKind;
use crate::ids::{IdNames, id};

/// One difference between the disk and the seal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Drift {
    /// A sealed entry is gone.
    Missing { path: PathBuf, expected: FileKind },
    /// A name exists that is declared absent, or that its `exact` directory may not have.
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
    /// A directory on the way lets users other than `installer` replace files in it.
    UnsafeParent {
        path: PathBuf,
        installer: u32,
        uid: u32,
        mode: u32,
    },
    /// An entry could not be compared.
    Unreadable { path: PathBuf, why: String },
    /// The start has another command after `--`; both commands as they are printed.
    Command { expected: String, found: String },
}

/// The reason why a name must not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exclusion {
    /// It is declared absent.
    Absent,
    /// Its directory is `exact`.
    Exact,
}

/// The difference of a file's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ContentChange {
    /// The content of a secret differs: neither hash nor size is printed.
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
pub(crate) enum ChangeKind {
    Missing,
    Extra,
    Changed,
}

impl fmt::Display for ChangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// The attribute of an entry that differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Attribute {
    Type,
    Content,
    Owner,
    Group,
    Mode,
    /// A name that its directory may not have.
    Extra,
    /// A directory on the way to the entry.
    Parent,
    Unreadable,
    Command,
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// A difference in the words of logs and reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct RenderedDrift {
    /// Escaped; `None` for the command.
    pub(crate) path: Option<String>,
    pub(crate) change: ChangeKind,
    pub(crate) attribute: Attribute,
    pub(crate) expected: String,
    /// The account's or group's name, if `expected` is an id that has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expected_name: Option<String>,
    pub(crate) found: String,
    /// As `expected_name`, for `found`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) found_name: Option<String>,
}

impl RenderedDrift {
    /// Returns the expected value; an id with its name.
    pub(crate) fn expected(&self) -> String {
        id(&self.expected, self.expected_name.as_deref())
    }

    /// Returns the found value; an id with its name.
    pub(crate) fn found(&self) -> String {
        id(&self.found, self.found_name.as_deref())
    }

    /// Returns attribute and values, without the path.
    pub(crate) fn values(&self) -> String {
        let (expected, found) = (self.expected(), self.found());
        format!("{}: expected {expected}, found {found}", self.attribute)
    }
}

/// The word for an expected or found value that does not exist.
const NOTHING: &str = "nothing";

impl Drift {
    /// Returns the path that differs, or `None` for the command.
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

    /// Returns the kind of change.
    pub(crate) fn change(&self) -> ChangeKind {
        match self {
            Self::Missing { .. } => ChangeKind::Missing,
            Self::Extra { .. } => ChangeKind::Extra,
            _ => ChangeKind::Changed,
        }
    }

    /// Returns the difference in the words of logs and reports, with the names of its ids.
    pub(crate) fn rendered(&self, names: &IdNames) -> RenderedDrift {
        let (attribute, expected, found) = self.words(names);
        let (expected_name, found_name) = match self {
            Self::Owner {
                expected, found, ..
            } => (names.user(*expected), names.user(*found)),
            Self::Group {
                expected, found, ..
            } => (names.group(*expected), names.group(*found)),
            _ => (None, None),
        };
        RenderedDrift {
            path: self.path().map(|path| escaped(path).to_string()),
            change: self.change(),
            attribute,
            expected,
            expected_name,
            found,
            found_name,
        }
    }

    /// Returns attribute, expected value and found value.
    fn words(&self, names: &IdNames) -> (Attribute, String, String) {
        let user = |uid: &u32| id(uid, names.user(*uid).as_deref());
        let octal = |mode: &u32| format!("{mode:04o}");
        match self {
            Self::Missing { expected, .. } => {
                (Attribute::Type, expected.name().into(), NOTHING.into())
            }
            Self::Extra { found, of, .. } => {
                let attribute = match of {
                    Exclusion::Absent => Attribute::Type,
                    Exclusion::Exact => Attribute::Extra,
                };
                (attribute, NOTHING.into(), found.name().into())
            }
            Self::Type {
                expected, found, ..
            } => (Attribute::Type, expected.name().into(), found.name().into()),
            Self::Content { change, .. } => {
                let (expected, found) = change.words();
                (Attribute::Content, expected, found)
            }
            Self::Owner {
                expected, found, ..
            } => (Attribute::Owner, expected.to_string(), found.to_string()),
            Self::Group {
                expected, found, ..
            } => (Attribute::Group, expected.to_string(), found.to_string()),
            Self::Mode {
                expected, found, ..
            } => (Attribute::Mode, octal(expected), octal(found)),
            Self::UnsafeParent {
                installer,
                uid,
                mode,
                ..
            } => (
                Attribute::Parent,
                format!(
                    "owned by {} and writable for its owner alone",
                    user(installer)
                ),
                format!("owned by {} with mode {mode:04o}", user(uid)),
            ),
            Self::Unreadable { why, .. } => (Attribute::Unreadable, "readable".into(), why.clone()),
            Self::Command { expected, found } => {
                (Attribute::Command, expected.clone(), found.clone())
            }
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

impl fmt::Display for RenderedDrift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.path {
            write!(f, "{path}: ")?;
        }
        write!(f, "{}", self.values())
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.rendered(&IdNames::default()))
    }
}
