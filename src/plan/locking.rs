//! Checks that the service cannot change locked entries.

use std::collections::BTreeSet;
use std::path::Path;

use crate::accounts::Identities;
use crate::declaration::DeclaredEntry;
use crate::escape::escaped;
use crate::fs::metadata::Ownership;
use crate::plan::service;

/// The credentials that entries are locked against.
pub(super) struct Locking<'a> {
    identities: &'a Identities,
    groups: BTreeSet<u32>,
}

impl<'a> Locking<'a> {
    pub(super) fn new(identities: &'a Identities) -> Self {
        Self {
            identities,
            groups: service::groups(identities),
        }
    }

    /// Returns true if the service has another uid than the installer. Without root, and for root
    /// itself, nothing can be locked.
    fn is_possible(&self) -> bool {
        self.identities.service.uid != self.identities.installer
    }

    /// Returns true if `ownership` lets the service change an entry.
    pub(super) fn opens(&self, ownership: Ownership) -> bool {
        self.is_possible()
            && (ownership.uid == self.identities.service.uid
                || (ownership.mode & 0o020 != 0 && self.groups.contains(&ownership.gid)))
    }

    /// Returns why a locked entry at `dest` cannot have `ownership`.
    pub(super) fn defect(&self, dest: &Path, ownership: Ownership) -> Option<String> {
        if !self.opens(ownership) {
            return None;
        }
        let dest = escaped(dest);
        if ownership.uid == self.identities.service.uid {
            return Some(format!(
                "{dest} would belong to the service's user, who could change it; name another owner, or for a file that \
                 the service may change add \"mutable\": true"
            ));
        }
        let (mode, fit) = (ownership.mode, ownership.mode & !0o020);
        Some(format!(
            "{dest} would be writable for the service's group with mode {mode:04o}; write \"{fit:04o}\""
        ))
    }

    /// Returns why a locked entry at `dest` cannot be below the directory `above`, which is to have
    /// `ownership`.
    pub(super) fn defect_above(
        &self,
        dest: &Path,
        above: &DeclaredEntry,
        ownership: Ownership,
        recursive: bool,
    ) -> Option<String> {
        let (dest, path, place) = (escaped(dest), escaped(&above.dest), above.place);
        if self.opens(ownership) {
            return Some(format!(
                "{dest} is below {path}, which the service can change; install it elsewhere, add \"mutable\": true, or \
                 let {place} belong to root"
            ));
        }
        if self.is_possible()
            && (ownership.uid != self.identities.installer || ownership.mode & 0o022 != 0)
        {
            return Some(format!(
                "{dest} is below {path}, which others than root can change; let {place} belong to root, \
                 without write permission for group and others"
            ));
        }
        recursive.then(|| {
            format!(
                "{dest} is below {path}, all of which is given to one owner; install it elsewhere, or remove \
                 \"recursive\" from {place}"
            )
        })
    }
}
