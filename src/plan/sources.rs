//! What the manifest's sources hold: every destination with its kind and content hash, and the one digest over all of it.
//!
//! Never knows an id, a time or an inode: the same manifest and sources give the same inventory on every machine, for every user.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io;
use std::mem;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::digest::pool::HashPool;
use crate::digest::{Digest, FileDigest, Hasher};
use crate::error::Error;
use crate::fs::source::{self, SourceError};
use crate::manifest::{FileDocument, MAX_PATH, Manifest, SourcePath, TEMPORARY_PREFIX};

/// A file up to this size is kept in memory between planning and installing: what is installed is then exactly what was
/// hashed, even when the source is swapped in between, as Kubernetes does with `..data`.
const HELD_BYTES: u64 = 64 * 1024;

/// What all held files together may take. The others are read again, and checked against their hash.
const HELD_TOTAL: usize = 2 * 1024 * 1024;

/// What is to be at a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File(FileDigest),
    /// Installed once and then the service's own; `None` where an optional source is missing.
    Mutable(Option<FileDigest>),
    Directory,
    Absent,
}

/// Every destination, in byte order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SourceTable(pub(crate) BTreeMap<PathKey, Kind>);

/// A destination. Ordered by its bytes; [`Path`] orders by components, which no `sort(1)` reproduces.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PathKey(Vec<u8>);

impl PathKey {
    pub(crate) fn new(path: &Path) -> Self {
        Self(path.as_os_str().as_bytes().to_vec())
    }

    pub(crate) fn path(&self) -> &Path {
        Path::new(std::ffi::OsStr::from_bytes(&self.0))
    }
}

/// Which sources are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SourceScope {
    All,
    /// Those beside the manifest. An absolute one is a path of a container that is only seen from outside, most often a mount of it.
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
        let bytes = source::read_to_end(&mut file, size, HELD_BYTES)?;
        let content = FileDigest::of(&bytes);
        self.total += bytes.len();
        self.by_dest.insert(dest.to_owned(), bytes);
        Ok(content)
    }
}

impl SourceTable {
    /// Reads and hashes every source of `manifest`.
    ///
    /// Gives every source that is missing, is no regular file, cannot be read, or has another hash than the manifest says, too; an
    /// empty content stands for what could not be read, which is enough to find out what else would be wrong.
    pub(crate) fn read(
        manifest: &Manifest,
        reach: SourceScope,
    ) -> (Self, ContentCache, Vec<Error>) {
        let mut reading = Reading {
            manifest,
            reach,
            inventory: Self::default(),
            held: ContentCache::default(),
            doubts: vec![],
            hashers: HashPool::new(),
        };
        for file in &manifest.document.files {
            reading.file(file);
        }
        for directory in &manifest.document.directories {
            reading
                .inventory
                .0
                .insert(PathKey::new(&directory.path.value.0), Kind::Directory);
        }
        for path in &manifest.document.absent {
            reading
                .inventory
                .0
                .insert(PathKey::new(&path.value.0), Kind::Absent);
        }
        // Last: what is found in a source directory must not collide with what the manifest declares itself.
        for directory in &manifest.document.directories {
            if let Some(source) = &directory.source {
                reading.directory(&directory.path.value.0, source);
            }
        }
        reading.finish()
    }

    /// The digest: SHA-256 over NUL-terminated records.
    ///
    /// ```text
    /// sealinit-digest-v1
    /// manifest <sha256 of the manifest's bytes>
    /// <kind> <sha256 or -> <destination>        one for each destination, in byte order of destinations
    /// ```
    ///
    /// A path holds no NUL, and kind and hash hold no space, so no two inventories share an encoding.
    pub(crate) fn digest(&self, manifest: &str) -> Digest {
        let mut hasher = Hasher::default();
        hasher.update(b"sealinit-digest-v1\0manifest ");
        hasher.update(Digest::of(manifest.as_bytes()).hex().as_bytes());
        hasher.update(b"\0");
        for (dest, kind) in &self.0 {
            let (name, content) = match kind {
                Kind::File(content) => ("file", Some(content)),
                Kind::Mutable(content) => ("mutable", content.as_ref()),
                Kind::Directory => ("directory", None),
                Kind::Absent => ("absent", None),
            };
            hasher.update(name.as_bytes());
            hasher.update(b" ");
            hasher.update(
                content
                    .map_or_else(|| "-".into(), |content| content.digest.hex())
                    .as_bytes(),
            );
            hasher.update(b" ");
            hasher.update(&dest.0);
            hasher.update(b"\0");
        }
        hasher.finish().digest
    }
}

/// An inventory being read, and what could not be.
struct Reading<'a> {
    manifest: &'a Manifest,
    reach: SourceScope,
    inventory: SourceTable,
    held: ContentCache,
    doubts: Vec<Doubt<'a>>,
    hashers: HashPool,
}

/// What is wrong, or may turn out to be, in the order in which sources are opened.
enum Doubt<'a> {
    Refused(Error),
    Late(Late<'a>),
}

/// A source whose content is known only when all have been opened; until then its destination has an empty one.
struct Late<'a> {
    path: PathBuf,
    origin: Origin<'a>,
}

/// Who asked for a source.
enum Origin<'a> {
    File(&'a FileDocument),
    Directory {
        dest: PathBuf,
        /// Whether the destination is another's already.
        collides: bool,
    },
}

impl<'a> Reading<'a> {
    /// Judges what was hashed meanwhile, and puts what is wrong with it where it belongs.
    fn finish(mut self) -> (SourceTable, ContentCache, Vec<Error>) {
        let mut contents = self.hashers.finish().into_iter();
        for doubt in mem::take(&mut self.doubts) {
            let Doubt::Late(Late { path, origin }) = doubt else {
                self.doubts.push(doubt);
                continue;
            };
            // There is one for each; an error, if not.
            let content = contents
                .next()
                .unwrap_or_else(|| Err(io::ErrorKind::Other.into()))
                .map_err(SourceError::from);
            match origin {
                Origin::File(file) => self.declared(file, path, content),
                Origin::Directory { dest, collides } => self.found(path, dest, content, collides),
            }
        }
        self.check_ancestors();
        let errors = self.doubts.into_iter().filter_map(|doubt| match doubt {
            Doubt::Refused(error) => Some(error),
            Doubt::Late(_) => None,
        });
        (self.inventory, self.held, errors.collect())
    }

    fn refuse(&mut self, error: Error) {
        self.doubts.push(Doubt::Refused(error));
    }

    fn file(&mut self, file: &'a FileDocument) {
        let dest = &file.dest.value.0;
        let content = match (&file.source, &file.content) {
            (Some(source), _) if self.is_elsewhere(source, dest) => Some(FileDigest::of(b"")),
            (Some(source), _) => {
                let path = self.manifest.locate(&source.0);
                if let Some(content) = self.hash(&path, dest) {
                    return self.declared(file, path, content);
                }
                self.doubts.push(Doubt::Late(Late {
                    path,
                    origin: Origin::File(file),
                }));
                Some(FileDigest::of(b""))
            }
            (None, Some(text)) => Some(FileDigest::of(text.as_bytes())),
            (None, None) => None,
        };
        self.insert(file, content);
    }

    /// What the source of a declared file holds.
    fn declared(
        &mut self,
        file: &FileDocument,
        path: PathBuf,
        content: Result<FileDigest, SourceError>,
    ) {
        let content = match content {
            Ok(content) => {
                if let Some(expected) = file.sha256
                    && expected.0 != content.digest
                {
                    let difference = (!file.secret).then_some((expected.0, content.digest));
                    self.refuse(Error::SourceHash { path, difference });
                }
                Some(content)
            }
            Err(error) if error.is_missing() && file.optional => None,
            Err(source) => {
                self.unreadable(path, &file.dest.value.0, source);
                Some(FileDigest::of(b""))
            }
        };
        self.insert(file, content);
    }

    fn insert(&mut self, file: &FileDocument, content: Option<FileDigest>) {
        let kind = match content {
            content if file.mutable => Kind::Mutable(content),
            Some(content) => Kind::File(content),
            None => Kind::Absent,
        };
        self.inventory
            .0
            .insert(PathKey::new(&file.dest.value.0), kind);
    }

    /// Whether a source is out of reach, and notes that.
    fn is_elsewhere(&mut self, source: &SourcePath, dest: &Path) -> bool {
        let path = Path::new(&source.0);
        let elsewhere = self.reach == SourceScope::BesideManifest && path.is_absolute();
        if elsewhere {
            self.refuse(Error::SourceElsewhere {
                path: path.to_owned(),
                dest: dest.to_owned(),
            });
        }
        elsewhere
    }

    /// Everything below a source directory. Links are followed; names beginning `..` are Kubernetes' own.
    fn directory(&mut self, dest: &Path, source: &SourcePath) {
        if self.is_elsewhere(source, dest) {
            return;
        }
        let root = self.manifest.locate(&source.0);
        let walk = WalkDir::new(&root).follow_links(true).sort_by_file_name();
        let hidden = |entry: &walkdir::DirEntry| {
            entry.depth() > 0 && entry.file_name().as_bytes().starts_with(b"..")
        };
        for entry in walk.into_iter().filter_entry(|entry| !hidden(entry)) {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    let path = error.path().unwrap_or(&root).to_owned();
                    let error = match error.loop_ancestor() {
                        Some(_) => io::Error::other(
                            "a symbolic link in it leads back to a directory above",
                        ),
                        None => error
                            .into_io_error()
                            .unwrap_or_else(|| io::Error::other("it cannot be walked")),
                    };
                    self.unreadable(path, dest, error.into());
                    continue;
                }
            };
            if entry.depth() == 0 {
                if !entry.file_type().is_dir() {
                    let kind = source::kind(entry.file_type());
                    self.refuse(Error::SourceNotDirectory {
                        path: root.clone(),
                        kind,
                    });
                }
                continue;
            }
            let Ok(below) = entry.path().strip_prefix(&root) else {
                continue;
            };
            let dest = dest.join(below);
            if entry
                .file_name()
                .as_bytes()
                .starts_with(TEMPORARY_PREFIX.as_bytes())
            {
                self.refuse(Error::SourceName {
                    path: entry.into_path(),
                    prefix: TEMPORARY_PREFIX,
                });
                continue;
            }
            if dest.as_os_str().len() > MAX_PATH {
                self.refuse(Error::DestinationTooLong {
                    path: entry.into_path(),
                    limit: MAX_PATH,
                });
                continue;
            }
            let key = PathKey::new(&dest);
            let declared = self.inventory.0.get(&key).copied();
            if !entry.file_type().is_dir() {
                let collides = declared.is_some();
                match self.hash(entry.path(), &dest) {
                    Some(content) => self.found(entry.into_path(), dest, content, collides),
                    None => {
                        if !collides {
                            self.inventory
                                .0
                                .insert(key, Kind::File(FileDigest::of(b"")));
                        }
                        let origin = Origin::Directory { dest, collides };
                        self.doubts.push(Doubt::Late(Late {
                            path: entry.into_path(),
                            origin,
                        }));
                    }
                }
                continue;
            }
            match declared {
                // A directory that the manifest declares itself has the attributes given there.
                Some(Kind::Directory) => {}
                Some(_) => self.refuse(Error::SourceCollides {
                    path: entry.into_path(),
                    dest,
                }),
                None => {
                    self.inventory.0.insert(key, Kind::Directory);
                }
            }
        }
    }

    /// What a file in a source directory holds.
    fn found(
        &mut self,
        path: PathBuf,
        dest: PathBuf,
        content: Result<FileDigest, SourceError>,
        collides: bool,
    ) {
        match content {
            Err(source) => {
                if !collides {
                    self.inventory.0.remove(&PathKey::new(&dest));
                }
                self.unreadable(path, &dest, source);
            }
            Ok(_) if collides => self.refuse(Error::SourceCollides { path, dest }),
            Ok(content) => {
                self.inventory
                    .0
                    .insert(PathKey::new(&dest), Kind::File(content));
            }
        }
    }

    /// Nothing is below what is no directory. What the manifest declares has been checked; what a source holds has not.
    fn check_ancestors(&mut self) {
        if self
            .manifest
            .document
            .directories
            .iter()
            .all(|directory| directory.source.is_none())
        {
            return;
        }
        let solid = |(dest, kind): (&PathKey, &Kind)| {
            (*kind != Kind::Directory).then(|| dest.path().to_owned())
        };
        let solid: HashSet<PathBuf> = self.inventory.0.iter().filter_map(solid).collect();
        for dest in self.inventory.0.keys() {
            if let Some(above) = dest
                .path()
                .ancestors()
                .skip(1)
                .find(|above| solid.contains(*above))
            {
                let error = Error::BelowFile {
                    dest: dest.path().to_owned(),
                    above: above.to_owned(),
                };
                self.doubts.push(Doubt::Refused(error));
            }
        }
    }

    /// The content of a source; `None` if it is hashed later.
    fn hash(&mut self, path: &Path, dest: &Path) -> Option<Result<FileDigest, SourceError>> {
        match source::open(path) {
            Ok((file, size)) if size <= HELD_BYTES && self.held.total < HELD_TOTAL => {
                Some(self.held.read(file, size, dest).map_err(SourceError::from))
            }
            Ok((file, size)) => Some(self.hashers.hash(file, size)?.map_err(SourceError::from)),
            Err(error) => Some(Err(error)),
        }
    }

    fn unreadable(&mut self, path: PathBuf, dest: &Path, source: SourceError) {
        self.refuse(Error::SourceRead {
            path,
            dest: dest.to_owned(),
            source,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with `printf` and `sha256sum`, and kept for ever: the digest of a released version never changes.
    #[test]
    fn the_encoding_is_the_documented_one() {
        let inventory = SourceTable(
            [
                ("/b", Kind::File(FileDigest::of(b"x"))),
                ("/a/c", Kind::Absent),
                ("/a-b", Kind::Mutable(None)),
                ("/a", Kind::Directory),
            ]
            .into_iter()
            .map(|(dest, kind)| (PathKey::new(Path::new(dest)), kind))
            .collect(),
        );
        let x = Digest::of(b"x").hex();
        let manifest = Digest::of(b"{}").hex();
        let encoded = format!(
            "sealinit-digest-v1\0manifest {manifest}\0directory - /a\0mutable - /a-b\0absent - /a/c\0file {x} /b\0"
        );
        assert_eq!(inventory.digest("{}"), Digest::of(encoded.as_bytes()));
        assert_eq!(
            SourceTable::default().digest("{}").hex(),
            "c72280d5481185d81853472650c21fca1965aefdf44b110f8de402d62e8d7060"
        );
    }
}
