//! Options that several commands share.

use std::ffi::OsString;
use std::path::{Component, PathBuf};
use std::str::FromStr;

use clap::{Args, ValueEnum};

use crate::digest::Digest;
use crate::report::ReportFormat;
use crate::report::log::{LogFormat, LogLevel};
use crate::start::request::Request;

/// The environment variable of `--pin`.
pub(crate) const PIN_VARIABLE: &str = "SEALINIT_PIN";

#[derive(Debug, Args)]
pub(crate) struct ManifestOption {
    /// The manifest; relative sources are beside it
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
    /// The directory of journal and seal; an absolute path
    #[arg(
        long,
        value_name = "DIR",
        env = "SEALINIT_STATE_DIR",
        default_value = "/var/lib/sealinit",
        value_parser = absolute
    )]
    pub(crate) state_dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct PinOption {
    /// The only digest that is accepted
    #[arg(
        long,
        value_name = "sha256:HEX",
        env = PIN_VARIABLE,
        hide_env_values = true
    )]
    pin: Option<PinValue>,
}

impl PinOption {
    /// Returns the pinned digest, if there is a pin.
    pub(crate) fn digest(&self) -> Option<Digest> {
        match self.pin {
            Some(PinValue::Digest(digest)) => Some(digest),
            Some(PinValue::Empty) | None => None,
        }
    }
}

/// The value of `--pin` or its variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PinValue {
    Digest(Digest),
    /// No pin. Valid only in the environment, where Compose and Kubernetes set unused variables to
    /// an empty text.
    Empty,
}

impl FromStr for PinValue {
    type Err = <Digest as FromStr>::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "" => Ok(Self::Empty),
            text => text.parse().map(Self::Digest),
        }
    }
}

/// The options of a start, and of the commands that check or plan one.
#[derive(Debug, Args)]
pub(crate) struct RequestOptions {
    #[command(flatten)]
    manifest: ManifestOption,
    #[command(flatten)]
    state: StateOption,
    #[command(flatten)]
    pin: PinOption,
    /// The service's command, instead of the manifest's (CMD)
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl From<RequestOptions> for Request {
    fn from(options: RequestOptions) -> Self {
        Self {
            pin: options.pin.digest(),
            manifest: options.manifest.manifest,
            state_dir: options.state.state_dir,
            command: options.command,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct RootOption {
    /// The container's root directory, as seen from the host: /proc/PID/root, or a mounted image
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub(crate) root: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct FormatOption {
    /// The format of the report
    #[arg(long, default_value = "text")]
    format: FormatName,
}

impl FormatOption {
    pub(crate) fn report_format(&self) -> ReportFormat {
        match self.format {
            FormatName::Text => ReportFormat::Text,
            FormatName::Json => ReportFormat::Json,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FormatName {
    /// Lines for people
    Text,
    /// One JSON object on one line
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct LogOptions {
    /// The format of the log on standard error
    #[arg(long, env = "SEALINIT_LOG_FORMAT", default_value = "text")]
    log_format: LogFormatName,
    /// The least severe events that are logged
    #[arg(long, env = "SEALINIT_LOG_LEVEL", default_value = "info")]
    log_level: LogLevelName,
}

impl LogOptions {
    pub(crate) fn format(&self) -> LogFormat {
        match self.log_format {
            LogFormatName::Text => LogFormat::Text,
            LogFormatName::Json => LogFormat::Json,
        }
    }

    pub(crate) fn level(&self) -> LogLevel {
        match self.log_level {
            LogLevelName::Error => LogLevel::Error,
            LogLevelName::Warn => LogLevel::Warn,
            LogLevelName::Info => LogLevel::Info,
            LogLevelName::Debug => LogLevel::Debug,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormatName {
    /// Lines for people
    Text,
    /// One JSON object a line, with a time
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogLevelName {
    /// Everything that stopped a start
    Error,
    /// Also what an operator should look at
    Warn,
    /// Also the summary of each start
    Info,
    /// Also each step
    Debug,
}

/// Parses an absolute path without `.` and `..`, which could mean another directory later.
fn absolute(text: &str) -> Result<PathBuf, String> {
    let path: PathBuf = text.into();
    let plain = path
        .components()
        .skip(1)
        .all(|part| matches!(part, Component::Normal(_)));
    if path.is_absolute() && plain && path.parent().is_some() {
        // Rebuilt from its components: without duplicate slashes.
        Ok(path.components().collect())
    } else {
        Err("write an absolute path other than /, without . and ..".into())
    }
}
