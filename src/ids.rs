//! User and group ids with their names, for messages.

use std::collections::BTreeMap;

use crate::escape::escaped;

/// The names of ids in one image. Empty if they are not known: messages show the ids alone.
#[derive(Debug, Clone, Default)]
pub(crate) struct IdNames {
    pub(crate) users: BTreeMap<u32, String>,
    pub(crate) groups: BTreeMap<u32, String>,
}

impl IdNames {
    /// Returns the name of a user, escaped.
    pub(crate) fn user(&self, uid: u32) -> Option<String> {
        self.users.get(&uid).map(|name| escaped(name).to_string())
    }

    /// Returns the name of a group, escaped.
    pub(crate) fn group(&self, gid: u32) -> Option<String> {
        self.groups.get(&gid).map(|name| escaped(name).to_string())
    }
}

/// Formats an id with its name, as in `33 (www-data)`, or `33` without a name.
pub(crate) fn id(id: impl std::fmt::Display, name: Option<&str>) -> String {
    match name {
        Some(name) => format!("{id} ({name})"),
        None => id.to_string(),
    }
}
