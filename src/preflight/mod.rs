//! Finds everything that would stop a start, before its first write.
//!
//! It only reads. Each condition is checked again by the step that depends on it.

mod destinations;
mod own_paths;
pub(crate) mod permissions;
pub(crate) mod privileges;
mod restore;
mod service;
mod settled;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::accounts::Caller;
use crate::declaration::Declaration;
use crate::error::Error;
use crate::fs::mounts::mount_points;
use crate::fs::root::Root;
use crate::plan::Plan;
use crate::preflight::destinations::destinations;
use crate::preflight::own_paths::own_paths;
use crate::preflight::privileges::{Phase, capabilities, foreign_owners, user_namespace};
use crate::preflight::service::{installs, with_tests};
use crate::preflight::settled::settled;
use crate::service::program;
use crate::state::StateDir;

pub(crate) use crate::preflight::restore::restore;
pub(crate) use crate::preflight::service::service_of_any_user;

/// The problems of a first start, and what installing needs not do because of what was found.
#[derive(Debug, Default)]
pub(crate) struct Examination {
    pub(crate) problems: Vec<Error>,
    /// Recursive directories below which everything has its owner, and nothing is installed.
    pub(crate) settled: BTreeSet<PathBuf>,
}

impl From<Vec<Error>> for Examination {
    fn from(problems: Vec<Error>) -> Self {
        Self {
            problems,
            ..Self::default()
        }
    }
}

/// Finds everything that would stop a first start of `plan` by this process.
pub(crate) fn first_start(
    root: &Root,
    plan: &Plan,
    state: &StateDir<'_>,
    caller: &Caller,
    manifest: &Path,
) -> Examination {
    let mut errors = Vec::new();
    errors.extend(state.obstacle());
    errors.extend(own_paths(root, plan, state.path(), Some(manifest)));
    let (obstacles, right) = destinations(root, plan, mount_points());
    errors.extend(obstacles);
    errors.extend(foreign_owners(plan, caller));
    errors.extend(capabilities(
        &plan.service,
        &plan.entries,
        caller,
        Phase::FirstStart,
    ));
    errors.extend(user_namespace(&plan.service, &plan.entries, caller));
    let planned = |path: &Path| installs(plan, path);
    errors.extend(with_tests(plan, |service| {
        program::obstacles(service, planned)
    }));
    Examination {
        problems: errors,
        settled: settled(root, plan, right),
    }
}

/// Returns everything that would stop a first start of `plan` by root in the container below
/// `root`, seen from outside: with `mount_points`, and without knowing its capabilities.
pub(crate) fn first_start_elsewhere(
    root: &Root,
    plan: &Plan,
    state: &StateDir<'_>,
    mount_points: Vec<PathBuf>,
) -> Vec<Error> {
    let mut errors = Vec::new();
    errors.extend(state.obstacle());
    errors.extend(own_paths(root, plan, state.path(), None));
    let (obstacles, _) = destinations(root, plan, mount_points);
    errors.extend(obstacles);
    errors.extend(with_tests(plan, |service| {
        permissions::obstacles(root, service, |path| installs(plan, path))
    }));
    errors
}

/// Returns everything that would stop a first start of `declaration`, as far as that can be found
/// without a plan: the service's user is not known.
pub(crate) fn first_start_of_unknown_user(
    root: &Root,
    declaration: &Declaration,
    arguments: &[OsString],
    state: &StateDir<'_>,
) -> Vec<Error> {
    let mut errors: Vec<Error> = state.obstacle().into_iter().collect();
    errors.extend(service_of_any_user(root, declaration, arguments));
    errors
}

/// Returns everything that would keep a later start of `plan` from becoming the service. The ids
/// of the user namespace were checked by the first start.
pub(crate) fn later_start(plan: &Plan, caller: &Caller) -> Vec<Error> {
    capabilities(&plan.service, &plan.entries, caller, Phase::LaterStart)
        .into_iter()
        .collect()
}
