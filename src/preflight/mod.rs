//! Would this plan succeed on this machine? Everything that can be known before the first write, all of it at once.
//!
//! Never changes anything, and what it lets pass is checked again when it is done.

pub(crate) mod permissions;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::accounts::Caller;
use crate::error::Error;
use crate::fs::dir::{Dir, FileKind, FsError, Ownership};
use crate::fs::root::Root;
use crate::plan::{
    Directory, Entry, EntryKind, File, MAX_GROUPS, Origin, Plan, Protection, Service,
};
use crate::service::exec;
use crate::state::State;
use crate::sys;
use crate::sys::capability::{Capability, CapabilitySet};

/// Everything that would stop a first start of `plan`.
pub(crate) fn first_start(
    tree: &Root,
    plan: &Plan,
    state: &State<'_>,
    caller: &Caller,
    manifest: &Path,
) -> Vec<Error> {
    let mut errors = Vec::new();
    errors.extend(state.obstacle());
    errors.extend(own_paths(tree, plan, state.path(), Some(manifest)));
    errors.extend(destinations(tree, plan, mount_points()));
    errors.extend(foreign_owners(plan, caller));
    errors.extend(capabilities(
        &plan.service,
        &plan.entries,
        caller,
        Phase::FirstStart,
    ));
    errors.extend(user_namespace(&plan.service, &plan.entries, caller));
    errors.extend(service(plan));
    errors
}

/// Everything that would stop a first start of `plan` by root in the container whose root directory `tree` is, seen from outside:
/// what is mounted at `mount_points` is there then, and what the start may do is not known.
pub(crate) fn first_start_elsewhere(
    tree: &Root,
    plan: &Plan,
    state: &State<'_>,
    mount_points: Vec<PathBuf>,
) -> Vec<Error> {
    let mut errors = Vec::new();
    errors.extend(state.obstacle());
    errors.extend(own_paths(tree, plan, state.path(), None));
    errors.extend(destinations(tree, plan, mount_points));
    errors.extend(with_checks(plan, |service| {
        permissions::obstacles(tree, service, |path| brings(plan, path))
    }));
    errors
}

/// What a later start can know before it looks at the disk: whether it will be able to become the service.
pub(crate) fn later_start(plan: &Plan, caller: &Caller) -> Vec<Error> {
    // Which ids this user namespace has, the first start has seen.
    capabilities(&plan.service, &plan.entries, caller, Phase::LaterStart)
        .into_iter()
        .collect()
}

/// What keeps this process from having the credentials of `service`, when there is nothing to install.
pub(crate) fn drop(service: &Service, caller: &Caller) -> Vec<Error> {
    let groups = service.groups.len();
    if groups > MAX_GROUPS {
        return vec![Error::TooManyGroups {
            groups,
            limit: MAX_GROUPS,
        }];
    }
    let lacking = capabilities(service, &[], caller, Phase::LaterStart);
    lacking
        .into_iter()
        .chain(user_namespace(service, &[], caller))
        .collect()
}

/// Everything that would stop a restore of the entries at `paths`.
pub(crate) fn restore(
    tree: &Root,
    plan: &Plan,
    paths: &BTreeSet<&Path>,
    caller: &Caller,
) -> Vec<Error> {
    let drifted: Vec<Entry> = plan
        .entries
        .iter()
        .filter(|entry| paths.contains(entry.dest.as_path()))
        .cloned()
        .collect();
    let mut errors = Vec::new();
    for entry in &drifted {
        let writable = tree
            .parent(&entry.dest)
            .and_then(|(dir, _)| dir.check_writable());
        // A directory that drifted may be missing or closed; that is what is going to be mended.
        if let Err(source) = writable
            && source.is(ErrorKind::ReadOnlyFilesystem)
        {
            errors.push(Error::Install {
                path: entry.dest.clone(),
                source,
            });
        }
    }
    errors.extend(capabilities(
        &plan.service,
        &drifted,
        caller,
        Phase::FirstStart,
    ));
    errors
}

/// What keeps the service from being started, apart from what is going to be installed.
fn service(plan: &Plan) -> Vec<Error> {
    let planned = |path: &Path| brings(plan, path);
    with_checks(plan, |service| exec::obstacles(service, planned))
}

/// What keeps the service from being started, and each of its checks, which only differ in the program.
fn with_checks(plan: &Plan, obstacles: impl Fn(&Service) -> Vec<Error>) -> Vec<Error> {
    let mut errors = obstacles(&plan.service);
    for check in &plan.checks {
        let found = obstacles(&plan.service.with_command(check.command.clone())).into_iter();
        let found = found.filter(|error| !matches!(error, Error::WorkingDir { .. }));
        errors.extend(found.map(|error| Error::CheckNotRunnable(Box::new(error))));
    }
    errors
}

/// Whether `plan` brings what is executed at `path`.
fn brings(plan: &Plan, path: &Path) -> bool {
    plan.entries.iter().any(|entry| match &entry.kind {
        EntryKind::Absent => false,
        // One that the service may not execute is no better than one that is there and it may not.
        EntryKind::File(file) => {
            entry.dest == path && permissions::may_execute(&plan.service, file.ownership)
        }
        // What is in it, and whether it can be entered, is decided by its new owner and mode.
        EntryKind::Directory(_) => path.starts_with(&entry.dest),
    })
}

/// Where `path` really is: links in what exists of it resolved, the rest as it stands.
fn real_path(tree: &Root, path: &Path) -> PathBuf {
    let existing = path
        .ancestors()
        .find_map(|above| Some((above, tree.dir(above).ok()?)));
    match existing {
        Some((above, dir)) => dir
            .path()
            .join(path.strip_prefix(above).unwrap_or(Path::new(""))),
        None => path.to_owned(),
    }
}

/// Entries that would replace, remove or give away what sealinit itself lives by: its state, the manifest, the sources.
fn own_paths(tree: &Root, plan: &Plan, state_dir: &Path, manifest: Option<&Path>) -> Vec<Error> {
    let own_state = real_path(tree, state_dir);
    let own_manifest = manifest.map(|manifest| (manifest, real_path(tree, manifest)));
    let mut errors = Vec::new();
    for entry in &plan.entries {
        let dest = real_path(tree, &entry.dest);
        // A file takes the place of all that is below its name, too.
        let is_file = matches!(entry.kind, EntryKind::File(_));
        let removes = |path: &Path| {
            path == dest
                || (is_file && path.starts_with(&dest))
                || removes(&entry.kind, &dest, path)
        };
        // Whoever can change a directory above the state can take the state away, however well that is locked itself.
        let gives_away = match &entry.kind {
            EntryKind::Directory(directory) => {
                let Ownership { uid, mode, .. } = directory.ownership;
                let open = uid != tree.installer() || mode & 0o022 != 0 || directory.recursive;
                plan.lock != Protection::None && open && own_state.starts_with(&dest)
            }
            _ => false,
        };
        let source = |other: &&Entry| match &other.kind {
            EntryKind::File(File {
                origin: Origin::Source(path),
                ..
            }) => path.starts_with(&entry.dest),
            _ => false,
        };
        let hit = if dest.starts_with(&own_state) || removes(&own_state) || gives_away {
            Some(state_dir.to_owned())
        } else if let Some((manifest, _)) = own_manifest.as_ref().filter(|(_, real)| removes(real))
        {
            Some((*manifest).to_owned())
        } else if entry.kind == EntryKind::Absent {
            plan.entries
                .iter()
                .find(source)
                .map(|other| other.dest.clone())
        } else {
            None
        };
        errors.extend(hit.map(|path| Error::OwnPath {
            path,
            dest: entry.dest.clone(),
        }));
    }
    errors
}

struct Destinations<'a> {
    tree: &'a Root,
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

fn destinations(tree: &Root, plan: &Plan, mount_points: Vec<PathBuf>) -> Vec<Error> {
    let mut checking = Destinations {
        tree,
        plan,
        taken_over: plan.locked_directories(tree.installer()),
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
        let (dir, existing) = self.tree.nearest(dest.parent().unwrap_or(dest))?;
        let is_parent = Some(existing) == dest.parent();
        if !is_parent && entry.kind == EntryKind::Absent {
            return Ok(());
        }
        let taken_over = |path: &Path| self.taken_over.contains(path);
        if self.plan.lock != Protection::None
            && entry.locked
            && let Some(error) = dir.unsafe_ancestor(self.tree.installer(), taken_over)
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
                    let below = self.tree.dir(dest)?;
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
                    let (me, is) = (self.tree.installer(), found.ownership.uid);
                    if changes && me != 0 && is != me {
                        let dest = dest.to_owned();
                        self.errors.push(Error::NotOurs {
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
fn removes(what: &EntryKind, real: &Path, path: &Path) -> bool {
    let Ok(below) = path.strip_prefix(real) else {
        return false;
    };
    match what {
        EntryKind::File(_) => path == real,
        EntryKind::Absent => true,
        EntryKind::Directory(Directory {
            exact: Some(names), ..
        }) => below
            .iter()
            .next()
            .is_some_and(|name| !names.contains(name)),
        EntryKind::Directory(_) => false,
    }
}

/// The mount points of this process, as far as they are known: without /proc a mount point shows itself by EBUSY.
pub(crate) fn mount_points() -> Vec<PathBuf> {
    let bytes = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
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
        let octal =
            octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(octal.unwrap_or(byte));
        rest = if octal.is_some() { &after[3..] } else { after };
    }
    bytes
}

/// Without root, what the manifest wants to give to others.
fn foreign_owners(plan: &Plan, caller: &Caller) -> Vec<Error> {
    if caller.is_root() {
        return Vec::new();
    }
    let mut errors = Vec::new();
    for entry in &plan.entries {
        let Some(ownership) = entry.kind.ownership() else {
            continue;
        };
        let (uid, gid) = (ownership.uid, ownership.gid);
        if uid != caller.uid || (gid != caller.gid && !caller.groups.contains(&gid)) {
            errors.push(Error::NotOurs {
                dest: entry.dest.clone(),
                uid,
                gid,
                is: caller.uid,
            });
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
fn capabilities(
    service: &Service,
    entries: &[Entry],
    caller: &Caller,
    phase: Phase,
) -> Option<Error> {
    let mut needed: Vec<(Capability, String)> = Vec::new();
    if caller.is_root() {
        if phase == Phase::FirstStart && entries.iter().any(|entry| gives_away(entry, caller)) {
            needed.push((
                Capability::CHOWN,
                "to give files their owner and group".into(),
            ));
        }
        if entries.iter().any(|entry| is_unreadable(entry, caller))
            && !caller.capabilities.contains(Capability::DAC_OVERRIDE)
        {
            needed.push((
                Capability::DAC_READ_SEARCH,
                "to read sealed files that their owner may not read".into(),
            ));
        }
        if service.uid != caller.uid {
            needed.push((Capability::SETUID, format!("to become uid {}", service.uid)));
        }
        if changes_groups(service, caller) {
            needed.push((Capability::SETGID, format!("to become gid {}", service.gid)));
        }
        if !service.no_new_privileges && surplus_bounding(service) {
            needed.push((
                Capability::SETPCAP,
                "to empty the bounding set, as no_new_privileges is false".into(),
            ));
        }
    }
    needed.extend(
        service
            .capabilities
            .iter()
            .map(|capability| (capability, "to keep it for the service".into())),
    );
    // What is kept must be permitted, which is more than what is effective; the rest is used by us.
    let permitted = sys::capabilities().map_or(caller.capabilities, |sets| sets.permitted);
    let held = |capability: Capability| {
        caller.capabilities.contains(capability)
            || (service.capabilities.contains(capability) && permitted.contains(capability))
    };
    needed.retain(|(capability, _)| !held(*capability));
    let reasons: Vec<String> = needed
        .iter()
        .map(|(capability, why)| format!("{capability} ({why})"))
        .collect();
    (!reasons.is_empty()).then(|| Error::Capabilities {
        why: reasons.join(", "),
    })
}

fn gives_away(entry: &Entry, caller: &Caller) -> bool {
    entry
        .kind
        .ownership()
        .is_some_and(|found| (found.uid, found.gid) != (caller.uid, caller.gid))
}

/// Whether a sealed file is closed to us without a capability.
fn is_unreadable(entry: &Entry, caller: &Caller) -> bool {
    match &entry.kind {
        // Somebody else's is opened as that somebody.
        EntryKind::File(file) if !file.mutable => {
            let ownership = file.ownership;
            ownership.mode & 0o400 == 0
                && (ownership.uid == caller.uid || ownership.mode & 0o004 == 0)
        }
        _ => false,
    }
}

/// Ids that do not exist in this user namespace, and groups that cannot be given up in it.
fn user_namespace(service: &Service, entries: &[Entry], caller: &Caller) -> Vec<Error> {
    if !caller.is_root() {
        return Vec::new();
    }
    let mut uids = BTreeSet::from([service.uid]);
    let mut gids = service.groups.clone();
    for ownership in entries.iter().filter_map(|entry| entry.kind.ownership()) {
        uids.insert(ownership.uid);
        gids.insert(ownership.gid);
    }
    let mut errors = Vec::new();
    for (ids, what, map) in [(uids, "uid", "uid_map"), (gids, "gid", "gid_map")] {
        // Without /proc nothing is known, and the first chown or setresuid will tell.
        let Ok(text) = std::fs::read_to_string(format!("/proc/self/{map}")) else {
            continue;
        };
        let unmapped = ids.into_iter().filter(|id| !is_mapped(&text, *id));
        errors.extend(unmapped.map(|id| Error::NotMapped { what, id, map }));
    }
    let denied =
        std::fs::read("/proc/self/setgroups").is_ok_and(|text| text.trim_ascii() == b"deny");
    if denied && !caller.has_groups(&service.groups) {
        errors.push(Error::SetgroupsDenied);
    }
    errors
}

/// Whether `id` is in one of the ranges of a `/proc/PID/uid_map` (`user_namespaces(7)`): first id inside, first outside, length.
fn is_mapped(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let fields: Vec<u64> = line.split_whitespace().filter_map(|field| field.parse().ok()).collect();
        matches!(fields[..], [inside, _, length] if (inside..inside + length).contains(&u64::from(id)))
    })
}

/// Whether group ids have to change for `service`.
fn changes_groups(service: &Service, caller: &Caller) -> bool {
    caller.gid != service.gid || !caller.has_groups(&service.groups)
}

/// Whether the bounding set holds more than the service may have, or may do so: nobody tells.
pub(crate) fn surplus_bounding(service: &Service) -> bool {
    sys::bounding().map_or(true, |bounding| {
        bounding.without(service.capabilities) != CapabilitySet::EMPTY
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_unescaped() {
        for (field, path) in [
            (&b"/a\\040b"[..], &b"/a b"[..]),
            (b"/a\\134", b"/a\\"),
            (b"\\9", b"\\9"),
            (b"/\\012", b"/\n"),
        ] {
            assert_eq!(unescape(field), path);
        }
    }
}
