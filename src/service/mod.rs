//! Starts the service: becomes it, or stays as its init.
//!
//! Never does either with a privilege that the service is not to have. What the service keeps, the init gives up as soon as it runs.

pub(crate) mod config_test;
pub(crate) mod credentials;
pub(crate) mod elf;
pub(crate) mod exec;
pub(crate) mod supervise;

use std::time::Duration;

use crate::accounts::Caller;
use crate::error::Error;
use crate::plan::Service;
use crate::plan::supervision::SupervisionConfig;
use crate::service::credentials::Unprivileged;
use crate::service::exec::{Inherited, Prepared};
use crate::service::supervise::{Child, Init};
use crate::state::sealed::Clearance;
use crate::sys;

/// A service that runs, and how it is to be supervised.
#[derive(Debug)]
pub(crate) struct Launched {
    child: Child,
    manners: SupervisionConfig,
}

impl Launched {
    /// Supervises the service, and gives its exit code when all is over. For this the caller has dropped all that it owned: the sleep may
    /// be long.
    pub(crate) fn supervise(self) -> u8 {
        self.child.supervise(&self.manners)
    }
}

/// Becomes the service, or has a child become it. `announce` is called when there is nothing left but the exec.
///
/// # Errors
/// That the service was not started, and why.
pub(crate) fn launch(
    service: &Service,
    caller: &Caller,
    inherited: Inherited,
    clearance: &Clearance,
    announce: impl FnOnce(),
) -> Result<Launched, Error> {
    let unprivileged = credentials::drop_to(service, caller)?;
    let prepared = exec::prepare(service, inherited, &unprivileged)?;
    match &service.supervised {
        None => {
            if std::process::id() == 1 {
                heed_early_stop()?;
            }
            announce();
            match exec::exec(&prepared, clearance, &unprivileged)? {}
        }
        Some(manners) => {
            announce();
            let child = spawn(service, &prepared, manners, clearance, unprivileged)?;
            Ok(Launched {
                child,
                manners: manners.clone(),
            })
        }
    }
}

/// Has a child become the service. This process, its init, has the service's uid already, so that no `CAP_KILL` is needed to signal it;
/// what else the service keeps, the init gives up.
///
/// # Errors
/// That the service was not started, or does not run any more.
pub(crate) fn spawn(
    service: &Service,
    prepared: &Prepared,
    manners: &SupervisionConfig,
    clearance: &Clearance,
    unprivileged: Unprivileged,
) -> Result<Child, Error> {
    let init = Init::new(manners);
    let pid = exec::spawn(
        prepared,
        init.foreground,
        &init.early,
        clearance,
        &unprivileged,
    )
    .inspect_err(|_| supervise::take_terminal_back(init.foreground))?;
    let child = Child::new(pid, &init);
    match credentials::drop_the_rest(service, unprivileged) {
        Ok(()) => Ok(child),
        Err(error) => {
            child.end();
            Err(error)
        }
    }
}

/// A signal to stop that came while we were at work: the kernel would drop it at the exec, as PID 1 has no handler for it, and
/// whoever sent it would wait for a service that has not heard it. (Elsewhere it ends us, when it is let through.)
fn heed_early_stop() -> Result<(), Error> {
    while let Ok(Some(received)) = sys::wait_signal(Some(Duration::ZERO)) {
        if received.sent && received.signal.is_termination() {
            return Err(Error::Stopped {
                signal: received.signal,
            });
        }
    }
    Ok(())
}
