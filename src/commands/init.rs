//! `sealinit init`: supervises a command, with a privilege drop and without configuration.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use nix::sys::stat::{Mode, umask};

use crate::accounts::{Accounts, Caller, ServiceIdentity, UserSpec};
use crate::commands::options::LogOptions;
use crate::declaration::{SignalTarget, names};
use crate::error::Error;
use crate::fs::root::Root;
use crate::plan::supervision::{DEFAULT_GRACE, SupervisionConfig};
use crate::plan::{Login, Service};
use crate::preflight;
use crate::report::termination_log;
use crate::service::exec::Inherited;
use crate::service::{Launched, launch};
use crate::state::sealed::Clearance;
use crate::sys::capability::CapabilitySet;
use crate::sys::signal::Signal;

#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: the command's own, or 67 if a user or group is unknown, 77 if privileges are missing,
126 not executable, 127 not found, 128+n signal n; 2 for wrong usage.

Example: sealinit init --user www-data -- nginx -g 'daemon off;'")]
pub(crate) struct InitArgs {
    /// The receiver of signals: child (the command's process) or group (its process group)
    #[arg(long, default_value = "child")]
    target: SignalTarget,
    /// Forward a signal as another one (TERM=QUIT), or not at all (HUP=)
    #[arg(long, value_name = "FROM=TO", value_parser = rewrite)]
    rewrite: Vec<(Signal, Option<Signal>)>,
    /// Exit with 0 if the command exits with this code
    #[arg(long, value_name = "CODE")]
    expected_exit: Vec<u8>,
    /// Seconds between SIGTERM and SIGKILL for processes left over when the command has ended
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_GRACE)]
    stop_grace: u32,
    /// Become this user for good: names or ids; without it, credentials stay unchanged
    #[arg(long, value_name = "USER[:GROUP][+GROUP...]")]
    user: Option<UserSpec>,
    #[command(flatten)]
    pub(crate) log: LogOptions,
    /// The command to run
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl InitArgs {
    /// Starts the command as a child, for this process to supervise.
    ///
    /// # Errors
    /// Every error that kept the command from being started.
    pub(crate) fn run(self) -> Result<Launched, Vec<Error>> {
        let supervision = SupervisionConfig {
            target: self.target,
            rewrite: self.rewrite.into_iter().collect(),
            expected_exit: self.expected_exit.into_iter().collect(),
            grace: Duration::from_secs(self.stop_grace.into()),
        };
        start(self.user.as_ref(), supervision, self.command)
            .inspect_err(|errors| termination_log::write(errors))
    }
}

/// Parses `FROM=TO`, or `FROM=` for a signal that is not forwarded.
fn rewrite(text: &str) -> Result<(Signal, Option<Signal>), String> {
    let (from, to) = text
        .split_once('=')
        .ok_or("write FROM=TO, such as TERM=QUIT")?;
    Ok((
        names::signal(from)?,
        if to.is_empty() {
            None
        } else {
            Some(names::signal(to)?)
        },
    ))
}

fn start(
    user: Option<&UserSpec>,
    supervision: SupervisionConfig,
    command: Vec<OsString>,
) -> Result<Launched, Vec<Error>> {
    let caller = Caller::of_this_process()?;
    let inherited = Inherited {
        umask: umask(Mode::empty()),
        pid: std::process::id(),
    };
    let identity = user.map(|user| identity(user, &caller)).transpose()?;
    let service = Service {
        supervised: Some(supervision),
        ..service(identity, &caller, command)
    };
    if !service.credentials_unchanged {
        let obstacles = preflight::privileges::becoming(&service, &caller);
        if !obstacles.is_empty() {
            return Err(obstacles);
        }
    }
    let clearance = Clearance::Unconfigured;
    Ok(launch(&service, &caller, inherited, &clearance, || {})?)
}

/// Looks up the user in this container.
fn identity(user: &UserSpec, caller: &Caller) -> Result<ServiceIdentity, Vec<Error>> {
    let root = Root::open(Path::new("/")).map_err(|source| Error::AccountsRead {
        path: "/".into(),
        source,
    })?;
    user.resolve(&Accounts::load(&root)?, caller)
}

/// Returns the command as a service with the credentials of `identity`, or else of the caller.
fn service(identity: Option<ServiceIdentity>, caller: &Caller, command: Vec<OsString>) -> Service {
    let unchanged = Service {
        command,
        env: BTreeMap::new(),
        working_dir: None,
        umask: None,
        credentials_unchanged: true,
        uid: caller.uid,
        gid: caller.gid,
        groups: caller.groups.iter().copied().collect(),
        login: None,
        capabilities: CapabilitySet::EMPTY,
        no_new_privileges: true,
        supervised: None,
    };
    let Some(identity) = identity else {
        return unchanged;
    };
    let groups = identity.supplementary.iter().chain([&identity.gid]);
    Service {
        credentials_unchanged: false,
        uid: identity.uid,
        gid: identity.gid,
        groups: groups.copied().collect(),
        login: Some(Login {
            name: identity.name,
            home: identity.home,
            replaces: true,
        }),
        ..unchanged
    }
}
