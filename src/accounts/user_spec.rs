//! `user[:group][+group...]`, as `--user` takes it.

use std::str::FromStr;

use crate::accounts::caller::Caller;
use crate::accounts::identity::ServiceIdentity;
use crate::accounts::passwd::{Accounts, parse_id};
use crate::declaration::Account;
use crate::error::Error;

/// Docker's `--user`, and more groups after `+`: `user[:group][+group…]`, each a name or an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UserSpec {
    pub(crate) user: Account,
    pub(crate) group: Option<Account>,
    pub(crate) more: Vec<Account>,
}

impl FromStr for UserSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (identity, more) = match text.split_once('+') {
            Some((identity, more)) => (identity, Some(more)),
            None => (text, None),
        };
        let (user, group) = match identity.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (identity, None),
        };
        let more = more.into_iter().flat_map(|more| more.split('+'));
        Ok(Self {
            user: account("user", user)?,
            group: group.map(|group| account("group", group)).transpose()?,
            more: more
                .map(|group| account("group", group))
                .collect::<Result<_, _>>()?,
        })
    }
}

impl UserSpec {
    /// Resolves the names. As with Docker, and unlike in a manifest, a user without a group brings
    /// the memberships of `/etc/group`.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownAccount`] for each unknown name, [`Error::NoPrimaryGroup`], or an error for
    /// each id that `caller` cannot take.
    pub(crate) fn resolve(
        &self,
        accounts: &Accounts,
        caller: &Caller,
    ) -> Result<ServiceIdentity, Vec<Error>> {
        let mut errors = Vec::new();
        let user = accounts.find(&self.user);
        let uid = self.user.id().or_else(|| user.map(|user| user.uid));
        if let (Account::Name(name), None) = (&self.user, user) {
            errors.push(accounts.unknown_user("--user".into(), name));
        }
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
        let group = self.group.as_ref().map(&mut gid_of);
        let mut supplementary: Vec<u32> = self.more.iter().filter_map(gid_of).collect();
        let gid = match (group, user, uid) {
            (Some(gid), _, _) => gid,
            (None, Some(user), _) => {
                // Without root the engine chose the groups, and they stay.
                if caller.is_root() {
                    supplementary.extend(accounts.memberships(user));
                }
                Some(user.gid)
            }
            (None, None, Some(uid)) => {
                errors.push(Error::NoPrimaryGroup { uid });
                None
            }
            // The user is unknown, which has been reported.
            (None, None, None) => None,
        };
        let (Some(uid), Some(gid), true) = (uid, gid, errors.is_empty()) else {
            return Err(errors);
        };
        let identity = ServiceIdentity {
            uid,
            gid,
            supplementary,
            name: user.map(|user| user.name.clone()),
            home: user.map(|user| user.home.clone()),
        };
        match identity.unreachable(caller) {
            unreachable if unreachable.is_empty() => Ok(identity),
            unreachable => Err(unreachable),
        }
    }
}

/// Digits are an id. One that does not fit is an error: truncated, 4294967296 would be root.
fn account(what: &str, text: &str) -> Result<Account, String> {
    if text.is_empty() {
        return Err(format!(
            "the {what} is empty; write user[:group][+group...]"
        ));
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(Account::Name(text.into()));
    }
    parse_id(text)
        .map(Account::Id)
        .ok_or_else(|| format!("{text} is not a {what} id; write one below 4294967295"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_read_strictly() {
        let name = |name: &str| Account::Name(name.into());
        for (text, user, group, more) in [
            ("nobody", name("nobody"), None, vec![]),
            ("0", Account::Id(0), None, vec![]),
            (
                "1000:4294967294",
                Account::Id(1000),
                Some(Account::Id(4_294_967_294)),
                vec![],
            ),
            (
                "a:b+44+video",
                name("a"),
                Some(name("b")),
                vec![Account::Id(44), name("video")],
            ),
            ("a+7", name("a"), None, vec![Account::Id(7)]),
            // Names that no passwd file can have: not found, and not taken for an id.
            ("-1", name("-1"), None, vec![]),
            (" 5", name(" 5"), None, vec![]),
            ("0x10", name("0x10"), None, vec![]),
        ] {
            assert_eq!(text.parse(), Ok(UserSpec { user, group, more }), "{text}");
        }
        for text in [
            "",
            ":",
            ":0",
            "+5",
            "a:",
            "a+",
            "4294967295",
            "4294967296",
            "a:4294967296",
            "a+4294967295",
        ] {
            assert!(text.parse::<UserSpec>().is_err(), "{text:?}");
        }
    }
}
