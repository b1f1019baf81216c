//! Installs files under a temporary name, and renames them to the final one.
//!
//! Long contents are copied by a [`Pool`]. Names are created by this thread alone, which acts as
//! the owner of the directory for them.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Seek};
use std::path::Path;
use std::sync::Arc;

use crate::digest::pool::Pool;
use crate::digest::{Buffer, FileDigest, Hasher};
use crate::error::Error;
use crate::fs::dir::Dir;
use crate::fs::error::FsError;
use crate::fs::file::{Placement, write_all};
use crate::fs::source;
use crate::plan::reading::ContentCache;
use crate::plan::{ContentOrigin, PlannedFile, temporary_name};

/// A file to be installed.
#[derive(Debug)]
pub(super) struct Target<'a> {
    pub(super) dir: Arc<Dir>,
    /// Its name in `dir`.
    pub(super) name: &'a OsStr,
    pub(super) dest: &'a Path,
    pub(super) file: &'a PlannedFile,
    /// True if it is synced before it gets its name.
    pub(super) sync: bool,
}

/// Files on their way to disk.
pub(super) struct FileInstaller<'a> {
    cache: &'a ContentCache,
    pool: Pool<Copied>,
    /// Files whose content the pool copies, by the pool's number.
    pending: BTreeMap<usize, Temporary<'a>>,
    /// The pool's next number.
    next: usize,
}

/// A file under its temporary name.
struct Temporary<'a> {
    name: OsString,
    content: FileDigest,
    target: Target<'a>,
}

/// A file whose content was copied, or could not be.
struct Copied {
    file: fs::File,
    result: Result<(), CopyError>,
}

/// The end of a copy that failed: its source or its destination.
enum CopyError {
    Source(Error),
    Write(FsError),
}

impl<'a> FileInstaller<'a> {
    /// Makes an installer that takes small contents from `cache`.
    pub(super) fn new(cache: &'a ContentCache) -> Self {
        Self {
            cache,
            pool: Pool::new(),
            pending: BTreeMap::new(),
            next: 0,
        }
    }

    /// Installs `target`, now or until [`Self::finish`].
    ///
    /// # Errors
    /// [`Error::SourceRead`], [`Error::SourceChanged`] or [`Error::Install`], for this target or
    /// for one before it.
    pub(super) fn install(&mut self, target: Target<'a>) -> Result<(), Error> {
        let content = target.file.known_content(target.dest)?;
        let name = temporary_name(target.dest);
        let created = target.dir.create_file(&name);
        let mut file = created.map_err(|source| failed(target.dest, source))?;
        let temporary = Temporary {
            name,
            content,
            target,
        };
        let Target {
            dest, file: wanted, ..
        } = temporary.target;
        let text = match (&wanted.origin, self.cache.get(dest)) {
            (_, Some(bytes)) => Ok(bytes),
            (ContentOrigin::Inline(text), None) => Ok(text.as_bytes()),
            (ContentOrigin::Source(path), None) => Err(path.clone()),
        };
        let copied = match text {
            Ok(bytes) => {
                let result = write_all(&mut file, dest, bytes).map_err(CopyError::Write);
                Some(Copied { file, result })
            }
            Err(from) => {
                let dest = dest.to_owned();
                self.pool.work(content.size, move |buffer| {
                    let result = copy(&from, &mut file, &dest, content, buffer);
                    Copied { file, result }
                })
            }
        };
        match copied {
            Some(copied) => temporary.complete(copied)?,
            None => {
                self.pending.insert(self.next, temporary);
                self.next += 1;
            }
        }
        let ready: Vec<_> = self.pool.ready().collect();
        self.complete(ready)
    }

    /// Completes all pending files.
    ///
    /// # Errors
    /// Those of [`Self::install`]. No temporary file is left, as far as they could be removed.
    pub(super) fn finish(&mut self) -> Result<(), Error> {
        let finished = self.pool.finish();
        let completed = self.complete(finished);
        // After an earlier error.
        for (_, temporary) in std::mem::take(&mut self.pending) {
            temporary.remove();
        }
        completed
    }

    /// Completes the copied files. After an error the others are removed.
    fn complete(&mut self, copied: Vec<(usize, Copied)>) -> Result<(), Error> {
        let mut result = Ok(());
        for (number, copied) in copied {
            let Some(temporary) = self.pending.remove(&number) else {
                return Err(Error::internal("a copy of no file ended", &number));
            };
            if result.is_ok() {
                result = temporary.complete(copied);
            } else {
                temporary.remove();
            }
        }
        result
    }
}

impl Temporary<'_> {
    fn complete(self, copied: Copied) -> Result<(), Error> {
        let Copied { mut file, result } = copied;
        let Target {
            dir,
            name,
            dest,
            file: wanted,
            sync,
        } = &self.target;
        let placed = result.and_then(|()| {
            // A mutable file is not verified afterwards: it belongs to the service then.
            if wanted.mutable {
                read_back(&mut file, dest, self.content).map_err(CopyError::Write)?;
            }
            let placement = Placement {
                temporary: &self.name,
                name,
                ownership: wanted.ownership,
                sync: *sync,
            };
            dir.place_file(&file, &placement).map_err(CopyError::Write)
        });
        placed.map_err(|error| {
            self.remove();
            match error {
                CopyError::Source(error) => error,
                CopyError::Write(source) => failed(self.target.dest, source),
            }
        })
    }

    /// Removes it, as far as that is possible; if not, the next start does.
    fn remove(&self) {
        let _ = self.target.dir.unlink(&self.name);
    }
}

fn failed(dest: &Path, source: FsError) -> Error {
    Error::Install {
        path: dest.to_owned(),
        source,
    }
}

/// Compares the content on disk with the planned one, before the file gets its final name.
fn read_back(file: &mut fs::File, path: &Path, expected: FileDigest) -> Result<(), FsError> {
    let failed = |source: io::Error| FsError::io("cannot read back", path, source);
    file.rewind().map_err(failed)?;
    let found = FileDigest::of_reader(file, &mut Buffer::new()).map_err(failed)?;
    if found == expected {
        Ok(())
    } else {
        Err(failed(io::Error::other(
            "the disk holds other content than was written",
        )))
    }
}

/// Copies a source that is not in memory, and checks that it still is the planned one.
fn copy(
    from: &Path,
    to: &mut fs::File,
    dest: &Path,
    expected: FileDigest,
    buffer: &mut Buffer,
) -> Result<(), CopyError> {
    let unreadable = |source| {
        CopyError::Source(Error::SourceRead {
            path: from.to_owned(),
            dest: dest.to_owned(),
            source,
        })
    };
    let (mut source, _) = source::open(from).map_err(unreadable)?;
    let mut hasher = Hasher::default();
    loop {
        match buffer
            .fill(&mut source)
            .map_err(|error| unreadable(error.into()))?
        {
            [] => break,
            bytes => {
                hasher.update(bytes);
                write_all(to, dest, bytes).map_err(CopyError::Write)?;
            }
        }
    }
    if hasher.finish() == expected {
        Ok(())
    } else {
        Err(CopyError::Source(Error::SourceChanged {
            path: from.to_owned(),
            dest: dest.to_owned(),
        }))
    }
}
