//! `sealinit init`: signals, reaping and the proven privilege drop for an image that needs no configuration, instead of tini and gosu.
//!
//! Never writes anything, and never takes an id for another: what is not an id or a known name is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;

use nix::sys::stat::{Mode, umask};

use crate::accounts::{Accounts, Caller, ServiceIdentity, UserSpec};
use crate::error::Error;
use crate::fs::root::Root;
use crate::plan::supervision::SupervisionConfig;
use crate::plan::{Login, Service};
use crate::preflight;
use crate::service::exec::Inherited;
use crate::service::{Launched, launch};
use crate::state::sealed::Clearance;
use crate::sys::capability::CapabilitySet;

/// What `init` is told.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Whom to become; `None` leaves all credentials as they are.
    pub(crate) user: Option<UserSpec>,
    pub(crate) manners: SupervisionConfig,
    pub(crate) command: Vec<OsString>,
}

/// Starts the command as a child, for this process to supervise.
///
/// # Errors
/// That it was not started, and why.
pub(crate) fn init(options: Options) -> Result<Launched, Vec<Error>> {
    let caller = Caller::of_this_process()?;
    let mask = umask(Mode::empty());
    let identity = match &options.user {
        Some(spec) => {
            let tree = Root::open(Path::new("/")).map_err(|source| Error::AccountsRead {
                path: "/".into(),
                source,
            })?;
            Some(ServiceIdentity::of_user(
                spec,
                &Accounts::load(&tree)?,
                &caller,
            )?)
        }
        None => None,
    };
    let mut groups = BTreeSet::new();
    match &identity {
        Some(identity) => groups.extend(identity.supplementary.iter().chain([&identity.gid])),
        None => groups.extend(&caller.groups),
    }
    let service = Service {
        command: options.command,
        env: BTreeMap::new(),
        working_dir: None,
        umask: None,
        credentials_unchanged: identity.is_none(),
        uid: identity
            .as_ref()
            .map_or(caller.uid, |identity| identity.uid),
        gid: identity
            .as_ref()
            .map_or(caller.gid, |identity| identity.gid),
        groups,
        login: identity.map(|identity| Login {
            name: identity.name,
            home: identity.home,
            replaces: true,
        }),
        capabilities: CapabilitySet::EMPTY,
        no_new_privileges: true,
        supervised: Some(options.manners),
    };
    if !service.credentials_unchanged {
        let obstacles = preflight::privileges::becoming(&service, &caller);
        if !obstacles.is_empty() {
            return Err(obstacles);
        }
    }
    let inherited = Inherited {
        umask: mask,
        pid: std::process::id(),
    };
    Ok(launch(
        &service,
        &caller,
        inherited,
        &Clearance::Unconfigured,
        || {},
    )?)
}
