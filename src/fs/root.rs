//! The file system below a root, on whose paths only trusted symbolic links are followed.
//!
//! A path is opened component by component once, and its directory is a [`Dir`] from then on. A
//! link is trusted if only root and the installer could have put it there.

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::unistd::{getegid, geteuid};

use crate::escape::escaped;
use crate::fs::barrier::Barrier;
use crate::fs::dir::Dir;
use crate::fs::error::{FsError, MAX_LINKS};
use crate::fs::metadata::{FileKind, Ownership};
use crate::sys;

/// Everything below one root directory.
#[derive(Debug)]
pub(crate) struct Root {
    top: Arc<Dir>,
    /// The uid that sealinit runs as. Directories and links of it and of root are trusted.
    installer: u32,
    /// The directories on the way to the last one that was opened. Destinations are visited in
    /// order, so the next one is most often in the same directory.
    last: RefCell<Vec<(OsString, Arc<Dir>)>>,
}

impl Root {
    /// Opens the tree below `root`.
    pub(crate) fn open(root: &Path) -> Result<Self, FsError> {
        let root = Arc::new(Dir::open_root(root)?);
        Ok(Self {
            top: root,
            installer: geteuid().as_raw(),
            last: RefCell::default(),
        })
    }

    /// Returns the same root for another installer: directories and links of `uid` are trusted,
    /// beside root's.
    pub(crate) fn trusting(&self, uid: u32) -> Self {
        Self {
            top: Arc::clone(&self.top),
            installer: uid,
            last: RefCell::default(),
        }
    }

    /// Returns the uid whose directories and links are trusted, beside root's.
    pub(crate) fn installer(&self) -> u32 {
        self.installer
    }

    /// Forgets the directories that are open: their attributes may have changed.
    pub(crate) fn forget(&self) {
        self.last.borrow_mut().clear();
    }

    /// Opens the directory `path`, which is absolute and without `.` and `..`.
    ///
    /// A symbolic link on the way is followed if only root or the installer could have put it there
    /// (`/var/run`, `/bin`). It does not lead out of this root.
    pub(crate) fn dir(&self, path: &Path) -> Result<Arc<Dir>, FsError> {
        let names: Vec<&OsStr> = path.iter().skip(1).collect();
        let mut last = self.last.borrow_mut();
        let known = last
            .iter()
            .zip(&names)
            .take_while(|((known, _), name)| known == *name)
            .count();
        last.truncate(known);
        let mut dir = last.last().map_or(&self.top, |(_, dir)| dir).clone();
        for name in &names[known..] {
            dir = self.step(&dir, name, path, &mut 0)?;
            last.push(((*name).to_owned(), Arc::clone(&dir)));
        }
        Ok(dir)
    }

    /// Opens the directory `path`, or the nearest one above it that exists. Returns it with its
    /// path.
    pub(crate) fn nearest<'p>(&self, path: &'p Path) -> Result<(Arc<Dir>, &'p Path), FsError> {
        for path in path.ancestors() {
            match self.dir(path) {
                Err(FsError::Missing { .. }) => {}
                found => return Ok((found?, path)),
            }
        }
        Err(FsError::Missing {
            path: path.to_owned(),
        })
    }

    /// Opens the directory that `path` is in. Returns it with the last name of `path`.
    pub(crate) fn parent<'p>(&self, path: &'p Path) -> Result<(Arc<Dir>, &'p OsStr), FsError> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(FsError::Missing {
                path: path.to_owned(),
            });
        };
        Ok((self.dir(parent)?, name))
    }

    fn step(
        &self,
        dir: &Arc<Dir>,
        name: &OsStr,
        path: &Path,
        links: &mut usize,
    ) -> Result<Arc<Dir>, FsError> {
        let here = || dir.path().join(name);
        match dir.open_dir(name) {
            Ok(Some(child)) => return Ok(child),
            Ok(None) => return Err(FsError::Missing { path: here() }),
            Err(Errno::ENOTDIR | Errno::ELOOP) => {}
            Err(errno) => return Err(dir.failed("cannot open", name)(errno)),
        }
        let Some(metadata) = dir.look(name)? else {
            return Err(FsError::Missing { path: here() });
        };
        if metadata.kind != FileKind::Link {
            return Err(FsError::NotDirectory {
                path: here(),
                kind: metadata.kind,
            });
        }
        let owner = metadata.ownership.uid;
        if (owner != 0 && owner != self.installer)
            || !dir.metadata().ownership.is_safe(self.installer)
        {
            return Err(FsError::UnsafeLink { path: here() });
        }
        *links += 1;
        if *links > MAX_LINKS {
            return Err(FsError::Loop {
                path: path.to_owned(),
            });
        }
        let target = dir.read_link(name)?;
        let target = Path::new(&target);
        let mut dir = if target.is_absolute() {
            Arc::clone(&self.top)
        } else {
            Arc::clone(dir)
        };
        for component in target.components() {
            dir = match component {
                Component::Normal(name) => self.step(&dir, name, path, links)?,
                // The directory that this one was opened from, not the one that the file system
                // names: no path leads out of the root.
                Component::ParentDir => dir
                    .parent()
                    .map_or_else(|| Arc::clone(&self.top), Arc::clone),
                _ => dir,
            };
        }
        Ok(dir)
    }

    /// Makes the directory `path` with `mode`, and those that are missing above it. It belongs to
    /// the user that sealinit runs as.
    ///
    /// # Errors
    /// [`FsError::Io`] with the error of mkdir(2), which is EEXIST if there is one.
    pub(crate) fn make_dir(
        &self,
        path: &Path,
        mode: u32,
        barrier: &mut Barrier,
    ) -> Result<(), FsError> {
        self.make_parents(path, barrier)?;
        let (parent, name) = self.parent(path)?;
        let covered = barrier.covers(&parent)?;
        parent.make_dir(name, mode)?;
        tracing::debug!(path = %escaped(path), "create directory");
        if !covered {
            parent.sync()?;
        }
        let dir = self.dir(path)?;
        sys::remove_acls(dir.reopen()?)
            .map_err(dir.failed("cannot remove the access list of", OsStr::new("")))?;
        // Below a set-group-ID directory a new one inherits group and bit.
        let gid = if self.installer == 0 {
            0
        } else {
            getegid().as_raw()
        };
        let ownership = Ownership {
            uid: self.installer,
            gid,
            mode,
        };
        barrier.give(&dir, ownership)?;
        self.forget();
        Ok(())
    }

    /// Makes the directories that are missing above `path`, with mode 0755.
    pub(crate) fn make_parents(&self, path: &Path, barrier: &mut Barrier) -> Result<(), FsError> {
        const PARENT_MODE: u32 = 0o755;
        match (self.parent(path), path.parent()) {
            (Err(FsError::Missing { .. }), Some(parent)) => {
                self.make_dir(parent, PARENT_MODE, barrier)
            }
            (found, _) => found.map(drop),
        }
    }

    /// Reads a whole regular file of at most `limit` bytes; `None` if there is nothing. A link as the
    /// last name is followed like one on the way.
    pub(crate) fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, FsError> {
        match self.find(path)? {
            Some((dir, name)) => dir.read(&name, limit),
            None => Ok(None),
        }
    }

    /// Returns the directory and name to which `path` leads, a link as the last name followed like
    /// one on the way; `None` if the directory is missing. The name need not exist.
    pub(crate) fn find(&self, path: &Path) -> Result<Option<(Arc<Dir>, OsString)>, FsError> {
        let (mut dir, mut name) = match self.parent(path) {
            Ok((dir, name)) => (dir, name.to_owned()),
            Err(FsError::Missing { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        for _ in 0..MAX_LINKS {
            match dir.look(&name)? {
                Some(metadata) if metadata.kind == FileKind::Link => {
                    if !dir.metadata().ownership.is_safe(self.installer) {
                        return Err(FsError::UnsafeLink {
                            path: dir.path().join(name),
                        });
                    }
                    let target = dir.read_link(&name)?;
                    let target = normalized(&dir.path().join(target));
                    let (next, last) = match self.parent(&target) {
                        Err(FsError::Missing { .. }) => return Ok(None),
                        found => found?,
                    };
                    (dir, name) = (next, last.to_owned());
                }
                _ => return Ok(Some((dir, name))),
            }
        }
        Err(FsError::Loop {
            path: path.to_owned(),
        })
    }
}

/// Resolves `.` and `..` in `path` by name, not above the root.
fn normalized(path: &Path) -> PathBuf {
    path.components()
        .fold(PathBuf::from("/"), |mut path, component| {
            match component {
                Component::Normal(name) => path.push(name),
                Component::ParentDir => {
                    path.pop();
                }
                _ => {}
            }
            path
        })
}
