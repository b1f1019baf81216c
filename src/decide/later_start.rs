//! Decides what a later start does about a seal and the differences from it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::declaration::{OnDrift, OnManifestChange};
use crate::digest::Digest;
use crate::drift::{Drift, Exclusion};
use crate::error::Error;
use crate::plan::{Entry, Protection};

/// The circumstances of a later start, apart from the disk.
#[derive(Debug)]
pub(crate) struct Circumstances {
    /// The digest that was sealed.
    pub(crate) digest: Digest,
    pub(crate) pin: Option<Digest>,
    /// The uid that sealed.
    pub(crate) installer: u32,
    /// The uid that this start runs as.
    pub(crate) caller: u32,
    /// Problems that keep this start from becoming the service.
    pub(crate) obstacles: Vec<Error>,
    pub(crate) manifest: MountedManifest,
    pub(crate) on_manifest_change: OnManifestChange,
}

/// The manifest that is mounted now, compared with the sealed one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MountedManifest {
    Sealed,
    Gone,
    /// Another one, or one that cannot be read.
    Changed(PathBuf),
}

/// Proof that nothing differs from the seal.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Clean(());

/// Differences in spite of which the manifest says to run the service.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tolerated(Vec<Drift>);

impl Tolerated {
    pub(crate) fn drifts(&self) -> &[Drift] {
        &self.0
    }
}

/// The action before the sealed service runs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Run(Clean),
    Warn(Tolerated),
    Restore(Vec<Drift>),
}

impl Action {
    /// Returns the protection of the sealed entries after this action; `sealed` is theirs at the
    /// seal.
    pub(crate) fn protection(&self, sealed: Protection) -> Protection {
        match self {
            // The difference may be in what protects them.
            Self::Warn(_) if sealed == Protection::Full => Protection::Partial,
            _ => sealed,
        }
    }
}

/// Decides whether the sealed configuration may be run at all, whatever is on disk.
///
/// # Errors
///
/// [`Error::Pin`] or [`Error::OtherCaller`] alone, or all obstacles, or
/// [`Error::ManifestChanged`].
pub(crate) fn admit(circumstances: Circumstances) -> Result<(), Vec<Error>> {
    let Circumstances {
        digest,
        pin,
        installer,
        caller,
        obstacles,
        manifest,
        on_manifest_change,
    } = circumstances;
    if let Some(error) = Error::not_pinned(pin, digest) {
        return Err(error.into());
    }
    if installer != caller {
        return Err(Error::OtherCaller {
            sealer: installer,
            is: caller,
        }
        .into());
    }
    if !obstacles.is_empty() {
        return Err(obstacles);
    }
    match manifest {
        MountedManifest::Changed(path) if on_manifest_change == OnManifestChange::Refuse => {
            Err(Error::ManifestChanged { path }.into())
        }
        _ => Ok(()),
    }
}

/// Proves that there are no differences.
///
/// # Errors
///
/// [`Error::Drift`] for each difference.
pub(crate) fn clean(drifts: Vec<Drift>) -> Result<Clean, Vec<Error>> {
    if drifts.is_empty() {
        Ok(Clean(()))
    } else {
        Err(refusal(drifts))
    }
}

/// Applies the policy `on_drift` to the differences that were found.
///
/// # Errors
///
/// [`Error::Drift`] for each difference, if the service may not run.
pub(crate) fn decide(
    on_drift: OnDrift,
    protection: Protection,
    pinned: bool,
    drifts: Vec<Drift>,
) -> Result<Action, Vec<Error>> {
    if drifts.is_empty() {
        return clean(drifts).map(Action::Run);
    }
    match on_drift {
        OnDrift::Refuse => Err(refusal(drifts)),
        // The manifest cannot tolerate differences from a pinned configuration, or directories in
        // which other users can replace sealed entries. An entry whose own owner or mode differs is
        // tolerated, and reported as `lock=partial`.
        OnDrift::Warn if pinned || drifts.iter().any(|drift| unprotects(protection, drift)) => {
            Err(refusal(drifts))
        }
        OnDrift::Warn => Ok(Action::Warn(Tolerated(drifts))),
        OnDrift::Restore => Ok(Action::Restore(drifts)),
    }
}

/// Decides whether a restore may begin: either everything can be put back, or nothing is touched.
/// `obstacles` were found on the disk.
///
/// # Errors
///
/// The obstacles and [`Error::Drift`] for each difference.
pub(crate) fn restorable(
    entries: &[Entry],
    drifts: &[Drift],
    mut obstacles: Vec<Error>,
) -> Result<(), Vec<Error>> {
    let entries: BTreeSet<&Path> = entries.iter().map(|entry| entry.dest.as_path()).collect();
    let can_be_restored = |drift: &Drift| match drift {
        Drift::Extra {
            of: Exclusion::Exact,
            ..
        } => true,
        drift => drift.path().is_some_and(|path| entries.contains(path)),
    };
    if obstacles.is_empty() && drifts.iter().all(can_be_restored) {
        return Ok(());
    }
    obstacles.extend(refusal(drifts.to_vec()));
    Err(obstacles)
}

/// Returns true if a difference lets other users replace sealed entries, or may hide that they did.
fn unprotects(protection: Protection, drift: &Drift) -> bool {
    match drift {
        Drift::Unreadable { .. } => true,
        Drift::UnsafeParent { .. } => protection != Protection::None,
        _ => false,
    }
}

fn refusal(drifts: Vec<Drift>) -> Vec<Error> {
    drifts.into_iter().map(Error::Drift).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drift::ContentChange;
    use crate::fs::metadata::FileKind;
    use crate::plan::EntryKind;

    const POLICIES: [OnDrift; 3] = [OnDrift::Refuse, OnDrift::Warn, OnDrift::Restore];
    const PROTECTIONS: [Protection; 3] = [Protection::Full, Protection::Partial, Protection::None];

    /// One difference of every kind.
    fn every_kind() -> Vec<Drift> {
        let path = || PathBuf::from("/etc/app.conf");
        let (expected, found) = (0o440, 0o644);
        vec![
            Drift::Missing {
                path: path(),
                expected: FileKind::File,
            },
            Drift::Extra {
                path: path(),
                found: FileKind::File,
                of: Exclusion::Absent,
            },
            Drift::Extra {
                path: path(),
                found: FileKind::File,
                of: Exclusion::Exact,
            },
            Drift::Type {
                path: path(),
                expected: FileKind::File,
                found: FileKind::Link,
            },
            Drift::Content {
                path: path(),
                change: ContentChange::Secret,
            },
            Drift::Owner {
                path: path(),
                expected,
                found,
            },
            Drift::Group {
                path: path(),
                expected,
                found,
            },
            Drift::Mode {
                path: path(),
                expected,
                found,
            },
            Drift::UnsafeParent {
                path: path(),
                installer: 0,
                uid: 1000,
                mode: 0o755,
            },
            Drift::Unreadable {
                path: path(),
                why: "Permission denied".into(),
            },
            Drift::Command {
                expected: "nginx".into(),
                found: "sh".into(),
            },
        ]
    }

    #[test]
    fn without_a_difference_the_service_runs_under_every_policy_with_and_without_a_pin() {
        for policy in POLICIES {
            for pinned in [false, true] {
                for protection in PROTECTIONS {
                    let action = decide(policy, protection, pinned, Vec::new());
                    assert_eq!(action.ok(), Some(Action::Run(Clean(()))));
                }
            }
        }
    }

    #[test]
    fn refuse_refuses_every_kind_of_difference_and_names_it() {
        for drift in every_kind() {
            for pinned in [false, true] {
                for protection in PROTECTIONS {
                    let refused = decide(OnDrift::Refuse, protection, pinned, vec![drift.clone()]);
                    let errors = refused.err().unwrap_or_default();
                    assert!(
                        matches!(errors.as_slice(), [Error::Drift(named)] if *named == drift),
                        "{drift:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn warn_runs_unless_pinned_or_what_protects_the_entries_is_open_or_unreadable() {
        for drift in every_kind() {
            for pinned in [false, true] {
                for protection in PROTECTIONS {
                    let action = decide(OnDrift::Warn, protection, pinned, vec![drift.clone()]);
                    let opens = match drift {
                        Drift::Unreadable { .. } => true,
                        Drift::UnsafeParent { .. } => protection != Protection::None,
                        _ => false,
                    };
                    let expected =
                        (!pinned && !opens).then(|| Action::Warn(Tolerated(vec![drift.clone()])));
                    assert_eq!(action.ok(), expected, "{drift:?} {pinned} {protection:?}");
                }
            }
        }
    }

    #[test]
    fn restore_restores_every_kind_of_difference_with_and_without_a_pin() {
        for drift in every_kind() {
            for pinned in [false, true] {
                for protection in PROTECTIONS {
                    let action = decide(OnDrift::Restore, protection, pinned, vec![drift.clone()]);
                    assert_eq!(action.ok(), Some(Action::Restore(vec![drift.clone()])));
                }
            }
        }
    }

    #[test]
    fn warn_refuses_all_differences_if_one_of_them_cannot_be_tolerated() {
        let drifts = every_kind();
        let refused = decide(OnDrift::Warn, Protection::Full, false, drifts.clone());
        assert_eq!(refused.err().map(|errors| errors.len()), Some(drifts.len()));
    }

    /// Circumstances in which nothing keeps the service from running.
    fn circumstances() -> Circumstances {
        Circumstances {
            digest: Digest::of(b"sealed"),
            pin: None,
            installer: 0,
            caller: 0,
            obstacles: Vec::new(),
            manifest: MountedManifest::Sealed,
            on_manifest_change: OnManifestChange::Refuse,
        }
    }

    fn obstacle() -> Error {
        Error::SetgroupsDenied
    }

    #[test]
    fn a_pin_that_does_not_match_is_the_only_reason_that_is_given() {
        let refused = admit(Circumstances {
            pin: Some(Digest::of(b"other")),
            caller: 1000,
            obstacles: vec![obstacle()],
            ..circumstances()
        });
        assert!(matches!(
            refused.err().as_deref(),
            Some([Error::Pin { .. }])
        ));
    }

    #[test]
    fn another_user_than_the_one_that_sealed_is_refused_before_the_obstacles() {
        let refused = admit(Circumstances {
            caller: 1000,
            obstacles: vec![obstacle()],
            ..circumstances()
        });
        assert!(matches!(
            refused.err().as_deref(),
            Some([Error::OtherCaller {
                sealer: 0,
                is: 1000
            }])
        ));
    }

    #[test]
    fn all_obstacles_are_returned() {
        let refused = admit(Circumstances {
            obstacles: vec![obstacle(), obstacle()],
            ..circumstances()
        });
        assert_eq!(refused.err().map(|errors| errors.len()), Some(2));
    }

    #[test]
    fn a_changed_manifest_is_refused_only_if_the_sealed_one_says_so() {
        let changed = || MountedManifest::Changed("/m.json".into());
        for (manifest, policy, admitted) in [
            (MountedManifest::Sealed, OnManifestChange::Refuse, true),
            (MountedManifest::Gone, OnManifestChange::Refuse, true),
            (changed(), OnManifestChange::Keep, true),
            (changed(), OnManifestChange::Refuse, false),
        ] {
            let decided = admit(Circumstances {
                pin: Some(Digest::of(b"sealed")),
                manifest: manifest.clone(),
                on_manifest_change: policy,
                ..circumstances()
            });
            assert_eq!(decided.is_ok(), admitted, "{manifest:?} {policy:?}");
        }
    }

    #[test]
    fn a_restore_begins_only_if_everything_can_be_put_back() {
        let entry = Entry {
            dest: "/etc/app.conf".into(),
            kind: EntryKind::Absent,
            locked: true,
        };
        for drift in every_kind() {
            let extra = matches!(
                drift,
                Drift::Extra {
                    of: Exclusion::Exact,
                    ..
                }
            );
            let drifts = [drift];
            let with_its_entry = restorable(std::slice::from_ref(&entry), &drifts, Vec::new());
            let is_command = matches!(drifts[0], Drift::Command { .. });
            assert_eq!(with_its_entry.is_ok(), !is_command, "{drifts:?}");
            let without = restorable(&[], &drifts, Vec::new());
            assert_eq!(without.is_ok(), extra, "{drifts:?}");
            let obstructed = restorable(std::slice::from_ref(&entry), &drifts, vec![obstacle()]);
            assert_eq!(obstructed.err().map(|errors| errors.len()), Some(2));
        }
    }

    #[test]
    fn running_in_spite_of_a_difference_lowers_full_protection_to_partial() {
        let tolerated = Action::Warn(Tolerated(every_kind()));
        for (sealed, expected) in [
            (Protection::Full, Protection::Partial),
            (Protection::Partial, Protection::Partial),
            (Protection::None, Protection::None),
        ] {
            assert_eq!(tolerated.protection(sealed), expected);
            assert_eq!(Action::Run(Clean(())).protection(sealed), sealed);
            assert_eq!(Action::Restore(Vec::new()).protection(sealed), sealed);
        }
    }
}
