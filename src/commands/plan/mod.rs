//! `sealinit plan`: shows what a start would do now, entry by entry.
//!
//! Changes nothing, and shows nothing of the content of a secret.

mod report;

use std::path::Path;

use clap::Args;

use crate::accounts::{Accounts, Caller};
use crate::commands::options::{FormatOption, LogOptions, RequestOptions, RootOption};
use crate::commands::outside;
use crate::commands::plan::report::{
    Difference, PlanReport, PlanStep, PlannedStart, StepAction, StepKind,
};
use crate::decide;
use crate::decide::first_start::{Candidate, Interrupted};
use crate::decide::later_start::{Action, MountedManifest};
use crate::digest::FileDigest;
use crate::digest::pin::PinStatus;
use crate::drift::{ChangeKind, Drift, Exclusion};
use crate::error::Error;
use crate::fs::root::Root;
use crate::fs::source;
use crate::ids::IdNames;
use crate::plan::{ContentOrigin, Entry, EntryKind, Plan, PlannedFile};
use crate::report::diff;
use crate::report::reason::reason;
use crate::report::{print, shown};
use crate::start::later::{Assessment, LaterStart};
use crate::start::request::Request;
use crate::start::resolve::{View, resolve};
use crate::state::seal::Seal;
use crate::state::{Recorded, StateDir};
use crate::verify;
use crate::verify::compare::Comparison;
use crate::verify::observe::Scope;

/// The largest content, in bytes, that is compared line by line.
const MAX_DIFF_BYTES: u64 = 1024 * 1024;

#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 if the plan was made, even if a start would be refused; otherwise that of the start,
see sealinit run --help; 2 for wrong usage.

Example: docker exec web sealinit plan --diff")]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    root: RootOption,
    #[command(flatten)]
    request: RequestOptions,
    /// Show how the contents of text files differ; not those of secrets
    #[arg(long)]
    diff: bool,
    #[command(flatten)]
    format: FormatOption,
    #[command(flatten)]
    pub(crate) log: LogOptions,
}

impl PlanArgs {
    /// Prints the report; returns the exit code.
    ///
    /// # Errors
    /// Every error that prevents a plan, or [`Error::Output`] if standard output is full or closed.
    pub(crate) fn run(self) -> Result<u8, Vec<Error>> {
        let options = Options {
            request: self.request.into(),
            diff: self.diff,
            names: Accounts::id_names(&self.root.root),
        };
        print(
            &plan(&self.root.root, &options)?,
            self.format.report_format(),
        )?;
        Ok(0)
    }
}

/// The start to plan, and the form of the report.
#[derive(Debug)]
struct Options {
    request: Request,
    diff: bool,
    names: IdNames,
}

/// Plans a start in the container below `path`.
///
/// # Errors
/// Every error that prevents a plan.
fn plan(path: &Path, options: &Options) -> Result<PlanReport, Vec<Error>> {
    let request = &options.request;
    let root = Root::open(path).map_err(|source| Error::Root {
        path: path.into(),
        source,
    })?;
    let caller = outside::caller_in(path)?;
    let view = outside::view_of(path, &caller);
    let state = StateDir::open(&root, &request.state_dir, &caller)?;
    match state.recorded(&request.manifest)? {
        Recorded::Seal(seal) => later_start(options, &root, &caller, &seal),
        Recorded::Nothing => first_start(options, &root, &state, &view, None),
        Recorded::Journal(interrupted) => {
            first_start(options, &root, &state, &view, Some(&interrupted))
        }
    }
}

/// Plans a first start. `interrupted` is the journal of an earlier attempt.
fn first_start(
    options: &Options,
    root: &Root,
    state: &StateDir<'_>,
    view: &View<'_>,
    interrupted: Option<&Interrupted>,
) -> Result<PlanReport, Vec<Error>> {
    let request = &options.request;
    let resolution = resolve(request, root, Some(state), view);
    let (Candidate { plan, digest, .. }, _, problems) = resolution.candidate(request)?;
    let comparison = verify::comparison(root, &plan, Scope::Everything);
    let obstacles = decide::first_start::refusal(digest, problems, request.pin, interrupted);
    let start = match (obstacles.as_slice(), interrupted) {
        ([], None) => PlannedStart::Seal,
        ([], Some(_)) => PlannedStart::Resume,
        _ => PlannedStart::Refuse,
    };
    Ok(PlanReport {
        start,
        digest: digest.to_string(),
        pin: PinStatus::of(request.pin, digest),
        lock: plan.lock,
        entries: steps(options, root, &plan, &comparison, Actions::First),
        obstacles: reasons(options, &obstacles),
        // Problems on the way to an entry are obstacles, and listed there.
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
    let Assessment {
        manifest,
        changed_sources,
        action,
    } = later.assess(|| comparison);
    let path = shown(&request.manifest);
    let note = match manifest {
        Some(MountedManifest::Gone) => Some(format!(
            "the manifest {path} is gone; the sealed configuration runs"
        )),
        Some(MountedManifest::Changed(_)) => Some(format!(
            "the manifest {path} is not the sealed one; the sealed configuration runs until the container is recreated"
        )),
        Some(MountedManifest::Sealed) | None => None,
    };
    let changed = changed_sources.iter().map(|path| {
        let path = shown(path);
        format!("{path} changed since it was sealed; recreate the container to apply it")
    });
    let lock = action
        .as_ref()
        .map_or(plan.lock, |action| action.protection(plan.lock));
    let (start, obstacles) = match action {
        Ok(Action::Run(_)) => (PlannedStart::Verify, Vec::new()),
        Ok(Action::Warn(_)) => (PlannedStart::Warn, Vec::new()),
        Ok(Action::Restore(_)) => (PlannedStart::Restore, Vec::new()),
        Err(errors) => (PlannedStart::Refuse, errors),
    };
    Ok(PlanReport {
        start,
        digest: seal.digest.to_string(),
        pin: PinStatus::of(request.pin, seal.digest),
        lock,
        entries,
        obstacles: reasons(options, &obstacles),
        notes: note.into_iter().chain(changed).collect(),
    })
}

/// The meaning of a difference.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Actions {
    /// A first start changes it.
    First,
    /// A later start calls it drift.
    Later,
}

/// Plans each path.
fn steps(
    options: &Options,
    tree: &Root,
    plan: &Plan,
    comparison: &Comparison,
    actions: Actions,
) -> Vec<PlanStep> {
    let mut by_path = comparison.by_path();
    let is_unreadable = |dest: &Path| {
        comparison
            .unreadable
            .iter()
            .any(|error| matches!(error, Error::Measure { path, .. } if path.as_path() == dest))
    };
    let mut steps: Vec<(&Path, PlanStep)> = Vec::new();
    for entry in &plan.entries {
        let mut drifts = by_path.remove(entry.dest.as_os_str()).unwrap_or_default();
        if actions == Actions::First && is_data(tree, entry, &drifts) {
            drifts.clear();
        }
        let action = if is_unreadable(&entry.dest) {
            StepAction::Unknown
        } else {
            action(entry, &drifts, actions)
        };
        let diff = (options.diff && drifts.iter().any(|drift| changes_content(drift)))
            .then(|| diff(tree, entry, actions))
            .flatten();
        let step = PlanStep {
            action,
            kind: StepKind::from(entry),
            path: shown(&entry.dest),
            differences: differences(options, &drifts),
            diff,
        };
        steps.push((&entry.dest, step));
    }
    steps.extend(
        by_path
            .into_iter()
            .filter_map(|(path, drifts)| undeclared(options, Path::new(path), &drifts, actions)),
    );
    steps.sort_unstable_by(|(a, _), (b, _)| a.as_os_str().cmp(b.as_os_str()));
    steps.into_iter().map(|(_, step)| step).collect()
}

/// Plans a path that is not an entry: an extra name, or a directory on the way to an entry.
fn undeclared<'a>(
    options: &Options,
    path: &'a Path,
    drifts: &[&Drift],
    actions: Actions,
) -> Option<(&'a Path, PlanStep)> {
    let extra = drifts.iter().all(|drift| is_extra(drift));
    let action = match actions {
        Actions::First if extra => StepAction::Remove,
        // It is an obstacle, and listed there.
        Actions::First => return None,
        Actions::Later => StepAction::Drift,
    };
    let kind = if extra {
        StepKind::Extra
    } else {
        StepKind::Directory
    };
    let step = PlanStep {
        action,
        kind,
        path: shown(path),
        differences: differences(options, drifts),
        diff: None,
    };
    Some((path, step))
}

fn reasons(options: &Options, errors: &[Error]) -> Vec<String> {
    errors
        .iter()
        .map(|error| reason(error, &options.names))
        .collect()
}

fn differences(options: &Options, drifts: &[&Drift]) -> Vec<Difference> {
    drifts
        .iter()
        .map(|drift| drift.rendered(&options.names).into())
        .collect()
}

fn action(entry: &Entry, drifts: &[&Drift], actions: Actions) -> StepAction {
    match actions {
        _ if drifts.is_empty() => StepAction::Keep,
        Actions::Later => StepAction::Drift,
        Actions::First if entry.kind == EntryKind::Absent => StepAction::Remove,
        Actions::First
            if drifts
                .iter()
                .any(|drift| drift.change() == ChangeKind::Missing) =>
        {
            StepAction::Install
        }
        Actions::First => StepAction::Replace,
    }
}

/// Returns true for a name that its directory may not have.
fn is_extra(drift: &Drift) -> bool {
    matches!(
        drift,
        Drift::Extra {
            of: Exclusion::Exact,
            ..
        }
    )
}

/// Returns true if the entry is of another type, missing, or declared absent.
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

/// Returns true if the content of the entry differs.
fn changes_content(drift: &Drift) -> bool {
    changes_type(drift) || matches!(drift, Drift::Content { .. })
}

/// Returns true if the entry is the service's data of an earlier container, which is kept.
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

/// Compares contents: for a first start the disk with the plan, for a later one the sealed content
/// with the disk, if the source still has it.
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

/// Returns the planned content of a file, if its source still has it.
fn planned(file: &PlannedFile) -> Option<Vec<u8>> {
    let bytes = match &file.origin {
        ContentOrigin::Inline(text) => text.clone().into_bytes(),
        ContentOrigin::Source(path) => {
            let (mut source, size) = source::open(path).ok()?;
            if size > MAX_DIFF_BYTES {
                return None;
            }
            source::read_to_end(&mut source, size, MAX_DIFF_BYTES).ok()?
        }
    };
    (Some(FileDigest::of(&bytes)) == file.content).then_some(bytes)
}
