//! The comparison of a configuration's digest with the pinned one.

use crate::digest::Digest;

/// The result of comparing a digest with the pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PinStatus {
    /// There is no pin, or nothing yet to compare with it.
    None,
    Ok,
    Mismatch,
}

impl PinStatus {
    /// Compares `found` with `pin`.
    pub(crate) fn of(pin: Option<Digest>, found: Digest) -> Self {
        match pin {
            None => Self::None,
            Some(expected) if expected == found => Self::Ok,
            Some(_) => Self::Mismatch,
        }
    }

    /// Returns its name in logs and reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Ok => "ok",
            Self::Mismatch => "mismatch",
        }
    }
}
