//! A first start: directories with and without a source, and removed names.

use serde_json::json;

use crate::harness::{APP, CERTS, MANIFEST, OTHER, hash, one_file, sandbox_test};

// As a Kubernetes `ConfigMap` is mounted: `app.conf -> ..data/app.conf`, `..data -> ..2026_01_01`.
sandbox_test!(
    symlinks_in_the_source_are_followed_and_its_dot_dot_names_skipped,
    |sandbox| {
        sandbox
            .source("map/..2026_01_01/app.conf", "conf\n")
            .source("map/..2026_01_01/sub/deep.conf", "deep\n")
            .symlink("/etc/sealinit/map/..data", "..2026_01_01")
            .symlink("/etc/sealinit/map/app.conf", "..data/app.conf")
            .symlink("/etc/sealinit/map/sub", "..data/sub")
            .symlink("/etc/sealinit/single", "map/..data/app.conf")
            .source("map/.hidden", "hidden\n");
        sandbox.manifest(&json!({
        "version": 1,
        "service": {"user": "app", "command": ["sh", "-c", "cd /etc/app && cat single && find map | sort"]},
        "files": [{"source": "single", "dest": "/etc/app/single"}],
        "directories": [{"path": "/etc/app/map", "source": "map", "exact": true}],
    }));
        let shown = "conf\nmap\nmap/.hidden\nmap/app.conf\nmap/sub\nmap/sub/deep.conf\n";
        assert_eq!(sandbox.start().success().stdout, shown);
        assert!(sandbox.object("/etc/app/map/app.conf").starts_with("file "));
        assert_eq!(sandbox.start().success().stdout, shown);
    }
);

sandbox_test!(
    a_directory_replaces_the_names_of_the_image_by_those_of_its_source,
    |sandbox| {
        for exact in [true, false] {
            let sandbox = sandbox.another();
            sandbox
                .file("/etc/app/tree/kept", "the image's")
                .file("/etc/app/tree/a", "the image's")
                .file("/etc/app/tree/old/deep/file", "the image's")
                .symlink("/etc/app/tree/link", "../../passwd")
                .mode("/etc/app/tree/old", 0o700)
                .source("tree/a", "a")
                .source("tree/sub/b", "b")
                .directory("/etc/sealinit/tree/empty", 0o700);
            sandbox.manifest(&json!({
            "version": 1,
            "service": {"user": "app", "command": ["sh", "-c", "cd /etc/app/tree && find . | sort"]},
            "directories": [{"path": "/etc/app/tree", "source": "tree", "exact": exact}],
        }));
            let listing = sandbox.start().success().stdout;
            if exact {
                assert_eq!(listing, ".\n./a\n./empty\n./sub\n./sub/b\n");
            } else {
                assert_eq!(
                    listing, ".\n./a\n./empty\n./kept\n./link\n./old\n./sub\n./sub/b\n",
                    "what is not the manifest's stays, root's 0700 directory included"
                );
                assert_eq!(sandbox.read("/etc/app/tree/old/deep/file"), "the image's");
            }
            assert_eq!(
                sandbox.object("/etc/app/tree/a"),
                format!("file 0440 0:{APP} {}", hash("a"))
            );
            assert_eq!(
                sandbox.object("/etc/app/tree/empty"),
                format!("directory 0550 0:{APP}")
            );
            assert!(
                sandbox.read("/etc/passwd").starts_with("root:"),
                "a link's target is not followed"
            );
        }
    }
);

sandbox_test!(absent_removes_whatever_is_there, |sandbox| {
    sandbox
        .file("/etc/app/file", "x")
        .file("/etc/app/directory/sub/file", "x")
        .symlink("/etc/app/link", "../passwd")
        .symlink("/etc/app/dangling", "nowhere")
        .symlink("/etc/app/directory/sub/out", "../../../sealinit")
        .fifo("/etc/app/pipe");
    sandbox.manifest(&json!({
        "version": 1,
        "service": {"user": "app", "command": ["ls", "-A", "/etc/app"]},
        "absent": [
            "/etc/app/file", "/etc/app/directory", "/etc/app/link", "/etc/app/dangling", "/etc/app/pipe",
            "/etc/app/never/was",
        ],
    }));
    assert_eq!(sandbox.start().success().stdout, "");
    assert!(!sandbox.exists("/etc/app/never"), "absent makes no parents");
    assert!(
        sandbox.exists(MANIFEST) && sandbox.exists("/etc/passwd"),
        "links are not followed"
    );
    assert_eq!(sandbox.start().success().state(), "verified");
});

sandbox_test!(
    a_directory_without_source_is_taken_over_with_what_is_in_it,
    |sandbox| {
        sandbox
            .file("/srv/data/file", "x")
            .mode("/srv/data", 0o777)
            .owner("/srv/data", OTHER, OTHER);
        let file = sandbox.object("/srv/data/file");
        let mut manifest = one_file(&["true"]);
        manifest["directories"] =
            json!([{"path": "/srv/data", "mode": "0700"}, {"path": "/srv/new", "group": "certs"}]);
        sandbox.one_file(&[]).manifest(&manifest);
        let _ = sandbox.start().success();
        assert_eq!(
            sandbox.object("/srv/data"),
            format!("directory 0700 {APP}:{APP}")
        );
        assert_eq!(sandbox.object("/srv/data/file"), file);
        assert_eq!(
            sandbox.object("/srv/new"),
            format!("directory 0750 {APP}:{CERTS}")
        );
    }
);

// In Debian's `PostgreSQL`, the directory above the data belongs to the service as well.
sandbox_test!(
    a_data_directory_may_lie_in_another_directory_of_the_service,
    |sandbox| {
        sandbox
            .directory("/var/lib/db", 0o755)
            .owner("/var/lib/db", APP, APP);
        let mut manifest = one_file(&["true"]);
        manifest["directories"] = json!([
            {"path": "/var/lib/db/data", "mode": "0700"},
            {"path": "/srv/own"},
            {"path": "/srv/own/cache", "mode": "0700"},
        ]);
        sandbox.one_file(&[]).manifest(&manifest);
        for state in ["sealed", "verified"] {
            let start = sandbox.start().success();
            assert_eq!(
                (start.state().as_str(), start.summarised("lock").as_str()),
                (state, "full")
            );
            assert_eq!(
                sandbox.object("/var/lib/db/data"),
                format!("directory 0700 {APP}:{APP}")
            );
            assert_eq!(
                sandbox.object("/srv/own/cache"),
                format!("directory 0700 {APP}:{APP}")
            );
        }
    }
);

// Missing parents are created root:root 0755, even below a set-group-ID directory.
sandbox_test!(missing_parents_inherit_no_group, |sandbox| {
    sandbox
        .directory("/srv/shared", 0o755)
        .owner("/srv/shared", 0, OTHER)
        .mode("/srv/shared", 0o2755);
    sandbox.manifest(&json!({
        "version": 1,
        "service": {"user": "app", "command": ["true"]},
        "files": [{"content": "", "dest": "/srv/shared/a/b/file"}],
        "directories": [{"path": "/srv/shared/data/deep"}],
    }));
    let _ = sandbox.start().success();
    for parent in ["/srv/shared/a", "/srv/shared/a/b", "/srv/shared/data"] {
        assert_eq!(sandbox.object(parent), "directory 0755 0:0", "{parent}");
    }
    assert_eq!(
        sandbox.object("/srv/shared/data/deep"),
        format!("directory 0750 {APP}:{APP}")
    );
    assert_eq!(
        sandbox.object("/srv/shared/a/b/file"),
        format!("file 0440 0:{APP} {}", hash(""))
    );
});

sandbox_test!(
    recursive_changes_the_owner_below_and_follows_no_link,
    |sandbox| {
        sandbox
            .file("/srv/data/sub/file", "x")
            .mode("/srv/data/sub/file", 0o604)
            .file("/srv/data/already", "x")
            .owner("/srv/data/already", APP, APP)
            .file("/srv/outside/file", "x")
            .symlink("/srv/data/link", "../outside")
            .symlink("/srv/data/file-link", "../outside/file");
        let already = sandbox.path("/srv/data/already");
        let changed = || {
            use std::os::unix::fs::MetadataExt;
            let metadata = already.metadata().unwrap();
            (metadata.ctime(), metadata.ctime_nsec())
        };
        let before = changed();
        let mut manifest = one_file(&["true"]);
        manifest["directories"] = json!([{"path": "/srv/data", "recursive": true}]);
        sandbox.one_file(&[]).manifest(&manifest);
        let _ = sandbox.start().success();
        assert_eq!(
            sandbox.object("/srv/data/sub"),
            format!("directory 0755 {APP}:{APP}")
        );
        assert_eq!(
            sandbox.object("/srv/data/sub/file"),
            format!("file 0604 {APP}:{APP} {}", hash("x"))
        );
        assert_eq!(sandbox.object("/srv/outside"), "directory 0755 0:0");
        assert_eq!(
            sandbox.object("/srv/outside/file"),
            format!("file 0644 0:0 {}", hash("x"))
        );
        assert_eq!(changed(), before, "only what differs is changed");
    }
);

// The preflight finds nothing to change below the directory. What the installation makes there is
// given away all the same, whatever path it is written with.
sandbox_test!(
    recursive_changes_the_owner_of_what_is_made_in_a_tree_that_was_right,
    |sandbox| {
        for way in ["/srv/data", "/srv/link"] {
            let sandbox = sandbox.another();
            sandbox
                .file("/srv/data/already", "x")
                .owner("/srv/data/already", APP, APP)
                .owner("/srv/data", APP, APP)
                .symlink("/srv/link", "data");
            let mut manifest = one_file(&["true"]);
            manifest["directories"] = json!([{"path": "/srv/data", "recursive": true}]);
            manifest["files"] = json!([
                {"content": "x", "dest": format!("{way}/made/file"), "owner": APP, "group": APP, "mutable": true}
            ]);
            sandbox.manifest(&manifest);
            let _ = sandbox.start().success();
            assert_eq!(
                sandbox.object("/srv/data/made"),
                format!("directory 0755 {APP}:{APP}"),
                "{way}"
            );
        }
    }
);
