//! Sources that change while a first start reads and installs them.

use std::os::unix::fs as unix_fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, thread};

use serde_json::json;

use crate::harness::{CONF, CONTENT, JOURNAL, Launch, SEAL, Sandbox, sandbox_test};

/// Holds a first start for half a second at its journal, when all sources have been read and
/// nothing has been installed, and calls `change` meanwhile.
fn held_between_plan_and_installation(
    launch: Launch<'_>,
    sandbox: &Sandbox,
    change: impl FnOnce(),
) -> (i32, String, String) {
    let launch = launch.inject("renameat", "delay_enter=500000:when=1");
    let output = thread::scope(|scope| {
        let start = scope.spawn(|| launch.output());
        let begun = Instant::now();
        let state = sandbox.path("/var/lib/sealinit");
        // The journal is written under a temporary name first.
        while !fs::read_dir(&state).is_ok_and(|mut names| names.next().is_some()) {
            assert!(
                begun.elapsed() < Duration::from_secs(30) && !start.is_finished(),
                "it never came to the journal"
            );
            thread::sleep(Duration::from_millis(1));
        }
        assert!(!sandbox.exists(JOURNAL), "too late: the journal is written");
        change();
        start.join().unwrap()
    });
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code().unwrap_or(-1),
        text(&output.stdout),
        text(&output.stderr),
    )
}

// Small enough to be kept in memory: the planned content is installed, and the digest covers it.
sandbox_test!(
    a_small_source_that_changes_during_the_start_is_installed_as_it_was_read,
    strace,
    |sandbox| {
        sandbox.one_file(&["cat", CONF]);
        let source = sandbox.path("/etc/sealinit/app.conf");
        let digest = sandbox.digest();
        let (code, stdout, stderr) =
            held_between_plan_and_installation(sandbox.launch(), &sandbox, || {
                fs::write(&source, "another\n").unwrap();
            });
        assert_eq!((code, stdout.as_str()), (0, CONTENT), "{stderr}");
        assert!(stderr.contains(&digest), "{stderr}");
        assert_eq!(sandbox.start().success().stdout, CONTENT);
    }
);

/// A change to a source.
type Change = fn(&Path);

// Too large for memory: it is read again, and the content must be the planned one.
sandbox_test!(
    a_large_source_that_changes_during_the_start_is_refused_and_never_torn,
    strace,
    |original| {
        let large = "planned ".repeat(100_000);
        let changes: [(&str, Change); 4] = [
            ("rewritten", |path| {
                fs::write(path, "swapped ".repeat(100_000)).unwrap();
            }),
            ("cut short", |path| {
                fs::write(path, "planned ".repeat(50_000)).unwrap();
            }),
            ("grown", |path| {
                fs::write(path, "planned ".repeat(100_001)).unwrap();
            }),
            ("removed", |path| fs::remove_file(path).unwrap()),
        ];
        for (what, change) in changes {
            let sandbox = original.another();
            sandbox
                .one_file(&["wc", "-c", CONF])
                .source("app.conf", &large);
            let source = sandbox.path("/etc/sealinit/app.conf");
            let (code, stdout, stderr) =
                held_between_plan_and_installation(sandbox.launch(), &sandbox, || change(&source));
            assert_eq!((code, stdout.as_str()), (66, ""), "{what}: {stderr}");
            assert!(
                stderr.contains("/etc/sealinit/app.conf") && stderr.contains(CONF),
                "{what}: {stderr}"
            );
            assert!(!sandbox.exists(SEAL) && !sandbox.exists(CONF), "{what}");
            assert!(sandbox.temporaries().is_empty(), "{what}");
            // Only the configuration that was begun can be completed.
            if what != "removed" {
                sandbox.start().failed(83, "/var/lib/sealinit");
            }
            fs::write(&source, &large).unwrap();
            assert_eq!(sandbox.start().success().state(), "resumed", "{what}");
        }
    }
);

/// Makes a `ConfigMap` as the kubelet does: names are links through `..data`, which is replaced by
/// a rename when the map changes.
fn config_map(sandbox: &Sandbox, content: &str) -> PathBuf {
    sandbox
        .manifest(&json!({
            "version": 1,
            "service": {"user": "app", "command": ["sh", "-c", "cat /etc/app/* | sort -u"]},
            "directories": [{"path": "/etc/app", "source": "map", "exact": true}],
        }))
        .file("/etc/sealinit/map/..2026_11_20_old/a", content)
        .file("/etc/sealinit/map/..2026_11_20_old/b", content)
        .symlink("/etc/sealinit/map/..data", "..2026_11_20_old")
        .symlink("/etc/sealinit/map/a", "..data/a")
        .symlink("/etc/sealinit/map/b", "..data/b");
    sandbox.path("/etc/sealinit/map")
}

/// Swaps the content of a `ConfigMap` in the kubelet's order.
fn swap(map: &Path, content: &str) {
    let new = map.join("..2026_11_20_new");
    fs::create_dir(&new).unwrap();
    fs::write(new.join("a"), content).unwrap();
    fs::write(new.join("b"), content).unwrap();
    unix_fs::symlink("..2026_11_20_new", map.join("..data_tmp")).unwrap();
    fs::rename(map.join("..data_tmp"), map.join("..data")).unwrap();
    fs::remove_dir_all(map.join("..2026_11_20_old")).unwrap();
}

sandbox_test!(
    a_config_map_that_is_swapped_during_the_start_is_installed_whole,
    strace,
    |sandbox| {
        let map = config_map(&sandbox, "old\n");
        let (code, stdout, stderr) =
            held_between_plan_and_installation(sandbox.launch(), &sandbox, || swap(&map, "new\n"));
        assert_eq!((code, stdout.as_str()), (0, "old\n"), "{stderr}");
        // The newer one applies to a new container.
        assert_eq!(sandbox.start().success().stdout, "old\n");
    }
);

sandbox_test!(
    a_large_config_map_that_is_swapped_during_the_start_is_refused_whole,
    strace,
    |sandbox| {
        let map = config_map(&sandbox, &"old\n".repeat(50_000));
        let (code, stdout, stderr) =
            held_between_plan_and_installation(sandbox.launch(), &sandbox, || {
                swap(&map, &"new\n".repeat(50_000));
            });
        assert_eq!((code, stdout.as_str()), (66, ""), "{stderr}");
        assert!(
            stderr.contains("changed while it was being installed"),
            "{stderr}"
        );
        assert!(!sandbox.exists(SEAL));
    }
);

// Swapped between one name and the next: the digest covers the content that was read, so a pin
// refuses it.
sandbox_test!(
    a_config_map_that_is_swapped_while_it_is_read_is_not_the_pinned_one,
    strace,
    |sandbox| {
        let map = config_map(&sandbox, "old\n");
        let digest = sandbox.digest();
        let before = sandbox.tree().without(&["/etc/sealinit/map"]);
        // Held after the directory was listed, before a file is read.
        let launch = sandbox
            .launch()
            .args(["--pin", &digest])
            .inject("getdents64", "delay_exit=300000:when=2");
        let output = thread::scope(|scope| {
            let start = scope.spawn(|| launch.output());
            thread::sleep(Duration::from_millis(100));
            // One of two files changes in place, as if one name were read before the swap and one
            // after it.
            fs::write(map.join("..2026_11_20_old/b"), "new\n").unwrap();
            start.join().unwrap()
        });
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(82), "{stderr}");
        assert!(stderr.contains("pin=mismatch"), "{stderr}");
        before.assert_equals(&sandbox.tree().without(&["/etc/sealinit/map"]));
    }
);
