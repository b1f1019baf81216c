//! Starts the service: becomes it, or stays as its init.
//!
//! Never does either with a privilege that the service is not to have; the init gives up its own before the service's first step.

use std::convert::Infallible;

use crate::accounts::Starter;
use crate::capability::CapabilitySet;
use crate::error::{Error, exit_code};
use crate::exec::{self, Inherited};
use crate::plan::Service;
use crate::privileges;
use crate::start::Sealed;
use crate::supervisor::{self, Half};

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
            let announce_in_turn = || {
                if !turn.comes() {
                    std::process::exit(exit_code::PRIVILEGE.into());
                }
                announce();
            };
            become_service(service, starter, inherited, sealed, announce_in_turn).map(|never| match never {})
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

fn become_service(
    service: &Service,
    starter: &Starter,
    inherited: Inherited,
    sealed: &Sealed,
    announce: impl FnOnce(),
) -> Result<Infallible, Error> {
    let unprivileged = privileges::drop_to(service, starter)?;
    let prepared = exec::prepare(service, inherited, &unprivileged)?;
    announce();
    exec::exec(&prepared, sealed, &unprivileged)
}
