//! Reports on standard output as text, JSON or XML, and the log on standard error.
//!
//! Names are [escaped](crate::escape), so that no output can drive a terminal.

pub(crate) mod diff;
pub(crate) mod junit;
pub(crate) mod log;
pub(crate) mod reason;
pub(crate) mod stderr;
pub(crate) mod summary;
pub(crate) mod termination_log;

use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use crate::error::Error;
use crate::escape::escaped;

/// The format of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReportFormat {
    /// Lines for people.
    Text,
    /// One JSON object on one line.
    Json,
}

/// Prints a report: its `Display` is the text, in whole lines, and its `Serialize` is the JSON.
///
/// # Errors
/// [`Error::Output`] if standard output is full or closed.
pub(crate) fn print(
    report: &(impl Display + Serialize),
    format: ReportFormat,
) -> Result<(), Error> {
    match format {
        ReportFormat::Text => write(&report.to_string()),
        ReportFormat::Json => write(&(to_json(serde_json::to_string(report))? + "\n")),
    }
}

/// Prints `document` as JSON on several lines.
///
/// # Errors
/// [`Error::Output`], as for [`print()`].
pub(crate) fn print_pretty(document: &impl Serialize) -> Result<(), Error> {
    write(&(to_json(serde_json::to_string_pretty(document))? + "\n"))
}

fn to_json(text: serde_json::Result<String>) -> Result<String, Error> {
    text.map_err(|error| Error::Output {
        source: error.into(),
    })
}

/// Prints `text` as it is.
///
/// # Errors
/// [`Error::Output`] if standard output is full or closed.
pub(crate) fn write(text: &str) -> Result<(), Error> {
    let mut stdout = io::stdout().lock();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    written.map_err(|source| Error::Output { source })
}

/// Formats a path for a report.
pub(crate) fn shown(path: &Path) -> String {
    escaped(path).to_string()
}

/// Formats a number with its noun: `1 entry`, `2 entries`.
pub(crate) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}
