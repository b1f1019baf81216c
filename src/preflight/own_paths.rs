//! Looks for entries that would replace, remove or give away sealinit's own files.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::fs::metadata::Ownership;
use crate::fs::root::Root;
use crate::plan::{ContentOrigin, Entry, EntryKind, Plan, PlannedFile, Protection};
use crate::preflight::destinations::removes;

/// Returns an error for each entry that would replace, remove or give away the state directory, the
/// manifest or a source.
pub(super) fn own_paths(
    root: &Root,
    plan: &Plan,
    state_dir: &Path,
    manifest: Option<&Path>,
) -> Vec<Error> {
    let own = OwnPaths {
        root,
        plan,
        state: (state_dir, real_path(root, state_dir)),
        manifest: manifest.map(|manifest| (manifest, real_path(root, manifest))),
    };
    let hit = |entry: &Entry| {
        let path = own.hit_by(entry)?.to_owned();
        Some(Error::OwnPath {
            path,
            dest: entry.dest.clone(),
        })
    };
    plan.entries.iter().filter_map(hit).collect()
}

/// The paths that sealinit itself needs, as they are written and with links resolved.
struct OwnPaths<'a> {
    root: &'a Root,
    plan: &'a Plan,
    state: (&'a Path, PathBuf),
    manifest: Option<(&'a Path, PathBuf)>,
}

impl OwnPaths<'_> {
    /// Returns the path that installing `entry` would replace, remove or give away.
    fn hit_by(&self, entry: &Entry) -> Option<&Path> {
        let dest = real_path(self.root, &entry.dest);
        // A file takes the place of everything below its name as well.
        let is_file = matches!(entry.kind, EntryKind::File(_));
        let removes = |path: &Path| {
            path == dest
                || (is_file && path.starts_with(&dest))
                || removes(&entry.kind, &dest, path)
        };
        let (state_dir, state) = &self.state;
        if state.starts_with(&dest) && self.gives_away(entry)
            || dest.starts_with(state)
            || removes(state)
        {
            return Some(state_dir);
        }
        if let Some((manifest, real)) = &self.manifest
            && removes(real)
        {
            return Some(manifest);
        }
        if entry.kind == EntryKind::Absent {
            return self.source_below(&entry.dest);
        }
        None
    }

    /// Returns true if other users could change the directory that `entry` makes. In a directory
    /// above the state, they could replace the state, whatever its own mode.
    fn gives_away(&self, entry: &Entry) -> bool {
        let EntryKind::Directory(directory) = &entry.kind else {
            return false;
        };
        let Ownership { uid, mode, .. } = directory.ownership;
        let open = uid != self.root.installer() || mode & 0o022 != 0 || directory.recursive;
        self.plan.lock != Protection::None && open
    }

    /// Returns the destination of the first entry whose source is below `path`.
    fn source_below(&self, path: &Path) -> Option<&Path> {
        let is_below = |entry: &&Entry| match &entry.kind {
            EntryKind::File(PlannedFile {
                origin: ContentOrigin::Source(source),
                ..
            }) => source.starts_with(path),
            _ => false,
        };
        let found = self.plan.entries.iter().find(is_below)?;
        Some(&found.dest)
    }
}

/// Returns `path` with the links in its existing part resolved.
pub(super) fn real_path(root: &Root, path: &Path) -> PathBuf {
    for above in path.ancestors() {
        if let (Ok(dir), Ok(rest)) = (root.dir(above), path.strip_prefix(above)) {
            return dir.path().join(rest);
        }
    }
    path.to_owned()
}
