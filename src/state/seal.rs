//! The record of what was installed: manifest, inventory and identities, the three things a plan is made of.
//!
//! Never holds a plan, so nothing in it could say one thing and run another: what the manifest's bytes mean is worked out anew
//! at every start. It is one line with a checksum, which tells a torn file from a whole one, and one line of JSON.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::accounts::Identities;
use crate::decide::first_start::Candidate;
use crate::declaration::{Declaration, DeclaredEntry, DeclaredKind};
use crate::digest::{Digest, FileDigest};
use crate::error::Error;
use crate::escape::escaped;
use crate::plan::Plan;
use crate::plan::configuration;
use crate::plan::sources::{PathKey, SourceEntry, SourceTable};

/// The first word of a seal and the version of its format.
const MAGIC: &str = "sealinit-seal-v1";

/// What was sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seal {
    pub(crate) declaration: Declaration,
    pub(crate) inventory: SourceTable,
    pub(crate) identities: Identities,
    /// The command given after `--`; empty for none.
    pub(crate) arguments: Vec<OsString>,
    pub(crate) made: Made,
    /// Of manifest and inventory, computed from them at this start.
    pub(crate) digest: Digest,
}

/// Which sealinit sealed, and when: information, covered by no digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Made {
    /// The version.
    pub(crate) by: String,
    /// In seconds since 1970.
    pub(crate) at: u64,
}

impl Made {
    /// By this program, at this moment.
    pub(crate) fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            by: env!("CARGO_PKG_VERSION").into(),
            at: since.map_or(0, |since| since.as_secs()),
        }
    }
}

/// Why a seal cannot be believed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SealError {
    #[error("it is of a version that this sealinit does not know ({})", escaped(.0))]
    Version(String),
    #[error("it was cut short or changed: its checksum is not the recorded one")]
    Checksum,
    #[error("it cannot be read as JSON: {}", escaped(&.0.to_string()))]
    Json(#[from] serde_json::Error),
    #[error("its parts contradict each other: {0}")]
    Contradiction(String),
}

/// A seal as it is written. Field order is the order in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record<'a> {
    /// Redundant, for whoever reads the file: it must be what the rest recomputes to.
    digest: String,
    /// As in [`Made`].
    sealed_by: String,
    sealed_at: u64,
    identities: Identities,
    arguments: Vec<Bytes>,
    entries: Vec<EntryRecord>,
    #[serde(borrow)]
    manifest: std::borrow::Cow<'a, str>,
}

/// One entry of the inventory as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryRecord {
    dest: Bytes,
    kind: KindName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
}

#[derive(Serialize, Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum KindName {
    File,
    Mutable,
    Directory,
    Absent,
}

/// A name or an argument: text if it is UTF-8, otherwise its bytes in hexadecimal.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Bytes {
    Text(String),
    Hex(HexBytes),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HexBytes {
    hex: String,
}

impl Bytes {
    fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Hex(HexBytes {
                hex: base16ct::lower::encode_string(bytes),
            }),
        }
    }

    fn into_os_string(self) -> Option<OsString> {
        match self {
            Self::Text(text) => Some(text.into()),
            Self::Hex(HexBytes { hex }) => base16ct::mixed::decode_vec(&hex)
                .ok()
                .map(OsString::from_vec),
        }
    }
}

impl Seal {
    /// The seal of a configuration that was installed, made by this program at this moment.
    pub(crate) fn of(candidate: &Candidate) -> Self {
        Self {
            declaration: candidate.declaration.clone(),
            inventory: candidate.sources.clone(),
            identities: candidate.identities.clone(),
            arguments: candidate.arguments.clone(),
            made: Made::now(),
            digest: candidate.digest,
        }
    }

    /// The seal as the bytes of its file.
    ///
    /// # Errors
    /// That it cannot be written as JSON, which it always can.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, SealError> {
        let entry = |(dest, kind): (&PathKey, &SourceEntry)| {
            let (kind, content) = match kind {
                SourceEntry::File(content) => (KindName::File, Some(*content)),
                SourceEntry::Mutable(content) => (KindName::Mutable, *content),
                SourceEntry::Directory => (KindName::Directory, None),
                SourceEntry::Absent => (KindName::Absent, None),
            };
            EntryRecord {
                dest: Bytes::of(dest.path().as_os_str().as_bytes()),
                kind,
                sha256: content.map(|content| content.digest.hex()),
                size: content.map(|content| content.size),
            }
        };
        let body = serde_json::to_string(&Record {
            digest: self.digest.to_string(),
            sealed_by: self.made.by.clone(),
            sealed_at: self.made.at,
            identities: self.identities.clone(),
            arguments: self
                .arguments
                .iter()
                .map(|word| Bytes::of(word.as_bytes()))
                .collect(),
            entries: self.inventory.0.iter().map(entry).collect(),
            manifest: self.declaration.origin.text().into(),
        })?;
        Ok(format!("{MAGIC} {}\n{body}\n", Digest::of(body.as_bytes())).into_bytes())
    }

    /// Reads a seal. `manifest_path` is where this start would look for the manifest: beside it are the sources.
    ///
    /// # Errors
    /// Why it cannot be believed. Never the absence of a seal: that is not its reader's to judge.
    pub(crate) fn decode(bytes: &[u8], manifest_path: &Path) -> Result<Self, SealError> {
        let contradiction = |what: &str| SealError::Contradiction(what.into());
        let text = std::str::from_utf8(bytes).map_err(|_| SealError::Checksum)?;
        let (header, body) = text.split_once('\n').ok_or(SealError::Checksum)?;
        let checksum = match header.split_once(' ') {
            Some((MAGIC, checksum)) => checksum,
            Some((version, _)) if version.starts_with("sealinit-seal-v") => {
                return Err(SealError::Version(version.into()));
            }
            _ => return Err(SealError::Checksum),
        };
        let body = body.strip_suffix('\n').ok_or(SealError::Checksum)?;
        if checksum != Digest::of(body.as_bytes()).to_string() {
            return Err(SealError::Checksum);
        }
        let record: Record<'_> = serde_json::from_str(body)?;
        let declaration =
            configuration::parse(manifest_path, record.manifest.into_owned().into_bytes())
                .map_err(|problems| {
                    contradiction(&format!(
                        "its manifest is invalid in {} places",
                        problems.len()
                    ))
                })?;
        let mut inventory = SourceTable::default();
        for entry in record.entries {
            let dest = entry
                .dest
                .into_os_string()
                .ok_or_else(|| contradiction("a name is no hexadecimal"))?;
            let content = match (entry.sha256, entry.size) {
                (Some(sha256), Some(size)) => {
                    let digest =
                        Digest::from_hex(&sha256).ok_or_else(|| contradiction("a hash is none"))?;
                    Some(FileDigest { digest, size })
                }
                (None, None) => None,
                _ => return Err(contradiction("an entry has half a content")),
            };
            let kind = match (entry.kind, content) {
                (KindName::File, Some(content)) => SourceEntry::File(content),
                (KindName::Mutable, content) => SourceEntry::Mutable(content),
                (KindName::Directory, None) => SourceEntry::Directory,
                (KindName::Absent, None) => SourceEntry::Absent,
                _ => return Err(contradiction("an entry has the content of another kind")),
            };
            inventory.0.insert(PathKey::new(Path::new(&dest)), kind);
        }
        let arguments: Option<Vec<OsString>> = record
            .arguments
            .into_iter()
            .map(Bytes::into_os_string)
            .collect();
        let arguments = arguments.ok_or_else(|| contradiction("an argument is no hexadecimal"))?;
        let made = Made {
            by: record.sealed_by,
            at: record.sealed_at,
        };
        let digest = inventory.digest(declaration.origin.text());
        let seal = Self {
            declaration,
            inventory,
            identities: record.identities,
            arguments,
            made,
            digest,
        };
        seal.check_complete()?;
        if let Some(why) = seal.identities.contradiction(&seal.declaration) {
            return Err(contradiction(why));
        }
        if seal.digest.to_string() != record.digest {
            return Err(contradiction("its digest is not what it recomputes to"));
        }
        Ok(seal)
    }

    /// What was sealed, resolved anew.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub(crate) fn plan(&self) -> Result<Plan, Vec<Error>> {
        let plan = Plan::build(
            &self.declaration,
            &self.inventory,
            &self.identities,
            &self.arguments,
        );
        match plan {
            (Some(plan), errors) if errors.is_empty() => Ok(plan),
            (_, errors) => Err(errors),
        }
    }

    /// Checks that the entries are those of the declaration: each declared destination with its
    /// kind, and no others but below a copied directory.
    fn check_complete(&self) -> Result<(), SealError> {
        let as_declared =
            |entry: &DeclaredEntry| match (&entry.kind, self.inventory.get(&entry.dest)) {
                (DeclaredKind::File(file), Some(SourceEntry::File(_))) => !file.mutable,
                (DeclaredKind::File(file), Some(SourceEntry::Mutable(content))) => {
                    file.mutable && (content.is_some() || file.optional)
                }
                (DeclaredKind::File(file), Some(SourceEntry::Absent)) => {
                    file.optional && !file.mutable
                }
                (DeclaredKind::Directory(_), Some(SourceEntry::Directory))
                | (DeclaredKind::Absent, Some(SourceEntry::Absent)) => true,
                _ => false,
            };
        let declared = &self.declaration.entries;
        let dests: HashSet<&OsStr> = declared
            .iter()
            .map(|entry| entry.dest.as_os_str())
            .collect();
        let copied: HashSet<&OsStr> = self
            .declaration
            .directories()
            .filter(|(_, directory)| directory.source.is_some())
            .map(|(entry, _)| entry.dest.as_os_str())
            .collect();
        let is_copied = |(dest, found): (&PathKey, &SourceEntry)| {
            let mut above = dest.path().ancestors().skip(1);
            matches!(found, SourceEntry::File(_) | SourceEntry::Directory)
                && above.any(|above| copied.contains(above.as_os_str()))
        };
        let mut others = self
            .inventory
            .0
            .iter()
            .filter(|(dest, _)| !dests.contains(dest.path().as_os_str()));
        if declared.iter().all(as_declared) && others.all(is_copied) {
            return Ok(());
        }
        Err(SealError::Contradiction(
            "its entries are not those of its manifest".into(),
        ))
    }
}
