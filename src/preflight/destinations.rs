//! Looks for obstacles at the destinations.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::Error;
use crate::fs::dir::Dir;
use crate::fs::error::FsError;
use crate::fs::metadata::{FileKind, Metadata};
use crate::fs::root::Root;
use crate::fs::walk::Foreign;
use crate::plan::{Entry, EntryKind, Plan, PlannedDirectory, Protection};

/// Returns the problems that would keep the entries of `plan` from being installed below `root`,
/// and the recursive directories below which everything has its owner.
pub(super) fn destinations(
    root: &Root,
    plan: &Plan,
    mount_points: Vec<PathBuf>,
) -> (Vec<Error>, BTreeSet<PathBuf>) {
    let mut destinations = Destinations {
        root,
        plan,
        taken_over: plan.locked_directories(root.installer()),
        planned: plan.directories(),
        mount_points,
        seen: BTreeMap::new(),
        reported: HashSet::new(),
        errors: Vec::new(),
        right: BTreeSet::new(),
    };
    for entry in &plan.entries {
        if let Err(source) = destinations.entry(entry) {
            destinations.report(entry, source);
        }
    }
    (destinations.errors, destinations.right)
}

struct Destinations<'a> {
    root: &'a Root,
    plan: &'a Plan,
    /// Planned directories that are closed to other users before they are filled.
    taken_over: BTreeSet<&'a Path>,
    /// All planned directories: one that is closed even to its owner is opened while it is filled.
    planned: BTreeSet<&'a Path>,
    mount_points: Vec<PathBuf>,
    /// The destinations by their real paths, links resolved.
    seen: BTreeMap<PathBuf, &'a Path>,
    /// Unsafe and unwritable directories concern many entries and are reported once.
    reported: HashSet<String>,
    errors: Vec<Error>,
    /// Recursive directories below which everything has its owner.
    right: BTreeSet<PathBuf>,
}

impl<'a> Destinations<'a> {
    fn report(&mut self, entry: &Entry, source: FsError) {
        if self.reported.insert(source.to_string()) {
            self.errors.push(Error::Install {
                path: entry.dest.clone(),
                source,
            });
        }
    }

    fn entry(&mut self, entry: &'a Entry) -> Result<(), FsError> {
        let dest = entry.dest.as_path();
        let (Some(parent), Some(name)) = (dest.parent(), dest.file_name()) else {
            return Ok(());
        };
        let (dir, existing) = self.root.nearest(parent)?;
        let parent_exists = existing == parent;
        if !parent_exists && entry.kind == EntryKind::Absent {
            return Ok(());
        }
        if self.plan.lock != Protection::None
            && entry.locked
            && let Some(error) =
                dir.unsafe_ancestor(self.root.installer(), |path| self.taken_over.contains(path))
        {
            return Err(error);
        }
        let found = if parent_exists { dir.look(name)? } else { None };
        let stays = match &entry.kind {
            EntryKind::Absent => found.is_none(),
            // An existing directory is kept, and the one above it may be read-only: a mounted
            // volume.
            EntryKind::Directory(_) => found.is_some(),
            EntryKind::File(_) => false,
        };
        if !stays {
            self.check_writable(&dir, existing)?;
        }
        if !parent_exists || (entry.kind == EntryKind::Absent && found.is_none()) {
            return Ok(());
        }
        self.in_place(entry, &dir, name, found)
    }

    /// Checks that `dir`, at the path `existing`, can be written. A planned directory that is
    /// closed now is opened while it is filled, unless its file system is read-only.
    fn check_writable(&self, dir: &Dir, existing: &Path) -> Result<(), FsError> {
        match dir.check_writable() {
            Err(error)
                if error.is(ErrorKind::PermissionDenied) && self.planned.contains(existing) =>
            {
                Ok(())
            }
            checked => checked,
        }
    }

    /// Checks that `found`, which is at the destination now, can be replaced or taken over.
    fn in_place(
        &mut self,
        entry: &'a Entry,
        dir: &Arc<Dir>,
        name: &OsStr,
        found: Option<Metadata>,
    ) -> Result<(), FsError> {
        let dest = entry.dest.as_path();
        let real = dir.path().join(name);
        if let Some(other) = self.seen.insert(real.clone(), dest) {
            self.errors.push(Error::SameFile {
                path: dest.to_owned(),
                other: other.to_owned(),
            });
        }
        let is_removed = |mounted: &&PathBuf| removes(&entry.kind, &real, mounted);
        if let Some(mounted) = self.mount_points.iter().find(is_removed) {
            self.errors.push(Error::MountPoint {
                path: dest.to_owned(),
                mounted: mounted.clone(),
            });
            return Ok(());
        }
        match (&entry.kind, found) {
            (EntryKind::File(_), Some(found)) if found.kind == FileKind::Directory => {
                self.errors.push(Error::DirectoryInPlace {
                    path: dest.to_owned(),
                });
                Ok(())
            }
            (EntryKind::Directory(_), Some(found)) if found.kind != FileKind::Directory => {
                Err(FsError::NotDirectory {
                    path: dest.to_owned(),
                    kind: found.kind,
                })
            }
            (EntryKind::Directory(directory), Some(found)) => {
                self.take_over(dest, directory, &found)
            }
            _ => Ok(()),
        }
    }

    /// Checks that the directory at `dest` can be given its planned owner and mode.
    fn take_over(
        &mut self,
        dest: &Path,
        directory: &PlannedDirectory,
        found: &Metadata,
    ) -> Result<(), FsError> {
        let dir = self.root.dir(dest)?;
        let (uid, gid) = (directory.ownership.uid, directory.ownership.gid);
        if directory.recursive {
            let path = dest.to_owned();
            match dir.foreign_below(uid, gid)? {
                Foreign::HardLink(found) => self.errors.push(Error::HardLink { path, found }),
                Foreign::Nothing => drop(self.right.insert(path)),
                Foreign::Some => {}
            }
        }
        if found.ownership == directory.ownership && !directory.recursive {
            return Ok(());
        }
        let caller = self.root.installer();
        if caller != 0 && found.ownership.uid != caller {
            self.errors.push(Error::NotOwner {
                dest: dest.to_owned(),
                uid,
                gid,
                is: caller,
            });
        }
        match dir.check_writable() {
            Err(error) if error.is(ErrorKind::ReadOnlyFilesystem) => Err(error),
            _ => Ok(()),
        }
    }
}

/// Reports whether installing an entry of `kind` at `real` would replace or remove `path`.
pub(super) fn removes(kind: &EntryKind, real: &Path, path: &Path) -> bool {
    let Ok(below) = path.strip_prefix(real) else {
        return false;
    };
    match kind {
        EntryKind::File(_) => path == real,
        EntryKind::Absent => true,
        EntryKind::Directory(PlannedDirectory {
            exact: Some(names), ..
        }) => below
            .iter()
            .next()
            .is_some_and(|name| !names.contains(name)),
        EntryKind::Directory(_) => false,
    }
}
