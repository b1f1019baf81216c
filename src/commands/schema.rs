//! `sealinit schema`: the JSON Schema of the manifest.

use crate::error::Error;
use crate::manifest;
use crate::report;

/// Prints the schema; returns the exit code.
///
/// # Errors
/// [`Error::Output`] if standard output is full or closed.
pub(crate) fn run() -> Result<u8, Vec<Error>> {
    report::print_pretty(&manifest::schema())?;
    Ok(0)
}
