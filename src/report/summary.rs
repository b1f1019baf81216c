//! The summary line of a start, and the events that explain it.

use std::fmt;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;
use tracing::Level;

use crate::accounts::Accounts;
use crate::digest::Digest;
use crate::digest::pin::PinStatus;
use crate::drift::Drift;
use crate::error::{DRIFT_REMEDY, Error};
use crate::escape::escaped;
use crate::ids::IdNames;
use crate::plan::Protection;

/// The result of a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StartState {
    /// A first start installed and sealed the configuration.
    Sealed,
    /// As `Sealed`, after an attempt that was interrupted.
    Resumed,
    /// A later start found the disk as sealed, or tolerates the differences (`on_drift: warn`).
    Verified,
    /// A later start put the sealed content back.
    Restored,
    /// The service was not started.
    Refused,
}

impl fmt::Display for StartState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// The values of a start's summary: each start logs exactly one.
#[derive(Debug)]
pub(crate) struct Summary {
    started: Instant,
    pub(crate) digest: Option<Digest>,
    pub(crate) pin: PinStatus,
    pub(crate) lock: Protection,
    pub(crate) entries: usize,
    logged: bool,
}

impl Summary {
    /// Returns the summary of a start that begins now.
    pub(crate) fn begin() -> Self {
        Self {
            started: Instant::now(),
            digest: None,
            pin: PinStatus::None,
            lock: Protection::None,
            entries: 0,
            logged: false,
        }
    }

    /// Logs that the service starts, and the state of its configuration.
    pub(crate) fn log(&mut self, state: StartState) {
        self.logged = true;
        self.event(Level::INFO, state, &state.to_string());
    }

    /// Logs every error that stopped the start, and the refusal.
    pub(crate) fn log_refusal(&self, errors: &[Error]) {
        let mut names = None;
        for error in errors {
            match error {
                Error::Drift(drift) => log_drift(Level::ERROR, drift, &mut names),
                Error::CheckFailed { output, .. } => {
                    for line in output {
                        tracing::error!("check: {line}");
                    }
                    tracing::error!("{error}");
                }
                error => tracing::error!("{error}"),
            }
        }
        // A failed exec does not change what was logged about the configuration.
        if self.logged {
            return;
        }
        self.event(Level::ERROR, StartState::Refused, &refusal(errors));
    }

    fn event(&self, level: Level, state: StartState, message: &str) {
        let digest = self
            .digest
            .map_or_else(|| "none".into(), |digest| digest.to_string());
        let (pin, lock, entries) = (self.pin, self.lock, self.entries as u64);
        let ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        // The level of an event is a constant of its call site.
        if level == Level::ERROR {
            tracing::error!(%state, digest, %pin, %lock, entries, ms, "{message}");
        } else {
            tracing::info!(%state, digest, %pin, %lock, entries, ms, "{message}");
        }
    }
}

/// Returns the message of a refusal: what can be done about it, if that is not in the errors.
fn refusal(errors: &[Error]) -> String {
    let mut drifts = errors.iter().filter_map(|error| match error {
        Error::Drift(drift) => Some(drift),
        _ => None,
    });
    if drifts.clone().any(|drift| drift.path().is_some()) {
        format!("refused: the disk differs from the seal; {DRIFT_REMEDY}")
    } else if drifts.next().is_some() {
        "refused: the command is not the sealed one; give the sealed one after -- or none, or recreate the container".into()
    } else {
        "refused: the service was not started".into()
    }
}

/// Logs differences between disk and seal.
pub(crate) fn log_drifts<'a>(level: Level, drifts: impl IntoIterator<Item = &'a Drift>) {
    let mut names = None;
    for drift in drifts {
        log_drift(level, drift, &mut names);
    }
}

/// Logs a difference. `names` are read for the first one that is logged.
fn log_drift(level: Level, drift: &Drift, names: &mut Option<IdNames>) {
    let names = names.get_or_insert_with(|| Accounts::id_names(Path::new("/")));
    let rendered = drift.rendered(names);
    let (path, attribute) = (rendered.path.as_deref(), rendered.attribute);
    let (expected, found) = (rendered.expected(), rendered.found());
    if level == Level::ERROR {
        tracing::error!(path, %attribute, expected, found, "drift");
    } else {
        tracing::warn!(path, %attribute, expected, found, "drift");
    }
}

/// Logs that the mounted manifest is not the sealed one.
pub(crate) fn log_manifest_change(path: &Path) {
    let path = escaped(path).to_string();
    tracing::warn!(
        path,
        "the manifest is not the sealed one; the sealed configuration runs; recreate the container to apply the new one"
    );
}
