//! Looks for entries that would replace, remove or give away sealinit's own files.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::fs::metadata::Ownership;
use crate::fs::root::Root;
use crate::plan::{Entry, EntryKind, Origin, Plan, PlannedFile, Protection};
use crate::preflight::destinations::removes;

/// Where `path` really is: links in what exists of it resolved, the rest as it stands.
fn real_path(root: &Root, path: &Path) -> PathBuf {
    let existing = path
        .ancestors()
        .find_map(|above| Some((above, root.dir(above).ok()?)));
    match existing {
        Some((above, dir)) => dir
            .path()
            .join(path.strip_prefix(above).unwrap_or(Path::new(""))),
        None => path.to_owned(),
    }
}

/// Entries that would replace, remove or give away what sealinit itself lives by: its state, the manifest, the sources.
pub(super) fn own_paths(
    root: &Root,
    plan: &Plan,
    state_dir: &Path,
    manifest: Option<&Path>,
) -> Vec<Error> {
    let own_state = real_path(root, state_dir);
    let own_manifest = manifest.map(|manifest| (manifest, real_path(root, manifest)));
    let mut errors = Vec::new();
    for entry in &plan.entries {
        let dest = real_path(root, &entry.dest);
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
                let open = uid != root.installer() || mode & 0o022 != 0 || directory.recursive;
                plan.lock != Protection::None && open && own_state.starts_with(&dest)
            }
            _ => false,
        };
        let source = |other: &&Entry| match &other.kind {
            EntryKind::File(PlannedFile {
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
