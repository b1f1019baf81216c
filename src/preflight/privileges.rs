//! Looks for privileges that a start needs and does not have.

use std::collections::BTreeSet;

use crate::accounts::Caller;
use crate::error::Error;
use crate::plan::{Entry, EntryKind, MAX_GROUPS, Plan, Service};
use crate::service::credentials::surplus_bounding;
use crate::sys;
use crate::sys::capability::Capability;

/// What keeps this process from having the credentials of `service`, when there is nothing to install.
pub(crate) fn becoming(service: &Service, caller: &Caller) -> Vec<Error> {
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

/// Without root, what the manifest wants to give to others.
pub(super) fn foreign_owners(plan: &Plan, caller: &Caller) -> Vec<Error> {
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
            errors.push(Error::NotOwner {
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
pub(crate) enum Phase {
    FirstStart,
    LaterStart,
}

/// The capabilities that this start needs and has not: all of them, each with the reason.
pub(super) fn capabilities(
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
