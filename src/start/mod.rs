//! The pipeline of `sealinit run`, from the request to the exec.
//!
//! ```text
//! first start   resolve ─▶ admit ─▶ journal ─▶ install ─▶ verify ─▶ test ─▶ seal ─┐
//! later start   seal ─▶ assess: run, warn, restore or refuse ─────────────────────┤
//!                                                    service ◀─ launch ◀─ Clearance
//! ```

pub(crate) mod later;
pub(crate) mod request;
pub(crate) mod resolve;

use std::collections::BTreeSet;
use std::mem;
use std::path::Path;

use nix::sys::stat::{Mode, umask};
use tracing::Level;

use crate::accounts::Caller;
use crate::decide::first_start::{self, Interrupted};
use crate::decide::later_start::{self, Action, MountedManifest};
use crate::digest::Digest;
use crate::digest::pin::PinStatus;
use crate::drift::Drift;
use crate::error::Error;
use crate::escape::escaped;
use crate::fs::root::Root;
use crate::install;
use crate::plan::{Plan, Service};
use crate::report::summary::{StartState, Summary, log_drifts, log_manifest_change};
use crate::service::exec::Inherited;
use crate::service::{Launched, config_test, launch};
use crate::start::later::{Assessment, LaterStart};
use crate::start::request::Request;
use crate::start::resolve::{View, resolve};
use crate::state::seal::Seal;
use crate::state::sealed::Clearance;
use crate::state::{LockedStateDir, Recorded, StateDir};
use crate::verify;
use crate::verify::observe::Scope;

/// The process that starts the container, and the file system that it starts in.
#[derive(Debug)]
struct Host {
    root: Root,
    caller: Caller,
    inherited: Inherited,
}

/// A configuration that is on disk, and the right to run its service.
struct Configured {
    service: Service,
    clearance: Clearance,
    state: StartState,
}

/// Configures the container at its first start, verifies it at every later one, and becomes the
/// service, or starts it for this process to supervise.
///
/// # Errors
///
/// Every error that kept the service from being started.
pub(crate) fn start(
    request: &Request,
    supervise: bool,
    summary: &mut Summary,
) -> Result<Launched, Vec<Error>> {
    let host = Host::of_this_process()?;
    let state = StateDir::open(&host.root, &request.state_dir, &host.caller)?.lock()?;
    let recorded = state.as_state_dir().recorded(&request.manifest)?;
    let configured = match recorded {
        Recorded::Seal(seal) => later_start(request, &host, &state, &seal, summary),
        Recorded::Journal(interrupted) => {
            first_start(request, &host, state, Some(&interrupted), summary)
        }
        Recorded::Nothing => first_start(request, &host, state, None, summary),
    }?;
    let Configured {
        mut service,
        clearance,
        state,
    } = configured;
    if supervise {
        service.supervised.get_or_insert_default();
    }
    if let Clearance::Tolerated(tolerated) = &clearance {
        log_drifts(Level::WARN, tolerated.drifts());
        tracing::warn!(
            "the disk differs from the seal; the service runs because on_drift is \"warn\""
        );
    }
    let Host {
        caller, inherited, ..
    } = &host;
    let announce = || summary.log(state);
    Ok(launch(&service, caller, *inherited, &clearance, announce)?)
}

impl Host {
    fn of_this_process() -> Result<Self, Error> {
        let root = Root::open(Path::new("/")).map_err(|source| Error::Root {
            path: "/".into(),
            source,
        })?;
        // The umask would change the modes of installed files.
        let umask = umask(Mode::empty());
        let pid = std::process::id();
        Ok(Self {
            root,
            caller: Caller::of_this_process()?,
            inherited: Inherited { umask, pid },
        })
    }
}

/// Installs and seals the configuration. `interrupted` is an earlier attempt.
fn first_start(
    request: &Request,
    host: &Host,
    state: LockedStateDir<'_>,
    interrupted: Option<&Interrupted>,
    summary: &mut Summary,
) -> Result<Configured, Vec<Error>> {
    let Host {
        root,
        caller,
        inherited,
    } = host;
    let is_volatile = state.as_state_dir().is_volatile();
    let mut resolution = resolve(
        request,
        root,
        Some(state.as_state_dir()),
        &View::Inside { caller },
    );
    if let Some(digest) = resolution.digest {
        identify(summary, digest, request.pin);
    }
    let settled = mem::take(&mut resolution.settled);
    let (candidate, cache, problems) = resolution.candidate(request)?;
    summary.entries = candidate.plan.entries.len();
    let admitted = first_start::admit(candidate, problems, request.pin, interrupted)?;

    let attempt = state.begin(admitted)?;
    let installed = install::install(root, attempt.plan(), &cache, &settled)?;
    let verified = installed.verify(root)?;
    let tested = verified.test(root, |plan, permit| {
        config_test::run(plan, caller, *inherited, permit)
    })?;
    let (plan, sealed) = attempt.commit(tested)?;
    if is_volatile {
        tracing::warn!(
            "the state directory is on a tmpfs: the seal is lost when the container stops, and the next start is a first start"
        );
    }
    summary.lock = plan.lock;
    Ok(Configured {
        service: plan.service,
        clearance: Clearance::Sealed(sealed),
        state: if interrupted.is_some() {
            StartState::Resumed
        } else {
            StartState::Sealed
        },
    })
}

/// Verifies the sealed configuration, and applies the sealed manifest's `on_drift`.
fn later_start(
    request: &Request,
    host: &Host,
    state: &LockedStateDir<'_>,
    seal: &Seal,
    summary: &mut Summary,
) -> Result<Configured, Vec<Error>> {
    let Host { root, caller, .. } = host;
    let plan = seal.plan()?;
    identify(summary, seal.digest, request.pin);
    summary.entries = plan.entries.len();
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
    } = later.assess(|| verify::comparison(root, &plan, Scope::Sealed));
    if matches!(manifest, Some(MountedManifest::Changed(_))) {
        log_manifest_change(&request.manifest);
    }
    for path in &changed_sources {
        let path = escaped(path).to_string();
        tracing::warn!(
            path,
            "the source changed since it was sealed; recreate the container to apply it"
        );
    }
    let action = action?;
    let lock = action.protection(plan.lock);
    let (clearance, name) = match action {
        Action::Run(clean) => (clean.into(), StartState::Verified),
        Action::Warn(tolerated) => (Clearance::Tolerated(tolerated), StartState::Verified),
        Action::Restore(drifts) => (restore(root, &plan, &drifts)?, StartState::Restored),
    };
    state.remove_journal();
    summary.lock = lock;
    Ok(Configured {
        service: plan.service,
        clearance,
        state: name,
    })
}

/// Sets digest and pin of the summary, so that it names them also if the start is refused.
fn identify(summary: &mut Summary, digest: Digest, pin: Option<Digest>) {
    summary.digest = Some(digest);
    summary.pin = PinStatus::of(pin, digest);
}

/// Puts the sealed content back where it drifted.
fn restore(root: &Root, plan: &Plan, drifts: &[Drift]) -> Result<Clearance, Vec<Error>> {
    log_drifts(Level::WARN, drifts);
    let paths: BTreeSet<&Path> = drifts.iter().filter_map(Drift::path).collect();
    install::reinstall(root, plan, &paths)?;
    let left = verify::differences(root, plan, Scope::Sealed)?;
    Ok(later_start::clean(left)?.into())
}
