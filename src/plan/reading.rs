//! Reads and hashes the sources of a declaration.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use crate::declaration::destination::{MAX_PATH, TEMPORARY_PREFIX};
use crate::declaration::{
    Declaration, DeclaredContent, DeclaredFile, DeclaredKind, DeclaredSource,
};
use crate::digest::FileDigest;
use crate::digest::pool::HashPool;
use crate::error::Error;
use crate::escape::escaped;
use crate::fs::progress::Progress;
use crate::fs::source::{self, SourceError};
use crate::plan::sources::{PathKey, SourceEntry, SourceTable};

/// Files up to this size in bytes are kept in memory between planning and installing. What is
/// installed is then exactly what was hashed, even if the source is swapped in between, as
/// Kubernetes does with `..data`.
const CACHED_BYTES: u64 = 64 * 1024;

/// The size in bytes of all cached files. The others are read again and checked against their hash.
const CACHED_TOTAL: usize = 2 * 1024 * 1024;

/// The sources that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SourceScope {
    All,
    /// Those beside the manifest. An absolute one is a path in the container, which is seen from
    /// outside and most often a mount.
    BesideManifest,
}

/// Small contents, as they were when they were hashed.
#[derive(Debug, Default)]
pub(crate) struct ContentCache {
    by_dest: BTreeMap<PathBuf, Vec<u8>>,
    total: usize,
}

impl ContentCache {
    pub(crate) fn get(&self, dest: &Path) -> Option<&[u8]> {
        self.by_dest.get(dest).map(Vec::as_slice)
    }

    fn read(&mut self, mut file: File, size: u64, dest: &Path) -> io::Result<FileDigest> {
        let bytes = source::read_to_end(&mut file, size, CACHED_BYTES)?;
        let content = FileDigest::of(&bytes);
        self.total += bytes.len();
        self.by_dest.insert(dest.to_owned(), bytes);
        Ok(content)
    }
}

/// Reads every source of `declaration` in `scope`, and returns every problem. A destination whose
/// source could not be read is not in the table.
pub(super) fn read(
    declaration: &Declaration,
    scope: SourceScope,
) -> (SourceTable, ContentCache, Vec<Error>) {
    let mut reading = Reading {
        scope,
        found: BTreeMap::new(),
        cache: ContentCache::default(),
        steps: Vec::new(),
        pool: HashPool::new(),
        progress: Progress::new("reading", "sources", None),
    };
    for entry in &declaration.entries {
        match &entry.kind {
            DeclaredKind::File(file) => reading.file(&entry.dest, file),
            DeclaredKind::Directory(_) => {
                reading.insert(&entry.dest, Some(SourceEntry::Directory));
            }
            DeclaredKind::Absent => reading.insert(&entry.dest, Some(SourceEntry::Absent)),
        }
    }
    // Last: what is found in a source directory must not collide with what is declared.
    for (entry, directory) in declaration.directories() {
        if let Some(source) = &directory.source {
            reading.directory(&entry.dest, source);
        }
    }
    let mut errors = reading.finish();
    // The declaration itself has been checked; the content of a source directory has not.
    if declaration
        .directories()
        .any(|(_, directory)| directory.source.is_some())
    {
        errors.extend(below_files(&reading.found));
    }
    let known = reading.found.into_iter();
    let table = known.filter_map(|(dest, entry)| entry.map(|entry| (dest, entry)));
    (SourceTable(table.collect()), reading.cache, errors)
}

/// An error for each destination below one that is not a directory.
fn below_files(found: &BTreeMap<PathKey, Option<SourceEntry>>) -> Vec<Error> {
    let files: HashSet<&Path> = found
        .iter()
        .filter(|(_, entry)| **entry != Some(SourceEntry::Directory))
        .map(|(dest, _)| dest.path())
        .collect();
    let below = found.keys().filter_map(|dest| {
        let mut ancestors = dest.path().ancestors().skip(1);
        let above = ancestors.find(|above| files.contains(above))?;
        Some(Error::BelowFile {
            dest: dest.path().to_owned(),
            above: above.to_owned(),
        })
    });
    below.collect()
}

/// Sources being read.
struct Reading<'a> {
    scope: SourceScope,
    /// `None` for a file whose content is not known, or not yet.
    found: BTreeMap<PathKey, Option<SourceEntry>>,
    cache: ContentCache,
    /// In the order in which sources were opened.
    steps: Vec<ReadStep<'a>>,
    pool: HashPool,
    progress: Progress,
}

/// A problem, or a source whose content is known when all sources have been opened.
enum ReadStep<'a> {
    Problem(Error),
    Hashing(Pending<'a>),
}

/// A source that is being hashed.
struct Pending<'a> {
    path: PathBuf,
    dest: PathBuf,
    wanted: Wanted<'a>,
}

/// The reason why a source is read.
#[derive(Clone, Copy)]
enum Wanted<'a> {
    /// A file declares it.
    Declared(&'a DeclaredFile),
    /// It is in a source directory.
    Found {
        /// Its destination is taken by another.
        collides: bool,
    },
}

impl<'a> Reading<'a> {
    /// Takes the hashes that were computed meanwhile, and returns the problems in their order.
    fn finish(&mut self) -> Vec<Error> {
        let mut contents = self.pool.finish().into_iter();
        let mut errors = Vec::new();
        for step in std::mem::take(&mut self.steps) {
            match step {
                ReadStep::Problem(error) => errors.push(error),
                ReadStep::Hashing(pending) => match contents.next() {
                    Some(content) => {
                        errors.extend(self.take(pending, content.map_err(SourceError::from)));
                    }
                    None => errors.push(Error::internal(
                        "a source was not hashed",
                        &escaped(&pending.path),
                    )),
                },
            }
        }
        errors
    }

    fn problem(&mut self, error: Error) {
        self.steps.push(ReadStep::Problem(error));
    }

    fn insert(&mut self, dest: &Path, entry: Option<SourceEntry>) {
        self.found.insert(PathKey::new(dest), entry);
    }

    fn file(&mut self, dest: &Path, file: &'a DeclaredFile) {
        match &file.content {
            DeclaredContent::Inline(text) => {
                let content = FileDigest::of(text.as_bytes());
                self.insert(dest, Some(entry(file, content)));
            }
            DeclaredContent::Source(source) => {
                self.insert(dest, None);
                if self.is_in_scope(source, dest) {
                    self.hash(Pending {
                        path: source.path.clone(),
                        dest: dest.to_owned(),
                        wanted: Wanted::Declared(file),
                    });
                }
            }
        }
    }

    /// Returns false, with a problem, for a source that is not read.
    fn is_in_scope(&mut self, source: &DeclaredSource, dest: &Path) -> bool {
        let in_scope = self.scope == SourceScope::All || !source.is_absolute;
        if !in_scope {
            self.problem(Error::SourceElsewhere {
                path: source.path.clone(),
                dest: dest.to_owned(),
            });
        }
        in_scope
    }

    /// Opens a source and hashes it now, or later if it is large.
    fn hash(&mut self, pending: Pending<'a>) {
        self.progress.step();
        let content = match source::open(&pending.path) {
            Ok((file, size)) if size <= CACHED_BYTES && self.cache.total < CACHED_TOTAL => self
                .cache
                .read(file, size, &pending.dest)
                .map_err(SourceError::from),
            Ok((file, size)) => match self.pool.hash(file, size) {
                Some(content) => content.map_err(SourceError::from),
                None => return self.steps.push(ReadStep::Hashing(pending)),
            },
            Err(error) => Err(error),
        };
        if let Some(error) = self.take(pending, content) {
            self.problem(error);
        }
    }

    /// Takes the content of a source, or returns why it cannot be used.
    fn take(
        &mut self,
        pending: Pending<'a>,
        content: Result<FileDigest, SourceError>,
    ) -> Option<Error> {
        let Pending { path, dest, wanted } = pending;
        match (content, wanted) {
            (Ok(_), Wanted::Found { collides: true }) => Some(Error::SourceCollides { path, dest }),
            (Ok(content), Wanted::Found { collides: false }) => {
                self.insert(&dest, Some(SourceEntry::File(content)));
                None
            }
            (Ok(content), Wanted::Declared(file)) => {
                self.insert(&dest, Some(entry(file, content)));
                let expected = file.sha256.filter(|expected| *expected != content.digest)?;
                let difference = (!file.secret).then_some((expected, content.digest));
                Some(Error::SourceHash { path, difference })
            }
            (Err(error), Wanted::Declared(file)) if file.optional && error.is_missing() => {
                let missing = if file.mutable {
                    SourceEntry::Mutable(None)
                } else {
                    SourceEntry::Absent
                };
                self.insert(&dest, Some(missing));
                None
            }
            (Err(source), _) => Some(Error::SourceRead { path, dest, source }),
        }
    }

    /// Reads everything below a source directory. Links are followed; names that begin with `..`
    /// are Kubernetes' own.
    fn directory(&mut self, dest: &Path, source: &DeclaredSource) {
        if !self.is_in_scope(source, dest) {
            return;
        }
        let root = &source.path;
        let walk = WalkDir::new(root).follow_links(true).sort_by_file_name();
        let is_visible = |entry: &DirEntry| {
            entry.depth() == 0 || !entry.file_name().as_bytes().starts_with(b"..")
        };
        for entry in walk.into_iter().filter_entry(is_visible) {
            match entry {
                Ok(entry) => self.found_in(root, dest, entry),
                Err(error) => {
                    let path = error.path().unwrap_or(root).to_owned();
                    let error = match error.loop_ancestor() {
                        Some(_) => io::Error::other(
                            "a symbolic link in it leads back to a directory above",
                        ),
                        None => error
                            .into_io_error()
                            .unwrap_or_else(|| io::Error::other("it cannot be walked")),
                    };
                    self.problem(Error::SourceRead {
                        path,
                        dest: dest.to_owned(),
                        source: error.into(),
                    });
                }
            }
        }
    }

    /// Takes one entry of the source directory `root`, which is copied to `dest`.
    fn found_in(&mut self, root: &Path, dest: &Path, entry: DirEntry) {
        let file_type = entry.file_type();
        if entry.depth() == 0 {
            if !file_type.is_dir() {
                self.problem(Error::SourceNotDirectory {
                    path: root.to_owned(),
                    kind: source::kind(file_type),
                });
            }
            return;
        }
        let is_temporary = entry
            .file_name()
            .as_bytes()
            .starts_with(TEMPORARY_PREFIX.as_bytes());
        let path = entry.into_path();
        let Ok(below) = path.strip_prefix(root) else {
            let error = Error::internal(
                "a source was found outside of its directory",
                &escaped(&path),
            );
            return self.problem(error);
        };
        let dest = dest.join(below);
        if is_temporary {
            return self.problem(Error::SourceName {
                path,
                prefix: TEMPORARY_PREFIX,
            });
        }
        if dest.as_os_str().len() > MAX_PATH {
            return self.problem(Error::DestinationTooLong {
                path,
                limit: MAX_PATH,
            });
        }
        let taken = self.found.get(dest.as_os_str().as_bytes()).copied();
        match (file_type.is_dir(), taken) {
            // A directory that is declared has the owner and mode given there.
            (true, Some(Some(SourceEntry::Directory))) => {}
            (true, Some(_)) => self.problem(Error::SourceCollides { path, dest }),
            (true, None) => self.insert(&dest, Some(SourceEntry::Directory)),
            (false, taken) => {
                let collides = taken.is_some();
                if !collides {
                    self.insert(&dest, None);
                }
                self.hash(Pending {
                    path,
                    dest,
                    wanted: Wanted::Found { collides },
                });
            }
        }
    }
}

fn entry(file: &DeclaredFile, content: FileDigest) -> SourceEntry {
    if file.mutable {
        SourceEntry::Mutable(Some(content))
    } else {
        SourceEntry::File(content)
    }
}
