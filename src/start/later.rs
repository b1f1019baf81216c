//! Assesses a later start: reads what its decision needs, and decides. Nothing is written.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::accounts::Caller;
use crate::decide::later_start::{self, Action, Circumstances, MountedManifest};
use crate::drift::Drift;
use crate::error::Error;
use crate::fs::root::Root;
use crate::plan::configuration;
use crate::plan::{ContentOrigin, Entry, EntryKind, Plan, PlannedFile};
use crate::preflight;
use crate::start::request::Request;
use crate::state::seal::Seal;
use crate::verify::compare::Comparison;

/// The outcome of an assessment.
#[derive(Debug)]
pub(crate) struct Assessment {
    /// The manifest that is mounted now; `None` if the start is refused without comparing it.
    pub(crate) manifest: Option<MountedManifest>,
    /// The mounted sources that have changed since they were sealed.
    pub(crate) changed_sources: Vec<PathBuf>,
    /// The action, or all reasons to refuse the start.
    pub(crate) action: Result<Action, Vec<Error>>,
}

/// A seal and its plan, to be assessed for a request.
#[derive(Debug)]
pub(crate) struct LaterStart<'a> {
    pub(crate) root: &'a Root,
    pub(crate) caller: &'a Caller,
    pub(crate) seal: &'a Seal,
    pub(crate) plan: &'a Plan,
    pub(crate) request: &'a Request,
}

impl LaterStart<'_> {
    /// Assesses the start. `compare` reads the disk, and is called only if nothing else refuses the
    /// start.
    pub(crate) fn assess(&self, compare: impl FnOnce() -> Comparison) -> Assessment {
        let Self {
            caller,
            seal,
            plan,
            request,
            ..
        } = self;
        let manifest = mounted_manifest(&request.manifest, seal);
        let mut obstacles = seal.identities.service.unreachable(caller);
        obstacles.extend(preflight::later_start(plan, caller));
        let circumstances = Circumstances {
            digest: seal.digest,
            pin: request.pin,
            installer: plan.installer,
            caller: caller.uid,
            obstacles,
            manifest: manifest.clone(),
            on_manifest_change: plan.policies.on_manifest_change,
        };
        if let Err(errors) = later_start::admit(circumstances) {
            return Assessment {
                manifest: None,
                changed_sources: Vec::new(),
                action: Err(errors),
            };
        }
        Assessment {
            manifest: Some(manifest),
            changed_sources: self.changed_sources(),
            action: self.action(compare()),
        }
    }

    fn action(&self, comparison: Comparison) -> Result<Action, Vec<Error>> {
        let Self { plan, request, .. } = self;
        let mut drifts: Vec<Drift> = self.command_drift().into_iter().collect();
        drifts.extend(comparison.complete()?);
        let pinned = request.pin.is_some();
        let action = later_start::decide(plan.policies.on_drift, plan.lock, pinned, drifts)?;
        if let Action::Restore(drifts) = &action {
            let obstacles = preflight::restore(self.root, plan, drifts, self.caller);
            later_start::restorable(&plan.entries, drifts, obstacles)?;
        }
        Ok(action)
    }

    /// Returns the mounted sources that differ in size from the sealed ones, or were modified after
    /// the sealing. Takes one stat(2) for each, and misses a change that keeps the size within the
    /// second of the sealing.
    fn changed_sources(&self) -> Vec<PathBuf> {
        let sealed_at = i64::try_from(self.seal.made.at).unwrap_or(i64::MAX);
        let changed = |entry: &Entry| {
            let EntryKind::File(PlannedFile {
                origin: ContentOrigin::Source(path),
                content: Some(content),
                ..
            }) = &entry.kind
            else {
                return None;
            };
            let found = std::fs::metadata(path).ok()?;
            (found.len() != content.size || found.mtime() > sealed_at).then(|| path.clone())
        };
        self.plan.entries.iter().filter_map(changed).collect()
    }

    /// Returns the drift of a command after `--` that is not the sealed one. No command means the
    /// sealed one.
    fn command_drift(&self) -> Option<Drift> {
        let given = &self.request.command;
        let sealed = &self.plan.service.command;
        let same = given.is_empty() || *given == self.seal.arguments || given == sealed;
        (!same).then(|| Drift::Command {
            expected: words(sealed),
            found: words(given),
        })
    }
}

/// Formats a command for messages.
fn words(command: &[OsString]) -> String {
    let joined = command.join(OsStr::new(" "));
    joined.to_string_lossy().escape_debug().to_string()
}

/// Compares the manifest at `path` with the sealed one.
fn mounted_manifest(path: &Path, seal: &Seal) -> MountedManifest {
    match configuration::read(path) {
        Ok(bytes) if bytes == seal.declaration.origin.text().as_bytes() => MountedManifest::Sealed,
        Err(Error::ManifestRead { source, .. }) if source.is_missing() => MountedManifest::Gone,
        _ => MountedManifest::Changed(path.to_owned()),
    }
}
