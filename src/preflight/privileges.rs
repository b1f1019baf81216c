//! Looks for privileges that a start needs and does not have.

use std::collections::BTreeSet;

use crate::accounts::Caller;
use crate::error::Error;
use crate::fs::metadata::Ownership;
use crate::plan::{Entry, EntryKind, MAX_GROUPS, Plan, Service};
use crate::service::credentials::surplus_bounding;
use crate::sys;
use crate::sys::capability::Capability;

/// Returns the problems that keep this process from taking the credentials of `service` when there
/// is nothing to install.
pub(crate) fn becoming(service: &Service, caller: &Caller) -> Vec<Error> {
    let groups = service.groups.len();
    if groups > MAX_GROUPS {
        return vec![Error::TooManyGroups {
            groups,
            limit: MAX_GROUPS,
        }];
    }
    let missing = capabilities(service, &[], caller, Phase::LaterStart);
    let unmapped = user_namespace(service, &[], caller);
    missing.into_iter().chain(unmapped).collect()
}

/// Returns an error for each entry that a start without root would have to give to another user.
pub(super) fn foreign_owners(plan: &Plan, caller: &Caller) -> Vec<Error> {
    if caller.is_root() {
        return Vec::new();
    }
    let foreign = |entry: &Entry| {
        let Ownership { uid, gid, .. } = entry.kind.ownership()?;
        let own = uid == caller.uid && (gid == caller.gid || caller.groups.contains(&gid));
        (!own).then(|| Error::NotOwner {
            dest: entry.dest.clone(),
            uid,
            gid,
            is: caller.uid,
        })
    };
    plan.entries.iter().filter_map(foreign).collect()
}

/// The kind of a start: only a first start installs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    FirstStart,
    LaterStart,
}

/// Returns an error that names every capability which this start needs and does not have, each
/// with the reason.
pub(super) fn capabilities(
    service: &Service,
    entries: &[Entry],
    caller: &Caller,
    phase: Phase,
) -> Option<Error> {
    let mut needed = Vec::new();
    if caller.is_root() {
        needed.extend(installing(entries, caller, phase));
        needed.extend(dropping(service, caller));
    }
    let kept = service.capabilities.iter();
    needed.extend(kept.map(|capability| (capability, "to keep it for the service".into())));
    // A capability for the service need only be permitted. The others are used here, and must be
    // effective.
    let permitted = sys::capabilities().map_or(caller.capabilities, |sets| sets.permitted);
    let is_held = |capability: Capability| {
        caller.capabilities.contains(capability)
            || (service.capabilities.contains(capability) && permitted.contains(capability))
    };
    needed.retain(|(capability, _)| !is_held(*capability));
    let missing: Vec<String> = needed
        .iter()
        .map(|(capability, why)| format!("{} ({why})", capability.name()))
        .collect();
    (!missing.is_empty()).then(|| Error::Capabilities {
        missing: missing.join(", "),
    })
}

/// A capability and the reason why it is needed.
type Need = (Capability, String);

/// Returns the capabilities for installing and reading `entries` as root.
fn installing(entries: &[Entry], caller: &Caller, phase: Phase) -> Vec<Need> {
    let mut needed = Vec::new();
    if phase == Phase::FirstStart && entries.iter().any(|entry| gives_away(entry, caller)) {
        let why = "to give files their owner and group".into();
        needed.push((Capability::CHOWN, why));
    }
    if entries.iter().any(|entry| is_unreadable(entry, caller))
        && !caller.capabilities.contains(Capability::DAC_OVERRIDE)
    {
        let why = "to read sealed files that their owner may not read".into();
        needed.push((Capability::DAC_READ_SEARCH, why));
    }
    needed
}

/// Returns the capabilities for becoming `service` as root.
fn dropping(service: &Service, caller: &Caller) -> Vec<Need> {
    let mut needed = Vec::new();
    if service.uid != caller.uid {
        let why = format!("to become uid {}", service.uid);
        needed.push((Capability::SETUID, why));
    }
    if caller.gid != service.gid || !caller.has_groups(&service.groups) {
        let why = format!("to become gid {}", service.gid);
        needed.push((Capability::SETGID, why));
    }
    if !service.no_new_privileges && surplus_bounding(service) {
        let why = "to empty the bounding set, as no_new_privileges is false".into();
        needed.push((Capability::SETPCAP, why));
    }
    needed
}

fn gives_away(entry: &Entry, caller: &Caller) -> bool {
    entry
        .kind
        .ownership()
        .is_some_and(|found| (found.uid, found.gid) != (caller.uid, caller.gid))
}

/// Returns true if a sealed file cannot be read without a capability. A file of another user is
/// opened as that user.
fn is_unreadable(entry: &Entry, caller: &Caller) -> bool {
    match &entry.kind {
        EntryKind::File(file) if !file.mutable => {
            let Ownership { uid, mode, .. } = file.ownership;
            mode & 0o400 == 0 && (uid == caller.uid || mode & 0o004 == 0)
        }
        _ => false,
    }
}

/// Returns an error for each id that does not exist in this user namespace, and for groups that
/// cannot be given up in it.
pub(super) fn user_namespace(service: &Service, entries: &[Entry], caller: &Caller) -> Vec<Error> {
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
        // Without /proc the ids are not known, and the first chown or setresuid fails instead.
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

/// Returns true if `id` is in one of the ranges of a `/proc/PID/uid_map` (`user_namespaces(7)`):
/// first id inside, first id outside, length.
fn is_mapped(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let fields = line
            .split_whitespace()
            .filter_map(|field| field.parse().ok());
        match fields.collect::<Vec<u64>>()[..] {
            [inside, _, length] => (inside..inside + length).contains(&u64::from(id)),
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_mapped_if_a_range_has_it() {
        let map = "         0     100000      65536\n     70000     200000          1\n";
        for (id, mapped) in [
            (0, true),
            (65_535, true),
            (65_536, false),
            (70_000, true),
            (70_001, false),
            (u32::MAX, false),
        ] {
            assert_eq!(is_mapped(map, id), mapped, "{id}");
        }
        assert!(!is_mapped("", 0));
        assert!(!is_mapped("0 0", 0));
    }
}
