//! Trees below a directory: removed, given to another owner, searched for hard links.
//!
//! No link is followed, no other file system is entered, and no list of names is held: memory does
//! not grow with the number of files.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{Gid, Uid, fchownat, geteuid};

use crate::escape::escaped;
use crate::fs::dir::Dir;
use crate::fs::error::{FsError, MAX_DEPTH};
use crate::fs::metadata::{FileKind, Metadata, Ownership};
use crate::fs::progress::Progress;

/// Names that are handled at a time: enough for one change of identity to serve many, few enough
/// to hold.
const BATCH: usize = 1024;

/// The owner and group that a tree is given.
#[derive(Debug, Clone, Copy)]
struct Owner {
    uid: u32,
    gid: u32,
}

impl Owner {
    fn has(self, metadata: &Metadata) -> bool {
        (metadata.ownership.uid, metadata.ownership.gid) == (self.uid, self.gid)
    }
}

impl Dir {
    /// Removes `name`, whatever it is, and everything below it; links are removed, not followed.
    /// If there is nothing, nothing is done.
    pub(crate) fn remove_all(&self, name: &OsStr) -> Result<(), FsError> {
        self.remove_below(name, MAX_DEPTH)
    }

    fn remove_below(&self, name: &OsStr, depth: usize) -> Result<(), FsError> {
        match self.look(name)? {
            None => return Ok(()),
            Some(metadata) if metadata.kind != FileKind::Directory => return self.unlink(name),
            Some(_) => {}
        }
        let mut dir = self.open_child(name, depth)?;
        // Another file system is a volume, and its files are not this container's to remove.
        if dir.metadata().device != self.metadata().device {
            return Err(self.failed("cannot remove", name)(Errno::EBUSY));
        }
        // A directory may be closed even to its owner, as whom its files are removed.
        let found = dir.metadata().ownership;
        if found.mode & 0o700 != 0o700 {
            dir.set_ownership(Ownership {
                uid: geteuid().as_raw(),
                mode: 0o700,
                ..found
            })?;
            dir = self.open_child(name, depth)?;
        }
        // Listed anew for each batch: POSIX leaves open what a listing shows of names that are
        // removed meanwhile.
        loop {
            let batch: Vec<OsString> = dir.names()?.take(BATCH).collect::<Result<_, _>>()?;
            if batch.is_empty() {
                return self.remove_dir(name);
            }
            for child in &batch {
                dir.remove_below(child, depth - 1)?;
            }
        }
    }

    /// Removes everything in this directory except `names`. Returns true if anything was removed.
    pub(crate) fn remove_except(&self, names: &BTreeSet<OsString>) -> Result<bool, FsError> {
        let mut removed = false;
        loop {
            let is_extra =
                |name: &Result<OsString, _>| !name.as_ref().is_ok_and(|name| names.contains(name));
            let extra = self.names()?.filter(is_extra).take(BATCH);
            let extra: Vec<OsString> = extra.collect::<Result<_, _>>()?;
            if extra.is_empty() {
                return Ok(removed);
            }
            removed = true;
            for name in &extra {
                tracing::debug!(path = %escaped(&self.path().join(name)), "remove");
                self.remove_all(name)?;
            }
        }
    }

    /// Opens a directory on the way down.
    fn open_child(&self, name: &OsStr, depth: usize) -> Result<Self, FsError> {
        if depth == 0 {
            return Err(FsError::TooDeep {
                path: self.path().join(name),
            });
        }
        self.open_detached(name)
            .map_err(self.failed("cannot open", name))
    }

    /// Calls `visit` with each name and its metadata. Names on other file systems and those that
    /// are gone meanwhile are left out.
    fn each(
        &self,
        mut visit: impl FnMut(&OsStr, &Metadata) -> Result<(), FsError>,
    ) -> Result<(), FsError> {
        let mut names = self.names()?;
        let mut found = Vec::new();
        loop {
            {
                let _acting = self.act();
                for name in names.by_ref().take(BATCH) {
                    let name = name?;
                    if let Some(metadata) = self.look_as_is(&name)?
                        && metadata.device == self.metadata().device
                    {
                        found.push((name, metadata));
                    }
                }
            }
            if found.is_empty() {
                return Ok(());
            }
            for (name, metadata) in found.drain(..) {
                visit(&name, &metadata)?;
            }
        }
    }

    /// Gives everything below to `uid` and `gid`, changing only what differs. Nothing is
    /// synced.
    ///
    /// # Errors
    /// [`FsError::Io`], with EMLINK for a file with another hard link, which may be anywhere.
    pub(crate) fn give_below(
        &self,
        uid: u32,
        gid: u32,
        progress: &mut Progress,
    ) -> Result<(), FsError> {
        self.give(Owner { uid, gid }, MAX_DEPTH, progress)
    }

    fn give(&self, owner: Owner, depth: usize, progress: &mut Progress) -> Result<(), FsError> {
        self.each(|name, metadata| {
            progress.step();
            if metadata.kind == FileKind::Directory {
                // The directory itself last: until then it can be entered as its owner.
                self.open_child(name, depth)?
                    .give(owner, depth - 1, progress)?;
            }
            if owner.has(metadata) || metadata.kind == FileKind::Device {
                return Ok(());
            }
            let fd = self
                .open(name, OFlag::O_PATH, Mode::empty())
                .map_err(self.failed("cannot open", name))?;
            // Looked at again through the descriptor, which no swap of the name can change.
            let metadata: Metadata = fstat(&fd)
                .map_err(self.failed("cannot look at", name))?
                .into();
            if metadata.kind != FileKind::Directory && metadata.links > 1 {
                return Err(self.failed("cannot give away", name)(Errno::EMLINK));
            }
            let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
            tracing::debug!(path = %escaped(&self.path().join(name)), uid = owner.uid, gid = owner.gid, "set owner");
            fchownat(&fd, c"", Some(uid), Some(gid), AtFlags::AT_EMPTY_PATH)
                .map_err(self.failed("cannot give away", name))
        })
    }

    /// Returns a file below that has another hard link and does not belong to `uid` and `gid`.
    pub(crate) fn hard_link_below(&self, uid: u32, gid: u32) -> Result<Option<PathBuf>, FsError> {
        let mut found = None;
        self.hard_link(Owner { uid, gid }, MAX_DEPTH, &mut found)?;
        Ok(found)
    }

    fn hard_link(
        &self,
        owner: Owner,
        depth: usize,
        found: &mut Option<PathBuf>,
    ) -> Result<(), FsError> {
        self.each(|name, metadata| {
            if found.is_some() {
                return Ok(());
            }
            if metadata.kind == FileKind::Directory {
                let dir = self.open_child(name, depth)?;
                return dir.hard_link(owner, depth - 1, found);
            }
            if metadata.links > 1 && !owner.has(metadata) {
                *found = Some(self.path().join(name));
            }
            Ok(())
        })
    }
}
