//! Starts the service: drops privileges, then executes it or starts it as a supervised child.

use std::time::Duration;

use crate::accounts::Caller;
use crate::error::Error;
use crate::plan::Service;
use crate::plan::supervision::SupervisionConfig;
use crate::service::credentials::{self, Unprivileged};
use crate::service::exec::{ChildSetup, Inherited, ServiceCommand};
use crate::service::supervise::{SupervisedChild, Supervisor, take_terminal_back};
use crate::state::sealed::Clearance;
use crate::sys;

/// A service that runs as a child, and its supervision settings.
#[derive(Debug)]
pub(crate) struct Launched {
    child: SupervisedChild,
    config: SupervisionConfig,
}

impl Launched {
    /// Supervises the service until it and its descendants have ended. Returns the exit code. The
    /// caller drops everything that it owns first, since this process may sleep for months.
    pub(crate) fn supervise(self) -> u8 {
        self.child.supervise(&self.config)
    }
}

/// Becomes the service, or starts it as a child. Calls `announce` immediately before that.
///
/// # Errors
///
/// [`Error::Drop`] or [`Error::NotDropped`] if privileges are left, the errors of
/// [`ServiceCommand::prepare`] and [`ServiceCommand::exec`], or [`Error::Stopped`] for a
/// termination signal.
pub(crate) fn launch(
    service: &Service,
    caller: &Caller,
    inherited: Inherited,
    clearance: &Clearance,
    announce: impl FnOnce(),
) -> Result<Launched, Error> {
    let unprivileged = credentials::drop_to(service, caller)?;
    let command = ServiceCommand::prepare(service, inherited, &unprivileged)?;
    match &service.supervised {
        None => {
            if std::process::id() == 1 {
                abort_on_pending_signal()?;
            }
            announce();
            match command.exec(clearance, &unprivileged)? {}
        }
        Some(config) => {
            announce();
            let child = spawn(service, &command, config, clearance, unprivileged)?;
            Ok(Launched {
                child,
                config: config.clone(),
            })
        }
    }
}

/// Starts the service as a child. This process has the service's uid already, so that it needs no
/// `CAP_KILL` to signal the child, and gives up the capabilities that only the service keeps.
///
/// # Errors
///
/// [`Error::ServiceNotExecutable`], or [`Error::DropRest`] after the service was ended.
pub(crate) fn spawn(
    service: &Service,
    command: &ServiceCommand,
    config: &SupervisionConfig,
    clearance: &Clearance,
    unprivileged: Unprivileged,
) -> Result<SupervisedChild, Error> {
    let supervisor = Supervisor::new(config);
    let setup = ChildSetup {
        foreground: supervisor.foreground,
        signals: &supervisor.early,
    };
    let pid = command
        .spawn(&setup, clearance, &unprivileged)
        .inspect_err(|_| take_terminal_back(supervisor.foreground))?;
    let child = SupervisedChild::new(pid, &supervisor);
    match credentials::drop_remaining(service, unprivileged) {
        Ok(()) => Ok(child),
        Err(error) => {
            child.end();
            Err(error)
        }
    }
}

/// Ends the start if a termination signal is pending: PID 1 has no handler for it, so the kernel
/// would discard it at the exec, and its sender would wait in vain. Other processes are ended by
/// the signal when it is unblocked.
///
/// # Errors
///
/// [`Error::Stopped`].
fn abort_on_pending_signal() -> Result<(), Error> {
    while let Ok(Some(received)) = sys::wait_signal(Some(Duration::ZERO)) {
        if received.sent && received.signal.is_termination() {
            return Err(Error::Stopped {
                signal: received.signal,
            });
        }
    }
    Ok(())
}
