//! Puts a plan on disk: every file whole or not at all, never more readable than it will be, and nothing outside the destinations.
//!
//! Never decides what is installed; that is the [plan](crate::plan)'s. What it finds changed since then, it refuses.

pub(crate) mod proof;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{self, Seek};
use std::path::{Path, PathBuf};

use crate::digest::{Buffer, FileDigest, Hasher};
use crate::error::Error;
use crate::fs::dir::Dir;
use crate::fs::error::FsError;
use crate::fs::file::write_all;
use crate::fs::metadata::{FileKind, Metadata, Ownership};
use crate::fs::root::Root;
use crate::fs::source;
use crate::install::proof::Installed;
use crate::plan::sources::ContentCache;
use crate::plan::{
    Entry, EntryKind, Origin, Plan, PlannedDirectory, PlannedFile, Protection, temporary_name,
};

/// Installs all of `plan`; small contents come from `held`.
///
/// # Errors
/// The first act that failed. What was installed until then stays; the next start installs it again.
pub(crate) fn install<'p>(
    tree: &Root,
    plan: &'p Plan,
    held: &ContentCache,
) -> Result<Installed<'p>, Error> {
    let kept = Installing::of(tree, plan, held, |_| true).run()?;
    Ok(Installed::new(plan, kept))
}

/// Installs again what is at `paths`, removing what stands in its place.
///
/// # Errors
/// As [`install`].
pub(crate) fn reinstall(tree: &Root, plan: &Plan, paths: &BTreeSet<&Path>) -> Result<(), Error> {
    let held = ContentCache::default();
    // A directory above may have to be opened for us to write in it, or hold the extra name.
    let related = |entry: &Entry| {
        let is_directory = matches!(entry.kind, EntryKind::Directory(_));
        entry.is_verified()
            && (paths.contains(entry.dest.as_path())
                || (is_directory && paths.iter().any(|path| path.starts_with(&entry.dest))))
    };
    let mut installing = Installing::of(tree, plan, &held, related);
    installing.replace = true;
    installing.run().map(drop)
}

struct Installing<'a> {
    tree: &'a Root,
    held: &'a ContentCache,
    entries: Vec<&'a Entry>,
    /// Whether directories on the way must be closed to others.
    locked: bool,
    /// Whether a directory in the place of a file is removed, and the other way round.
    replace: bool,
    /// Directories in which a name changed, or whose attributes did.
    touched: BTreeSet<&'a Path>,
    kept: BTreeSet<PathBuf>,
}

impl<'a> Installing<'a> {
    fn of(
        tree: &'a Root,
        plan: &'a Plan,
        held: &'a ContentCache,
        which: impl Fn(&Entry) -> bool,
    ) -> Self {
        let entries = plan.entries.iter().filter(|entry| which(entry)).collect();
        Self {
            tree,
            held,
            entries,
            locked: plan.lock != Protection::None,
            replace: false,
            touched: BTreeSet::new(),
            kept: BTreeSet::new(),
        }
    }

    fn run(mut self) -> Result<BTreeSet<PathBuf>, Error> {
        // Directories are closed only after they were filled: the owner of one with mode 0550 cannot write in it
        // without CAP_DAC_OVERRIDE.
        self.each_directory(Self::open)?;
        for entry in self.entries.clone() {
            let failed = |source| Error::Install {
                path: entry.dest.clone(),
                source,
            };
            match &entry.kind {
                EntryKind::File(file) => self.file(entry, file)?,
                EntryKind::Absent => self.remove(&entry.dest).map_err(failed)?,
                EntryKind::Directory(_) => {}
            }
        }
        // While we may still open all of them.
        self.sync()?;
        self.entries.reverse();
        self.each_directory(Self::close)?;
        Ok(self.kept)
    }

    fn each_directory(
        &mut self,
        act: impl Fn(&mut Self, &'a Path, &PlannedDirectory) -> Result<(), FsError>,
    ) -> Result<(), Error> {
        for entry in self.entries.clone() {
            if let EntryKind::Directory(directory) = &entry.kind {
                act(self, &entry.dest, directory).map_err(|source| Error::Install {
                    path: entry.dest.clone(),
                    source,
                })?;
            }
        }
        // What was known of their owners and modes is no longer true.
        self.tree.forget();
        Ok(())
    }

    /// Makes a directory, or opens an existing one that will be ours so that we, and nobody else, can write in it.
    fn open(&mut self, dest: &'a Path, directory: &PlannedDirectory) -> Result<(), FsError> {
        self.tree.make_parents(dest)?;
        let (parent, name) = self.tree.parent(dest)?;
        let found = parent.look(name)?;
        if self.replace && found.is_some_and(|found| found.kind != FileKind::Directory) {
            parent.remove_all(name)?;
        }
        if found.is_none_or(|found| self.replace && found.kind != FileKind::Directory) {
            // Closed to all others until it has its owner and mode.
            return self.tree.make_dir(dest, 0o700);
        }
        let me = self.tree.installer();
        let dir = self.tree.dir(dest)?;
        let found = dir.metadata().ownership;
        // Somebody else's is left to them, unless not even they can write in it.
        if directory.ownership.uid == me || found.mode & 0o300 != 0o300 {
            dir.set_ownership(Ownership {
                uid: me,
                mode: (found.mode & 0o755) | 0o700,
                ..found
            })?;
            self.tree.forget();
        }
        Ok(())
    }

    /// Removes extra names and gives a directory, and what is below if asked, its owner and mode.
    fn close(&mut self, dest: &'a Path, directory: &PlannedDirectory) -> Result<(), FsError> {
        let dir = self.tree.dir(dest)?;
        if let Some(names) = &directory.exact
            && dir.remove_except(names)?
        {
            dir.sync()?;
        }
        let wanted = directory.ownership;
        if directory.recursive {
            dir.give_below(wanted.uid, wanted.gid)?;
            // No file of these was opened, so none was synced; and nothing would be given again
            // after a power cut.
            dir.sync_file_system()?;
        }
        dir.set_ownership(wanted)
    }

    fn file(&mut self, entry: &'a Entry, file: &PlannedFile) -> Result<(), Error> {
        let dest = &entry.dest;
        let failed = |source| Error::Install {
            path: dest.clone(),
            source,
        };
        self.tree.make_parents(dest).map_err(failed)?;
        let (dir, name) = self.tree.parent(dest).map_err(failed)?;
        if self.locked
            && entry.locked
            && let Some(source) = dir.unsafe_ancestor(self.tree.installer(), |_| false)
        {
            return Err(failed(source));
        }
        let found = dir.look(name).map_err(failed)?;
        // It belongs to its owner already, so an earlier container's service had it: on a volume that is data, not configuration.
        let is_data = |found: Metadata| {
            file.mutable
                && found.kind == FileKind::File
                && found.ownership.uid == file.ownership.uid
                && file.ownership.uid != self.tree.installer()
        };
        if found.is_some_and(is_data) {
            self.kept.insert(dest.clone());
            return Ok(());
        }
        if found.is_some_and(|found| found.kind == FileKind::Directory) {
            if !self.replace {
                return Err(Error::DirectoryInPlace { path: dest.clone() });
            }
            dir.remove_all(name).map_err(failed)?;
            self.tree.forget();
        }
        self.touch_parent(dest);
        place(&dir, name, dest, file, self.held)
    }

    fn remove(&mut self, dest: &'a Path) -> Result<(), FsError> {
        match self.tree.parent(dest) {
            Err(FsError::Missing { .. }) => Ok(()),
            Err(error) => Err(error),
            Ok((dir, name)) => {
                if dir.look(name)?.is_some() {
                    self.touch_parent(dest);
                    dir.remove_all(name)?;
                    self.tree.forget();
                }
                Ok(())
            }
        }
    }

    fn touch_parent(&mut self, dest: &'a Path) {
        self.touched.extend(dest.parent());
    }

    /// A name is safe from a power cut only when its directory is on disk, and a seal must never outlive what it seals.
    fn sync(&self) -> Result<(), Error> {
        for path in &self.touched {
            let synced = self.tree.dir(path).and_then(|dir| dir.sync());
            synced.map_err(|source| Error::Install {
                path: path.to_path_buf(),
                source,
            })?;
        }
        Ok(())
    }
}

/// Installs one file, copying no content but the planned one.
fn place(
    dir: &Dir,
    name: &OsStr,
    dest: &Path,
    file: &PlannedFile,
    held: &ContentCache,
) -> Result<(), Error> {
    // What the closure cannot say in its own error type.
    let mut stopped = None;
    let installed = dir.install_file(name, &temporary_name(dest), file.ownership, |temporary| {
        let path = &file.origin;
        match (held.get(dest), path) {
            (Some(bytes), _) => write_all(temporary, dest, bytes),
            (None, Origin::Manifest(text)) => write_all(temporary, dest, text.as_bytes()),
            (None, Origin::Source(path)) => {
                let copied = copy(path, temporary, dest, file.content);
                copied.map_err(|error| match error {
                    CopyError::Write(error) => error,
                    CopyError::Source(error) => {
                        stopped = Some(error);
                        FsError::Missing { path: path.clone() }
                    }
                })
            }
        }?;
        // Under its final name the next start would take it for the service's own, whole or torn.
        if file.mutable {
            reread(temporary, dest, file.content)
        } else {
            Ok(())
        }
    });
    installed.map_err(|source| {
        stopped.unwrap_or(Error::Install {
            path: dest.to_owned(),
            source,
        })
    })
}

/// Compares what the disk says with what was written, while nobody sees it yet.
fn reread(file: &mut std::fs::File, path: &Path, expected: FileDigest) -> Result<(), FsError> {
    let failed = |source| FsError::Io {
        act: "cannot read back",
        path: path.to_owned(),
        source,
    };
    file.rewind().map_err(failed)?;
    let found = FileDigest::of_reader(file, &mut Buffer::new()).map_err(failed)?;
    if found == expected {
        Ok(())
    } else {
        Err(failed(io::Error::other("the disk holds something else")))
    }
}

/// Why a copy failed: for what is read or for what is written.
enum CopyError {
    Source(Error),
    Write(FsError),
}

/// Copies a source too large to be held in memory, and checks that it still is what was planned.
fn copy(
    from: &Path,
    to: &mut std::fs::File,
    dest: &Path,
    expected: FileDigest,
) -> Result<(), CopyError> {
    let unreadable = |source| {
        CopyError::Source(Error::SourceRead {
            path: from.to_owned(),
            dest: dest.to_owned(),
            source,
        })
    };
    let (mut source, _) = source::open(from).map_err(unreadable)?;
    let mut hasher = Hasher::default();
    let mut buffer = Buffer::new();
    loop {
        match buffer
            .fill(&mut source)
            .map_err(|error| unreadable(error.into()))?
        {
            [] => break,
            bytes => {
                hasher.update(bytes);
                write_all(to, dest, bytes).map_err(CopyError::Write)?;
            }
        }
    }
    if hasher.finish() == expected {
        Ok(())
    } else {
        Err(CopyError::Source(Error::SourceChanged {
            path: from.to_owned(),
            dest: dest.to_owned(),
        }))
    }
}
