//! Finds the trees whose owners need no second look when they are installed.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::fs::root::Root;
use crate::plan::Plan;
use crate::preflight::own_paths::real_path;

/// Returns those of `right`, the recursive directories below which everything has its owner, in
/// which `plan` installs nothing else, as paths are written or with links resolved.
pub(super) fn settled(root: &Root, plan: &Plan, mut right: BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    right.retain(|dest| {
        let real = real_path(root, dest);
        plan.entries.iter().all(|entry| {
            let (Some(parent), Some(name)) = (entry.dest.parent(), entry.dest.file_name()) else {
                return false;
            };
            entry.dest == *dest
                || !(entry.dest.starts_with(dest)
                    || real_path(root, parent).join(name).starts_with(&real))
        })
    });
    right
}
