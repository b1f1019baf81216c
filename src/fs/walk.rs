//! Trees below a directory: removed, given to another owner, searched for hard links.
//!
//! No link is followed, no other file system is entered, and no list of names is held: memory does
//! not grow with the number of files.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{Gid, Uid, fchownat, geteuid};

use crate::escape::escaped;
use crate::fs::cores::Cores;
use crate::fs::dir::Dir;
use crate::fs::error::{FsError, MAX_DEPTH};
use crate::fs::metadata::{FileKind, Metadata, Ownership};
use crate::fs::progress::Progress;

/// Names that are held at a time.
const BATCH: usize = 4096;

/// Files that a thread has open at a time: enough to change identity seldom, few beside the
/// descriptors that a process may have.
const OPEN: usize = 8;

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

/// The entries below a directory that do not belong to an owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Foreign {
    Nothing,
    /// At least one entry, and none of them with another hard link.
    Some,
    /// A file that has another hard link, which may be anywhere.
    HardLink(PathBuf),
}

impl Foreign {
    fn find(&mut self) {
        if *self == Self::Nothing {
            *self = Self::Some;
        }
    }

    fn find_hard_link(&mut self, path: impl FnOnce() -> PathBuf) {
        if !matches!(self, Self::HardLink(_)) {
            *self = Self::HardLink(path());
        }
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

    /// Calls `work` with the names in this directory, some at a time and on all `cores`; it returns
    /// those that are directories. Calls `enter` with each directory, opened.
    fn each(
        &self,
        depth: usize,
        cores: &Cores,
        work: impl Fn(&[OsString]) -> Result<Vec<OsString>, FsError> + Sync,
        enter: impl Fn(Self) -> Result<(), FsError> + Sync,
    ) -> Result<(), FsError> {
        let open = |name: &OsString| {
            let child = self.open_child(name, depth)?;
            if child.metadata().device == self.metadata().device {
                enter(child)?;
            }
            Ok(())
        };
        let mut names = self.names()?;
        loop {
            let batch: Vec<OsString> = names.by_ref().take(BATCH).collect::<Result<_, _>>()?;
            if batch.is_empty() {
                return Ok(());
            }
            let directories = cores.in_parts(&batch, &work)?;
            cores.each(&directories, &open)?;
        }
    }

    /// Gives everything below to `uid` and `gid`, changing only what differs. Nothing is synced.
    ///
    /// # Errors
    /// [`FsError::Io`], with EMLINK for a file with another hard link, which may be anywhere.
    pub(crate) fn give_below(
        &self,
        uid: u32,
        gid: u32,
        progress: &mut Progress,
    ) -> Result<(), FsError> {
        let progress = Mutex::new(progress);
        self.give(Owner { uid, gid }, MAX_DEPTH, &Cores::new(), &progress)
    }

    fn give(
        &self,
        owner: Owner,
        depth: usize,
        cores: &Cores,
        progress: &Mutex<&mut Progress>,
    ) -> Result<(), FsError> {
        // Nobody but root can change the names in it: each leads to what was looked at.
        let is_safe = self.metadata().ownership.is_safe(0);
        let work = |names: &[OsString]| {
            let mut directories = Vec::new();
            if is_safe {
                self.give_by_name(names, owner, &mut directories)?;
                let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
                progress.advance(names.len());
                return Ok(directories);
            }
            for names in names.chunks(OPEN) {
                let foreign = self.open_foreign(names, owner, &mut directories)?;
                for (name, fd) in &foreign {
                    self.give_one(name, fd, owner)?;
                }
                let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
                progress.advance(names.len());
            }
            Ok(directories)
        };
        self.each(depth, cores, work, |child| {
            child.give(owner, depth - 1, cores, progress)?;
            // The directory itself last: until then it can be entered as its owner.
            if owner.has(child.metadata()) {
                return Ok(());
            }
            let name = child.path().file_name().unwrap_or_default();
            self.change_owner_of(name, child.fd(), owner)
        })
    }

    /// Gives `names` to `owner`, in a directory whose names only root can change. Adds the
    /// directories to `directories` instead.
    fn give_by_name(
        &self,
        names: &[OsString],
        owner: Owner,
        directories: &mut Vec<OsString>,
    ) -> Result<(), FsError> {
        for name in names {
            let Some(metadata) = self.look_as_is(name)? else {
                continue;
            };
            if metadata.kind == FileKind::Directory {
                directories.push(name.clone());
            } else if self.is_to_be_given(&metadata, owner) {
                self.refuse_hard_link(name, &metadata)?;
                self.change_owner(name, owner, |uid, gid| {
                    let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
                    fchownat(self.fd(), name.as_os_str(), uid, gid, flags)
                })?;
            }
        }
        Ok(())
    }

    /// Returns true if an entry of this directory with `metadata` does not belong to `owner` yet.
    /// Devices and what is mounted here stay as they are.
    fn is_to_be_given(&self, metadata: &Metadata, owner: Owner) -> bool {
        metadata.device == self.metadata().device
            && metadata.kind != FileKind::Device
            && !owner.has(metadata)
    }

    fn refuse_hard_link(&self, name: &OsStr, metadata: &Metadata) -> Result<(), FsError> {
        if metadata.kind != FileKind::Directory && metadata.links > 1 {
            return Err(self.failed("cannot give away", name)(Errno::EMLINK));
        }
        Ok(())
    }

    /// Opens those of `names` that belong to another owner, as a path only. Adds the directories
    /// to `directories` instead.
    fn open_foreign<'n>(
        &self,
        names: &'n [OsString],
        owner: Owner,
        directories: &mut Vec<OsString>,
    ) -> Result<Vec<(&'n OsStr, OwnedFd)>, FsError> {
        let _acting = self.act();
        let mut foreign = Vec::new();
        for name in names {
            let Some(metadata) = self.look_as_is(name)? else {
                continue;
            };
            if metadata.kind == FileKind::Directory {
                directories.push(name.clone());
            } else if self.is_to_be_given(&metadata, owner) {
                let fd = self
                    .open_as_is(name, OFlag::O_PATH, Mode::empty())
                    .map_err(self.failed("cannot open", name))?;
                foreign.push((name.as_os_str(), fd));
            }
        }
        Ok(foreign)
    }

    fn give_one(&self, name: &OsStr, fd: &OwnedFd, owner: Owner) -> Result<(), FsError> {
        // Looked at again through the descriptor, which no swap of the name can change.
        let metadata: Metadata = fstat(fd)
            .map_err(self.failed("cannot look at", name))?
            .into();
        self.refuse_hard_link(name, &metadata)?;
        self.change_owner_of(name, fd.as_fd(), owner)
    }

    /// Gives `name`, which is open as `fd`, to `owner`.
    fn change_owner_of(
        &self,
        name: &OsStr,
        fd: BorrowedFd<'_>,
        owner: Owner,
    ) -> Result<(), FsError> {
        self.change_owner(name, owner, |uid, gid| {
            fchownat(fd, c"", uid, gid, AtFlags::AT_EMPTY_PATH)
        })
    }

    /// Gives `name` to `owner` by `chown`.
    fn change_owner(
        &self,
        name: &OsStr,
        owner: Owner,
        chown: impl FnOnce(Option<Uid>, Option<Gid>) -> Result<(), Errno>,
    ) -> Result<(), FsError> {
        let Owner { uid, gid } = owner;
        tracing::debug!(path = %escaped(&self.path().join(name)), uid, gid, "set owner");
        chown(Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
            .map_err(self.failed("cannot give away", name))
    }

    /// Finds what [`Self::give_below`] would have to do, and what would stop it.
    pub(crate) fn foreign_below(&self, uid: u32, gid: u32) -> Result<Foreign, FsError> {
        let foreign = Mutex::new(Foreign::Nothing);
        self.foreign(Owner { uid, gid }, MAX_DEPTH, &Cores::new(), &foreign)?;
        Ok(foreign.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn foreign(
        &self,
        owner: Owner,
        depth: usize,
        cores: &Cores,
        foreign: &Mutex<Foreign>,
    ) -> Result<(), FsError> {
        let locked = || foreign.lock().unwrap_or_else(PoisonError::into_inner);
        let work = |names: &[OsString]| {
            let _acting = self.act();
            let mut directories = Vec::new();
            let mut is_foreign = false;
            for name in names {
                let Some(metadata) = self.look_as_is(name)? else {
                    continue;
                };
                if metadata.kind == FileKind::Directory {
                    directories.push(name.clone());
                } else if metadata.device == self.metadata().device && !owner.has(&metadata) {
                    is_foreign = true;
                    if metadata.links > 1 {
                        locked().find_hard_link(|| self.path().join(name));
                    }
                }
            }
            if is_foreign {
                locked().find();
            }
            Ok(directories)
        };
        self.each(depth, cores, work, |child| {
            if matches!(*locked(), Foreign::HardLink(_)) {
                return Ok(());
            }
            if !owner.has(child.metadata()) {
                locked().find();
            }
            child.foreign(owner, depth - 1, cores, foreign)
        })
    }
}
