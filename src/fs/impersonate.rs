//! Acting as somebody else towards the file system, for as long as a value lives.
//!
//! Never changes who this process is: only the ids that the kernel checks file access with (`setfsuid(2)`), and for the service
//! its supplementary groups. Root that acts as a directory's owner has there what that owner has, and none of root's overriding
//! capabilities: a planted link gains nothing, and `CAP_DAC_OVERRIDE` is not needed. (Root's supplementary groups stay.)

use nix::unistd::{Gid, Uid, geteuid, getgroups, setfsgid, setfsuid, setgroups};

/// Undoes what it did when it is dropped.
#[derive(Debug)]
pub(crate) struct Impersonation {
    uid: Uid,
    gid: Gid,
    groups: Option<Vec<Gid>>,
}

impl Impersonation {
    /// Acts as `uid` and `gid`, unless this process is that uid or is not root. A uid that cannot be is not become.
    pub(crate) fn owner(uid: u32, gid: u32) -> Option<Self> {
        // What belongs to root is by far the most, and needs no question: who is not root never acts as anybody.
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

    /// Acts as a whole identity, supplementary groups included as far as they may be set.
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
            // These are the groups we had, so nobody is kept from having them; and the drop of privileges sets and proves its own.
            let _ = setgroups(groups);
        }
    }
}
