//! The command line: commands, and errors of usage.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::commands::check::CheckArgs;
use crate::commands::digest::DigestArgs;
use crate::commands::init::InitArgs;
use crate::commands::options::{LogOptions, PinValue};
use crate::commands::plan::PlanArgs;
use crate::commands::run::RunArgs;
use crate::commands::status::StatusArgs;
use crate::commands::verify::VerifyArgs;
use crate::escape::escaped;

/// A static, configure-once init for containers: installs and locks the configuration at the first
/// start, seals it, drops root and becomes the service; verifies the seal at every later start, or
/// refuses to run.
#[derive(Debug, Parser)]
#[command(name = "sealinit", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Configure once or verify, drop root, and become the service (ENTRYPOINT)
    Run(Lazy<RunArgs>),
    /// Run a command with signal handling, reaping and a privilege drop, without configuration
    Init(Lazy<InitArgs>),
    /// Compare the disk with the seal: for health checks, probes and cron jobs, or from the host
    Verify(Lazy<VerifyArgs>),
    /// Check whether a first start would succeed here; shows all problems, writes nothing
    Check(Lazy<CheckArgs>),
    /// Show what a start would do now, entry by entry
    Plan(Lazy<PlanArgs>),
    /// Print the manifest's JSON Schema (2020-12), for editors and CI
    #[command(after_help = "\
Exit codes: 0, 74 if standard output is full or closed; 2 for wrong usage.

Example: sealinit schema > sealinit.schema.json")]
    Schema,
    /// Show what is sealed: when, by which version, digest and entries
    Status(Lazy<StatusArgs>),
    /// Print the digest of a manifest and all that it names: on any host, as any user
    Digest(Lazy<DigestArgs>),
}

impl Command {
    /// The options of the log, for commands that log.
    pub(crate) fn log_options(&self) -> Option<&LogOptions> {
        match self {
            Self::Run(Lazy(run)) => Some(&run.log),
            Self::Init(Lazy(init)) => Some(&init.log),
            Self::Verify(Lazy(verify)) => Some(&verify.log),
            Self::Check(Lazy(check)) => Some(&check.log),
            Self::Plan(Lazy(plan)) => Some(&plan.log),
            Self::Schema => None,
            Self::Status(Lazy(status)) => Some(&status.log),
            Self::Digest(Lazy(digest)) => Some(&digest.log),
        }
    }
}

/// The options of a command, defined only when that command is used: the definition of all of them
/// takes 0.07 ms, which each start would spend.
#[derive(Debug)]
pub(crate) struct Lazy<T>(pub(crate) T);

impl<T: Args> Args for Lazy<T> {
    fn augment_args(command: clap::Command) -> clap::Command {
        command.defer(T::augment_args)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        command.defer(T::augment_args_for_update)
    }
}

impl<T: Args> FromArgMatches for Lazy<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        T::from_arg_matches(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}

/// Parses the command line; the first of `arguments` is the program's name.
///
/// # Errors
/// [`clap::Error`] for wrong usage, or for a request for help or the version. It is safe to print,
/// and names the environment variable if the option's value comes from one.
pub(crate) fn parse(arguments: &[OsString]) -> Result<Command, clap::Error> {
    let parsed = Cli::command()
        .try_get_matches_from(arguments)
        .and_then(|matches| {
            refuse_empty_pin(&matches)?;
            Cli::from_arg_matches(&matches)
        });
    match parsed {
        Ok(cli) => Ok(cli.command),
        Err(error) => Err(explained(error, arguments.get(1..).unwrap_or_default())),
    }
}

/// Refuses `--pin ""`, a mistake in a script. An empty `SEALINIT_PIN` means that there is no pin.
fn refuse_empty_pin(matches: &ArgMatches) -> Result<(), clap::Error> {
    let Some((_, options)) = matches.subcommand() else {
        return Ok(());
    };
    let given = options.try_contains_id("pin").is_ok()
        && options.value_source("pin") == Some(ValueSource::CommandLine);
    let empty = given && options.get_one("pin") == Some(&PinValue::Empty);
    if empty {
        let message = "a value is required for '--pin <sha256:HEX>' but none was supplied\n";
        return Err(clap::Error::raw(ErrorKind::InvalidValue, message));
    }
    Ok(())
}

/// Adds the environment variable and the right form to an error, and escapes its quotations.
fn explained(mut error: clap::Error, arguments: &[OsString]) -> clap::Error {
    let variable = variable_of(&error, arguments);
    if let Some(usage) = suggested_usage(&error, arguments) {
        let tip = format!("to run a command, write '{}'", escaped(&usage));
        error.insert(
            ContextKind::Suggested,
            ContextValue::StyledStrs(vec![tip.into()]),
        );
    }
    let quoted: Vec<(ContextKind, ContextValue)> = error
        .context()
        .filter_map(|(kind, value)| Some((kind, without_controls(value)?)))
        .collect();
    for (kind, value) in quoted {
        error.insert(kind, value);
    }
    if let Some(variable) = variable {
        error.insert(ContextKind::InvalidArg, ContextValue::String(variable));
    }
    error
}

/// Renders help or an error of usage, with control characters escaped.
pub(crate) fn printable(error: &clap::Error) -> String {
    let mut text = String::new();
    for c in error.to_string().chars() {
        match c {
            '\n' => text.push(c),
            c if c.is_control() => text.extend(c.escape_debug()),
            c => text.push(c),
        }
    }
    text
}

fn without_controls(value: &ContextValue) -> Option<ContextValue> {
    match value {
        ContextValue::String(text) => Some(ContextValue::String(escaped(text).to_string())),
        ContextValue::Strings(texts) => Some(ContextValue::Strings(
            texts.iter().map(|text| escaped(text).to_string()).collect(),
        )),
        _ => None,
    }
}

/// Returns the environment variable that an invalid value comes from, if the option is not among
/// `arguments`.
fn variable_of(error: &clap::Error, arguments: &[OsString]) -> Option<String> {
    if !matches!(
        error.kind(),
        ErrorKind::InvalidValue | ErrorKind::ValueValidation | ErrorKind::InvalidUtf8
    ) {
        return None;
    }
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let option = argument.split([' ', '=']).next()?;
    let given = arguments
        .iter()
        .take_while(|argument| *argument != "--")
        .filter_map(|argument| argument.to_str())
        .any(|argument| argument.split('=').next() == Some(option));
    let name = option.strip_prefix("--")?.replace('-', "_").to_uppercase();
    let variable = format!("SEALINIT_{name}");
    (!given && std::env::var_os(&variable).is_some()).then_some(variable)
}

/// Returns the command line with `--` before the service's command, if an argument looks like one.
fn suggested_usage(error: &clap::Error, arguments: &[OsString]) -> Option<OsString> {
    let (context, command) = match error.kind() {
        ErrorKind::InvalidSubcommand if error.get(ContextKind::SuggestedSubcommand).is_none() => {
            (ContextKind::InvalidSubcommand, Some("run"))
        }
        ErrorKind::UnknownArgument => (ContextKind::InvalidArg, None),
        _ => return None,
    };
    let Some(ContextValue::String(found)) = error.get(context) else {
        return None;
    };
    let takes_command = ["run", "init", "check", "plan"];
    let first = arguments.first()?.to_str()?;
    if found.starts_with('-') || (command.is_none() && !takes_command.contains(&first)) {
        return None;
    }
    let place = arguments.iter().position(|argument| argument == &**found)?;
    let (before, after) = arguments.split_at(place);
    let mut words: Vec<OsString> = vec!["sealinit".into()];
    words.extend(command.map(OsString::from));
    words.extend_from_slice(before);
    words.push("--".into());
    words.extend_from_slice(after);
    Some(words.join(" ".as_ref()))
}
