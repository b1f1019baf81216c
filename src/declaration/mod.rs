//! The wanted state of a container, whichever format declares it.
//!
//! A format lowers its documents into a [`Declaration`]; later steps do not depend on the format.

pub(crate) mod destination;
mod entry;
pub(crate) mod names;
mod place;
mod policy;
mod service;
mod value;

pub(crate) use self::entry::{
    DeclaredContent, DeclaredDirectory, DeclaredEntry, DeclaredFile, DeclaredKind, DeclaredSource,
};
pub(crate) use self::place::{Origin, Place, Placed};
pub(crate) use self::policy::{OnDrift, OnManifestChange, Policies, SignalTarget};
pub(crate) use self::service::{DeclaredCheck, DeclaredService, DeclaredSupervision};
pub(crate) use self::value::{Account, Argument};

/// The wanted state of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Declaration {
    pub(crate) service: DeclaredService,
    /// In the order of the document, each destination once.
    pub(crate) entries: Vec<DeclaredEntry>,
    /// Commands that must succeed before the configuration is sealed, in the order of the document.
    pub(crate) checks: Vec<DeclaredCheck>,
    pub(crate) policies: Policies,
    pub(crate) origin: Origin,
}

impl Declaration {
    /// The declared directories, with their entries.
    pub(crate) fn directories(
        &self,
    ) -> impl Iterator<Item = (&DeclaredEntry, &DeclaredDirectory)> + Clone {
        self.entries.iter().filter_map(|entry| match &entry.kind {
            DeclaredKind::Directory(directory) => Some((entry, directory)),
            DeclaredKind::File(_) | DeclaredKind::Absent => None,
        })
    }
}
