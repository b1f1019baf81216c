//! `/etc/passwd` and `/etc/group`, read by ourselves: a static binary must not call NSS, which loads shared libraries.
//!
//! Never asks a network service, and never takes an unknown name for some default.

use std::collections::{BTreeMap, BTreeSet};

use nix::unistd::{getegid, geteuid, getgroups};
use serde::{Deserialize, Serialize};

use crate::commands::init::UserSpec;
use crate::error::Error;
use crate::escape::escaped;
use crate::fs::root::Root;
use crate::json::{Located, nearest};
use crate::manifest::{Account, Manifest};
use crate::sys;
use crate::sys::capability::CapabilitySet;

/// Far above any real one. What is larger is an attack on memory (CVE-2024-9676).
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// A line of `passwd(5)`, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
struct User {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

/// A line of `group(5)`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

/// What the image knows about users and groups.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    users: Vec<User>,
    groups: Vec<Group>,
}

impl Accounts {
    /// Reads both files below `root`. A missing one is empty: a scratch image has neither.
    ///
    /// # Errors
    /// That one is there and cannot be read.
    pub(crate) fn load(tree: &Root) -> Result<Self, Error> {
        let read = |path: &str| {
            let read = tree.read(path.as_ref(), MAX_BYTES);
            let bytes = read.map_err(|source| Error::AccountsRead {
                path: path.into(),
                source,
            })?;
            Ok(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
        };
        Ok(Self {
            users: parse_passwd(&read("/etc/passwd")?),
            groups: parse_group(&read("/etc/group")?),
        })
    }

    // First match wins in all of these, as in the C library.

    fn user(&self, name: &str) -> Option<&User> {
        self.users.iter().find(|user| user.name == name)
    }

    fn user_by_id(&self, uid: u32) -> Option<&User> {
        self.users.iter().find(|user| user.uid == uid)
    }

    fn group(&self, name: &str) -> Option<u32> {
        self.groups
            .iter()
            .find(|group| group.name == name)
            .map(|group| group.gid)
    }

    /// Who `spec` means. Like Docker, and unlike a manifest, a user without a group brings the memberships of `/etc/group`.
    ///
    /// # Errors
    /// Every name that is unknown, and an identity that `starter` cannot become.
    pub(crate) fn identity(
        &self,
        spec: &UserSpec,
        caller: &Caller,
    ) -> Result<ServiceIdentity, Vec<Error>> {
        let mut errors = Vec::new();
        let user = match &spec.user {
            Account::Name(name) => self.user(name).cloned(),
            Account::Id(uid) => self.user_by_id(*uid).cloned(),
        };
        let uid = match (&spec.user, &user) {
            (Account::Id(uid), _) => *uid,
            (Account::Name(_), Some(user)) => user.uid,
            (Account::Name(name), None) => {
                errors.push(self.unknown_user("--user".into(), name));
                0
            }
        };
        let mut gid_of = |group: &Account| match group {
            Account::Id(gid) => Some(*gid),
            Account::Name(name) => {
                let gid = self.group(name);
                if gid.is_none() {
                    errors.push(self.unknown_group("--user".into(), name));
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
                let is_member =
                    |group: &&Group| caller.is_root() && group.members.contains(&user.name);
                supplementary.extend(self.groups.iter().filter(is_member).map(|group| group.gid));
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

    fn unknown_user(&self, at: String, name: &str) -> Error {
        unknown(
            at,
            "user",
            "/etc/passwd",
            name,
            self.users.iter().map(|user| user.name.as_str()),
        )
    }

    fn unknown_group(&self, at: String, name: &str) -> Error {
        unknown(
            at,
            "group",
            "/etc/group",
            name,
            self.groups.iter().map(|group| group.name.as_str()),
        )
    }
}

/// The lines of `passwd(5)` that are sound; others are skipped, as the C library does.
fn parse_passwd(text: &str) -> Vec<User> {
    let parse = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, _] = fields[..] else {
            return None;
        };
        Some(User {
            name: account_name(name)?,
            uid: parse_id(uid)?,
            gid: parse_id(gid)?,
            home: home.into(),
        })
    };
    text.lines().filter_map(parse).collect()
}

/// The lines of `group(5)` that are sound.
fn parse_group(text: &str) -> Vec<Group> {
    let parse = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, gid, members] = fields[..] else {
            return None;
        };
        let members = members
            .split(',')
            .filter(|member| !member.is_empty())
            .map(str::to_owned)
            .collect();
        Some(Group {
            name: account_name(name)?,
            gid: parse_id(gid)?,
            members,
        })
    };
    text.lines().filter_map(parse).collect()
}

/// A name that can be meant: `+` and `-` lines are NIS's, and an empty name is nobody's.
fn account_name(name: &str) -> Option<String> {
    (!name.is_empty() && !name.starts_with(['+', '-'])).then(|| name.to_owned())
}

/// Digits only: `u32::from_str` takes a leading `+`, and `4294967295` is `(uid_t) -1`, "unchanged".
pub(crate) fn parse_id(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits
        .then(|| text.parse().ok())
        .flatten()
        .filter(|id| *id != u32::MAX)
}

/// How this process was started: what it may do is decided by this, and what it may not do is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    /// Effective capabilities.
    pub(crate) capabilities: CapabilitySet,
}

impl Caller {
    /// Asks the kernel.
    ///
    /// # Errors
    /// That the kernel does not answer, which it always does.
    pub(crate) fn of_this_process() -> Result<Self, Error> {
        let failed = |step| move |source: nix::Error| Error::Drop { step, source };
        Ok(Self {
            uid: geteuid().as_raw(),
            gid: getegid().as_raw(),
            groups: getgroups()
                .map_err(failed("getgroups"))?
                .iter()
                .map(|gid| gid.as_raw())
                .collect(),
            capabilities: sys::capabilities().map_err(failed("capget"))?.effective,
        })
    }

    pub(crate) fn is_root(&self) -> bool {
        self.uid == 0
    }

    /// Whether these and no others are the supplementary groups.
    pub(crate) fn has_groups(&self, groups: &BTreeSet<u32>) -> bool {
        let own = &self.groups;
        own.iter().all(|group| groups.contains(group))
            && groups.iter().all(|group| own.contains(group))
    }
}

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

/// Says that `file` has no `what` of this name, and which one may have been meant.
fn unknown<'a>(
    at: String,
    what: &'static str,
    file: &'static str,
    name: &str,
    known: impl Iterator<Item = &'a str>,
) -> Error {
    let known: Vec<&str> = known.collect();
    let remedy = "create it in the image or write its id as a number";
    let hint = match nearest(name, &known) {
        Some(near) => format!("did you mean \"{}\"? Otherwise {remedy}", escaped(near)),
        None => remedy.into(),
    };
    Error::UnknownAccount {
        at,
        what,
        name: name.into(),
        file,
        hint,
    }
}

fn id_of(account: &Account) -> Option<u32> {
    match account {
        Account::Id(id) => Some(*id),
        Account::Name(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_digits_and_nothing_else() {
        for (text, id) in [
            ("0", Some(0)),
            ("2147483648", Some(2_147_483_648)),
            ("4294967294", Some(4_294_967_294)),
            ("4294967295", None),
            ("4294967296", None),
            ("18446744073709551617", None),
        ] {
            assert_eq!(parse_id(text), id, "{text}");
        }
        for text in ["", " ", "+5", "-1", " 5", "5 ", "0x10", "1e3"] {
            assert_eq!(parse_id(text), None, "{text:?}");
        }
    }

    #[test]
    fn lines_that_are_not_sound_are_skipped_and_the_first_match_wins() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n\n# note\n+nis::1:1:::\nshort:x:1\n:x:5:5::/:/\nminus:x:-1:0::/:/\n\
                      app:x:1000:1000::/home/app:/bin/sh\napp:x:0:0::/root:/bin/sh\ntoor:x:0:0::/toor:/bin/sh\n";
        let accounts = Accounts {
            users: parse_passwd(passwd),
            groups: parse_group("root:x:0:\nbad:x::\napp:x:1000:a,b\n"),
        };
        let names: Vec<&str> = accounts
            .users
            .iter()
            .map(|user| user.name.as_str())
            .collect();
        assert_eq!(names, ["root", "app", "app", "toor"]);
        assert_eq!(accounts.user("app").map(|user| user.uid), Some(1000));
        assert_eq!(
            accounts.user_by_id(0).map(|user| user.name.as_str()),
            Some("root")
        );
        assert_eq!(
            (accounts.group("app"), accounts.group("bad")),
            (Some(1000), None)
        );
    }
}
