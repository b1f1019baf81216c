//! Looks for problems that would keep drifted entries from being restored.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;

use crate::accounts::Caller;
use crate::digest::{Buffer, FileDigest};
use crate::drift::Drift;
use crate::error::Error;
use crate::fs::mounts::mount_points;
use crate::fs::root::Root;
use crate::fs::source;
use crate::plan::{ContentOrigin, Entry, EntryKind, Plan};
use crate::preflight::privileges::{Phase, capabilities};

/// Returns the problems that would keep the entries in `drifts` from being restored.
pub(crate) fn restore(root: &Root, plan: &Plan, drifts: &[Drift], caller: &Caller) -> Vec<Error> {
    let paths: BTreeSet<&Path> = drifts.iter().filter_map(Drift::path).collect();
    let drifted: Vec<Entry> = plan
        .entries
        .iter()
        .filter(|entry| paths.contains(entry.dest.as_path()))
        .cloned()
        .collect();
    let mut errors: Vec<Error> = drifted.iter().filter_map(changed_source).collect();
    for entry in &drifted {
        let writable = root
            .parent(&entry.dest)
            .and_then(|(dir, _)| dir.check_writable());
        // A drifted directory may be missing or closed, which the restore repairs.
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
    errors.extend(mounted_over(drifts));
    errors
}

/// Returns an error if the source of `entry` no longer has the sealed content.
fn changed_source(entry: &Entry) -> Option<Error> {
    let EntryKind::File(file) = &entry.kind else {
        return None;
    };
    let ContentOrigin::Source(path) = &file.origin else {
        return None;
    };
    let holds = |content| still_holds(path, content);
    (!file.content.is_some_and(holds)).then(|| Error::NotRestorable {
        dest: entry.dest.clone(),
        source_path: path.clone(),
    })
}

/// Returns an error for each drifted path under a mount, which a container cannot remove.
fn mounted_over(drifts: &[Drift]) -> Vec<Error> {
    let mounts = mount_points();
    let drifted: BTreeSet<&Path> = drifts
        .iter()
        .filter(|drift| !matches!(drift, Drift::UnsafeParent { .. }))
        .filter_map(Drift::path)
        .collect();
    let mounted_over = |dest: &Path| {
        let mounted = mounts.iter().find(|mounted| mounted.starts_with(dest))?;
        Some(Error::MountedOver {
            dest: dest.to_owned(),
            mounted: mounted.clone(),
        })
    };
    drifted.into_iter().filter_map(mounted_over).collect()
}

/// Returns true if the source at `path` still has this content.
fn still_holds(path: &Path, content: FileDigest) -> bool {
    let found = source::open(path)
        .ok()
        .and_then(|(mut file, _)| FileDigest::of_reader(&mut file, &mut Buffer::new()).ok());
    found == Some(content)
}
