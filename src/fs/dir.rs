//! A directory held by its descriptor.
//!
//! Everything that happens in it happens through that descriptor, as the directory's owner, and
//! follows no symbolic link: a later swap of a name on the way leads nowhere. Paths lead here
//! through a [`Root`](crate::fs::root::Root).

use std::ffi::{OsStr, OsString};
use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::dir::OwningIter;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, fchmod, fstat, fstatat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, geteuid, unlinkat};

use crate::fs::error::FsError;
use crate::fs::impersonate::Impersonation;
use crate::fs::metadata::{FileKind, Metadata, Ownership};
use crate::fs::source;

/// An open directory.
#[derive(Debug)]
pub(crate) struct Dir {
    fd: OwnedFd,
    /// Its real path, links resolved.
    path: PathBuf,
    metadata: Metadata,
    parent: Option<Arc<Dir>>,
}

impl Dir {
    /// Opens the root of a tree, which is `/` in it wherever it is.
    pub(crate) fn open_root(path: &Path) -> Result<Self, FsError> {
        let failed = |errno| FsError::io("cannot open", path, errno);
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = retry(|| nix::fcntl::open(path, flags, Mode::empty())).map_err(failed)?;
        let metadata = fstat(&fd).map_err(failed)?.into();
        Ok(Self {
            fd,
            path: "/".into(),
            metadata,
            parent: None,
        })
    }

    /// Returns the directory that this one was opened from; none for the root.
    pub(crate) fn parent(&self) -> Option<&Arc<Self>> {
        self.parent.as_ref()
    }

    /// Returns the target of the symbolic link `name`.
    pub(crate) fn read_link(&self, name: &OsStr) -> Result<OsString, FsError> {
        readlinkat(&self.fd, name).map_err(self.failed("cannot read the link", name))
    }

    /// Returns its real path, links resolved.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Returns the descriptor, which is open with `O_PATH`.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Acts as the owner of this directory until the result is dropped.
    pub(crate) fn act(&self) -> Option<Impersonation> {
        Impersonation::owner(self.metadata.ownership.uid, self.metadata.ownership.gid)
    }

    /// Returns what makes an error of the errno of `act` on `name`.
    pub(crate) fn failed(&self, act: &'static str, name: &OsStr) -> impl FnOnce(Errno) -> FsError {
        move |errno| FsError::io(act, &self.path.join(name), errno)
    }

    /// Returns this directory and those above it, up to the root.
    pub(crate) fn ancestry(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |dir| dir.parent.as_deref())
    }

    /// Returns an error for the first directory from here to the root that users other than root
    /// and `installer` can change. Directories for which `exempt` returns true are not considered:
    /// they are going to be taken over.
    pub(crate) fn unsafe_ancestor(
        &self,
        installer: u32,
        exempt: impl Fn(&Path) -> bool,
    ) -> Option<FsError> {
        let found = self
            .ancestry()
            .find(|dir| !dir.metadata.ownership.is_safe(installer) && !exempt(&dir.path))?;
        let Ownership { uid, mode, .. } = found.metadata.ownership;
        Some(FsError::UnsafeDirectory {
            path: found.path.clone(),
            uid,
            mode,
        })
    }

    /// Returns the metadata of `name`, links not followed; `None` if there is nothing.
    pub(crate) fn look(&self, name: &OsStr) -> Result<Option<Metadata>, FsError> {
        let _acting = self.act();
        self.look_as_is(name)
    }

    /// Does what [`Self::look`] does, for a caller that acts as the owner already.
    pub(crate) fn look_as_is(&self, name: &OsStr) -> Result<Option<Metadata>, FsError> {
        match fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat.into())),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(self.failed("cannot look at", name)(errno)),
        }
    }

    /// Opens `name`, which is not followed if it is a symbolic link.
    pub(crate) fn open(&self, name: &OsStr, flags: OFlag, mode: Mode) -> Result<OwnedFd, Errno> {
        let _acting = self.act();
        self.open_as_is(name, flags, mode)
    }

    /// Does what [`Self::open`] does, for a caller that acts as the owner already.
    pub(crate) fn open_as_is(
        &self,
        name: &OsStr,
        flags: OFlag,
        mode: Mode,
    ) -> Result<OwnedFd, Errno> {
        retry(|| {
            openat(
                &self.fd,
                name,
                flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
                mode,
            )
        })
    }

    /// Opens the regular file `name` for reading; `None` if there is nothing.
    ///
    /// # Errors
    /// [`FsError::NotFile`] if it is not a regular file, [`FsError::Io`] with the error of open(2).
    pub(crate) fn open_file(&self, name: &OsStr) -> Result<Option<(File, Metadata)>, FsError> {
        // O_NONBLOCK: opening a FIFO must not wait. O_NOCTTY: a terminal must not become the
        // controlling one.
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let not_file = |kind| {
            let path = self.path.join(name);
            Err(FsError::NotFile { path, kind })
        };
        let opened = match self.open(name, flags, Mode::empty()) {
            Err(Errno::EACCES) => self.open_as_owner(name, flags),
            opened => opened,
        };
        let fd = match opened {
            Ok(fd) => fd,
            Err(Errno::ENOENT) => return Ok(None),
            Err(Errno::ELOOP) => return not_file(FileKind::Link),
            Err(Errno::ENXIO) => return not_file(FileKind::Socket),
            Err(errno) => return Err(self.failed("cannot open", name)(errno)),
        };
        let metadata: Metadata = fstat(&fd)
            .map_err(self.failed("cannot look at", name))?
            .into();
        match metadata.kind {
            FileKind::File => Ok(Some((fd.into(), metadata))),
            kind => not_file(kind),
        }
    }

    /// Reads the whole regular file `name` of at most `limit` bytes; `None` if there is nothing.
    ///
    /// # Errors
    /// Those of [`Self::open_file`], and [`FsError::TooLarge`].
    pub(crate) fn read(&self, name: &OsStr, limit: u64) -> Result<Option<Vec<u8>>, FsError> {
        let Some((mut file, metadata)) = self.open_file(name)? else {
            return Ok(None);
        };
        let path = self.path.join(name);
        match source::read_to_end(&mut file, metadata.size, limit) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                Err(FsError::TooLarge { path, limit })
            }
            Err(error) => Err(FsError::io("cannot read", &path, error)),
        }
    }

    /// Opens a file that another user owns and has closed to everyone else, as that user; the
    /// group is the directory's, which opens the way to it.
    fn open_as_owner(&self, name: &OsStr, flags: OFlag) -> Result<OwnedFd, Errno> {
        let found = fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        let _acting =
            Impersonation::owner(found.st_uid, self.metadata.ownership.gid).ok_or(Errno::EACCES)?;
        retry(|| {
            openat(
                &self.fd,
                name,
                flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
                Mode::empty(),
            )
        })
    }

    /// Opens the directory `name`; `None` if there is nothing.
    pub(crate) fn open_dir(self: &Arc<Self>, name: &OsStr) -> Result<Option<Arc<Self>>, Errno> {
        match self.open_detached(name) {
            Ok(mut dir) => {
                dir.parent = Some(Arc::clone(self));
                Ok(Some(Arc::new(dir)))
            }
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Opens the directory `name`, which does not know its parent then.
    pub(crate) fn open_detached(&self, name: &OsStr) -> Result<Self, Errno> {
        let fd = self.open(name, OFlag::O_PATH | OFlag::O_DIRECTORY, Mode::empty())?;
        let metadata = fstat(&fd)?.into();
        Ok(Self {
            fd,
            path: self.path.join(name),
            metadata,
            parent: None,
        })
    }

    /// Returns a descriptor that can be read, synced and changed; the one that is held with
    /// `O_PATH` cannot.
    pub(crate) fn reopen(&self) -> Result<OwnedFd, FsError> {
        let _acting = self.act();
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        retry(|| openat(&self.fd, ".", flags, Mode::empty()))
            .map_err(|errno| FsError::io("cannot open", &self.path, errno))
    }

    /// Reads the names in it, in the order of the file system, without holding all of them.
    pub(crate) fn names(&self) -> Result<Names<'_>, FsError> {
        let listing = nix::dir::Dir::from_fd(self.reopen()?)
            .map_err(|errno| FsError::io("cannot list", &self.path, errno))?;
        Ok(Names {
            path: &self.path,
            listing: listing.into_iter(),
        })
    }

    pub(crate) fn unlink(&self, name: &OsStr) -> Result<(), FsError> {
        self.unlink_with(name, UnlinkatFlags::NoRemoveDir)
    }

    /// Removes the empty directory `name`.
    pub(crate) fn remove_dir(&self, name: &OsStr) -> Result<(), FsError> {
        self.unlink_with(name, UnlinkatFlags::RemoveDir)
    }

    fn unlink_with(&self, name: &OsStr, flags: UnlinkatFlags) -> Result<(), FsError> {
        let _acting = self.act();
        match unlinkat(&self.fd, name, flags) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(self.failed("cannot remove", name)(errno)),
        }
    }

    /// Makes the directory `name`.
    pub(crate) fn make_dir(&self, name: &OsStr, mode: u32) -> Result<(), FsError> {
        let _acting = self.act();
        mkdirat(&self.fd, name, Mode::from_bits_truncate(mode))
            .map_err(self.failed("cannot make the directory", name))
    }

    /// Gives this directory `wanted`, changing only what differs. The change is not synced.
    pub(crate) fn change_ownership(&self, wanted: Ownership) -> Result<(), FsError> {
        set_ownership(self.reopen()?, &self.path, &self.metadata.ownership, wanted)
    }

    /// Gives this directory `wanted`, changing only what differs, and syncs the change.
    pub(crate) fn set_ownership(&self, wanted: Ownership) -> Result<(), FsError> {
        if self.metadata.ownership == wanted {
            return Ok(());
        }
        // Opened before the change: afterwards it may be closed to this process.
        let file = File::from(self.reopen()?);
        set_ownership(&file, &self.path, &self.metadata.ownership, wanted)?;
        sync_file(&file, &self.path)
    }

    /// Syncs the names in it: those created, renamed and removed survive a power cut then.
    pub(crate) fn sync(&self) -> Result<(), FsError> {
        sync_file(&File::from(self.reopen()?), &self.path)
    }

    /// Checks that files can be made here.
    ///
    /// # Errors
    /// [`FsError::Io`] on a read-only file system and without permission.
    pub(crate) fn check_writable(&self) -> Result<(), FsError> {
        let _acting = self.act();
        let flags = nix::unistd::AccessFlags::W_OK | nix::unistd::AccessFlags::X_OK;
        match nix::unistd::faccessat(&self.fd, ".", flags, AtFlags::AT_EACCESS) {
            // An old kernel or seccomp profile does not know the call: the first write decides.
            Ok(()) | Err(Errno::EPERM | Errno::ENOSYS) => Ok(()),
            Err(errno) => Err(FsError::io("cannot write in", &self.path, errno)),
        }
    }

    /// Returns true if its file system is in memory.
    pub(crate) fn is_volatile(&self) -> bool {
        use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};
        fstatfs(&self.fd).is_ok_and(|found| found.filesystem_type() == TMPFS_MAGIC)
    }

    /// Takes an advisory lock on this directory, held until the file is closed; `None` if another
    /// process holds it.
    pub(crate) fn lock(&self) -> Result<Option<File>, FsError> {
        let file = File::from(self.reopen()?);
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(file)),
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(TryLockError::Error(error)) => {
                    return Err(FsError::io("cannot lock", &self.path, error));
                }
            }
        }
    }
}

/// The names in a directory, without `.` and `..`.
pub(crate) struct Names<'d> {
    path: &'d Path,
    listing: OwningIter,
}

impl Iterator for Names<'_> {
    type Item = Result<OsString, FsError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let name = match self.listing.next()? {
                Ok(entry) => entry.file_name().to_bytes().to_vec(),
                Err(errno) => return Some(Err(FsError::io("cannot list", self.path, errno))),
            };
            if name != b"." && name != b".." {
                return Some(Ok(OsString::from_vec(name)));
            }
        }
    }
}

/// Repeats a call that a signal interrupted, as network and FUSE file systems report it.
pub(crate) fn retry<T>(call: impl Fn() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            done => return done,
        }
    }
}

/// Gives an open file or directory `wanted`, changing only what differs.
///
/// Group, then mode, then owner: the mode at no time applies to a group that it is not meant for;
/// and a process that has given a file away can no longer change its mode without `CAP_FOWNER`,
/// which is not needed this way. (chown(2) clears set-id bits, which is why other programs change
/// the owner first; here no mode has them.)
pub(crate) fn set_ownership(
    fd: impl AsFd,
    path: &Path,
    found: &Ownership,
    wanted: Ownership,
) -> Result<(), FsError> {
    let chown = |uid: Option<u32>, gid: Option<u32>| {
        fchown(fd.as_fd(), uid.map(Uid::from_raw), gid.map(Gid::from_raw))
            .map_err(|errno| FsError::io("cannot change the owner of", path, errno))
    };
    let me = geteuid().as_raw();
    let mut owner = found.uid;
    if found.mode != wanted.mode && owner != me {
        chown(Some(me), None)?;
        owner = me;
    }
    if found.gid != wanted.gid {
        chown(None, Some(wanted.gid))?;
    }
    if found.mode != wanted.mode {
        fchmod(fd.as_fd(), Mode::from_bits_truncate(wanted.mode))
            .map_err(|errno| FsError::io("cannot change the mode of", path, errno))?;
    }
    if owner != wanted.uid {
        chown(Some(wanted.uid), None)?;
    }
    Ok(())
}

/// Syncs an open file or directory at `path`.
pub(crate) fn sync_file(file: &File, path: &Path) -> Result<(), FsError> {
    file.sync_all()
        .map_err(|error| FsError::io("cannot sync", path, error))
}
