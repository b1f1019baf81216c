//! The entries that `plan` lists, their differences and their diffs.

use serde_json::{Value, json};

use super::{plan, planned, prepared};
use crate::harness::{APP, CONF, CONTENT, MANIFEST, hash, one_file, sandbox_test};

sandbox_test!(plan_lists_the_entries_of_a_first_start, |sandbox| {
    prepared(&sandbox, "refuse");
    let digest = sandbox.digest();
    let new = hash("a\nb\nc\n");
    assert_eq!(
        plan(sandbox.launch(), &["--diff"]).stdout,
        format!(
            "seal: 9 of 11 entries differ\n\
             digest={digest} pin=none lock=full\n\
             replace file /etc/app/app.conf: group: expected 1000 (app), found 0 (root); mode: expected 0440, found 0644; \
             content: expected sha256:{new} (6 bytes), found 11 bytes\n\
             --- /etc/app/app.conf (on disk)\n\
             +++ /etc/app/app.conf (planned)\n\
             @@ -1,3 +1,3 @@\n \
             a\n\
             -B\\u{{1b}}[31m\n\
             +b\n \
             c\n\
             remove absent /etc/app/default.conf: type: expected nothing, found file\n\
             replace file /etc/app/key.pem: group: expected 1000 (app), found 0 (root); mode: expected 0440, found 0644; \
             content: expected the sealed secret, found another\n\
             keep absent /etc/app/never\n\
             install file /etc/app/new: type: expected file, found nothing\n\
             --- /etc/app/new (on disk)\n\
             +++ /etc/app/new (planned)\n\
             @@ -0,0 +1 @@\n\
             +new\n\
             keep file /etc/app/same\n\
             replace directory /etc/app/tree: group: expected 1000 (app), found 0 (root); mode: expected 0550, found 0755\n\
             install file /etc/app/tree/a: type: expected file, found nothing\n\
             --- /etc/app/tree/a (on disk)\n\
             +++ /etc/app/tree/a (planned)\n\
             @@ -0,0 +1 @@\n\
             +a\n\
             remove extra /etc/app/tree/extra: extra: expected nothing, found file\n\
             install directory /srv/data: type: expected directory, found nothing\n\
             install mutable /srv/data/seed: type: expected file, found nothing\n\
             --- /srv/data/seed (on disk)\n\
             +++ /srv/data/seed (planned)\n\
             @@ -0,0 +1 @@\n\
             +seed\n"
        )
    );
    let machine = planned(&sandbox, &[]);
    assert_eq!(
        machine["entries"][1],
        json!({
            "action": "remove", "kind": "absent", "path": "/etc/app/default.conf",
            "differences": [{"attribute": "type", "expected": "nothing", "found": "file"}], "diff": null,
        })
    );
    for key in [
        "start",
        "digest",
        "pin",
        "lock",
        "entries",
        "obstacles",
        "notes",
    ] {
        assert!(machine.get(key).is_some(), "{key}");
    }
});

// "never for a secret"
sandbox_test!(neither_content_nor_hash_of_a_secret_is_shown, |sandbox| {
    prepared(&sandbox, "refuse");
    let arguments = ["--diff", "--format", "json"];
    let first = plan(sandbox.launch(), &arguments).stdout;
    let _ = sandbox.start().success();
    sandbox.file("/etc/app/key.pem", "other key\n");
    let later = plan(sandbox.launch(), &arguments).stdout;
    for output in [first, later] {
        for secret in [
            "the key",
            "old key",
            "other key",
            &hash("the key\n"),
            &hash("old key\n"),
            &hash("other key\n"),
        ] {
            assert!(!output.contains(secret), "{secret}: {output}");
        }
    }
});

// The start does what the plan says.
sandbox_test!(
    the_start_does_what_plan_shows_and_then_keeps_it,
    |sandbox| {
        prepared(&sandbox, "refuse");
        assert_eq!(planned(&sandbox, &[])["start"], "seal");
        assert_eq!(sandbox.start().success().state(), "sealed");
        let later = planned(&sandbox, &[]);
        assert_eq!(later["start"], "verify");
        let entries = later["entries"].as_array().unwrap();
        assert_eq!(entries.len(), 10);
        assert!(
            entries.iter().all(|entry| entry["action"] == "keep"),
            "{later}"
        );
        assert!(!sandbox.exists("/etc/app/tree/extra") && !sandbox.exists("/etc/app/default.conf"));
    }
);

sandbox_test!(plan_shows_drift_under_every_policy, |original| {
    for (on_drift, start, code) in [
        ("refuse", "refuse", 80),
        ("warn", "warn", 0),
        ("restore", "restore", 0),
    ] {
        let sandbox = original.another();
        prepared(&sandbox, on_drift);
        let _ = sandbox.start().success();
        sandbox
            .file(CONF, "a\nb\nchanged\n")
            .file("/etc/app/tree/extra", "");
        let found = plan(sandbox.launch(), &["--diff"]).stdout;
        let lines: Vec<&str> = found.lines().collect();
        assert_eq!(lines[0], format!("{start}: 2 of 11 entries differ"));
        let conf = hash("a\nb\nc\n");
        assert_eq!(
            lines[2..10],
            [
                &format!(
                    "drift file /etc/app/app.conf: content: expected sha256:{conf} (6 bytes), found 12 bytes"
                ),
                "--- /etc/app/app.conf (sealed)",
                "+++ /etc/app/app.conf (on disk)",
                "@@ -1,3 +1,3 @@",
                " a",
                " b",
                "-c",
                "+changed",
            ]
        );
        assert!(
            found
                .contains("drift extra /etc/app/tree/extra: extra: expected nothing, found file\n"),
            "{found}"
        );
        let _ = sandbox.start().code(code);
    }
});

sandbox_test!(a_changed_manifest_is_a_note_or_an_obstacle, |original| {
    for (policy, start) in [("keep", "verify"), ("refuse", "refuse")] {
        let sandbox = original.another();
        let mut manifest = one_file(&["true"]);
        manifest["on_manifest_change"] = json!(policy);
        sandbox.manifest(&manifest).source("app.conf", CONTENT);
        let _ = sandbox.start().success();
        manifest["x-note"] = json!(1);
        sandbox.manifest(&manifest);
        let found = planned(&sandbox, &[]);
        assert_eq!(found["start"], start);
        let reported = if policy == "keep" {
            &found["notes"][0]
        } else {
            &found["obstacles"][0]
        };
        assert!(
            reported
                .as_str()
                .unwrap()
                .contains("/etc/sealinit/manifest.json is not the sealed one"),
            "{found}"
        );
        sandbox.remove("/etc/sealinit");
        assert!(plan(sandbox.launch(), &[]).stdout.ends_with(
            "note the manifest /etc/sealinit/manifest.json is gone; the sealed configuration runs\n"
        ));
    }
});

sandbox_test!(a_manifest_that_cannot_be_planned_is_an_error, |sandbox| {
    sandbox.manifest(&one_file(&["true"]));
    let _ = sandbox
        .launch()
        .subcommand(["plan"])
        .start()
        .code(66)
        .says("cannot read the source /etc/sealinit/app.conf");
    sandbox.file("/etc/sealinit/manifest.json", "{");
    let _ = sandbox
        .launch()
        .subcommand(["plan"])
        .start()
        .code(78)
        .says("not JSON");
});

sandbox_test!(a_large_or_binary_content_has_no_diff, |sandbox| {
    let mut manifest = one_file(&["true"]);
    manifest["files"]
        .as_array_mut()
        .unwrap()
        .push(json!({"source": "large", "dest": "/srv/large"}));
    sandbox
        .manifest(&manifest)
        .source("app.conf", b"\xff\n")
        .source("large", "x\n".repeat(1 << 20));
    sandbox.file(CONF, "text\n").owner(CONF, APP, APP);
    let planned = planned(&sandbox, &["--diff"]);
    assert_eq!(
        (
            &planned["entries"][0]["action"],
            &planned["entries"][0]["diff"]
        ),
        (&json!("replace"), &Value::Null)
    );
    assert_eq!(
        (
            &planned["entries"][1]["action"],
            &planned["entries"][1]["diff"]
        ),
        (&json!("install"), &Value::Null)
    );
});

// The host sees the same plan as the container, before and after the first start.
sandbox_test!(a_plan_can_be_made_from_the_host, |sandbox| {
    prepared(&sandbox, "refuse");
    // The host's programs are only mounted for a start.
    sandbox
        .file("/usr/bin/echo", "\x7fELF")
        .mode("/usr/bin/echo", 0o755);
    let from_host = || {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_sealinit"))
            .args(["plan", "--diff", "--root"])
            .arg(sandbox.path("/"))
            .arg("--manifest")
            .arg(sandbox.path(MANIFEST))
            .env_clear()
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(from_host(), plan(sandbox.launch(), &["--diff"]).stdout);
    let _ = sandbox.start().success();
    sandbox.file(CONF, "a\nx\nc\n");
    let later = from_host();
    assert_eq!(later, plan(sandbox.launch(), &["--diff"]).stdout);
    assert!(
        later.starts_with("refuse: 1 of 10 entries differs\n"),
        "{later}"
    );
});
