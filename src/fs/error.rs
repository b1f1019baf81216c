//! The error of a file system operation.

use std::io;
use std::path::{Path, PathBuf};

use crate::escape::escaped;
use crate::fs::metadata::FileKind;

/// Symbolic links that are followed in one path, as many as the kernel follows
/// (`path_resolution(7)`).
pub(crate) const MAX_LINKS: usize = 40;

/// Levels of directories that are removed or given away. Each level costs open descriptors.
pub(crate) const MAX_DEPTH: usize = 200;

/// The reason for which something below a [`Root`](crate::fs::root::Root) was not read or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FsError {
    /// A directory on the way does not exist.
    #[error(
        "the directory {} does not exist; create it in the image",
        escaped(path)
    )]
    Missing { path: PathBuf },
    /// Something other than a directory is on the way.
    #[error("{} is a {kind} and not a directory; remove it", escaped(path))]
    NotDirectory { path: PathBuf, kind: FileKind },
    /// A directory on the way lets other users replace files in it.
    #[error(
        "{path} (uid {uid}, mode {mode:04o}) lets other users replace files in it; in the image: \
         chown root {path} && chmod go-w {path}, or declare it in \"directories\"",
        path = escaped(path)
    )]
    UnsafeDirectory { path: PathBuf, uid: u32, mode: u32 },
    /// A symbolic link on the way is another user's, or in a directory that another user can
    /// change.
    #[error(
        "{} is a symbolic link that other users can replace; remove it or name its target",
        escaped(path)
    )]
    UnsafeLink { path: PathBuf },
    /// A path leads through more than [`MAX_LINKS`] symbolic links.
    #[error(
        "{} leads through more than {MAX_LINKS} symbolic links; remove the loop",
        escaped(path)
    )]
    Loop { path: PathBuf },
    /// Something other than a regular file is in the place of one.
    #[error("{} is a {kind} and not a regular file; remove it", escaped(path))]
    NotFile { path: PathBuf, kind: FileKind },
    /// A tree has more than [`MAX_DEPTH`] levels.
    #[error(
        "{} is more than {MAX_DEPTH} directories deep; remove it",
        escaped(path)
    )]
    TooDeep { path: PathBuf },
    /// A file has more than `limit` bytes.
    #[error("{} is larger than {limit} bytes; shorten it", escaped(path))]
    TooLarge { path: PathBuf, limit: u64 },
    /// A system call failed.
    #[error("{act} {}: {source}{}", escaped(path), remedy(source))]
    Io {
        /// The attempt in words, such as "cannot open".
        act: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

/// Returns the remedy for the errors that an operator can do something about.
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
    /// Returns true if a system call failed for this reason.
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
