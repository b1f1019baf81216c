//! The credentials that this process was started with.

use std::collections::BTreeSet;

use nix::unistd::{getegid, geteuid, getgroups};

use crate::error::Error;
use crate::sys;
use crate::sys::capability::CapabilitySet;

/// The credentials of this process, which decide what it may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    /// Effective capabilities.
    pub(crate) capabilities: CapabilitySet,
}

impl Caller {
    /// Reads the credentials from the kernel.
    ///
    /// # Errors
    ///
    /// [`Error::Drop`] if a system call fails.
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

    /// Returns true if the supplementary groups are exactly `groups`.
    pub(crate) fn has_groups(&self, groups: &BTreeSet<u32>) -> bool {
        let own = &self.groups;
        own.iter().all(|group| groups.contains(group))
            && groups.iter().all(|group| own.contains(group))
    }
}
