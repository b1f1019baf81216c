//! The ids of all names in a declaration, and the service's credentials.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::accounts::caller::Caller;
use crate::declaration::{Account, Declaration, DeclaredKind, Placed};
use crate::error::Error;

/// The ids of all names in a declaration. The seal records them, so that a later start needs
/// neither `/etc/passwd` nor `/etc/group`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identities {
    /// The uid that sealinit runs as, which owns what it installs.
    pub(crate) installer: u32,
    pub(crate) service: ServiceIdentity,
    /// `None` for a name that was reported as unknown, which refuses the start.
    pub(super) users: BTreeMap<String, Option<u32>>,
    pub(super) groups: BTreeMap<String, Option<u32>>,
}

/// The service's credentials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServiceIdentity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) supplementary: Vec<u32>,
    /// Name and home directory, if `/etc/passwd` has the uid.
    pub(crate) name: Option<String>,
    pub(crate) home: Option<String>,
}

impl Identities {
    /// Returns the contradiction between these identities, read from a seal, and `declaration`.
    /// Only ids and root can be compared; a name has no id in the seal's manifest.
    pub(crate) fn contradiction(&self, declaration: &Declaration) -> Option<&'static str> {
        let service = &declaration.service;
        let differs = |account: Option<&Placed<Account>>, found: u32| {
            account
                .and_then(|account| account.value.id())
                .is_some_and(|declared| declared != found)
        };
        if self.service.uid == 0 && !service.allow_root {
            return Some("the service's uid is 0, and its manifest does not allow root");
        }
        if differs(service.user.as_ref(), self.service.uid) {
            return Some("the service's uid is not that of its manifest");
        }
        if differs(service.group.as_ref(), self.service.gid) {
            return Some("the service's gid is not that of its manifest");
        }
        let supplementary = &self.service.supplementary;
        let declared = &service.supplementary_groups;
        if supplementary.len() != declared.len()
            || declared
                .iter()
                .zip(supplementary)
                .any(|(group, found)| differs(Some(group), *found))
        {
            return Some("the service's groups are not those of its manifest");
        }
        let known = |(owner, group): (&Option<Placed<Account>>, &Option<Placed<Account>>)| {
            let owner = owner.as_ref().map(|owner| self.uid(&owner.value));
            let group = group.as_ref().map(|group| self.gid(&group.value));
            [owner, group]
                .into_iter()
                .flatten()
                .all(|id| matches!(id, Ok(Some(_))))
        };
        let owners = declaration
            .entries
            .iter()
            .filter_map(|entry| match &entry.kind {
                DeclaredKind::File(file) => Some((&file.owner, &file.group)),
                DeclaredKind::Directory(directory) => Some((&directory.owner, &directory.group)),
                DeclaredKind::Absent => None,
            });
        if !owners.into_iter().all(known) {
            return Some("a name in its manifest has no id");
        }
        None
    }

    /// The uid of a user in the declaration; `None` if it was reported as unknown.
    ///
    /// # Errors
    ///
    /// [`Error::Internal`] if the user is not in the declaration.
    pub(crate) fn uid(&self, account: &Account) -> Result<Option<u32>, Error> {
        id(&self.users, account)
    }

    /// The gid of a group in the declaration; `None` if it was reported as unknown.
    ///
    /// # Errors
    ///
    /// [`Error::Internal`] if the group is not in the declaration.
    pub(crate) fn gid(&self, account: &Account) -> Result<Option<u32>, Error> {
        id(&self.groups, account)
    }
}

fn id(names: &BTreeMap<String, Option<u32>>, account: &Account) -> Result<Option<u32>, Error> {
    match account {
        Account::Id(id) => Ok(Some(*id)),
        Account::Name(name) => names
            .get(name)
            .copied()
            .ok_or_else(|| Error::internal("a name was not resolved", &name.escape_debug())),
    }
}

impl ServiceIdentity {
    /// Returns an error for each id that `caller`, unless it is root, does not have.
    pub(crate) fn unreachable(&self, caller: &Caller) -> Vec<Error> {
        if caller.is_root() {
            return Vec::new();
        }
        let mut errors = Vec::new();
        if self.uid != caller.uid {
            errors.push(Error::NotRoot {
                what: "user",
                wanted: self.uid,
                is: caller.uid,
            });
        }
        if self.gid != caller.gid {
            errors.push(Error::NotRoot {
                what: "group",
                wanted: self.gid,
                is: caller.gid,
            });
        }
        for gid in &self.supplementary {
            if *gid != caller.gid && !caller.groups.contains(gid) {
                errors.push(Error::NotInGroup { gid: *gid });
            }
        }
        errors
    }
}
