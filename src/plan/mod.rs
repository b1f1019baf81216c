//! The plan: the wanted state with every name, path and default resolved.
//!
//! It is a function of declaration, sources, identities and command, so that a later start makes
//! the same plan from the seal.

mod build;
pub(crate) mod configuration;
mod entry;
mod locking;
pub(crate) mod reading;
pub(crate) mod service;
pub(crate) mod sources;
pub(crate) mod supervision;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;

use crate::accounts::Identities;
use crate::declaration::{Declaration, Policies};
use crate::error::Error;
use crate::plan::sources::SourceTable;

pub(crate) use self::entry::{
    ContentOrigin, Entry, EntryKind, PlannedDirectory, PlannedFile, temporary_name,
};
pub(crate) use self::service::{ConfigTest, Login, MAX_GROUPS, Protection, Service};

/// The state that a start installs or verifies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// In byte order of destinations, so that a directory comes before what is in it.
    pub(crate) entries: Vec<Entry>,
    pub(crate) service: Service,
    /// In the order of the document.
    pub(crate) checks: Vec<ConfigTest>,
    pub(crate) lock: Protection,
    /// The uid that installs the entries and owns what is locked.
    pub(crate) installer: u32,
    pub(crate) policies: Policies,
}

impl Plan {
    /// Makes a plan, and returns every contradiction in the declaration that shows now that ids
    /// are known. `arguments` is the command after `--`. There is a plan if there is a command.
    pub(crate) fn build(
        declaration: &Declaration,
        sources: &SourceTable,
        identities: &Identities,
        arguments: &[OsString],
    ) -> (Option<Self>, Vec<Error>) {
        let (service, mut errors) = Service::build(declaration, identities, arguments);
        let (entries, contradictions) = build::entries(declaration, sources, identities);
        errors.extend(contradictions);
        let plan = service.map(|service| Self {
            entries,
            lock: service.protection(identities.installer),
            installer: identities.installer,
            service,
            checks: declaration.checks.iter().map(ConfigTest::from).collect(),
            policies: declaration.policies,
        });
        (plan, errors)
    }

    /// The planned directories.
    pub(crate) fn directories(&self) -> BTreeSet<&Path> {
        self.directories_that(|_| true)
    }

    /// The planned directories that will belong to the installer and be closed to others,
    /// whatever they are now.
    pub(crate) fn locked_directories(&self, installer: u32) -> BTreeSet<&Path> {
        self.directories_that(|directory| {
            directory.ownership.uid == installer && directory.ownership.mode & 0o022 == 0
        })
    }

    fn directories_that(&self, wanted: impl Fn(&PlannedDirectory) -> bool) -> BTreeSet<&Path> {
        let entries = self.entries.iter();
        entries
            .filter(
                |entry| matches!(&entry.kind, EntryKind::Directory(directory) if wanted(directory)),
            )
            .map(|entry| entry.dest.as_path())
            .collect()
    }
}
