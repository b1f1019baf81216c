//! `plan`: what a start would do now, entry by entry, told exactly and done by nobody.

use std::process::Command;

use serde_json::{Value, json};

use crate::sandbox::{
    APP, CONF, CONTENT, JOURNAL, Launch, MANIFEST, Outcome, Sandbox, hash, one_file,
};

#[track_caller]
fn plan(launch: Launch<'_>, arguments: &[&str]) -> Outcome {
    let start = launch.subcommand([&["plan"], arguments].concat()).start();
    start.untouched();
    let outcome = start.code(0);
    assert_eq!(outcome.stderr, "", "{outcome:?}");
    outcome
}

#[track_caller]
fn foretold(sandbox: &Sandbox, arguments: &[&str]) -> Value {
    foretold_by(sandbox.launch(), arguments)
}

#[track_caller]
fn foretold_by(launch: Launch<'_>, arguments: &[&str]) -> Value {
    let outcome = plan(launch, &[&["--format", "json"], arguments].concat());
    assert_eq!(outcome.stdout.lines().count(), 1, "{outcome:?}");
    serde_json::from_str(&outcome.stdout).unwrap()
}

fn digest(sandbox: &Sandbox) -> String {
    sandbox
        .launch()
        .subcommand(["digest"])
        .start()
        .code(0)
        .stdout
        .trim_end()
        .into()
}

/// Something for every action.
fn prepared(on_drift: &str) -> Option<Sandbox> {
    let sandbox = Sandbox::new()?;
    sandbox
        .manifest(&json!({
            "version": 1,
            "service": {"user": "app", "command": ["echo", "ran"]},
            "files": [
                {"source": "app.conf", "dest": CONF},
                {"content": "the key\n", "dest": "/etc/app/key.pem", "secret": true},
                {"content": "new\n", "dest": "/etc/app/new"},
                {"content": "same\n", "dest": "/etc/app/same", "mode": "0644", "group": "root"},
                {"content": "seed\n", "dest": "/srv/data/seed", "owner": "app", "mutable": true},
            ],
            "directories": [{"path": "/etc/app/tree", "source": "tree", "exact": true}, {"path": "/srv/data"}],
            "absent": ["/etc/app/default.conf", "/etc/app/never"],
            "on_drift": on_drift,
        }))
        .source("app.conf", "a\nb\nc\n")
        .source("tree/a", "a\n")
        .file(CONF, "a\nB\u{1b}[31m\nc\n")
        .file("/etc/app/key.pem", "old key\n")
        .file("/etc/app/same", "same\n")
        .file("/etc/app/default.conf", "")
        .file("/etc/app/tree/extra", "");
    Some(sandbox)
}

#[test]
fn a_first_start_is_foretold_entry_by_entry() {
    let Some(sandbox) = prepared("refuse") else {
        return;
    };
    let digest = digest(&sandbox);
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
    let machine = foretold(&sandbox, &[]);
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
}

/// "never for a secret"
#[test]
fn neither_content_nor_hash_of_a_secret_is_shown() {
    let Some(sandbox) = prepared("refuse") else {
        return;
    };
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
}

/// The forecast comes true.
#[test]
fn what_is_foretold_is_done_and_then_kept() {
    let Some(sandbox) = prepared("refuse") else {
        return;
    };
    assert_eq!(foretold(&sandbox, &[])["start"], "seal");
    assert_eq!(sandbox.start().success().state(), "sealed");
    let later = foretold(&sandbox, &[]);
    assert_eq!(later["start"], "verify");
    let entries = later["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 10);
    assert!(
        entries.iter().all(|entry| entry["action"] == "keep"),
        "{later}"
    );
    assert!(!sandbox.exists("/etc/app/tree/extra") && !sandbox.exists("/etc/app/default.conf"));
}

#[test]
fn drift_is_foretold_with_what_the_policy_makes_of_it() {
    for (on_drift, start, code) in [
        ("refuse", "refuse", 80),
        ("warn", "warn", 0),
        ("restore", "restore", 0),
    ] {
        let Some(sandbox) = prepared(on_drift) else {
            return;
        };
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
}

/// That a start is foretold to be refused, and for what; then that it is, in the same words, with nothing changed.
#[track_caller]
fn refused_as_foretold(
    launch: Launch<'_>,
    arguments: &[&str],
    code: i32,
    obstacles: &[&str],
) -> Value {
    let found = foretold_by(launch.clone(), arguments);
    assert_eq!(
        (&found["start"], &found["obstacles"]),
        (&json!("refuse"), &json!(obstacles)),
        "{found}"
    );
    // `refused` asserts that the service did not run and that nothing was changed.
    let refused = launch.args(arguments).start().refused(code, "");
    assert_eq!(
        refused.errors().into_iter().map(words).collect::<Vec<_>>(),
        obstacles,
        "{refused:?}"
    );
    found
}

/// An error of the log as `plan` says it: drift has its fields there.
fn words(error: &str) -> String {
    let Some(fields) = error.strip_prefix("drift path=") else {
        return error.into();
    };
    let (path, fields) = fields.split_once(" attribute=").unwrap();
    let (attribute, fields) = fields.split_once(" expected=").unwrap();
    let (expected, found) = fields.split_once(" found=").unwrap();
    let bare = |value: &str| value.trim_matches('"').to_owned();
    format!(
        "{path}: {attribute}: expected {}, found {}",
        bare(expected),
        bare(found)
    )
}

#[test]
fn what_would_refuse_a_start_is_an_obstacle() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox
        .one_file(&["no-such-program"])
        .directory("/etc/app", 0o777);
    let both = [
        "cannot install /etc/app/app.conf: /etc/app (uid 0, mode 0777) lets other users replace files in it; \
         in the image: chown root /etc/app && chmod go-w /etc/app, or declare it in \"directories\"",
        "cannot find the service's program no-such-program in PATH=/usr/sbin:/usr/bin:/sbin:/bin; install it in the image or correct the command",
    ];
    refused_as_foretold(sandbox.launch(), &[], 73, &both);
    // Of a configuration that is not the pinned one, nothing else matters.
    let (other, digest) = (format!("sha256:{}", "0".repeat(64)), digest(&sandbox));
    let pin = format!(
        "the configuration is not the pinned one: expected {other}, found {digest}; correct --pin or the configuration"
    );
    let found = refused_as_foretold(sandbox.launch(), &["--pin", &other], 82, &[&pin]);
    assert_eq!(found["pin"], "mismatch");
}

/// `warn` puts up with drift, and not with others who could have replaced what is sealed.
#[test]
fn a_directory_that_others_could_replace_is_foretold_to_refuse_under_warn() {
    let Some(sandbox) = prepared("warn") else {
        return;
    };
    let _ = sandbox.start().success();
    sandbox.mode("/etc/app", 0o777);
    let parent = "/etc/app: parent: expected owned by 0 and writable for its owner alone, found owned by 0 with mode 0777";
    let found = refused_as_foretold(sandbox.launch(), &[], 80, &[parent]);
    assert_eq!(
        found["entries"][0]["differences"][0]["attribute"], "parent",
        "{found}"
    );
    // Drift of another kind is run with, and the lock is what the summary will say.
    sandbox.mode("/etc/app", 0o755).mode(CONF, 0o444);
    let found = foretold(&sandbox, &[]);
    assert_eq!(
        (&found["start"], &found["lock"], &found["obstacles"]),
        (&json!("warn"), &json!("partial"), &json!([]))
    );
    assert_eq!(sandbox.start().success().summarised("lock"), "partial");
    let pin = digest(&sandbox);
    let mode = "/etc/app/app.conf: mode: expected 0440, found 0444";
    refused_as_foretold(sandbox.launch(), &["--pin", &pin], 80, &[mode]);
}

#[test]
fn what_could_not_be_put_back_is_foretold_to_refuse_under_restore() {
    let Some(sandbox) = prepared("restore") else {
        return;
    };
    let _ = sandbox.start().success();
    let (sealed, size) = (hash("a\nb\nc\n"), 6);
    sandbox
        .file(CONF, "tampered\n")
        .source("app.conf", "newer\n");
    let content = format!(
        "/etc/app/app.conf: content: expected sha256:{sealed} ({size} bytes), found 9 bytes"
    );
    let gone = "cannot restore /etc/app/app.conf: its source /etc/sealinit/app.conf no longer has the sealed content; \
                recreate the container to apply a new configuration";
    refused_as_foretold(sandbox.launch(), &[], 80, &[gone, &content]);
    sandbox.source("app.conf", "a\nb\nc\n");
    assert_eq!(foretold(&sandbox, &[])["start"], "restore");
    assert_eq!(sandbox.start().success().state(), "restored");

    sandbox.directory("/etc/app/never", 0o755);
    let mounted = "cannot restore /etc/app/never: /etc/app/never is mounted there, and a mount cannot be replaced or removed; \
                   recreate the container without it";
    let there = "/etc/app/never: type: expected nothing, found directory";
    refused_as_foretold(
        sandbox.launch().tmpfs("/etc/app/never", "mode=0755"),
        &[],
        80,
        &[mounted, there],
    );
}

#[test]
fn another_command_after_the_dashes_is_foretold_to_refuse() {
    for on_drift in ["refuse", "restore"] {
        let Some(sandbox) = prepared(on_drift) else {
            return;
        };
        let _ = sandbox
            .launch()
            .args(["--", "echo", "given"])
            .start()
            .success();
        let other = "--: command: expected echo given, found echo other";
        refused_as_foretold(sandbox.launch(), &["--", "echo", "other"], 80, &[other]);
        // No command means the sealed one.
        for command in [&[][..], &["--", "echo", "given"]] {
            let found = foretold(&sandbox, command);
            assert_eq!(
                (&found["start"], &found["notes"]),
                (&json!("verify"), &json!([]))
            );
        }
    }
}

/// Without root, what was closed since cannot even be looked at.
#[test]
fn what_cannot_be_looked_at_is_foretold_to_refuse_under_warn() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.manifest(&json!({
        "version": 1,
        "service": {"user": "app", "command": ["true"]},
        "files": [{"content": "a\n", "dest": "/srv/a/conf"}, {"content": "b\n", "dest": "/srv/b"}],
        "on_drift": "warn",
    }));
    for directory in ["/srv", "/srv/a", "/var/lib/sealinit"] {
        sandbox
            .directory(directory, 0o755)
            .owner(directory, APP, APP);
    }
    let launch = || sandbox.launch().user(APP, APP);
    let _ = launch().start().success();
    sandbox.owner("/srv/a", 0, 0).mode("/srv/a", 0o700);
    let closed = "cannot open /srv/a/conf: Permission denied (os error 13); check owner and mode, or the capabilities that were dropped";
    let found = refused_as_foretold(
        launch(),
        &[],
        74,
        &[&format!("cannot verify /srv/a/conf: {closed}")],
    );
    assert_eq!(
        (&found["entries"][0]["action"], &found["notes"]),
        (&json!("unknown"), &json!([]))
    );
    sandbox.mode("/srv/b", 0o444);
    let mode = "/srv/b: mode: expected 0440, found 0444";
    let unreadable = format!("/srv/a/conf: unreadable: expected readable, found {closed}");
    refused_as_foretold(launch(), &[], 80, &[mode, &unreadable]);
}

#[test]
fn an_interrupted_start_is_resumed_or_refused() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.one_file(&["true"]);
    sandbox.file(
        JOURNAL,
        format!(r#"{{"version":1,"digest":"{}"}}"#, digest(&sandbox)),
    );
    assert_eq!(foretold(&sandbox, &[])["start"], "resume");
    sandbox.source("app.conf", "another");
    let foretold = foretold(&sandbox, &[]);
    assert_eq!(foretold["start"], "refuse");
    assert!(
        foretold["obstacles"][0]
            .as_str()
            .unwrap()
            .contains("was interrupted here"),
        "{foretold}"
    );
    let _ = sandbox
        .start()
        .refused(83, foretold["obstacles"][0].as_str().unwrap());
}

#[test]
fn a_manifest_that_changed_since_is_noted_or_an_obstacle() {
    for (policy, start) in [("keep", "verify"), ("refuse", "refuse")] {
        let Some(sandbox) = Sandbox::new() else {
            return;
        };
        let mut manifest = one_file(&["true"]);
        manifest["on_manifest_change"] = json!(policy);
        sandbox.manifest(&manifest).source("app.conf", CONTENT);
        let _ = sandbox.start().success();
        manifest["x-note"] = json!(1);
        sandbox.manifest(&manifest);
        let found = foretold(&sandbox, &[]);
        assert_eq!(found["start"], start);
        let told = if policy == "keep" {
            &found["notes"][0]
        } else {
            &found["obstacles"][0]
        };
        assert!(
            told.as_str()
                .unwrap()
                .contains("/etc/sealinit/manifest.json is not the sealed one"),
            "{found}"
        );
        sandbox.remove("/etc/sealinit");
        assert!(plan(sandbox.launch(), &[]).stdout.ends_with(
            "note the manifest /etc/sealinit/manifest.json is gone; the sealed configuration runs\n"
        ));
    }
}

#[test]
fn what_cannot_be_planned_is_an_error() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
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
}

#[test]
fn a_large_or_binary_content_has_no_diff() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
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
    let foretold = foretold(&sandbox, &["--diff"]);
    assert_eq!(
        (
            &foretold["entries"][0]["action"],
            &foretold["entries"][0]["diff"]
        ),
        (&json!("replace"), &Value::Null)
    );
    assert_eq!(
        (
            &foretold["entries"][1]["action"],
            &foretold["entries"][1]["diff"]
        ),
        (&json!("install"), &Value::Null)
    );
}

/// The host sees the same plan as the container, before and after the first start.
#[test]
fn a_plan_can_be_made_from_the_host() {
    let Some(sandbox) = prepared("refuse") else {
        return;
    };
    // The host's programs are only mounted for a start.
    sandbox
        .file("/usr/bin/echo", "\x7fELF")
        .mode("/usr/bin/echo", 0o755);
    let from_host = || {
        let output = Command::new(env!("CARGO_BIN_EXE_sealinit"))
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
}
