//! The report of `sealinit plan`.

use std::fmt;

use serde::Serialize;

use crate::digest::pin::PinStatus;
use crate::drift::{Attribute, RenderedDrift};
use crate::plan::{Entry, EntryKind, Protection};

/// The start that is planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PlannedStart {
    /// A first start.
    Seal,
    /// A first start after one that was interrupted.
    Resume,
    /// A later start that finds no difference.
    Verify,
    /// A later start that logs drift and tolerates it.
    Warn,
    /// A later start that puts the sealed content back.
    Restore,
    /// No start: there are obstacles.
    Refuse,
}

impl fmt::Display for PlannedStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// The action on one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StepAction {
    Install,
    Replace,
    Keep,
    Remove,
    /// A later start finds a difference.
    Drift,
    /// The path could not be read.
    Unknown,
}

impl fmt::Display for StepAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// The kind of one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StepKind {
    File,
    Directory,
    Mutable,
    Absent,
    /// A name that its directory may not have.
    Extra,
}

impl fmt::Display for StepKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl From<&Entry> for StepKind {
    fn from(entry: &Entry) -> Self {
        match &entry.kind {
            EntryKind::File(file) if file.mutable => Self::Mutable,
            EntryKind::File(_) => Self::File,
            EntryKind::Directory(_) => Self::Directory,
            EntryKind::Absent => Self::Absent,
        }
    }
}

/// The report of `plan`. The order of the fields is that of the JSON.
#[derive(Debug, Serialize)]
pub(crate) struct PlanReport {
    pub(crate) start: PlannedStart,
    pub(crate) digest: String,
    pub(crate) pin: PinStatus,
    pub(crate) lock: Protection,
    /// By path.
    pub(crate) entries: Vec<PlanStep>,
    /// The reasons of a refusal, as the start gives them.
    pub(crate) obstacles: Vec<String>,
    /// Other remarks for an operator.
    pub(crate) notes: Vec<String>,
}

/// The plan for one path.
#[derive(Debug, Serialize)]
pub(crate) struct PlanStep {
    pub(crate) action: StepAction,
    pub(crate) kind: StepKind,
    pub(crate) path: String,
    pub(crate) differences: Vec<Difference>,
    /// The change of the content as a unified diff.
    pub(crate) diff: Option<String>,
}

/// One attribute of a path that differs; the path is the step's.
#[derive(Debug, Serialize)]
pub(crate) struct Difference {
    attribute: Attribute,
    expected: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_name: Option<String>,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    found_name: Option<String>,
    #[serde(skip)]
    line: String,
}

impl From<RenderedDrift> for Difference {
    fn from(drift: RenderedDrift) -> Self {
        Self {
            line: drift.values(),
            attribute: drift.attribute,
            expected: drift.expected,
            expected_name: drift.expected_name,
            found: drift.found,
            found_name: drift.found_name,
        }
    }
}

impl fmt::Display for PlanReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.entries.len();
        let differing = self
            .entries
            .iter()
            .filter(|step| step.action != StepAction::Keep)
            .count();
        let entries = if total == 1 { "entry" } else { "entries" };
        let differ = if differing == 1 { "differs" } else { "differ" };
        writeln!(
            f,
            "{}: {differing} of {total} {entries} {differ}",
            self.start
        )?;
        writeln!(
            f,
            "digest={} pin={} lock={}",
            self.digest, self.pin, self.lock
        )?;
        for step in &self.entries {
            step.fmt(f)?;
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

impl fmt::Display for PlanStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.action, self.kind, self.path)?;
        for (index, difference) in self.differences.iter().enumerate() {
            let separator = if index == 0 { ": " } else { "; " };
            write!(f, "{separator}{}", difference.line)?;
        }
        writeln!(f)?;
        f.write_str(self.diff.as_deref().unwrap_or(""))
    }
}
