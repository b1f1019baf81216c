//! Carries out the steps of an installation, in their order.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::escape::escaped;
use crate::fs::barrier::Barrier;
use crate::fs::dir::{Dir, sync_file};
use crate::fs::error::FsError;
use crate::fs::metadata::{FileKind, Metadata, Ownership};
use crate::fs::progress::Progress;
use crate::fs::root::Root;
use crate::install::files::{FileInstaller, Target};
use crate::plan::reading::ContentCache;
use crate::plan::{Entry, EntryKind, Plan, PlannedDirectory, PlannedFile, Protection};

/// Entries of a plan on their way to disk.
pub(super) struct Application<'a> {
    root: &'a Root,
    entries: Vec<&'a Entry>,
    /// True if directories on the way must be closed to other users.
    locked: bool,
    /// True if a directory in the place of a file is removed, and a file in the place of a
    /// directory.
    replace: bool,
    files: FileInstaller<'a>,
    barrier: Barrier,
    progress: Progress,
    /// Directories with changed names that [`Barrier`] does not cover.
    touched: BTreeSet<&'a Path>,
    /// Files whose write errors [`Barrier`] does not report.
    silent: Vec<&'a Path>,
    kept: BTreeSet<PathBuf>,
    /// Recursive directories below which everything has its owner already.
    settled: Option<&'a BTreeSet<PathBuf>>,
}

impl<'a> Application<'a> {
    /// Prepares the entries of `plan` for which `is_wanted` returns true.
    pub(super) fn new(
        root: &'a Root,
        plan: &'a Plan,
        cache: &'a ContentCache,
        is_wanted: impl Fn(&Entry) -> bool,
    ) -> Self {
        let wanted = plan.entries.iter().filter(|entry| is_wanted(entry));
        let entries: Vec<_> = wanted.collect();
        Self {
            root,
            locked: plan.lock != Protection::None,
            replace: false,
            files: FileInstaller::new(cache),
            barrier: Barrier::new(entries.len()),
            progress: Progress::new("installing", "entries", Some(entries.len())),
            entries,
            touched: BTreeSet::new(),
            silent: Vec::new(),
            kept: BTreeSet::new(),
            settled: None,
        }
    }

    /// Also removes a directory in the place of a file, and a file in the place of a directory.
    pub(super) fn replacing(mut self) -> Self {
        self.replace = true;
        self
    }

    /// Does not look below the recursive directories that are `settled`.
    pub(super) fn settled(mut self, settled: &'a BTreeSet<PathBuf>) -> Self {
        self.settled = Some(settled);
        self
    }

    /// Installs the entries. Returns the mutable files that were kept.
    pub(super) fn run(mut self) -> Result<BTreeSet<PathBuf>, Error> {
        // Directories are closed only after they were filled: the owner of one with mode 0550
        // cannot write in it without CAP_DAC_OVERRIDE.
        self.each_directory(Self::open)?;
        let filled = self.fill();
        // On an error too: temporary files are removed.
        let finished = self.files.finish();
        filled.and(finished)?;
        // Before directories are closed.
        self.sync_touched()?;
        self.entries.reverse();
        self.each_directory(Self::close)?;
        self.pass_barrier()?;
        Ok(self.kept)
    }

    fn fill(&mut self) -> Result<(), Error> {
        for entry in self.entries.clone() {
            match &entry.kind {
                EntryKind::File(file) => self.file(entry, file)?,
                EntryKind::Absent => self.remove(&entry.dest).map_err(failed(&entry.dest))?,
                EntryKind::Directory(_) => {}
            }
            self.progress.step();
        }
        Ok(())
    }

    fn each_directory(
        &mut self,
        act: impl Fn(&mut Self, &'a Path, &PlannedDirectory) -> Result<(), FsError>,
    ) -> Result<(), Error> {
        for entry in self.entries.clone() {
            if let EntryKind::Directory(directory) = &entry.kind {
                act(self, &entry.dest, directory).map_err(failed(&entry.dest))?;
                self.progress.tick();
            }
        }
        // Their owners and modes have changed.
        self.root.forget();
        Ok(())
    }

    /// Makes a directory, or opens an existing one so that the installer, and no other user, can
    /// write in it.
    fn open(&mut self, dest: &'a Path, directory: &PlannedDirectory) -> Result<(), FsError> {
        self.root.make_parents(dest, &mut self.barrier)?;
        let (parent, name) = self.root.parent(dest)?;
        self.barrier.covers(&parent)?;
        let found = parent.look(name)?;
        if self.replace && found.is_some_and(|found| found.kind != FileKind::Directory) {
            tracing::debug!(path = %escaped(dest), "remove");
            parent.remove_all(name)?;
        }
        if found.is_none_or(|found| self.replace && found.kind != FileKind::Directory) {
            // Closed to all others until it has its owner and mode.
            return self.root.make_dir(dest, 0o700, &mut self.barrier);
        }
        let me = self.root.installer();
        let dir = self.root.dir(dest)?;
        let found = dir.metadata().ownership;
        // A directory of another user is opened only if that user cannot write in it either.
        if directory.ownership.uid == me || found.mode & 0o300 != 0o300 {
            let opened = Ownership {
                uid: me,
                mode: (found.mode & 0o755) | 0o700,
                ..found
            };
            self.barrier.give(&dir, opened)?;
            self.root.forget();
        }
        Ok(())
    }

    /// Removes extra names and gives a directory, and everything below it if the plan says so, its
    /// owner and mode.
    fn close(&mut self, dest: &'a Path, directory: &PlannedDirectory) -> Result<(), FsError> {
        let dir = self.root.dir(dest)?;
        if let Some(names) = &directory.exact {
            let covered = self.barrier.covers(&dir)?;
            if dir.remove_except(names)? && !covered {
                dir.sync()?;
            }
        }
        let wanted = directory.ownership;
        if directory.recursive {
            // In any case: an earlier attempt may have changed what is not on disk yet.
            self.barrier.include(&dir)?;
            if !self.settled.is_some_and(|settled| settled.contains(dest)) {
                let mut progress = Progress::new("changing owners", "files", None);
                dir.give_below(wanted.uid, wanted.gid, &mut progress)?;
            }
        }
        if self.barrier.give(&dir, wanted)? {
            let Ownership { uid, gid, mode } = wanted;
            let mode = format_args!("{mode:04o}");
            tracing::debug!(path = %escaped(dest), uid, gid, mode, "set owner and mode");
        }
        Ok(())
    }

    fn file(&mut self, entry: &'a Entry, file: &'a PlannedFile) -> Result<(), Error> {
        let dest = entry.dest.as_path();
        self.root
            .make_parents(dest, &mut self.barrier)
            .map_err(failed(dest))?;
        let (dir, name) = self.root.parent(dest).map_err(failed(dest))?;
        if self.locked
            && entry.locked
            && let Some(source) = dir.unsafe_ancestor(self.root.installer(), |_| false)
        {
            return Err(failed(dest)(source));
        }
        let found = dir.look(name).map_err(failed(dest))?;
        // It belongs to its owner already: the service of an earlier container had it, and on a
        // volume that is data, not configuration.
        let is_data = |found: Metadata| {
            file.mutable
                && found.kind == FileKind::File
                && found.ownership.uid == file.ownership.uid
                && file.ownership.uid != self.root.installer()
        };
        if found.is_some_and(is_data) {
            tracing::debug!(path = %escaped(dest), "keep the service's file");
            self.kept.insert(dest.to_owned());
            return Ok(());
        }
        let covered = self.changes_names(&dir, dest).map_err(failed(dest))?;
        if found.is_some_and(|found| found.kind == FileKind::Directory) {
            if !self.replace {
                return Err(Error::DirectoryInPlace {
                    path: dest.to_owned(),
                });
            }
            dir.remove_all(name).map_err(failed(dest))?;
            self.root.forget();
        }
        if self.barrier.is_silent(&dir) {
            self.silent.push(dest);
        }
        if found.is_some() {
            tracing::debug!(path = %escaped(dest), "replace");
        } else {
            tracing::debug!(path = %escaped(dest), "create");
        }
        self.files.install(Target {
            dir,
            name,
            dest,
            file,
            // Under its final name the next start would take a mutable file for the service's own,
            // whole or torn: it is on disk before it gets that name.
            sync: !covered || file.mutable,
        })
    }

    fn remove(&mut self, dest: &'a Path) -> Result<(), FsError> {
        let (dir, name) = match self.root.parent(dest) {
            Err(FsError::Missing { .. }) => return Ok(()),
            found => found?,
        };
        if dir.look(name)?.is_some() {
            self.changes_names(&dir, dest)?;
            tracing::debug!(path = %escaped(dest), "remove");
            dir.remove_all(name)?;
            self.root.forget();
        }
        Ok(())
    }

    /// Records a change of the name `dest` in `dir`, to be synced. Returns true if the barrier
    /// covers it.
    fn changes_names(&mut self, dir: &Dir, dest: &'a Path) -> Result<bool, FsError> {
        let covered = self.barrier.covers(dir)?;
        if !covered {
            self.touched.extend(dest.parent());
        }
        Ok(covered)
    }

    /// Syncs names that the barrier does not cover.
    fn sync_touched(&self) -> Result<(), Error> {
        for path in &self.touched {
            let synced = self.root.dir(path).and_then(|dir| dir.sync());
            synced.map_err(failed(path))?;
        }
        Ok(())
    }

    /// Waits until everything is on disk.
    fn pass_barrier(&mut self) -> Result<(), Error> {
        self.progress.turn_to("syncing");
        let passed = self.barrier.pass(&mut self.progress);
        passed.map_err(failed(Path::new("/")))?;
        for dest in &self.silent {
            self.sync_again(dest).map_err(failed(dest))?;
            self.progress.step();
        }
        Ok(())
    }

    /// Syncs a written file again, which reports an error of its write-back.
    fn sync_again(&self, dest: &Path) -> Result<(), FsError> {
        let (dir, name) = self.root.parent(dest)?;
        match dir.open_file(name)? {
            Some((file, _)) => sync_file(&file, dest),
            None => Err(FsError::Missing {
                path: dest.to_owned(),
            }),
        }
    }
}

fn failed(dest: &Path) -> impl FnOnce(FsError) -> Error {
    let path = dest.to_owned();
    move |source| Error::Install { path, source }
}
