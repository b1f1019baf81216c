//! User and group ids, shown with their names.

use std::collections::BTreeMap;

use crate::escape::escaped;

/// The names of ids in one image. Empty if they are not known: ids are shown alone then.
#[derive(Debug, Clone, Default)]
pub(crate) struct IdNames {
    pub(crate) users: BTreeMap<u32, String>,
    pub(crate) groups: BTreeMap<u32, String>,
}

impl IdNames {
    /// The name of a user, escaped.
    pub(crate) fn user(&self, uid: u32) -> Option<String> {
        self.users.get(&uid).map(|name| escaped(name).to_string())
    }

    /// The name of a group, escaped.
    pub(crate) fn group(&self, gid: u32) -> Option<String> {
        self.groups.get(&gid).map(|name| escaped(name).to_string())
    }
}

/// An id for people: `33 (www-data)`, or `33` without a name.
pub(crate) fn id(id: impl std::fmt::Display, name: Option<&str>) -> String {
    match name {
        Some(name) => format!("{id} ({name})"),
        None => id.to_string(),
    }
}
