//! What `sealinit verify` finds: whether the disk still is what was sealed, and all in which it is not.
//!
//! Never locks and never writes: it runs beside the service, as often as a health check likes. Where it cannot look it says so and
//! goes on.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::accounts::Caller;
use crate::digest::Digest;
use crate::drift::{Drift, RenderedDrift};
use crate::error::{Error, exit_code};
use crate::fs::root::Root;
use crate::plan::Entry;
use crate::report::log::PinStatus;
use crate::report::{count, shown};
use crate::state::seal::Seal;
use crate::state::{Recorded, StateDir};
use crate::verify;
use crate::verify::observe::Scope;

/// What `verify` is told.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// The container's root directory.
    pub(crate) root: PathBuf,
    /// Where below it the seal is kept.
    pub(crate) state_dir: PathBuf,
    /// The only configuration that may have been sealed.
    pub(crate) pin: Option<Digest>,
}

/// The answer in one word. Of several that fit, the first here is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// The seal could not be looked at.
    Unknown,
    /// There is no seal, and no first start under way.
    Unsealed,
    /// A first start has not reached its end.
    Interrupted,
    /// There is a seal, and it cannot be believed.
    Unbelievable,
    /// What was sealed is not the pinned configuration.
    Mismatch,
    /// Something differs from the seal.
    Drift,
    /// What could be looked at is as sealed.
    Incomplete,
    /// Everything is as sealed.
    Clean,
}

/// What was found. The order of the fields is that of the JSON.
#[derive(Debug, Serialize)]
pub(crate) struct VerifyReport {
    result: Outcome,
    digest: Option<String>,
    pin: &'static str,
    lock: Option<&'static str>,
    /// How many entries are sealed.
    entries: usize,
    /// How many of them are the service's to change (`mutable`), and not compared.
    mutable: usize,
    /// By path.
    differences: Vec<RenderedDrift>,
    /// By path: what could not be looked at, and why.
    unseen: Vec<String>,
    /// Why there is nothing to compare with.
    error: Option<String>,
    #[serde(skip)]
    exit_code: u8,
}

/// Compares what is below `options.root` with its seal.
pub(crate) fn verification(options: &Options) -> VerifyReport {
    match sealed(options) {
        Ok(Some((tree, seal))) => VerifyReport::of(&tree, &seal, options.pin),
        Ok(None) => {
            let state_dir = shown(&options.state_dir);
            let error = format!("nothing is sealed in {state_dir}; the first sealinit run seals");
            VerifyReport::without_seal(Outcome::Unsealed, error, exit_code::FOUND)
        }
        Err(Unsealed::Interrupted) => {
            let state_dir = shown(&options.state_dir);
            let error = format!(
                "a first start has not reached its end in {state_dir}; start the container again"
            );
            VerifyReport::without_seal(Outcome::Interrupted, error, exit_code::FOUND)
        }
        Err(Unsealed::Error(error)) => {
            let (outcome, code) = match &error {
                Error::Seal { .. } => (Outcome::Unbelievable, exit_code::FOUND),
                error => (Outcome::Unknown, error.exit_code()),
            };
            VerifyReport::without_seal(outcome, error.to_string(), code)
        }
    }
}

/// Why there is no seal to compare with.
#[derive(Debug)]
enum Unsealed {
    Interrupted,
    Error(Error),
}

/// The seal below `options.root`, and the tree in the eyes of whoever sealed.
fn sealed(options: &Options) -> Result<Option<(Root, Box<Seal>)>, Unsealed> {
    match look(&options.root, &options.state_dir).map_err(Unsealed::Error)? {
        (_, Recorded::Nothing) => Ok(None),
        (_, Recorded::Journal(_)) => Err(Unsealed::Interrupted),
        (tree, Recorded::Seal(seal)) => Ok(Some((tree.trusting(seal.identities.installer), seal))),
    }
}

/// What is recorded below `root`, by whomever.
///
/// # Errors
/// That it cannot be looked at, or a seal that cannot be believed.
pub(crate) fn look(root: &Path, state_dir: &Path) -> Result<(Root, Recorded), Error> {
    let tree = Root::open(root).map_err(|source| Error::Root {
        path: root.to_owned(),
        source,
    })?;
    let to_look = |error| match error {
        Error::State { path, source } => Error::StateLook { path, source },
        error => error,
    };
    let state = StateDir::open(&tree, state_dir, &Caller::of_this_process()?).map_err(to_look)?;
    // Sources are not looked for, so where the manifest was is of no matter.
    let recorded = state
        .recorded_by_any_user(Path::new("/"))
        .map_err(to_look)?;
    drop(state);
    Ok((tree, recorded))
}

impl VerifyReport {
    fn without_seal(result: Outcome, error: String, exit_code: u8) -> Self {
        Self {
            result,
            digest: None,
            pin: PinStatus::None.name(),
            lock: None,
            entries: 0,
            mutable: 0,
            differences: Vec::new(),
            unseen: Vec::new(),
            error: Some(error),
            exit_code,
        }
    }

    fn of(tree: &Root, seal: &Seal, pin: Option<Digest>) -> Self {
        let plan = match seal.plan() {
            Ok(plan) => plan,
            Err(errors) => {
                let why: Vec<String> = errors.iter().map(ToString::to_string).collect();
                return Self::without_seal(Outcome::Unbelievable, why.join("; "), exit_code::FOUND);
            }
        };
        let comparison = verify::comparison(tree, &plan, Scope::Sealed);
        // An extra name is found with its directory, but belongs between the entries that it stands between.
        let drifts = comparison.by_path().into_values().flatten();
        let mut unseen: Vec<String> = comparison
            .unreadable
            .iter()
            .map(ToString::to_string)
            .collect();
        unseen.sort_unstable();
        let error = Error::not_pinned(pin, seal.digest).map(|error| error.to_string());
        let (result, exit_code) = match comparison.unreadable.iter().map(Error::exit_code).min() {
            _ if error.is_some() => (Outcome::Mismatch, exit_code::FOUND),
            _ if !comparison.drifts.is_empty() => (Outcome::Drift, exit_code::FOUND),
            Some(code) => (Outcome::Incomplete, code),
            None => (Outcome::Clean, 0),
        };
        Self {
            result,
            digest: Some(seal.digest.to_string()),
            pin: PinStatus::of(pin, seal.digest).name(),
            lock: Some(plan.lock.name()),
            entries: plan.entries.len(),
            mutable: plan
                .entries
                .iter()
                .filter(|entry| !Entry::is_verified(entry))
                .count(),
            differences: drifts.map(Drift::rendered).collect(),
            unseen,
            error,
            exit_code,
        }
    }

    /// The exit code of `verify`.
    pub(crate) fn exit_code(&self) -> u8 {
        self.exit_code
    }
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = count(self.entries, "entry", "entries");
        let differences = count(self.differences.len(), "difference", "differences");
        // First, for whoever reads no further: Docker keeps the first 4096 bytes of a health check.
        match (self.result, &self.error) {
            (Outcome::Unknown, Some(error)) => writeln!(f, "unknown: {error}")?,
            (Outcome::Unsealed, Some(error)) => writeln!(f, "unsealed: {error}")?,
            (Outcome::Interrupted, Some(error)) => writeln!(f, "interrupted: {error}")?,
            (Outcome::Unbelievable, Some(error)) => writeln!(f, "unbelievable: {error}")?,
            (Outcome::Mismatch, Some(error)) => writeln!(f, "mismatch: {error}")?,
            (Outcome::Incomplete, _) => {
                writeln!(
                    f,
                    "incomplete: no difference in what could be looked at of {entries}"
                )?;
            }
            (Outcome::Clean, _) => writeln!(f, "clean: {entries} as sealed")?,
            _ => writeln!(f, "drift: {differences} in {entries}")?,
        }
        if let (Some(digest), Some(lock)) = (&self.digest, self.lock) {
            writeln!(
                f,
                "digest={digest} pin={} lock={lock} entries={} mutable={}",
                self.pin, self.entries, self.mutable
            )?;
        }
        for RenderedDrift {
            path,
            change,
            attribute,
            expected,
            found,
        } in &self.differences
        {
            writeln!(
                f,
                "{change} {path}: {attribute}: expected {expected}, found {found}"
            )?;
        }
        for why in &self.unseen {
            writeln!(f, "unseen {why}")?;
        }
        Ok(())
    }
}
