//! Looks for what would keep the service, or one of its tests, from being executed.

use std::path::Path;

use crate::error::Error;
use crate::plan::{EntryKind, Plan, Service};
use crate::preflight::permissions;

/// What keeps the service from being started, and each of its checks, which only differ in the program.
pub(super) fn with_checks(plan: &Plan, obstacles: impl Fn(&Service) -> Vec<Error>) -> Vec<Error> {
    let mut errors = obstacles(&plan.service);
    for check in &plan.checks {
        let found = obstacles(&plan.service.with_command(check.command.clone())).into_iter();
        let found = found.filter(|error| !matches!(error, Error::WorkingDir { .. }));
        errors.extend(found.map(|error| Error::CheckNotRunnable(Box::new(error))));
    }
    errors
}

/// Whether `plan` brings what is executed at `path`.
pub(super) fn brings(plan: &Plan, path: &Path) -> bool {
    plan.entries.iter().any(|entry| match &entry.kind {
        EntryKind::Absent => false,
        // One that the service may not execute is no better than one that is there and it may not.
        EntryKind::File(file) => {
            entry.dest == path && permissions::may_execute(&plan.service, file.ownership)
        }
        // What is in it, and whether it can be entered, is decided by its new owner and mode.
        EntryKind::Directory(_) => path.starts_with(&entry.dest),
    })
}
