//! The start of the service, from the drop of privileges to the exec or the supervision.

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

/// A service that runs as a child, and how it is supervised.
#[derive(Debug)]
pub(crate) struct Launched {
    child: SupervisedChild,
    config: SupervisionConfig,
}

impl Launched {
    /// Supervises the service until all is over. Returns its exit code. The caller has dropped
    /// everything that it owned: the sleep may be long.
    pub(crate) fn supervise(self) -> u8 {
        self.child.supervise(&self.config)
    }
}

/// Becomes the service, or starts it as a child. `announce` is called when nothing is left to do
/// but the exec.
///
/// # Errors
///
/// The reason why the service was not started.
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

/// Starts the service as a child. This process, its init, has the service's uid already, so that
/// it needs no `CAP_KILL` to signal it; the capabilities that the service keeps, the init gives up.
///
/// # Errors
///
/// [`Error::ServiceNotExecutable`], or [`Error::DropRest`] after the service was ended again.
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
    match credentials::drop_the_rest(service, unprivileged) {
        Ok(()) => Ok(child),
        Err(error) => {
            child.end();
            Err(error)
        }
    }
}

/// Ends the start for a signal to stop that has arrived meanwhile: the kernel would drop it at the
/// exec, as PID 1 has no handler for it, and its sender would wait for a service that has not
/// heard it. (Another process is ended by it when it is unblocked.)
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
