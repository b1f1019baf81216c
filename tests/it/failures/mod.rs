//! Kills, failing system calls, full disks and power cuts: no seal without what it seals.

mod faults;
mod full_disk;
mod killed;
mod power_cut;
mod resumed;

use serde_json::json;

use crate::harness::{APP, CONF, CONTENT, JOURNAL, Object, SEAL, Sandbox, Tree, is_temporary};

/// An image in which a first start has work of every kind.
pub(crate) fn image(sandbox: &Sandbox) {
    sandbox
        .manifest(&json!({
            "version": 1,
            "service": {"user": "app", "command": ["echo", "ran"]},
            "files": [
                {"source": "app.conf", "dest": CONF},
                {"content": "secret\n", "dest": "/etc/app/key.pem", "mode": "0400", "secret": true},
                {"source": "gone", "dest": "/etc/app/optional.conf", "optional": true},
                {"content": "seed\n", "dest": "/srv/data/state", "owner": "app", "mode": "0600", "mutable": true},
            ],
            "directories": [
                {"path": "/etc/app/tree", "source": "tree", "exact": true},
                {"path": "/srv/data"},
                {"path": "/srv/old", "recursive": true},
            ],
            "absent": ["/etc/app/default.conf", "/etc/app/conf.d"],
            "on_drift": "restore",
        }))
        .source("app.conf", CONTENT)
        .source("tree/a", "a\n")
        .source("tree/sub/b", "b\n")
        .file(CONF, "the image's\n")
        .file("/etc/app/optional.conf", "the image's\n")
        .file("/etc/app/default.conf", "the image's\n")
        .file("/etc/app/conf.d/sub/file", "the image's\n")
        .file("/etc/app/tree/extra/file", "the image's\n")
        .file("/srv/old/sub/file", "the image's\n")
        .mode("/srv/old", 0o700);
}

/// An image like [`image`] with more files than are synced one by one.
pub(crate) fn image_with_many(sandbox: &Sandbox) {
    image(sandbox);
    for index in 0..16 {
        sandbox.source(&format!("tree/many/{index:02}"), format!("{index}\n"));
    }
}

/// Lets the image of [`image`] drift after its first start.
pub(crate) fn tamper(sandbox: &Sandbox) {
    sandbox
        .file(CONF, "tampered\n")
        .mode("/etc/app/key.pem", 0o600)
        .remove("/etc/app/tree/sub")
        .file("/etc/app/tree/extra", "")
        .file("/etc/app/default.conf", "")
        .owner("/srv/data", 0, 0);
}

/// The tree without the seal, which holds the time and so differs after equal starts.
pub(crate) fn comparable(tree: Tree) -> Tree {
    tree.without(&[SEAL])
}

/// Promise 3: no half-written file is ever visible under its final name, and no file is ever more
/// readable than its final mode.
pub(crate) fn assert_sound(now: &Tree, before: &Tree, after: &Tree) {
    for (path, object) in &now.0 {
        let is = format!("{} {object}", path.display());
        if path.starts_with("/var/lib/sealinit") {
            assert_eq!((object.mode & 0o077, object.uid), (0, 0), "{is}");
            continue;
        }
        let finals: Vec<&Object> = [before, after]
            .into_iter()
            .filter_map(|tree| tree.0.get(path))
            .collect();
        if is_temporary(path) {
            // It may have any of the final modes, but is never readable for more users than in the
            // end.
            assert_eq!(object.mode & 0o007, 0, "{is}");
            assert!(object.mode & 0o070 == 0 || object.gid == APP, "{is}");
        } else if object.kind == "directory" {
            // It is made or taken over in steps, none of which opens it further than before or
            // after.
            let widest = finals.iter().fold(0, |modes, object| modes | object.mode);
            assert!(
                !finals.is_empty() && object.mode & 0o077 & !widest == 0,
                "{is}"
            );
        } else {
            let sound = finals.iter().any(|expected| {
                // Below a recursive directory, the owner is changed in place and so in two steps.
                let given_away = path.starts_with("/srv/old");
                *expected == object
                    || (given_away
                        && (expected.mode, &expected.content) == (object.mode, &object.content))
            });
            assert!(sound, "neither the old nor the new one: {is}");
        }
    }
}

/// Has a first start killed at a system call and asserts that the service has not run, that every
/// object is as before or after, and that a seal comes last. Returns true if there is a seal.
pub(crate) fn killed_first_start(
    sandbox: &Sandbox,
    (call, nth): (&str, usize),
    at: &str,
    (before, after): (&Tree, &Tree),
) -> bool {
    let killed = sandbox.launch().killed_at(call, nth).output();
    assert_eq!(
        String::from_utf8_lossy(&killed.stdout),
        "",
        "{at}: the service ran"
    );
    let now = sandbox.tree();
    assert_sound(&now, before, after);
    let sealed = sandbox.exists(SEAL);
    if sealed {
        after.assert_equals(&comparable(now.without(&[JOURNAL])));
    }
    sealed
}
