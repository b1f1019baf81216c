//! Reads what is on disk for every entry of a plan.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;

use crate::digest::FileDigest;
use crate::digest::pool::HashPool;
use crate::fs::dir::Dir;
use crate::fs::error::FsError;
use crate::fs::metadata::{FileKind, Metadata};
use crate::fs::progress::Progress;
use crate::fs::root::Root;
use crate::plan::{Entry, EntryKind, Plan, PlannedDirectory, PlannedFile, Protection};

/// The entries of a plan that are compared with the disk.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scope<'a> {
    /// All but mutable files, which belong to the service once they are installed.
    Sealed,
    /// All but the mutable files that an installation kept.
    Installed { kept: &'a BTreeSet<PathBuf> },
    /// All of them.
    Everything,
}

impl Scope<'_> {
    fn includes(self, entry: &Entry) -> bool {
        match self {
            Self::Sealed => entry.is_verified(),
            Self::Installed { kept } => !kept.contains(&entry.dest),
            Self::Everything => true,
        }
    }
}

/// The state of the disk at each entry of a plan, in its order; `None` for entries out of scope.
#[derive(Debug)]
pub(crate) struct Observed {
    pub(crate) entries: Vec<Option<ObservedEntry>>,
}

/// The state of the disk at one destination.
#[derive(Debug)]
pub(crate) struct ObservedEntry {
    /// The first directory on the way that other users can change, if the entry is locked.
    pub(crate) unsafe_parent: Option<UnsafeParent>,
    pub(crate) found: Found,
    /// The first error while reading it.
    pub(crate) error: Option<FsError>,
}

/// A directory that users other than the installer can change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnsafeParent {
    pub(crate) path: PathBuf,
    pub(crate) uid: u32,
    pub(crate) mode: u32,
}

/// The entry found at a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// It could not be read.
    Unknown,
    Nothing,
    /// Something other than a directory is on the way.
    Blocked {
        path: PathBuf,
        found: FileKind,
    },
    File {
        metadata: Metadata,
        /// `None` if its size is not the planned one: then it was not read.
        content: Option<FileDigest>,
    },
    Directory {
        metadata: Metadata,
        /// Names that an exact directory may not have.
        extra: Vec<(OsString, FileKind)>,
    },
    /// An entry of another type than the planned one.
    Other(FileKind),
}

/// Reads the state of the disk below `root` for the entries of `plan` that are in `scope`.
pub(crate) fn observe(root: &Root, plan: &Plan, scope: Scope<'_>) -> Observed {
    let mut observer = Observer {
        root,
        plan,
        pool: HashPool::new(),
        pending: Vec::new(),
    };
    let mut entries = Vec::with_capacity(plan.entries.len());
    let mut progress = Progress::new("verifying", "entries", Some(plan.entries.len()));
    for (index, entry) in plan.entries.iter().enumerate() {
        progress.step();
        entries.push(scope.includes(entry).then(|| observer.entry(index, entry)));
    }
    observer.finish(Observed { entries })
}

struct Observer<'a> {
    root: &'a Root,
    plan: &'a Plan,
    pool: HashPool,
    /// Entries whose content the pool is hashing.
    pending: Vec<usize>,
}

impl Observer<'_> {
    fn entry(&mut self, index: usize, entry: &Entry) -> ObservedEntry {
        let mut observed = ObservedEntry {
            unsafe_parent: None,
            found: Found::Unknown,
            error: None,
        };
        let (dir, name) = match self.root.parent(&entry.dest) {
            Ok(found) => found,
            Err(error) => {
                match blocked(error) {
                    Ok(found) => observed.found = found,
                    Err(error) => observed.error = Some(error),
                }
                return observed;
            }
        };
        if self.plan.lock != Protection::None
            && entry.locked
            && let Some(FsError::UnsafeDirectory { path, uid, mode }) =
                dir.unsafe_ancestor(self.plan.installer, |_| false)
        {
            observed.unsafe_parent = Some(UnsafeParent { path, uid, mode });
        }
        let looked = match &entry.kind {
            EntryKind::File(file) => self.file(index, file, &dir, name),
            EntryKind::Directory(directory) => self.directory(entry, directory, &dir, name),
            EntryKind::Absent => dir
                .look(name)
                .map(|found| found.map_or(Found::Nothing, |found| Found::Other(found.kind))),
        };
        match looked {
            Ok(found) => observed.found = found,
            Err(error) => observed.error = Some(error),
        }
        observed
    }

    fn file(
        &mut self,
        index: usize,
        file: &PlannedFile,
        dir: &Dir,
        name: &OsStr,
    ) -> Result<Found, FsError> {
        let (open, metadata) = match dir.open_file(name) {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(Found::Nothing),
            Err(FsError::NotFile { kind, .. }) => return Ok(Found::Other(kind)),
            Err(error) => return Err(error),
        };
        let mut content = None;
        if file
            .content
            .is_some_and(|planned| planned.size == metadata.size)
        {
            match self.pool.hash(open, metadata.size) {
                Some(hashed) => {
                    let failed =
                        |source| FsError::io("cannot read", &dir.path().join(name), source);
                    content = Some(hashed.map_err(failed)?);
                }
                None => self.pending.push(index),
            }
        }
        Ok(Found::File { metadata, content })
    }

    fn directory(
        &self,
        entry: &Entry,
        directory: &PlannedDirectory,
        dir: &Dir,
        name: &OsStr,
    ) -> Result<Found, FsError> {
        let metadata = match dir.look(name)? {
            None => return Ok(Found::Nothing),
            Some(found) if found.kind != FileKind::Directory => {
                return Ok(Found::Other(found.kind));
            }
            Some(found) => found,
        };
        let mut extra = Vec::new();
        if let Some(names) = &directory.exact {
            let dir = self.root.dir(&entry.dest)?;
            for name in dir.names()? {
                let name = name?;
                if !names.contains(&name)
                    && let Some(found) = dir.look(&name)?
                {
                    extra.push((name, found.kind));
                }
            }
            extra.sort_by(|(a, _), (b, _)| a.cmp(b));
        }
        Ok(Found::Directory { metadata, extra })
    }

    /// Adds the contents that the pool has hashed.
    fn finish(mut self, mut observed: Observed) -> Observed {
        let mut hashed = self.pool.finish().into_iter();
        for index in self.pending {
            let Some(Some(entry)) = observed.entries.get_mut(index) else {
                continue;
            };
            // The pool returns one result for each file that it was given.
            let result = hashed
                .next()
                .unwrap_or_else(|| Err(io::ErrorKind::Other.into()));
            match (result, &mut entry.found) {
                (Ok(digest), Found::File { content, .. }) => *content = Some(digest),
                (Ok(_), _) => {}
                (Err(source), _) => {
                    let dest = &self.plan.entries[index].dest;
                    entry.error = Some(FsError::io("cannot read", dest, source));
                }
            }
        }
        observed
    }
}

/// Converts an error on the way to an entry into the state of the entry.
fn blocked(error: FsError) -> Result<Found, FsError> {
    match error {
        FsError::Missing { .. } => Ok(Found::Nothing),
        FsError::NotDirectory { path, kind } => Ok(Found::Blocked { path, found: kind }),
        FsError::UnsafeLink { path } => Ok(Found::Blocked {
            path,
            found: FileKind::Link,
        }),
        error => Err(error),
    }
}
