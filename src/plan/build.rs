//! Plans the entries: the contents of the sources, with the declared owners and modes.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::accounts::Identities;
use crate::declaration::{
    Account, Declaration, DeclaredContent, DeclaredDirectory, DeclaredEntry, DeclaredFile,
    DeclaredKind, Place, Placed,
};
use crate::digest::FileDigest;
use crate::error::Error;
use crate::escape::escaped;
use crate::fs::metadata::Ownership;
use crate::plan::entry::{ContentOrigin, Entry, EntryKind, PlannedDirectory, PlannedFile};
use crate::plan::locking::Locking;
use crate::plan::sources::{SourceEntry, SourceTable};

const DEFAULT_FILE_MODE: u32 = 0o440;
const DEFAULT_COPIED_DIRECTORY_MODE: u32 = 0o550;
const DEFAULT_OWN_DIRECTORY_MODE: u32 = 0o750;

/// Plans every destination of `declaration` and `sources`, in byte order, and returns every
/// problem.
pub(super) fn entries(
    declaration: &Declaration,
    sources: &SourceTable,
    identities: &Identities,
) -> (Vec<Entry>, Vec<Error>) {
    let mut builder = Builder::new(declaration, identities);
    let mut entries = Vec::with_capacity(sources.0.len());
    for (dest, source) in &sources.0 {
        entries.extend(builder.entry(dest.path(), Some(source)));
    }
    let unread = |entry: &&DeclaredEntry| sources.get(&entry.dest).is_none();
    for entry in declaration.entries.iter().filter(unread) {
        entries.extend(builder.entry(&entry.dest, None));
    }
    entries.sort_by(|a, b| {
        a.dest
            .as_os_str()
            .as_bytes()
            .cmp(b.dest.as_os_str().as_bytes())
    });
    builder.exact.fill(&mut entries);
    (entries, builder.errors)
}

/// A declared directory and its entry.
type DirectoryEntry<'a> = (&'a DeclaredEntry, &'a DeclaredDirectory);

/// Entries being planned, and the problems.
struct Builder<'a> {
    declaration: &'a Declaration,
    identities: &'a Identities,
    /// By the bytes of the destination: a [`Path`] is hashed component by component.
    declared: HashMap<&'a OsStr, &'a DeclaredEntry>,
    has_directories: bool,
    locking: Locking<'a>,
    exact: ExactNames,
    errors: Vec<Error>,
}

impl<'a> Builder<'a> {
    fn new(declaration: &'a Declaration, identities: &'a Identities) -> Self {
        let declared = declaration.entries.iter();
        Self {
            declaration,
            identities,
            declared: declared
                .map(|entry| (entry.dest.as_os_str(), entry))
                .collect(),
            has_directories: declaration.directories().next().is_some(),
            locking: Locking::new(identities),
            exact: ExactNames {
                is_used: declaration
                    .directories()
                    .any(|(_, directory)| directory.exact),
                by_directory: HashMap::new(),
            },
            errors: Vec::new(),
        }
    }

    fn directory_at(&self, dest: &Path) -> Option<DirectoryEntry<'a>> {
        let entry = self.declared.get(dest.as_os_str())?;
        match &entry.kind {
            DeclaredKind::Directory(directory) => Some((entry, directory)),
            DeclaredKind::File(_) | DeclaredKind::Absent => None,
        }
    }

    /// Plans one destination; `source` is `None` if its source could not be read.
    fn entry(&mut self, dest: &Path, source: Option<&SourceEntry>) -> Option<Entry> {
        // The declared directories above, from the nearest to the top.
        let above: Vec<DirectoryEntry<'a>> = if self.has_directories {
            let ancestors = dest.ancestors().skip(1);
            ancestors
                .filter_map(|path| self.directory_at(path))
                .collect()
        } else {
            Vec::new()
        };
        // The directory that is copied to here.
        let copied = self
            .directory_at(dest)
            .into_iter()
            .chain(above.iter().copied())
            .find(|(_, directory)| directory.source.is_some());
        let (kind, place) = match self.kind(dest, source, copied) {
            Ok(planned) => planned?,
            Err(error) => {
                self.errors.push(error);
                return None;
            }
        };
        let locked = match &kind {
            EntryKind::File(file) => !file.mutable,
            EntryKind::Absent => true,
            // A directory without a source may be the service's, to write in.
            EntryKind::Directory(directory) => {
                copied.is_some() || !self.locking.opens(directory.ownership)
            }
        };
        if locked {
            self.check_locked(dest, &kind, place, &above);
        }
        if self.exact.is_used && kind != EntryKind::Absent {
            self.note_names(dest, copied);
        }
        Some(Entry {
            dest: dest.to_owned(),
            kind,
            locked,
        })
    }

    /// Returns the planned state of `dest` and the place that declares it, or `None` for a mutable
    /// file without its optional source.
    fn kind(
        &self,
        dest: &Path,
        source: Option<&SourceEntry>,
        copied: Option<DirectoryEntry<'_>>,
    ) -> Result<Option<(EntryKind, Place)>, Error> {
        let declared = self.declared.get(dest.as_os_str());
        let (kind, place) = match (declared.map(|entry| (&entry.kind, entry.place)), source) {
            (
                Some((DeclaredKind::File(file), place)),
                Some(SourceEntry::File(content) | SourceEntry::Mutable(Some(content))),
            ) => (self.declared_file(file, Some(*content))?, place),
            (Some((DeclaredKind::File(file), place)), None) => {
                (self.declared_file(file, None)?, place)
            }
            (Some((DeclaredKind::File(_), _)), Some(SourceEntry::Mutable(None))) => {
                return Ok(None);
            }
            (
                Some((DeclaredKind::File(_) | DeclaredKind::Absent, place)),
                Some(SourceEntry::Absent),
            ) => (EntryKind::Absent, place),
            (Some((DeclaredKind::Directory(directory), place)), Some(SourceEntry::Directory)) => {
                (self.directory(directory)?, place)
            }
            (None, Some(source)) => match (source, copied) {
                (SourceEntry::File(content), Some((entry, directory))) => {
                    let copy = self.copied_file(dest, *content, entry, directory)?;
                    (copy, entry.place)
                }
                (SourceEntry::Directory, Some((entry, directory))) => {
                    (self.directory(directory)?, entry.place)
                }
                _ => return Err(contradiction(dest)),
            },
            _ => return Err(contradiction(dest)),
        };
        Ok(Some((kind, place)))
    }

    fn declared_file(
        &self,
        file: &DeclaredFile,
        content: Option<FileDigest>,
    ) -> Result<EntryKind, Error> {
        let origin = match &file.content {
            DeclaredContent::Source(source) => ContentOrigin::Source(source.path.clone()),
            DeclaredContent::Inline(text) => ContentOrigin::Inline(text.clone()),
        };
        Ok(EntryKind::File(PlannedFile {
            content,
            origin,
            ownership: Ownership {
                uid: self.uid(file.owner.as_ref(), self.identities.installer)?,
                gid: self.gid(file.group.as_ref())?,
                mode: file.mode.unwrap_or(DEFAULT_FILE_MODE),
            },
            secret: file.secret,
            mutable: file.mutable,
        }))
    }

    /// A file found in the source of `directory`.
    fn copied_file(
        &self,
        dest: &Path,
        content: FileDigest,
        entry: &DeclaredEntry,
        directory: &DeclaredDirectory,
    ) -> Result<EntryKind, Error> {
        let (Some(source), Ok(below)) = (&directory.source, dest.strip_prefix(&entry.dest)) else {
            return Err(contradiction(dest));
        };
        Ok(EntryKind::File(PlannedFile {
            content: Some(content),
            origin: ContentOrigin::Source(source.path.join(below)),
            ownership: Ownership {
                mode: directory.file_mode.unwrap_or(DEFAULT_FILE_MODE),
                ..self.directory_ownership(directory)?
            },
            secret: false,
            mutable: false,
        }))
    }

    fn directory(&self, declared: &DeclaredDirectory) -> Result<EntryKind, Error> {
        Ok(EntryKind::Directory(PlannedDirectory {
            ownership: self.directory_ownership(declared)?,
            exact: declared.exact.then(BTreeSet::new),
            recursive: declared.recursive,
        }))
    }

    fn directory_ownership(&self, directory: &DeclaredDirectory) -> Result<Ownership, Error> {
        let (owner, mode) = if directory.source.is_some() {
            (self.identities.installer, DEFAULT_COPIED_DIRECTORY_MODE)
        } else {
            (self.identities.service.uid, DEFAULT_OWN_DIRECTORY_MODE)
        };
        Ok(Ownership {
            uid: self.uid(directory.owner.as_ref(), owner)?,
            gid: self.gid(directory.group.as_ref())?,
            mode: directory.mode.unwrap_or(mode),
        })
    }

    // An owner that was reported as unknown has the id of an entry without one here: the plan is
    // refused, and everything else that is wrong with the entry can still be found.

    fn uid(&self, owner: Option<&Placed<Account>>, without: u32) -> Result<u32, Error> {
        let Some(owner) = owner else {
            return Ok(without);
        };
        Ok(self.identities.uid(&owner.value)?.unwrap_or(without))
    }

    fn gid(&self, group: Option<&Placed<Account>>) -> Result<u32, Error> {
        let without = self.identities.service.gid;
        let Some(group) = group else {
            return Ok(without);
        };
        Ok(self.identities.gid(&group.value)?.unwrap_or(without))
    }

    /// Checks that the service can change neither a locked entry nor a directory above it.
    fn check_locked(
        &mut self,
        dest: &Path,
        kind: &EntryKind,
        place: Place,
        above: &[DirectoryEntry<'_>],
    ) {
        let own = kind
            .ownership()
            .and_then(|ownership| self.locking.defect(dest, ownership));
        let mut messages: Vec<String> = own.into_iter().collect();
        for (entry, directory) in above {
            // An error is reported for the directory itself.
            if let Ok(ownership) = self.directory_ownership(directory) {
                messages.extend(self.locking.defect_above(
                    dest,
                    entry,
                    ownership,
                    directory.recursive,
                ));
            }
        }
        let origin = &self.declaration.origin;
        let errors = messages.into_iter();
        self.errors
            .extend(errors.map(|message| origin.error(place, message)));
    }

    /// Notes `dest`, and every directory on the way, in the exact directories that they are in.
    fn note_names(&mut self, dest: &Path, copied: Option<DirectoryEntry<'_>>) {
        for path in dest.ancestors() {
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
                return;
            };
            let is_exact = self
                .directory_at(parent)
                .is_some_and(|(_, directory)| directory.exact)
                || copied.is_some_and(|(entry, directory)| {
                    directory.exact && parent.starts_with(&entry.dest)
                });
            if is_exact {
                self.exact
                    .by_directory
                    .entry(parent.to_owned())
                    .or_default()
                    .insert(name.to_owned());
            }
        }
    }
}

/// An error for a destination that the declaration and the sources disagree about. For a seal, its
/// reader checks that they agree.
fn contradiction(dest: &Path) -> Error {
    Error::internal(
        "the sources are not those of the declaration",
        &escaped(dest),
    )
}

/// The planned names in each exact directory.
struct ExactNames {
    is_used: bool,
    by_directory: HashMap<PathBuf, BTreeSet<OsString>>,
}

impl ExactNames {
    /// Gives each exact directory its names; one without keeps none.
    fn fill(mut self, entries: &mut [Entry]) {
        for entry in entries {
            if let EntryKind::Directory(directory) = &mut entry.kind
                && let Some(names) = &mut directory.exact
                && let Some(found) = self.by_directory.remove(&entry.dest)
            {
                *names = found;
            }
        }
    }
}
