//! Proofs that a service may be run.

use crate::decide::later_start::{Clean, Tolerated};
use crate::install::proof::TestPermit;

/// Proof that the disk agrees with a seal.
#[derive(Debug)]
pub(crate) struct Sealed(());

impl Sealed {
    /// The proof of a first start, at the moment its seal is written.
    pub(super) fn committed() -> Self {
        Self(())
    }
}

impl From<Clean> for Sealed {
    fn from(_: Clean) -> Self {
        Self(())
    }
}

/// The reason why a program may be executed.
#[derive(Debug)]
pub(crate) enum Clearance {
    /// The disk agrees with the seal.
    Sealed(Sealed),
    /// The disk differs, and the manifest says to run the service all the same.
    Tolerated(Tolerated),
    /// A test of what was installed, before it is sealed.
    Test(TestPermit),
    /// There is no configuration to differ from.
    Unconfigured,
}

impl From<Clean> for Clearance {
    fn from(clean: Clean) -> Self {
        Self::Sealed(clean.into())
    }
}
