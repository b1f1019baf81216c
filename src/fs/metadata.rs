//! The metadata of an inode: type, owner, group, mode, size.

use std::fmt;

use nix::libc;
use nix::sys::stat::FileStat;

/// The type of a file.
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
    /// Returns one word for messages and for the attribute `type` of reports.
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

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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

impl Ownership {
    /// Returns true if only root and `installer` can change the names in a directory that has
    /// these attributes. The sticky bit is no exception: it does not keep others from creating.
    pub(crate) fn is_safe(&self, installer: u32) -> bool {
        (self.uid == 0 || self.uid == installer) && self.mode & 0o022 == 0
    }
}

/// The result of `stat(2)`, as far as it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) kind: FileKind,
    pub(crate) ownership: Ownership,
    /// Bytes.
    pub(crate) size: u64,
    /// Hard links.
    pub(crate) links: u64,
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

impl From<FileStat> for Metadata {
    fn from(stat: FileStat) -> Self {
        let kind = match stat.st_mode & libc::S_IFMT {
            libc::S_IFDIR => FileKind::Directory,
            libc::S_IFLNK => FileKind::Link,
            libc::S_IFIFO => FileKind::Fifo,
            libc::S_IFSOCK => FileKind::Socket,
            libc::S_IFREG => FileKind::File,
            _ => FileKind::Device,
        };
        let ownership = Ownership {
            uid: stat.st_uid,
            gid: stat.st_gid,
            mode: stat.st_mode & 0o7777,
        };
        // The widths of these fields differ between architectures, and a size is not negative.
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
