//! The state directory: the journal of a first start under way, and the seal of one that ended.
//!
//! Never interprets what is sealed. The seal's existence is the commit point: before it every start is a first start, after it none is.

pub(crate) mod seal;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use crate::accounts::Caller;
use crate::digest::Digest;
use crate::error::Error;
use crate::fs::dir::{Dir, FileKind, FsError, Ownership, write_and_reread};
use crate::fs::root::Root;
use crate::state::seal::Seal;

const SEAL: &str = "seal";
const JOURNAL: &str = "journal";

/// Only root (or, without root, only we) may look into the state directory, and nobody writes its files a second time.
const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o400;

/// The seal of a hundred thousand entries.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// What an earlier start left.
#[derive(Debug)]
pub(crate) enum Recorded {
    Nothing,
    Journal(Interrupted),
    Seal(Box<Seal>),
}

/// A first start that did not reach its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interrupted {
    /// Of which configuration; `None` if the journal cannot be read.
    pub(crate) digest: Option<Digest>,
}

impl Interrupted {
    /// That it was of another configuration than the one with this digest, whose state is at `path`.
    pub(crate) fn conflict(self, digest: Digest, path: &Path) -> Option<Error> {
        let found = self
            .digest
            .map_or_else(|| "unreadable".into(), |digest| digest.to_string());
        (self.digest != Some(digest)).then(|| Error::Interrupted {
            path: path.to_owned(),
            expected: digest,
            found,
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Journal {
    version: u32,
    digest: String,
}

/// The state directory of this start.
#[derive(Debug)]
pub(crate) struct State<'t> {
    tree: &'t Root,
    path: PathBuf,
    owner: Ownership,
    /// `None` until it exists.
    dir: Option<Rc<Dir>>,
    /// Held against a second sealinit by who is going to write.
    lock: Option<File>,
}

impl<'t> State<'t> {
    /// Opens and locks the directory at `path`, if it exists.
    ///
    /// # Errors
    /// That it is no directory of ours, or that another sealinit is at work in it.
    pub(crate) fn open(tree: &'t Root, path: &Path, caller: &Caller) -> Result<Self, Error> {
        let mut state = Self::look(tree, path, caller)?;
        if let Some(dir) = state.dir.take() {
            state.hold(dir)?;
        }
        Ok(state)
    }

    /// Opens the directory at `path`, if it exists, to look at what is in it: it is not locked, and must not be written.
    ///
    /// # Errors
    /// That it is no directory, or closed to us.
    pub(crate) fn look(tree: &'t Root, path: &Path, caller: &Caller) -> Result<Self, Error> {
        let owner = Ownership {
            uid: caller.uid,
            gid: caller.gid,
            mode: FILE_MODE,
        };
        let mut state = Self {
            tree,
            path: path.to_owned(),
            owner,
            dir: None,
            lock: None,
        };
        match tree.dir(path) {
            Err(FsError::Missing { .. }) => {}
            Err(source) => return Err(state.failed(source)),
            Ok(dir) => state.dir = Some(dir),
        }
        Ok(state)
    }

    fn hold(&mut self, dir: Rc<Dir>) -> Result<(), Error> {
        let lock = dir.lock().map_err(|source| self.failed(source))?;
        self.lock = Some(lock.ok_or_else(|| Error::StateBusy {
            path: self.path.clone(),
        })?);
        self.dir = Some(dir);
        Ok(())
    }

    fn failed(&self, source: FsError) -> Error {
        Error::State {
            path: self.path.clone(),
            source,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The directory, once it exists.
    pub(crate) fn dir(&self) -> Option<&Rc<Dir>> {
        self.dir.as_ref()
    }

    /// What an earlier start left. `manifest_path` is where this start looks for the manifest.
    ///
    /// # Errors
    /// A seal that is there but cannot be believed: it never makes this a first start.
    pub(crate) fn recorded(&self, manifest_path: &Path) -> Result<Recorded, Error> {
        self.recorded_by(Some(self.owner.uid), manifest_path)
    }

    /// What an earlier start left, of whatever uid: for somebody who only looks, and may be another.
    ///
    /// # Errors
    /// As [`Self::recorded`].
    pub(crate) fn recorded_by_anybody(&self, manifest_path: &Path) -> Result<Recorded, Error> {
        self.recorded_by(None, manifest_path)
    }

    fn recorded_by(&self, sealer: Option<u32>, manifest_path: &Path) -> Result<Recorded, Error> {
        let Some(dir) = self.dir() else {
            return Ok(Recorded::Nothing);
        };
        let unbelievable = |why: String| Error::Seal {
            path: self.path.join(SEAL),
            why,
        };
        if let Some(metadata) = dir
            .look(OsStr::new(SEAL))
            .map_err(|source| self.failed(source))?
        {
            let Ownership { uid, mode, .. } = metadata.ownership;
            if metadata.kind != FileKind::File {
                return Err(unbelievable(format!("it is a {}", metadata.kind.name())));
            }
            let sealer_unknown = sealer.is_none();
            let sealer = sealer.unwrap_or(uid);
            if uid != sealer || mode & 0o022 != 0 {
                return Err(unbelievable(format!(
                    "it belongs to uid {uid} with mode {mode:04o}, not to uid {sealer} alone"
                )));
            }
            if sealer == 0
                && let Some(error) = dir.unsafe_ancestor(0, |_| false)
            {
                return Err(unbelievable(error.to_string()));
            }
            let bytes = dir
                .read(OsStr::new(SEAL), MAX_BYTES)
                .map_err(|source| match source {
                    FsError::Io { .. } => self.failed(source),
                    source => unbelievable(source.to_string()),
                })?;
            let seal = Seal::decode(&bytes.unwrap_or_default(), manifest_path)
                .map_err(|error| unbelievable(error.to_string()))?;
            let installer = seal.identities.installer;
            if installer != uid && sealer_unknown {
                return Err(unbelievable(format!(
                    "it belongs to uid {uid}, and says that uid {installer} sealed it"
                )));
            }
            return Ok(Recorded::Seal(Box::new(seal)));
        }
        match dir.read(OsStr::new(JOURNAL), MAX_BYTES) {
            Ok(None) => Ok(Recorded::Nothing),
            Ok(Some(bytes)) => {
                let journal: Option<Journal> = serde_json::from_slice(&bytes).ok();
                let journal = journal.filter(|journal| journal.version == 1);
                let digest = journal.and_then(|journal| journal.digest.parse().ok());
                Ok(Recorded::Journal(Interrupted { digest }))
            }
            Err(FsError::NotFile { .. } | FsError::TooLarge { .. }) => {
                Ok(Recorded::Journal(Interrupted { digest: None }))
            }
            Err(source) => Err(self.failed(source)),
        }
    }

    /// Why nothing can be kept here, if so. Looks only.
    pub(crate) fn obstacle(&self) -> Option<Error> {
        let (dir, path) = match self.tree.nearest(&self.path) {
            Ok(found) => found,
            Err(source) => return Some(self.failed(source)),
        };
        if self.owner.uid == 0 {
            // What belongs to root is closed to others when the journal is written: engines mount a tmpfs with mode 1777.
            let ours = |here: &Path| {
                path == self.path && here == dir.path() && dir.metadata().ownership.uid == 0
            };
            if let Some(source) = dir.unsafe_ancestor(0, ours) {
                return Some(self.failed(source));
            }
        }
        dir.check_writable().err().map(|source| self.failed(source))
    }

    /// Whether it is (or is going to be) in memory, and gone when the container stops.
    pub(crate) fn is_volatile(&self) -> bool {
        self.tree
            .nearest(&self.path)
            .is_ok_and(|(dir, _)| dir.is_volatile())
    }

    /// Records that a first start of the configuration `digest` begins. Makes the directory if there is none.
    ///
    /// # Errors
    /// That this cannot be written, or that another sealinit came first.
    pub(crate) fn write_journal(&mut self, digest: Digest) -> Result<(), Error> {
        if self.dir.is_none() {
            self.tree
                .make_dir(&self.path, DIRECTORY_MODE)
                .map_err(|source| self.failed(source))?;
            let dir = self
                .tree
                .dir(&self.path)
                .map_err(|source| self.failed(source))?;
            self.hold(dir)?;
        }
        let Some(dir) = &self.dir else { return Ok(()) };
        let found = dir.metadata().ownership;
        if found.uid == self.owner.uid && found.mode != DIRECTORY_MODE {
            let wanted = Ownership {
                mode: DIRECTORY_MODE,
                ..found
            };
            dir.set_ownership(wanted)
                .map_err(|source| self.failed(source))?;
        }
        let journal = Journal {
            version: 1,
            digest: digest.to_string(),
        };
        // A struct of a number and a string has a JSON form.
        let bytes = serde_json::to_vec(&journal).unwrap_or_default();
        self.put(JOURNAL, &bytes)
    }

    /// Writes the seal, and with it commits the first start.
    ///
    /// # Errors
    /// That it cannot be written; then there is none. (Or one that is whole and may not survive a power cut, which is a first start's.)
    pub(crate) fn write_seal(&self, seal: &Seal) -> Result<(), Error> {
        let bytes = seal.encode().map_err(|error| Error::Seal {
            path: self.path.join(SEAL),
            why: error.to_string(),
        })?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(self.failed(FsError::TooLarge {
                path: self.path.join(SEAL),
                limit: MAX_BYTES,
            }));
        }
        self.put(SEAL, &bytes)
    }

    /// Removes the journal beside a seal. One that stays does no harm: where there is a seal, nobody reads it.
    pub(crate) fn remove_journal(&self) {
        if let Some(dir) = &self.dir
            && let Ok(Some(_)) = dir.look(OsStr::new(JOURNAL))
        {
            let _ = dir
                .remove_all(OsStr::new(JOURNAL))
                .and_then(|()| dir.sync());
        }
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let Some(dir) = &self.dir else { return Ok(()) };
        let temporary = OsString::from(format!("{name}.new"));
        let path = self.path.join(name);
        dir.install_file(OsStr::new(name), &temporary, self.owner, |file| {
            write_and_reread(file, &path, bytes)
        })
        .and_then(|()| dir.sync())
        .map_err(|source| self.failed(source))
    }
}
