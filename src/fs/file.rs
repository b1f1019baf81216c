//! Puts whole files into a directory: written under a temporary name, then renamed.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, renameat};
use nix::sys::stat::{Mode, fstat};

use crate::fs::dir::{Dir, set_ownership, sync_file};
use crate::fs::error::FsError;
use crate::fs::metadata::{Metadata, Ownership};
use crate::sys;

/// Attempts to create a temporary file; a leftover is removed between them. More would only help
/// against another process that makes them again.
const CREATE_ATTEMPTS: usize = 2;

/// The last step of an installation: what a temporary file becomes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placement<'a> {
    pub(crate) temporary: &'a OsStr,
    pub(crate) name: &'a OsStr,
    pub(crate) ownership: Ownership,
    /// True if the file is synced before it is renamed.
    pub(crate) sync: bool,
}

impl Dir {
    /// Writes a new file under `temporary`, gives it its attributes, syncs it, and renames it to
    /// `name`: at any moment `name` is the old file or the whole new one, and never one that is
    /// more readable than it will be.
    ///
    /// # Errors
    /// The error of the first call that fails; the temporary file is removed then, as far as that
    /// still works.
    pub(crate) fn install_file(
        &self,
        name: &OsStr,
        temporary: &OsStr,
        ownership: Ownership,
        write: impl FnOnce(&mut File) -> Result<(), FsError>,
    ) -> Result<(), FsError> {
        let mut file = self.create_file(temporary)?;
        let placed = write(&mut file).and_then(|()| {
            self.place_file(
                &file,
                &Placement {
                    temporary,
                    name,
                    ownership,
                    sync: true,
                },
            )
        });
        if placed.is_err() {
            let _ = self.unlink(temporary);
        }
        placed
    }

    /// Creates a file that only its owner can read, in place of a leftover of an earlier start.
    pub(crate) fn create_file(&self, name: &OsStr) -> Result<File, FsError> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL;
        for _ in 0..CREATE_ATTEMPTS {
            match self.open(name, flags, Mode::S_IRUSR | Mode::S_IWUSR) {
                Err(Errno::EEXIST) => self.remove_all(name)?,
                Err(errno) => return Err(self.failed("cannot create", name)(errno)),
                Ok(fd) => {
                    let file = File::from(fd);
                    // A default ACL of the directory gives rights to a new file that no mode
                    // shows. Removed before there is anything to read.
                    let removed = sys::remove_acls(&file)
                        .map_err(self.failed("cannot remove the access list of", name));
                    if removed.is_err() {
                        let _ = self.unlink(name);
                    }
                    return removed.map(|()| file);
                }
            }
        }
        Err(self.failed("cannot create", name)(Errno::EEXIST))
    }

    /// Gives `file` its attributes and its name.
    pub(crate) fn place_file(&self, file: &File, placement: &Placement<'_>) -> Result<(), FsError> {
        let &Placement {
            temporary,
            name,
            ownership,
            sync,
        } = placement;
        let path = self.path().join(name);
        let created: Metadata = fstat(file)
            .map_err(self.failed("cannot look at", temporary))?
            .into();
        set_ownership(file, &path, &created.ownership, ownership)?;
        if sync {
            sync_file(file, &path)?;
        }
        let _acting = self.act();
        renameat(self.fd(), temporary, self.fd(), name)
            .map_err(self.failed("cannot rename into place", name))?;
        // A user who can write in this directory could have swapped the temporary file.
        match self.look_as_is(name)? {
            Some(placed) if (placed.device, placed.inode) == (created.device, created.inode) => {
                Ok(())
            }
            _ => Err(self.failed("cannot rename into place", name)(Errno::ESTALE)),
        }
    }
}

/// Writes all of `bytes` to a file being installed at `path`, and reads them back: for files that
/// are not verified afterwards.
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
            io::Error::other("the disk holds other content than was written"),
        ))
    }
}

/// Writes all of `bytes` to a file being installed at `path`.
pub(crate) fn write_all(file: &mut File, path: &Path, bytes: &[u8]) -> Result<(), FsError> {
    file.write_all(bytes)
        .map_err(|error| FsError::io("cannot write", path, error))
}
