//! Computes the service's permissions from owners, groups and modes.
//!
//! The kernel can be asked only for this process and for existing files, not for another root
//! directory and for planned entries.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;

use crate::error::Error;
use crate::escape::escaped;
use crate::fs::dir::Dir;
use crate::fs::error::FsError;
use crate::fs::metadata::{FileKind, Ownership};
use crate::fs::root::Root;
use crate::plan::{EntryKind, Plan, Service};
use crate::service::program::{search, unfit, why_not};

const READ: u32 = 0o4;
const EXECUTE: u32 = 0o1;

/// Returns true if `service` has the permission `bit` for a file of this owner and mode.
fn allows(service: &Service, found: Ownership, bit: u32) -> bool {
    if service.uid == 0 || service.capabilities.unlocks_files() {
        // Root has every permission, but executes only files that some user may execute.
        return bit != EXECUTE || found.mode & 0o111 != 0;
    }
    let shift = match found {
        Ownership { uid, .. } if uid == service.uid => 6,
        Ownership { gid, .. } if service.groups.contains(&gid) => 3,
        _ => 0,
    };
    found.mode >> shift & bit != 0
}

/// Returns true if `service` may execute a file of this owner and mode.
pub(crate) fn may_execute(service: &Service, found: Ownership) -> bool {
    allows(service, found, EXECUTE)
}

/// Returns the first directory from `dir` up to the root that `service` may not enter.
fn closed<'d>(service: &Service, dir: &'d Dir) -> Option<&'d Dir> {
    dir.ancestry()
        .find(|dir| !allows(service, dir.metadata().ownership, EXECUTE))
}

/// Returns the problems that would keep `service` from being started below `root`. Paths that are
/// `planned` will exist by then.
pub(crate) fn obstacles(
    root: &Root,
    service: &Service,
    planned: impl Fn(&Path) -> bool,
) -> Vec<Error> {
    let mut errors = Vec::new();
    let working_dir = service.working_dir.as_deref().unwrap_or(Path::new("/"));
    if !planned(working_dir) {
        let entered = match root.dir(working_dir) {
            Ok(dir) if closed(service, &dir).is_some() => Err(Errno::EACCES.into()),
            Ok(_) => Ok(()),
            Err(FsError::Missing { .. }) => Err(Errno::ENOENT.into()),
            Err(FsError::NotDirectory { .. }) => Err(Errno::ENOTDIR.into()),
            Err(error) => Err(io::Error::other(error.to_string())),
        };
        let path = working_dir.to_owned();
        errors.extend(
            entered
                .err()
                .map(|source| Error::WorkingDir { path, source }),
        );
    }
    errors.extend(program(root, service, working_dir, planned).err());
    errors
}

/// Searches for the service's program as execvp(3) does, with the manifest's `PATH` or Docker's
/// default, since the image's is not known here.
fn program(
    root: &Root,
    service: &Service,
    working_dir: &Path,
    planned: impl Fn(&Path) -> bool,
) -> Result<(), Error> {
    let mut environment: BTreeMap<OsString, OsString> = BTreeMap::new();
    environment.extend(
        service
            .env
            .iter()
            .map(|(name, value)| (name.into(), value.0.as_str().into())),
    );
    let found = search(service, &environment, |path| {
        let path = working_dir.join(path);
        if planned(&path) {
            Ok(true)
        } else {
            executable(root, service, &path, &planned)
        }
    });
    found.map(drop)
}

/// Returns true if there is a program at `path` that `service` may execute, false if there is none.
fn executable(
    root: &Root,
    service: &Service,
    path: &Path,
    planned: impl Fn(&Path) -> bool,
) -> Result<bool, String> {
    let (dir, name) = match root.find(path) {
        Ok(Some(found)) => found,
        Ok(None) | Err(FsError::NotDirectory { .. }) => return Ok(false),
        Err(error) => return Err(error.to_string()),
    };
    let Some(metadata) = dir.look(&name).map_err(|error| error.to_string())? else {
        return Ok(false);
    };
    match metadata.kind {
        FileKind::File => {}
        FileKind::Directory => return Err("it is a directory; name a program in it".into()),
        kind => return Err(format!("it is a {}; name a program", kind.name())),
    }
    if closed(service, &dir).is_some() || !allows(service, metadata.ownership, EXECUTE) {
        return Err(why_not(Errno::EACCES, service.uid));
    }
    // A file that cannot be read may still be executed.
    let Ok(Some((program, _))) = dir.open_file(&name) else {
        return Ok(true);
    };
    let is_missing = |interpreter: &Path| {
        !planned(interpreter)
            && match root.find(interpreter) {
                Ok(Some((dir, name))) => matches!(dir.look(&name), Ok(None)),
                found => matches!(found, Ok(None)),
            }
    };
    unfit(&program, is_missing).map_or(Ok(true), Err)
}

/// A planned file that the service could not read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unreadable {
    pub(crate) dest: PathBuf,
    /// The file itself, or the directory on the way that the service may not enter.
    pub(crate) closed: PathBuf,
    pub(crate) ownership: Ownership,
    /// The number of further files behind the same directory.
    pub(crate) more: usize,
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            dest,
            closed,
            ownership: Ownership { uid, gid, mode },
            more,
        } = self;
        write!(f, "the service could not read {}", escaped(dest))?;
        if *more > 0 {
            write!(f, " and {more} more")?;
        }
        write!(
            f,
            ": {} denies it (mode {mode:04o}, owner {uid}:{gid}); ",
            escaped(closed)
        )?;
        f.write_str(
            "if the service must read it, give it to the service's group, with the group's permission",
        )
    }
}

/// Returns the planned files that the service could not read once they are installed.
pub(crate) fn unreadable(root: &Root, plan: &Plan) -> Vec<Unreadable> {
    let mut planned: BTreeMap<&Path, Ownership> = BTreeMap::new();
    for entry in &plan.entries {
        if let EntryKind::Directory(directory) = &entry.kind {
            planned.insert(&entry.dest, directory.ownership);
        }
    }
    let mut found: Vec<Unreadable> = Vec::new();
    let mut reported: BTreeSet<PathBuf> = BTreeSet::new();
    for entry in &plan.entries {
        let EntryKind::File(file) = &entry.kind else {
            continue;
        };
        let blocked = blocked_on_the_way(root, plan, &planned, &entry.dest).or_else(|| {
            (!allows(&plan.service, file.ownership, READ))
                .then(|| (entry.dest.clone(), file.ownership))
        });
        let Some((closed, ownership)) = blocked else {
            continue;
        };
        if reported.insert(closed.clone()) {
            found.push(Unreadable {
                dest: entry.dest.clone(),
                closed,
                ownership,
                more: 0,
            });
        } else if let Some(first) = found.iter_mut().find(|first| first.closed == closed) {
            first.more += 1;
        }
    }
    found
}

/// Returns the first directory above `dest`, from the bottom, that the service may not enter, as it
/// is planned or exists now. Missing directories are made with mode 0755.
fn blocked_on_the_way(
    root: &Root,
    plan: &Plan,
    planned: &BTreeMap<&Path, Ownership>,
    dest: &Path,
) -> Option<(PathBuf, Ownership)> {
    let enters = |ownership| allows(&plan.service, ownership, EXECUTE);
    for path in dest.ancestors().skip(1) {
        if let Some(ownership) = planned.get(path) {
            if !enters(*ownership) {
                return Some((path.to_owned(), *ownership));
            }
            continue;
        }
        let Ok(dir): Result<Arc<Dir>, _> = root.dir(path) else {
            continue;
        };
        // A link leads through other directories, which count as well.
        let mut way = dir.ancestry().map(|dir| {
            let ownership = planned
                .get(dir.path())
                .copied()
                .unwrap_or(dir.metadata().ownership);
            (dir.path().to_owned(), ownership)
        });
        if let Some(found) = way.find(|(_, ownership)| !enters(*ownership)) {
            return Some(found);
        }
        if dir.path() == path {
            return None;
        }
    }
    None
}
