//! Values that mean the same in every format.

/// A user or group: a name to look up, or an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Account {
    Name(String),
    Id(u32),
}

impl Account {
    /// The id, if it is one.
    pub(crate) fn id(&self) -> Option<u32> {
        match self {
            Self::Id(id) => Some(*id),
            Self::Name(_) => None,
        }
    }
}

/// A string without NUL, which execve(2) can pass on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Argument(pub(crate) String);
