//! Later starts: an unchanged disk, a changed or missing manifest, another command.

use std::fs;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::sealed;
use crate::harness::{CONF, CONTENT, MANIFEST, Outcome, Sandbox, one_file, sandbox_test};

sandbox_test!(
    an_unchanged_disk_is_verified_and_nothing_is_written,
    |sandbox| {
        sandbox.one_file(&["cat", CONF]);
        let first = sandbox.start().success();
        for _ in 0..3 {
            let start = sandbox.start();
            start.untouched();
            let later = start.success();
            assert_eq!(
                (later.state().as_str(), later.stdout.as_str()),
                ("verified", CONTENT)
            );
            for key in ["digest", "pin", "lock", "entries"] {
                assert_eq!(later.summarised(key), first.summarised(key), "{key}");
            }
            later.without_warnings();
        }
    }
);

sandbox_test!(
    the_sealed_configuration_runs_when_the_mount_is_gone,
    |sandbox| {
        let mut manifest = one_file(&["sh", "-c", "cat /etc/app/app.conf; echo $TZ; umask; pwd"]);
        manifest["service"]["env"] = json!({"TZ": "UTC"});
        manifest["service"]["umask"] = json!("0027");
        manifest["service"]["working_dir"] = json!("/tmp");
        sandbox.one_file(&[]).manifest(&manifest);
        let first = sandbox.start().success();
        sandbox.remove("/etc/sealinit");
        let later = sandbox.start().success();
        assert_eq!(later.state(), "verified");
        assert_eq!(
            (later.stdout.as_str(), first.stdout.as_str()),
            ("debug = false\nUTC\n0027\n/tmp\n", later.stdout.as_str())
        );
        assert_eq!(later.summarised("digest"), first.summarised("digest"));
    }
);

// Names are resolved once: renumbering an account must not change the uid of the service.
sandbox_test!(
    the_sealed_ids_are_used_when_the_accounts_change,
    |sandbox| {
        let mut manifest = one_file(&["sh", "-c", "id -u; id -g; id -G; echo $HOME"]);
        manifest["service"]["supplementary_groups"] = json!(["certs"]);
        sandbox.one_file(&[]).manifest(&manifest);
        let first = sandbox.start().success();
        assert_eq!(first.stdout, "1000\n1000\n1000 2000\n/home/app\n");
        sandbox
            .file("/etc/passwd", "app:x:0:0::/root:/bin/sh\n")
            .file("/etc/group", "certs:x:0:\n");
        assert_eq!(sandbox.start().success().stdout, first.stdout);
        sandbox
            .remove("/etc/passwd")
            .remove("/etc/group")
            .remove("/etc/sealinit");
        assert_eq!(sandbox.start().success().stdout, first.stdout);
    }
);

/// Seals a manifest with this policy, and returns it.
fn changed(sandbox: &Sandbox, on_manifest_change: &str) -> Value {
    let mut manifest = one_file(&["cat", CONF]);
    manifest["on_manifest_change"] = json!(on_manifest_change);
    sandbox.one_file(&[]).manifest(&manifest);
    let _ = sandbox.start().success();
    manifest
}

#[track_caller]
fn keeps(sandbox: &Sandbox, digest: &str) -> Outcome {
    let start = sandbox.start();
    start.untouched();
    let kept = start.success();
    assert_eq!(
        (kept.state().as_str(), kept.stdout.as_str()),
        ("verified", CONTENT)
    );
    assert_eq!(
        kept.summarised("digest"),
        digest,
        "the sealed configuration's"
    );
    assert_eq!(kept.warnings().len(), 1, "{kept:?}");
    kept
}

sandbox_test!(a_changed_manifest_is_kept_out_with_a_warning, |sandbox| {
    let mut manifest = changed(&sandbox, "keep");
    let digest = sandbox.start().success().summarised("digest");
    manifest["service"]["command"] = json!(["echo", "changed"]);
    manifest["files"][0] = json!({"content": "changed", "dest": "/etc/app/other"});
    sandbox.manifest(&manifest);
    let kept = keeps(&sandbox, &digest);
    let warning = kept.warnings()[0];
    assert!(
        warning.contains(MANIFEST) && warning.contains("recreat"),
        "{warning}"
    );
    assert!(!sandbox.exists("/etc/app/other"));
    // The new policy is part of the change, and so not yet in force.
    manifest["on_manifest_change"] = json!("refuse");
    sandbox.manifest(&manifest);
    keeps(&sandbox, &digest);
    sandbox.file(MANIFEST, "{ not even JSON");
    keeps(&sandbox, &digest);
});

sandbox_test!(
    a_changed_manifest_is_refused_where_the_sealed_one_says_so,
    |sandbox| {
        let mut manifest = changed(&sandbox, "refuse");
        manifest["on_manifest_change"] = json!("keep");
        sandbox.manifest(&manifest);
        sandbox
            .start()
            .refused(80, MANIFEST)
            .says("recreate the container");
        sandbox.file(MANIFEST, "{ not even JSON");
        sandbox.start().refused(80, MANIFEST);
        manifest["on_manifest_change"] = json!("refuse");
        sandbox.manifest(&manifest);
        assert_eq!(
            sandbox.start().success().state(),
            "verified",
            "with the old one again"
        );
        sandbox.remove("/etc/sealinit");
        assert_eq!(
            sandbox.start().success().state(),
            "verified",
            "gone is not changed"
        );
    }
);

sandbox_test!(
    a_manifest_that_became_a_pipe_does_not_block_a_later_start,
    |sandbox| {
        let _ = changed(&sandbox, "keep");
        sandbox.remove(MANIFEST).fifo(MANIFEST);
        let start = sandbox.start().success();
        assert_eq!(
            (start.state().as_str(), start.stdout.as_str()),
            ("verified", CONTENT)
        );
    }
);

sandbox_test!(
    a_changed_source_changes_nothing_until_the_container_is_recreated,
    |sandbox| {
        let _ = changed(&sandbox, "keep");
        sandbox.source("app.conf", "debug = true\n");
        let start = sandbox.start();
        start.untouched();
        let later = start.success();
        assert_eq!(
            (later.state().as_str(), later.stdout.as_str()),
            ("verified", CONTENT)
        );

        let recreated = sandbox.another();
        recreated
            .one_file(&["cat", CONF])
            .source("app.conf", "debug = true\n");
        let first = recreated.start().success();
        assert_eq!(
            (first.state().as_str(), first.stdout.as_str()),
            ("sealed", "debug = true\n")
        );
        assert_ne!(first.summarised("digest"), later.summarised("digest"));
    }
);

// By size, or by time where the size is the same. The sealed content runs either way.
sandbox_test!(
    a_source_that_changed_since_it_was_sealed_is_named_in_a_warning,
    |sandbox| {
        let mut manifest = one_file(&["cat", CONF]);
        manifest["files"]
            .as_array_mut()
            .unwrap()
            .push(json!({"source": "other.conf", "dest": "/etc/app/other.conf"}));
        sandbox
            .one_file(&[])
            .manifest(&manifest)
            .source("other.conf", "unchanged\n");
        let _ = sandbox.start().success();
        sandbox.start().success().without_warnings();

        let longer = format!("{CONTENT}{CONTENT}");
        let same_size = CONTENT.to_uppercase();
        for content in [longer.as_str(), same_size.as_str()] {
            sandbox.source("app.conf", content);
            let source = sandbox.path("/etc/sealinit/app.conf");
            let later = SystemTime::now() + Duration::from_secs(2);
            let file = fs::File::options().write(true).open(source).unwrap();
            file.set_modified(later).unwrap();

            let outcome = sandbox.start().success();
            assert_eq!(
                (outcome.state().as_str(), outcome.stdout.as_str()),
                ("verified", CONTENT)
            );
            assert_eq!(
                outcome.warnings(),
                [
                    "the source changed since it was sealed; recreate the container to apply it \
                  path=/etc/sealinit/app.conf"
                ]
            );
            let planned = sandbox.launch().subcommand(["plan"]).start().code(0);
            assert!(
                planned.stdout.ends_with(
                    "note /etc/sealinit/app.conf changed since it was sealed; recreate the container to apply it\n"
                ),
                "{planned:?}"
            );
        }
    }
);

sandbox_test!(a_command_after_the_dashes_is_sealed, |sandbox| {
    sandbox.one_file(&["echo", "manifest"]);
    let first = sandbox
        .launch()
        .args(["--", "echo", "given"])
        .start()
        .success();
    assert_eq!(first.stdout, "given\n");
    assert_eq!(
        sandbox
            .launch()
            .args(["--", "echo", "given"])
            .start()
            .success()
            .stdout,
        "given\n"
    );
    let other = sandbox
        .launch()
        .args(["--", "echo", "other"])
        .start()
        .refused(80, "drift attribute=command expected=");
    other
        .says("the command is not the sealed one; give the sealed one after -- or none")
        .says("given")
        .says("other");
    assert_eq!(sandbox.start().success().stdout, "given\n");
    sandbox
        .launch()
        .args(["--", "echo", "given", ""])
        .start()
        .refused(80, "command");

    let sandbox = sandbox.another();
    sandbox.one_file(&["echo", "manifest"]);
    let with = sandbox.start().success();
    assert_eq!(
        with.summarised("digest"),
        first.summarised("digest"),
        "it is not in the digest"
    );
    sandbox
        .launch()
        .args(["--", "echo", "given"])
        .start()
        .refused(80, "command");
});

sandbox_test!(
    a_manifest_that_became_a_directory_or_link_counts_as_changed,
    |sandbox| {
        sealed(&sandbox);
        sandbox.remove(MANIFEST).directory(MANIFEST, 0o755);
        let start = sandbox.start().success();
        assert_eq!(
            (start.state().as_str(), start.stdout.as_str()),
            ("verified", CONTENT)
        );
        sandbox.remove(MANIFEST).symlink(MANIFEST, "manifest.json");
        assert_eq!(sandbox.start().success().stdout, CONTENT);
    }
);

// `docker run --read-only` of a sealed volume: a later start writes nothing.
sandbox_test!(a_later_start_needs_nothing_writable, |sandbox| {
    sealed(&sandbox);
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
});
