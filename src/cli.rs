//! What the command line and the environment say; the flag wins.
//!
//! Never does anything about it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgMatches, Args, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::accounts::UserSpec;
use crate::commands::check as rehearsal;
use crate::commands::init;
use crate::commands::plan as forecast;
use crate::commands::verify as verification;
use crate::digest::Digest;
use crate::manifest::SignalTarget;
use crate::report::Format;
use crate::report::log::{LogFormat, LogLevel};
use crate::service::supervise::{DEFAULT_GRACE, SupervisionConfig};
use crate::start::request::Request;
use crate::sys::signal::{Signal, no_such_signal};

/// A static, configure-once init for containers: installs and locks the configuration at the first start, seals it, drops root and
/// becomes the service; verifies the seal at every later start, or refuses to run.
#[derive(Debug, Parser)]
#[command(name = "sealinit", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Configure once or verify, drop root, and become the service (ENTRYPOINT)
    Run(Lazy<Run>),
    /// Run a command with signals, reaping and a proven privilege drop, without any configuration
    Init(Lazy<Init>),
    /// Compare the disk with the seal: for health checks, probes and cron jobs, or from the host
    Verify(Lazy<Verify>),
    /// Would a first start succeed here? Tells all that would stop it, and writes nothing
    Check(Lazy<Check>),
    /// Tell what a start would do now, entry by entry
    Plan(Lazy<Plan>),
    /// Print the manifest's JSON Schema (2020-12), for editors and CI
    Schema,
    /// Print what is sealed: when, by which version, digest and entries
    Status(Lazy<Status>),
    /// Print the digest of a manifest and all that it names: on any host, as any user, without the image
    Digest(Lazy<DigestOf>),
}

/// The options of a command that are not defined before it is the one that is given: the definition of all of them took a tenth of a start.
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

#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) manifest: ManifestOption,
    #[command(flatten)]
    pub(crate) state: StateOption,
    /// Install and run only the configuration with this digest
    #[arg(
        long,
        value_name = "sha256:HEX",
        env = "SEALINIT_PIN",
        hide_env_values = true
    )]
    pub(crate) pin: Option<Digest>,
    /// Stay as PID 1 and supervise the service, whatever the manifest says
    #[arg(long)]
    pub(crate) supervise: bool,
    #[command(flatten)]
    pub(crate) log: LogOptions,
    /// Run this instead of the manifest's command (CMD)
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

impl Run {
    pub(crate) fn request(self) -> Request {
        request(self.manifest, self.state, self.pin, self.command)
    }
}

/// What `run` is told, and so are the commands that say what it would do.
fn request(
    manifest: ManifestOption,
    state: StateOption,
    pin: Option<Digest>,
    command: Vec<OsString>,
) -> Request {
    Request {
        manifest: manifest.manifest,
        state_dir: state.state_dir,
        pin,
        command,
    }
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Whom signals are passed on to: the command's process, or its process group
    #[arg(long, default_value = "child")]
    target: SignalTarget,
    /// Pass a signal on as another (TERM=QUIT), or not at all (HUP=)
    #[arg(long, value_name = "FROM=TO", value_parser = rewrite)]
    rewrite: Vec<(Signal, Option<Signal>)>,
    /// End with 0 where the command ends with this exit code
    #[arg(long, value_name = "CODE")]
    expected_exit: Vec<u8>,
    /// How long what the command left behind may take to end
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_GRACE)]
    stop_grace: u32,
    /// Become this user for good: names or ids; without it, credentials stay as they are
    #[arg(long, value_name = "USER[:GROUP][+GROUP...]")]
    user: Option<UserSpec>,
    #[command(flatten)]
    pub(crate) log: LogOptions,
    /// The command to run
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl From<Init> for init::Options {
    fn from(init: Init) -> Self {
        let manners = SupervisionConfig {
            target: init.target,
            rewrite: init.rewrite.into_iter().collect(),
            expected_exit: init.expected_exit.into_iter().collect(),
            grace: Duration::from_secs(init.stop_grace.into()),
        };
        Self {
            user: init.user,
            manners,
            command: init.command,
        }
    }
}

/// `FROM=TO`, or `FROM=` for a signal that is not passed on.
fn rewrite(text: &str) -> Result<(Signal, Option<Signal>), String> {
    let (from, to) = text
        .split_once('=')
        .ok_or("write FROM=TO, such as TERM=QUIT")?;
    let signal = |name: &str| Signal::parse(name).ok_or_else(|| no_such_signal(name));
    Ok((
        signal(from)?,
        if to.is_empty() {
            None
        } else {
            Some(signal(to)?)
        },
    ))
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    root: RootOption,
    #[command(flatten)]
    state: StateOption,
    /// The digest that must have been sealed
    #[arg(
        long,
        value_name = "sha256:HEX",
        env = "SEALINIT_PIN",
        hide_env_values = true
    )]
    pin: Option<Digest>,
    #[command(flatten)]
    pub(crate) report: ReportOption,
    #[command(flatten)]
    pub(crate) log: LogOptions,
}

impl From<Verify> for verification::Options {
    fn from(verify: Verify) -> Self {
        Self {
            root: verify.root.root,
            state_dir: verify.state.state_dir,
            pin: verify.pin,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    root: RootOption,
    #[command(flatten)]
    manifest: ManifestOption,
    #[command(flatten)]
    state: StateOption,
    /// The digest that the configuration must have
    #[arg(
        long,
        value_name = "sha256:HEX",
        env = "SEALINIT_PIN",
        hide_env_values = true
    )]
    pin: Option<Digest>,
    /// Take warnings for problems
    #[arg(long)]
    strict: bool,
    /// How to print what was found
    #[arg(long, default_value = "text")]
    pub(crate) format: CheckFormat,
    #[command(flatten)]
    pub(crate) log: LogOptions,
    /// The command that would be run instead of the manifest's (CMD)
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl From<Check> for rehearsal::Options {
    fn from(check: Check) -> Self {
        Self {
            root: check.root.root,
            request: request(check.manifest, check.state, check.pin, check.command),
            strict: check.strict,
        }
    }
}

/// How `check` prints what it found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CheckFormat {
    /// Lines for people.
    Text,
    /// One JSON object on one line.
    Json,
    /// `JUnit` XML, which CI systems show.
    Junit,
}

#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    manifest: ManifestOption,
    #[command(flatten)]
    state: StateOption,
    /// The digest that the configuration must have
    #[arg(
        long,
        value_name = "sha256:HEX",
        env = "SEALINIT_PIN",
        hide_env_values = true
    )]
    pin: Option<Digest>,
    /// Show how the contents of text files differ; never those of secrets
    #[arg(long)]
    diff: bool,
    #[command(flatten)]
    pub(crate) report: ReportOption,
    #[command(flatten)]
    pub(crate) log: LogOptions,
    /// The command that would be run instead of the manifest's (CMD)
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl From<Plan> for forecast::Options {
    fn from(plan: Plan) -> Self {
        Self {
            request: request(plan.manifest, plan.state, plan.pin, plan.command),
            diff: plan.diff,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) root: RootOption,
    #[command(flatten)]
    pub(crate) state: StateOption,
    #[command(flatten)]
    pub(crate) report: ReportOption,
    #[command(flatten)]
    pub(crate) log: LogOptions,
}

#[derive(Debug, Args)]
pub(crate) struct RootOption {
    /// The container's root directory, seen from the host: /proc/PID/root, or a mounted image
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub(crate) root: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ReportOption {
    /// How to print what was found
    #[arg(long, default_value = "text")]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct DigestOf {
    #[command(flatten)]
    pub(crate) manifest: ManifestOption,
    #[command(flatten)]
    pub(crate) log: LogOptions,
}

#[derive(Debug, Args)]
pub(crate) struct ManifestOption {
    /// The manifest; relative sources are looked for beside it
    #[arg(
        long,
        value_name = "FILE",
        env = "SEALINIT_MANIFEST",
        default_value = "/etc/sealinit/manifest.json"
    )]
    pub(crate) manifest: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct StateOption {
    /// Where journal and seal are kept; absolute
    #[arg(long, value_name = "DIR", env = "SEALINIT_STATE_DIR", default_value = "/var/lib/sealinit", value_parser = absolute)]
    pub(crate) state_dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct LogOptions {
    /// How to log to standard error
    #[arg(long, env = "SEALINIT_LOG_FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// How much to log
    #[arg(long, env = "SEALINIT_LOG_LEVEL", default_value = "info")]
    pub(crate) log_level: LogLevel,
}

/// An absolute path without `.` and `..`, which could mean another directory at another start.
fn absolute(text: &str) -> Result<PathBuf, String> {
    let path: PathBuf = text.into();
    let plain = path
        .components()
        .skip(1)
        .all(|part| matches!(part, std::path::Component::Normal(_)));
    if path.is_absolute() && plain && path.parent().is_some() {
        // Rebuilt from its components: without a slash too many.
        Ok(path.components().collect())
    } else {
        Err("write an absolute path other than /, without . and ..".into())
    }
}
