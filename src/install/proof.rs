//! The steps of an installation as types, so that none can be left out.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::error::Error;
use crate::fs::root::Root;
use crate::plan::Plan;
use crate::verify;
use crate::verify::observe::Scope;

/// Proof that a plan was put on disk. It has not been read back yet.
#[derive(Debug)]
pub(crate) struct Installed<'p> {
    plan: &'p Plan,
    /// Mutable files of an earlier container, which were not replaced.
    kept: BTreeSet<PathBuf>,
}

/// Proof that the disk agreed with the plan when it was read back.
#[derive(Debug)]
pub(crate) struct Verified<'p> {
    plan: &'p Plan,
}

/// Proof that the service's own tests accepted what was installed, and left it as it was.
#[derive(Debug)]
pub(crate) struct Tested(());

/// Permission to execute the service's tests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TestPermit(());

impl<'p> Installed<'p> {
    pub(super) fn new(plan: &'p Plan, kept: BTreeSet<PathBuf>) -> Self {
        Self { plan, kept }
    }

    /// Reads everything back from the disk and compares it with the plan.
    ///
    /// # Errors
    ///
    /// [`Error::NotInstalled`] for the first difference, or [`Error::Measure`].
    pub(crate) fn verify(self, root: &Root) -> Result<Verified<'p>, Vec<Error>> {
        let scope = Scope::Installed { kept: &self.kept };
        assert_installed(root, self.plan, scope)?;
        Ok(Verified { plan: self.plan })
    }
}

impl Verified<'_> {
    /// Runs the plan's tests, if there are any, with `run`, and verifies the disk again: entries
    /// that are not locked could have been changed by the tests themselves.
    ///
    /// # Errors
    ///
    /// The errors of `run`, or those of [`Installed::verify`].
    pub(crate) fn test(
        self,
        root: &Root,
        run: impl FnOnce(&Plan, TestPermit) -> Result<(), Vec<Error>>,
    ) -> Result<Tested, Vec<Error>> {
        if !self.plan.checks.is_empty() {
            run(self.plan, TestPermit(()))?;
            root.forget();
            assert_installed(root, self.plan, Scope::Sealed)?;
        }
        Ok(Tested(()))
    }
}

fn assert_installed(root: &Root, plan: &Plan, scope: Scope<'_>) -> Result<(), Vec<Error>> {
    match verify::differences(root, plan, scope)?.into_iter().next() {
        Some(drift) => Err(Error::NotInstalled(drift).into()),
        None => Ok(()),
    }
}
