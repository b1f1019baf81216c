//! The kind and the content hash of every destination, and the digest over all of them.
//!
//! They depend on declaration and sources alone, and on no id, time or inode.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::digest::{Digest, FileDigest, Hasher};

/// The kind of a destination, with its content where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SourceEntry {
    File(FileDigest),
    /// Installed once and not verified; `None` if an optional source is missing.
    Mutable(Option<FileDigest>),
    Directory,
    Absent,
}

/// Every destination whose source could be read, in byte order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SourceTable(pub(crate) BTreeMap<PathKey, SourceEntry>);

/// A destination, ordered by its bytes. A [`Path`] is ordered by components, which sort(1) does
/// not reproduce.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PathKey(Vec<u8>);

impl PathKey {
    pub(crate) fn new(path: &Path) -> Self {
        Self(path.as_os_str().as_bytes().to_vec())
    }

    pub(crate) fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }
}

impl Borrow<[u8]> for PathKey {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl SourceTable {
    pub(crate) fn get(&self, dest: &Path) -> Option<&SourceEntry> {
        self.0.get(dest.as_os_str().as_bytes())
    }

    /// The digest: SHA-256 over NUL-terminated records.
    ///
    /// ```text
    /// sealinit-digest-v1
    /// manifest <sha256 of the manifest's bytes>
    /// <kind> <sha256 or -> <destination>        one for each destination, in byte order of destinations
    /// ```
    ///
    /// A path has no NUL, and kind and hash have no space, so no two tables share an encoding.
    pub(crate) fn digest(&self, manifest: &str) -> Digest {
        let mut hasher = Hasher::default();
        hasher.update(b"sealinit-digest-v1\0manifest ");
        hasher.update(Digest::of(manifest.as_bytes()).hex().as_bytes());
        hasher.update(b"\0");
        for (dest, entry) in &self.0 {
            let (kind, content) = match entry {
                SourceEntry::File(content) => ("file", Some(content)),
                SourceEntry::Mutable(content) => ("mutable", content.as_ref()),
                SourceEntry::Directory => ("directory", None),
                SourceEntry::Absent => ("absent", None),
            };
            let content = content.map_or_else(|| "-".into(), |content| content.digest.hex());
            for part in [
                kind.as_bytes(),
                b" ",
                content.as_bytes(),
                b" ",
                &dest.0,
                b"\0",
            ] {
                hasher.update(part);
            }
        }
        hasher.finish().digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with `printf` and `sha256sum`. The digest of a released version does not change.
    #[test]
    fn the_encoding_is_the_documented_one() {
        let table = SourceTable(
            [
                ("/b", SourceEntry::File(FileDigest::of(b"x"))),
                ("/a/c", SourceEntry::Absent),
                ("/a-b", SourceEntry::Mutable(None)),
                ("/a", SourceEntry::Directory),
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
        assert_eq!(table.digest("{}"), Digest::of(encoded.as_bytes()));
        assert_eq!(
            SourceTable::default().digest("{}").hex(),
            "c72280d5481185d81853472650c21fca1965aefdf44b110f8de402d62e8d7060"
        );
    }
}
