//! `sealinit init`: signals, reaping and the proven privilege drop for an image that needs no configuration, instead of tini and gosu.
//!
//! Never writes anything, and never takes an id for another: what is not an id or a known name is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;
use std::str::FromStr;

use nix::sys::stat::{Mode, umask};

use crate::accounts::{Accounts, Caller, parse_id};
use crate::error::Error;
use crate::fs::root::Root;
use crate::manifest::Account;
use crate::plan::{Login, Service};
use crate::preflight;
use crate::service::exec::Inherited;
use crate::service::supervise::SupervisionConfig;
use crate::service::{Launched, launch};
use crate::state::sealed::Clearance;
use crate::sys::capability::CapabilitySet;

/// What `init` is told.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Whom to become; `None` leaves all credentials as they are.
    pub(crate) user: Option<UserSpec>,
    pub(crate) manners: SupervisionConfig,
    pub(crate) command: Vec<OsString>,
}

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
        let mut parts = text.split('+');
        let (user, group) = match parts.next().unwrap_or_default().split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text.split('+').next().unwrap_or_default(), None),
        };
        Ok(Self {
            user: account("user", user)?,
            group: group.map(|group| account("group", group)).transpose()?,
            more: parts
                .map(|group| account("group", group))
                .collect::<Result<_, _>>()?,
        })
    }
}

/// Digits are an id, and one that does not fit is an error and not some other id: truncated, 4294967296 would be root.
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
        .ok_or_else(|| format!("{text} is no {what} id; write one below 4294967295"))
}

/// Starts the command as a child, for this process to supervise.
///
/// # Errors
/// That it was not started, and why.
pub(crate) fn init(options: Options) -> Result<Launched, Vec<Error>> {
    let caller = Caller::of_this_process()?;
    let mask = umask(Mode::empty());
    let identity = match &options.user {
        Some(spec) => {
            let tree = Root::open(Path::new("/")).map_err(|source| Error::AccountsRead {
                path: "/".into(),
                source,
            })?;
            Some(Accounts::load(&tree)?.identity(spec, &caller)?)
        }
        None => None,
    };
    let mut groups = BTreeSet::new();
    match &identity {
        Some(identity) => groups.extend(identity.supplementary.iter().chain([&identity.gid])),
        None => groups.extend(&caller.groups),
    }
    let service = Service {
        command: options.command,
        env: BTreeMap::new(),
        working_dir: None,
        umask: None,
        credentials_unchanged: identity.is_none(),
        uid: identity
            .as_ref()
            .map_or(caller.uid, |identity| identity.uid),
        gid: identity
            .as_ref()
            .map_or(caller.gid, |identity| identity.gid),
        groups,
        login: identity.map(|identity| Login {
            name: identity.name,
            home: identity.home,
            replaces: true,
        }),
        capabilities: CapabilitySet::EMPTY,
        no_new_privileges: true,
        supervised: Some(options.manners),
    };
    if !service.credentials_unchanged {
        let obstacles = preflight::privileges::becoming(&service, &caller);
        if !obstacles.is_empty() {
            return Err(obstacles);
        }
    }
    let inherited = Inherited {
        umask: mask,
        pid: std::process::id(),
    };
    Ok(launch(
        &service,
        &caller,
        inherited,
        &Clearance::Unconfigured,
        || {},
    )?)
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
            // Names that no passwd file can hold; they are looked up and not found, never taken for an id.
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
