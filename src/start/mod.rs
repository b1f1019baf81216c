//! What `sealinit run` does, from the command line to the exec.
//!
//! Never writes before everything is resolved, and never starts the service without proof that it is sealed and unprivileged.
//!
//! ```text
//! Manifest ─┬─▶ Inventory ──┐
//!           └─▶ Identities ─┴─▶ Plan ─▶ verdict ─▶ journal ─▶ Installed ─▶ verify ─▶ seal ─┐
//! Seal ──────────────────────▶ Plan ─▶ verdict ─────────────▶ restored ─▶ verify ──────────┤
//!                                                                                        Sealed
//!                    service ◀── launch: exec ◀── Unprivileged ◀── privileges ◀────────────┘
//! ```

pub(crate) mod decide;

use std::collections::BTreeSet;
use std::path::Path;

use nix::sys::stat::{Mode, umask};
use tracing::Level;

use crate::accounts::Caller;
use crate::digest::Digest;
use crate::drift::Drift;
use crate::error::Error;
use crate::fs::root::Root;
use crate::install;
use crate::install::Installed;
use crate::plan::Plan;
use crate::plan::configuration::Configuration;
use crate::plan::sources::SourceScope;
use crate::report::log::{PinStatus, Summary, log_drifts, log_manifest_change};
use crate::service::config_test;
use crate::service::exec::Inherited;
use crate::service::{Launched, launch};
use crate::start::decide::{Action, Case, Note, Request, Verdict};
use crate::state::seal::{Made, Seal};
use crate::state::{Interrupted, Recorded, State};
use crate::verify;
use crate::verify::observe::Scope;

/// What a start is told.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) request: Request,
    /// Supervise, whatever the manifest says.
    pub(crate) supervise: bool,
}

/// Proof that disk and seal agree, or that the operator wants the service to run all the same.
#[derive(Debug)]
pub(crate) struct Sealed {
    state: &'static str,
}

impl Sealed {
    /// For a service that has no configuration: there is nothing to differ from.
    pub(crate) fn nothing() -> Self {
        Self { state: "" }
    }

    /// For the service's own check, which is run on what was installed before that is sealed.
    pub(crate) fn on_trial(_: &Installed) -> Self {
        Self { state: "" }
    }
}

/// Configures the container at its first start, verifies it at every later one, and becomes the service; or starts it, for this process
/// to supervise.
///
/// # Errors
/// Everything that is in the way. The service was not started then, and of a refusal nothing was changed.
pub(crate) fn start(options: &Options, summary: &mut Summary) -> Result<Launched, Vec<Error>> {
    let caller = Caller::of_this_process()?;
    // What is installed has exactly the mode that it is given.
    let inherited = Inherited {
        umask: umask(Mode::empty()),
        pid: std::process::id(),
    };
    let (Plan { mut service, .. }, sealed) =
        configure(&options.request, &caller, inherited, summary)?;
    if options.supervise {
        service.supervised.get_or_insert_default();
    }
    Ok(launch(&service, &caller, inherited, &sealed, || {
        summary.log(sealed.state);
    })?)
}

/// Has the configuration on disk and sealed, or verified against its seal.
fn configure(
    request: &Request,
    caller: &Caller,
    inherited: Inherited,
    summary: &mut Summary,
) -> Result<(Plan, Sealed), Vec<Error>> {
    let tree = Root::open(Path::new("/")).map_err(|source| Error::Install {
        path: "/".into(),
        source,
    })?;
    let state = State::open(&tree, &request.state_dir, caller)?;
    match state.recorded(&request.manifest)? {
        Recorded::Seal(seal) => later_start(request, &tree, &state, caller, &seal, summary),
        Recorded::Journal(interrupted) => first_start(
            request,
            &tree,
            state,
            caller,
            inherited,
            Some(interrupted),
            summary,
        ),
        Recorded::Nothing => first_start(request, &tree, state, caller, inherited, None, summary),
    }
}

/// Installs and seals the configuration. `interrupted` is the journal of an earlier attempt.
fn first_start(
    request: &Request,
    tree: &Root,
    mut state: State<'_>,
    caller: &Caller,
    inherited: Inherited,
    interrupted: Option<Interrupted>,
    summary: &mut Summary,
) -> Result<(Plan, Sealed), Vec<Error>> {
    let (
        Configuration {
            manifest,
            inventory,
            held,
            ..
        },
        identities,
    ) = Configuration::load(&request.manifest, SourceScope::All)?.resolved(tree, caller)?;
    let digest = inventory.digest(manifest.text());
    identify(digest, request.pin, summary);
    let plan = Plan::new(&manifest, &inventory, &identities, &request.command)?;
    summary.entries = plan.entries.len();
    Case {
        tree,
        caller,
        plan: &plan,
        digest,
        request,
    }
    .first_start(&state, interrupted)?;

    state.write_journal(digest)?;
    let installed = install::install(tree, &plan, &held)?;
    if let Some(drift) = verify::differences(
        tree,
        &plan,
        Scope::Installed {
            kept: &installed.kept,
        },
    )?
    .into_iter()
    .next()
    {
        return Err(Error::NotInstalled(drift).into());
    }
    if !plan.checks.is_empty() {
        config_test::trial(&plan, caller, inherited, &installed)?;
        // What is not locked could have been changed by the check itself.
        tree.forget();
        if let Some(drift) = verify::differences(tree, &plan, Scope::Sealed)?
            .into_iter()
            .next()
        {
            return Err(Error::NotInstalled(drift).into());
        }
    }
    let arguments = request.command.clone();
    state.write_seal(&Seal {
        manifest,
        inventory,
        identities,
        arguments,
        made: Made::now(),
        digest,
    })?;
    state.remove_journal();
    if state.is_volatile() {
        tracing::warn!(
            "the state directory is in memory: the seal goes with the container's stop, and the next start is a first one"
        );
    }
    summary.lock = plan.lock;
    Ok((
        plan,
        Sealed {
            state: if interrupted.is_some() {
                "resumed"
            } else {
                "sealed"
            },
        },
    ))
}

/// Verifies what was sealed, and does what the sealed manifest says about a difference.
fn later_start(
    request: &Request,
    tree: &Root,
    state: &State<'_>,
    caller: &Caller,
    seal: &Seal,
    summary: &mut Summary,
) -> Result<(Plan, Sealed), Vec<Error>> {
    identify(seal.digest, request.pin, summary);
    let plan = seal.plan()?;
    summary.entries = plan.entries.len();
    let compare = || verify::comparison(tree, &plan, Scope::Sealed);
    let case = Case {
        tree,
        caller,
        plan: &plan,
        digest: seal.digest,
        request,
    };
    let Verdict { note, action } = case.later_start(seal, &request.command, compare);
    if note == Some(Note::ManifestChanged) {
        log_manifest_change(&request.manifest);
    }
    let action = action?;
    let lock = action.lock(plan.lock);
    let name = match action {
        Action::Verify => "verified",
        Action::Warn(drifts) => {
            log_drifts(Level::WARN, &drifts);
            tracing::warn!(
                "the disk differs from the seal, and the service runs all the same: on_drift is \"warn\""
            );
            "verified"
        }
        Action::Restore(drifts) => {
            restore(tree, &plan, &drifts)?;
            "restored"
        }
    };
    state.remove_journal();
    summary.lock = lock;
    Ok((plan, Sealed { state: name }))
}

/// Has the summary say which configuration this is about, however the start ends.
fn identify(digest: Digest, pin: Option<Digest>, summary: &mut Summary) {
    summary.digest = Some(digest);
    summary.pin = PinStatus::of(pin, digest);
}

/// Puts the sealed content back where it drifted.
fn restore(tree: &Root, plan: &Plan, drifts: &[Drift]) -> Result<(), Vec<Error>> {
    log_drifts(Level::WARN, drifts);
    let mut paths = BTreeSet::new();
    paths.extend(drifts.iter().filter_map(Drift::path));
    install::reinstall(tree, plan, &paths)?;
    let left: Vec<Error> = verify::differences(tree, plan, Scope::Sealed)?
        .into_iter()
        .map(Error::Drift)
        .collect();
    if left.is_empty() { Ok(()) } else { Err(left) }
}
