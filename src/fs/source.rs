//! Files that the operator mounts: links in them are followed, and nothing in them can make a start hang.
//!
//! Never used for what sealinit installs; there no link is followed ([`tree`](crate::fs::root)).

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use nix::libc;

/// Why a source cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    /// The system's reason.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is no regular file.
    #[error("it is {0}, and only regular files are read")]
    Kind(&'static str),
}

impl SourceError {
    /// Whether there is nothing at the path.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Io(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory))
    }
}

/// Opens a regular file for reading, following symbolic links: a Kubernetes `ConfigMap` is made of them.
///
/// Gives the file and its size in bytes.
///
/// # Errors
/// What open(2) says, or that the path leads to something else than a regular file.
pub(crate) fn open(path: &Path) -> Result<(File, u64), SourceError> {
    // Without O_NONBLOCK, opening a FIFO waits for a writer that may never come; O_NOCTTY keeps a
    // terminal from becoming ours.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(
            // A socket cannot be opened at all; say what it is rather than "no such device or address".
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

/// Reads what is left of `file`, probably `size` bytes, but not more than `limit`.
///
/// # Errors
/// What read(2) says, and `FileTooLarge` when there is more: the file grew after its size was looked at.
pub(crate) fn read_to_end(file: &mut File, size: u64, limit: u64) -> io::Result<Vec<u8>> {
    // One byte more than expected: so the read that finds the end needs no more memory.
    let mut bytes = Vec::with_capacity(usize::try_from(size.min(limit)).unwrap_or(0) + 1);
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        Err(io::ErrorKind::FileTooLarge.into())
    } else {
        Ok(bytes)
    }
}

/// What a file of this type is called.
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
