//! Renders the reason for a refusal in one line.

use crate::error::Error;
use crate::ids::IdNames;

/// Renders an error, with the names of the ids in it.
pub(crate) fn reason(error: &Error, names: &IdNames) -> String {
    match error {
        Error::Drift(drift) => drift.rendered(names).to_string(),
        error => error.to_string(),
    }
}
