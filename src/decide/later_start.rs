//! Decides what a later start does about a seal and the differences from it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::drift::{Drift, Exclusion};
use crate::error::Error;
use crate::manifest::{OnDrift, OnManifestChange};
use crate::plan::{Plan, Protection};

/// The circumstances of a later start, apart from the disk.
#[derive(Debug)]
pub(crate) struct Circumstances {
    /// The digest that was sealed.
    pub(crate) digest: Digest,
    pub(crate) pin: Option<Digest>,
    /// The uid that this start runs as.
    pub(crate) caller: u32,
    /// Everything that keeps this start from becoming the service.
    pub(crate) obstacles: Vec<Error>,
    pub(crate) manifest: MountedManifest,
}

/// The manifest that is mounted now, compared with the sealed one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MountedManifest {
    Sealed,
    Gone,
    /// Another one, or one that cannot be read.
    Changed(PathBuf),
}

/// Proof that nothing differs from the seal.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Clean(());

/// Differences in spite of which the manifest says to run the service.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tolerated(Vec<Drift>);

impl Tolerated {
    pub(crate) fn drifts(&self) -> &[Drift] {
        &self.0
    }
}

/// What is done before the sealed service runs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Run(Clean),
    Warn(Tolerated),
    Restore(Vec<Drift>),
}

impl Action {
    /// The protection of the sealed entries after this action, if `sealed` was theirs.
    pub(crate) fn protection(&self, sealed: Protection) -> Protection {
        match self {
            // The difference may be in what protects them.
            Self::Warn(_) if sealed == Protection::Full => Protection::Partial,
            _ => sealed,
        }
    }
}

/// Decides whether the sealed configuration may be run at all, whatever is on disk.
///
/// # Errors
///
/// [`Error::Pin`] or [`Error::OtherStarter`] alone, or all obstacles, or
/// [`Error::ManifestChanged`].
pub(crate) fn admit(plan: &Plan, circumstances: Circumstances) -> Result<(), Vec<Error>> {
    let Circumstances {
        digest,
        pin,
        caller,
        obstacles,
        manifest,
    } = circumstances;
    if let Some(error) = Error::not_pinned(pin, digest) {
        return Err(error.into());
    }
    if plan.installer != caller {
        return Err(Error::OtherStarter {
            sealer: plan.installer,
            is: caller,
        }
        .into());
    }
    if !obstacles.is_empty() {
        return Err(obstacles);
    }
    match manifest {
        MountedManifest::Changed(path) if plan.on_manifest_change == OnManifestChange::Refuse => {
            Err(Error::ManifestChanged { path }.into())
        }
        _ => Ok(()),
    }
}

/// Proves that there are no differences.
///
/// # Errors
///
/// [`Error::Drift`] for each difference.
pub(crate) fn clean(drifts: Vec<Drift>) -> Result<Clean, Vec<Error>> {
    if drifts.is_empty() {
        Ok(Clean(()))
    } else {
        Err(refusal(drifts))
    }
}

/// Applies the policy `on_drift` to the differences that were found.
///
/// # Errors
///
/// [`Error::Drift`] for each difference, if the service may not run.
pub(crate) fn decide(
    on_drift: OnDrift,
    protection: Protection,
    pinned: bool,
    drifts: Vec<Drift>,
) -> Result<Action, Vec<Error>> {
    if drifts.is_empty() {
        return clean(drifts).map(Action::Run);
    }
    match on_drift {
        OnDrift::Refuse => Err(refusal(drifts)),
        // A pinned configuration is the one that runs, and nobody but root replaces what is
        // sealed, whatever the manifest tolerates. An entry that itself was given to the service
        // is tolerated, and reported as `lock=partial`.
        OnDrift::Warn if pinned || drifts.iter().any(|drift| opens(protection, drift)) => {
            Err(refusal(drifts))
        }
        OnDrift::Warn => Ok(Action::Warn(Tolerated(drifts))),
        OnDrift::Restore => Ok(Action::Restore(drifts)),
    }
}

/// Decides whether a restore may begin: either everything can be put back, or nothing is touched.
/// `obstacles` were found on the disk.
///
/// # Errors
///
/// The obstacles and [`Error::Drift`] for each difference.
pub(crate) fn restorable(
    plan: &Plan,
    drifts: &[Drift],
    mut obstacles: Vec<Error>,
) -> Result<(), Vec<Error>> {
    let entries: BTreeSet<&Path> = plan
        .entries
        .iter()
        .map(|entry| entry.dest.as_path())
        .collect();
    let can_be_restored = |drift: &Drift| match drift {
        Drift::Extra {
            of: Exclusion::Exact,
            ..
        } => true,
        drift => drift.path().is_some_and(|path| entries.contains(path)),
    };
    if obstacles.is_empty() && drifts.iter().all(can_be_restored) {
        return Ok(());
    }
    obstacles.extend(refusal(drifts.to_vec()));
    Err(obstacles)
}

/// Whether a difference lets other users replace sealed entries, or hides that they have.
fn opens(protection: Protection, drift: &Drift) -> bool {
    match drift {
        Drift::Unreadable { .. } => true,
        Drift::UnsafeParent { .. } => protection != Protection::None,
        _ => false,
    }
}

fn refusal(drifts: Vec<Drift>) -> Vec<Error> {
    drifts.into_iter().map(Error::Drift).collect()
}
