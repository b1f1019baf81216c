//! Decides whether a first start may install its configuration.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::accounts::Identities;
use crate::declaration::Declaration;
use crate::digest::Digest;
use crate::error::Error;
use crate::plan::Plan;
use crate::plan::sources::SourceTable;

/// A configuration that could be installed: resolved and planned, with everything that its seal
/// records.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) declaration: Declaration,
    pub(crate) sources: SourceTable,
    pub(crate) identities: Identities,
    /// The command after `--`; empty for none.
    pub(crate) arguments: Vec<OsString>,
    pub(crate) plan: Plan,
    pub(crate) digest: Digest,
}

/// A first start that did not reach its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interrupted {
    /// The state directory that has its journal.
    pub(crate) state_dir: PathBuf,
    /// The digest of its configuration; `None` if the journal cannot be read.
    pub(crate) digest: Option<Digest>,
}

impl Interrupted {
    /// Returns [`Error::Interrupted`] if it installed another configuration than `digest`.
    fn conflict(&self, digest: Digest) -> Option<Error> {
        let found = self
            .digest
            .map_or_else(|| "unreadable".into(), |digest| digest.to_string());
        (self.digest != Some(digest)).then(|| Error::Interrupted {
            path: self.state_dir.clone(),
            expected: digest,
            found,
        })
    }
}

/// Proof that a candidate may be installed.
#[derive(Debug)]
pub(crate) struct Admitted(Candidate);

impl Admitted {
    /// The configuration that may be installed.
    pub(crate) fn into_candidate(self) -> Candidate {
        self.0
    }
}

/// Admits `candidate` to be installed.
///
/// # Errors
///
/// [`Error::Pin`] or [`Error::Interrupted`] alone, if the configuration is not the pinned or
/// interrupted one; otherwise all `problems`.
pub(crate) fn admit(
    candidate: Candidate,
    problems: Vec<Error>,
    pin: Option<Digest>,
    interrupted: Option<&Interrupted>,
) -> Result<Admitted, Vec<Error>> {
    match refusal(candidate.digest, problems, pin, interrupted) {
        errors if errors.is_empty() => Ok(Admitted(candidate)),
        errors => Err(errors),
    }
}

/// Returns the reasons to refuse the first start of the configuration `digest`.
pub(crate) fn refusal(
    digest: Digest,
    problems: Vec<Error>,
    pin: Option<Digest>,
    interrupted: Option<&Interrupted>,
) -> Vec<Error> {
    let other_configuration = Error::not_pinned(pin, digest)
        .or_else(|| interrupted.and_then(|interrupted| interrupted.conflict(digest)));
    other_configuration.map_or(problems, Vec::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interrupted(digest: Option<Digest>) -> Interrupted {
        Interrupted {
            state_dir: "/var/lib/sealinit".into(),
            digest,
        }
    }

    #[test]
    fn a_configuration_that_was_not_meant_is_refused_for_that_alone() {
        let (this, other) = (Digest::of(b"this"), Digest::of(b"other"));
        let problems = || vec![Error::SetgroupsDenied, Error::SetgroupsDenied];
        for pin in [None, Some(this), Some(other)] {
            for journal in [None, Some(Some(this)), Some(Some(other)), Some(None)] {
                let journal = journal.map(interrupted);
                let errors = refusal(this, problems(), pin, journal.as_ref());
                match (pin, &journal) {
                    (Some(pin), _) if pin == other => {
                        assert!(matches!(errors.as_slice(), [Error::Pin { .. }]));
                    }
                    (_, Some(journal)) if journal.digest != Some(this) => {
                        assert!(matches!(errors.as_slice(), [Error::Interrupted { .. }]));
                    }
                    _ => assert_eq!(errors.len(), problems().len()),
                }
            }
        }
    }

    #[test]
    fn nothing_refuses_a_configuration_without_problems_that_was_meant() {
        let digest = Digest::of(b"this");
        let resumed = interrupted(Some(digest));
        assert!(refusal(digest, Vec::new(), Some(digest), Some(&resumed)).is_empty());
        assert!(refusal(digest, Vec::new(), None, None).is_empty());
    }
}
