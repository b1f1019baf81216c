//! The file format of a seal: a line with a checksum, and a line of JSON.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::accounts::Identities;
use crate::digest::{Digest, FileDigest};
use crate::escape::escaped;
use crate::plan::sources::{PathKey, SourceEntry};

/// The first word of a seal: the version of its format.
const MAGIC: &str = "sealinit-seal-v1";
const MAGIC_OF_ANY_VERSION: &str = "sealinit-seal-v";

/// The reason why a seal is not valid.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SealError {
    #[error("it has a version that this sealinit does not support ({})", escaped(.0))]
    Version(String),
    #[error("it was cut short or changed: its checksum does not match")]
    Checksum,
    #[error("it is not valid JSON: {}", escaped(&.0.to_string()))]
    Json(#[from] serde_json::Error),
    #[error("its parts contradict each other: {0}")]
    Contradiction(String),
}

impl SealError {
    pub(super) fn contradiction(what: &str) -> Self {
        Self::Contradiction(what.into())
    }
}

/// The JSON of a seal. The order of the fields is the order in the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    /// Redundant, for people who read the file: the digest that the rest recomputes to.
    pub(super) digest: String,
    /// The version of sealinit.
    pub(super) sealed_by: String,
    /// In seconds since 1970.
    pub(super) sealed_at: u64,
    pub(super) identities: Identities,
    pub(super) arguments: Vec<Bytes>,
    pub(super) entries: Vec<EntryRecord>,
    pub(super) manifest: String,
}

/// The JSON of one entry of the source table.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EntryRecord {
    dest: Bytes,
    kind: RecordedKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RecordedKind {
    File,
    Mutable,
    Directory,
    Absent,
}

/// A path or an argument: text if it is UTF-8, otherwise its bytes in hexadecimal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Bytes {
    Text(String),
    Hex(HexBytes),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HexBytes {
    hex: String,
}

impl Record {
    /// Returns the bytes of the file.
    ///
    /// # Errors
    ///
    /// [`SealError::Json`], which strings and numbers do not cause.
    pub(super) fn encode(&self) -> Result<Vec<u8>, SealError> {
        let body = serde_json::to_string(self)?;
        let checksum = Digest::of(body.as_bytes());
        Ok(format!("{MAGIC} {checksum}\n{body}\n").into_bytes())
    }

    /// Parses the bytes of a file.
    ///
    /// # Errors
    ///
    /// [`SealError::Version`], [`SealError::Checksum`] or [`SealError::Json`].
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, SealError> {
        let text = std::str::from_utf8(bytes).map_err(|_| SealError::Checksum)?;
        let (header, body) = text.split_once('\n').ok_or(SealError::Checksum)?;
        let checksum = match header.split_once(' ') {
            Some((MAGIC, checksum)) => checksum,
            Some((version, _)) if version.starts_with(MAGIC_OF_ANY_VERSION) => {
                return Err(SealError::Version(version.into()));
            }
            _ => return Err(SealError::Checksum),
        };
        let body = body.strip_suffix('\n').ok_or(SealError::Checksum)?;
        if checksum != Digest::of(body.as_bytes()).to_string() {
            return Err(SealError::Checksum);
        }
        Ok(serde_json::from_str(body)?)
    }
}

impl From<(&PathKey, &SourceEntry)> for EntryRecord {
    fn from((dest, entry): (&PathKey, &SourceEntry)) -> Self {
        let (kind, content) = match entry {
            SourceEntry::File(content) => (RecordedKind::File, Some(*content)),
            SourceEntry::Mutable(content) => (RecordedKind::Mutable, *content),
            SourceEntry::Directory => (RecordedKind::Directory, None),
            SourceEntry::Absent => (RecordedKind::Absent, None),
        };
        Self {
            dest: dest.path().as_os_str().into(),
            kind,
            sha256: content.map(|content| content.digest.hex()),
            size: content.map(|content| content.size),
        }
    }
}

impl TryFrom<EntryRecord> for (PathKey, SourceEntry) {
    type Error = SealError;

    fn try_from(record: EntryRecord) -> Result<Self, SealError> {
        let dest: OsString = record.dest.try_into()?;
        let content = match (record.sha256, record.size) {
            (Some(sha256), Some(size)) => {
                let digest = Digest::from_hex(&sha256)
                    .ok_or_else(|| SealError::contradiction("a hash is not hexadecimal"))?;
                Some(FileDigest { digest, size })
            }
            (None, None) => None,
            _ => {
                return Err(SealError::contradiction(
                    "an entry has a hash without a size, or a size without a hash",
                ));
            }
        };
        let entry = match (record.kind, content) {
            (RecordedKind::File, Some(content)) => SourceEntry::File(content),
            (RecordedKind::Mutable, content) => SourceEntry::Mutable(content),
            (RecordedKind::Directory, None) => SourceEntry::Directory,
            (RecordedKind::Absent, None) => SourceEntry::Absent,
            _ => {
                let why = "an entry has the content of another kind";
                return Err(SealError::contradiction(why));
            }
        };
        Ok((PathKey::new(Path::new(&dest)), entry))
    }
}

impl From<&OsStr> for Bytes {
    fn from(name: &OsStr) -> Self {
        match name.to_str() {
            Some(text) => Self::Text(text.to_owned()),
            None => Self::Hex(HexBytes {
                hex: base16ct::lower::encode_string(name.as_bytes()),
            }),
        }
    }
}

impl TryFrom<Bytes> for OsString {
    type Error = SealError;

    fn try_from(bytes: Bytes) -> Result<Self, SealError> {
        match bytes {
            Bytes::Text(text) => Ok(text.into()),
            Bytes::Hex(HexBytes { hex }) => base16ct::mixed::decode_vec(&hex)
                .map(OsString::from_vec)
                .map_err(|_| SealError::contradiction("a name is not hexadecimal")),
        }
    }
}
