//! Impersonation of another user towards the file system, for as long as a value lives.
//!
//! Only the ids that the kernel checks file access with are changed (`setfsuid(2)`), and for the
//! service its supplementary groups. What acts as the owner of a directory has there the rights of
//! that owner and none of root's overriding capabilities: a planted link gains nothing, and
//! `CAP_DAC_OVERRIDE` is not needed. The ids are those of one thread.

use nix::unistd::{Gid, Uid, geteuid, getgroups, setfsgid, setfsuid, setgroups};

/// A change of identity, undone when it is dropped.
#[derive(Debug)]
pub(crate) struct Impersonation {
    uid: Uid,
    gid: Gid,
    groups: Option<Vec<Gid>>,
}

impl Impersonation {
    /// Acts as `uid` and `gid`; `None` if `uid` is root or this process is not.
    pub(crate) fn owner(uid: u32, gid: u32) -> Option<Self> {
        // Most directories belong to root, and take no system call here.
        (uid != 0 && geteuid().is_root()).then(|| {
            // The gid first: with the uid go the capabilities that changing the gid needs.
            let gid = setfsgid(Gid::from_raw(gid));
            Self {
                uid: setfsuid(Uid::from_raw(uid)),
                gid,
                groups: None,
            }
        })
    }

    /// Acts as a whole identity, with the supplementary groups as far as they may be set.
    pub(crate) fn identity(
        uid: u32,
        gid: u32,
        groups: impl IntoIterator<Item = u32>,
    ) -> Option<Self> {
        let before = getgroups().ok()?;
        let groups: Vec<Gid> = groups.into_iter().map(Gid::from_raw).collect();
        let changed = geteuid().is_root() && setgroups(&groups).is_ok();
        let acting = Self::owner(uid, gid);
        if acting.is_none() && changed {
            let _ = setgroups(&before);
            return None;
        }
        acting.map(|mut acting| {
            acting.groups = changed.then_some(before);
            acting
        })
    }
}

impl Drop for Impersonation {
    fn drop(&mut self) {
        setfsuid(self.uid);
        setfsgid(self.gid);
        if let Some(groups) = &self.groups {
            // The groups of before can be set again, and the drop of privileges sets and proves
            // its own.
            let _ = setgroups(groups);
        }
    }
}
