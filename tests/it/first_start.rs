//! A first start: what is installed, as whose, with which mode, and what is said about it.

use std::fmt::Write as _;

use serde_json::json;

use crate::sandbox::{
    APP, CERTS, CONF, CONTENT, JOURNAL, MANIFEST, OTHER, SEAL, Sandbox, hash, one_file,
};

/// Promise 1: if the service runs, every sealed entry had exactly the recorded type, content, owner, group and mode at that
/// moment.
#[test]
fn promise_1_the_service_finds_every_entry_as_declared() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    let look = "
        cd /etc/app
        stat -c '%n %F %a %u %g' app.conf key.pem tree tree/a tree/sub tree/sub/b
        cat app.conf key.pem tree/a tree/sub/b
        stat -c '%n %F %a %u %g' /var/cache/app
        ls -d optional.conf default.conf 2>/dev/null
        ls tree
    ";
    sandbox
        .manifest(&json!({
            "version": 1,
            "service": {"user": "app", "command": ["sh", "-c", look]},
            "files": [
                {"source": "app.conf", "dest": "/etc/app/app.conf"},
                {"content": "key\n", "dest": "/etc/app/key.pem", "group": "certs", "owner": "other", "mode": "0444"},
                {"source": "optional.conf", "dest": "/etc/app/optional.conf", "optional": true},
            ],
            "directories": [
                {"path": "/etc/app/tree", "source": "tree/", "mode": "0555", "file_mode": "0440", "exact": true},
                {"path": "/var/cache/app"},
            ],
            "absent": ["/etc/app/default.conf"],
        }))
        .source("app.conf", "conf\n")
        .source("tree/a", "a\n")
        .source("tree/sub/b", "b\n")
        .file("/etc/app/default.conf", "the image's")
        .file("/etc/app/optional.conf", "the image's")
        .file("/etc/app/tree/extra", "the image's");
    let seen = "\
app.conf regular file 440 0 1000
key.pem regular file 444 1001 2000
tree directory 555 0 1000
tree/a regular file 440 0 1000
tree/sub directory 555 0 1000
tree/sub/b regular file 440 0 1000
conf
key
a
b
/var/cache/app directory 750 1000 1000
a
sub
";
    let first = sandbox.start().success();
    assert_eq!(
        (first.state().as_str(), first.stdout.as_str()),
        ("sealed", seen)
    );
    let later = sandbox.start().success();
    assert_eq!(
        (later.state().as_str(), later.stdout.as_str()),
        ("verified", seen)
    );
}

#[test]
fn what_is_not_said_has_the_documented_default() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox
        .manifest(&json!({
            "version": 1,
            "service": {"user": "app", "command": ["true"]},
            "files": [{"source": "app.conf", "dest": "/opt/a/b/app.conf"}],
            "directories": [
                {"path": "/opt/tree", "source": "tree"},
                {"path": "/opt/data"},
            ],
        }))
        .source("app.conf", CONTENT)
        .source("tree/sub/file", "x");
    // The modes are the manifest's, whatever umask the engine hands down.
    let _ = sandbox.launch().prelude("umask 0077").start().success();
    for (path, object) in [
        ("/opt/a", "directory 0755 0:0".into()),
        ("/opt/a/b", "directory 0755 0:0".into()),
        (
            "/opt/a/b/app.conf",
            format!("file 0440 0:1000 {}", hash(CONTENT)),
        ),
        ("/opt/tree", "directory 0550 0:1000".into()),
        ("/opt/tree/sub", "directory 0550 0:1000".into()),
        (
            "/opt/tree/sub/file",
            format!("file 0440 0:1000 {}", hash("x")),
        ),
        ("/opt/data", "directory 0750 1000:1000".into()),
    ] {
        assert_eq!(sandbox.object(path), object, "{path}");
    }
}

#[test]
fn the_group_default_follows_the_services_group() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    let mut manifest = one_file(&["true"]);
    manifest["service"]["group"] = json!("certs");
    manifest["directories"] = json!([{"path": "/srv/data"}]);
    sandbox.one_file(&[]).manifest(&manifest);
    let _ = sandbox.start().success();
    assert_eq!(
        sandbox.object(CONF),
        format!("file 0440 0:{CERTS} {}", hash(CONTENT))
    );
    assert_eq!(
        sandbox.object("/srv/data"),
        format!("directory 0750 {APP}:{CERTS}")
    );
}

#[test]
fn the_seal_is_roots_alone_and_nothing_else_is_left_behind() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.one_file(&["true"]);
    let _ = sandbox.start().success();
    assert!(
        sandbox.object(SEAL).starts_with("file 0400 0:0 "),
        "{}",
        sandbox.object(SEAL)
    );
    assert_eq!(sandbox.object("/var/lib/sealinit"), "directory 0700 0:0");
    assert!(!sandbox.exists(JOURNAL));
    assert!(sandbox.temporaries().is_empty());
}

#[test]
fn only_what_the_manifest_names_is_touched() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.one_file(&["true"]).file("/etc/app/neighbour", "x");
    let before = sandbox.tree();
    let _ = sandbox.start().success();
    let installed = ["/etc/app/app.conf", "/var/lib/sealinit"];
    before.assert_equals(&sandbox.tree().without(&installed));
}

#[test]
fn the_summary_is_one_line_that_says_it_all() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.one_file(&["true"]);
    let first = sandbox.start().success();
    let summary = first.summary();
    let value = |key: &str| summary.get(key).map(String::as_str);
    assert_eq!(value("state"), Some("sealed"));
    assert_eq!(value("pin"), Some("none"));
    assert_eq!(value("lock"), Some("full"));
    assert_eq!(value("entries"), Some("1"));
    let digest = value("digest").unwrap().strip_prefix("sha256:").unwrap();
    assert!(digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert!(value("ms").unwrap().parse::<f64>().is_ok());
    let line = first
        .stderr
        .lines()
        .find(|line| line.contains(" state="))
        .unwrap();
    assert!(line.starts_with("sealinit: info: "), "{line}");
}

#[test]
fn a_manifest_without_entries_is_sealed_too() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.manifest(&json!({"version": 1, "service": {"user": "app"}}));
    for state in ["sealed", "verified"] {
        let start = sandbox
            .launch()
            .args(["--", "echo", "ran"])
            .start()
            .success();
        assert_eq!(
            (start.state().as_str(), start.stdout.as_str()),
            (state, "ran\n")
        );
        assert_eq!(start.summarised("entries"), "0");
    }
}

#[test]
fn modes_are_octal_with_or_without_a_leading_zero() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.manifest(&json!({
        "version": 1,
        "service": {"user": "app", "command": ["true"]},
        "files": [
            {"content": "", "dest": "/etc/app/a", "mode": "0640"},
            {"content": "", "dest": "/etc/app/b", "mode": "640", "group": "other"},
            {"content": "", "dest": "/etc/app/c", "mode": "0"},
            {"content": "", "dest": "/etc/app/d", "mode": "0755"},
        ],
    }));
    let _ = sandbox.start().success();
    let empty = hash("");
    assert_eq!(
        sandbox.object("/etc/app/a"),
        format!("file 0640 0:{APP} {empty}")
    );
    assert_eq!(
        sandbox.object("/etc/app/b"),
        format!("file 0640 0:{OTHER} {empty}")
    );
    assert_eq!(
        sandbox.object("/etc/app/c"),
        format!("file 0000 0:{APP} {empty}")
    );
    assert_eq!(
        sandbox.object("/etc/app/d"),
        format!("file 0755 0:{APP} {empty}")
    );
    assert_eq!(sandbox.start().success().state(), "verified");
}

#[test]
fn contents_arrive_byte_for_byte() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    let large: Vec<u8> = (0..3_000_001_u32)
        .map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1])
        .collect();
    let every_byte: Vec<u8> = (0..=255).collect();
    sandbox
        .manifest(&json!({
            "version": 1,
            "service": {"user": "app", "command": ["true"]},
            "files": [
                {"source": "large", "dest": "/etc/app/large"},
                {"source": "bytes", "dest": "/etc/app/bytes"},
                {"source": "empty", "dest": "/etc/app/empty"},
                {"content": "größe\t\u{0}\r\n", "dest": "/etc/app/text"},
            ],
        }))
        .source("large", &large)
        .source("bytes", &every_byte)
        .source("empty", "");
    let _ = sandbox.start().success();
    for (name, content) in [
        ("large", large.as_slice()),
        ("bytes", &every_byte),
        ("empty", b""),
        ("text", "größe\t\u{0}\r\n".as_bytes()),
    ] {
        let object = sandbox.object(format!("/etc/app/{name}"));
        assert_eq!(
            object,
            format!("file 0440 0:{APP} {}", hash(content)),
            "{name}"
        );
    }
    assert_eq!(sandbox.start().success().state(), "verified");
}

#[test]
fn a_source_may_be_absolute_and_its_own_owner_and_mode_do_not_matter() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox
        .file("/run/secrets/key", "key")
        .mode("/run/secrets/key", 0o600)
        .owner("/run/secrets/key", OTHER, OTHER);
    sandbox.manifest(&json!({
        "version": 1,
        "service": {"user": "app", "command": ["cat", "/etc/app/key"]},
        "files": [{"source": "/run/secrets/key", "dest": "/etc/app/key"}],
    }));
    assert_eq!(sandbox.start().success().stdout, "key");
    assert_eq!(
        sandbox.object("/etc/app/key"),
        format!("file 0440 0:{APP} {}", hash("key"))
    );
}

/// As a Kubernetes `ConfigMap` is mounted: `app.conf -> ..data/app.conf`, `..data -> ..2026_01_01`.
#[test]
fn symlinks_in_the_source_are_followed_and_its_dot_dot_names_skipped() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
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

#[test]
fn a_directory_takes_its_source_over_what_the_image_has() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
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

#[test]
fn absent_removes_whatever_is_there() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
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
}

#[test]
fn an_optional_file_is_sealed_as_it_is_found() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    let mut manifest = one_file(&["ls", "/etc/app"]);
    manifest["files"][0]["optional"] = json!(true);
    sandbox.manifest(&manifest).file(CONF, "the image's");
    assert_eq!(
        sandbox.start().success().stdout,
        "",
        "no source, so nothing at its destination either"
    );
    assert_eq!(sandbox.start().success().state(), "verified");

    let sandbox = sandbox.another();
    sandbox
        .manifest(&manifest)
        .file(CONF, "the image's")
        .source("app.conf", CONTENT);
    assert_eq!(sandbox.start().success().stdout, "app.conf\n");
    assert_eq!(sandbox.read(CONF), CONTENT);
    assert_eq!(sandbox.start().success().state(), "verified");
}

#[test]
fn a_source_must_have_the_hash_that_is_declared() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    let mut manifest = one_file(&["true"]);
    manifest["files"][0]["sha256"] = json!(hash("another\n"));
    sandbox.one_file(&[]).manifest(&manifest);
    let refused = sandbox.start().refused(66, "/etc/sealinit/app.conf");
    refused.says(&hash("another\n")).says(&hash(CONTENT));

    manifest["files"][0]["sha256"] = json!(hash(CONTENT));
    sandbox.manifest(&manifest);
    assert_eq!(sandbox.start().success().state(), "sealed");
}

#[test]
fn a_secret_is_never_printed() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    let secrets = ["hunter2-inline", "hunter2-file", "hunter2-changed"];
    let never = |outcome: &crate::sandbox::Outcome| {
        for secret in secrets {
            outcome.never_says(secret).never_says(&hash(secret));
        }
    };
    for format in ["text", "json"] {
        let sandbox = sandbox.another();
        sandbox
            .manifest(&json!({
                "version": 1,
                "service": {"user": "app", "command": ["true"]},
                "files": [
                    {"content": secrets[0], "dest": "/etc/app/inline", "secret": true},
                    {"source": "file", "dest": "/etc/app/file", "secret": true},
                ],
            }))
            .source("file", secrets[1]);
        let options = ["--log-level", "debug", "--log-format", format];
        never(&sandbox.launch().args(options).start().code(0));
        never(&sandbox.launch().args(options).start().code(0));
        sandbox
            .file("/etc/app/file", secrets[2])
            .file("/etc/app/inline", secrets[2]);
        let drifted = sandbox
            .launch()
            .args(options)
            .start()
            .refused(80, "/etc/app/file");
        drifted.says("/etc/app/inline");
        never(&drifted);
    }
}

#[test]
fn a_secret_with_the_wrong_hash_is_refused_without_telling_either() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    let mut manifest = one_file(&["true"]);
    manifest["files"][0]["sha256"] = json!(hash("another\n"));
    manifest["files"][0]["secret"] = json!(true);
    sandbox.one_file(&[]).manifest(&manifest);
    let refused = sandbox.start().refused(66, "/etc/sealinit/app.conf");
    refused.never_says(&hash(CONTENT));
}

#[test]
fn a_mutable_file_is_installed_once_and_then_the_services_own() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox
        .manifest(&json!({
            "version": 1,
            "service": {"user": "app", "command": ["sh", "-c", "echo more >>/var/lib/app/state; cat /var/lib/app/state"]},
            "files": [{"source": "seed", "dest": "/var/lib/app/state", "owner": "app", "mode": "0600", "mutable": true}],
            "directories": [{"path": "/var/lib/app"}],
        }))
        .source("seed", "seed\n");
    let first = sandbox.start().success();
    assert_eq!(first.stdout, "seed\nmore\n");
    assert_eq!(
        first.summarised("lock"),
        "full",
        "what is mutable was never to be locked"
    );
    let second = sandbox.start().success();
    assert_eq!(
        (second.state().as_str(), second.stdout.as_str()),
        ("verified", "seed\nmore\nmore\n")
    );
    sandbox.remove("/var/lib/app/state");
    assert_eq!(
        sandbox.start().success().stdout,
        "more\n",
        "not even missing is it drift"
    );
}

#[test]
fn a_directory_without_source_is_taken_over_with_what_is_in_it() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
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

/// As `PostgreSQL` has it in Debian: the directory above the data belongs to the service as well.
#[test]
fn a_data_directory_may_lie_in_another_of_the_services() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
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

/// Parents that are missing are created root:root 0755, whatever a set-group-ID directory above them hands down.
#[test]
fn missing_parents_inherit_no_group() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
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
}

#[test]
fn recursive_gives_away_what_is_below_and_nothing_behind_a_link() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
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

#[test]
fn an_existing_file_is_replaced_and_not_written_through() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox
        .one_file(&["true"])
        .file(CONF, "the image's")
        .hard_link("/srv-link", CONF);
    let _ = sandbox.start().success();
    assert_eq!(sandbox.read(CONF), CONTENT);
    assert_eq!(sandbox.read("/srv-link"), "the image's");
}

/// One entry per sealed name, so that the number in the log can be held against the manifest.
#[test]
fn entries_are_counted_one_by_one() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    let mut manifest = one_file(&["true"]);
    manifest["directories"] =
        json!([{"path": "/etc/app/tree", "source": "tree"}, {"path": "/srv/data"}]);
    manifest["absent"] = json!(["/etc/app/default.conf"]);
    sandbox
        .one_file(&[])
        .manifest(&manifest)
        .source("tree/a", "a")
        .source("tree/sub/b", "b");
    // app.conf, tree, tree/a, tree/sub, tree/sub/b, data, default.conf
    assert_eq!(sandbox.start().success().summarised("entries"), "7");
    assert_eq!(sandbox.start().success().summarised("entries"), "7");
}

#[test]
fn a_thousand_files_are_sealed_and_verified() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    let mut expected = String::new();
    for n in 0..1000 {
        sandbox.source(&format!("tree/{n:04}"), n.to_string());
        writeln!(expected, "{n:04}").unwrap();
    }
    sandbox.manifest(&json!({
        "version": 1,
        "service": {"user": "app", "command": ["ls", "/etc/app"]},
        "directories": [{"path": "/etc/app", "source": "tree", "exact": true}],
    }));
    for state in ["sealed", "verified"] {
        let start = sandbox.start().success();
        assert_eq!(
            (start.state().as_str(), start.stdout.as_str()),
            (state, expected.as_str())
        );
    }
}

#[test]
fn extensions_and_a_schema_are_allowed_and_mean_nothing() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    let mut manifest = one_file(&["true"]);
    manifest["$schema"] = json!("https://example.org/manifest.json");
    manifest["x-team"] = json!({"nested": ["anything", null, 1.5]});
    manifest["service"]["x-note"] = json!(null);
    manifest["files"][0]["x-note"] = json!(true);
    sandbox.one_file(&[]).manifest(&manifest);
    let _ = sandbox.start().success();
}

#[test]
fn it_works_without_proc() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.one_file(&["cat", CONF]);
    for _ in ["first start", "later start"] {
        assert_eq!(
            sandbox.launch().without_proc().start().success().stdout,
            CONTENT
        );
    }
}
