//! A first start: files are installed with the declared content, owner and mode.

use std::fmt::Write as _;

use serde_json::json;

use crate::harness::{
    APP, CERTS, CONF, CONTENT, JOURNAL, OTHER, SEAL, hash, one_file, sandbox_test,
};

// Promise 1: if the service runs, every sealed entry had exactly the recorded type, content, owner,
// group and mode at that moment.
sandbox_test!(
    promise_1_the_service_finds_every_entry_as_declared,
    |sandbox| {
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
);

sandbox_test!(omitted_members_have_the_documented_defaults, |sandbox| {
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
    // The modes are those of the manifest under any inherited umask.
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
});

sandbox_test!(the_group_default_follows_the_services_group, |sandbox| {
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
});

sandbox_test!(
    only_root_may_read_the_seal_and_nothing_else_is_left_behind,
    |sandbox| {
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
);

sandbox_test!(only_what_the_manifest_names_is_touched, |sandbox| {
    sandbox.one_file(&["true"]).file("/etc/app/neighbour", "x");
    let before = sandbox.tree();
    let _ = sandbox.start().success();
    let installed = ["/etc/app/app.conf", "/var/lib/sealinit"];
    before.assert_equals(&sandbox.tree().without(&installed));
});

sandbox_test!(the_summary_is_one_line_with_all_fields, |sandbox| {
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
});

sandbox_test!(a_manifest_without_entries_is_sealed, |sandbox| {
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
});

sandbox_test!(contents_arrive_byte_for_byte, |sandbox| {
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
});

sandbox_test!(
    a_source_may_be_absolute_and_its_own_owner_and_mode_do_not_matter,
    |sandbox| {
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
);

sandbox_test!(
    a_source_that_is_its_own_destination_is_installed_in_place,
    |sandbox| {
        let mut manifest = one_file(&["cat", CONF]);
        manifest["files"][0]["source"] = json!(CONF);
        sandbox.manifest(&manifest).file(CONF, CONTENT);
        assert_eq!(sandbox.start().success().stdout, CONTENT);
        assert!(sandbox.object(CONF).starts_with("file 0440 0:1000 "));
        assert_eq!(sandbox.start().success().state(), "verified");
    }
);

sandbox_test!(
    an_existing_file_is_replaced_and_not_written_through,
    |sandbox| {
        sandbox
            .one_file(&["true"])
            .file(CONF, "the image's")
            .hard_link("/srv-link", CONF);
        let _ = sandbox.start().success();
        assert_eq!(sandbox.read(CONF), CONTENT);
        assert_eq!(sandbox.read("/srv-link"), "the image's");
    }
);

sandbox_test!(an_optional_file_is_sealed_as_it_is_found, |sandbox| {
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
});

// One entry for each sealed name, so that the number in the log can be compared with the manifest.
sandbox_test!(entries_are_counted_one_by_one, |sandbox| {
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
});

sandbox_test!(a_thousand_files_are_sealed_and_verified, |sandbox| {
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
});

sandbox_test!(a_start_works_without_proc, |sandbox| {
    sandbox.one_file(&["cat", CONF]);
    for _ in ["first start", "later start"] {
        assert_eq!(
            sandbox.launch().without_proc().start().success().stdout,
            CONTENT
        );
    }
});
