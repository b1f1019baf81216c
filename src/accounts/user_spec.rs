//! `user[:group][+group...]`, as `--user` takes it.

use std::str::FromStr;

use crate::accounts::passwd::parse_id;
use crate::manifest::Account;

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
