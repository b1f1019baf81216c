//! The declared service and its supervision.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::declaration::place::{Place, Placed};
use crate::declaration::policy::SignalTarget;
use crate::declaration::value::{Account, Argument};
use crate::sys::capability::CapabilitySet;
use crate::sys::signal::Signal;

/// The service to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeclaredService {
    pub(crate) place: Place,
    /// Program and arguments; empty if a command must be given at the start.
    pub(crate) command: Vec<OsString>,
    pub(crate) user: Option<Placed<Account>>,
    pub(crate) group: Option<Placed<Account>>,
    pub(crate) supplementary_groups: Vec<Placed<Account>>,
    /// Added to the environment that the container was given.
    pub(crate) env: BTreeMap<String, Argument>,
    pub(crate) working_dir: Option<PathBuf>,
    pub(crate) umask: Option<u32>,
    pub(crate) capabilities: CapabilitySet,
    pub(crate) no_new_privileges: bool,
    pub(crate) allow_root: bool,
    /// `None` if sealinit becomes the service.
    pub(crate) supervision: Option<DeclaredSupervision>,
}

/// The supervision of a service that sealinit runs as its child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeclaredSupervision {
    pub(crate) target: SignalTarget,
    /// Signals that are passed on as others; `None` for those that are not passed on.
    pub(crate) rewrite: BTreeMap<Signal, Option<Signal>>,
    /// Exit statuses that count as 0.
    pub(crate) expected_exit: BTreeSet<u8>,
    /// The time between SIGTERM and SIGKILL for processes left over when the service has ended.
    pub(crate) grace: Option<Duration>,
}

/// A command that must succeed, as the service, before the configuration is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeclaredCheck {
    pub(crate) command: Vec<OsString>,
    pub(crate) timeout: Duration,
}
