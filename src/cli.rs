//! What the command line and the environment say; the flag wins.
//!
//! Never does anything about it.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::digest::Digest;
use crate::log::{LogFormat, LogLevel};

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
    Run(Run),
    /// Print the digest of a manifest and all that it names: on any host, as any user, without the image
    Digest(DigestOf),
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) manifest: ManifestOption,
    #[command(flatten)]
    pub(crate) state: StateOption,
    /// Install and run only the configuration with this digest
    #[arg(long, value_name = "sha256:HEX", env = "SEALINIT_PIN", hide_env_values = true)]
    pub(crate) pin: Option<Digest>,
    #[command(flatten)]
    pub(crate) log: LogOptions,
    /// Run this instead of the manifest's command (CMD)
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
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
    #[arg(long, value_name = "FILE", env = "SEALINIT_MANIFEST", default_value = "/etc/sealinit/manifest.json")]
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
    let plain = path.components().skip(1).all(|part| matches!(part, std::path::Component::Normal(_)));
    if path.is_absolute() && plain && path.parent().is_some() {
        // Rebuilt from its components: without a slash too many.
        Ok(path.components().collect())
    } else {
        Err("write an absolute path other than /, without . and ..".into())
    }
}
