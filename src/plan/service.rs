//! The planned service: its program, environment and credentials.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::accounts::Identities;
use crate::declaration::{Argument, Declaration, DeclaredCheck};
use crate::error::Error;
use crate::plan::supervision::SupervisionConfig;
use crate::sys::capability::CapabilitySet;

/// The most groups of a process, with the primary one (`NGROUPS_MAX` of linux/limits.h).
pub(crate) const MAX_GROUPS: usize = 65_536;

/// Program, environment and credentials of the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Service {
    pub(crate) command: Vec<OsString>,
    pub(crate) env: BTreeMap<String, Argument>,
    pub(crate) working_dir: Option<PathBuf>,
    pub(crate) umask: Option<u32>,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups. The primary group is among them: without it, a file's group
    /// permissions could be evaded (CVE-2022-36109).
    pub(crate) groups: BTreeSet<u32>,
    /// The credentials of sealinit are kept, and the five fields about credentials describe them.
    pub(crate) credentials_unchanged: bool,
    /// The variables that name the user; `None` leaves the environment alone.
    pub(crate) login: Option<Login>,
    pub(crate) capabilities: CapabilitySet,
    pub(crate) no_new_privileges: bool,
    /// `None` if sealinit becomes the service.
    pub(crate) supervised: Option<SupervisionConfig>,
}

/// `USER`, `LOGNAME` and `HOME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) name: Option<String>,
    pub(crate) home: Option<String>,
    /// True if they replace the variables of the environment.
    pub(crate) replaces: bool,
}

/// A command that must succeed as the service before the configuration is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConfigTest {
    pub(crate) command: Vec<OsString>,
    pub(crate) limit: Duration,
}

impl From<&DeclaredCheck> for ConfigTest {
    fn from(check: &DeclaredCheck) -> Self {
        Self {
            command: check.command.clone(),
            limit: check.timeout,
        }
    }
}

/// The protection of the sealed files against the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Protection {
    /// The service's uid cannot change them.
    Full,
    /// The service has a capability with which it could, or may execute set-user-ID programs.
    Partial,
    /// They belong to the service's uid.
    None,
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// The service's command: `arguments` from after `--`, or else the declared one. It is known
/// without any name being resolved.
///
/// # Errors
///
/// [`Error::ManifestInvalid`] if there is neither.
pub(crate) fn command(
    declaration: &Declaration,
    arguments: &[OsString],
) -> Result<Vec<OsString>, Error> {
    let command = match arguments {
        [] => &declaration.service.command,
        arguments => arguments,
    };
    if command.is_empty() {
        let message =
            "there is no command; add \"command\", or give one after -- (CMD in a Dockerfile)";
        return Err(declaration
            .origin
            .error(declaration.service.place, message.into()));
    }
    Ok(command.to_vec())
}

impl Service {
    /// Plans the service, and returns every problem.
    pub(super) fn build(
        declaration: &Declaration,
        identities: &Identities,
        arguments: &[OsString],
    ) -> (Option<Self>, Vec<Error>) {
        let declared = &declaration.service;
        let identity = &identities.service;
        let mut errors = Vec::new();
        let groups = groups(identities);
        if groups.len() > MAX_GROUPS {
            let message = format!(
                "{} groups are more than a process can have; name at most {MAX_GROUPS}",
                groups.len()
            );
            let place = declared.place.member("supplementary_groups");
            errors.push(declaration.origin.error(place, message));
        }
        let command = match command(declaration, arguments) {
            Ok(command) => command,
            Err(error) => {
                errors.insert(0, error);
                return (None, errors);
            }
        };
        let service = Self {
            command,
            env: declared.env.clone(),
            working_dir: declared.working_dir.clone(),
            umask: declared.umask,
            uid: identity.uid,
            gid: identity.gid,
            groups,
            credentials_unchanged: false,
            login: Some(Login {
                name: identity.name.clone(),
                home: identity.home.clone(),
                // Without root the engine has set the environment up for the user that it started.
                replaces: identities.installer == 0 || identity.name.is_some(),
            }),
            capabilities: declared.capabilities,
            no_new_privileges: declared.no_new_privileges,
            supervised: declared.supervision.as_ref().map(SupervisionConfig::from),
        };
        (Some(service), errors)
    }

    /// The same credentials and environment for another command, which is not supervised.
    pub(crate) fn with_command(&self, command: Vec<OsString>) -> Self {
        Self {
            command,
            supervised: None,
            ..self.clone()
        }
    }

    /// The protection of what `installer` owns against this service.
    pub(super) fn protection(&self, installer: u32) -> Protection {
        match self.uid {
            uid if uid == installer => Protection::None,
            // A set-user-ID program would make it root, which owns the files.
            _ if self.capabilities.unlocks_files() || !self.no_new_privileges => {
                Protection::Partial
            }
            _ => Protection::Full,
        }
    }
}

/// All groups of the service.
pub(super) fn groups(identities: &Identities) -> BTreeSet<u32> {
    let service = &identities.service;
    service
        .supplementary
        .iter()
        .copied()
        .chain([service.gid])
        .collect()
}
