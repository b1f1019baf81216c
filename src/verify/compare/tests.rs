//! Comparisons without a disk.

use std::collections::BTreeMap;

use super::*;
use crate::declaration::{OnDrift, OnManifestChange, Policies};
use crate::fs::error::FsError;
use crate::fs::metadata::Metadata;
use crate::plan::{ContentOrigin, PlannedDirectory, PlannedFile, Protection, Service};
use crate::sys::capability::CapabilitySet;
use crate::verify::observe::UnsafeParent;

const OWNERSHIP: Ownership = Ownership {
    uid: 0,
    gid: 1000,
    mode: 0o440,
};

fn plan(dest: &str, kind: EntryKind) -> Plan {
    Plan {
        entries: vec![Entry {
            dest: dest.into(),
            kind,
            locked: true,
        }],
        service: Service {
            command: vec!["true".into()],
            env: BTreeMap::new(),
            working_dir: None,
            umask: None,
            uid: 1000,
            gid: 1000,
            groups: BTreeSet::from([1000]),
            credentials_unchanged: false,
            login: None,
            capabilities: CapabilitySet::EMPTY,
            no_new_privileges: true,
            supervised: None,
        },
        checks: Vec::new(),
        lock: Protection::Full,
        installer: 0,
        policies: Policies {
            on_drift: OnDrift::Refuse,
            on_manifest_change: OnManifestChange::Keep,
        },
    }
}

fn file(secret: bool) -> EntryKind {
    EntryKind::File(PlannedFile {
        content: Some(FileDigest::of(b"sealed")),
        origin: ContentOrigin::Inline("sealed".into()),
        ownership: OWNERSHIP,
        secret,
        mutable: false,
    })
}

fn directory() -> EntryKind {
    EntryKind::Directory(PlannedDirectory {
        ownership: OWNERSHIP,
        exact: Some(BTreeSet::new()),
        recursive: false,
    })
}

fn metadata(kind: FileKind, ownership: Ownership, size: u64) -> Metadata {
    Metadata {
        kind,
        ownership,
        size,
        links: 1,
        device: 1,
        inode: 1,
    }
}

fn found_file(ownership: Ownership, content: &[u8]) -> Found {
    Found::File {
        metadata: metadata(FileKind::File, ownership, content.len() as u64),
        content: (content.len() == b"sealed".len()).then(|| FileDigest::of(content)),
    }
}

fn found_directory(ownership: Ownership, extra: Vec<(std::ffi::OsString, FileKind)>) -> Found {
    Found::Directory {
        metadata: metadata(FileKind::Directory, ownership, 4096),
        extra,
    }
}

fn seen(found: Found) -> ObservedEntry {
    ObservedEntry {
        unsafe_parent: None,
        found,
        error: None,
    }
}

fn compared(kind: EntryKind, observed: ObservedEntry) -> Comparison {
    let observed = Observed {
        entries: vec![Some(observed)],
    };
    compare(&plan("/etc/app", kind), observed)
}

/// The differences as they are shown.
fn shown(kind: EntryKind, found: Found) -> Vec<String> {
    let drifts = compared(kind, seen(found)).drifts;
    drifts.iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_as_planned_is_no_difference() {
    assert!(shown(file(false), found_file(OWNERSHIP, b"sealed")).is_empty());
    assert!(shown(directory(), found_directory(OWNERSHIP, Vec::new())).is_empty());
    assert!(shown(EntryKind::Absent, Found::Nothing).is_empty());
}

#[test]
fn every_attribute_that_differs_is_reported() {
    let other = Ownership {
        uid: 1000,
        gid: 0,
        mode: 0o4755,
    };
    let expected = [
        "/etc/app: owner: expected 0, found 1000",
        "/etc/app: group: expected 1000, found 0",
        "/etc/app: mode: expected 0440, found 4755",
    ];
    assert_eq!(shown(file(false), found_file(other, b"sealed")), expected);
    assert_eq!(
        shown(directory(), found_directory(other, Vec::new())),
        expected
    );
}

#[test]
fn content_differs_by_size_or_by_hash_and_a_secret_shows_neither() {
    let (sealed, longer) = (FileDigest::of(b"sealed").digest, b"longer content");
    let found = FileDigest::of(b"SEALED").digest;
    assert_eq!(
        shown(file(false), found_file(OWNERSHIP, longer)),
        [format!(
            "/etc/app: content: expected {sealed} (6 bytes), found 14 bytes"
        )]
    );
    assert_eq!(
        shown(file(false), found_file(OWNERSHIP, b"SEALED")),
        [format!(
            "/etc/app: content: expected {sealed}, found {found}"
        )]
    );
    for content in [&longer[..], b"SEALED"] {
        assert_eq!(
            shown(file(true), found_file(OWNERSHIP, content)),
            ["/etc/app: content: expected the sealed secret, found another"]
        );
    }
}

#[test]
fn another_type_is_reported_for_each_type_that_was_planned() {
    for (kind, expected) in [(file(false), "file"), (directory(), "directory")] {
        assert_eq!(
            shown(kind.clone(), Found::Nothing),
            [format!(
                "/etc/app: type: expected {expected}, found nothing"
            )]
        );
        assert_eq!(
            shown(kind, Found::Other(FileKind::Link)),
            [format!(
                "/etc/app: type: expected {expected}, found symlink"
            )]
        );
    }
    assert_eq!(
        shown(EntryKind::Absent, Found::Other(FileKind::Fifo)),
        ["/etc/app: type: expected nothing, found FIFO"]
    );
}

#[test]
fn a_name_that_an_exact_directory_may_not_have_is_reported_with_its_path() {
    let extra = vec![("new".into(), FileKind::File)];
    assert_eq!(
        shown(directory(), found_directory(OWNERSHIP, extra)),
        ["/etc/app/new: extra: expected nothing, found file"]
    );
}

#[test]
fn something_on_the_way_is_reported_once_for_all_entries_below() {
    let mut plan = plan("/etc/app/a", file(false));
    plan.entries.push(Entry {
        dest: "/etc/app/b".into(),
        ..plan.entries[0].clone()
    });
    let blocked = || {
        Some(seen(Found::Blocked {
            path: "/etc/app".into(),
            found: FileKind::Link,
        }))
    };
    let observed = Observed {
        entries: vec![blocked(), blocked()],
    };
    let drifts = compare(&plan, observed).drifts;
    let shown: Vec<String> = drifts.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["/etc/app: type: expected directory, found symlink"]);
}

fn denied() -> FsError {
    FsError::io(
        "cannot open",
        Path::new("/etc/app"),
        io::Error::from(io::ErrorKind::PermissionDenied),
    )
}

#[test]
fn an_open_directory_on_the_way_is_reported_instead_of_what_it_hides() {
    let observed = ObservedEntry {
        unsafe_parent: Some(UnsafeParent {
            path: "/etc".into(),
            uid: 1000,
            mode: 0o700,
        }),
        found: Found::Unknown,
        error: Some(denied()),
    };
    let comparison = compared(file(false), observed);
    assert!(comparison.unreadable.is_empty());
    assert!(matches!(
        comparison.drifts.as_slice(),
        [Drift::UnsafeParent {
            installer: 0,
            uid: 1000,
            mode: 0o700,
            ..
        }]
    ));
}

#[test]
fn an_entry_that_cannot_be_read_is_an_error_alone_and_a_difference_beside_others() {
    let unreadable = |found| ObservedEntry {
        unsafe_parent: None,
        found,
        error: Some(denied()),
    };
    let alone = compared(file(false), unreadable(Found::Unknown)).complete();
    assert!(matches!(
        alone.err().as_deref(),
        Some([Error::Measure { .. }])
    ));
    let other = Ownership {
        mode: 0o644,
        ..OWNERSHIP
    };
    let beside = unreadable(Found::File {
        metadata: metadata(FileKind::File, other, 6),
        content: None,
    });
    let drifts = compared(file(false), beside).complete().unwrap_or_default();
    assert!(matches!(
        drifts.as_slice(),
        [Drift::Mode { .. }, Drift::Unreadable { .. }]
    ));
}

#[test]
fn entries_out_of_scope_are_not_compared() {
    let observed = Observed {
        entries: vec![None],
    };
    assert!(
        compare(&plan("/etc/app", file(false)), observed)
            .drifts
            .is_empty()
    );
}
