//! sealinit: a static, configure-once init for containers.
//!
//! The library exists for the program and its tests. Read `start` first: it is the pipeline from
//! top to bottom.

use std::io::Write;
use std::process::ExitCode;

use crate::cli::{Command, Lazy};
use crate::error::Error;
use crate::report::log::{LogFormat, LogLevel};
use crate::report::summary::Summary;
use crate::service::Launched;

mod accounts; // names and ids, without NSS
mod cli; // the command line
mod commands; // one file for each command
mod decide; // decides what a start does
mod declaration; // the wanted state, whichever format declares it
mod digest; // SHA-256
mod drift; // differences between the disk and the seal
mod error; // errors with remedies and exit codes
mod escape; // escapes names for messages
mod exit_code; // exit codes
mod fs; // the file system below a root, without races
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing; // entry points for tests/fuzz
mod ids; // ids with their names
mod install; // puts a plan on disk
mod json; // strict JSON, all problems at once
mod manifest; // the native format
mod plan; // the resolved state to be on disk
mod preflight; // checks before the first write, reads only
mod report; // log lines and reports
mod service; // becomes the service, or supervises it
mod start; // the pipeline: first start, later start
mod state; // the record of what was installed
mod sys; // system calls without a safe wrapper, and the kernel's numbers
mod verify; // compares the disk with a plan

/// The whole program: parses the command line, sets up the log, runs the command, prints its report
/// and returns the exit code.
#[must_use]
pub fn main() -> ExitCode {
    // Signals that arrive before the service runs stay pending for it. If the kernel refuses this,
    // a later step fails as well and reports it.
    let _ = sys::block_signals();
    report_panics();
    let summary = Summary::begin();
    match cli::parse(&std::env::args_os().collect::<Vec<_>>()) {
        Ok(command) => run(command, summary).into(),
        Err(error) => usage(&error).into(),
    }
}

fn run(command: Command, summary: Summary) -> u8 {
    if !matches!(command, Command::Run(_) | Command::Init(_)) {
        let _ = sys::unblock_signals();
    }
    match command.log_options() {
        Some(options) => report::log::init(options.format(), options.level()),
        None => report::log::init(LogFormat::Text, LogLevel::Info),
    }
    let ended = match command {
        Command::Run(Lazy(run)) => run.run(summary).map(Launched::supervise),
        Command::Init(Lazy(init)) => init.run().map(Launched::supervise).map_err(log_errors),
        Command::Verify(Lazy(verify)) => verify.run().map_err(log_errors),
        Command::Check(Lazy(check)) => check.run().map_err(log_errors),
        Command::Plan(Lazy(plan)) => plan.run().map_err(log_errors),
        Command::Schema => commands::schema::run().map_err(log_errors),
        Command::Status(Lazy(status)) => status.run().map_err(log_errors),
        Command::Digest(Lazy(digest)) => digest.run().map_err(log_errors),
    };
    // The lowest code of several problems, so that their order does not matter.
    ended.unwrap_or_else(|errors| {
        let codes = errors.iter().map(Error::exit_code);
        codes.min().unwrap_or(exit_code::BUG)
    })
}

fn log_errors(errors: Vec<Error>) -> Vec<Error> {
    for error in &errors {
        tracing::error!("{error}");
    }
    errors
}

/// Prints help or an error of usage; returns the exit code.
fn usage(error: &clap::Error) -> u8 {
    let text = cli::printable(error);
    // A closed standard output or standard error leaves nowhere to report it.
    let _ = if error.use_stderr() {
        std::io::stderr().write_all(text.as_bytes())
    } else {
        std::io::stdout().write_all(text.as_bytes())
    };
    if error.use_stderr() {
        exit_code::USAGE
    } else {
        0
    }
}

/// The definition of the command line, for manual pages and completions (`examples/manual.rs`).
#[must_use]
pub fn command_line() -> clap::Command {
    <cli::Cli as clap::CommandFactory>::command()
}

/// Reports a panic in one line and exits with 70, since the kernel ignores an abort of PID 1.
fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        let _ = writeln!(
            std::io::stderr(),
            "sealinit: error: panicked at {place}: this is a bug in sealinit; please report it"
        );
        std::process::exit(exit_code::BUG.into());
    }));
}
