//! The state of a disk as the kernel reports it, and the difference between two states.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write as _};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::image::Sandbox;

/// Names in the root that belong to the harness and not to the image.
const SCAFFOLD: [&str; 4] = ["dev", "proc", "trace", "usr"];

impl Sandbox {
    /// The content of a file.
    pub(crate) fn read(&self, path: impl AsRef<Path>) -> String {
        let path = self.path_to_write(path);
        String::from_utf8(fs::read(path).unwrap()).unwrap()
    }

    /// Reports if there is an object at the path; a dangling symlink counts.
    pub(crate) fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.path(path).symlink_metadata().is_ok()
    }

    /// One object as the kernel describes it: `file 0440 0:1000 <SHA-256>`, `directory 0755 0:0`,
    /// `symlink 0777 0:0 <target>`.
    pub(crate) fn object(&self, path: impl AsRef<Path>) -> String {
        Object {
            identity: None,
            ..Object::read(&self.path(path))
        }
        .to_string()
    }

    /// Every object in the root with its type, mode, owner, group and content: equal after two
    /// starts that did the same.
    pub(crate) fn tree(&self) -> Tree {
        let mut tree = self.fingerprint();
        for object in tree.0.values_mut() {
            object.identity = None;
        }
        tree
    }

    /// [`Self::tree`] with inode numbers, link counts and times: equal only if the disk was not
    /// touched.
    pub(super) fn fingerprint(&self) -> Tree {
        let mut objects = BTreeMap::new();
        walk(&self.root(), &self.root(), &mut objects);
        Tree(objects)
    }

    /// Paths of sealinit's own temporary files.
    pub(crate) fn temporaries(&self) -> Vec<PathBuf> {
        self.fingerprint()
            .0
            .into_keys()
            .filter(|path| is_temporary(path))
            .collect()
    }
}

/// Objects of a root by path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tree(pub(crate) BTreeMap<PathBuf, Object>);

impl Tree {
    /// Without the objects at and below these paths.
    pub(crate) fn without(mut self, paths: &[&str]) -> Self {
        self.0
            .retain(|path, _| !paths.iter().any(|without| path.starts_with(without)));
        self
    }

    /// The differences, a line for each object and side; empty for equal trees.
    pub(crate) fn difference(&self, other: &Self) -> String {
        let mut lines = String::new();
        for (path, object) in &self.0 {
            if other.0.get(path) != Some(object) {
                writeln!(lines, "- {} {object}", path.display()).unwrap();
            }
        }
        for (path, object) in &other.0 {
            if self.0.get(path) != Some(object) {
                writeln!(lines, "+ {} {object}", path.display()).unwrap();
            }
        }
        lines
    }

    /// Asserts that the other tree is this one.
    #[track_caller]
    pub(crate) fn assert_equals(&self, other: &Self) {
        let difference = self.difference(other);
        assert!(difference.is_empty(), "the trees differ:\n{difference}");
    }
}

/// One object as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) kind: &'static str,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The content's hash, a symlink's target, nothing for others.
    pub(crate) content: String,
    /// Inode number, link count and times, which change when the object is touched at all.
    identity: Option<String>,
}

impl Object {
    fn read(path: &Path) -> Self {
        let metadata = path
            .symlink_metadata()
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let kind = metadata.file_type();
        let (kind, content) = if kind.is_file() {
            ("file", hash(fs::read(path).unwrap()))
        } else if kind.is_dir() {
            ("directory", String::new())
        } else if kind.is_symlink() {
            (
                "symlink",
                fs::read_link(path).unwrap().display().to_string(),
            )
        } else if kind.is_fifo() {
            ("fifo", String::new())
        } else {
            ("other", String::new())
        };
        let identity = format!(
            "inode {} links {} modified {}.{} changed {}.{}",
            metadata.ino(),
            metadata.nlink(),
            metadata.mtime(),
            metadata.mtime_nsec(),
            metadata.ctime(),
            metadata.ctime_nsec()
        );
        Self {
            kind,
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
            content,
            identity: Some(identity),
        }
    }
}

impl Display for Object {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            mode,
            uid,
            gid,
            content,
            identity,
        } = self;
        write!(formatter, "{kind} {mode:04o} {uid}:{gid}")?;
        if !content.is_empty() {
            write!(formatter, " {content}")?;
        }
        identity
            .as_ref()
            .map_or(Ok(()), |identity| write!(formatter, " {identity}"))
    }
}

/// Reports if the path names one of sealinit's temporary files.
pub(crate) fn is_temporary(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.as_bytes().starts_with(b".sealinit."))
}

fn walk(root: &Path, directory: &Path, objects: &mut BTreeMap<PathBuf, Object>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let inside = Path::new("/").join(path.strip_prefix(root).unwrap());
        if SCAFFOLD
            .iter()
            .any(|name| inside == Path::new("/").join(name))
        {
            continue;
        }
        let object = Object::read(&path);
        let descend = object.kind == "directory";
        objects.insert(inside, object);
        if descend {
            walk(root, &path, objects);
        }
    }
}

/// SHA-256 in hexadecimal, as in [`Sandbox::object`] and in manifests.
pub(crate) fn hash(content: impl AsRef<[u8]>) -> String {
    Sha256::digest(content)
        .iter()
        .fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        })
}
