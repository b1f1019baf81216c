//! Compares the disk with a plan: observes it first, then compares.

pub(crate) mod compare;
pub(crate) mod observe;

use crate::drift::Drift;
use crate::error::Error;
use crate::fs::root::Root;
use crate::plan::Plan;
use crate::verify::compare::{Comparison, compare};
use crate::verify::observe::{Scope, observe};

/// Compares the entries of `plan` that are in `scope` with the disk below `root`.
pub(crate) fn comparison(root: &Root, plan: &Plan, scope: Scope<'_>) -> Comparison {
    compare(plan, observe(root, plan, scope))
}

/// Returns everything in which the disk below `root` differs from `plan`, in the order of the plan.
///
/// # Errors
/// [`Error::Measure`] for each entry that could not be read, if nothing else differs.
pub(crate) fn differences(
    root: &Root,
    plan: &Plan,
    scope: Scope<'_>,
) -> Result<Vec<Drift>, Vec<Error>> {
    comparison(root, plan, scope).complete()
}
