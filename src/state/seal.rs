//! The seal: the record of the installed configuration.
//!
//! It holds declaration, source table and identities, from which every start makes the plan again.
//! The plan itself is not recorded, so that it cannot contradict them.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::accounts::Identities;
use crate::decide::first_start::Candidate;
use crate::declaration::{Declaration, DeclaredEntry, DeclaredKind};
use crate::digest::Digest;
use crate::error::Error;
use crate::plan::Plan;
use crate::plan::configuration;
use crate::plan::sources::{PathKey, SourceEntry, SourceTable};
use crate::state::record::{EntryRecord, Record, SealError};

/// A sealed configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seal {
    pub(crate) declaration: Declaration,
    pub(crate) sources: SourceTable,
    pub(crate) identities: Identities,
    /// The command after `--`; empty for none.
    pub(crate) arguments: Vec<OsString>,
    pub(crate) made: Made,
    /// The digest of declaration and sources, computed from them at this start.
    pub(crate) digest: Digest,
}

/// The version that sealed, and the time. The digest covers neither.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Made {
    /// The version of sealinit.
    pub(crate) by: String,
    /// In seconds since 1970.
    pub(crate) at: u64,
}

impl Made {
    /// Returns this version and the present time.
    fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            by: env!("CARGO_PKG_VERSION").into(),
            at: since.map_or(0, |since| since.as_secs()),
        }
    }
}

impl Seal {
    /// Returns the seal of an installed configuration, made by this version now.
    pub(crate) fn of(candidate: &Candidate) -> Self {
        Self {
            declaration: candidate.declaration.clone(),
            sources: candidate.sources.clone(),
            identities: candidate.identities.clone(),
            arguments: candidate.arguments.clone(),
            made: Made::now(),
            digest: candidate.digest,
        }
    }

    /// Returns the bytes of the seal's file.
    ///
    /// # Errors
    ///
    /// [`SealError::Json`], which the record does not cause.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, SealError> {
        let words = self.arguments.iter();
        Record {
            digest: self.digest.to_string(),
            sealed_by: self.made.by.clone(),
            sealed_at: self.made.at,
            identities: self.identities.clone(),
            arguments: words.map(|word| word.as_os_str().into()).collect(),
            entries: self.sources.0.iter().map(EntryRecord::from).collect(),
            manifest: self.declaration.origin.text().into(),
        }
        .encode()
    }

    /// Reads a seal. `manifest` is the path where this start looks for the manifest: relative
    /// sources are beside it.
    ///
    /// # Errors
    ///
    /// [`SealError`], the reason why the seal is not valid.
    pub(crate) fn decode(bytes: &[u8], manifest: &Path) -> Result<Self, SealError> {
        let record = Record::decode(bytes)?;
        let declaration =
            configuration::parse(manifest, record.manifest.into_bytes()).map_err(|problems| {
                let count = problems.len();
                SealError::Contradiction(format!("its manifest is invalid in {count} places"))
            })?;
        let mut sources = SourceTable::default();
        for entry in record.entries {
            let (dest, entry) = entry.try_into()?;
            sources.0.insert(dest, entry);
        }
        let words = record.arguments.into_iter();
        let arguments = words.map(OsString::try_from).collect::<Result<_, _>>()?;
        let digest = sources.digest(declaration.origin.text());
        let seal = Self {
            declaration,
            sources,
            identities: record.identities,
            arguments,
            made: Made {
                by: record.sealed_by,
                at: record.sealed_at,
            },
            digest,
        };
        seal.check_complete()?;
        if let Some(why) = seal.identities.contradiction(&seal.declaration) {
            return Err(SealError::contradiction(why));
        }
        if seal.digest.to_string() != record.digest {
            let why = "its digest is not the one that its parts recompute to";
            return Err(SealError::contradiction(why));
        }
        Ok(seal)
    }

    /// Returns the plan of the sealed configuration.
    ///
    /// # Errors
    ///
    /// Every contradiction in the plan.
    pub(crate) fn plan(&self) -> Result<Plan, Vec<Error>> {
        let plan = Plan::build(
            &self.declaration,
            &self.sources,
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
        let as_declared = |entry: &DeclaredEntry| match (&entry.kind, self.sources.get(&entry.dest))
        {
            (DeclaredKind::File(file), Some(SourceEntry::File(_))) => !file.mutable,
            (DeclaredKind::File(file), Some(SourceEntry::Mutable(content))) => {
                file.mutable && (content.is_some() || file.optional)
            }
            (DeclaredKind::File(file), Some(SourceEntry::Absent)) => file.optional && !file.mutable,
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
            .sources
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
