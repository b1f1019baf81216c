//! Compares the observed state with a plan. It is pure: everything that it needs was read before.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use crate::digest::FileDigest;
use crate::drift::{ContentChange, Drift, Exclusion};
use crate::error::Error;
use crate::fs::metadata::{FileKind, Ownership};
use crate::plan::{Entry, EntryKind, Plan};
use crate::verify::observe::{Found, Observed, ObservedEntry};

/// The result of a comparison.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    /// In the order of the plan.
    pub(crate) drifts: Vec<Drift>,
    /// Entries that could not be read: neither drift nor its absence.
    pub(crate) unreadable: Vec<Error>,
}

/// Compares `observed`, which was read for `plan`, with the plan.
pub(crate) fn compare(plan: &Plan, observed: Observed) -> Comparison {
    let mut comparing = Comparing {
        installer: plan.installer,
        planned: plan.locked_directories(plan.installer),
        reported: BTreeSet::new(),
        comparison: Comparison::default(),
    };
    for (entry, observed) in plan.entries.iter().zip(observed.entries) {
        if let Some(observed) = observed {
            comparing.entry(entry, observed);
        }
    }
    comparing.comparison
}

impl Comparison {
    /// The differences by path, in byte order.
    pub(crate) fn by_path(&self) -> BTreeMap<&OsStr, Vec<&Drift>> {
        let mut by_path: BTreeMap<&OsStr, Vec<&Drift>> = BTreeMap::new();
        for drift in &self.drifts {
            if let Some(path) = drift.path() {
                by_path.entry(path.as_os_str()).or_default().push(drift);
            }
        }
        by_path
    }

    /// Returns all differences, unreadable entries last, since another drift is often the reason
    /// why they cannot be read.
    ///
    /// # Errors
    /// The entries that could not be read, if nothing differs in the others.
    pub(crate) fn complete(mut self) -> Result<Vec<Drift>, Vec<Error>> {
        if self.drifts.is_empty() && !self.unreadable.is_empty() {
            return Err(self.unreadable);
        }
        for error in self.unreadable {
            match error {
                Error::Measure { path, source } => self.drifts.push(Drift::Unreadable {
                    path,
                    why: source.to_string(),
                }),
                error => return Err(error.into()),
            }
        }
        Ok(self.drifts)
    }
}

struct Comparing<'a> {
    installer: u32,
    /// Directories that are entries themselves: their own comparison reports them.
    planned: BTreeSet<&'a Path>,
    /// Paths on the way to entries that are reported already.
    reported: BTreeSet<PathBuf>,
    comparison: Comparison,
}

impl Comparing<'_> {
    fn entry(&mut self, entry: &Entry, observed: ObservedEntry) {
        let dest = &entry.dest;
        let mut open = false;
        if let Some(parent) = observed.unsafe_parent {
            open = true;
            if !self.planned.contains(parent.path.as_path()) {
                self.push_once(Drift::UnsafeParent {
                    path: parent.path,
                    installer: self.installer,
                    uid: parent.uid,
                    mode: parent.mode,
                });
            }
        }
        self.found(entry, observed.found);
        if let Some(source) = observed.error
            // In a directory that was given to another user, only what that user may read can
            // be read. The directory itself is reported.
            && !(open && source.is(io::ErrorKind::PermissionDenied))
        {
            let path = dest.clone();
            self.comparison
                .unreadable
                .push(Error::Measure { path, source });
        }
    }

    fn found(&mut self, entry: &Entry, found: Found) {
        let path = entry.dest.clone();
        match (&entry.kind, found) {
            (_, Found::Unknown) | (EntryKind::Absent, Found::Nothing) => {}
            (_, Found::Blocked { path, found }) => self.push_once(Drift::Type {
                path,
                expected: FileKind::Directory,
                found,
            }),
            (EntryKind::File(file), Found::File { metadata, content }) => {
                self.ownership(&path, file.ownership, metadata.ownership);
                match file.known_content(&path) {
                    Ok(planned) => {
                        let change = content_change(planned, metadata.size, content);
                        let change = change.map(|change| {
                            if file.secret {
                                ContentChange::Secret
                            } else {
                                change
                            }
                        });
                        self.extend(change.map(|change| Drift::Content { path, change }));
                    }
                    Err(error) => self.comparison.unreadable.push(error),
                }
            }
            (EntryKind::Directory(directory), Found::Directory { metadata, extra }) => {
                self.ownership(&path, directory.ownership, metadata.ownership);
                self.extend(extra.into_iter().map(|(name, found)| Drift::Extra {
                    path: path.join(name),
                    found,
                    of: Exclusion::Exact,
                }));
            }
            (EntryKind::Absent, found) => self.extend(kind_of(&found).map(|found| Drift::Extra {
                path,
                found,
                of: Exclusion::Absent,
            })),
            (EntryKind::File(_), found) => self.other(entry, FileKind::File, &found),
            (EntryKind::Directory(_), found) => self.other(entry, FileKind::Directory, &found),
        }
    }

    /// Adds the difference of an entry that is missing or of another type than `expected`.
    fn other(&mut self, entry: &Entry, expected: FileKind, found: &Found) {
        let path = entry.dest.clone();
        self.extend([match kind_of(found) {
            Some(found) => Drift::Type {
                path,
                expected,
                found,
            },
            None => Drift::Missing { path, expected },
        }]);
    }

    fn ownership(&mut self, path: &Path, expected: Ownership, found: Ownership) {
        let path = || path.to_owned();
        if expected.uid != found.uid {
            self.extend([Drift::Owner {
                path: path(),
                expected: expected.uid,
                found: found.uid,
            }]);
        }
        if expected.gid != found.gid {
            self.extend([Drift::Group {
                path: path(),
                expected: expected.gid,
                found: found.gid,
            }]);
        }
        if expected.mode != found.mode {
            self.extend([Drift::Mode {
                path: path(),
                expected: expected.mode,
                found: found.mode,
            }]);
        }
    }

    fn extend(&mut self, drifts: impl IntoIterator<Item = Drift>) {
        self.comparison.drifts.extend(drifts);
    }

    /// Adds a difference that concerns several entries, once for its path.
    fn push_once(&mut self, drift: Drift) {
        if let Some(path) = drift.path()
            && self.reported.insert(path.to_owned())
        {
            self.comparison.drifts.push(drift);
        }
    }
}

/// The difference between the planned content and a file of `size` bytes. A file of another size
/// was not read and has no `content`.
fn content_change(
    planned: FileDigest,
    size: u64,
    content: Option<FileDigest>,
) -> Option<ContentChange> {
    Some(if size == planned.size {
        let found = content.filter(|found| *found != planned)?;
        ContentChange::Hash {
            expected: planned.digest,
            found: found.digest,
        }
    } else {
        ContentChange::Size {
            digest: planned.digest,
            expected: planned.size,
            found: size,
        }
    })
}

/// Returns the type of a found entry, or `None` if there is none.
fn kind_of(found: &Found) -> Option<FileKind> {
    match found {
        Found::Unknown | Found::Nothing | Found::Blocked { .. } => None,
        Found::File { .. } => Some(FileKind::File),
        Found::Directory { .. } => Some(FileKind::Directory),
        Found::Other(kind) => Some(*kind),
    }
}

#[cfg(test)]
mod tests;
