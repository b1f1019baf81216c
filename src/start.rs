//! What `sealinit run` does, from the command line to the exec.
//!
//! Never writes before everything is resolved, and never starts the service without proof that it is sealed and unprivileged.
//!
//! ```text
//! Manifest ─┬─▶ Inventory ──┐
//!           └─▶ Identities ─┴─▶ Plan ─▶ preflight ─▶ journal ─▶ Installed ─▶ verify ─▶ seal ─┐
//! Seal ──────────────────────▶ Plan ─────────────────────────────────────────▶ verify ───────┤
//!                                                                                          Sealed
//!                      service ◀── launch: exec ◀── Unprivileged ◀── privileges ◀────────┘
//! ```

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, umask};
use tracing::Level;

use crate::accounts::{Accounts, Identities, Starter};
use crate::digest::{Buffer, Digest};
use crate::error::Error;
use crate::exec::Inherited;
use crate::install::Installed;
use crate::inventory::{Held, Inventory, measure};
use crate::launch::launch;
use crate::log::{PinStatus, Summary, log_drifts, log_manifest_change};
use crate::manifest::{self, Manifest, OnDrift, OnManifestChange};
use crate::plan::{Lock, Origin, Plan, What};
use crate::seal::{Made, Seal};
use crate::state::{Interrupted, Recorded, State};
use crate::tree::Tree;
use crate::verify::{self, Drift};
use crate::{install, preflight, source, trial};

/// What a start is told.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Where the manifest is.
    pub(crate) manifest: PathBuf,
    /// Where journal and seal are kept.
    pub(crate) state_dir: PathBuf,
    /// The only configuration that may be installed or run.
    pub(crate) pin: Option<Digest>,
    /// The command after `--`; empty for the manifest's.
    pub(crate) command: Vec<OsString>,
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

/// Configures the container at its first start, verifies it at every later one, and becomes the service; or supervises it, and
/// gives the exit code when all is over.
///
/// # Errors
/// Everything that is in the way. The service was not started then, and of a refusal nothing was changed.
pub(crate) fn start(options: &Options, summary: &mut Summary) -> Result<u8, Vec<Error>> {
    let starter = Starter::of_this_process()?;
    // What is installed has exactly the mode that it is given.
    let inherited = Inherited { umask: umask(Mode::empty()), pid: std::process::id() };
    let (Plan { mut service, .. }, sealed) = configure(options, &starter, inherited, summary)?;
    if options.supervise {
        service.supervised.get_or_insert_default();
    }
    Ok(launch(&service, &starter, inherited, &sealed, || summary.log(sealed.state))?)
}

/// Has the configuration on disk and sealed, or verified against its seal.
fn configure(
    options: &Options,
    starter: &Starter,
    inherited: Inherited,
    summary: &mut Summary,
) -> Result<(Plan, Sealed), Vec<Error>> {
    let tree = Tree::open(Path::new("/")).map_err(|source| Error::Install { path: "/".into(), source })?;
    let state = State::open(&tree, &options.state_dir, starter)?;
    match state.recorded(&options.manifest)? {
        Recorded::Seal(seal) => later_start(options, &tree, &state, starter, &seal, summary),
        Recorded::Journal(interrupted) => {
            first_start(options, &tree, state, starter, inherited, Some(interrupted), summary)
        }
        Recorded::Nothing => first_start(options, &tree, state, starter, inherited, None, summary),
    }
}

impl From<Error> for Vec<Error> {
    fn from(error: Error) -> Self {
        vec![error]
    }
}

/// A manifest's inventory, or what of it cannot be read.
type ReadInventory = Result<(Inventory, Held), Vec<Error>>;

/// The manifest and what its sources hold, all of one moment: Kubernetes swaps a whole directory by its link `..data`, and files
/// read before and after would make a configuration that nobody wrote.
fn read_configuration(path: &Path) -> Result<(Manifest, ReadInventory), Vec<Error>> {
    const ATTEMPTS: usize = 5;
    let data = || std::fs::read_link(path.parent().unwrap_or(Path::new("")).join("..data")).ok();
    let mut attempt = 1;
    loop {
        let before = data();
        let read = Manifest::load(path).map(|manifest| {
            let inventory = Inventory::read(&manifest);
            (manifest, inventory)
        });
        if attempt == ATTEMPTS || data() == before {
            return read;
        }
        attempt += 1;
    }
}

/// Installs and seals the configuration. `interrupted` is the journal of an earlier attempt.
fn first_start(
    options: &Options,
    tree: &Tree,
    mut state: State<'_>,
    starter: &Starter,
    inherited: Inherited,
    interrupted: Option<Interrupted>,
    summary: &mut Summary,
) -> Result<(Plan, Sealed), Vec<Error>> {
    let (manifest, read) = read_configuration(&options.manifest)?;
    let resolved =
        Accounts::load(tree).map_err(Vec::from).and_then(|accounts| Identities::resolve(&manifest, &accounts, starter));
    let ((inventory, held), identities) = both(read, resolved)?;

    let digest = inventory.digest(manifest.text());
    summary.digest = Some(digest);
    check_pin(options.pin, digest, summary)?;
    if let Some(error) = interrupted.and_then(|interrupted| interrupted.conflict(digest, state.path())) {
        return Err(error.into());
    }

    let plan = Plan::new(&manifest, &inventory, &identities, &options.command)?;
    summary.entries = plan.entries.len();
    let obstacles = preflight::first_start(tree, &plan, &state, starter, &options.manifest);
    if !obstacles.is_empty() {
        return Err(obstacles);
    }

    state.write_journal(digest)?;
    let installed = install::install(tree, &plan, &held)?;
    if let Some(drift) = verify::differences_from_installed(tree, &plan, &installed.kept)?.into_iter().next() {
        return Err(Error::NotInstalled(drift).into());
    }
    if !plan.checks.is_empty() {
        trial::trial(&plan, starter, inherited, &installed)?;
        // What is not locked could have been changed by the check itself.
        tree.forget();
        if let Some(drift) = verify::differences(tree, &plan)?.into_iter().next() {
            return Err(Error::NotInstalled(drift).into());
        }
    }
    let arguments = options.command.clone();
    state.write_seal(&Seal { manifest, inventory, identities, arguments, made: Made::now() })?;
    state.remove_journal();
    if state.is_volatile() {
        tracing::warn!(
            "the state directory is in memory: the seal goes with the container's stop, and the next start is a first one"
        );
    }
    summary.lock = plan.lock;
    Ok((plan, Sealed { state: if interrupted.is_some() { "resumed" } else { "sealed" } }))
}

/// Verifies what was sealed, and does what the sealed manifest says about a difference.
fn later_start(
    options: &Options,
    tree: &Tree,
    state: &State<'_>,
    starter: &Starter,
    seal: &Seal,
    summary: &mut Summary,
) -> Result<(Plan, Sealed), Vec<Error>> {
    let digest = seal.digest();
    summary.digest = Some(digest);
    check_pin(options.pin, digest, summary)?;
    let sealer = seal.identities.installer;
    if sealer != starter.uid {
        return Err(Error::OtherStarter { sealer, is: starter.uid }.into());
    }
    let plan = Plan::new(&seal.manifest, &seal.inventory, &seal.identities, &seal.arguments)?;
    summary.entries = plan.entries.len();
    let mut obstacles = seal.identities.service.unreachable(starter);
    obstacles.extend(preflight::later_start(&plan, starter));
    if !obstacles.is_empty() {
        return Err(obstacles);
    }
    check_manifest(options, seal, plan.on_manifest_change)?;

    let command = command_drift(options, seal, &plan);
    let drifts: Vec<Drift> = command.into_iter().chain(verify::differences(tree, &plan)?).collect();
    let state_name = match plan.on_drift {
        _ if drifts.is_empty() => "verified",
        OnDrift::Refuse => return Err(drifts.into_iter().map(Error::Drift).collect()),
        // Whatever the manifest would put up with: a pinned configuration is the one that runs, and nobody but root replaces what
        // is sealed. That an entry itself became the service's is drift that it does put up with, and lock=partial says so.
        OnDrift::Warn if options.pin.is_some() || drifts.iter().any(|drift| opens_lock(drift, &plan)) => {
            return Err(drifts.into_iter().map(Error::Drift).collect());
        }
        OnDrift::Warn => {
            log_drifts(Level::WARN, &drifts);
            tracing::warn!("the disk differs from the seal, and the service runs all the same: on_drift is \"warn\"");
            "verified"
        }
        OnDrift::Restore => {
            restore(tree, &plan, starter, drifts.clone())?;
            "restored"
        }
    };
    state.remove_journal();
    summary.lock = match plan.on_drift {
        // What drifted may be the lock.
        OnDrift::Warn if !drifts.is_empty() && plan.lock == Lock::Full => Lock::Partial,
        _ => plan.lock,
    };
    Ok((plan, Sealed { state: state_name }))
}

/// Both results, or the errors of both.
fn both<A, B>(a: Result<A, Vec<Error>>, b: Result<B, Vec<Error>>) -> Result<(A, B), Vec<Error>> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (a, b) => Err(a.err().into_iter().chain(b.err()).flatten().collect()),
    }
}

fn check_pin(pin: Option<Digest>, found: Digest, summary: &mut Summary) -> Result<(), Error> {
    summary.pin = PinStatus::of(pin, found);
    Error::not_pinned(pin, found).map_or(Ok(()), Err)
}

/// Says, or refuses, that the manifest mounted now is another one than was sealed. That it is gone is no matter.
fn check_manifest(options: &Options, seal: &Seal, policy: OnManifestChange) -> Result<(), Error> {
    match manifest::read(&options.manifest) {
        Ok(bytes) if bytes == seal.manifest.text().as_bytes() => Ok(()),
        Err(Error::ManifestRead { source, .. }) if source.is_missing() => Ok(()),
        _ if policy == OnManifestChange::Refuse => Err(Error::ManifestChanged { path: options.manifest.clone() }),
        _ => {
            log_manifest_change(&options.manifest);
            Ok(())
        }
    }
}

/// Whether this start was given another command after `--` than the sealed one.
fn command_drift(options: &Options, seal: &Seal, plan: &Plan) -> Option<Drift> {
    let same = options.command == seal.arguments || options.command == plan.service.command;
    let shown = |words: &[OsString]| match words {
        [] => "none".into(),
        words => words.join(std::ffi::OsStr::new(" ")).to_string_lossy().escape_debug().to_string(),
    };
    (!same).then(|| Drift {
        path: "--".into(),
        attribute: "command",
        expected: shown(&plan.service.command),
        found: shown(&options.command),
    })
}

/// Whether a difference lets others replace what is sealed, or hides whether they have.
fn opens_lock(drift: &Drift, plan: &Plan) -> bool {
    drift.attribute == verify::UNSEEN || (plan.lock != Lock::None && drift.attribute == "parent")
}

/// Puts the sealed content back. Nothing is changed unless everything can be.
fn restore(tree: &Tree, plan: &Plan, starter: &Starter, drifts: Vec<Drift>) -> Result<(), Vec<Error>> {
    let paths: BTreeSet<&Path> = drifts.iter().map(|drift| drift.path.as_path()).collect();
    let mut errors = Vec::new();
    let mut restorable: BTreeSet<&Path> = BTreeSet::new();
    for entry in &plan.entries {
        if !paths.contains(entry.dest.as_path()) {
            continue;
        }
        restorable.insert(&entry.dest);
        if let What::File(file) = &entry.what
            && let Origin::Source(path) = &file.origin
        {
            let found = source::open(path)
                .map_err(|_| ())
                .and_then(|(mut source, _)| measure(&mut source, &mut Buffer::new()).map_err(|_| ()));
            if found != Ok(file.content) {
                errors.push(Error::NotRestorable { dest: entry.dest.clone(), source_path: path.clone() });
            }
        }
    }
    errors.extend(preflight::restore(tree, plan, &paths, starter));
    let mounts = preflight::mount_points();
    let beyond_us = |drift: &Drift| {
        (drift.attribute != "extra" && !restorable.contains(drift.path.as_path()))
            // What is mounted there is not this container's to remove.
            || mounts.iter().any(|mounted| mounted.starts_with(&drift.path) && drift.attribute != "parent")
    };
    if !errors.is_empty() || drifts.iter().any(beyond_us) {
        errors.extend(drifts.into_iter().map(Error::Drift));
        return Err(errors);
    }
    log_drifts(Level::WARN, &drifts);
    install::reinstall(tree, plan, &paths)?;
    let left: Vec<Error> = verify::differences(tree, plan)?.into_iter().map(Error::Drift).collect();
    if left.is_empty() { Ok(()) } else { Err(left) }
}
