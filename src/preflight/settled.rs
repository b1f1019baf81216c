//! Finds the trees whose owners need no second look when they are installed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::fs::root::Root;
use crate::plan::Plan;
use crate::preflight::own_paths::real_path;

/// Returns those of `right`, the recursive directories below which everything has its owner, in
/// which `plan` installs nothing else, as paths are written or with links resolved.
pub(super) fn settled(root: &Root, plan: &Plan, mut right: BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    if right.is_empty() {
        return right;
    }
    // Once for all of `right`: each real path is looked up on the disk.
    let real = |path: &Path| match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Some(real_path(root, parent).join(name)),
        _ => None,
    };
    let entries = plan.entries.iter();
    let installed: Vec<(&Path, Option<PathBuf>)> = entries
        .map(|entry| (entry.dest.as_path(), real(&entry.dest)))
        .collect();
    right.retain(|dest| {
        let real_dest = real_path(root, dest);
        installed.iter().all(|(path, real)| {
            let is_below = |real: &PathBuf| path.starts_with(dest) || real.starts_with(&real_dest);
            real.as_ref()
                .is_some_and(|real| path == dest || !is_below(real))
        })
    });
    right
}
