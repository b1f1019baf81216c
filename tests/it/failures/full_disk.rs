//! Disks of every size that are full, or have no inodes left, and are then given room.

use std::fs;

use serde_json::json;

use crate::harness::{CONF, SEAL, Sandbox, sandbox_test};

/// The message of a full file system.
const FULL: &str = "No space left on device";

/// An entry of every kind in a directory that can fill up: 80 KiB in fifteen objects.
fn image(sandbox: &Sandbox) {
    sandbox
        .manifest(&json!({
            "version": 1,
            "service": {"user": "app", "command": ["sh", "-c", "cd /etc/app && find . | sort && cat $(find . -type f | sort) | sha256sum"]},
            "files": [
                {"source": "small", "dest": "/etc/app/small"},
                {"source": "large", "dest": "/etc/app/below/two/large"},
                {"content": "inline\n", "dest": "/etc/app/inline"},
                {"content": "seed\n", "dest": "/etc/app/own/seed", "owner": "app", "mutable": true},
            ],
            "directories": [
                {"path": "/etc/app/tree", "source": "tree", "exact": true},
                {"path": "/etc/app/own"},
            ],
            "absent": ["/etc/app/default.conf"],
        }))
        .source("small", "small\n")
        .source("large", "x".repeat(40 << 10))
        .source("tree/a", "a".repeat(20 << 10))
        .source("tree/b", "b".repeat(10 << 10))
        .source("tree/c", "c\n")
        .directory("/etc/app", 0o755)
        .directory("/var/lib/sealinit", 0o700);
}

/// The output of the service when everything is in its place.
fn golden(original: &Sandbox) -> String {
    let sandbox = original.another();
    image(&sandbox);
    sandbox.start().success().stdout
}

/// Starts on a tmpfs of this size, and again when it has been enlarged. Returns true if the first
/// start succeeded.
fn start_twice(original: &Sandbox, target: &str, limit: &str, golden: &str) -> bool {
    let sandbox = original.another();
    image(&sandbox);
    let script = format!(
        "/sbin/sealinit run > /trace/out 2> /trace/log; echo $? > /trace/code\n\
         test -e {SEAL} && touch /trace/sealed\n\
         mount -o remount,size=16m,nr_inodes=1000 tmpfs {target}"
    );
    let launch = sandbox
        .launch()
        .tmpfs(target, &format!("{limit},mode=0755"))
        .prelude(&script);
    let next = launch.start().success();
    let of_first = |name: &str| fs::read_to_string(sandbox.path(format!("/trace/{name}"))).unwrap();
    let (code, out, log) = (of_first("code"), of_first("out"), of_first("log"));
    let what = format!("{target} with {limit}: exit code {code}{log}");
    let fitted = code == "0\n";
    if fitted {
        assert_eq!(out, golden, "{what}");
        assert_eq!(next.state(), "verified", "{what}");
    } else {
        // The exit code depends on the file system that is full.
        let expected = if target == "/etc/app" { "73\n" } else { "74\n" };
        assert_eq!(code, expected, "{what}");
        assert_eq!(out, "", "the service ran: {what}");
        let errors: Vec<&str> = log
            .lines()
            .filter(|line| line.contains(" error: "))
            .collect();
        assert_eq!(errors.len(), 2, "one reason and the summary: {what}");
        assert!(
            errors[0].contains(FULL) && errors[0].contains(target),
            "{what}"
        );
        assert!(errors[1].contains("state=refused"), "{what}");
        assert!(!sandbox.exists("/trace/sealed"), "there is a seal: {what}");
        assert!(
            ["sealed", "resumed"].contains(&next.state().as_str()),
            "{what}{next:?}"
        );
    }
    assert_eq!(next.stdout, golden, "{what}");
    fitted
}

/// Asserts that starts with more and more room on the disk at `target` failed first, and fitted from
/// some size on.
#[track_caller]
fn assert_that_room_decides(target: &str, fitted: &[bool]) {
    assert!(fitted.is_sorted(), "more room is never worse: {fitted:?}");
    assert_eq!(
        (fitted.first(), fitted.last()),
        (Some(&false), Some(&true)),
        "{target}: both ends are reached"
    );
}

// Promise 3: a full disk leaves no seal, and with more room the next start repairs everything.
sandbox_test!(
    promise_3_a_disk_that_is_full_at_any_size_is_repaired_when_it_has_room,
    |original| {
        image(&original);
        let golden = golden(&original);
        for target in ["/etc/app", "/var/lib/sealinit"] {
            let mut fitted = Vec::new();
            for size in [4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 128] {
                fitted.push(start_twice(
                    &original,
                    target,
                    &format!("size={size}k"),
                    &golden,
                ));
            }
            assert_that_room_decides(target, &fitted);
        }
    }
);

sandbox_test!(
    promise_3_a_disk_without_inodes_is_repaired_when_it_has_some,
    |original| {
        image(&original);
        let golden = golden(&original);
        for (target, enough) in [("/etc/app", 20), ("/var/lib/sealinit", 6)] {
            // The first is the file system's own root directory.
            let fitted: Vec<bool> = (1..=enough)
                .map(|n| start_twice(&original, target, &format!("nr_inodes={n}"), &golden))
                .collect();
            assert_that_room_decides(target, &fitted);
        }
    }
);

// Promise 3, a full disk: no seal, and the next start repairs everything.
sandbox_test!(
    promise_3_a_full_disk_leaves_no_seal_and_the_next_start_repairs_it,
    |original| {
        for options in ["size=64k,mode=0755", "nr_inodes=3,mode=0755"] {
            let sandbox = original.another();
            sandbox
                .source("tree/a", "x".repeat(50 << 10))
                .source("tree/b", "x".repeat(50 << 10))
                .source("tree/c", "c")
                .directory("/etc/app", 0o755)
                .manifest(&json!({
                    "version": 1,
                    "service": {"user": "app", "command": ["ls", "/etc/app"]},
                    "directories": [{"path": "/etc/app", "source": "tree"}],
                }));
            let failed = sandbox
                .launch()
                .tmpfs("/etc/app", options)
                .start()
                .failed(73, "/etc/app/");
            failed.says("No space left on device");
            assert!(!sandbox.exists(SEAL));
            let repaired = sandbox.start().success();
            assert_eq!(
                (repaired.state().as_str(), repaired.stdout.as_str()),
                ("resumed", "a\nb\nc\n")
            );
        }
    }
);

sandbox_test!(promise_3_a_full_state_directory_leaves_no_seal, |sandbox| {
    sandbox
        .one_file(&["cat", CONF])
        .directory("/var/lib/sealinit", 0o700);
    let small = "nr_inodes=1,mode=0700";
    sandbox
        .launch()
        .tmpfs("/var/lib/sealinit", small)
        .start()
        .failed(74, "/var/lib/sealinit");
    assert!(!sandbox.exists(SEAL));
    let _ = sandbox.start().success();
});
