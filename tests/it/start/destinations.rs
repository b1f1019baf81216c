//! Planted objects at and above destinations: links, pipes, foreign directories, leftovers.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use serde_json::json;

use crate::harness::{
    APP, CONF, CONTENT, OTHER, Sandbox, hash, is_temporary, one_file, sandbox_test,
};

const VICTIM: &str = "/srv/victim";

/// An image with a file that must not be overwritten.
fn with_victim(sandbox: &Sandbox) {
    sandbox
        .one_file(&["cat", CONF])
        .file(VICTIM, "victim")
        .mode(VICTIM, 0o600);
}

#[track_caller]
fn victim_is_unharmed(sandbox: &Sandbox) {
    assert_eq!(
        sandbox.object(VICTIM),
        format!("file 0600 0:0 {}", hash("victim"))
    );
}

sandbox_test!(
    a_link_at_the_destination_is_replaced_and_not_followed,
    |sandbox| {
        with_victim(&sandbox);
        for target in [VICTIM, "../../srv/victim", "/no/such/file", "app.conf"] {
            let sandbox = sandbox.another();
            sandbox
                .one_file(&["cat", CONF])
                .file(VICTIM, "victim")
                .mode(VICTIM, 0o600);
            sandbox.directory("/etc/app", 0o755).symlink(CONF, target);
            assert_eq!(sandbox.start().success().stdout, CONTENT);
            assert!(sandbox.object(CONF).starts_with("file 0440 "));
            victim_is_unharmed(&sandbox);
        }
    }
);

sandbox_test!(
    a_hard_link_at_the_destination_is_replaced_and_not_written_to,
    |sandbox| {
        with_victim(&sandbox);
        sandbox.directory("/etc/app", 0o755).hard_link(CONF, VICTIM);
        assert_eq!(sandbox.start().success().stdout, CONTENT);
        victim_is_unharmed(&sandbox);
    }
);

sandbox_test!(a_pipe_or_socket_at_the_destination_is_replaced, |sandbox| {
    with_victim(&sandbox);
    sandbox.directory("/etc/app", 0o755).fifo(CONF);
    assert_eq!(sandbox.start().success().stdout, CONTENT);
    let sandbox = sandbox.another();
    sandbox
        .one_file(&["cat", CONF])
        .directory("/etc/app", 0o755);
    drop(UnixListener::bind(sandbox.path(CONF)).unwrap());
    assert_eq!(sandbox.start().success().stdout, CONTENT);
});

// Nothing that the manifest does not name is removed: the directory may hold the operator's data.
sandbox_test!(
    a_directory_at_the_destination_of_a_file_is_refused,
    |sandbox| {
        with_victim(&sandbox);
        sandbox.file("/etc/app/app.conf/data", "data");
        sandbox
            .start()
            .refused(73, CONF)
            .says("remove the directory");
    }
);

sandbox_test!(a_file_where_a_directory_is_needed_is_refused, |sandbox| {
    with_victim(&sandbox);
    sandbox.file("/etc/app", "a file");
    sandbox.start().refused(73, "/etc/app").says("remove it");
});

sandbox_test!(
    a_file_or_link_at_the_destination_of_a_directory_is_refused,
    |original| {
        for directory in [
            json!({"path": "/srv/data"}),
            json!({"path": "/srv/data", "source": "tree"}),
        ] {
            let sandbox = original.another();
            with_victim(&sandbox);
            let mut manifest = one_file(&["true"]);
            manifest["directories"] = json!([directory]);
            sandbox
                .manifest(&manifest)
                .source("tree/a", "")
                .file("/srv/elsewhere/mine", "mine")
                .mode("/srv/elsewhere", 0o700);
            sandbox.symlink("/srv/data", "elsewhere");
            sandbox.start().refused(73, "/srv/data");

            let sandbox = sandbox.another();
            sandbox
                .one_file(&[])
                .manifest(&manifest)
                .source("tree/a", "")
                .file("/srv/data", "a file");
            sandbox.start().refused(73, "/srv/data");
        }
    }
);

// Promise 2: every directory on the way is root's and not group- or world-writable, or the start is
// refused with the remedy.
sandbox_test!(
    promise_2_a_directory_on_the_way_that_others_can_change_is_refused,
    |original| {
        for (what, uid, mode) in [
            ("the service's", APP, 0o755),
            ("another's", OTHER, 0o755),
            ("group-writable", 0, 0o775),
            ("world-writable", 0, 0o757),
            ("sticky", 0, 0o1777),
        ] {
            for directory in ["/etc/app", "/etc"] {
                let sandbox = original.another();
                with_victim(&sandbox);
                if directory == "/etc/app" {
                    sandbox.directory(directory, 0o755);
                }
                sandbox.mode(directory, mode).owner(directory, uid, uid);
                let refused = sandbox.start().refused(73, directory);
                let remedy = refused.errors().iter().any(|error| error.contains("chown"));
                assert!(remedy, "{what} {directory}: no remedy\n{refused:?}");
            }
        }
    }
);

sandbox_test!(
    a_link_on_the_way_is_followed_only_where_root_alone_could_have_put_it,
    |sandbox| {
        with_victim(&sandbox);
        // /var/run is such a link in most images.
        sandbox
            .directory("/srv/real", 0o755)
            .symlink("/etc/app", "/srv/real");
        assert_eq!(sandbox.start().success().stdout, CONTENT);
        assert_eq!(sandbox.read("/srv/real/app.conf"), CONTENT);
        assert_eq!(sandbox.start().success().state(), "verified");

        let sandbox = sandbox.another();
        with_victim(&sandbox);
        sandbox
            .directory("/srv/real", 0o755)
            .symlink("/etc/app", "/srv/real")
            .owner("/etc/app", APP, APP);
        sandbox.start().refused(73, "/etc/app");

        let sandbox = sandbox.another();
        with_victim(&sandbox);
        sandbox
            .directory("/srv/real", 0o755)
            .owner("/srv/real", APP, APP)
            .symlink("/etc/app", "/srv/real");
        sandbox.start().refused(73, "/srv/real");

        let sandbox = sandbox.another();
        with_victim(&sandbox);
        sandbox.symlink("/etc/app", "app");
        sandbox.start().refused(73, "/etc/app");

        let sandbox = sandbox.another();
        with_victim(&sandbox);
        // Out of the root and back into it: nothing is above a root.
        sandbox
            .directory("/srv/real", 0o755)
            .symlink("/etc/app", "../../../../../../srv/real");
        assert_eq!(sandbox.start().success().stdout, CONTENT);
        assert_eq!(sandbox.read("/srv/real/app.conf"), CONTENT);
    }
);

// Two names of one file would be installed one over the other.
sandbox_test!(two_destinations_of_one_file_are_refused, |sandbox| {
    with_victim(&sandbox);
    sandbox
        .directory("/srv/real", 0o755)
        .symlink("/etc/app", "/srv/real");
    let mut manifest = one_file(&["true"]);
    manifest["files"] = json!([
        {"content": "one", "dest": "/etc/app/app.conf"},
        {"content": "two", "dest": "/srv/real/app.conf"},
    ]);
    sandbox.manifest(&manifest);
    sandbox.start().refused(73, "/srv/real/app.conf");
});

sandbox_test!(
    temporaries_of_an_earlier_start_are_replaced_and_not_followed,
    strace,
    |sandbox| {
        // The name of the temporary is found in what a killed start leaves: it is the same at every
        // start.
        with_victim(&sandbox);
        let temporary = {
            let sandbox = sandbox.another();
            sandbox
                .one_file(&["true"])
                .directory("/etc/app", 0o755)
                .source("app.conf", "x".repeat(128 << 10));
            // The first is the journal's.
            let _ = sandbox.launch().killed_at("renameat", 2).output();
            let left = sandbox.temporaries();
            assert_eq!(
                left.len(),
                1,
                "a first start that was killed before its first rename leaves one temporary"
            );
            left[0].clone()
        };
        let plants: [fn(&Sandbox, &Path); 4] = [
            |sandbox, path| {
                sandbox.symlink(path, VICTIM);
            },
            |sandbox, path| {
                sandbox.hard_link(path.to_str().unwrap(), VICTIM);
            },
            |sandbox, path| {
                sandbox.file(path.join("sub/file"), "");
            },
            |sandbox, path| {
                sandbox.fifo(path.to_str().unwrap());
            },
        ];
        for plant in plants {
            let sandbox = sandbox.another();
            with_victim(&sandbox);
            if !sandbox.exists("/etc/app") {
                sandbox.directory("/etc/app", 0o755);
            }
            plant(&sandbox, &temporary);
            assert_eq!(sandbox.start().success().stdout, CONTENT);
            victim_is_unharmed(&sandbox);
            assert!(sandbox.temporaries().is_empty());
        }
    }
);

sandbox_test!(odd_names_are_installed_verified_and_escaped, |sandbox| {
    let names: Vec<Vec<u8>> = [
        &b"with space"[..],
        b"new\nline",
        b"\x1b[31mred",
        b"back\\slash",
        b"quote'\"",
        b"-rf",
        b"*",
        b"\xff\xfe not UTF-8",
        "größe \u{202e}".as_bytes(),
        b".hidden",
        b"x..",
    ]
    .into_iter()
    .map(<[u8]>::to_vec)
    .chain([vec![b'n'; 255]])
    .collect();
    for name in &names {
        sandbox.file(
            Path::new("/etc/sealinit/tree").join(OsStr::from_bytes(name)),
            name,
        );
    }
    sandbox.manifest(&json!({
        "version": 1,
        "service": {"user": "app", "command": ["true"]},
        "directories": [{"path": "/etc/app", "source": "tree", "exact": true}],
    }));
    let first = sandbox
        .launch()
        .args(["--log-level", "debug"])
        .start()
        .success();
    assert!(!first.stderr.contains('\u{1b}'), "{first:?}");
    for name in &names {
        let path = Path::new("/etc/app").join(OsStr::from_bytes(name));
        assert_eq!(
            sandbox.object(path),
            format!("file 0440 0:{APP} {}", hash(name))
        );
    }
    assert_eq!(sandbox.start().success().state(), "verified");
    for name in &names {
        sandbox.mode(Path::new("/etc/app").join(OsStr::from_bytes(name)), 0o400);
    }
    let refused = sandbox
        .start()
        .refused(80, "path=/etc/app/-rf attribute=mode");
    assert_eq!(refused.errors().len(), names.len(), "{refused:?}");
});

sandbox_test!(recursive_refuses_hard_links, |sandbox| {
    with_victim(&sandbox);
    let mut manifest = one_file(&["true"]);
    manifest["directories"] = json!([{"path": "/srv/data", "recursive": true}]);
    sandbox
        .manifest(&manifest)
        .file("/srv/data/sub/file", "")
        .hard_link("/srv/data/sub/link", VICTIM);
    sandbox.start().refused(73, "/srv/data/sub/link");
    victim_is_unharmed(&sandbox);
});

// A file with the name of another temporary is not an obstacle and stays.
sandbox_test!(foreign_names_that_look_like_temporaries_stay, |sandbox| {
    sandbox
        .one_file(&["cat", CONF])
        .file("/etc/app/.sealinit.0123456789abcdef", "another");
    assert_eq!(sandbox.start().success().stdout, CONTENT);
    assert_eq!(
        sandbox.read("/etc/app/.sealinit.0123456789abcdef"),
        "another"
    );
    assert!(is_temporary(
        OsStr::new("/etc/app/.sealinit.0123456789abcdef").as_ref()
    ));
    assert!(
        sandbox
            .object(CONF)
            .starts_with(&format!("file 0440 0:{APP} "))
    );
});
