//! Proofs that a service may be run.

use crate::decide::later_start::{Clean, Tolerated};
use crate::install::proof::TestPermit;

/// Proof that the disk agrees with a seal.
#[derive(Debug)]
pub(crate) struct Sealed(());

impl Sealed {
    /// Returns the proof of a first start whose seal is written.
    pub(super) fn committed() -> Self {
        Self(())
    }
}

impl From<Clean> for Sealed {
    fn from(_: Clean) -> Self {
        Self(())
    }
}

/// The reason for which a program may be executed.
#[derive(Debug)]
pub(crate) enum Clearance {
    /// The disk agrees with the seal.
    Sealed(Sealed),
    /// The disk differs, and the manifest tolerates it (`on_drift: warn`).
    Tolerated(Tolerated),
    /// A test of the installed configuration, before it is sealed.
    Test(TestPermit),
    /// There is no configuration (`sealinit init`).
    Unconfigured,
}

impl From<Clean> for Clearance {
    fn from(clean: Clean) -> Self {
        Self::Sealed(clean.into())
    }
}
