//! Mount points and read-only file systems at the destinations and the state directory.

use serde_json::json;

use crate::harness::{CONF, SEAL, Sandbox, TRACE, name_of, one_file, sandbox_test};

sandbox_test!(
    a_read_only_file_system_is_refused_before_anything_is_written,
    |sandbox| {
        sandbox.directory("/etc/app", 0o755).manifest(&json!({
            "version": 1,
            "service": {"user": "app", "command": ["cat", CONF]},
            "files": [
                {"content": "first in order", "dest": "/etc/aaa"},
                {"content": "x", "dest": CONF},
            ],
        }));
        let refused = sandbox
            .launch()
            .read_only("/etc/app")
            .start()
            .refused(73, CONF);
        refused.says("Read-only file system");
        sandbox.directory("/var/lib/sealinit", 0o700);
        let refused = sandbox
            .launch()
            .read_only("/var/lib/sealinit")
            .start()
            .refused(74, "/var/lib/sealinit");
        refused.says("Read-only file system");
        let _ = sandbox.start().success();
    }
);

sandbox_test!(
    a_destination_that_is_a_mount_point_is_refused_with_a_remedy,
    |sandbox| {
        sandbox
            .one_file(&["true"])
            .file(CONF, "")
            .file("/srv/mounted", "mounted");
        let launch = sandbox.launch().mount("none", "/srv/mounted", CONF, "bind");
        launch.start().refused(73, CONF).says("mount point");
        assert_eq!(sandbox.read("/srv/mounted"), "mounted");
    }
);

sandbox_test!(
    a_mount_point_that_would_have_to_be_removed_is_refused_before_anything_is_written,
    |original| {
        for members in [
            json!({"directories": [{"path": "/etc/app", "source": "tree", "exact": true}]}),
            json!({"absent": ["/etc/app"]}),
            json!({"absent": ["/etc/app/sub"]}),
        ] {
            let sandbox = original.another();
            let mut manifest = one_file(&["true"]);
            manifest["files"] = json!([{"content": "first in order", "dest": "/etc/aaa"}]);
            manifest
                .as_object_mut()
                .unwrap()
                .extend(members.as_object().unwrap().clone());
            sandbox
                .manifest(&manifest)
                .source("tree/a", "")
                .file("/etc/app/sub/mounted", "")
                .file("/srv/file", "x");
            let launch =
                sandbox
                    .launch()
                    .mount("none", "/srv/file", "/etc/app/sub/mounted", "bind");
            launch.start().refused(73, "mount point");
        }
    }
);

// `--read-only` with a missing volume.
sandbox_test!(
    read_only_destinations_are_refused_before_the_first_write,
    |original| {
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
);

// A read-only file system without anything to change is not an obstacle.
sandbox_test!(a_path_that_is_absent_already_may_be_read_only, |sandbox| {
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
});

// `-v /some/file:/etc/app/app.conf` mounts over a destination: renaming over it and removing it are
// EBUSY.
sandbox_test!(
    a_destination_that_is_a_mount_point_is_refused_before_the_first_write,
    |original| {
        for at in [CONF, "/etc/app/default.conf"] {
            for proc in [true, false] {
                let sandbox = original.another();
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
                    // Without /proc the mounts are unknown in advance, but the kernel still
                    // refuses.
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
);

// A volume for the service, or for its whole configuration, is declared as a directory.
sandbox_test!(a_directory_that_is_a_mount_point_is_taken_over, |sandbox| {
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
});

// A volume below a directory that is declared absent, or at a name that an exact directory does not
// have: its files belong to the operator, not to the image.
sandbox_test!(
    a_volume_below_a_directory_to_be_removed_is_never_emptied,
    |original| {
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
            let sandbox = original.another();
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
);

// A file system that sealinit does not know may not wait for its device or server in syncfs(2).
sandbox_test!(
    promise_3_an_unknown_file_system_has_each_change_synced_beside_a_recursive_directory,
    strace,
    |sandbox| {
        let path = |n: usize| format!("/srv/{n:02}");
        // More than are synced one by one anywhere. They are closed from the last to the first.
        let mut directories: Vec<_> = (0..20).map(|n| json!({"path": path(n)})).collect();
        directories.push(json!({"path": "/srv/recursive", "recursive": true}));
        sandbox
            .manifest(&json!({
                "version": 1,
                "service": {"user": "app", "command": ["true"]},
                "directories": directories,
            }))
            .directory("/srv", 0o755);
        let launch = sandbox
            .launch()
            .mount("ramfs", "ramfs", "/srv", "mode=0755");
        launch.traced(&["fsync", "syncfs"]).start().success();
        let trace = sandbox.read(TRACE);
        let calls: Vec<&str> = trace.lines().collect();
        for n in 0..20 {
            let synced = format!("{}>", path(n));
            assert!(
                calls
                    .iter()
                    .any(|call| name_of(call) == "fsync" && call.contains(&synced)),
                "{synced}: {calls:#?}"
            );
        }
        assert!(calls.iter().any(|call| name_of(call) == "syncfs"));
    }
);
