//! sealinit: a static, configure-once init for containers.
//!
//! The program is the product; this library is how its parts and its tests reach each other. Read `start` first:
//! the pipeline is there from top to bottom.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{CheckFormat, Cli, Command, Lazy};
use crate::configuration::Configuration;
use crate::error::{Error, exit_code};
use crate::inventory::Reach;
use crate::launch::Launched;
use crate::log::Summary;
use crate::report::Format;

mod access; // what the service's uid may do with a path
mod accounts; // names to ids, without NSS
mod acting; // file access as somebody else
mod capability; // capabilities by name
mod cli; // the command line
mod configuration; // manifest and sources of one moment
mod difference; // two texts side by side
mod digest; // SHA-256
mod dir; // a directory by its descriptor
mod elf; // what ELF programs are loaded with
mod error; // all that stops a start, and exit codes
mod escape; // names fit to be printed
mod exec; // becomes the service
mod forecast; // what a start would do
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing; // doors for tests/fuzz
mod hashers; // threads that hash
mod hex; // bytes as hexadecimal
mod init; // the bare init
mod install; // puts a plan on disk
mod inventory; // what the sources hold
mod json; // strict JSON, all problems at once
mod launch; // starts the service
mod log; // what is said on standard error
mod manifest; // the operator's document
mod plan; // what is to be, fully resolved
mod preflight; // what is in the way, before the first write
mod privileges; // gives up root
mod rehearsal; // whether a first start would succeed
mod report; // what is said on standard output
mod schema; // JSON Schema
mod seal; // the record of what was installed
mod signal; // signals by name
mod source; // files that the operator mounts
mod start; // the pipeline
mod state; // where journal and seal are kept
mod status; // what is sealed
mod supervisor; // stays as PID 1 while the service runs
mod sys; // system calls without a safe wrapper, and memory
mod termination_log; // where Kubernetes looks for the reason
mod tree; // the way to every directory
mod trial; // the service's own check
mod verdict; // what becomes of a start
mod verification; // whether the disk is what was sealed
mod verify; // compares the disk with a plan

pub use crate::sys::Heap;

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
    log::install(run.log.log_format, run.log.log_level);
    start::start(&run.into(), &mut summary).inspect_err(|errors| {
        summary.log_refusal(errors);
        termination_log::write(errors);
    })
}

fn run_command(init: cli::Init) -> Result<Launched, Vec<Error>> {
    log::install(init.log.log_format, init.log.log_level);
    init::init(init.into())
        .inspect_err(|errors| termination_log::write(errors))
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
            log::install(verify.log.log_format, verify.log.log_level);
            let format = verify.report.format;
            let found = verification::verification(&verify.into());
            report::print(&found, format)?;
            return Ok(found.exit_code());
        }
        Command::Check(Lazy(check)) => {
            log::install(check.log.log_format, check.log.log_level);
            let format = check.format;
            let found = rehearsal::rehearsal(&check.into())?;
            match format {
                CheckFormat::Text => report::print(&found, Format::Text)?,
                CheckFormat::Json => report::print(&found, Format::Json)?,
                CheckFormat::Junit => report::write(&found.junit())?,
            }
            return Ok(found.exit_code());
        }
        Command::Plan(Lazy(plan)) => {
            log::install(plan.log.log_format, plan.log.log_level);
            let format = plan.report.format;
            report::print(&forecast::forecast(&plan.into())?, format)?;
        }
        Command::Schema => report::write(&manifest_schema())?,
        Command::Status(Lazy(status)) => {
            log::install(status.log.log_format, status.log.log_level);
            let found = status::status(&status.root.root, &status.state.state_dir)?;
            report::print(&found, status.report.format)?;
            return Ok(found.exit_code());
        }
        Command::Digest(Lazy(digest)) => {
            log::install(digest.log.log_format, digest.log.log_level);
            let configuration =
                Configuration::load(&digest.manifest.manifest, Reach::All)?.complete()?;
            report::write(&format!("{}\n", configuration.digest()))?;
        }
    }
    Ok(0)
}

/// The JSON Schema of the manifest, as `sealinit schema` prints it.
fn manifest_schema() -> String {
    // A value made of strings has a JSON form.
    serde_json::to_string_pretty(&schema::schema::<manifest::Document>()).unwrap_or_default() + "\n"
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
