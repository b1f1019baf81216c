//! What becomes of a start: decided here, once, for `run`, which does it, and for `plan`, which tells it.
//!
//! Never changes anything, and never says anything itself.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::accounts::Caller;
use crate::digest::{Buffer, Digest, FileDigest};
use crate::drift::{Drift, Exclusion};
use crate::error::Error;
use crate::fs::root::Root;
use crate::fs::source;
use crate::manifest::{self, OnDrift, OnManifestChange};
use crate::plan::{EntryKind, Origin, Plan, Protection};
use crate::preflight;
use crate::state::seal::Seal;
use crate::state::{Interrupted, State};
use crate::verify::compare::Comparison;

/// What a start is told, and whoever foretells one.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Where the manifest is.
    pub(crate) manifest: PathBuf,
    /// Where journal and seal are kept.
    pub(crate) state_dir: PathBuf,
    /// The only configuration that may be installed or run.
    pub(crate) pin: Option<Digest>,
    /// The command after `--`; empty for the manifest's.
    pub(crate) command: Vec<OsString>,
}

/// What is judged: a plan, of which configuration it is, where it is to be, and what the start was told.
#[derive(Debug)]
pub(crate) struct Case<'a> {
    pub(crate) tree: &'a Root,
    pub(crate) caller: &'a Caller,
    pub(crate) plan: &'a Plan,
    pub(crate) digest: Digest,
    pub(crate) request: &'a Request,
}

/// What becomes of a later start.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// What an operator should know of the mounted manifest.
    pub(crate) note: Option<Note>,
    /// What is to be done, or everything for which the start is refused.
    pub(crate) action: Result<Action, Vec<Error>>,
}

/// In what the mounted manifest is not the sealed one, which counts all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Note {
    ManifestGone,
    ManifestChanged,
}

/// What is done before the sealed service runs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Nothing: the disk is as sealed.
    Verify,
    /// Nothing but to tell these differences.
    Warn(Vec<Drift>),
    /// What differs is put back.
    Restore(Vec<Drift>),
}

impl Action {
    /// How well what then runs is locked, if `sealed` was its lock.
    pub(crate) fn lock(&self, sealed: Protection) -> Protection {
        match self {
            // What drifted may be the lock.
            Self::Warn(_) if sealed == Protection::Full => Protection::Partial,
            _ => sealed,
        }
    }
}

impl Case<'_> {
    /// Whether a first start may install the plan. `interrupted` is the journal of an earlier attempt.
    ///
    /// # Errors
    /// What refuses it. A configuration that is not the one that was meant is refused for that alone.
    pub(crate) fn first_start(
        &self,
        state: &State<'_>,
        interrupted: Option<Interrupted>,
    ) -> Result<(), Vec<Error>> {
        let Self {
            tree,
            caller,
            plan,
            digest,
            request,
        } = self;
        self.check_pin()?;
        if let Some(error) =
            interrupted.and_then(|interrupted| interrupted.conflict(*digest, state.path()))
        {
            return Err(error.into());
        }
        none(preflight::first_start(
            tree,
            plan,
            state,
            caller,
            &request.manifest,
        ))
    }

    /// What a later start does with the plan of `seal`. `command` is what was given after `--`; `compare` looks at the disk, which
    /// is done only if nothing refuses the start whatever is there.
    pub(crate) fn later_start(
        &self,
        seal: &Seal,
        command: &[OsString],
        compare: impl FnOnce() -> Comparison,
    ) -> Verdict {
        match self.admission(seal) {
            Ok(note) => Verdict {
                note,
                action: self.action(command_drift(seal, command, self.plan), compare()),
            },
            Err(errors) => Verdict {
                note: None,
                action: Err(errors),
            },
        }
    }

    /// Whether what is sealed may be run at all, by this start and with this pin and manifest.
    fn admission(&self, seal: &Seal) -> Result<Option<Note>, Vec<Error>> {
        self.check_pin()?;
        let sealer = seal.identities.installer;
        if sealer != self.caller.uid {
            return Err(Error::OtherStarter {
                sealer,
                is: self.caller.uid,
            }
            .into());
        }
        let mut obstacles = seal.identities.service.unreachable(self.caller);
        obstacles.extend(preflight::later_start(self.plan, self.caller));
        none(obstacles)?;
        let path = &self.request.manifest;
        match manifest::read(path) {
            Ok(bytes) if bytes == seal.manifest.text().as_bytes() => Ok(None),
            Err(Error::ManifestRead { source, .. }) if source.is_missing() => {
                Ok(Some(Note::ManifestGone))
            }
            _ if self.plan.on_manifest_change == OnManifestChange::Refuse => {
                Err(Error::ManifestChanged { path: path.clone() }.into())
            }
            _ => Ok(Some(Note::ManifestChanged)),
        }
    }

    /// What the sealed manifest says about the differences.
    fn action(&self, command: Option<Drift>, comparison: Comparison) -> Result<Action, Vec<Error>> {
        let drifts: Vec<Drift> = command.into_iter().chain(comparison.complete()?).collect();
        match self.plan.on_drift {
            _ if drifts.is_empty() => Ok(Action::Verify),
            OnDrift::Refuse => Err(refusal(drifts)),
            // Whatever the manifest would put up with: a pinned configuration is the one that runs, and nobody but root replaces
            // what is sealed. That an entry itself became the service's is drift that it does put up with, and lock=partial says so.
            OnDrift::Warn
                if self.request.pin.is_some()
                    || drifts.iter().any(|drift| self.opens_lock(drift)) =>
            {
                Err(refusal(drifts))
            }
            OnDrift::Warn => Ok(Action::Warn(drifts)),
            OnDrift::Restore => self.restore(drifts),
        }
    }

    fn check_pin(&self) -> Result<(), Error> {
        Error::not_pinned(self.request.pin, self.digest).map_or(Ok(()), Err)
    }

    /// Whether a difference lets others replace what is sealed, or hides whether they have.
    fn opens_lock(&self, drift: &Drift) -> bool {
        match drift {
            Drift::Unreadable { .. } => true,
            Drift::UnsafeParent { .. } => self.plan.lock != Protection::None,
            _ => false,
        }
    }

    /// Whether everything that drifted can be put back: nothing is, unless everything can be.
    fn restore(&self, drifts: Vec<Drift>) -> Result<Action, Vec<Error>> {
        let mut paths: BTreeSet<&Path> = BTreeSet::new();
        paths.extend(drifts.iter().filter_map(Drift::path));
        let mut errors = Vec::new();
        let mut restorable: BTreeSet<&Path> = BTreeSet::new();
        for entry in self
            .plan
            .entries
            .iter()
            .filter(|entry| paths.contains(entry.dest.as_path()))
        {
            restorable.insert(&entry.dest);
            if let EntryKind::File(file) = &entry.kind
                && let Origin::Source(path) = &file.origin
                && !still_holds(path, file.content)
            {
                errors.push(Error::NotRestorable {
                    dest: entry.dest.clone(),
                    source_path: path.clone(),
                });
            }
        }
        errors.extend(preflight::restore(
            self.tree,
            self.plan,
            &paths,
            self.caller,
        ));
        let mounts = preflight::mount_points();
        let mut lost: BTreeSet<&Path> = BTreeSet::new();
        lost.extend(
            drifts
                .iter()
                .filter(|drift| !matches!(drift, Drift::UnsafeParent { .. }))
                .filter_map(Drift::path),
        );
        for dest in lost {
            // What is mounted there is not this container's to remove.
            if let Some(mounted) = mounts.iter().find(|mounted| mounted.starts_with(dest)) {
                errors.push(Error::MountedOver {
                    dest: dest.to_owned(),
                    mounted: mounted.clone(),
                });
            }
        }
        let beyond_us = |drift: &Drift| {
            let is_extra = matches!(
                drift,
                Drift::Extra {
                    of: Exclusion::Exact,
                    ..
                }
            );
            !is_extra && !drift.path().is_some_and(|path| restorable.contains(path))
        };
        if errors.is_empty() && !drifts.iter().any(beyond_us) {
            return Ok(Action::Restore(drifts));
        }
        errors.extend(refusal(drifts));
        Err(errors)
    }
}

/// Whether the source at `path` has this content still.
fn still_holds(path: &Path, content: FileDigest) -> bool {
    let found = source::open(path)
        .ok()
        .and_then(|(mut file, _)| FileDigest::of_reader(&mut file, &mut Buffer::new()).ok());
    found == Some(content)
}

/// Whether a start was given another command after `--` than the sealed one.
fn command_drift(seal: &Seal, command: &[OsString], plan: &Plan) -> Option<Drift> {
    let same = command == seal.arguments || command == plan.service.command;
    let shown = |words: &[OsString]| match words {
        [] => "none".into(),
        words => words
            .join(OsStr::new(" "))
            .to_string_lossy()
            .escape_debug()
            .to_string(),
    };
    (!same).then(|| Drift::Command {
        expected: shown(&plan.service.command),
        found: shown(command),
    })
}

fn refusal(drifts: Vec<Drift>) -> Vec<Error> {
    drifts.into_iter().map(Error::Drift).collect()
}

fn none(errors: Vec<Error>) -> Result<(), Vec<Error>> {
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors)
    }
}
