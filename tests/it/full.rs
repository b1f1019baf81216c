//! No room, no inodes, nothing writable, or something mounted over it: at the destinations and at the state directory.

use std::fs;

use serde_json::json;

use crate::sandbox::{CONF, SEAL, Sandbox, one_file};

/// What a full file system says.
const FULL: &str = "No space left on device";

/// Something of every sort in a directory that can fill up: what is in it is 80 KiB in fifteen objects.
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

/// What the service finds when everything is in its place.
fn golden(original: &Sandbox) -> String {
    let sandbox = original.another();
    image(&sandbox);
    sandbox.start().success().stdout
}

/// A start on a tmpfs that is too small, and a second one on the same file system when it has been given room.
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
        // Where it is full is who reports it.
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

/// Promise 3: at whatever byte the disk is full, there is no seal, and with room the next start repairs everything.
#[test]
fn promise_3_a_disk_that_is_full_at_any_size_is_repaired_when_it_has_room() {
    let Some(original) = Sandbox::new() else {
        return;
    };
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
        assert!(fitted.is_sorted(), "more room is never worse: {fitted:?}");
        assert_eq!(
            (fitted[0], fitted.last()),
            (false, Some(&true)),
            "{target}: both ends are reached"
        );
    }
}

#[test]
fn promise_3_a_disk_without_inodes_is_repaired_when_it_has_some() {
    let Some(original) = Sandbox::new() else {
        return;
    };
    image(&original);
    let golden = golden(&original);
    for (target, enough) in [("/etc/app", 20), ("/var/lib/sealinit", 6)] {
        // The first is the file system's own root directory.
        let fitted: Vec<bool> = (1..=enough)
            .map(|n| start_twice(&original, target, &format!("nr_inodes={n}"), &golden))
            .collect();
        assert!(fitted.is_sorted(), "more room is never worse: {fitted:?}");
        assert_eq!(
            (fitted[0], fitted.last()),
            (false, Some(&true)),
            "{target}: both ends are reached"
        );
    }
}

/// `--read-only` with a volume too few.
#[test]
fn whatever_is_read_only_is_refused_before_the_first_write() {
    let Some(original) = Sandbox::new() else {
        return;
    };
    let manifest = json!({
        "version": 1,
        "service": {"user": "app", "command": ["true"]},
        "files": [
            {"content": "first in order", "dest": "/etc/aaa"},
            {"content": "x", "dest": "/srv/file/there"},
            {"content": "x", "dest": "/srv/deep/missing/too/file"},
            {"content": "x", "dest": "/srv/mutable/file", "owner": "app", "mutable": true},
        ],
        "directories": [
            {"path": "/srv/directory", "source": "tree"},
            {"path": "/srv/new/own"},
            {"path": "/srv/given", "recursive": true},
        ],
        "absent": ["/srv/gone/file"],
    });
    let image = |sandbox: &Sandbox| {
        sandbox
            .manifest(&manifest)
            .source("tree/a", "a")
            .directory("/var/lib/sealinit", 0o700);
        for directory in [
            "file",
            "deep",
            "mutable",
            "directory",
            "new",
            "given",
            "gone",
        ] {
            sandbox.directory(format!("/srv/{directory}"), 0o755);
        }
        sandbox
            .file("/srv/file/there", "old")
            .file("/srv/given/sub/file", "")
            .file("/srv/gone/file", "");
    };
    for (read_only, code, named) in [
        ("/srv/file", 73, "/srv/file"),
        ("/srv/deep", 73, "/srv/deep"),
        ("/srv/mutable", 73, "/srv/mutable"),
        ("/srv/directory", 73, "/srv/directory"),
        ("/srv/new", 73, "/srv/new"),
        ("/srv/given", 73, "/srv/given"),
        ("/srv/gone", 73, "/srv/gone"),
        ("/srv", 73, "/srv"),
        ("/etc", 73, "/etc"),
        ("/var/lib/sealinit", 74, "/var/lib/sealinit"),
        ("/var/lib", 74, "/var/lib/sealinit"),
    ] {
        let sandbox = original.another();
        image(&sandbox);
        let refused = sandbox
            .launch()
            .read_only(read_only)
            .start()
            .refused(code, named);
        refused.says("Read-only file system");
        assert_eq!(
            sandbox.start().success().state(),
            "sealed",
            "{read_only}: nothing had been begun"
        );
    }
}

/// A read-only file system in which there is nothing to do is no obstacle.
#[test]
fn what_is_absent_already_may_be_read_only() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    let mut manifest = one_file(&["cat", CONF]);
    manifest["absent"] = json!(["/srv/gone", "/srv/no/such/directory/file"]);
    sandbox
        .one_file(&[])
        .manifest(&manifest)
        .directory("/srv", 0o755);
    for state in ["sealed", "verified"] {
        assert_eq!(
            sandbox.launch().read_only("/srv").start().success().state(),
            state
        );
    }
}

/// `-v /some/file:/etc/app/app.conf` mounts over a destination: renaming over it is EBUSY, and removing it as well.
#[test]
fn a_destination_that_is_a_mount_point_is_refused_before_the_first_write() {
    for at in [CONF, "/etc/app/default.conf"] {
        for proc in [true, false] {
            let Some(sandbox) = Sandbox::new() else {
                return;
            };
            let mut manifest = one_file(&["true"]);
            manifest["absent"] = json!(["/etc/app/default.conf"]);
            sandbox
                .one_file(&[])
                .manifest(&manifest)
                .file(at, "")
                .file("/srv/mounted", "mounted");
            let launch = sandbox.launch().mount("none", "/srv/mounted", at, "bind");
            if proc {
                launch.start().refused(73, at).says("mount point");
            } else {
                // Without /proc nobody can say what is mounted, but the kernel still says no.
                launch
                    .without_proc()
                    .start()
                    .failed(73, at)
                    .says("mount point");
                assert!(!sandbox.exists(SEAL));
            }
            assert_eq!(sandbox.read("/srv/mounted"), "mounted");
            assert_eq!(
                sandbox.start().success().state(),
                if proc { "sealed" } else { "resumed" }
            );
        }
    }
}

/// A volume for the service, or for its configuration as a whole, is what a directory of the manifest is for.
#[test]
fn a_directory_that_is_a_mount_point_is_taken_over() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox
        .manifest(&json!({
            "version": 1,
            "service": {"user": "app", "command": ["sh", "-c", "stat -c '%u %a' /srv/data /etc/app; cat /etc/app/a"]},
            "directories": [{"path": "/srv/data"}, {"path": "/etc/app", "source": "tree", "exact": true}],
        }))
        .source("tree/a", "a\n")
        .directory("/srv/data", 0o755)
        .directory("/etc/app", 0o755)
        .directory("/volumes", 0o755)
        .directory("/volumes/data", 0o777)
        .file("/volumes/app/extra", "");
    for state in ["sealed", "verified"] {
        let launch = sandbox
            .launch()
            .mount("none", "/volumes/data", "/srv/data", "bind");
        let ran = launch
            .mount("none", "/volumes/app", "/etc/app", "bind")
            .start()
            .success();
        assert_eq!(
            (ran.state().as_str(), ran.stdout.as_str()),
            (state, "1000 750\n0 550\na\n")
        );
    }
    assert!(!sandbox.exists("/volumes/app/extra"));
}

/// A volume below a directory that is declared absent, or that `exact` has no place for: what is in it is the operator's, and
/// nothing that is mounted was in the image.
#[test]
fn what_is_mounted_below_something_to_be_removed_is_never_emptied() {
    for (part, value, mounted_on) in [
        ("absent", json!(["/srv/gone"]), "/srv/gone/sub/volume"),
        (
            "directories",
            json!([{"path": "/srv/tree", "source": "tree", "exact": true}]),
            "/srv/tree/volume",
        ),
        (
            "directories",
            json!([{"path": "/srv/tree", "source": "tree", "exact": true}]),
            "/srv/tree/extra/volume",
        ),
    ] {
        let Some(sandbox) = Sandbox::new() else {
            return;
        };
        let mut manifest = one_file(&["true"]);
        manifest[part] = value;
        sandbox
            .one_file(&[])
            .manifest(&manifest)
            .source("tree/a", "a");
        sandbox
            .directory(mounted_on, 0o755)
            .file("/srv/mounted/data", "data");
        let start = sandbox
            .launch()
            .mount("none", "/srv/mounted", mounted_on, "bind")
            .start();
        assert!(
            sandbox.exists("/srv/mounted/data"),
            "a volume was emptied: {part} {mounted_on}"
        );
        start.refused(73, mounted_on).says("mount point");
        assert_eq!(sandbox.start().success().state(), "sealed");
    }
}
