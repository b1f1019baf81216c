//! The service's environment variables.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::plan::{Login, Service};

/// The prefix of the variables that configure sealinit, which the service does not get.
const OWN_PREFIX: &[u8] = b"SEALINIT_";

/// Environment variables by name.
pub(crate) type Environment = BTreeMap<OsString, OsString>;

/// Returns the service's environment: the inherited one without sealinit's own variables, with
/// HOME, USER and LOGNAME of the service's user, and then with the manifest's `env`.
pub(crate) fn environment(service: &Service) -> Environment {
    let mut environment: Environment = std::env::vars_os()
        .filter(|(name, _)| !name.as_bytes().starts_with(OWN_PREFIX))
        .collect();
    if let Some(login) = &service.login {
        set_login(&mut environment, login);
    }
    environment.extend(
        service
            .env
            .iter()
            .map(|(name, value)| (name.into(), value.0.as_str().into())),
    );
    environment
}

/// Sets HOME, USER and LOGNAME: the engine sets HOME for the user that sealinit was started as.
fn set_login(environment: &mut Environment, login: &Login) {
    let Login {
        name,
        home,
        replaces,
    } = login;
    if !replaces && environment.contains_key(OsStr::new("HOME")) {
        return;
    }
    let home = home
        .as_deref()
        .filter(|home| !home.is_empty())
        .unwrap_or("/");
    environment.insert("HOME".into(), home.into());
    for variable in ["USER", "LOGNAME"] {
        match name {
            Some(name) => environment.insert(variable.into(), name.into()),
            None => environment.remove(OsStr::new(variable)),
        };
    }
}

/// Readdresses the descriptors that socket activation (`sd_listen_fds(3)`) passed to process `pid`,
/// which the engine started, to this process. Returns their number.
pub(crate) fn take_activation(environment: &mut Environment, pid: u32) -> u32 {
    let number = |name: &str| {
        environment
            .get(OsStr::new(name))?
            .to_str()?
            .parse::<u32>()
            .ok()
    };
    if number("LISTEN_PID") != Some(pid) {
        return 0;
    }
    let passed = number("LISTEN_FDS").unwrap_or(0).min(1024);
    environment.insert("LISTEN_PID".into(), std::process::id().to_string().into());
    passed
}
