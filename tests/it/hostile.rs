//! Planted states: what an earlier life of the container, a shared volume or a damaged disk can have left.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use serde_json::{Value, json};

use crate::sandbox::{APP, CONF, CONTENT, JOURNAL, MANIFEST, OTHER, SEAL, Sandbox, hash, one_file};

const VICTIM: &str = "/srv/victim";

/// An image with something worth overwriting in it.
fn with_victim() -> Option<Sandbox> {
    let sandbox = Sandbox::new()?;
    sandbox
        .one_file(&["cat", CONF])
        .file(VICTIM, "victim")
        .mode(VICTIM, 0o600);
    Some(sandbox)
}

#[track_caller]
fn victim_is_unharmed(sandbox: &Sandbox) {
    assert_eq!(
        sandbox.object(VICTIM),
        format!("file 0600 0:0 {}", hash("victim"))
    );
}

#[test]
fn a_link_at_the_destination_is_replaced_and_not_followed() {
    let Some(sandbox) = with_victim() else { return };
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

#[test]
fn a_hard_link_at_the_destination_is_replaced_and_not_written_to() {
    let Some(sandbox) = with_victim() else { return };
    sandbox.directory("/etc/app", 0o755).hard_link(CONF, VICTIM);
    assert_eq!(sandbox.start().success().stdout, CONTENT);
    victim_is_unharmed(&sandbox);
}

#[test]
fn a_pipe_or_socket_at_the_destination_is_replaced() {
    let Some(sandbox) = with_victim() else { return };
    sandbox.directory("/etc/app", 0o755).fifo(CONF);
    assert_eq!(sandbox.start().success().stdout, CONTENT);
    let sandbox = sandbox.another();
    sandbox
        .one_file(&["cat", CONF])
        .directory("/etc/app", 0o755);
    drop(UnixListener::bind(sandbox.path(CONF)).unwrap());
    assert_eq!(sandbox.start().success().stdout, CONTENT);
}

/// Nothing that the manifest does not name is removed: what is in the directory may be the operator's data.
#[test]
fn a_directory_at_the_destination_of_a_file_is_refused() {
    let Some(sandbox) = with_victim() else { return };
    sandbox.file("/etc/app/app.conf/data", "data");
    sandbox
        .start()
        .refused(73, CONF)
        .says("remove the directory");
}

#[test]
fn a_file_where_a_directory_is_needed_is_refused() {
    let Some(sandbox) = with_victim() else { return };
    sandbox.file("/etc/app", "a file");
    sandbox.start().refused(73, "/etc/app").says("remove it");
}

#[test]
fn something_else_at_the_destination_of_a_directory_is_refused() {
    for directory in [
        json!({"path": "/srv/data"}),
        json!({"path": "/srv/data", "source": "tree"}),
    ] {
        let Some(sandbox) = with_victim() else { return };
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

/// Promise 2: every directory on the way is root's and not group- or world-writable, or the start is refused with the remedy.
#[test]
fn promise_2_a_directory_on_the_way_that_others_can_change_is_refused() {
    for (what, uid, mode) in [
        ("the service's", APP, 0o755),
        ("another's", OTHER, 0o755),
        ("group-writable", 0, 0o775),
        ("world-writable", 0, 0o757),
        ("sticky", 0, 0o1777),
    ] {
        for directory in ["/etc/app", "/etc"] {
            let Some(sandbox) = with_victim() else { return };
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

#[test]
fn a_link_on_the_way_is_followed_only_where_root_alone_could_have_put_it() {
    let Some(sandbox) = with_victim() else { return };
    // As /var/run is a link in most images.
    sandbox
        .directory("/srv/real", 0o755)
        .symlink("/etc/app", "/srv/real");
    assert_eq!(sandbox.start().success().stdout, CONTENT);
    assert_eq!(sandbox.read("/srv/real/app.conf"), CONTENT);
    assert_eq!(sandbox.start().success().state(), "verified");

    let Some(sandbox) = with_victim() else { return };
    sandbox
        .directory("/srv/real", 0o755)
        .symlink("/etc/app", "/srv/real")
        .owner("/etc/app", APP, APP);
    sandbox.start().refused(73, "/etc/app");

    let Some(sandbox) = with_victim() else { return };
    sandbox
        .directory("/srv/real", 0o755)
        .owner("/srv/real", APP, APP)
        .symlink("/etc/app", "/srv/real");
    sandbox.start().refused(73, "/srv/real");

    let Some(sandbox) = with_victim() else { return };
    sandbox.symlink("/etc/app", "app");
    sandbox.start().refused(73, "/etc/app");

    let Some(sandbox) = with_victim() else { return };
    // Out of the root and back into it: nothing is above a root.
    sandbox
        .directory("/srv/real", 0o755)
        .symlink("/etc/app", "../../../../../../srv/real");
    assert_eq!(sandbox.start().success().stdout, CONTENT);
    assert_eq!(sandbox.read("/srv/real/app.conf"), CONTENT);
}

/// Two names of one file would be installed one over the other.
#[test]
fn two_destinations_that_are_one_file_are_refused() {
    let Some(sandbox) = with_victim() else { return };
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
}

#[test]
fn temporaries_of_an_earlier_life_are_replaced_and_not_followed() {
    // What was left behind is found by looking at what a killed start leaves: the name is the same at every start.
    let Some(sandbox) = with_victim() else { return };
    let temporary = {
        let sandbox = sandbox.another();
        sandbox
            .one_file(&["true"])
            .directory("/etc/app", 0o755)
            .source("app.conf", "x".repeat(128 << 10));
        if !crate::sandbox::has_program("strace") {
            crate::sandbox::skip("needs strace");
            return;
        }
        let _ = sandbox
            .launch()
            // The first is the journal's.
            .wrapper([
                "strace",
                "-D",
                "-o",
                "/dev/null",
                "-e",
                "trace=renameat",
                "-e",
                "inject=renameat:signal=KILL:when=2",
            ])
            .output();
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
        let Some(sandbox) = with_victim() else { return };
        if !sandbox.exists("/etc/app") {
            sandbox.directory("/etc/app", 0o755);
        }
        plant(&sandbox, &temporary);
        assert_eq!(sandbox.start().success().stdout, CONTENT);
        victim_is_unharmed(&sandbox);
        assert!(sandbox.temporaries().is_empty());
    }
}

#[test]
fn odd_names_are_installed_verified_and_escaped() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
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
    let refused = sandbox.start().refused(80, "");
    assert_eq!(refused.errors().len(), names.len(), "{refused:?}");
}

#[test]
fn recursive_refuses_a_hard_link_that_could_be_to_anything() {
    let Some(sandbox) = with_victim() else { return };
    let mut manifest = one_file(&["true"]);
    manifest["directories"] = json!([{"path": "/srv/data", "recursive": true}]);
    sandbox
        .manifest(&manifest)
        .file("/srv/data/sub/file", "")
        .hard_link("/srv/data/sub/link", VICTIM);
    sandbox.start().refused(73, "/srv/data/sub/link");
    victim_is_unharmed(&sandbox);
}

fn sealed() -> Option<Sandbox> {
    let sandbox = Sandbox::new()?;
    sandbox.one_file(&["cat", CONF]);
    let _ = sandbox.start().success();
    Some(sandbox)
}

/// Contract: a seal that cannot be read is never a first start.
#[test]
fn a_seal_that_cannot_be_believed_is_refused() {
    let Some(sandbox) = sealed() else { return };
    let seal = sandbox.read(SEAL);
    let half = &seal[..seal.len() / 2];
    let (_, body) = seal.split_once('\n').unwrap();
    let longer = format!("{seal}\n");
    for (what, content) in [
        ("empty", ""),
        ("a newline", "\n"),
        ("cut short", half),
        ("without its last byte", &seal[..seal.len() - 1]),
        ("longer", &longer),
        ("without its header", body),
        ("JSON", "{}"),
        ("garbage", "\u{0}\u{1}\u{2}"),
    ] {
        sandbox.file(SEAL, content);
        let refused = sandbox.start().refused(81, SEAL);
        assert!(
            refused.errors()[0].contains("recreate the container"),
            "{what}: {refused:?}"
        );
    }
    sandbox.file(SEAL, b"\xff\xfe");
    sandbox.start().refused(81, SEAL);
    sandbox.file(SEAL, vec![b'x'; 80 << 20]);
    sandbox.start().refused(81, SEAL);
    sandbox.file(SEAL, seal.replace("seal-v1", "seal-v2"));
    sandbox.start().refused(81, SEAL).says("seal-v2");
    sandbox.file(SEAL, &seal);
    assert_eq!(sandbox.start().success().state(), "verified");
}

#[test]
fn a_seal_that_is_no_regular_file_is_refused_and_no_hang() {
    let Some(sandbox) = sealed() else { return };
    fs::rename(sandbox.path(SEAL), sandbox.path("/var/lib/sealinit/kept")).unwrap();
    sandbox.fifo(SEAL);
    sandbox.start().refused(81, SEAL);
    sandbox.remove(SEAL).directory(SEAL, 0o700);
    sandbox.start().refused(81, SEAL);
    // Even to the very seal: what a link leads to today it need not lead to tomorrow.
    sandbox.remove(SEAL).symlink(SEAL, "kept");
    sandbox.start().refused(81, SEAL);
    sandbox.remove(SEAL).symlink(SEAL, "nowhere");
    sandbox.start().refused(81, SEAL);
    sandbox.remove(SEAL);
    fs::rename(sandbox.path("/var/lib/sealinit/kept"), sandbox.path(SEAL)).unwrap();
    assert_eq!(sandbox.start().success().state(), "verified");
}

/// Promise 2: the service's uid cannot change the seal.
#[test]
fn promise_2_a_seal_that_the_service_could_have_written_is_refused() {
    let Some(sandbox) = sealed() else { return };
    sandbox.owner(SEAL, APP, APP);
    sandbox.start().refused(81, SEAL);
    sandbox.owner(SEAL, 0, 0).mode(SEAL, 0o602);
    sandbox.start().refused(81, SEAL);
    sandbox
        .mode(SEAL, 0o400)
        .owner("/var/lib/sealinit", APP, APP);
    sandbox.start().refused(81, "/var/lib/sealinit");
    sandbox
        .owner("/var/lib/sealinit", 0, 0)
        .mode("/var/lib/sealinit", 0o777);
    sandbox.start().refused(81, "/var/lib/sealinit");
    sandbox
        .mode("/var/lib/sealinit", 0o700)
        .owner("/var/lib", OTHER, OTHER);
    sandbox.start().refused(81, "/var/lib");
    sandbox.owner("/var/lib", 0, 0);
    assert_eq!(sandbox.start().success().state(), "verified");
}

/// Writes a seal with a right checksum over an edited body: what root by `docker exec` can do, and a bug of a volume driver
/// cannot.
fn forge(sandbox: &Sandbox, edit: impl FnOnce(&mut Value)) {
    let seal = sandbox.read(SEAL);
    let (header, body) = seal.trim_end().split_once('\n').unwrap();
    let mut record: Value = serde_json::from_str(body).unwrap();
    let before = record.clone();
    edit(&mut record);
    assert_ne!(record, before, "the edit must find what it edits");
    let body = serde_json::to_string(&record).unwrap();
    let (magic, _) = header.split_once(' ').unwrap();
    sandbox.file(SEAL, format!("{magic} sha256:{}\n{body}\n", hash(&body)));
}

/// Promise 4: the service never has root's ids unless the manifest says so.
#[test]
fn promise_4_a_forged_seal_cannot_make_the_service_root() {
    for user in [json!("app"), json!(APP)] {
        let Some(sandbox) = Sandbox::new() else {
            return;
        };
        let mut manifest = one_file(&["cat", "/proc/self/status"]);
        manifest["service"]["user"] = user.clone();
        sandbox.one_file(&[]).manifest(&manifest);
        let digest = sandbox.start().success().summarised("digest");
        forge(&sandbox, |record| {
            let text = serde_json::to_string(record).unwrap();
            let text = text
                .replace("\"uid\":1000", "\"uid\":0")
                .replace("\"app\":1000", "\"app\":0");
            *record = serde_json::from_str(&text).unwrap();
        });
        sandbox.start().refused(81, SEAL);
        sandbox
            .launch()
            .args(["--pin", &digest])
            .start()
            .refused(81, SEAL);
    }
}

/// An id that stands in the manifest as a number needs no resolving, so the seal cannot say another.
#[test]
fn a_forged_seal_cannot_contradict_the_ids_of_its_manifest() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    let mut manifest = one_file(&["cat", "/proc/self/status"]);
    manifest["service"]["user"] = json!(APP);
    manifest["service"]["group"] = json!(APP);
    sandbox.one_file(&[]).manifest(&manifest);
    let _ = sandbox.start().success();
    forge(&sandbox, |record| {
        let text = serde_json::to_string(record)
            .unwrap()
            .replace("\"uid\":1000", "\"uid\":1001");
        *record = serde_json::from_str(&text).unwrap();
    });
    sandbox.start().refused(81, SEAL);
}

#[test]
fn a_forged_seal_cannot_leave_out_what_its_manifest_declares() {
    let Some(sandbox) = sealed() else { return };
    forge(&sandbox, |record| {
        record["entries"] = json!([]);
        record["digest"] = json!(format!("sha256:{}", "0".repeat(64)));
    });
    sandbox.file(CONF, "tampered");
    sandbox.start().refused(81, SEAL);
}

#[test]
fn a_state_directory_that_others_can_change_is_refused_at_the_first_start() {
    for (what, uid, mode) in [("the service's", APP, 0o700), ("another's", OTHER, 0o755)] {
        let Some(sandbox) = Sandbox::new() else {
            return;
        };
        sandbox
            .one_file(&["true"])
            .directory("/var/lib/sealinit", mode)
            .owner("/var/lib/sealinit", uid, uid);
        let refused = sandbox.start().refused(74, "/var/lib/sealinit");
        assert!(refused.errors()[0].contains("chown"), "{what}: {refused:?}");
    }
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.one_file(&["true"]).mode("/var/lib", 0o777);
    sandbox.start().refused(74, "/var/lib");
}

/// As a tmpfs is mounted by an engine that is told nothing else.
#[test]
fn a_state_directory_of_roots_is_closed_to_others() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox
        .one_file(&["true"])
        .directory("/var/lib/sealinit", 0o1777);
    let _ = sandbox.start().success();
    assert_eq!(sandbox.object("/var/lib/sealinit"), "directory 0700 0:0");
}

#[test]
fn a_state_directory_that_is_none_is_refused() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.one_file(&["true"]).file("/var/lib/sealinit", "");
    sandbox.start().refused(74, "/var/lib/sealinit");
    sandbox
        .remove("/var/lib/sealinit")
        .symlink("/var/lib/sealinit", "nowhere");
    sandbox.start().refused(74, "/var/lib/");
}

#[test]
fn a_journal_that_cannot_be_read_is_that_of_another_configuration() {
    for content in ["", "garbage", "{\"version\":2,\"digest\":\"sha256:00\"}"] {
        let Some(sandbox) = Sandbox::new() else {
            return;
        };
        sandbox
            .one_file(&["true"])
            .directory("/var/lib/sealinit", 0o700)
            .file(JOURNAL, content);
        sandbox.start().refused(83, "/var/lib/sealinit");
    }
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox
        .one_file(&["true"])
        .directory("/var/lib/sealinit", 0o700)
        .fifo(JOURNAL);
    sandbox.start().refused(83, "/var/lib/sealinit");
}

#[test]
fn accounts_that_are_no_regular_files_or_oversized_are_refused_and_no_hang() {
    for file in ["/etc/passwd", "/etc/group"] {
        let Some(sandbox) = Sandbox::new() else {
            return;
        };
        let mut manifest = one_file(&["true"]);
        manifest["service"]["group"] = json!("app");
        sandbox
            .one_file(&[])
            .manifest(&manifest)
            .remove(file)
            .fifo(file);
        sandbox.start().refused(67, file);
        sandbox.remove(file).directory(file, 0o755);
        sandbox.start().refused(67, file);
        sandbox.remove(file).file(file, "");
        fs::File::create(sandbox.path(file))
            .unwrap()
            .set_len(20 << 20)
            .unwrap();
        sandbox.start().refused(67, file);
        sandbox.remove(file).symlink(file, file);
        sandbox.start().refused(67, file);
    }
}

/// As in images whose `/etc` is generated.
#[test]
fn accounts_behind_a_link_of_roots_are_read() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.one_file(&["id", "-u"]);
    fs::rename(sandbox.path("/etc/passwd"), sandbox.path("/var/passwd")).unwrap();
    sandbox.symlink("/etc/passwd", "../var/passwd");
    assert_eq!(sandbox.start().success().stdout, "1000\n");
}

/// systemd issue 6237: a user that does not parse must not become root.
#[test]
fn lines_of_accounts_that_are_not_sound_are_nobodys() {
    for line in [
        "app:x:0x3e8:0::/:/bin/sh",
        "app:x::0::/:",
        "app:x:-1:0::/:",
        "app:x:4294967296:0::/:",
        "app:x:4294967295:0::/:",
        "app:x",
    ] {
        let Some(sandbox) = Sandbox::new() else {
            return;
        };
        sandbox.one_file(&["id", "-u"]).file(
            "/etc/passwd",
            format!("root:x:0:0::/root:/bin/sh\n{line}\n"),
        );
        sandbox.start().refused(67, "\"app\"");
    }
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.one_file(&["id", "-u"]).file(
        "/etc/passwd",
        b"broken\xff\n\n#\napp:x:1000:1000::/:/bin/sh\napp:x:0:0::/:/bin/sh\n",
    );
    assert_eq!(
        sandbox.start().success().stdout,
        "1000\n",
        "the first sound line wins"
    );
}

/// Promise 3, a full disk: no seal, and the next start repairs everything.
#[test]
fn promise_3_a_full_disk_leaves_no_seal_and_the_next_start_repairs_it() {
    for options in ["size=64k,mode=0755", "nr_inodes=3,mode=0755"] {
        let Some(sandbox) = Sandbox::new() else {
            return;
        };
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

#[test]
fn promise_3_a_full_state_directory_leaves_no_seal() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
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
}

#[test]
fn a_read_only_file_system_is_refused_before_anything_is_written() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
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

/// As with `docker run --read-only` once it is sealed: a later start needs to write nothing.
#[test]
fn a_later_start_needs_nothing_writable() {
    let Some(sandbox) = sealed() else { return };
    let later = sandbox
        .launch()
        .read_only("/etc")
        .read_only("/var")
        .start()
        .success();
    assert_eq!(
        (later.state().as_str(), later.stdout.as_str()),
        ("verified", CONTENT)
    );
}

#[test]
fn a_destination_that_is_a_mount_point_is_refused_with_the_way_out() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox
        .one_file(&["true"])
        .file(CONF, "")
        .file("/srv/mounted", "mounted");
    let launch = sandbox.launch().mount("none", "/srv/mounted", CONF, "bind");
    launch.start().refused(73, CONF).says("mount point");
    assert_eq!(sandbox.read("/srv/mounted"), "mounted");
}

#[test]
fn a_mount_point_that_would_have_to_be_removed_is_refused_before_anything_is_written() {
    for members in [
        json!({"directories": [{"path": "/etc/app", "source": "tree", "exact": true}]}),
        json!({"absent": ["/etc/app"]}),
        json!({"absent": ["/etc/app/sub"]}),
    ] {
        let Some(sandbox) = Sandbox::new() else {
            return;
        };
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
        let launch = sandbox
            .launch()
            .mount("none", "/srv/file", "/etc/app/sub/mounted", "bind");
        launch.start().refused(73, "mount point");
    }
}

/// `docker exec` of a second one while the first is at work.
#[test]
fn a_second_sealinit_at_the_same_time_is_refused() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox
        .one_file(&["echo", "ran"])
        .directory("/var/lib/sealinit", 0o700);
    let busy = || sandbox.launch().wrapper(["flock", "/var/lib/sealinit"]);
    busy().start().refused(74, "another sealinit");
    let _ = sandbox.start().success();
    busy().start().refused(74, "another sealinit");
    assert_eq!(sandbox.start().success().state(), "verified");
}

#[test]
fn a_source_that_is_its_own_destination_is_installed_in_place() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    let mut manifest = one_file(&["cat", CONF]);
    manifest["files"][0]["source"] = json!(CONF);
    sandbox.manifest(&manifest).file(CONF, CONTENT);
    assert_eq!(sandbox.start().success().stdout, CONTENT);
    assert!(sandbox.object(CONF).starts_with("file 0440 0:1000 "));
    assert_eq!(sandbox.start().success().state(), "verified");
}

#[test]
fn a_manifest_that_is_swapped_for_a_directory_or_link_is_only_a_changed_one() {
    let Some(sandbox) = sealed() else { return };
    sandbox.remove(MANIFEST).directory(MANIFEST, 0o755);
    let start = sandbox.start().success();
    assert_eq!(
        (start.state().as_str(), start.stdout.as_str()),
        ("verified", CONTENT)
    );
    sandbox.remove(MANIFEST).symlink(MANIFEST, "manifest.json");
    assert_eq!(sandbox.start().success().stdout, CONTENT);
}
