//! Starts the service: becomes it, or stays as its init.
//!
//! Never does either with a privilege that the service is not to have; the init gives up its own before the service's first step.

use std::cell::Cell;
use std::convert::Infallible;
use std::time::Duration;

use crate::accounts::Starter;
use crate::capability::CapabilitySet;
use crate::error::{Error, exit_code};
use crate::exec::{self, Inherited};
use crate::plan::Service;
use crate::privileges;
use crate::start::Sealed;
use crate::supervisor::{self, Half};
use crate::sys;

/// Becomes the service; or has a child become it, and gives its exit code when all is over. `announce` is called when there is
/// nothing left but the exec.
///
/// # Errors
/// That the service was not started, and why.
pub(crate) fn launch(
    service: &Service,
    starter: &Starter,
    inherited: Inherited,
    sealed: &Sealed,
    announce: impl FnOnce(),
) -> Result<u8, Error> {
    let Some(manners) = &service.supervised else {
        return become_service(service, starter, inherited, sealed, announce).map(|never| match never {});
    };
    match supervisor::split()? {
        Half::Service(turn) => {
            // Nothing is said and nothing run before it is this process's turn. What went wrong in both, PID 1 has said.
            let turn = Cell::new(Some(turn));
            let wait = || {
                if turn.take().is_some_and(|turn| !turn.comes()) {
                    std::process::exit(exit_code::PRIVILEGE.into());
                }
            };
            let announce_in_turn = || {
                wait();
                announce();
            };
            let error = match become_service(service, starter, inherited, sealed, announce_in_turn) {
                Ok(never) => match never {},
                Err(error) => error,
            };
            wait();
            Err(error)
        }
        Half::Init(child) => {
            // The same uid, so that no CAP_KILL is needed to signal the service; and nothing else, whatever the service keeps.
            let bare = Service { capabilities: CapabilitySet::EMPTY, ..service.clone() };
            match privileges::drop_to(&bare, starter) {
                Ok(_) => Ok(child.supervise(manners)),
                Err(error) => {
                    child.abandon();
                    Err(error)
                }
            }
        }
    }
}

/// A signal to stop that came while we were at work: the kernel would drop it at the exec, as PID 1 has no handler for it, and
/// whoever sent it would wait for a service that has not heard it. (Elsewhere it ends us, when it is let through.)
fn heed_early_stop() -> Result<(), Error> {
    while let Ok(Some(received)) = sys::wait_signal(Some(Duration::ZERO)) {
        if received.sent && received.signal.is_termination() {
            return Err(Error::Stopped { signal: received.signal });
        }
    }
    Ok(())
}

/// Gives up what the service is not to have, prepares all that the service needs, and becomes it. `announce` is called when there is
/// nothing left but the exec.
///
/// # Errors
/// That the service was not started, and why.
pub(crate) fn become_service(
    service: &Service,
    starter: &Starter,
    inherited: Inherited,
    sealed: &Sealed,
    announce: impl FnOnce(),
) -> Result<Infallible, Error> {
    let unprivileged = privileges::drop_to(service, starter)?;
    let prepared = exec::prepare(service, inherited, &unprivileged)?;
    if std::process::id() == 1 {
        heed_early_stop()?;
    }
    announce();
    exec::exec(&prepared, sealed, &unprivileged)
}
