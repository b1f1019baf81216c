//! The ids of all names in a manifest, and the service's credentials.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::accounts::caller::Caller;
use crate::accounts::passwd::Accounts;
use crate::accounts::user_spec::UserSpec;
use crate::error::Error;
use crate::escape::escaped;
use crate::json::Located;
use crate::manifest::{Account, Manifest};

/// Every name in the manifest as an id, and who the service is. The seal records it: a later start needs no `/etc/passwd`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identities {
    /// The uid that sealinit ran as: the owner of what it installs.
    pub(crate) installer: u32,
    pub(crate) service: ServiceIdentity,
    users: BTreeMap<String, u32>,
    groups: BTreeMap<String, u32>,
}

/// Who the service is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServiceIdentity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) supplementary: Vec<u32>,
    /// Name and home directory, where `/etc/passwd` knows the uid.
    pub(crate) name: Option<String>,
    pub(crate) home: Option<String>,
}

impl Identities {
    /// Resolves every name in `manifest`, as far as that can be done: nothing where it is not known who the service is.
    pub(crate) fn draft(
        manifest: &Manifest,
        accounts: &Accounts,
        caller: &Caller,
    ) -> (Option<Self>, Vec<Error>) {
        let mut resolver = Resolver {
            manifest,
            accounts,
            users: BTreeMap::new(),
            groups: BTreeMap::new(),
            errors: vec![],
        };
        let service = resolver.service(caller);
        for (index, file) in manifest.document.files.iter().enumerate() {
            resolver.owners(
                &format!("$.files[{index}]"),
                file.owner.as_ref(),
                file.group.as_ref(),
            );
        }
        for (index, directory) in manifest.document.directories.iter().enumerate() {
            let (owner, group) = (directory.owner.as_ref(), directory.group.as_ref());
            resolver.owners(&format!("$.directories[{index}]"), owner, group);
        }
        let Resolver {
            users,
            groups,
            errors,
            ..
        } = resolver;
        (
            service.map(|service| Self {
                installer: caller.uid,
                service,
                users,
                groups,
            }),
            errors,
        )
    }

    /// What in these identities, read from a seal, is not what `manifest` says. A name cannot be checked this way; an id, and that root
    /// needs leave, can.
    pub(crate) fn contradiction(&self, manifest: &Manifest) -> Option<&'static str> {
        let service = &manifest.document.service.value;
        let differs = |account: Option<&Account>, id: u32| matches!(account, Some(Account::Id(given)) if *given != id);
        if self.service.uid == 0 && !service.allow_root {
            return Some("the service's uid is 0, and its manifest does not allow root");
        }
        if differs(
            service.user.as_ref().map(|user| &user.value),
            self.service.uid,
        ) {
            return Some("the service's uid is not that of its manifest");
        }
        if differs(service.group.as_ref(), self.service.gid) {
            return Some("the service's gid is not that of its manifest");
        }
        let supplementary = &self.service.supplementary;
        let given = &service.supplementary_groups;
        if supplementary.len() != given.len()
            || given
                .iter()
                .zip(supplementary)
                .any(|(group, id)| differs(Some(group), *id))
        {
            return Some("the service's groups are not those of its manifest");
        }
        let files = manifest
            .document
            .files
            .iter()
            .map(|file| (&file.owner, &file.group));
        let directories = manifest
            .document
            .directories
            .iter()
            .map(|directory| (&directory.owner, &directory.group));
        let unknown = |(owner, group): (&Option<Account>, &Option<Account>)| {
            owner
                .as_ref()
                .is_some_and(|owner| self.uid(owner).is_none())
                || group
                    .as_ref()
                    .is_some_and(|group| self.gid(group).is_none())
        };
        if files.chain(directories).any(unknown) {
            return Some("a name in its manifest has no id");
        }
        None
    }

    /// The uid of a user that the manifest names.
    pub(crate) fn uid(&self, account: &Account) -> Option<u32> {
        match account {
            Account::Id(uid) => Some(*uid),
            Account::Name(name) => self.users.get(name).copied(),
        }
    }

    /// The gid of a group that the manifest names.
    pub(crate) fn gid(&self, account: &Account) -> Option<u32> {
        match account {
            Account::Id(gid) => Some(*gid),
            Account::Name(name) => self.groups.get(name).copied(),
        }
    }
}

/// Names being resolved, and what could not be.
struct Resolver<'a> {
    manifest: &'a Manifest,
    accounts: &'a Accounts,
    users: BTreeMap<String, u32>,
    groups: BTreeMap<String, u32>,
    errors: Vec<Error>,
}

impl Resolver<'_> {
    fn owners(&mut self, at: &str, owner: Option<&Account>, group: Option<&Account>) {
        let _ = owner.map(|owner| self.uid(&format!("{at}.owner"), owner));
        let _ = group.map(|group| self.gid(&format!("{at}.group"), group));
    }

    fn uid(&mut self, at: &str, account: &Account) -> Option<u32> {
        let Account::Name(name) = account else {
            return id_of(account);
        };
        let uid = self.accounts.user(name).map(|user| user.uid);
        match uid {
            Some(uid) => self.users.insert(name.clone(), uid),
            None => {
                self.errors
                    .push(self.accounts.unknown_user(self.place(at), name));
                None
            }
        };
        uid
    }

    fn gid(&mut self, at: &str, account: &Account) -> Option<u32> {
        let Account::Name(name) = account else {
            return id_of(account);
        };
        let gid = self.accounts.group(name);
        match gid {
            Some(gid) => self.groups.insert(name.clone(), gid),
            None => {
                self.errors
                    .push(self.accounts.unknown_group(self.place(at), name));
                None
            }
        };
        gid
    }

    /// Where in the manifest.
    fn place(&self, at: &str) -> String {
        format!("{}: {at}", escaped(self.manifest.path()))
    }

    /// Who the service is: what the manifest says under root, and who we are anyway without it.
    fn service(&mut self, caller: &Caller) -> Option<ServiceIdentity> {
        let service = &self.manifest.document.service;
        let uid = match &service.value.user {
            Some(user) => self.uid("$.service.user", &user.value),
            None if !caller.is_root() => Some(caller.uid),
            None => {
                let message =
                    "missing key \"user\"; only a start without root can do without it".into();
                self.errors.push(self.manifest.problem(
                    service.offset,
                    "$.service".into(),
                    message,
                ));
                None
            }
        };
        let user = match &service.value.user {
            Some(user) => match &user.value {
                // Two names may share a uid, and each then has its own group and home.
                Account::Name(name) => self.accounts.user(name),
                Account::Id(uid) => self.accounts.user_by_id(*uid),
            },
            None => uid.and_then(|uid| self.accounts.user_by_id(uid)),
        }
        .cloned();
        let gid = match &service.value.group {
            Some(group) => self.gid("$.service.group", group),
            // Without root nobody changes groups: we run as we were started.
            None if !caller.is_root() => Some(caller.gid),
            None => match &user {
                Some(user) => Some(user.gid),
                // That the user is unknown has been said.
                None if uid.is_none()
                    || matches!(
                        &service.value.user,
                        Some(Located {
                            value: Account::Name(_),
                            ..
                        })
                    ) =>
                {
                    None
                }
                None => {
                    let message = format!(
                        "uid {} is not in /etc/passwd and so has no primary group; add \"group\"",
                        uid.unwrap_or_default()
                    );
                    self.errors.push(self.manifest.problem(
                        service.offset,
                        "$.service".into(),
                        message,
                    ));
                    None
                }
            },
        };
        let groups = service.value.supplementary_groups.iter().enumerate();
        let supplementary: Vec<Option<u32>> = groups
            .map(|(i, group)| self.gid(&format!("$.service.supplementary_groups[{i}]"), group))
            .collect();
        let uid = uid?;
        let identity = ServiceIdentity {
            uid,
            gid: gid?,
            supplementary: supplementary.into_iter().collect::<Option<_>>()?,
            name: user.as_ref().map(|user| user.name.clone()),
            home: user.map(|user| user.home),
        };
        if uid == 0 && !service.value.allow_root {
            let offset = service
                .value
                .user
                .as_ref()
                .map_or(service.offset, |user| user.offset);
            let message =
                "the service would run as root; name another user, or add \"allow_root\": true"
                    .into();
            self.errors.push(
                self.manifest
                    .problem(offset, "$.service.user".into(), message),
            );
        }
        self.errors.extend(identity.unreachable(caller));
        Some(identity)
    }
}

impl ServiceIdentity {
    /// Who `spec` means. Like Docker, and unlike a manifest, a user without a group brings the memberships of `/etc/group`.
    ///
    /// # Errors
    /// Every name that is unknown, and an identity that `starter` cannot become.
    pub(crate) fn of_user(
        spec: &UserSpec,
        accounts: &Accounts,
        caller: &Caller,
    ) -> Result<ServiceIdentity, Vec<Error>> {
        let mut errors = Vec::new();
        let user = match &spec.user {
            Account::Name(name) => accounts.user(name).cloned(),
            Account::Id(uid) => accounts.user_by_id(*uid).cloned(),
        };
        let uid = match (&spec.user, &user) {
            (Account::Id(uid), _) => *uid,
            (Account::Name(_), Some(user)) => user.uid,
            (Account::Name(name), None) => {
                errors.push(accounts.unknown_user("--user".into(), name));
                0
            }
        };
        let mut gid_of = |group: &Account| match group {
            Account::Id(gid) => Some(*gid),
            Account::Name(name) => {
                let gid = accounts.group(name);
                if gid.is_none() {
                    errors.push(accounts.unknown_group("--user".into(), name));
                }
                gid
            }
        };
        let gid = spec.group.as_ref().map(&mut gid_of);
        let mut supplementary: Vec<u32> = spec.more.iter().filter_map(gid_of).collect();
        let gid = match (gid, &user) {
            (Some(gid), _) => gid,
            (None, Some(user)) => {
                // Without root the engine chose the groups, and they stay.
                if caller.is_root() {
                    supplementary.extend(accounts.memberships(user));
                }
                Some(user.gid)
            }
            (None, None) => {
                if matches!(spec.user, Account::Id(_)) {
                    errors.push(Error::NoPrimaryGroup { uid });
                }
                None
            }
        };
        let (Some(gid), true) = (gid, errors.is_empty()) else {
            return Err(errors);
        };
        let (name, home) = user.map(|user| (user.name, user.home)).unzip();
        let identity = ServiceIdentity {
            uid,
            gid,
            supplementary,
            name,
            home,
        };
        let unreachable = identity.unreachable(caller);
        if unreachable.is_empty() {
            Ok(identity)
        } else {
            Err(unreachable)
        }
    }

    /// What `starter`, not being root, is asked to become and is not.
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

fn id_of(account: &Account) -> Option<u32> {
    match account {
        Account::Id(id) => Some(*id),
        Account::Name(_) => None,
    }
}
