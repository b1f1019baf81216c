//! Installs a plan on disk: every file completely or not at all.
//!
//! No file is more readable at any time than it will be, and nothing is changed outside the
//! destinations. The [plan](crate::plan) decides what is installed; a source that has changed
//! since it was planned is refused.

mod apply;
mod files;
pub(crate) mod proof;
mod restore;

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::error::Error;
use crate::fs::root::Root;
use crate::install::apply::Application;
use crate::install::proof::Installed;
use crate::plan::Plan;
use crate::plan::reading::ContentCache;

pub(crate) use crate::install::restore::reinstall;

/// Installs all of `plan` below `root`; small contents come from `cache`. Everything is on disk
/// afterwards. The recursive directories that are `settled` have been found to be right.
///
/// # Errors
/// The first step that failed. The steps before it are not undone; the next start installs again.
pub(crate) fn install<'p>(
    root: &Root,
    plan: &'p Plan,
    cache: &ContentCache,
    settled: &BTreeSet<PathBuf>,
) -> Result<Installed<'p>, Error> {
    let kept = Application::new(root, plan, cache, |_| true)
        .settled(settled)
        .run()?;
    Ok(Installed::new(plan, kept))
}
