//! The state directory: the journal of a first start under way, and the seal of one that ended.
//!
//! The existence of the seal is the commit point: without it every start is a first start, with it
//! none is.

mod journal;
mod record;
pub(crate) mod seal;
pub(crate) mod sealed;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::accounts::Caller;
use crate::decide::first_start::{Admitted, Candidate, Interrupted};
use crate::error::Error;
use crate::fs::barrier::Barrier;
use crate::fs::dir::Dir;
use crate::fs::error::FsError;
use crate::fs::file::write_and_reread;
use crate::fs::metadata::{FileKind, Metadata, Ownership};
use crate::fs::root::Root;
use crate::install::proof::Tested;
use crate::plan::Plan;
use crate::state::seal::Seal;
use crate::state::sealed::Sealed;

const SEAL: &str = "seal";
const JOURNAL: &str = "journal";

/// The modes of the directory, which only the user that seals may read, and of the files in it,
/// which are never written again.
const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o400;

/// The size of a seal with a hundred thousand entries, in bytes.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// The record that an earlier start left.
#[derive(Debug)]
pub(crate) enum Recorded {
    Nothing,
    Journal(Interrupted),
    Seal(Box<Seal>),
}

/// The state directory, to be read.
#[derive(Debug)]
pub(crate) struct StateDir<'r> {
    root: &'r Root,
    path: PathBuf,
    /// Owner, group and mode of the files in it.
    ownership: Ownership,
    /// `None` until it exists.
    dir: Option<Arc<Dir>>,
}

/// The state directory, locked against other starts if it exists.
#[derive(Debug)]
pub(crate) struct LockedStateDir<'r> {
    state: StateDir<'r>,
    lock: Option<File>,
}

/// A first start under way: its journal is written.
#[derive(Debug)]
pub(crate) struct Attempt {
    path: PathBuf,
    ownership: Ownership,
    dir: Arc<Dir>,
    /// Held until the seal is written.
    _lock: File,
    candidate: Candidate,
}

impl<'r> StateDir<'r> {
    /// Opens the directory at `path`, if it exists.
    ///
    /// # Errors
    ///
    /// [`Error::State`] if it is not a directory or cannot be opened.
    pub(crate) fn open(root: &'r Root, path: &Path, caller: &Caller) -> Result<Self, Error> {
        let ownership = Ownership {
            uid: caller.uid,
            gid: caller.gid,
            mode: FILE_MODE,
        };
        let dir = match root.dir(path) {
            Ok(dir) => Some(dir),
            Err(FsError::Missing { .. }) => None,
            Err(source) => return Err(failed(path, source)),
        };
        Ok(Self {
            root,
            path: path.to_owned(),
            ownership,
            dir,
        })
    }

    /// Locks the directory against other starts.
    ///
    /// # Errors
    ///
    /// [`Error::StateBusy`] if another start holds the lock.
    pub(crate) fn lock(self) -> Result<LockedStateDir<'r>, Error> {
        let lock = match &self.dir {
            Some(dir) => Some(lock(dir, &self.path)?),
            None => None,
        };
        Ok(LockedStateDir { state: self, lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the record that an earlier start of this user left. `manifest` is the path where
    /// this start looks for the manifest: relative sources are beside it.
    ///
    /// # Errors
    ///
    /// [`Error::Seal`] if there is a seal that is not valid: this is not a first start then.
    pub(crate) fn recorded(&self, manifest: &Path) -> Result<Recorded, Error> {
        self.recorded_by(Some(self.ownership.uid), manifest)
    }

    /// Reads the record that an earlier start of any user left, for a report by another user.
    ///
    /// # Errors
    ///
    /// Those of [`Self::recorded`].
    pub(crate) fn recorded_by_any_user(&self, manifest: &Path) -> Result<Recorded, Error> {
        self.recorded_by(None, manifest)
    }

    fn recorded_by(&self, sealer: Option<u32>, manifest: &Path) -> Result<Recorded, Error> {
        let Some(dir) = &self.dir else {
            return Ok(Recorded::Nothing);
        };
        let found = dir
            .look(OsStr::new(SEAL))
            .map_err(|error| self.failed(error))?;
        match found {
            Some(metadata) => self.seal(dir, &metadata, sealer, manifest),
            None => self.journal(dir),
        }
    }

    fn seal(
        &self,
        dir: &Dir,
        metadata: &Metadata,
        sealer: Option<u32>,
        manifest: &Path,
    ) -> Result<Recorded, Error> {
        let Ownership { uid, mode, .. } = metadata.ownership;
        if metadata.kind != FileKind::File {
            return Err(self.invalid(format!("it is a {}", metadata.kind)));
        }
        let expected = sealer.unwrap_or(uid);
        if uid != expected || mode & 0o022 != 0 {
            return Err(self.invalid(format!(
                "it is owned by uid {uid} with mode {mode:04o}, and must be owned by uid {expected} and writable only for its owner"
            )));
        }
        if expected == 0
            && let Some(error) = dir.unsafe_ancestor(0, |_| false)
        {
            return Err(self.invalid(error.to_string()));
        }
        let read = dir.read(OsStr::new(SEAL), MAX_BYTES);
        let bytes = match read {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Err(self.invalid("it was removed while it was being read".into())),
            Err(error @ FsError::Io { .. }) => return Err(self.failed(error)),
            Err(error) => return Err(self.invalid(error.to_string())),
        };
        let seal =
            Seal::decode(&bytes, manifest).map_err(|error| self.invalid(error.to_string()))?;
        let installer = seal.identities.installer;
        if sealer.is_none() && installer != uid {
            return Err(self.invalid(format!(
                "it is owned by uid {uid}, and records that uid {installer} sealed"
            )));
        }
        Ok(Recorded::Seal(Box::new(seal)))
    }

    fn journal(&self, dir: &Dir) -> Result<Recorded, Error> {
        let digest = match dir.read(OsStr::new(JOURNAL), MAX_BYTES) {
            Ok(None) => return Ok(Recorded::Nothing),
            Ok(Some(bytes)) => journal::decode(&bytes),
            Err(FsError::NotFile { .. } | FsError::TooLarge { .. }) => None,
            Err(error) => return Err(self.failed(error)),
        };
        Ok(Recorded::Journal(Interrupted {
            state_dir: self.path.clone(),
            digest,
        }))
    }

    /// Returns the reason why nothing can be recorded here, if there is one.
    pub(crate) fn obstacle(&self) -> Option<Error> {
        let (dir, path) = match self.root.nearest(&self.path) {
            Ok(found) => found,
            Err(error) => return Some(self.failed(error)),
        };
        if self.ownership.uid == 0 {
            // A directory that root owns gets its mode when the journal is written: engines mount a
            // tmpfs with mode 1777.
            let is_closed_later = |here: &Path| {
                path == self.path && here == dir.path() && dir.metadata().ownership.uid == 0
            };
            if let Some(error) = dir.unsafe_ancestor(0, is_closed_later) {
                return Some(self.failed(error));
            }
        }
        dir.check_writable().err().map(|error| self.failed(error))
    }

    /// Returns true if the directory is, or will be, on a tmpfs, where the seal is lost when the
    /// container stops.
    pub(crate) fn is_volatile(&self) -> bool {
        self.root
            .nearest(&self.path)
            .is_ok_and(|(dir, _)| dir.is_volatile())
    }

    fn failed(&self, source: FsError) -> Error {
        failed(&self.path, source)
    }

    fn invalid(&self, why: String) -> Error {
        Error::Seal {
            path: self.path.join(SEAL),
            why,
        }
    }
}

impl<'r> LockedStateDir<'r> {
    /// Returns the directory, to be read.
    pub(crate) fn as_state_dir(&self) -> &StateDir<'r> {
        &self.state
    }

    /// Begins the first start of an admitted configuration: creates the directory if it is missing,
    /// and writes the journal.
    ///
    /// # Errors
    ///
    /// [`Error::State`] if the directory or the journal cannot be written, or [`Error::StateBusy`]
    /// if another start holds the lock.
    pub(crate) fn begin(self, admitted: Admitted) -> Result<Attempt, Error> {
        let Self { state, lock: held } = self;
        let (dir, held) = match (state.dir.clone(), held) {
            (Some(dir), Some(held)) => (dir, held),
            _ => {
                let made = state
                    .root
                    .make_dir(&state.path, DIRECTORY_MODE, &mut Barrier::each());
                let dir = made.and_then(|()| state.root.dir(&state.path));
                let dir = dir.map_err(|error| state.failed(error))?;
                let held = lock(&dir, &state.path)?;
                (dir, held)
            }
        };
        let found = dir.metadata().ownership;
        if found.uid == state.ownership.uid && found.mode != DIRECTORY_MODE {
            let wanted = Ownership {
                mode: DIRECTORY_MODE,
                ..found
            };
            dir.set_ownership(wanted)
                .map_err(|error| state.failed(error))?;
        }
        let attempt = Attempt {
            path: state.path,
            ownership: state.ownership,
            dir,
            _lock: held,
            candidate: admitted.into_candidate(),
        };
        let bytes = journal::encode(attempt.candidate.digest)
            .map_err(|error| Error::internal("the journal has no JSON form", &error))?;
        attempt.put(JOURNAL, &bytes)?;
        Ok(attempt)
    }

    /// Removes a journal that a first start left beside its seal.
    pub(crate) fn remove_journal(&self) {
        if let Some(dir) = &self.state.dir {
            remove_journal(dir);
        }
    }
}

impl Attempt {
    /// The plan to install.
    pub(crate) fn plan(&self) -> &Plan {
        &self.candidate.plan
    }

    /// Writes the seal, which ends the first start.
    ///
    /// # Errors
    ///
    /// [`Error::State`] if the seal cannot be written. Then there is none, or a complete one that a
    /// power cut may remove, after which the next start is a first start.
    pub(crate) fn commit(self, _: Tested) -> Result<(Plan, Sealed), Error> {
        let seal = Seal::of(&self.candidate);
        let bytes = seal.encode().map_err(|error| Error::Seal {
            path: self.path.join(SEAL),
            why: error.to_string(),
        })?;
        if bytes.len() as u64 > MAX_BYTES {
            let path = self.path.join(SEAL);
            let source = FsError::TooLarge {
                path,
                limit: MAX_BYTES,
            };
            return Err(failed(&self.path, source));
        }
        self.put(SEAL, &bytes)?;
        remove_journal(&self.dir);
        Ok((self.candidate.plan, Sealed::committed()))
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let temporary = OsString::from(format!("{name}.new"));
        let path = self.path.join(name);
        self.dir
            .install_file(OsStr::new(name), &temporary, self.ownership, |file| {
                write_and_reread(file, &path, bytes)
            })
            .and_then(|()| self.dir.sync())
            .map_err(|error| failed(&self.path, error))
    }
}

fn failed(path: &Path, source: FsError) -> Error {
    Error::State {
        path: path.to_owned(),
        source,
    }
}

/// Takes the advisory lock on the state directory at `path`.
fn lock(dir: &Dir, path: &Path) -> Result<File, Error> {
    let lock = dir.lock().map_err(|error| failed(path, error))?;
    lock.ok_or_else(|| Error::StateBusy {
        path: path.to_owned(),
    })
}

/// Removes the journal beside a seal. An error is only logged: a journal beside a seal is not read.
fn remove_journal(dir: &Dir) {
    let name = OsStr::new(JOURNAL);
    if let Ok(Some(_)) = dir.look(name)
        && let Err(error) = dir.remove_all(name).and_then(|()| dir.sync())
    {
        tracing::debug!("kept the journal beside the seal: {error}");
    }
}
