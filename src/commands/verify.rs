//! `sealinit verify`: compares the disk with the seal.
//!
//! Takes no lock and writes nothing, so that a health check can run it beside the service.
//! Unreadable entries are reported, and the others are compared.

use std::fmt;
use std::path::Path;

use clap::Args;
use serde::Serialize;

use crate::accounts::{Accounts, Caller};
use crate::commands::options::{FormatOption, LogOptions, PinOption, RootOption, StateOption};
use crate::digest::Digest;
use crate::digest::pin::PinStatus;
use crate::drift::RenderedDrift;
use crate::error::Error;
use crate::exit_code;
use crate::fs::root::Root;
use crate::plan::{Entry, Protection};
use crate::report::{count, print, shown};
use crate::state::seal::Seal;
use crate::state::{Recorded, StateDir};
use crate::verify;
use crate::verify::observe::Scope;

#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 if everything is as sealed, 1 if something differs or nothing is sealed, 74 if the
seal or an entry cannot be read; 2 for wrong usage.

Example: HEALTHCHECK CMD [\"/sbin/sealinit\", \"verify\"]")]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    root: RootOption,
    #[command(flatten)]
    state: StateOption,
    #[command(flatten)]
    pin: PinOption,
    #[command(flatten)]
    format: FormatOption,
    #[command(flatten)]
    pub(crate) log: LogOptions,
}

impl VerifyArgs {
    /// Prints the report; returns the exit code.
    ///
    /// # Errors
    /// [`Error::Output`] if standard output is full or closed.
    pub(crate) fn run(&self) -> Result<u8, Vec<Error>> {
        let (root, state_dir) = (&self.root.root, &self.state.state_dir);
        let report = verify(root, state_dir, self.pin.digest());
        print(&report, self.format.report_format())?;
        Ok(report.exit_code)
    }
}

/// The result in one word: the first of those that apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum VerifyResult {
    /// The seal could not be read.
    Unknown,
    /// There is no seal, and no first start under way.
    Unsealed,
    /// A first start was interrupted, or is running.
    Interrupted,
    /// There is a seal, and it is damaged or not to be trusted.
    Invalid,
    /// The sealed configuration is not the pinned one.
    Mismatch,
    /// Something differs from the seal.
    Drift,
    /// Some entries could not be read, and the others are as sealed.
    Incomplete,
    /// Everything is as sealed.
    Clean,
}

impl fmt::Display for VerifyResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// The report of `verify`. The order of the fields is that of the JSON.
#[derive(Debug, Serialize)]
pub(crate) struct VerifyReport {
    result: VerifyResult,
    digest: Option<String>,
    pin: PinStatus,
    lock: Option<Protection>,
    /// The number of sealed entries.
    entries: usize,
    /// The number of them that the service may change (`mutable`), which are not compared.
    mutable: usize,
    /// By path.
    differences: Vec<RenderedDrift>,
    /// The entries that could not be read, with the reasons, by path.
    unreadable: Vec<String>,
    /// The reason why there is nothing to compare with, or the difference from the pin.
    error: Option<String>,
    #[serde(skip)]
    exit_code: u8,
}

/// Compares the disk below `root` with the seal in `state_dir`.
fn verify(root: &Path, state_dir: &Path, pin: Option<Digest>) -> VerifyReport {
    let shown_dir = shown(state_dir);
    match sealed(root, state_dir) {
        Ok(Some((tree, seal))) => VerifyReport::of(&tree, &seal, pin, root),
        Ok(None) => {
            let error = format!("nothing is sealed in {shown_dir}; the first sealinit run seals");
            VerifyReport::without_seal(VerifyResult::Unsealed, error, exit_code::FOUND)
        }
        Err(Unsealed::Interrupted) => {
            let error = format!(
                "a first start was interrupted, or is running, in {shown_dir}; start the container again"
            );
            VerifyReport::without_seal(VerifyResult::Interrupted, error, exit_code::FOUND)
        }
        Err(Unsealed::Error(error)) => {
            let (result, code) = match &error {
                Error::Seal { .. } => (VerifyResult::Invalid, exit_code::FOUND),
                error => (VerifyResult::Unknown, error.exit_code()),
            };
            VerifyReport::without_seal(result, error.to_string(), code)
        }
    }
}

/// The reason why there is no seal to compare with.
#[derive(Debug)]
enum Unsealed {
    Interrupted,
    Error(Error),
}

/// Returns the seal below `root`, and the root directory that trusts the user of the seal.
fn sealed(root: &Path, state_dir: &Path) -> Result<Option<(Root, Box<Seal>)>, Unsealed> {
    match read_record(root, state_dir).map_err(Unsealed::Error)? {
        (_, Recorded::Nothing) => Ok(None),
        (_, Recorded::Journal(_)) => Err(Unsealed::Interrupted),
        (tree, Recorded::Seal(seal)) => Ok(Some((tree.trusting(seal.identities.installer), seal))),
    }
}

/// Returns the record below `root`, of any user.
///
/// # Errors
/// [`Error::Root`] or [`Error::StateLook`] if it cannot be read, [`Error::Seal`] if it is invalid.
pub(crate) fn read_record(root: &Path, state_dir: &Path) -> Result<(Root, Recorded), Error> {
    let tree = Root::open(root).map_err(|source| Error::Root {
        path: root.to_owned(),
        source,
    })?;
    let without_lock = |error| match error {
        Error::State { path, source } => Error::StateLook { path, source },
        error => error,
    };
    let state =
        StateDir::open(&tree, state_dir, &Caller::of_this_process()?).map_err(without_lock)?;
    // Sources are not read, so the place of the manifest does not matter.
    let recorded = state
        .recorded_by_any_user(Path::new("/"))
        .map_err(without_lock)?;
    drop(state);
    Ok((tree, recorded))
}

impl VerifyReport {
    fn without_seal(result: VerifyResult, error: String, exit_code: u8) -> Self {
        Self {
            result,
            digest: None,
            pin: PinStatus::None,
            lock: None,
            entries: 0,
            mutable: 0,
            differences: Vec::new(),
            unreadable: Vec::new(),
            error: Some(error),
            exit_code,
        }
    }

    fn of(tree: &Root, seal: &Seal, pin: Option<Digest>, root: &Path) -> Self {
        let plan = match seal.plan() {
            Ok(plan) => plan,
            Err(errors) => {
                let why: Vec<String> = errors.iter().map(ToString::to_string).collect();
                return Self::without_seal(VerifyResult::Invalid, why.join("; "), exit_code::FOUND);
            }
        };
        let comparison = verify::comparison(tree, &plan, Scope::Sealed);
        let names = Accounts::id_names(root);
        // An extra name is found with its directory, but is listed in the order of paths.
        let drifts = comparison.by_path().into_values().flatten();
        let mut unreadable: Vec<String> = comparison
            .unreadable
            .iter()
            .map(ToString::to_string)
            .collect();
        unreadable.sort_unstable();
        let error = Error::not_pinned(pin, seal.digest).map(|error| error.to_string());
        let (result, exit_code) = match comparison.unreadable.iter().map(Error::exit_code).min() {
            _ if error.is_some() => (VerifyResult::Mismatch, exit_code::FOUND),
            _ if !comparison.drifts.is_empty() => (VerifyResult::Drift, exit_code::FOUND),
            Some(code) => (VerifyResult::Incomplete, code),
            None => (VerifyResult::Clean, 0),
        };
        Self {
            result,
            digest: Some(seal.digest.to_string()),
            pin: PinStatus::of(pin, seal.digest),
            lock: Some(plan.lock),
            entries: plan.entries.len(),
            mutable: plan
                .entries
                .iter()
                .filter(|entry| !Entry::is_verified(entry))
                .count(),
            differences: drifts.map(|drift| drift.rendered(&names)).collect(),
            unreadable,
            error,
            exit_code,
        }
    }
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = count(self.entries, "entry", "entries");
        let differences = count(self.differences.len(), "difference", "differences");
        let result = self.result;
        // The result comes first: Docker keeps 4096 bytes of a health check.
        match (result, &self.error) {
            (VerifyResult::Drift, _) => writeln!(f, "{result}: {differences} in {entries}")?,
            (VerifyResult::Clean, _) => writeln!(f, "{result}: {entries} as sealed")?,
            (_, Some(error)) => writeln!(f, "{result}: {error}")?,
            (_, None) => {
                let unreadable = count(self.unreadable.len(), "path", "paths");
                writeln!(
                    f,
                    "{result}: {unreadable} could not be read; no difference in the rest of {entries}"
                )?;
            }
        }
        if let (Some(digest), Some(lock)) = (&self.digest, self.lock) {
            writeln!(
                f,
                "digest={digest} pin={} lock={lock} entries={} mutable={}",
                self.pin, self.entries, self.mutable
            )?;
        }
        for drift in &self.differences {
            writeln!(f, "{} {drift}", drift.change)?;
        }
        for why in &self.unreadable {
            writeln!(f, "unreadable {why}")?;
        }
        Ok(())
    }
}
