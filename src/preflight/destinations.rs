//! Looks for what is in the way at the destinations.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::error::Error;
use crate::fs::dir::Dir;
use crate::fs::error::FsError;
use crate::fs::metadata::{FileKind, Ownership};
use crate::fs::root::Root;
use crate::plan::{Entry, EntryKind, Plan, PlannedDirectory, Protection};

struct Destinations<'a> {
    root: &'a Root,
    plan: &'a Plan,
    /// Planned directories that will be closed to others before anything is put into them.
    taken_over: BTreeSet<&'a Path>,
    /// All planned directories: one that is closed even to its owner is opened while it is filled.
    planned: BTreeSet<&'a Path>,
    mount_points: Vec<PathBuf>,
    /// By where they really are.
    seen: BTreeMap<PathBuf, &'a Path>,
    /// Unsafe and unwritable directories, told once each.
    told: HashSet<String>,
    errors: Vec<Error>,
}

pub(super) fn destinations(root: &Root, plan: &Plan, mount_points: Vec<PathBuf>) -> Vec<Error> {
    let mut checking = Destinations {
        root,
        plan,
        taken_over: plan.locked_directories(root.installer()),
        planned: plan.directories(),
        mount_points,
        seen: BTreeMap::new(),
        told: HashSet::new(),
        errors: Vec::new(),
    };
    for entry in &plan.entries {
        if let Err(source) = checking.entry(entry) {
            checking.tell(entry, source);
        }
    }
    checking.errors
}

impl<'a> Destinations<'a> {
    fn tell(&mut self, entry: &Entry, source: FsError) {
        if self.told.insert(source.to_string()) {
            self.errors.push(Error::Install {
                path: entry.dest.clone(),
                source,
            });
        }
    }

    fn entry(&mut self, entry: &'a Entry) -> Result<(), FsError> {
        let dest = entry.dest.as_path();
        let (dir, existing) = self.root.nearest(dest.parent().unwrap_or(dest))?;
        let is_parent = Some(existing) == dest.parent();
        if !is_parent && entry.kind == EntryKind::Absent {
            return Ok(());
        }
        let taken_over = |path: &Path| self.taken_over.contains(path);
        if self.plan.lock != Protection::None
            && entry.locked
            && let Some(error) = dir.unsafe_ancestor(self.root.installer(), taken_over)
        {
            return Err(error);
        }
        if entry.kind == EntryKind::Absent
            && dest
                .file_name()
                .is_none_or(|name| matches!(dir.look(name), Ok(None)))
        {
            return Ok(());
        }
        // A directory that is there already is not made, and what is above it may be read-only: a mounted volume.
        let is_there = match (&entry.kind, dest.file_name()) {
            (EntryKind::Directory(_), Some(name)) if is_parent => dir.look(name)?.is_some(),
            _ => false,
        };
        if !is_there {
            match dir.check_writable() {
                // A planned directory may be closed to us now and will be opened; but nothing opens a read-only file system.
                Err(error)
                    if error.is(ErrorKind::PermissionDenied) && self.planned.contains(existing) => {
                }
                checked => checked?,
            }
        }
        if is_parent {
            self.in_place(entry, &dir)
        } else {
            Ok(())
        }
    }

    /// What is at the destination now, and whether it can be replaced.
    fn in_place(&mut self, entry: &'a Entry, dir: &Rc<Dir>) -> Result<(), FsError> {
        let dest = entry.dest.as_path();
        let Some(name) = dest.file_name() else {
            return Ok(());
        };
        let real = dir.path().join(name);
        if let Some(other) = self.seen.insert(real.clone(), dest) {
            self.errors.push(Error::SameFile {
                path: dest.to_owned(),
                other: other.to_owned(),
            });
        }
        let found = dir.look(name)?;
        if let Some(mounted) = self
            .mount_points
            .iter()
            .find(|mounted| removes(&entry.kind, &real, mounted))
        {
            self.errors.push(Error::MountPoint {
                path: dest.to_owned(),
                mounted: mounted.clone(),
            });
            return Ok(());
        }
        match &entry.kind {
            EntryKind::File(_) if found.is_some_and(|found| found.kind == FileKind::Directory) => {
                self.errors.push(Error::DirectoryInPlace {
                    path: dest.to_owned(),
                });
            }
            EntryKind::Directory(directory) => match found {
                Some(found) if found.kind != FileKind::Directory => {
                    return Err(FsError::NotDirectory {
                        path: dest.to_owned(),
                        kind: found.kind,
                    });
                }
                Some(found) => {
                    let below = self.root.dir(dest)?;
                    let Ownership { uid, gid, .. } = directory.ownership;
                    if directory.recursive
                        && let Some(found) = below.hard_link_below(uid, gid)?
                    {
                        self.errors.push(Error::HardLink {
                            path: dest.to_owned(),
                            found,
                        });
                    }
                    let changes = found.ownership != directory.ownership || directory.recursive;
                    let (me, is) = (self.root.installer(), found.ownership.uid);
                    if changes && me != 0 && is != me {
                        let dest = dest.to_owned();
                        self.errors.push(Error::NotOwner {
                            dest,
                            uid,
                            gid,
                            is: me,
                        });
                    }
                    if let Err(error) = below.check_writable()
                        && changes
                        && error.is(ErrorKind::ReadOnlyFilesystem)
                    {
                        return Err(error);
                    }
                }
                _ => {}
            },
            _ => {}
        }
        Ok(())
    }
}

/// Whether installing `what` at `real` would have to replace or remove `path`.
pub(super) fn removes(what: &EntryKind, real: &Path, path: &Path) -> bool {
    let Ok(below) = path.strip_prefix(real) else {
        return false;
    };
    match what {
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
