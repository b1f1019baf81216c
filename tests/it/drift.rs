//! Every kind of drift under every policy.

use serde_json::{Value, json};

use crate::sandbox::{APP, CONF, CONTENT, OTHER, Outcome, Sandbox, hash};

/// A configuration with an entry of every sort, whose service prints `ran`.
fn configured(on_drift: &str) -> Option<Sandbox> {
    let sandbox = Sandbox::new()?;
    sandbox
        .manifest(&manifest(on_drift))
        .source("app.conf", CONTENT)
        .source("key.pem", "key\n")
        .source("tree/a", "a\n")
        .source("tree/sub/b", "b\n");
    assert_eq!(sandbox.start().success().state(), "sealed");
    Some(sandbox)
}

fn manifest(on_drift: &str) -> Value {
    json!({
        "version": 1,
        "service": {"user": "app", "command": ["echo", "ran"]},
        "files": [
            {"source": "app.conf", "dest": CONF},
            {"source": "key.pem", "dest": "/etc/app/key.pem", "secret": true, "mode": "0400"},
            {"source": "optional.conf", "dest": "/etc/app/optional.conf", "optional": true},
        ],
        "directories": [
            {"path": "/etc/app/tree", "source": "tree", "exact": true},
            {"path": "/srv/data"},
        ],
        "absent": ["/etc/app/default.conf"],
        "on_drift": on_drift,
    })
}

/// What a drift is called in the log: the path, the attribute, what the seal says and what is there.
struct Expected {
    path: &'static str,
    attribute: &'static str,
    sealed: String,
    found: String,
}

fn expected(path: &'static str, attribute: &'static str, sealed: &str, found: &str) -> Expected {
    Expected {
        path,
        attribute,
        sealed: sealed.into(),
        found: found.into(),
    }
}

impl Expected {
    /// As in a text log, where a value is quoted if it has more than one word.
    fn line(&self) -> String {
        let quoted = |value: &str| {
            if value.contains(' ') {
                format!("\"{value}\"")
            } else {
                value.to_owned()
            }
        };
        let Self {
            path,
            attribute,
            sealed,
            found,
        } = self;
        format!(
            "drift path={path} attribute={attribute} expected={} found={}",
            quoted(sealed),
            quoted(found)
        )
    }

    #[track_caller]
    fn in_lines(&self, lines: &[&str], outcome: &Outcome) {
        let line = self.line();
        assert!(
            lines.iter().any(|candidate| candidate.contains(&line)),
            "no line says {line:?}\n{outcome:?}"
        );
    }
}

/// A content that is longer or shorter than the sealed one; the log tells the lengths.
fn resized(path: &'static str, sealed: &str, found: &str) -> Expected {
    let hash = hash(sealed);
    expected(
        path,
        "content",
        &format!("sha256:{hash} ({} bytes)", sealed.len()),
        &format!("{} bytes", found.len()),
    )
}

/// Each kind of drift as three tests: refused, run with a warning, rolled back.
macro_rules! kinds {
    ($($kind:ident: $tamper:expr => $expected:expr;)*) => {$(
        mod $kind {
            use super::*;

            #[test]
            fn is_refused_and_left_as_it_is() {
                super::is_refused($tamper, &$expected);
            }

            #[test]
            fn runs_with_a_warning_under_warn() {
                super::runs_with_a_warning($tamper, &$expected);
            }

            #[test]
            fn is_rolled_back_under_restore() {
                super::is_rolled_back($tamper, &$expected);
            }
        }
    )*};
}

type Tamper = fn(&Sandbox);

/// Promise 1: if the service runs, every sealed entry had exactly the recorded type, content, owner, group and mode at that
/// moment.
fn is_refused(tamper: Tamper, expected: &Expected) {
    let Some(sandbox) = configured("refuse") else {
        return;
    };
    tamper(&sandbox);
    let refused = sandbox.start().refused(80, expected.path);
    expected.in_lines(&refused.errors(), &refused);
    let path = format!(" path={} ", expected.path);
    assert!(
        refused.errors().iter().all(|error| error.contains(&path)),
        "nothing else has drifted\n{refused:?}"
    );
}

fn runs_with_a_warning(tamper: Tamper, expected: &Expected) {
    let Some(sandbox) = configured("warn") else {
        return;
    };
    tamper(&sandbox);
    let before = sandbox.tree();
    let outcome = sandbox.start().success();
    assert_eq!(outcome.stdout, "ran\n");
    expected.in_lines(&outcome.warnings(), &outcome);
    before.assert_equals(&sandbox.tree());
}

fn is_rolled_back(tamper: Tamper, expected: &Expected) {
    let Some(sandbox) = configured("restore") else {
        return;
    };
    let sealed = sandbox.tree();
    tamper(&sandbox);
    let outcome = sandbox.start().success();
    assert_eq!(
        (outcome.state().as_str(), outcome.stdout.as_str()),
        ("restored", "ran\n")
    );
    outcome.says(expected.path);
    sealed.assert_equals(&sandbox.tree());
    let next = sandbox.start().success();
    assert_eq!(next.state(), "verified");
    next.without_warnings();
}

kinds! {
    content: |sandbox| { sandbox.file(CONF, "tampered\n"); }
        => resized(CONF, CONTENT, "tampered\n");
    content_of_the_same_length: |sandbox| { sandbox.file(CONF, CONTENT.replace("false", "tru.e")); }
        => expected(CONF, "content", &format!("sha256:{}", hash(CONTENT)), &format!("sha256:{}", hash("debug = tru.e\n")));
    content_below_a_directory: |sandbox| { sandbox.file("/etc/app/tree/sub/b", ""); }
        => resized("/etc/app/tree/sub/b", "b\n", "");
    owner: |sandbox| { sandbox.owner(CONF, OTHER, APP); }
        => expected(CONF, "owner", "0 (root)", "1001 (other)");
    owner_by_the_service: |sandbox| { sandbox.owner(CONF, APP, APP); }
        => expected(CONF, "owner", "0 (root)", "1000 (app)");
    group: |sandbox| { sandbox.owner(CONF, 0, OTHER); }
        => expected(CONF, "group", "1000 (app)", "1001 (other)");
    mode: |sandbox| { sandbox.mode(CONF, 0o444); }
        => expected(CONF, "mode", "0440", "0444");
    set_id_bit: |sandbox| { sandbox.mode(CONF, 0o4440); }
        => expected(CONF, "mode", "0440", "4440");
    missing_file: |sandbox| { sandbox.remove(CONF); }
        => expected(CONF, "type", "file", "nothing");
    file_became_directory: |sandbox| { sandbox.remove(CONF).file("/etc/app/app.conf/sub/file", "x"); }
        => expected(CONF, "type", "file", "directory");
    // The content is right, but whoever controls the link's target controls it from now on.
    file_became_symlink: |sandbox| { sandbox.remove(CONF).file("/etc/app/copy", CONTENT).symlink(CONF, "copy").remove("/etc/app/copy"); }
        => expected(CONF, "type", "file", "symlink");
    file_became_fifo: |sandbox| { sandbox.remove(CONF).fifo(CONF); }
        => expected(CONF, "type", "file", "FIFO");
    directory_mode: |sandbox| { sandbox.mode("/etc/app/tree/sub", 0o750); }
        => expected("/etc/app/tree/sub", "mode", "0550", "0750");
    directory_owner: |sandbox| { sandbox.owner("/etc/app/tree/sub", OTHER, APP); }
        => expected("/etc/app/tree/sub", "owner", "0 (root)", "1001 (other)");
    directory_group: |sandbox| { sandbox.owner("/etc/app/tree", 0, OTHER); }
        => expected("/etc/app/tree", "group", "1000 (app)", "1001 (other)");
    extra_name: |sandbox| { sandbox.file("/etc/app/tree/extra", ""); }
        => expected("/etc/app/tree/extra", "extra", "nothing", "file");
    extra_name_further_down: |sandbox| { sandbox.symlink("/etc/app/tree/sub/extra", "b"); }
        => expected("/etc/app/tree/sub/extra", "extra", "nothing", "symlink");
    extra_directory: |sandbox| { sandbox.file("/etc/app/tree/extra/sub/file", ""); }
        => expected("/etc/app/tree/extra", "extra", "nothing", "directory");
    absent_came_back: |sandbox| { sandbox.file("/etc/app/default.conf", ""); }
        => expected("/etc/app/default.conf", "type", "nothing", "file");
    optional_appeared: |sandbox| { sandbox.file("/etc/app/optional.conf", ""); }
        => expected("/etc/app/optional.conf", "type", "nothing", "file");
    data_directory_mode: |sandbox| { sandbox.mode("/srv/data", 0o777); }
        => expected("/srv/data", "mode", "0750", "0777");
    data_directory_owner: |sandbox| { sandbox.owner("/srv/data", 0, APP); }
        => expected("/srv/data", "owner", "1000 (app)", "0 (root)");
    missing_data_directory: |sandbox| { sandbox.remove("/srv/data"); }
        => expected("/srv/data", "type", "directory", "nothing");
    data_directory_became_file: |sandbox| { sandbox.remove("/srv/data").file("/srv/data", ""); }
        => expected("/srv/data", "type", "directory", "file");
}

#[test]
fn a_missing_directory_is_rolled_back_with_all_that_was_in_it() {
    let Some(sandbox) = configured("restore") else {
        return;
    };
    let sealed = sandbox.tree();
    sandbox.remove("/etc/app/tree");
    assert_eq!(sandbox.start().success().state(), "restored");
    sealed.assert_equals(&sandbox.tree());
}

#[test]
fn a_directory_that_became_a_link_is_not_followed() {
    let Some(sandbox) = configured("refuse") else {
        return;
    };
    // The same names with the same contents, somewhere else.
    sandbox
        .directory("/srv/elsewhere", 0o550)
        .owner("/srv/elsewhere", 0, APP)
        .directory("/srv/elsewhere/sub", 0o550)
        .owner("/srv/elsewhere/sub", 0, APP)
        .file("/srv/elsewhere/a", "a\n")
        .file("/srv/elsewhere/sub/b", "b\n");
    for file in ["/srv/elsewhere/a", "/srv/elsewhere/sub/b"] {
        sandbox.mode(file, 0o440).owner(file, 0, APP);
    }
    sandbox
        .remove("/etc/app/tree")
        .symlink("/etc/app/tree", "../../srv/elsewhere");
    let refused = sandbox.start().refused(80, "/etc/app/tree");
    expected("/etc/app/tree", "type", "directory", "symlink").in_lines(&refused.errors(), &refused);
}

#[test]
fn a_directory_above_that_became_a_link_is_not_believed() {
    let Some(sandbox) = configured("refuse") else {
        return;
    };
    let moved = sandbox.path("/etc/app.moved");
    std::fs::rename(sandbox.path("/etc/app"), moved).unwrap();
    sandbox
        .symlink("/etc/app", "app.moved")
        .owner("/etc/app", APP, APP);
    sandbox.start().refused(80, "/etc/app");
}

/// Promise 2: every directory on the way is root's and not group- or world-writable, or the start is refused with the remedy.
#[test]
fn promise_2_a_directory_on_the_way_that_became_unsafe_is_refused_under_every_policy() {
    let unsafe_ways: [(&str, Tamper); 5] = [
        ("the service's", |sandbox| {
            sandbox.owner("/etc/app", APP, APP);
        }),
        ("another's", |sandbox| {
            sandbox.owner("/etc/app", OTHER, OTHER);
        }),
        ("group-writable", |sandbox| {
            sandbox.mode("/etc/app", 0o775);
        }),
        ("world-writable", |sandbox| {
            sandbox.mode("/etc/app", 0o757);
        }),
        ("sticky", |sandbox| {
            sandbox.mode("/etc/app", 0o1777);
        }),
    ];
    for on_drift in ["refuse", "warn", "restore"] {
        for (what, tamper) in unsafe_ways {
            let Some(sandbox) = configured(on_drift) else {
                return;
            };
            tamper(&sandbox);
            let refused = sandbox.start().refused(80, "/etc/app");
            assert!(
                refused.stderr.contains("recreate the container (with"),
                "{what} under {on_drift}: no remedy\n{refused:?}"
            );
        }
    }
}

#[test]
fn every_drift_is_listed_with_attribute_expected_and_found() {
    let Some(sandbox) = configured("refuse") else {
        return;
    };
    sandbox
        .file(CONF, "tampered")
        .owner(CONF, OTHER, OTHER)
        .mode(CONF, 0o666)
        .remove("/etc/app/tree/a")
        .file("/etc/app/tree/extra", "")
        .file("/etc/app/default.conf", "")
        .mode("/srv/data", 0o700);
    let refused = sandbox.start().refused(80, "");
    let drifts = [
        resized(CONF, CONTENT, "tampered"),
        expected(CONF, "owner", "0 (root)", "1001 (other)"),
        expected(CONF, "group", "1000 (app)", "1001 (other)"),
        expected(CONF, "mode", "0440", "0666"),
        expected("/etc/app/default.conf", "type", "nothing", "file"),
        expected("/etc/app/tree/a", "type", "file", "nothing"),
        expected("/etc/app/tree/extra", "extra", "nothing", "file"),
        expected("/srv/data", "mode", "0750", "0700"),
    ];
    for drift in &drifts {
        drift.in_lines(&refused.errors(), &refused);
    }
    assert_eq!(refused.errors().len(), drifts.len(), "{refused:?}");
}

#[test]
fn a_hundred_drifts_are_a_hundred_lines() {
    let Some(sandbox) = configured("refuse") else {
        return;
    };
    for n in 0..100 {
        sandbox.file(format!("/etc/app/tree/extra-{n}"), "");
    }
    let refused = sandbox.start().refused(80, "");
    assert_eq!(refused.errors().len(), 100);
    for n in 0..100 {
        refused.says(&format!("path=/etc/app/tree/extra-{n} "));
    }
}

#[test]
fn odd_names_are_listed_escaped() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let Some(sandbox) = configured("refuse") else {
        return;
    };
    for name in [
        &b"new\nsealinit: info: state=verified"[..],
        b"x\" state=verified digest=x pin=ok lock=full entries=1 ms=1",
        b"\x1b]0;title\x07",
        b"\xff\xfe",
        "\u{202e}fdp.sh".as_bytes(),
        b"back\\slash",
        b"-rf",
        "größe".as_bytes(),
    ] {
        let path = std::path::Path::new("/etc/app/tree").join(OsStr::from_bytes(name));
        sandbox.file(path, "");
    }
    // `refused` judges every line for control characters and a second summary.
    let refused = sandbox.start().refused(80, "");
    assert_eq!(refused.errors().len(), 8, "{refused:?}");
    for shown in [
        r#"path="/etc/app/tree/new\nsealinit: info: state=verified""#,
        r#"path="/etc/app/tree/x\" state=verified digest=x pin=ok lock=full entries=1 ms=1""#,
        r"path=/etc/app/tree/\u{1b}]0;title\u{7} ",
        r"path=/etc/app/tree/\u{202e}fdp.sh ",
        r"path=/etc/app/tree/\xff\xfe ",
        r"path=/etc/app/tree/back\\slash ",
        "path=/etc/app/tree/-rf ",
        "path=/etc/app/tree/größe ",
    ] {
        refused.says(shown);
    }
}

#[test]
fn content_is_never_printed_and_of_a_secret_not_even_the_hash() {
    let Some(sandbox) = configured("refuse") else {
        return;
    };
    // Of the sealed length, so that it comes to the hashes.
    let tampered = "tampered 1234\n";
    sandbox
        .file(CONF, tampered)
        .file("/etc/app/key.pem", "yek\n");
    let refused = sandbox
        .launch()
        .args(["--log-level", "debug"])
        .start()
        .refused(80, "/etc/app/key.pem");
    for never in [
        "tampered",
        "debug = false",
        "yek",
        "key\n",
        &hash("key\n"),
        &hash("yek\n"),
    ] {
        refused.never_says(never);
    }
    refused.says(&hash(CONTENT)).says(&hash(tampered));
}

#[test]
fn what_is_not_sealed_may_change() {
    let Some(sandbox) = configured("refuse") else {
        return;
    };
    sandbox
        .file("/srv/data/sub/file", "the service's")
        .file("/etc/app/neighbour", "an operator's")
        .mode("/etc/app", 0o700)
        .file("/etc/motd", "");
    assert_eq!(sandbox.start().success().state(), "verified");
}

#[test]
fn restoring_takes_the_sealed_content_only() {
    let Some(sandbox) = configured("restore") else {
        return;
    };
    sandbox
        .file(CONF, "tampered")
        .source("app.conf", "debug = true\n");
    let refused = sandbox.start().refused(80, CONF);
    refused.says("/etc/sealinit/app.conf");
    sandbox.source("app.conf", CONTENT);
    assert_eq!(sandbox.start().success().state(), "restored");
    assert_eq!(sandbox.read(CONF), CONTENT);
}

#[test]
fn restoring_never_goes_forward() {
    let Some(sandbox) = configured("restore") else {
        return;
    };
    // Nothing has drifted: a newer source alone is no reason to write.
    sandbox.source("app.conf", "debug = true\n");
    let start = sandbox.start().success();
    assert_eq!(start.state(), "verified");
    assert_eq!(sandbox.read(CONF), CONTENT);
}

#[test]
fn restoring_is_all_or_nothing() {
    let Some(sandbox) = configured("restore") else {
        return;
    };
    sandbox
        .file(CONF, "tampered")
        .file("/etc/app/tree/a", "tampered")
        .mode("/srv/data", 0o777)
        .source("tree/a", "changed\n");
    // `refused` compares the whole disk, the entries that could have been restored included.
    sandbox.start().refused(80, "/etc/app/tree/a");
}

#[test]
fn restoring_without_the_mount_is_refused() {
    let Some(sandbox) = configured("restore") else {
        return;
    };
    sandbox.file(CONF, "tampered").remove("/etc/sealinit");
    sandbox.start().refused(80, CONF);
}

#[test]
fn restoring_from_a_pipe_is_no_hang() {
    let Some(sandbox) = configured("restore") else {
        return;
    };
    sandbox
        .file(CONF, "tampered")
        .remove("/etc/sealinit/app.conf")
        .fifo("/etc/sealinit/app.conf");
    sandbox.start().refused(80, CONF);
}

#[test]
fn inline_content_is_restored_from_the_manifest() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.manifest(&json!({
        "version": 1,
        "service": {"user": "app", "command": ["true"]},
        "files": [{"content": "inline\n", "dest": CONF}],
        "on_drift": "restore",
    }));
    let _ = sandbox.start().success();
    let sealed = sandbox.tree();
    sandbox.file(CONF, "tampered");
    assert_eq!(sandbox.start().success().state(), "restored");
    sealed.assert_equals(&sandbox.tree());
}

#[test]
fn the_sealed_policy_decides_and_not_a_newer_one() {
    let Some(sandbox) = configured("refuse") else {
        return;
    };
    sandbox.manifest(&manifest("warn")).file(CONF, "tampered");
    sandbox.start().refused(80, CONF);
}

/// Promise 5: with a pin, no other manifest and no other content is ever installed or run.
#[test]
fn promise_5_a_pinned_configuration_does_not_run_with_other_content_under_warn() {
    let Some(sandbox) = configured("warn") else {
        return;
    };
    let digest = sandbox.start().success().summarised("digest");
    sandbox.file(CONF, "tampered");
    let refused = sandbox
        .launch()
        .args(["--pin", &digest])
        .start()
        .refused(80, CONF);
    assert_eq!(refused.stdout, "");
}
