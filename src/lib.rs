//! sealinit: a static, configure-once init for containers.
//!
//! The program is the product; this library is how its parts and its tests reach each other. Read `start` first:
//! the pipeline is there from top to bottom.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::error::exit_code;
use crate::inventory::Inventory;
use crate::log::Summary;
use crate::manifest::Manifest;
use crate::start::Options;

mod accounts; // names to ids, without NSS
mod acting; // file access as somebody else
mod capability; // capabilities by name
mod cli; // the command line
mod digest; // SHA-256
mod error; // all that stops a start, and exit codes
mod escape; // names fit to be printed
mod exec; // becomes the service
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing; // doors for tests/fuzz
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
mod seal; // the record of what was installed
mod signal; // signals by name
mod source; // files that the operator mounts
mod start; // the pipeline
mod state; // where journal and seal are kept
mod supervisor; // stays as PID 1 while the service runs
mod sys; // system calls without a safe wrapper
mod tree; // the file system by descriptors
mod verify; // compares the disk with a plan

/// The whole program: reads the command line, does what it says, and gives the exit code.
#[must_use]
pub fn main() -> ExitCode {
    // A signal to stop that comes too early for the service waits until there is one to get it. A kernel that cannot do this
    // can do nothing else that is needed either, and will say so.
    let _ = sys::block_signals();
    report_panics();
    let mut summary = Summary::begin();
    let command = Cli::parse().command;
    if !matches!(command, Command::Run(_) | Command::Init(_)) {
        let _ = sys::unblock_signals();
    }
    let errors = match command {
        Command::Run(run) => {
            log::install(run.log.log_format, run.log.log_level);
            let options = Options {
                manifest: run.manifest.manifest,
                state_dir: run.state.state_dir,
                pin: run.pin,
                command: run.command,
                supervise: run.supervise,
            };
            match start::start(&options, &mut summary) {
                Ok(code) => return code.into(),
                Err(errors) => {
                    summary.log_refusal(&errors);
                    errors
                }
            }
        }
        Command::Init(init) => {
            log::install(init.log.log_format, init.log.log_level);
            match init::init(init.into()) {
                Ok(code) => return code.into(),
                Err(errors) => log_errors(errors),
            }
        }
        Command::Digest(digest) => {
            log::install(digest.log.log_format, digest.log.log_level);
            match print_digest(&digest.manifest.manifest) {
                Ok(()) => return ExitCode::SUCCESS,
                Err(errors) => log_errors(errors),
            }
        }
    };
    // Of several problems the one with the lowest code decides, so that the code does not depend on their order.
    errors.iter().map(error::Error::exit_code).min().unwrap_or(exit_code::BUG).into()
}

fn log_errors(errors: Vec<error::Error>) -> Vec<error::Error> {
    for error in &errors {
        tracing::error!("{error}");
    }
    errors
}

fn print_digest(path: &std::path::Path) -> Result<(), Vec<error::Error>> {
    let manifest = Manifest::load(path)?;
    let (inventory, _) = Inventory::read(&manifest)?;
    let printed = writeln!(std::io::stdout(), "{}", inventory.digest(manifest.text()));
    Ok(printed.map_err(|source| error::Error::Output { source })?)
}

/// A panic is a bug. It is one line and a code of its own: as PID 1, an abort would end in a signal that the kernel ignores.
fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(
            std::io::stderr(),
            "sealinit: error: panicked at {place}: this is a bug in sealinit; please report it"
        );
        std::process::exit(exit_code::BUG.into());
    }));
}
