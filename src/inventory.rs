//! What the manifest's sources hold: every destination with its kind and content hash, and the one digest over all of it.
//!
//! Never knows an id, a time or an inode: the same manifest and sources give the same inventory on every machine, for every user.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::digest::{Buffer, Content, Digest, Hasher};
use crate::error::Error;
use crate::manifest::{self, MAX_PATH, Manifest, SourcePath, TEMPORARY_PREFIX};
use crate::source::{self, SourceError};

/// A file up to this size is kept in memory between planning and installing: what is installed is then exactly what was
/// hashed, even when the source is swapped in between, as Kubernetes does with `..data`.
const HELD_BYTES: u64 = 64 * 1024;

/// What all held files together may take. The others are read again, and checked against their hash.
const HELD_TOTAL: usize = 2 * 1024 * 1024;

/// What is to be at a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File(Content),
    /// Installed once and then the service's own; `None` where an optional source is missing.
    Mutable(Option<Content>),
    Directory,
    Absent,
}

/// Every destination, in byte order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Inventory(pub(crate) BTreeMap<PathKey, Kind>);

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
pub(crate) enum Reach {
    All,
    /// Those beside the manifest. An absolute one is a path of a container that is only seen from outside, most often a mount of it.
    BesideManifest,
}

/// Small contents, as they were when they were hashed.
#[derive(Debug, Default)]
pub(crate) struct Held {
    by_dest: BTreeMap<PathBuf, Vec<u8>>,
    total: usize,
}

impl Held {
    pub(crate) fn get(&self, dest: &Path) -> Option<&[u8]> {
        self.by_dest.get(dest).map(Vec::as_slice)
    }
}

impl Inventory {
    /// Reads and hashes every source of `manifest`.
    ///
    /// Gives every source that is missing, is no regular file, cannot be read, or has another hash than the manifest says, too; an
    /// empty content stands for what could not be read, which is enough to find out what else would be wrong.
    pub(crate) fn read(manifest: &Manifest, reach: Reach) -> (Self, Held, Vec<Error>) {
        let mut reading = Reading {
            manifest,
            reach,
            inventory: Self::default(),
            held: Held::default(),
            buffer: Buffer::new(),
            errors: vec![],
        };
        for file in &manifest.document.files {
            reading.file(file);
        }
        for directory in &manifest.document.directories {
            reading.inventory.0.insert(PathKey::new(&directory.path.value.0), Kind::Directory);
        }
        for path in &manifest.document.absent {
            reading.inventory.0.insert(PathKey::new(&path.value.0), Kind::Absent);
        }
        // Last: what is found in a source directory must not collide with what the manifest declares itself.
        for directory in &manifest.document.directories {
            if let Some(source) = &directory.source {
                reading.directory(&directory.path.value.0, source);
            }
        }
        reading.check_ancestors();
        let Reading { inventory, held, errors, .. } = reading;
        (inventory, held, errors)
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
            hasher.update(content.map_or_else(|| "-".into(), |content| content.digest.hex()).as_bytes());
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
    reach: Reach,
    inventory: Inventory,
    held: Held,
    buffer: Buffer,
    errors: Vec<Error>,
}

impl Reading<'_> {
    fn file(&mut self, file: &manifest::File) {
        let dest = &file.dest.value.0;
        let content = match (&file.source, &file.content) {
            (Some(source), _) if self.is_elsewhere(source, dest) => Some(Content::of(b"")),
            (Some(source), _) => {
                let path = self.manifest.locate(&source.0);
                match self.hash(&path, dest) {
                    Ok(content) => {
                        if let Some(expected) = file.sha256
                            && expected.0 != content.digest
                        {
                            let difference = (!file.secret).then_some((expected.0, content.digest));
                            self.errors.push(Error::SourceHash { path, difference });
                        }
                        Some(content)
                    }
                    Err(error) if error.is_missing() && file.optional => None,
                    Err(source) => {
                        self.unreadable(path, dest, source);
                        Some(Content::of(b""))
                    }
                }
            }
            (None, Some(text)) => Some(Content::of(text.as_bytes())),
            (None, None) => None,
        };
        let kind = match content {
            content if file.mutable => Kind::Mutable(content),
            Some(content) => Kind::File(content),
            None => Kind::Absent,
        };
        self.inventory.0.insert(PathKey::new(dest), kind);
    }

    /// Whether a source is out of reach, and notes that.
    fn is_elsewhere(&mut self, source: &SourcePath, dest: &Path) -> bool {
        let path = Path::new(&source.0);
        let elsewhere = self.reach == Reach::BesideManifest && path.is_absolute();
        if elsewhere {
            self.errors.push(Error::SourceElsewhere { path: path.to_owned(), dest: dest.to_owned() });
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
        let hidden = |entry: &walkdir::DirEntry| entry.depth() > 0 && entry.file_name().as_bytes().starts_with(b"..");
        for entry in walk.into_iter().filter_entry(|entry| !hidden(entry)) {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    let path = error.path().unwrap_or(&root).to_owned();
                    let error = match error.loop_ancestor() {
                        Some(_) => io::Error::other("a symbolic link in it leads back to a directory above"),
                        None => error.into_io_error().unwrap_or_else(|| io::Error::other("it cannot be walked")),
                    };
                    self.unreadable(path, dest, error.into());
                    continue;
                }
            };
            if entry.depth() == 0 {
                if !entry.file_type().is_dir() {
                    let kind = source::kind(entry.file_type());
                    self.errors.push(Error::SourceNotDirectory { path: root.clone(), kind });
                }
                continue;
            }
            let Ok(below) = entry.path().strip_prefix(&root) else { continue };
            let dest = dest.join(below);
            if entry.file_name().as_bytes().starts_with(TEMPORARY_PREFIX.as_bytes()) {
                self.errors.push(Error::SourceName { path: entry.into_path(), prefix: TEMPORARY_PREFIX });
                continue;
            }
            if dest.as_os_str().len() > MAX_PATH {
                self.errors.push(Error::DestinationTooLong { path: entry.into_path(), limit: MAX_PATH });
                continue;
            }
            let key = PathKey::new(&dest);
            let declared = self.inventory.0.get(&key).copied();
            let kind = if entry.file_type().is_dir() {
                Kind::Directory
            } else {
                match self.hash(entry.path(), &dest) {
                    Ok(content) => Kind::File(content),
                    Err(source) => {
                        self.unreadable(entry.into_path(), &dest, source);
                        continue;
                    }
                }
            };
            match declared {
                // A directory that the manifest declares itself has the attributes given there.
                Some(Kind::Directory) if kind == Kind::Directory => {}
                Some(_) => self.errors.push(Error::SourceCollides { path: entry.into_path(), dest }),
                None => {
                    self.inventory.0.insert(key, kind);
                }
            }
        }
    }

    /// Nothing is below what is no directory. What the manifest declares has been checked; what a source holds has not.
    fn check_ancestors(&mut self) {
        if self.manifest.document.directories.iter().all(|directory| directory.source.is_none()) {
            return;
        }
        let solid = |(dest, kind): (&PathKey, &Kind)| (*kind != Kind::Directory).then(|| dest.path().to_owned());
        let solid: HashSet<PathBuf> = self.inventory.0.iter().filter_map(solid).collect();
        for dest in self.inventory.0.keys() {
            if let Some(above) = dest.path().ancestors().skip(1).find(|above| solid.contains(*above)) {
                self.errors.push(Error::BelowFile { dest: dest.path().to_owned(), above: above.to_owned() });
            }
        }
    }

    fn hash(&mut self, path: &Path, dest: &Path) -> Result<Content, SourceError> {
        let (mut file, size) = source::open(path)?;
        if size <= HELD_BYTES && self.held.total < HELD_TOTAL {
            let bytes = source::read_to_end(&mut file, size, HELD_BYTES)?;
            let content = Content::of(&bytes);
            self.held.total += bytes.len();
            self.held.by_dest.insert(dest.to_owned(), bytes);
            return Ok(content);
        }
        Ok(Content::of_reader(&mut file, &mut self.buffer)?)
    }

    fn unreadable(&mut self, path: PathBuf, dest: &Path, source: SourceError) {
        self.errors.push(Error::SourceRead { path, dest: dest.to_owned(), source });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with `printf` and `sha256sum`, and kept for ever: the digest of a released version never changes.
    #[test]
    fn the_encoding_is_the_documented_one() {
        let inventory = Inventory(
            [
                ("/b", Kind::File(Content::of(b"x"))),
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
            Inventory::default().digest("{}").hex(),
            "c72280d5481185d81853472650c21fca1965aefdf44b110f8de402d62e8d7060"
        );
    }
}
