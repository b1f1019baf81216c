//! A directory held by its descriptor: all that happens in it happens through that, as its owner, and follows no symbolic link.
//!
//! Never takes a path: who wants to get to a directory asks the [`tree`](crate::fs::root). A later swap of a name leads nowhere.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat, renameat};
use nix::sys::stat::{FileStat, Mode, fchmod, fstat, fstatat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, geteuid, syncfs, unlinkat};

use crate::escape::escaped;
use crate::fs::impersonate::Impersonation;
use crate::fs::source;
use crate::sys;

/// Links in one path, as in the kernel (`path_resolution(7)`).
pub(crate) const MAX_LINKS: usize = 40;

/// What went wrong in the tree.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FsError {
    /// A directory on the way does not exist.
    #[error(
        "the directory {} does not exist; create it in the image",
        escaped(path)
    )]
    Missing {
        /// The directory.
        path: PathBuf,
    },
    /// Something on the way is no directory.
    #[error("{} is a {kind} and not a directory; remove it", escaped(path))]
    NotDirectory {
        /// What is in the way.
        path: PathBuf,
        /// What it is.
        kind: FileKind,
    },
    /// A directory on the way lets others replace what is below it.
    #[error(
        "{} is owned by uid {uid} with mode {mode:04o}, so not only root could replace what is below it; chown it to root and take away write permission of group and others, or declare it in \"directories\"",
        escaped(path)
    )]
    UnsafeDirectory {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        uid: u32,
        /// Its permissions.
        mode: u32,
    },
    /// A symbolic link on the way could have been put there by somebody else.
    #[error(
        "{} is a symbolic link that not only root could have put there; remove it or name its target",
        escaped(path)
    )]
    UnsafeLink {
        /// The link.
        path: PathBuf,
    },
    /// Too many symbolic links.
    #[error(
        "{} leads through more than {MAX_LINKS} symbolic links; remove the loop",
        escaped(path)
    )]
    Loop {
        /// The path that was looked up.
        path: PathBuf,
    },
    /// Something is not what it must be.
    #[error("{} is a {kind} and not a regular file; remove it", escaped(path))]
    NotFile {
        /// The path.
        path: PathBuf,
        /// What it is.
        kind: FileKind,
    },
    /// A tree that is deeper than any of good faith.
    #[error(
        "{} is more than {MAX_DEPTH} directories deep; remove it",
        escaped(path)
    )]
    TooDeep {
        /// The path.
        path: PathBuf,
    },
    /// More than we are ready to read.
    #[error("{} is larger than {limit} bytes; shorten it", escaped(path))]
    TooLarge {
        /// The path.
        path: PathBuf,
        /// Bytes.
        limit: u64,
    },
    /// A system call failed.
    #[error("{act} {}: {source}{}", escaped(path), remedy(source))]
    Io {
        /// What was tried.
        act: &'static str,
        /// With what.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// What helps against the errors that an operator can do something about.
fn remedy(error: &io::Error) -> &'static str {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::ReadOnlyFilesystem => "; mount a volume or tmpfs there",
        Kind::StorageFull | Kind::QuotaExceeded => "; make room",
        Kind::PermissionDenied => "; check owner and mode, or the capabilities that were dropped",
        Kind::ResourceBusy => {
            "; it is a mount point: mount the file elsewhere and name it as source"
        }
        _ => "",
    }
}

impl FsError {
    /// Whether a system call failed for this reason.
    pub(crate) fn is(&self, kind: io::ErrorKind) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == kind)
    }

    pub(crate) fn io(act: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io {
            act,
            path: path.to_owned(),
            source: source.into(),
        }
    }
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileKind {
    File,
    Directory,
    Link,
    Fifo,
    Socket,
    Device,
}

impl FileKind {
    /// One word, as it stands in messages and as the value of the attribute `type`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Directory => "directory",
            Self::Link => "symlink",
            Self::Fifo => "FIFO",
            Self::Socket => "socket",
            Self::Device => "device",
        }
    }
}

impl std::fmt::Display for FileKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Owner, group and permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ownership {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Twelve bits: permissions, set-id and sticky.
    pub(crate) mode: u32,
}

/// What stat(2) tells of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) kind: FileKind,
    pub(crate) ownership: Ownership,
    pub(crate) size: u64,
    pub(crate) links: u64,
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

impl From<FileStat> for Metadata {
    fn from(stat: FileStat) -> Self {
        let kind = match stat.st_mode & nix::libc::S_IFMT {
            nix::libc::S_IFDIR => FileKind::Directory,
            nix::libc::S_IFLNK => FileKind::Link,
            nix::libc::S_IFIFO => FileKind::Fifo,
            nix::libc::S_IFSOCK => FileKind::Socket,
            nix::libc::S_IFREG => FileKind::File,
            _ => FileKind::Device,
        };
        let ownership = Ownership {
            uid: stat.st_uid,
            gid: stat.st_gid,
            mode: stat.st_mode & 0o7777,
        };
        // The widths of these fields differ between architectures, and a size is never negative.
        #[allow(clippy::unnecessary_cast, clippy::cast_sign_loss)]
        Self {
            kind,
            ownership,
            size: stat.st_size as u64,
            links: stat.st_nlink as u64,
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
        }
    }
}

/// An open directory.
#[derive(Debug)]
pub(crate) struct Dir {
    fd: OwnedFd,
    /// Where it really is, links resolved.
    path: PathBuf,
    metadata: Metadata,
    parent: Option<Rc<Dir>>,
}

/// How often a leftover of ours is removed before a file is created; more often means that somebody else is at work.
const CREATE_ATTEMPTS: usize = 2;

/// How deep a tree may be that is removed or given away. Each level is an open directory, and who makes a deeper one means harm.
const MAX_DEPTH: usize = 200;

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

    /// The directory that it was opened from; none for the root.
    pub(crate) fn parent(&self) -> Option<&Rc<Self>> {
        self.parent.as_ref()
    }

    /// Where the symbolic link `name` leads.
    pub(crate) fn read_link(&self, name: &OsStr) -> Result<OsString, FsError> {
        readlinkat(&self.fd, name).map_err(self.failed("cannot read the link", name))
    }

    /// Where it really is, links resolved.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// What happens in a directory happens as its owner.
    fn act(&self) -> Option<Impersonation> {
        Impersonation::owner(self.metadata.ownership.uid, self.metadata.ownership.gid)
    }

    pub(crate) fn failed(&self, act: &'static str, name: &OsStr) -> impl FnOnce(Errno) -> FsError {
        let path = self.path.join(name);
        move |errno| FsError::io(act, &path, errno)
    }

    /// This directory and those above it, up to the root.
    pub(crate) fn ancestry(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |dir| dir.parent.as_deref())
    }

    /// The first directory from here to the root that others than `trusted` could change, unless `exempt` says that it is
    /// going to be taken over.
    pub(crate) fn unsafe_ancestor(
        &self,
        installer: u32,
        exempt: impl Fn(&Path) -> bool,
    ) -> Option<FsError> {
        let found = self
            .ancestry()
            .find(|dir| !is_safe(&dir.metadata.ownership, installer) && !exempt(&dir.path))?;
        let Ownership { uid, mode, .. } = found.metadata.ownership;
        Some(FsError::UnsafeDirectory {
            path: found.path.clone(),
            uid,
            mode,
        })
    }

    /// What is at `name`, links not followed; `None` for nothing.
    pub(crate) fn look(&self, name: &OsStr) -> Result<Option<Metadata>, FsError> {
        let _acting = self.act();
        match fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat.into())),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(self.failed("cannot look at", name)(errno)),
        }
    }

    fn open(&self, name: &OsStr, flags: OFlag, mode: Mode) -> Result<OwnedFd, Errno> {
        let _acting = self.act();
        retry(|| {
            openat(
                &self.fd,
                name,
                flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
                mode,
            )
        })
    }

    /// Opens the regular file `name` for reading; `None` for nothing there.
    ///
    /// # Errors
    /// That it is anything else, or what open(2) says.
    pub(crate) fn open_file(&self, name: &OsStr) -> Result<Option<(File, Metadata)>, FsError> {
        // O_NONBLOCK: a FIFO must not make us wait. O_NOCTTY: a terminal must not become ours.
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let path = || self.path.join(name);
        let opened = match self.open(name, flags, Mode::empty()) {
            Err(Errno::EACCES) => self.open_as_owner(name, flags),
            opened => opened,
        };
        let fd = match opened {
            Ok(fd) => fd,
            Err(Errno::ENOENT) => return Ok(None),
            Err(Errno::ELOOP) => {
                return Err(FsError::NotFile {
                    path: path(),
                    kind: FileKind::Link,
                });
            }
            Err(Errno::ENXIO) => {
                return Err(FsError::NotFile {
                    path: path(),
                    kind: FileKind::Socket,
                });
            }
            Err(errno) => return Err(self.failed("cannot open", name)(errno)),
        };
        let metadata: Metadata = fstat(&fd)
            .map_err(self.failed("cannot look at", name))?
            .into();
        match metadata.kind {
            FileKind::File => Ok(Some((fd.into(), metadata))),
            kind => Err(FsError::NotFile { path: path(), kind }),
        }
    }

    /// Reads the whole regular file `name` of at most `limit` bytes; `None` for nothing there.
    ///
    /// # Errors
    /// As [`Self::open_file`], and that it is longer.
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

    /// Opens what is somebody else's and closed to us as that somebody, with the group of this directory to get there.
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

    /// Opens the directory `name`; `None` for nothing there.
    pub(crate) fn open_dir(self: &Rc<Self>, name: &OsStr) -> Result<Option<Rc<Self>>, Errno> {
        let fd = match self.open(name, OFlag::O_PATH | OFlag::O_DIRECTORY, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        let metadata = fstat(&fd)?.into();
        Ok(Some(Rc::new(Self {
            fd,
            path: self.path.join(name),
            metadata,
            parent: Some(Rc::clone(self)),
        })))
    }

    /// A descriptor that can be read, synced and changed; the one we hold only leads there.
    pub(crate) fn reopen(&self) -> Result<OwnedFd, FsError> {
        let _acting = self.act();
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        retry(|| openat(&self.fd, ".", flags, Mode::empty()))
            .map_err(|errno| FsError::io("cannot open", &self.path, errno))
    }

    /// The names in it, sorted.
    pub(crate) fn names(&self) -> Result<BTreeSet<OsString>, FsError> {
        let failed = |errno: Errno| FsError::io("cannot list", &self.path, errno);
        let mut listing = nix::dir::Dir::from_fd(self.reopen()?).map_err(failed)?;
        let mut names = BTreeSet::new();
        for entry in listing.iter() {
            let name = entry.map_err(failed)?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.insert(OsString::from_vec(name));
            }
        }
        Ok(names)
    }

    /// Writes a new file under `temporary`, gives it its attributes, and renames it to `name`: who looks at `name` sees the old file or
    /// the whole new one, and never one that is more readable than it will be.
    ///
    /// # Errors
    /// What the first failing call says; the temporary is removed then, as far as that still works.
    pub(crate) fn install_file(
        &self,
        name: &OsStr,
        temporary: &OsStr,
        ownership: Ownership,
        write: impl FnOnce(&mut File) -> Result<(), FsError>,
    ) -> Result<(), FsError> {
        let mut file: File = self.create(temporary)?.into();
        // A directory's default ACL gives rights to a new file that no mode shows. Gone before there is anything to read.
        sys::remove_acls(&file)
            .map_err(self.failed("cannot remove the access list of", temporary))?;
        let installed =
            write(&mut file).and_then(|()| self.place_file(&file, name, temporary, ownership));
        if installed.is_err() {
            let _ = self.unlink(temporary);
        }
        installed
    }

    fn place_file(
        &self,
        file: &File,
        name: &OsStr,
        temporary: &OsStr,
        wanted: Ownership,
    ) -> Result<(), FsError> {
        let path = self.path.join(name);
        let found: Metadata = fstat(file)
            .map_err(self.failed("cannot look at", temporary))?
            .into();
        set_ownership(file, &path, &found.ownership, wanted)?;
        file.sync_all()
            .map_err(|error| FsError::io("cannot sync", &path, error))?;
        {
            let _acting = self.act();
            renameat(&self.fd, temporary, &self.fd, name)
                .map_err(self.failed("cannot rename into place", name))?;
        }
        // Somebody who can write in this directory could have swapped the temporary.
        match self.look(name)? {
            Some(placed) if (placed.device, placed.inode) == (found.device, found.inode) => Ok(()),
            _ => Err(FsError::io(
                "cannot rename into place",
                &path,
                Errno::ESTALE,
            )),
        }
    }

    /// Creates a file that only its owner can read, in place of a leftover of an earlier life.
    fn create(&self, name: &OsStr) -> Result<OwnedFd, FsError> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL;
        for _ in 0..CREATE_ATTEMPTS {
            match self.open(name, flags, Mode::S_IRUSR | Mode::S_IWUSR) {
                Err(Errno::EEXIST) => self.remove_all(name)?,
                created => return created.map_err(self.failed("cannot create", name)),
            }
        }
        Err(self.failed("cannot create", name)(Errno::EEXIST))
    }

    fn unlink(&self, name: &OsStr) -> Result<(), FsError> {
        self.unlink_with(name, UnlinkatFlags::NoRemoveDir)
    }

    fn unlink_with(&self, name: &OsStr, flags: UnlinkatFlags) -> Result<(), FsError> {
        let _acting = self.act();
        match unlinkat(&self.fd, name, flags) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(self.failed("cannot remove", name)(errno)),
        }
    }

    /// Removes `name`, whatever it is, and all that is in it; links are removed, not followed. Nothing there is no error.
    pub(crate) fn remove_all(&self, name: &OsStr) -> Result<(), FsError> {
        self.remove_below(name, MAX_DEPTH)
    }

    fn remove_below(&self, name: &OsStr, depth: usize) -> Result<(), FsError> {
        match self.look(name)? {
            None => Ok(()),
            Some(metadata) if metadata.kind != FileKind::Directory => self.unlink(name),
            Some(_) => {
                let mut dir = self.open_child(name, depth)?;
                // Another file system is a volume, and its files are not this container's to remove.
                if dir.metadata.device != self.metadata.device {
                    return Err(self.failed("cannot remove", name)(Errno::EBUSY));
                }
                // A directory may be closed even to its owner, as whom we act in it.
                let found = dir.metadata.ownership;
                if found.mode & 0o700 != 0o700 {
                    dir.set_ownership(Ownership {
                        uid: geteuid().as_raw(),
                        mode: 0o700,
                        ..found
                    })?;
                    dir = self.open_child(name, depth)?;
                }
                for child in dir.names()? {
                    dir.remove_below(&child, depth - 1)?;
                }
                self.unlink_with(name, UnlinkatFlags::RemoveDir)
            }
        }
    }

    /// Opens a directory on the way down.
    fn open_child(&self, name: &OsStr, depth: usize) -> Result<Self, FsError> {
        if depth == 0 {
            return Err(FsError::TooDeep {
                path: self.path.join(name),
            });
        }
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let fd = self
            .open(name, flags, Mode::empty())
            .map_err(self.failed("cannot open", name))?;
        let metadata = fstat(&fd)
            .map_err(self.failed("cannot look at", name))?
            .into();
        Ok(Self {
            fd,
            path: self.path.join(name),
            metadata,
            parent: None,
        })
    }

    /// Makes the directory `name`.
    pub(crate) fn make_dir(&self, name: &OsStr, mode: u32) -> Result<(), FsError> {
        let _acting = self.act();
        mkdirat(&self.fd, name, Mode::from_bits_truncate(mode))
            .map_err(self.failed("cannot make the directory", name))
    }

    /// Gives this directory `wanted`, changing only what differs, and makes sure that it survives a power cut.
    pub(crate) fn set_ownership(&self, wanted: Ownership) -> Result<(), FsError> {
        if self.metadata.ownership == wanted {
            return Ok(());
        }
        // Opened while it is who we think it is: afterwards it may be closed to us.
        let file = File::from(self.reopen()?);
        set_ownership(&file, &self.path, &self.metadata.ownership, wanted)?;
        file.sync_all()
            .map_err(|error| FsError::io("cannot sync", &self.path, error))
    }

    /// Gives all that is below to `uid` and `gid`, changing only what differs, following no link and entering no other file system.
    ///
    /// # Errors
    /// What a call says, or [`Errno::EMLINK`] for a file with another hard link, which may be anywhere.
    pub(crate) fn give_below(&self, uid: u32, gid: u32) -> Result<(), FsError> {
        self.give(uid, gid, MAX_DEPTH)?;
        // No file of these was opened, so none was synced; and nothing would be given again after a power cut.
        syncfs(self.reopen()?).map_err(|errno| FsError::io("cannot sync", &self.path, errno))
    }

    fn give(&self, uid: u32, gid: u32, depth: usize) -> Result<(), FsError> {
        for name in self.names()? {
            let Some(metadata) = self.look(&name)? else {
                continue;
            };
            if metadata.device != self.metadata.device {
                continue;
            }
            if metadata.kind == FileKind::Directory {
                // The directory itself last: until then it is ours to enter.
                self.open_child(&name, depth)?.give(uid, gid, depth - 1)?;
            }
            if (metadata.ownership.uid, metadata.ownership.gid) == (uid, gid)
                || metadata.kind == FileKind::Device
            {
                continue;
            }
            let fd = self
                .open(&name, OFlag::O_PATH, Mode::empty())
                .map_err(self.failed("cannot open", &name))?;
            // Looked at again through the descriptor, which no swap of the name can change.
            let metadata: Metadata = fstat(&fd)
                .map_err(self.failed("cannot look at", &name))?
                .into();
            if metadata.kind != FileKind::Directory && metadata.links > 1 {
                return Err(self.failed("cannot give away", &name)(Errno::EMLINK));
            }
            let (owner, group) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            nix::unistd::fchownat(&fd, c"", owner, group, AtFlags::AT_EMPTY_PATH)
                .map_err(self.failed("cannot give away", &name))?;
        }
        Ok(())
    }

    /// The first file below that has another hard link and is not yet `uid`'s and `gid`'s.
    pub(crate) fn hard_link_below(&self, uid: u32, gid: u32) -> Result<Option<PathBuf>, FsError> {
        self.hard_link(uid, gid, MAX_DEPTH)
    }

    fn hard_link(&self, uid: u32, gid: u32, depth: usize) -> Result<Option<PathBuf>, FsError> {
        for name in self.names()? {
            let Some(metadata) = self.look(&name)? else {
                continue;
            };
            if metadata.device != self.metadata.device {
                continue;
            }
            if metadata.kind == FileKind::Directory {
                if let Some(found) =
                    self.open_child(&name, depth)?
                        .hard_link(uid, gid, depth - 1)?
                {
                    return Ok(Some(found));
                }
            } else if metadata.links > 1
                && (metadata.ownership.uid, metadata.ownership.gid) != (uid, gid)
            {
                return Ok(Some(self.path.join(name)));
            }
        }
        Ok(None)
    }

    /// Makes sure that names created, renamed and removed in it survive a power cut.
    pub(crate) fn sync(&self) -> Result<(), FsError> {
        File::from(self.reopen()?)
            .sync_all()
            .map_err(|error| FsError::io("cannot sync", &self.path, error))
    }

    /// Whether files can be made here: not on a read-only file system, not without permission.
    pub(crate) fn check_writable(&self) -> Result<(), FsError> {
        let _acting = self.act();
        let flags = nix::unistd::AccessFlags::W_OK | nix::unistd::AccessFlags::X_OK;
        match nix::unistd::faccessat(&self.fd, ".", flags, AtFlags::AT_EACCESS) {
            // An old kernel or seccomp profile that does not know the call: the first write will tell.
            Ok(()) | Err(Errno::EPERM | Errno::ENOSYS) => Ok(()),
            Err(errno) => Err(FsError::io("cannot write in", &self.path, errno)),
        }
    }

    /// Whether its file system is in memory.
    pub(crate) fn is_volatile(&self) -> bool {
        use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};
        fstatfs(&self.fd).is_ok_and(|found| found.filesystem_type() == TMPFS_MAGIC)
    }

    /// An advisory lock on this directory, held until the file is closed; `None` if somebody else holds it.
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

/// Calls again what a signal interrupted: a network or FUSE file system says so, and it is no failure.
fn retry<T>(call: impl Fn() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            done => return done,
        }
    }
}

/// Whether only `trusted` or root can change what is in a directory with these attributes.
pub(crate) fn is_safe(ownership: &Ownership, installer: u32) -> bool {
    (ownership.uid == 0 || ownership.uid == installer) && ownership.mode & 0o022 == 0
}

/// Gives an open file or directory `wanted`, changing only what differs.
///
/// Group, then mode, then owner. The mode never applies to a group that it is not meant for; and who gives a file away can
/// no longer change its mode, unless with `CAP_FOWNER`, which is not needed this way. (chown(2) takes away set-id bits,
/// which is why others do it first; here no mode has them.)
fn set_ownership(
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

/// Writes all of `bytes` to a file being installed at `path`, and reads them back: for what is not verified afterwards.
pub(crate) fn write_and_reread(file: &mut File, path: &Path, bytes: &[u8]) -> Result<(), FsError> {
    write_all(file, path, bytes)?;
    let mut found = Vec::with_capacity(bytes.len());
    file.rewind()
        .and_then(|()| file.read_to_end(&mut found))
        .map_err(|error| FsError::io("cannot read back", path, error))?;
    if found == bytes {
        Ok(())
    } else {
        Err(FsError::io(
            "cannot write",
            path,
            io::Error::other("the disk holds something else"),
        ))
    }
}

/// Writes all of `bytes` to a file being installed at `path`.
pub(crate) fn write_all(file: &mut File, path: &Path, bytes: &[u8]) -> Result<(), FsError> {
    file.write_all(bytes)
        .map_err(|error| FsError::io("cannot write", path, error))
}
