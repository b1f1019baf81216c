//! Looks for problems that would keep the service, or one of its tests, from being executed.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;

use crate::declaration::{Declaration, DeclaredKind};
use crate::error::Error;
use crate::fs::root::Root;
use crate::plan::service::command;
use crate::plan::{EntryKind, Plan, Service};
use crate::preflight::permissions;
use crate::sys::capability::CapabilitySet;

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

/// Returns true if `plan` installs an executable file at `path`, or a directory above it.
pub(super) fn installs(plan: &Plan, path: &Path) -> bool {
    plan.entries.iter().any(|entry| match &entry.kind {
        EntryKind::Absent => false,
        // A file that the service may not execute does not count.
        EntryKind::File(file) => {
            entry.dest == path && permissions::may_execute(&plan.service, file.ownership)
        }
        // Its new content, owner and mode are not compared with the present ones.
        EntryKind::Directory(_) => path.starts_with(&entry.dest),
    })
}

/// Returns the problems that would keep the declared service from being started as any user. Its
/// program is searched for with root's permissions, because the service's user is not known.
pub(crate) fn service_of_any_user(
    root: &Root,
    declaration: &Declaration,
    arguments: &[OsString],
) -> Vec<Error> {
    let declared = &declaration.service;
    let command = match command(declaration, arguments) {
        Ok(command) => command,
        Err(error) => return vec![error],
    };
    let service = Service {
        command,
        env: declared.env.clone(),
        working_dir: declared.working_dir.clone(),
        umask: declared.umask,
        uid: 0,
        gid: 0,
        groups: BTreeSet::new(),
        credentials_unchanged: false,
        login: None,
        capabilities: CapabilitySet::EMPTY,
        no_new_privileges: true,
        supervised: None,
    };
    permissions::obstacles(root, &service, |path| is_declared(declaration, path))
}

/// Returns true if an entry of `declaration` may install `path`.
fn is_declared(declaration: &Declaration, path: &Path) -> bool {
    declaration.entries.iter().any(|entry| match entry.kind {
        DeclaredKind::File(_) => entry.dest == path,
        DeclaredKind::Directory(_) => path.starts_with(&entry.dest),
        DeclaredKind::Absent => false,
    })
}
