//! The credentials that this process was started with.

use std::collections::BTreeSet;

use nix::unistd::{getegid, geteuid, getgroups};

use crate::error::Error;
use crate::sys;
use crate::sys::capability::CapabilitySet;

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
