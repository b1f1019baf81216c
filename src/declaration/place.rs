//! Positions in the document that a declaration was made from, for messages.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::escape::escaped;
use crate::json::Problem;

/// A position in a document. It is rendered as a path and as line and column only when a message
/// is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// The key at the top of the document.
    key: &'static str,
    /// The element, if the value of the key is an array.
    index: Option<usize>,
    /// The member of that value.
    member: Option<&'static str>,
    /// The element, if the value of the member is an array.
    member_index: Option<usize>,
    /// Bytes from the start of the document.
    offset: usize,
}

impl Place {
    /// The value of `key` at the top of the document, `offset` bytes from its start.
    pub(crate) const fn key(key: &'static str, offset: usize) -> Self {
        Self {
            key,
            index: None,
            member: None,
            member_index: None,
            offset,
        }
    }

    /// The element `index` of this array: of the member's, if this is a member.
    pub(crate) const fn index(mut self, index: usize) -> Self {
        if self.member.is_some() {
            self.member_index = Some(index);
        } else {
            self.index = Some(index);
        }
        self
    }

    /// The value of `member` in this object.
    pub(crate) const fn member(mut self, member: &'static str) -> Self {
        self.member = Some(member);
        self
    }

    /// Bytes from the start of the document.
    pub(crate) const fn offset(self) -> usize {
        self.offset
    }

    /// The same path with another position in the text.
    pub(crate) const fn at(mut self, offset: usize) -> Self {
        self.offset = offset;
        self
    }
}

/// The path in the document, as RFC 9535 writes it.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "$.{}", self.key)?;
        if let Some(index) = self.index {
            write!(f, "[{index}]")?;
        }
        if let Some(member) = self.member {
            write!(f, ".{member}")?;
        }
        if let Some(index) = self.member_index {
            write!(f, "[{index}]")?;
        }
        Ok(())
    }
}

/// A value and its place in the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placed<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

/// The document that a declaration was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    path: PathBuf,
    text: String,
}

impl Origin {
    /// The document at `path`, with its whole text.
    pub(crate) fn new(path: PathBuf, text: String) -> Self {
        Self { path, text }
    }

    /// The document as it is in the file.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// An error in the value at `place`.
    pub(crate) fn error(&self, place: Place, message: String) -> Error {
        Error::ManifestInvalid {
            path: self.path.clone(),
            problem: Problem::at(&self.text, place.offset, place.to_string(), message),
        }
    }

    /// The file and the path in it, for messages that need no line.
    pub(crate) fn describe(&self, place: Place) -> String {
        format!("{}: {place}", escaped(&self.path))
    }

    /// Returns the directory of the document, to which sources are relative.
    pub(crate) fn locate(&self, source: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("/")).join(source)
    }
}
