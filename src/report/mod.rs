//! What a command found, on standard output: for people or for machines.
//!
//! Never decides what was found, and never prints what could drive a terminal: names come [escaped](crate::escape).

pub(crate) mod diff;
pub(crate) mod log;
pub(crate) mod termination_log;

use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;

use clap::ValueEnum;
use serde::Serialize;

use crate::error::Error;
use crate::escape::escaped;

/// How a report is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Lines for people.
    Text,
    /// One JSON object on one line.
    Json,
}

/// Prints a report: its `Display` is the text, with every line ended; its `Serialize` is the JSON.
///
/// # Errors
/// That standard output is full or closed.
pub(crate) fn print(report: &(impl Display + Serialize), format: Format) -> Result<(), Error> {
    let text = match format {
        Format::Text => report.to_string(),
        // Structs of strings and numbers have a JSON form.
        Format::Json => serde_json::to_string(report).unwrap_or_default() + "\n",
    };
    write(&text)
}

/// Prints `text` as it is.
///
/// # Errors
/// As [`print()`].
pub(crate) fn write(text: &str) -> Result<(), Error> {
    let mut stdout = io::stdout().lock();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    written.map_err(|source| Error::Output { source })
}

/// A path as it stands in a report.
pub(crate) fn shown(path: &Path) -> String {
    escaped(path).to_string()
}

/// `1 entry`, `2 entries`.
pub(crate) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}
