//! Later starts: verified, manifest changed or gone, interrupted first starts, other commands, pins.

use serde_json::{Value, json};

use crate::sandbox::{CONF, CONTENT, JOURNAL, MANIFEST, Outcome, SEAL, Sandbox, hash, one_file};

const OTHER_DIGEST: &str =
    "sha256:0000000000000000000000000000000000000000000000000000000000000000";

#[test]
fn an_unchanged_disk_is_verified_and_nothing_is_written() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
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

#[test]
fn the_sealed_configuration_runs_when_the_mount_is_gone() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
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

/// The names were resolved once; an account that is renumbered must not make another one the service.
#[test]
fn the_sealed_ids_are_used_when_the_accounts_change() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
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

fn changed(on_manifest_change: &str) -> Option<(Sandbox, Value)> {
    let sandbox = Sandbox::new()?;
    let mut manifest = one_file(&["cat", CONF]);
    manifest["on_manifest_change"] = json!(on_manifest_change);
    sandbox.one_file(&[]).manifest(&manifest);
    let _ = sandbox.start().success();
    Some((sandbox, manifest))
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

#[test]
fn a_changed_manifest_is_kept_out_with_a_warning() {
    let Some((sandbox, mut manifest)) = changed("keep") else {
        return;
    };
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
    // The wish to refuse is part of the change, and so not yet in force.
    manifest["on_manifest_change"] = json!("refuse");
    sandbox.manifest(&manifest);
    keeps(&sandbox, &digest);
    sandbox.file(MANIFEST, "{ not even JSON");
    keeps(&sandbox, &digest);
}

#[test]
fn a_changed_manifest_is_refused_where_the_sealed_one_says_so() {
    let Some((sandbox, mut manifest)) = changed("refuse") else {
        return;
    };
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

#[test]
fn a_manifest_that_became_a_pipe_is_no_hang() {
    let Some((sandbox, _)) = changed("keep") else {
        return;
    };
    sandbox.remove(MANIFEST).fifo(MANIFEST);
    let start = sandbox.start().success();
    assert_eq!(
        (start.state().as_str(), start.stdout.as_str()),
        ("verified", CONTENT)
    );
}

#[test]
fn a_changed_source_changes_nothing_until_the_container_is_recreated() {
    let Some((sandbox, _)) = changed("keep") else {
        return;
    };
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

#[test]
fn a_command_after_the_dashes_is_sealed_too() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
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
        .refused(80, "command");
    other.says("given").says("other");
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
}

/// A first start that ended for lack of space: its journal is there and its seal is not.
fn interrupted() -> Option<Sandbox> {
    let sandbox = Sandbox::new()?;
    sandbox
        .directory("/etc/app", 0o755)
        .one_file(&["cat", CONF])
        .source("app.conf", "x".repeat(128 << 10));
    let launch = sandbox.launch().tmpfs("/etc/app", "size=64k,mode=0755");
    launch.start().failed(73, CONF);
    assert!(sandbox.exists(JOURNAL) && !sandbox.exists(SEAL));
    Some(sandbox)
}

#[test]
fn an_interrupted_first_start_is_resumed() {
    let Some(sandbox) = interrupted() else { return };
    let resumed = sandbox.start().success();
    assert_eq!(resumed.state(), "resumed");
    assert_eq!(resumed.stdout, "x".repeat(128 << 10));
    assert!(sandbox.exists(SEAL) && !sandbox.exists(JOURNAL));
    assert!(sandbox.temporaries().is_empty());
    let next = sandbox.start().success();
    assert_eq!(next.state(), "verified");
    assert_eq!(next.summarised("digest"), resumed.summarised("digest"));
}

#[test]
fn an_interrupted_first_start_of_another_configuration_is_refused() {
    let Some(sandbox) = interrupted() else { return };
    sandbox.source("app.conf", CONTENT);
    let refused = sandbox.start().refused(83, "recreate the container");
    refused.says("/var/lib/sealinit");
    sandbox.source("app.conf", "x".repeat(128 << 10));
    assert_eq!(
        sandbox.start().success().state(),
        "resumed",
        "with the old one again"
    );
}

#[test]
fn a_journal_beside_a_seal_is_cleared_away() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.one_file(&["true"]);
    let _ = sandbox.start().success();
    sandbox.file(JOURNAL, "left over").mode(JOURNAL, 0o400);
    assert_eq!(sandbox.start().success().state(), "verified");
    assert_eq!(sandbox.start().success().state(), "verified");
}

/// Promise 5: with a pin, no other manifest and no other content is ever installed or run.
#[test]
fn promise_5_another_pin_installs_nothing_and_runs_nothing() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.one_file(&["cat", CONF]);
    let refused = sandbox
        .launch()
        .args(["--pin", OTHER_DIGEST])
        .start()
        .refused(82, OTHER_DIGEST);
    assert_eq!(refused.summarised("pin"), "mismatch");
    let digest = refused.summarised("digest");
    refused.says(&format!("found {digest}"));

    let first = sandbox.launch().args(["--pin", &digest]).start().success();
    assert_eq!(
        (first.state().as_str(), first.summarised("pin").as_str()),
        ("sealed", "ok")
    );
    assert_eq!(first.summarised("digest"), digest);

    let refused = sandbox
        .launch()
        .args(["--pin", OTHER_DIGEST])
        .start()
        .refused(82, OTHER_DIGEST);
    assert_eq!(refused.summarised("pin"), "mismatch");
    let later = sandbox
        .launch()
        .env("SEALINIT_PIN", &digest)
        .start()
        .success();
    assert_eq!(
        (later.state().as_str(), later.summarised("pin").as_str()),
        ("verified", "ok")
    );
    assert_eq!(sandbox.start().success().summarised("pin"), "none");
}

#[test]
fn promise_5_each_changed_input_is_another_pin() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.one_file(&["cat", CONF]);
    let digest = sandbox
        .launch()
        .subcommand(["digest"])
        .start()
        .code(0)
        .stdout
        .trim_end()
        .to_owned();
    let pinned = || sandbox.launch().args(["--pin", &digest]);
    sandbox.source("app.conf", "debug = true\n");
    pinned().start().refused(82, &digest);
    let mut manifest = one_file(&["cat", CONF]);
    manifest["service"]["user"] = json!("other");
    sandbox.source("app.conf", CONTENT).manifest(&manifest);
    pinned().start().refused(82, &digest);
    sandbox.one_file(&["cat", CONF]);
    assert_eq!(pinned().start().success().state(), "sealed");
}

/// What root by `docker exec` can do without a pin: change a file, remove the seal, and have the next start seal the result.
#[test]
fn promise_5_a_configuration_that_was_sealed_again_is_not_the_pinned_one() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.one_file(&["cat", CONF]);
    let digest = sandbox.start().success().summarised("digest");
    sandbox.remove(SEAL).source("app.conf", "debug = true\n");
    assert_eq!(sandbox.start().success().state(), "sealed");
    sandbox
        .launch()
        .args(["--pin", &digest])
        .start()
        .refused(82, &digest);
}

/// A seal that was edited to fit tampered files, with its old digest left in, must not pass for the pinned configuration.
#[test]
fn promise_5_an_edited_seal_is_not_believed() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.one_file(&["cat", CONF]);
    let digest = sandbox.start().success().summarised("digest");
    sandbox.file(CONF, "tampered\n");
    let seal = sandbox.read(SEAL);
    assert!(
        seal.contains(&hash(CONTENT)),
        "the seal holds the hash of the content"
    );
    sandbox.file(SEAL, seal.replace(&hash(CONTENT), &hash("tampered\n")));
    for pin in [&[][..], &["--pin", &digest]] {
        sandbox.launch().args(pin).start().refused(81, SEAL);
    }
}

#[test]
fn the_pin_is_checked_when_the_mount_is_gone() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.one_file(&["cat", CONF]);
    let digest = sandbox.start().success().summarised("digest");
    sandbox.remove("/etc/sealinit");
    let later = sandbox.launch().args(["--pin", &digest]).start().success();
    assert_eq!(
        (later.state().as_str(), later.summarised("pin").as_str()),
        ("verified", "ok")
    );
    sandbox
        .launch()
        .args(["--pin", OTHER_DIGEST])
        .start()
        .refused(82, OTHER_DIGEST);
}

#[test]
fn a_pin_that_was_given_at_the_first_start_is_not_remembered() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.one_file(&["true"]);
    let digest = sandbox
        .launch()
        .subcommand(["digest"])
        .start()
        .code(0)
        .stdout
        .trim_end()
        .to_owned();
    let _ = sandbox.launch().args(["--pin", &digest]).start().success();
    assert_eq!(sandbox.start().success().summarised("pin"), "none");
}

/// The seal's fields that a pin does not cover, such as the service's uid, come from resolving names on this machine; the seal
/// itself must show that they were changed.
#[test]
fn every_edit_of_the_seal_shows() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.one_file(&["cat", CONF]);
    let _ = sandbox.start().success();
    let seal = sandbox.read(SEAL);
    let mut edits = 0;
    for (index, byte) in seal.bytes().enumerate() {
        if byte.is_ascii_digit() && edits < 200 {
            edits += 1;
            let mut edited = seal.clone().into_bytes();
            edited[index] = if byte == b'0' { b'1' } else { b'0' };
            sandbox.file(SEAL, edited);
            sandbox.start().refused(81, SEAL);
        }
    }
    assert!(edits > 60, "there are two hashes at least");
    sandbox.file(SEAL, seal);
    assert_eq!(sandbox.start().success().state(), "verified");
}
