//! Files that the operator mounts: links are followed, and nothing makes a start hang.
//!
//! Not for the files that sealinit installs; there no link is followed
//! ([`Root`](crate::fs::root::Root)).

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use nix::libc;

/// The reason for which a source cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    /// A system call failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is not a regular file.
    #[error("it is {0}, and only regular files are read")]
    Kind(&'static str),
}

impl SourceError {
    /// Returns true if there is nothing at the path.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Io(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory))
    }
}

/// Opens a regular file for reading. Returns it with its size in bytes.
///
/// Symbolic links are followed: a Kubernetes `ConfigMap` is made of them.
///
/// # Errors
/// [`SourceError::Io`] with the error of open(2), [`SourceError::Kind`] if it is not a regular
/// file.
pub(crate) fn open(path: &Path) -> Result<(File, u64), SourceError> {
    // Without O_NONBLOCK, opening a FIFO waits for a writer that may never come; O_NOCTTY keeps a
    // terminal from becoming the controlling one.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(
            // A socket cannot be opened at all, and ENXIO does not say that it is one.
            |error| match path.metadata() {
                Ok(found) if found.file_type().is_socket() => SourceError::Kind("a socket"),
                _ => error.into(),
            },
        )?;
    let metadata = file.metadata()?;
    if metadata.is_file() {
        Ok((file, metadata.len()))
    } else {
        Err(SourceError::Kind(kind(metadata.file_type())))
    }
}

/// Reads the rest of `file`, probably `size` bytes and at most `limit`.
///
/// # Errors
/// The error of read(2), or `FileTooLarge` if there is more, because the file grew meanwhile.
pub(crate) fn read_to_end(file: &mut File, size: u64, limit: u64) -> io::Result<Vec<u8>> {
    // One byte more than expected: the read that finds the end needs no more memory then.
    let mut bytes = Vec::with_capacity(usize::try_from(size.min(limit)).unwrap_or(0) + 1);
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        Err(io::ErrorKind::FileTooLarge.into())
    } else {
        Ok(bytes)
    }
}

/// Returns the name of a file type, with its article.
pub(crate) fn kind(file_type: std::fs::FileType) -> &'static str {
    if file_type.is_dir() {
        "a directory"
    } else if file_type.is_symlink() {
        "a symbolic link"
    } else if file_type.is_fifo() {
        "a FIFO"
    } else if file_type.is_socket() {
        "a socket"
    } else if file_type.is_block_device() || file_type.is_char_device() {
        "a device"
    } else {
        "a regular file"
    }
}
