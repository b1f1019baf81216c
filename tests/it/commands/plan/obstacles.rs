//! The refusals that `plan` announces: the start then fails in the same words.

use serde_json::{Value, json};

use super::{planned, planned_by, prepared};
use crate::harness::{APP, CONF, JOURNAL, Launch, hash, sandbox_test};

/// Asserts that `plan` announces a refusal with these obstacles, and that the start is then refused
/// in the same words, with nothing changed.
#[track_caller]
fn refused_as_planned(
    launch: Launch<'_>,
    arguments: &[&str],
    code: i32,
    obstacles: &[&str],
) -> Value {
    let found = planned_by(launch.clone(), arguments);
    assert_eq!(
        (&found["start"], &found["obstacles"]),
        (&json!("refuse"), &json!(obstacles)),
        "{found}"
    );
    // `refused` asserts that the service did not run and that nothing was changed.
    let refused = launch.args(arguments).start();
    let refused = refused.refused(code, obstacles[0].split(": ").next().unwrap());
    assert_eq!(
        refused.errors().into_iter().map(words).collect::<Vec<_>>(),
        obstacles,
        "{refused:?}"
    );
    found
}

/// An error of the log in the words of `plan`; in the log, drift has fields.
fn words(error: &str) -> String {
    let Some(fields) = error.strip_prefix("drift ") else {
        return error.into();
    };
    // The command has no path.
    let (path, fields) = match fields.strip_prefix("path=") {
        Some(fields) => fields.split_once(" attribute=").unwrap(),
        None => ("", fields.strip_prefix("attribute=").unwrap()),
    };
    let (attribute, fields) = fields.split_once(" expected=").unwrap();
    let (expected, found) = fields.split_once(" found=").unwrap();
    let bare = |value: &str| value.trim_matches('"').to_owned();
    let path = if path.is_empty() {
        String::new()
    } else {
        format!("{path}: ")
    };
    format!(
        "{path}{attribute}: expected {}, found {}",
        bare(expected),
        bare(found)
    )
}

sandbox_test!(the_reasons_of_a_refusal_are_obstacles, |sandbox| {
    sandbox
        .one_file(&["no-such-program"])
        .directory("/etc/app", 0o777);
    let both = [
        "cannot install /etc/app/app.conf: /etc/app (uid 0, mode 0777) lets other users replace files in it; \
         in the image: chown root /etc/app && chmod go-w /etc/app, or declare it in \"directories\"",
        "cannot find the service's program no-such-program in PATH=/usr/sbin:/usr/bin:/sbin:/bin; install it in the image or correct the command",
    ];
    refused_as_planned(sandbox.launch(), &[], 73, &both);
    // For a configuration that is not the pinned one, nothing else is reported.
    let (other, digest) = (format!("sha256:{}", "0".repeat(64)), sandbox.digest());
    let pin = format!(
        "the configuration is not the pinned one: expected {other}, found {digest}; correct --pin or the configuration"
    );
    let found = refused_as_planned(sandbox.launch(), &["--pin", &other], 82, &[&pin]);
    assert_eq!(found["pin"], "mismatch");
});

// `warn` accepts drift, but not a directory in which others could have replaced a sealed entry.
sandbox_test!(
    plan_announces_the_refusal_of_an_unsafe_directory_under_warn,
    |sandbox| {
        prepared(&sandbox, "warn");
        let _ = sandbox.start().success();
        sandbox.mode("/etc/app", 0o777);
        let parent = "/etc/app: parent: expected owned by 0 (root) and writable for its owner alone, found owned by 0 (root) with mode 0777";
        let found = refused_as_planned(sandbox.launch(), &[], 80, &[parent]);
        assert_eq!(
            found["entries"][0]["differences"][0]["attribute"], "parent",
            "{found}"
        );
        // With drift of another kind the service runs, and the lock is that of the summary.
        sandbox.mode("/etc/app", 0o755).mode(CONF, 0o444);
        let found = planned(&sandbox, &[]);
        assert_eq!(
            (&found["start"], &found["lock"], &found["obstacles"]),
            (&json!("warn"), &json!("partial"), &json!([]))
        );
        assert_eq!(sandbox.start().success().summarised("lock"), "partial");
        let pin = sandbox.digest();
        let mode = "/etc/app/app.conf: mode: expected 0440, found 0444";
        refused_as_planned(sandbox.launch(), &["--pin", &pin], 80, &[mode]);
    }
);

sandbox_test!(
    plan_announces_the_refusal_of_unrestorable_entries_under_restore,
    |sandbox| {
        prepared(&sandbox, "restore");
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
        refused_as_planned(sandbox.launch(), &[], 80, &[gone, &content]);
        sandbox.source("app.conf", "a\nb\nc\n");
        assert_eq!(planned(&sandbox, &[])["start"], "restore");
        assert_eq!(sandbox.start().success().state(), "restored");

        sandbox.directory("/etc/app/never", 0o755);
        let mounted = "cannot restore /etc/app/never: /etc/app/never is mounted there, and a mount cannot be replaced or removed; \
                   recreate the container without it";
        let there = "/etc/app/never: type: expected nothing, found directory";
        refused_as_planned(
            sandbox.launch().tmpfs("/etc/app/never", "mode=0755"),
            &[],
            80,
            &[mounted, there],
        );
    }
);

sandbox_test!(plan_announces_the_refusal_of_another_command, |original| {
    for on_drift in ["refuse", "restore"] {
        let sandbox = original.another();
        prepared(&sandbox, on_drift);
        let _ = sandbox
            .launch()
            .args(["--", "echo", "given"])
            .start()
            .success();
        let other = "command: expected echo given, found echo other";
        refused_as_planned(sandbox.launch(), &["--", "echo", "other"], 80, &[other]);
        // No command means the sealed one.
        for command in [&[][..], &["--", "echo", "given"]] {
            let found = planned(&sandbox, command);
            assert_eq!(
                (&found["start"], &found["notes"]),
                (&json!("verify"), &json!([]))
            );
        }
    }
});

// Without root, a directory that was closed since cannot be read.
sandbox_test!(
    plan_announces_the_refusal_of_unreadable_entries_under_warn,
    |sandbox| {
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
        let found = refused_as_planned(
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
        refused_as_planned(launch(), &[], 80, &[mode, &unreadable]);
    }
);

sandbox_test!(an_interrupted_start_is_resumed_or_refused, |sandbox| {
    sandbox.one_file(&["true"]);
    sandbox.file(
        JOURNAL,
        format!(r#"{{"version":1,"digest":"{}"}}"#, sandbox.digest()),
    );
    assert_eq!(planned(&sandbox, &[])["start"], "resume");
    sandbox.source("app.conf", "another");
    let planned = planned(&sandbox, &[]);
    assert_eq!(planned["start"], "refuse");
    assert!(
        planned["obstacles"][0]
            .as_str()
            .unwrap()
            .contains("was interrupted here"),
        "{planned}"
    );
    let _ = sandbox
        .start()
        .refused(83, planned["obstacles"][0].as_str().unwrap());
});
