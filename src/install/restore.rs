//! Puts back the parts of a plan that differ on disk.

use std::collections::BTreeSet;
use std::path::Path;

use crate::error::Error;
use crate::fs::root::Root;
use crate::install::apply::Application;
use crate::plan::reading::ContentCache;
use crate::plan::{Entry, EntryKind, Plan};

/// Installs the entries at `paths` again, and removes anything else in their place.
///
/// # Errors
/// The first step that failed. The steps before it are not undone; the next start restores again.
pub(crate) fn reinstall(root: &Root, plan: &Plan, paths: &BTreeSet<&Path>) -> Result<(), Error> {
    let cache = ContentCache::default();
    // A directory above may have to be opened to write in it, or hold the extra name.
    let related = |entry: &Entry| {
        let is_directory = matches!(entry.kind, EntryKind::Directory(_));
        entry.is_verified()
            && (paths.contains(entry.dest.as_path())
                || (is_directory && paths.iter().any(|path| path.starts_with(&entry.dest))))
    };
    Application::new(root, plan, &cache, related)
        .replacing()
        .run()
        .map(drop)
}
