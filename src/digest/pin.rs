//! The comparison of a digest with the pinned one.

use std::fmt;

use serde::Serialize;

use crate::digest::sha256::Digest;

/// The relation of a configuration's digest to the pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PinStatus {
    /// There is no pin, or no digest yet to compare with it.
    None,
    /// The digest is the pinned one.
    Ok,
    /// The digest is another.
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
}

impl fmt::Display for PinStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}
