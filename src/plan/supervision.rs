//! The supervision of a service: signals, the grace of a stop, and exit codes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::declaration::{DeclaredSupervision, SignalTarget};
use crate::sys::signal::Signal;

/// Seconds that a stop may take unless the operator chooses otherwise: less than the ten seconds
/// after which Docker kills.
pub(crate) const DEFAULT_GRACE: u32 = 8;

/// The settings of a supervised service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SupervisionConfig {
    pub(crate) target: SignalTarget,
    /// The signals that are passed on as another, or with `None` not at all.
    pub(crate) rewrite: BTreeMap<Signal, Option<Signal>>,
    /// The exit codes that sealinit turns into 0.
    pub(crate) expected_exit: BTreeSet<u8>,
    /// The time from the stop signal, or from the end of a service that was not stopped, to
    /// SIGKILL for processes left over.
    pub(crate) grace: Duration,
}

impl From<&DeclaredSupervision> for SupervisionConfig {
    fn from(declared: &DeclaredSupervision) -> Self {
        Self {
            target: declared.target,
            rewrite: declared.rewrite.clone(),
            expected_exit: declared.expected_exit.clone(),
            grace: declared.grace.unwrap_or(Self::default().grace),
        }
    }
}

impl SupervisionConfig {
    /// Returns the signal that a received one is passed on as.
    pub(crate) fn passed_on(&self, received: Signal) -> Option<Signal> {
        self.rewrite
            .get(&received)
            .copied()
            .unwrap_or(Some(received))
    }
}

impl Default for SupervisionConfig {
    fn default() -> Self {
        Self {
            target: SignalTarget::Child,
            rewrite: BTreeMap::new(),
            expected_exit: BTreeSet::new(),
            grace: Duration::from_secs(DEFAULT_GRACE.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_without_a_rewrite_is_passed_on_as_it_is() {
        let config = SupervisionConfig {
            rewrite: BTreeMap::from([(Signal::TERM, Some(Signal::QUIT)), (Signal::INT, None)]),
            ..SupervisionConfig::default()
        };
        for (received, passed_on) in [
            (Signal::TERM, Some(Signal::QUIT)),
            (Signal::INT, None),
            (Signal::QUIT, Some(Signal::QUIT)),
            (Signal(64), Some(Signal(64))),
        ] {
            assert_eq!(config.passed_on(received), passed_on, "{received}");
        }
    }
}
