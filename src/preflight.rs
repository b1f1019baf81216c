//! Would this plan succeed on this machine? Everything that can be known before the first write, all of it at once.
//!
//! Never changes anything, and what it lets pass is checked again when it is done.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::accounts::Starter;
use crate::capability::{Capability, CapabilitySet};
use crate::error::Error;
use crate::exec;
use crate::plan::{Entry, Lock, Plan, Service, What};
use crate::state::State;
use crate::sys;
use crate::tree::{Dir, FileKind, Tree, TreeError};

/// Everything that would stop a first start of `plan`.
pub(crate) fn first_start(tree: &Tree, plan: &Plan, state: &State<'_>, starter: &Starter) -> Vec<Error> {
    let mut errors = Vec::new();
    errors.extend(state.obstacle());
    errors.extend(destinations(tree, plan, state.path()));
    errors.extend(foreign_owners(plan, starter));
    errors.extend(capabilities(plan, starter, Phase::FirstStart));
    errors.extend(exec::obstacles(&plan.service, &planned_files(plan)));
    errors
}

/// What a later start can know before it looks at the disk: whether it will be able to become the service.
pub(crate) fn later_start(plan: &Plan, starter: &Starter) -> Vec<Error> {
    capabilities(plan, starter, Phase::LaterStart).into_iter().collect()
}

/// The files and directories that will be there when the service is started.
fn planned_files(plan: &Plan) -> HashSet<&Path> {
    let present = plan.entries.iter().filter(|entry| entry.what != What::Absent);
    present.map(|entry| entry.dest.as_path()).collect()
}

struct Destinations<'a> {
    tree: &'a Tree,
    plan: &'a Plan,
    /// Planned directories that will be closed to others before anything is put into them.
    taken_over: BTreeSet<&'a Path>,
    mount_points: HashSet<PathBuf>,
    /// By where they really are.
    seen: BTreeMap<PathBuf, &'a Path>,
    /// Unsafe and unwritable directories, told once each.
    told: HashSet<String>,
    errors: Vec<Error>,
}

fn destinations(tree: &Tree, plan: &Plan, state_dir: &Path) -> Vec<Error> {
    let mut checking = Destinations {
        tree,
        plan,
        taken_over: plan.locked_directories(tree.trusted()),
        mount_points: mount_points(tree),
        seen: BTreeMap::new(),
        told: HashSet::new(),
        errors: Vec::new(),
    };
    for entry in &plan.entries {
        if entry.dest.starts_with(state_dir) {
            checking.errors.push(Error::StateCovered { path: state_dir.to_owned(), dest: entry.dest.clone() });
        } else if let Err(source) = checking.entry(entry) {
            checking.tell(entry, source);
        }
    }
    checking.errors
}

impl<'a> Destinations<'a> {
    fn tell(&mut self, entry: &Entry, source: TreeError) {
        if self.told.insert(source.to_string()) {
            self.errors.push(Error::Install { path: entry.dest.clone(), source });
        }
    }

    fn entry(&mut self, entry: &'a Entry) -> Result<(), TreeError> {
        let dest = entry.dest.as_path();
        let (dir, existing) = self.nearest(dest)?;
        let is_parent = Some(existing) == dest.parent();
        if !is_parent && entry.what == What::Absent {
            return Ok(());
        }
        let taken_over = |path: &Path| self.taken_over.contains(path);
        if self.plan.lock != Lock::None
            && entry.locked
            && let Some(error) = dir.unsafe_ancestor(self.tree.trusted(), taken_over)
        {
            return Err(error);
        }
        if entry.what == What::Absent && dest.file_name().is_none_or(|name| matches!(dir.look(name), Ok(None))) {
            return Ok(());
        }
        // A planned directory may be closed to us now and will be opened; but nothing opens a read-only file system.
        match dir.check_writable() {
            Err(TreeError::Io { source, .. })
                if source.kind() == std::io::ErrorKind::PermissionDenied && taken_over(existing) => {}
            checked => checked?,
        }
        if is_parent { self.in_place(entry, &dir) } else { Ok(()) }
    }

    /// The nearest directory above `dest` that exists, and its path.
    fn nearest(&self, dest: &'a Path) -> Result<(Rc<Dir>, &'a Path), TreeError> {
        for path in dest.ancestors().skip(1) {
            match self.tree.dir(path) {
                Err(TreeError::Missing { .. }) => {}
                found => return Ok((found?, path)),
            }
        }
        Err(TreeError::Missing { path: dest.to_owned() })
    }

    /// What is at the destination now, and whether it can be replaced.
    fn in_place(&mut self, entry: &'a Entry, dir: &Rc<Dir>) -> Result<(), TreeError> {
        let dest = entry.dest.as_path();
        let Some(name) = dest.file_name() else { return Ok(()) };
        let real = dir.path().join(name);
        if let Some(other) = self.seen.insert(real.clone(), dest) {
            self.errors.push(Error::SameFile { path: dest.to_owned(), other: other.to_owned() });
        }
        let found = dir.look(name)?;
        match &entry.what {
            What::File(_) | What::Absent if self.mount_points.contains(&real) => {
                self.errors.push(Error::MountPoint { path: dest.to_owned() });
            }
            What::File(_) if found.is_some_and(|found| found.kind == FileKind::Directory) => {
                self.errors.push(Error::DirectoryInPlace { path: dest.to_owned() });
            }
            What::Directory(directory) => match found {
                Some(found) if found.kind != FileKind::Directory => {
                    return Err(TreeError::NotDirectory { path: dest.to_owned(), kind: found.kind.name() });
                }
                Some(_) if directory.recursive => {
                    let below = self.tree.dir(dest)?;
                    let (uid, gid) = (directory.attributes.uid, directory.attributes.gid);
                    if let Some(found) = below.hard_link_below(uid, gid)? {
                        self.errors.push(Error::HardLink { path: dest.to_owned(), found });
                    }
                }
                _ => {}
            },
            _ => {}
        }
        Ok(())
    }
}

/// The mount points of this process, as far as they are known: without /proc a mount point shows itself by EBUSY.
fn mount_points(tree: &Tree) -> HashSet<PathBuf> {
    const MAX_BYTES: u64 = 16 * 1024 * 1024;
    let read = tree.read(Path::new("/proc/self/mountinfo"), MAX_BYTES);
    let bytes = read.ok().flatten().unwrap_or_default();
    bytes
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .map(|field| OsString::from_vec(unescape(field)).into())
        .collect()
}

/// Resolves the octal escapes of `proc_pid_mountinfo(5)`.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let octal = (byte == b'\\').then(|| after.get(..3)).flatten();
        let octal = octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(octal.unwrap_or(byte));
        rest = if octal.is_some() { &after[3..] } else { after };
    }
    bytes
}

/// Without root, what the manifest wants to give to others.
fn foreign_owners(plan: &Plan, starter: &Starter) -> Vec<Error> {
    if starter.is_root() {
        return Vec::new();
    }
    let mut errors = Vec::new();
    for entry in &plan.entries {
        let attributes = match &entry.what {
            What::File(file) => file.attributes,
            What::Directory(directory) => directory.attributes,
            What::Absent => continue,
        };
        let (uid, gid) = (attributes.uid, attributes.gid);
        if uid != starter.uid || (gid != starter.gid && !starter.groups.contains(&gid)) {
            errors.push(Error::NotOurs { dest: entry.dest.clone(), uid, gid, is: starter.uid });
        }
    }
    errors
}

/// What a start has to do itself: only a first one installs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    FirstStart,
    LaterStart,
}

/// The capabilities that this start needs and has not: all of them, each with the reason.
fn capabilities(plan: &Plan, starter: &Starter, phase: Phase) -> Option<Error> {
    let service = &plan.service;
    let mut needed: Vec<(Capability, String)> = Vec::new();
    if starter.is_root() {
        if phase == Phase::FirstStart && plan.entries.iter().any(|entry| gives_away(entry, starter)) {
            needed.push((Capability::CHOWN, "to give files their owner and group".into()));
        }
        if plan.entries.iter().any(|entry| is_unreadable(entry, starter))
            && !starter.capabilities.contains(Capability::DAC_OVERRIDE)
        {
            needed.push((Capability::DAC_READ_SEARCH, "to read sealed files of other owners".into()));
        }
        if service.uid != starter.uid {
            needed.push((Capability::SETUID, format!("to become uid {}", service.uid)));
        }
        if changes_groups(service, starter) {
            needed.push((Capability::SETGID, format!("to become gid {}", service.gid)));
        }
        if !service.no_new_privileges && surplus_bounding(service) {
            needed.push((Capability::SETPCAP, "to empty the bounding set, as no_new_privileges is false".into()));
        }
    }
    needed.extend(service.capabilities.iter().map(|capability| (capability, "to keep it for the service".into())));
    // What is kept must be permitted, which is more than what is effective; the rest is used by us.
    let permitted = sys::capabilities().map_or(starter.capabilities, |sets| sets.permitted);
    let held = |capability: Capability| {
        starter.capabilities.contains(capability)
            || (service.capabilities.contains(capability) && permitted.contains(capability))
    };
    needed.retain(|(capability, _)| !held(*capability));
    let reasons: Vec<String> = needed.iter().map(|(capability, why)| format!("{capability} ({why})")).collect();
    (!reasons.is_empty()).then(|| Error::Capabilities { why: reasons.join(", ") })
}

fn gives_away(entry: &Entry, starter: &Starter) -> bool {
    let attributes = match &entry.what {
        What::File(file) => file.attributes,
        What::Directory(directory) => directory.attributes,
        What::Absent => return false,
    };
    (attributes.uid, attributes.gid) != (starter.uid, starter.gid)
}

/// Whether a sealed file is closed to us without a capability.
fn is_unreadable(entry: &Entry, starter: &Starter) -> bool {
    match &entry.what {
        What::File(file) if !file.mutable => {
            let attributes = file.attributes;
            let readable = match attributes {
                owned if owned.uid == starter.uid => 0o400,
                shared if shared.gid == starter.gid || starter.groups.contains(&shared.gid) => 0o040,
                _ => 0o004,
            };
            attributes.mode & readable == 0
        }
        _ => false,
    }
}

/// Whether group ids have to change for `service`.
pub(crate) fn changes_groups(service: &Service, starter: &Starter) -> bool {
    starter.gid != service.gid || starter.groups.iter().copied().collect::<BTreeSet<_>>() != service.groups
}

/// Whether the bounding set holds more than the service may have.
pub(crate) fn surplus_bounding(service: &Service) -> bool {
    CapabilitySet(u64::MAX)
        .iter()
        .any(|capability| sys::bounding_has(capability) == Some(true) && !service.capabilities.contains(capability))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_unescaped() {
        for (field, path) in
            [(&b"/a\\040b"[..], &b"/a b"[..]), (b"/a\\134", b"/a\\"), (b"\\9", b"\\9"), (b"/\\012", b"/\n")]
        {
            assert_eq!(unescape(field), path);
        }
    }
}
