//! `/etc/passwd` and `/etc/group`, read without NSS.
//!
//! A static binary cannot load the shared libraries of NSS.

use std::path::Path;

use crate::declaration::Account;
use crate::error::Error;
use crate::escape::escaped;
use crate::fs::root::Root;
use crate::ids::IdNames;
use crate::json::nearest;

/// The size limit of an account file, in bytes: a larger one is an attack on memory
/// (CVE-2024-9676).
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// The fields of a `passwd(5)` line that sealinit uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) home: String,
}

/// A line of `group(5)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) gid: u32,
    pub(super) members: Vec<String>,
}

/// The users and groups of the image.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    users: Vec<User>,
    groups: Vec<Group>,
}

impl Accounts {
    /// Reads both files below `root`. A missing one is empty: a scratch image has neither.
    ///
    /// # Errors
    ///
    /// [`Error::AccountsRead`] if one exists and cannot be read.
    pub(crate) fn load(root: &Root) -> Result<Self, Error> {
        let read = |path: &str| {
            let read = root.read(path.as_ref(), MAX_BYTES);
            let bytes = read.map_err(|source| Error::AccountsRead {
                path: path.into(),
                source,
            })?;
            Ok(match bytes {
                Some(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                None => String::new(),
            })
        };
        Ok(Self {
            users: parse_passwd(&read("/etc/passwd")?),
            groups: parse_group(&read("/etc/group")?),
        })
    }

    /// The names of all ids below `root`; none if they cannot be read, since they only make ids
    /// readable.
    pub(crate) fn id_names(root: &Path) -> IdNames {
        let Some(accounts) = Root::open(root)
            .ok()
            .and_then(|root| Self::load(&root).ok())
        else {
            return IdNames::default();
        };
        // The first line of an id counts, as in the C library.
        let users = accounts.users.into_iter().rev();
        let groups = accounts.groups.into_iter().rev();
        IdNames {
            users: users.map(|user| (user.uid, user.name)).collect(),
            groups: groups.map(|group| (group.gid, group.name)).collect(),
        }
    }

    // First match wins in all of these, as in the C library.

    pub(super) fn user(&self, name: &str) -> Option<&User> {
        self.users.iter().find(|user| user.name == name)
    }

    /// The user with this name or id.
    pub(super) fn find(&self, account: &Account) -> Option<&User> {
        match account {
            Account::Name(name) => self.user(name),
            Account::Id(uid) => self.user_by_id(*uid),
        }
    }

    pub(super) fn user_by_id(&self, uid: u32) -> Option<&User> {
        self.users.iter().find(|user| user.uid == uid)
    }

    pub(super) fn group(&self, name: &str) -> Option<u32> {
        self.groups
            .iter()
            .find(|group| group.name == name)
            .map(|group| group.gid)
    }

    /// The groups that `user` is a member of.
    pub(super) fn memberships(&self, user: &User) -> impl Iterator<Item = u32> {
        let is_member = |group: &&Group| group.members.contains(&user.name);
        self.groups.iter().filter(is_member).map(|group| group.gid)
    }

    pub(super) fn unknown_user(&self, at: String, name: &str) -> Error {
        unknown(
            at,
            "user",
            "/etc/passwd",
            name,
            self.users.iter().map(|user| user.name.as_str()),
        )
    }

    pub(super) fn unknown_group(&self, at: String, name: &str) -> Error {
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

/// Returns the name of a usable line. Lines with `+` and `-` belong to NIS, and no account has an
/// empty name.
fn account_name(name: &str) -> Option<String> {
    (!name.is_empty() && !name.starts_with(['+', '-'])).then(|| name.to_owned())
}

/// Parses an id of digits only: `u32::from_str` takes a leading `+`, and `4294967295` is `(uid_t)
/// -1`, "unchanged".
pub(crate) fn parse_id(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits
        .then(|| text.parse().ok())
        .flatten()
        .filter(|id| *id != u32::MAX)
}

/// An error for a name that is not in `file`, with the nearest one that is.
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
