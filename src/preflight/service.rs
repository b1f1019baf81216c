//! Looks for what would keep the service, or one of its tests, from being executed.

use std::path::Path;

use crate::error::Error;
use crate::plan::{EntryKind, Plan, Service};
use crate::preflight::permissions;

/// Returns the obstacles for the service and for each of its tests, which differ only in the
/// program.
pub(super) fn with_tests(plan: &Plan, obstacles: impl Fn(&Service) -> Vec<Error>) -> Vec<Error> {
    let mut errors = obstacles(&plan.service);
    for test in &plan.checks {
        let found = obstacles(&plan.service.with_command(test.command.clone())).into_iter();
        let found = found.filter(|error| !matches!(error, Error::WorkingDir { .. }));
        errors.extend(found.map(|error| Error::CheckNotRunnable(Box::new(error))));
    }
    errors
}

/// Reports whether `plan` installs what is executed at `path`.
pub(super) fn installs(plan: &Plan, path: &Path) -> bool {
    plan.entries.iter().any(|entry| match &entry.kind {
        EntryKind::Absent => false,
        // A file that the service may not execute is as good as none.
        EntryKind::File(file) => {
            entry.dest == path && permissions::may_execute(&plan.service, file.ownership)
        }
        // The new owner and mode decide what is in it and who may enter it.
        EntryKind::Directory(_) => path.starts_with(&entry.dest),
    })
}
