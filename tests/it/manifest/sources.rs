//! Sources: missing, of the wrong kind, or with the wrong hash.

use serde_json::{Value, json};

use crate::harness::{CONTENT, hash, one_file, sandbox_test};

/// A manifest with one file from this source.
fn from_source(source: &str) -> Value {
    let mut manifest = one_file(&["true"]);
    manifest["files"][0]["source"] = json!(source);
    manifest
}

sandbox_test!(all_missing_sources_are_named, |sandbox| {
    sandbox
        .symlink("/etc/sealinit/dangling", "nowhere")
        .symlink("/etc/sealinit/loop", "loop");
    sandbox.manifest(&json!({
        "version": 1,
        "service": {"user": "app", "command": ["true"]},
        "files": [
            {"source": "a.conf", "dest": "/etc/app/a"},
            {"source": "/run/b.conf", "dest": "/etc/app/b"},
            {"source": "dangling", "dest": "/etc/app/c"},
            {"source": "loop", "dest": "/etc/app/d", "optional": true},
        ],
        "directories": [{"path": "/etc/app/tree", "source": "tree"}],
    }));
    let refused = sandbox.start().refused(66, "/etc/sealinit/a.conf");
    let errors = refused.errors();
    assert_eq!(errors.len(), 5, "{refused:?}");
    for (error, (source, dest)) in errors.iter().zip([
        ("/etc/sealinit/a.conf", "/etc/app/a"),
        ("/run/b.conf", "/etc/app/b"),
        ("/etc/sealinit/dangling", "/etc/app/c"),
        ("/etc/sealinit/loop", "/etc/app/d"),
        ("/etc/sealinit/tree", "/etc/app/tree"),
    ]) {
        assert!(
            error.contains(source) && error.contains(dest),
            "{source} -> {dest} is not in {error}"
        );
    }
});

sandbox_test!(
    sources_that_are_not_regular_files_are_refused_without_blocking,
    |sandbox| {
        sandbox
            .fifo("/etc/sealinit/pipe")
            .directory("/etc/sealinit/directory", 0o755)
            .source("device", "");
        sandbox.symlink("/etc/sealinit/link", "pipe");
        for (source, kind) in [
            ("pipe", "a FIFO"),
            ("link", "a FIFO"),
            ("directory", "a directory"),
            ("device", "a device"),
        ] {
            for optional in [false, true] {
                let mut manifest = from_source(source);
                manifest["files"][0]["optional"] = json!(optional);
                sandbox.manifest(&manifest);
                let launch = sandbox
                    .launch()
                    .bind_host("/dev/zero", "/etc/sealinit/device");
                let refused = launch
                    .start()
                    .refused(66, &format!("/etc/sealinit/{source}"));
                refused.says(kind);
            }
        }
    }
);

sandbox_test!(
    source_directories_with_names_that_cannot_be_copied_are_refused,
    |sandbox| {
        sandbox
            .source("file", "")
            .directory("/etc/sealinit/piped", 0o755)
            .fifo("/etc/sealinit/piped/pipe")
            .source("device/device", "")
            .directory("/etc/sealinit/looped", 0o755)
            .symlink("/etc/sealinit/looped/up", "../looped")
            .directory("/etc/sealinit/dangling", 0o755)
            .symlink("/etc/sealinit/dangling/link", "nowhere")
            .source("own/.sealinit.0123456789abcdef", "");
        for (source, culprit, why) in [
            ("file", "/etc/sealinit/file", "a regular file"),
            ("piped", "/etc/sealinit/piped/pipe", "a FIFO"),
            ("device", "/etc/sealinit/device/device", "a device"),
            ("looped", "/etc/sealinit/looped/up", "leads back"),
            (
                "dangling",
                "/etc/sealinit/dangling/link",
                "No such file or directory",
            ),
            (
                "own",
                "/etc/sealinit/own/.sealinit.0123456789abcdef",
                ".sealinit.",
            ),
        ] {
            sandbox.manifest(&json!({
                "version": 1,
                "service": {"user": "app", "command": ["true"]},
                "directories": [{"path": "/etc/app", "source": source}],
            }));
            let launch = sandbox
                .launch()
                .bind_host("/dev/zero", "/etc/sealinit/device/device");
            launch.start().refused(66, culprit).says(why);
        }
    }
);

sandbox_test!(a_source_must_have_the_hash_that_is_declared, |sandbox| {
    let mut manifest = one_file(&["true"]);
    manifest["files"][0]["sha256"] = json!(hash("another\n"));
    sandbox.one_file(&[]).manifest(&manifest);
    let refused = sandbox.start().refused(66, "/etc/sealinit/app.conf");
    refused.says(&hash("another\n")).says(&hash(CONTENT));

    manifest["files"][0]["sha256"] = json!(hash(CONTENT));
    sandbox.manifest(&manifest);
    assert_eq!(sandbox.start().success().state(), "sealed");
});

sandbox_test!(
    a_secret_with_the_wrong_hash_is_refused_without_printing_either_hash,
    |sandbox| {
        let mut manifest = one_file(&["true"]);
        manifest["files"][0]["sha256"] = json!(hash("another\n"));
        manifest["files"][0]["secret"] = json!(true);
        sandbox.one_file(&[]).manifest(&manifest);
        let refused = sandbox.start().refused(66, "/etc/sealinit/app.conf");
        refused.never_says(&hash(CONTENT));
    }
);
