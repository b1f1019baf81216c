//! What `sealinit plan` tells: what a start would do now, entry by entry.
//!
//! Never does it, and never shows the content of a secret.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::accounts::Caller;
use crate::decide;
use crate::decide::first_start::{Candidate, Interrupted};
use crate::decide::later_start::{Action, MountedManifest};
use crate::digest::FileDigest;
use crate::drift::{Change, Drift, Exclusion};
use crate::error::Error;
use crate::fs::root::Root;
use crate::fs::source;
use crate::plan::{Entry, EntryKind, Origin, Plan, PlannedFile};
use crate::report::diff;
use crate::report::log::PinStatus;
use crate::report::{count, shown};
use crate::start::later::{Assessment, LaterStart};
use crate::start::request::Request;
use crate::start::resolve::{View, resolve};
use crate::state::seal::Seal;
use crate::state::{Recorded, StateDir};
use crate::verify;
use crate::verify::compare::Comparison;
use crate::verify::observe::Scope;

/// Larger contents are not compared line by line.
const MAX_DIFF_BYTES: u64 = 1024 * 1024;

/// What `plan` is told.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) request: Request,
    /// Whether to show how contents differ.
    pub(crate) diff: bool,
}

/// What a start would do. The order of the fields is that of the JSON.
#[derive(Debug, Serialize)]
pub(crate) struct PlanReport {
    /// `seal`, `resume` what was interrupted, `verify`, `warn` of drift and run all the same, `restore`, or `refuse`.
    start: &'static str,
    digest: String,
    pin: &'static str,
    lock: &'static str,
    /// By path.
    entries: Vec<Step>,
    /// For what the start would be refused, in its own words.
    obstacles: Vec<String>,
    /// What else an operator should know.
    notes: Vec<String>,
}

/// What would happen to one path.
#[derive(Debug, Serialize)]
struct Step {
    /// `install`, `replace`, `keep`, `remove`, or `drift`; `unknown` where it could not be looked at.
    action: &'static str,
    /// `file`, `directory`, `mutable` or `absent`; `extra` for a name that may not be there.
    kind: &'static str,
    path: String,
    differences: Vec<Difference>,
    /// How the content would change, as a unified diff.
    diff: Option<String>,
}

#[derive(Debug, Serialize)]
struct Difference {
    attribute: &'static str,
    expected: String,
    found: String,
}

/// Foretells a start.
///
/// # Errors
/// That it cannot even be planned.
pub(crate) fn forecast(options: &Options) -> Result<PlanReport, Vec<Error>> {
    let path = Path::new("/");
    let root = Root::open(path).map_err(|source| Error::Root {
        path: path.into(),
        source,
    })?;
    let caller = Caller::of_this_process()?;
    let state = StateDir::open(&root, &options.request.state_dir, &caller)?;
    match state.recorded(&options.request.manifest)? {
        Recorded::Seal(seal) => later_start(options, &root, &caller, &seal),
        Recorded::Nothing => first_start(options, &root, &state, &caller, None),
        Recorded::Journal(interrupted) => {
            first_start(options, &root, &state, &caller, Some(&interrupted))
        }
    }
}

/// `interrupted` is the journal of an earlier attempt.
fn first_start(
    options: &Options,
    root: &Root,
    state: &StateDir<'_>,
    caller: &Caller,
    interrupted: Option<&Interrupted>,
) -> Result<PlanReport, Vec<Error>> {
    let request = &options.request;
    let resolution = resolve(request, root, Some(state), &View::Inside { caller });
    let (Candidate { plan, digest, .. }, _, problems) = resolution.candidate(request)?;
    let comparison = verify::comparison(root, &plan, Scope::Everything);
    let obstacles = decide::first_start::refusal(digest, problems, request.pin, interrupted);
    let start = match (obstacles.as_slice(), interrupted) {
        ([], None) => "seal",
        ([], Some(_)) => "resume",
        _ => "refuse",
    };
    Ok(PlanReport {
        start,
        digest: digest.to_string(),
        pin: PinStatus::of(request.pin, digest).name(),
        lock: plan.lock.name(),
        entries: steps(options, root, &plan, &comparison, Actions::First),
        obstacles: obstacles.iter().map(ToString::to_string).collect(),
        // What is wrong on the way is an obstacle, and told as one.
        notes: comparison
            .unreadable
            .iter()
            .map(ToString::to_string)
            .collect(),
    })
}

fn later_start(
    options: &Options,
    root: &Root,
    caller: &Caller,
    seal: &Seal,
) -> Result<PlanReport, Vec<Error>> {
    let request = &options.request;
    let plan = seal.plan()?;
    let comparison = verify::comparison(root, &plan, Scope::Sealed);
    let entries = steps(options, root, &plan, &comparison, Actions::Later);
    let later = LaterStart {
        root,
        caller,
        seal,
        plan: &plan,
        request,
    };
    let Assessment { manifest, action } = later.assess(|| comparison);
    let path = shown(&request.manifest);
    let note = match manifest {
        Some(MountedManifest::Gone) => Some(format!(
            "the manifest {path} is gone; the sealed one counts"
        )),
        Some(MountedManifest::Changed(_)) => Some(format!(
            "the manifest {path} is not the sealed one; the sealed one counts until the container is recreated"
        )),
        Some(MountedManifest::Sealed) | None => None,
    };
    let lock = action
        .as_ref()
        .map_or(plan.lock, |action| action.protection(plan.lock));
    let (start, obstacles) = match action {
        Ok(Action::Run(_)) => ("verify", Vec::new()),
        Ok(Action::Warn(_)) => ("warn", Vec::new()),
        Ok(Action::Restore(_)) => ("restore", Vec::new()),
        Err(errors) => ("refuse", errors),
    };
    Ok(PlanReport {
        start,
        digest: seal.digest.to_string(),
        pin: PinStatus::of(request.pin, seal.digest).name(),
        lock: lock.name(),
        entries,
        obstacles: obstacles.iter().map(ToString::to_string).collect(),
        notes: note.into_iter().collect(),
    })
}

/// What a difference means: work for a first start, drift for a later one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Actions {
    First,
    Later,
}

/// What would happen to each path.
fn steps(
    options: &Options,
    tree: &Root,
    plan: &Plan,
    comparison: &Comparison,
    actions: Actions,
) -> Vec<Step> {
    let mut by_path = comparison.by_path();
    let is_unseen = |dest: &Path| {
        comparison
            .unreadable
            .iter()
            .any(|error| matches!(error, Error::Measure { path, .. } if path.as_path() == dest))
    };
    let mut steps: Vec<(&Path, Step)> = Vec::new();
    for entry in &plan.entries {
        let mut drifts = by_path.remove(entry.dest.as_os_str()).unwrap_or_default();
        if actions == Actions::First && is_data(tree, entry, &drifts) {
            drifts.clear();
        }
        let action = if is_unseen(&entry.dest) {
            "unknown"
        } else {
            action(entry, &drifts, actions)
        };
        let diff = (options.diff && drifts.iter().any(|drift| changes_content(drift)))
            .then(|| diff(tree, entry, actions))
            .flatten();
        steps.push((
            &entry.dest,
            Step::new(action, kind(entry), &entry.dest, &drifts, diff),
        ));
    }
    // What is no entry: names too many, and directories on the way.
    for (path, drifts) in by_path {
        let path = Path::new(path);
        let extra = drifts.iter().all(|drift| is_extra(drift));
        let action = match actions {
            Actions::First if extra => "remove",
            // An obstacle says it.
            Actions::First => continue,
            Actions::Later => "drift",
        };
        let kind = if extra { "extra" } else { "directory" };
        steps.push((path, Step::new(action, kind, path, &drifts, None)));
    }
    steps.sort_unstable_by(|(a, _), (b, _)| a.as_os_str().cmp(b.as_os_str()));
    steps.into_iter().map(|(_, step)| step).collect()
}

impl Step {
    fn new(
        action: &'static str,
        kind: &'static str,
        path: &Path,
        drifts: &[&Drift],
        diff: Option<String>,
    ) -> Self {
        let difference = |drift: &&Drift| Difference {
            attribute: drift.rendered().attribute,
            expected: drift.rendered().expected,
            found: drift.rendered().found,
        };
        Self {
            action,
            kind,
            path: shown(path),
            differences: drifts.iter().map(difference).collect(),
            diff,
        }
    }
}

fn action(entry: &Entry, drifts: &[&Drift], actions: Actions) -> &'static str {
    match actions {
        _ if drifts.is_empty() => "keep",
        Actions::Later => "drift",
        Actions::First if entry.kind == EntryKind::Absent => "remove",
        Actions::First if drifts.iter().any(|drift| drift.change() == Change::Missing) => "install",
        Actions::First => "replace",
    }
}

/// Reports a name that its directory may not have.
fn is_extra(drift: &Drift) -> bool {
    matches!(
        drift,
        Drift::Extra {
            of: Exclusion::Exact,
            ..
        }
    )
}

/// Reports that the entry is of another type, or there at all.
fn changes_type(drift: &Drift) -> bool {
    matches!(
        drift,
        Drift::Type { .. }
            | Drift::Missing { .. }
            | Drift::Extra {
                of: Exclusion::Absent,
                ..
            }
    )
}

/// Reports that there is other content than expected.
fn changes_content(drift: &Drift) -> bool {
    changes_type(drift) || matches!(drift, Drift::Content { .. })
}

/// Whether what is there is the service's data of an earlier container, which stays as it is.
fn is_data(tree: &Root, entry: &Entry, drifts: &[&Drift]) -> bool {
    let EntryKind::File(file) = &entry.kind else {
        return false;
    };
    file.mutable
        && file.ownership.uid != tree.installer()
        && !drifts
            .iter()
            .any(|drift| changes_type(drift) || matches!(drift, Drift::Owner { .. }))
}

fn kind(entry: &Entry) -> &'static str {
    match &entry.kind {
        EntryKind::File(file) if file.mutable => "mutable",
        EntryKind::File(_) => "file",
        EntryKind::Directory(_) => "directory",
        EntryKind::Absent => "absent",
    }
}

/// How the content of an entry changes: by a first start from what is on disk to what will be; for a later one, from what was sealed
/// (as far as the source still has it) to what is on disk.
fn diff(tree: &Root, entry: &Entry, actions: Actions) -> Option<String> {
    let EntryKind::File(file) = &entry.kind else {
        return None;
    };
    if file.secret {
        return None;
    }
    let on_disk = match tree.parent(&entry.dest) {
        Ok((dir, name)) => dir.read(name, MAX_DIFF_BYTES).ok().flatten(),
        Err(_) => None,
    };
    let planned = planned(file)?;
    let path = shown(&entry.dest);
    let on_disk = on_disk.as_deref();
    match actions {
        Actions::First => diff::unified(&path, ("on disk", on_disk), ("planned", Some(&planned))),
        Actions::Later => diff::unified(&path, ("sealed", Some(&planned)), ("on disk", on_disk)),
    }
}

/// The content that a file is to have, if its source still has it.
fn planned(file: &PlannedFile) -> Option<Vec<u8>> {
    let bytes = match &file.origin {
        Origin::Manifest(text) => text.clone().into_bytes(),
        Origin::Source(path) => {
            let (mut source, size) = source::open(path).ok()?;
            if size > MAX_DIFF_BYTES {
                return None;
            }
            source::read_to_end(&mut source, size, MAX_DIFF_BYTES).ok()?
        }
    };
    (FileDigest::of(&bytes) == file.content).then_some(bytes)
}

impl fmt::Display for PlanReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = count(self.entries.len(), "entry", "entries");
        let changes = self
            .entries
            .iter()
            .filter(|step| step.action != "keep")
            .count();
        writeln!(
            f,
            "{}: {entries}, {changes} of them not as they are to be",
            self.start
        )?;
        writeln!(
            f,
            "digest={} pin={} lock={}",
            self.digest, self.pin, self.lock
        )?;
        for Step {
            action,
            kind,
            path,
            differences,
            diff,
        } in &self.entries
        {
            write!(f, "{action} {kind} {path}")?;
            for (
                index,
                Difference {
                    attribute,
                    expected,
                    found,
                },
            ) in differences.iter().enumerate()
            {
                let separator = if index == 0 { ": " } else { "; " };
                write!(
                    f,
                    "{separator}{attribute}: expected {expected}, found {found}"
                )?;
            }
            writeln!(f)?;
            if let Some(diff) = diff {
                f.write_str(diff)?;
            }
        }
        for obstacle in &self.obstacles {
            writeln!(f, "obstacle {obstacle}")?;
        }
        for note in &self.notes {
            writeln!(f, "note {note}")?;
        }
        Ok(())
    }
}
