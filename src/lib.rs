//! sealinit: a static, configure-once init for containers.
//!
//! The program is the product; this library is how its parts and its tests reach each other. Read `start` first:
//! the pipeline is there from top to bottom.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{CheckFormat, Cli, Command, Lazy};
use crate::error::{Error, exit_code};
use crate::plan::configuration::Configuration;
use crate::plan::sources::SourceScope;
use crate::report::Format;
use crate::report::log::Summary;
use crate::service::Launched;

mod accounts; // names and ids, without NSS
mod cli; // the command line
mod commands; // one file for each command
mod decide; // what a start does about what it found
mod digest; // SHA-256
mod drift; // differences between the disk and the seal
mod error; // everything that stops a start, and exit codes
mod escape; // names made safe to print
mod fs; // the file system below a root, without races
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing; // entry points for tests/fuzz
mod install; // puts a plan on disk
mod json; // strict JSON, all problems at once
mod manifest; // the native format
mod plan; // what is to be on disk, fully resolved
mod preflight; // would it work here? reads only, all problems
mod report; // what people and machines are told
mod service; // becomes the service, or supervises it
mod start; // the pipeline: first start, later start
mod state; // the record of what was installed
mod sys; // system calls without a safe wrapper, and the kernel's numbers
mod verify; // compares the disk with a plan

/// The whole program: reads the command line, does what it says, and gives the exit code.
#[must_use]
pub fn main() -> ExitCode {
    // A signal to stop that comes too early for the service waits until there is one to get it. A kernel that cannot do this
    // can do nothing else that is needed either, and will say so.
    let _ = sys::block_signals();
    report_panics();
    let summary = Summary::begin();
    let command = Cli::parse().command;
    if !matches!(command, Command::Run(_) | Command::Init(_)) {
        let _ = sys::unblock_signals();
    }
    let ended = match command {
        Command::Run(Lazy(run)) => run_service(run, summary).map(Launched::supervise),
        Command::Init(Lazy(init)) => run_command(init).map(Launched::supervise),
        command => report(command).map_err(log_errors),
    };
    // Of several problems the one with the lowest code decides, so that the code does not depend on their order.
    let code = |errors: Vec<Error>| {
        errors
            .iter()
            .map(Error::exit_code)
            .min()
            .unwrap_or(exit_code::BUG)
    };
    ended.unwrap_or_else(code).into()
}

fn run_service(run: cli::Run, mut summary: Summary) -> Result<Launched, Vec<Error>> {
    report::log::install(run.log.log_format, run.log.log_level);
    let supervise = run.supervise;
    start::start(&run.request(), supervise, &mut summary).inspect_err(|errors| {
        summary.log_refusal(errors);
        report::termination_log::write(errors);
    })
}

fn run_command(init: cli::Init) -> Result<Launched, Vec<Error>> {
    report::log::install(init.log.log_format, init.log.log_level);
    commands::init::init(init.into())
        .inspect_err(|errors| report::termination_log::write(errors))
        .map_err(log_errors)
}

fn log_errors(errors: Vec<Error>) -> Vec<Error> {
    for error in &errors {
        tracing::error!("{error}");
    }
    errors
}

/// The commands that only look and tell; gives the exit code.
fn report(command: Command) -> Result<u8, Vec<Error>> {
    match command {
        Command::Run(_) | Command::Init(_) => {}
        Command::Verify(Lazy(verify)) => {
            report::log::install(verify.log.log_format, verify.log.log_level);
            let format = verify.report.format;
            let found = commands::verify::verification(&verify.into());
            report::print(&found, format)?;
            return Ok(found.exit_code());
        }
        Command::Check(Lazy(check)) => {
            report::log::install(check.log.log_format, check.log.log_level);
            let format = check.format;
            let found = commands::check::rehearsal(&check.into())?;
            match format {
                CheckFormat::Text => report::print(&found, Format::Text)?,
                CheckFormat::Json => report::print(&found, Format::Json)?,
                CheckFormat::Junit => report::write(&found.junit())?,
            }
            return Ok(found.exit_code());
        }
        Command::Plan(Lazy(plan)) => {
            report::log::install(plan.log.log_format, plan.log.log_level);
            let format = plan.report.format;
            report::print(&commands::plan::forecast(&plan.into())?, format)?;
        }
        Command::Schema => report::write(&manifest_schema())?,
        Command::Status(Lazy(status)) => {
            report::log::install(status.log.log_format, status.log.log_level);
            let found = commands::status::status(&status.root.root, &status.state.state_dir)?;
            report::print(&found, status.report.format)?;
            return Ok(found.exit_code());
        }
        Command::Digest(Lazy(digest)) => {
            report::log::install(digest.log.log_format, digest.log.log_level);
            let configuration =
                Configuration::load(&digest.manifest.manifest, SourceScope::All)?.complete()?;
            report::write(&format!("{}\n", configuration.digest()))?;
        }
    }
    Ok(0)
}

/// The JSON Schema of the manifest, as `sealinit schema` prints it.
fn manifest_schema() -> String {
    // A value made of strings has a JSON form.
    serde_json::to_string_pretty(&json::schema::schema::<manifest::ManifestDocument>())
        .unwrap_or_default()
        + "\n"
}

/// The definition of the command line, out of which manual pages and completions are made (`examples/manual.rs`).
#[must_use]
pub fn command_line() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

/// A panic is a bug. It is one line and a code of its own: as PID 1, an abort would end in a signal that the kernel ignores.
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
