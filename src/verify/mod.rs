//! Compares the disk with a plan: what is really there, read anew, attribute by attribute.
//!
//! Never changes anything, and never believes what was meant to be written.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::mem;
use std::path::{Path, PathBuf};

use crate::digest::FileDigest;
use crate::digest::pool::HashPool;
use crate::error::Error;
use crate::escape::escaped;
use crate::fs::dir::{Dir, FileKind, FsError, Ownership};
use crate::fs::root::Root;
use crate::plan::{Directory, Entry, EntryKind, File, Plan, Protection};

/// One way in which the disk differs from the seal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Drift {
    /// Where.
    pub(crate) path: PathBuf,
    /// In what: `type`, `content`, `owner`, `group`, `mode`, `extra` or `parent`; `command` for what is not on disk.
    pub(crate) attribute: &'static str,
    /// What the seal says.
    pub(crate) expected: String,
    /// What is there.
    pub(crate) found: String,
}

/// The attribute of what could not be looked at, where something else has drifted.
pub(crate) const UNSEEN: &str = "unseen";

/// The attribute of a directory on the way that others could replace.
pub(crate) const PARENT: &str = "parent";

/// The attribute of a name too many.
pub(crate) const EXTRA: &str = "extra";

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            attribute,
            expected,
            found,
        } = self;
        write!(
            f,
            "{}: {attribute}: expected {expected}, found {found}",
            escaped(path)
        )
    }
}

impl Drift {
    /// `missing`, `extra` or `changed`.
    pub(crate) fn change(&self) -> &'static str {
        match (self.expected.as_str(), self.found.as_str()) {
            (_, NOTHING) => "missing",
            (NOTHING, _) => "extra",
            _ => "changed",
        }
    }
}

/// What is expected or found where nothing is.
const NOTHING: &str = "nothing";

/// What came of a comparison that went on where it could not look.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    /// In the order of the plan.
    pub(crate) drifts: Vec<Drift>,
    /// What could not be looked at, which is neither drift nor its absence.
    pub(crate) unseen: Vec<Error>,
}

/// Everything in which the disk differs from `plan`, and everything that could not be looked at.
pub(crate) fn comparison(tree: &Root, plan: &Plan) -> Comparison {
    compare(tree, plan, Entry::is_verified)
}

/// Everything in which the disk differs from `plan`, in the order of the plan.
///
/// # Errors
/// What could not be looked at.
pub(crate) fn differences(tree: &Root, plan: &Plan) -> Result<Vec<Drift>, Vec<Error>> {
    comparison(tree, plan).complete()
}

/// As [`differences`], right after the installation: then a mutable file is as it was installed, too, unless it was `kept`.
///
/// # Errors
/// As [`differences`].
pub(crate) fn differences_from_installed(
    tree: &Root,
    plan: &Plan,
    kept: &BTreeSet<PathBuf>,
) -> Result<Vec<Drift>, Vec<Error>> {
    compare(tree, plan, |entry| !kept.contains(&entry.dest)).complete()
}

/// As [`comparison`], with what is the service's own once it was installed.
pub(crate) fn comparison_from_installed(tree: &Root, plan: &Plan) -> Comparison {
    compare(tree, plan, |_| true)
}

impl Comparison {
    /// What drifted of each path, by the bytes of the paths.
    pub(crate) fn by_path(&self) -> BTreeMap<&OsStr, Vec<&Drift>> {
        let mut by_path: BTreeMap<&OsStr, Vec<&Drift>> = BTreeMap::new();
        for drift in &self.drifts {
            by_path
                .entry(drift.path.as_os_str())
                .or_default()
                .push(drift);
        }
        by_path
    }

    /// Everything in which the disk differs. What drifted is why we cannot look, more often than not: it is told with that, and
    /// before it.
    ///
    /// # Errors
    /// What could not be looked at, where nothing else is wrong.
    pub(crate) fn complete(mut self) -> Result<Vec<Drift>, Vec<Error>> {
        if self.drifts.is_empty() && !self.unseen.is_empty() {
            return Err(self.unseen);
        }
        self.drifts
            .extend(self.unseen.into_iter().filter_map(|error| match error {
                Error::Measure { path, source } => Some(Drift {
                    path,
                    attribute: UNSEEN,
                    expected: "to be looked at".into(),
                    found: source.to_string(),
                }),
                _ => None,
            }));
        Ok(self.drifts)
    }
}

fn compare(tree: &Root, plan: &Plan, which: impl Fn(&Entry) -> bool) -> Comparison {
    let mut verifying = Verifying {
        tree,
        locked: plan.lock != Protection::None,
        planned: plan.locked_directories(tree.trusted()),
        found: Vec::new(),
        unsafe_parent: None,
        hashers: HashPool::new(),
    };
    for entry in plan.entries.iter().filter(|entry| which(entry)) {
        let looked = verifying.entry(entry);
        verifying.note(&entry.dest, looked);
    }
    verifying.finish()
}

/// What was found, in the order of the plan.
enum Found<'a> {
    Drift(Drift),
    Unseen(Error),
    /// What this file's content is will be found here, when it has been hashed.
    Late(Late<'a>),
}

/// A file whose content is known only when all entries have been looked at.
struct Late<'a> {
    dest: &'a Path,
    file: &'a File,
    lost: bool,
}

struct Verifying<'a> {
    tree: &'a Root,
    /// Whether directories on the way must be closed to others.
    locked: bool,
    /// Directories that are entries themselves: what is wrong with them is told there.
    planned: BTreeSet<&'a Path>,
    found: Vec<Found<'a>>,
    /// The last directory that was found unsafe: it is told once.
    unsafe_parent: Option<PathBuf>,
    hashers: HashPool,
}

impl<'a> Verifying<'a> {
    /// Judges what was hashed meanwhile, where it belongs: after what else is wrong with its entry.
    fn finish(mut self) -> Comparison {
        let mut contents = self.hashers.finish().into_iter();
        for found in mem::take(&mut self.found) {
            match found {
                Found::Late(late) => {
                    // There is one for each; an error, if not.
                    let content = contents
                        .next()
                        .unwrap_or_else(|| Err(io::ErrorKind::Other.into()));
                    let judged = forgiven(self.content(late.dest, late.file, content), late.lost);
                    self.note(late.dest, judged);
                }
                found => self.found.push(found),
            }
        }
        let mut comparison = Comparison::default();
        for found in self.found {
            match found {
                Found::Drift(drift) => comparison.drifts.push(drift),
                Found::Unseen(error) => comparison.unseen.push(error),
                Found::Late(_) => {}
            }
        }
        comparison
    }

    fn note(&mut self, dest: &Path, looked: Result<(), FsError>) {
        if let Err(source) = looked {
            self.found.push(Found::Unseen(Error::Measure {
                path: dest.to_owned(),
                source,
            }));
        }
    }

    fn entry(&mut self, entry: &'a Entry) -> Result<(), FsError> {
        let dest = &entry.dest;
        let (dir, name) = match (self.tree.parent(dest), &entry.what) {
            (Ok(found), _) => found,
            (Err(FsError::Missing { .. }), EntryKind::Absent) => return Ok(()),
            (Err(error), what) => return self.parent(dest, what, error),
        };
        let lost = match dir.unsafe_ancestor(self.tree.trusted(), |_| false) {
            Some(error) if self.locked && entry.locked => {
                self.parent(dest, &entry.what, error)?;
                true
            }
            _ => false,
        };
        forgiven(self.look(entry, &dir, name, lost), lost)
    }

    fn look(
        &mut self,
        entry: &'a Entry,
        dir: &Dir,
        name: &OsStr,
        lost: bool,
    ) -> Result<(), FsError> {
        let dest = &entry.dest;
        match &entry.what {
            EntryKind::File(file) => self.file(Late { dest, file, lost }, dir, name),
            EntryKind::Directory(directory) => self.directory(dest, dir, name, directory),
            EntryKind::Absent => {
                if let Some(facts) = dir.look(name)? {
                    self.kind(dest, NOTHING, facts.kind.name());
                }
                Ok(())
            }
        }
    }

    /// Tells what is wrong on the way to an entry. That is drift, for it was right when it was sealed.
    fn parent(&mut self, dest: &Path, what: &EntryKind, error: FsError) -> Result<(), FsError> {
        match error {
            FsError::Missing { .. } => self.kind(dest, wanted(what), NOTHING),
            FsError::NotDirectory { path, kind } => self.push(&path, "type", "directory", kind),
            FsError::UnsafeLink { path } => self.push(&path, "type", "directory", "symlink"),
            FsError::UnsafeDirectory { path, uid, mode } => {
                if !self.planned.contains(path.as_path())
                    && self.unsafe_parent.as_ref() != Some(&path)
                {
                    let trusted = self.tree.trusted();
                    let expected = format!("owned by {trusted} and writable for its owner alone");
                    self.push(
                        &path,
                        PARENT,
                        expected,
                        format!("owned by {uid} with mode {mode:04o}"),
                    );
                    self.unsafe_parent = Some(path);
                }
            }
            error => return Err(error),
        }
        Ok(())
    }

    fn file(&mut self, late: Late<'a>, dir: &Dir, name: &OsStr) -> Result<(), FsError> {
        let Late { dest, file, .. } = late;
        let (open, facts) = match dir.open_file(name) {
            Ok(Some(found)) => found,
            Ok(None) => {
                self.kind(dest, "file", NOTHING);
                return Ok(());
            }
            Err(FsError::NotFile { kind, .. }) => {
                self.kind(dest, "file", kind);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.attributes(dest, file.attributes, facts.attributes);
        if facts.size != file.content.size {
            // Another size is another content; there is no need to read it, however large it has become.
            let (expected, found) = (bytes(file.content.size), bytes(facts.size));
            self.other_content(
                dest,
                file,
                format!("{} ({expected})", file.content.digest),
                found,
            );
            return Ok(());
        }
        match self.hashers.hash(open, facts.size) {
            Some(content) => self.content(dest, file, content),
            None => {
                self.found.push(Found::Late(late));
                Ok(())
            }
        }
    }

    fn content(
        &mut self,
        dest: &Path,
        file: &File,
        found: io::Result<FileDigest>,
    ) -> Result<(), FsError> {
        let found = found.map_err(|source| FsError::Io {
            act: "cannot read",
            path: dest.to_owned(),
            source,
        })?;
        if found != file.content {
            self.other_content(
                dest,
                file,
                file.content.digest.to_string(),
                found.digest.to_string(),
            );
        }
        Ok(())
    }

    fn other_content(&mut self, dest: &Path, file: &File, expected: String, found: String) {
        if file.secret {
            self.push(dest, "content", "the sealed secret", "another");
        } else {
            self.push(dest, "content", expected, found);
        }
    }

    fn directory(
        &mut self,
        dest: &Path,
        dir: &Dir,
        name: &OsStr,
        directory: &Directory,
    ) -> Result<(), FsError> {
        match dir.look(name)? {
            None => {
                self.kind(dest, "directory", NOTHING);
                return Ok(());
            }
            Some(facts) if facts.kind != FileKind::Directory => {
                self.kind(dest, "directory", facts.kind.name());
                return Ok(());
            }
            Some(facts) => self.attributes(dest, directory.attributes, facts.attributes),
        }
        if let Some(names) = &directory.exact {
            let dir = self.tree.dir(dest)?;
            for name in dir.names()? {
                if !names.contains(&name)
                    && let Some(facts) = dir.look(&name)?
                {
                    self.push(&dest.join(name), EXTRA, NOTHING, facts.kind.name());
                }
            }
        }
        Ok(())
    }

    fn attributes(&mut self, dest: &Path, expected: Ownership, found: Ownership) {
        if expected.uid != found.uid {
            self.push(
                dest,
                "owner",
                expected.uid.to_string(),
                found.uid.to_string(),
            );
        }
        if expected.gid != found.gid {
            self.push(
                dest,
                "group",
                expected.gid.to_string(),
                found.gid.to_string(),
            );
        }
        if expected.mode != found.mode {
            self.push(
                dest,
                "mode",
                format!("{:04o}", expected.mode),
                format!("{:04o}", found.mode),
            );
        }
    }

    fn kind(&mut self, dest: &Path, expected: &'static str, found: &'static str) {
        self.push(dest, "type", expected, found);
    }

    fn push(
        &mut self,
        path: &Path,
        attribute: &'static str,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) {
        let drift = Drift {
            path: path.to_owned(),
            attribute,
            expected: expected.into(),
            found: found.into(),
        };
        self.found.push(Found::Drift(drift));
    }
}

/// In a directory that became somebody's, we can look only at what that somebody may.
fn forgiven(looked: Result<(), FsError>, lost: bool) -> Result<(), FsError> {
    match looked {
        Err(error) if lost && error.is(io::ErrorKind::PermissionDenied) => Ok(()),
        looked => looked,
    }
}

fn bytes(size: u64) -> String {
    format!("{size} bytes")
}

fn wanted(what: &EntryKind) -> &'static str {
    match what {
        EntryKind::File(_) => "file",
        EntryKind::Directory(_) => "directory",
        EntryKind::Absent => NOTHING,
    }
}
