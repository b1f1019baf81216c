//! Resolves the names of a declaration.

use std::collections::BTreeMap;

use crate::accounts::caller::Caller;
use crate::accounts::identity::{Identities, ServiceIdentity};
use crate::accounts::passwd::{Accounts, User};
use crate::declaration::{Account, Declaration, DeclaredKind, Place, Placed};
use crate::error::Error;

impl Identities {
    /// Resolves every name in `declaration`, and returns every problem: unknown names, and a
    /// service user that `caller` cannot become. There are identities if those of the service are
    /// known.
    pub(crate) fn resolve(
        declaration: &Declaration,
        accounts: &Accounts,
        caller: &Caller,
    ) -> (Option<Self>, Vec<Error>) {
        let mut resolver = Resolver {
            declaration,
            accounts,
            caller,
            users: BTreeMap::new(),
            groups: BTreeMap::new(),
            errors: Vec::new(),
        };
        let service = resolver.service();
        for entry in &declaration.entries {
            let (owner, group) = match &entry.kind {
                DeclaredKind::File(file) => (&file.owner, &file.group),
                DeclaredKind::Directory(directory) => (&directory.owner, &directory.group),
                DeclaredKind::Absent => continue,
            };
            owner.as_ref().and_then(|owner| resolver.uid(owner));
            group.as_ref().and_then(|group| resolver.gid(group));
        }
        let Resolver {
            users,
            groups,
            errors,
            ..
        } = resolver;
        let identities = service.map(|service| Self {
            installer: caller.uid,
            service,
            users,
            groups,
        });
        (identities, errors)
    }
}

/// The names resolved so far, and the problems.
struct Resolver<'a> {
    declaration: &'a Declaration,
    accounts: &'a Accounts,
    caller: &'a Caller,
    users: BTreeMap<String, Option<u32>>,
    groups: BTreeMap<String, Option<u32>>,
    errors: Vec<Error>,
}

impl Resolver<'_> {
    fn uid(&mut self, account: &Placed<Account>) -> Option<u32> {
        let Account::Name(name) = &account.value else {
            return account.value.id();
        };
        let uid = self.accounts.user(name).map(|user| user.uid);
        if uid.is_none() {
            let at = self.declaration.origin.describe(account.place);
            self.errors.push(self.accounts.unknown_user(at, name));
        }
        self.users.insert(name.clone(), uid);
        uid
    }

    fn gid(&mut self, account: &Placed<Account>) -> Option<u32> {
        let Account::Name(name) = &account.value else {
            return account.value.id();
        };
        let gid = self.accounts.group(name);
        if gid.is_none() {
            let at = self.declaration.origin.describe(account.place);
            self.errors.push(self.accounts.unknown_group(at, name));
        }
        self.groups.insert(name.clone(), gid);
        gid
    }

    fn problem(&mut self, place: Place, message: String) {
        self.errors
            .push(self.declaration.origin.error(place, message));
    }

    /// The service's credentials: the declared ones under root, the caller's where none are
    /// declared without root.
    fn service(&mut self) -> Option<ServiceIdentity> {
        let service = &self.declaration.service;
        let uid = self.service_uid();
        let user = match (&service.user, uid) {
            // Two names may share a uid, and each then has its own group and home.
            (Some(user), _) => self.accounts.find(&user.value),
            (None, Some(uid)) => self.accounts.user_by_id(uid),
            (None, None) => None,
        };
        let gid = self.service_gid(uid, user);
        let groups = service.supplementary_groups.iter();
        let supplementary: Vec<Option<u32>> = groups.map(|group| self.gid(group)).collect();
        let uid = uid?;
        let identity = ServiceIdentity {
            uid,
            gid: gid?,
            supplementary: supplementary.into_iter().collect::<Option<_>>()?,
            name: user.map(|user| user.name.clone()),
            home: user.map(|user| user.home.clone()),
        };
        if uid == 0 && !service.allow_root {
            let place = match &service.user {
                Some(user) => user.place,
                None => service.place.member("user"),
            };
            let message =
                "the service would run as root; name another user, or add \"allow_root\": true";
            self.problem(place, message.into());
        }
        self.errors.extend(identity.unreachable(self.caller));
        Some(identity)
    }

    fn service_uid(&mut self) -> Option<u32> {
        let service = &self.declaration.service;
        match &service.user {
            Some(user) => self.uid(user),
            None if !self.caller.is_root() => Some(self.caller.uid),
            None => {
                let message = "missing key \"user\"; only a start without root can do without it";
                self.problem(service.place, message.into());
                None
            }
        }
    }

    /// The primary group; `uid` and `user` are what is known of the user.
    fn service_gid(&mut self, uid: Option<u32>, user: Option<&User>) -> Option<u32> {
        let service = &self.declaration.service;
        match (&service.group, user, uid) {
            (Some(group), _, _) => self.gid(group),
            // Without root the groups stay as they are.
            (None, _, _) if !self.caller.is_root() => Some(self.caller.gid),
            (None, Some(user), _) => Some(user.gid),
            (None, None, Some(uid)) => {
                let message = format!(
                    "uid {uid} is not in /etc/passwd and so has no primary group; add \"group\""
                );
                self.problem(service.place, message);
                None
            }
            // The user is unknown, which has been reported.
            (None, None, None) => None,
        }
    }
}
