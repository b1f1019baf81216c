//! `verify` and `status`: what is sealed and what has drifted, told exactly, from inside and from the host, writing nothing.

use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::sandbox::{APP, CONF, CONTENT, JOURNAL, OTHER, Outcome, SEAL, Sandbox, hash};

/// A configuration with an entry of every kind; started once, unless told otherwise.
fn configured() -> Option<Sandbox> {
    let sandbox = Sandbox::new()?;
    sandbox
        .manifest(&json!({
            "version": 1,
            "service": {"user": "app", "command": ["echo", "ran"], "supplementary_groups": ["certs"]},
            "files": [
                {"source": "app.conf", "dest": CONF},
                {"source": "key.pem", "dest": "/etc/app/key.pem", "secret": true, "mode": "0400"},
                {"source": "optional.conf", "dest": "/etc/app/optional.conf", "optional": true},
                {"content": "seed", "dest": "/srv/data/seed", "owner": "app", "mutable": true},
            ],
            "directories": [{"path": "/etc/app/tree", "source": "tree", "exact": true}, {"path": "/srv/data"}],
            "absent": ["/etc/app/default.conf"],
        }))
        .source("app.conf", CONTENT)
        .source("key.pem", "the key\n")
        .source("tree/a", "a\n");
    Some(sandbox)
}

/// What a case does to the sealed disk.
type Tamper = fn(&Sandbox);

fn sealed() -> Option<Sandbox> {
    let sandbox = configured()?;
    let _ = sandbox.start().success();
    Some(sandbox)
}

/// The digest that the deploy host computes.
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

/// Runs a reporting command inside, where it must write nothing, neither on the disk nor to the log.
#[track_caller]
fn inside(sandbox: &Sandbox, arguments: &[&str], code: i32) -> Outcome {
    let start = sandbox.launch().subcommand(arguments).start();
    start.untouched();
    let outcome = start.code(code);
    assert_eq!(outcome.stderr, "", "{outcome:?}");
    outcome
}

#[track_caller]
fn json_of(sandbox: &Sandbox, arguments: &[&str], code: i32) -> Value {
    let outcome = inside(sandbox, &[arguments, &["--format", "json"]].concat(), code);
    assert_eq!(outcome.stdout.lines().count(), 1, "{outcome:?}");
    serde_json::from_str(&outcome.stdout).unwrap()
}

fn from_host(arguments: &[&str], sandbox: &Sandbox) -> Output {
    let root = sandbox.path("/");
    Command::new(env!("CARGO_BIN_EXE_sealinit"))
        .args(arguments)
        .arg("--root")
        .arg(root)
        .env_clear()
        .output()
        .unwrap()
}

#[test]
fn verify_of_an_untouched_disk_is_clean() {
    let Some(sandbox) = sealed() else { return };
    let digest = digest(&sandbox);
    assert_eq!(
        inside(&sandbox, &["verify"], 0).stdout,
        format!(
            "clean: 8 entries as sealed\ndigest={digest} pin=none lock=full entries=8 mutable=1\n"
        )
    );
    assert_eq!(
        inside(&sandbox, &["verify", "--format", "json"], 0).stdout,
        format!(
            r#"{{"result":"clean","digest":"{digest}","pin":"none","lock":"full","entries":8,"mutable":1,"differences":[],"unreadable":[],"error":null}}"#
        ) + "\n"
    );
}

/// All of it at once, sorted, without any content and without a hash of a secret.
#[test]
fn verify_lists_every_difference_in_order() {
    let Some(sandbox) = sealed() else { return };
    sandbox
        .file(CONF, "tampered\n")
        .mode(CONF, 0o4444)
        .file("/etc/app/key.pem", "a lie\n")
        .file("/etc/app/default.conf", "")
        .file("/etc/app/tree/0-first\u{1b}[31m\n", "")
        .file("/etc/app/tree/z-last", "")
        .remove("/etc/app/tree/a")
        .owner("/srv/data", OTHER, APP)
        .file("/srv/data/seed", "changed by the service");
    let found = inside(&sandbox, &["verify"], 1);
    let (digest, conf) = (digest(&sandbox), hash(CONTENT));
    assert_eq!(
        found.stdout,
        format!(
            "drift: 8 differences in 8 entries\n\
             digest={digest} pin=none lock=full entries=8 mutable=1\n\
             changed /etc/app/app.conf: mode: expected 0440, found 4444\n\
             changed /etc/app/app.conf: content: expected sha256:{conf} (14 bytes), found 9 bytes\n\
             extra /etc/app/default.conf: type: expected nothing, found file\n\
             changed /etc/app/key.pem: content: expected the sealed secret, found another\n\
             extra /etc/app/tree/0-first\\u{{1b}}[31m\\n: extra: expected nothing, found file\n\
             missing /etc/app/tree/a: type: expected file, found nothing\n\
             extra /etc/app/tree/z-last: extra: expected nothing, found file\n\
             changed /srv/data: owner: expected 1000 (app), found 1001 (other)\n"
        )
    );
    let machine = json_of(&sandbox, &["verify"], 1);
    assert_eq!(machine["result"], "drift");
    assert_eq!(
        machine["differences"][1],
        json!({
            "path": CONF,
            "change": "changed",
            "attribute": "content",
            "expected": format!("sha256:{conf} (14 bytes)"),
            "found": "9 bytes"
        })
    );
    let differences = machine["differences"].as_array().unwrap();
    let paths: Vec<&str> = differences
        .iter()
        .map(|found| found["path"].as_str().unwrap())
        .collect();
    assert_eq!(paths.len(), 8);
    assert!(paths.is_sorted(), "{paths:?}");
    for secret in [
        hash("the key\n"),
        hash("a lie\n"),
        "a lie".into(),
        "tampered".into(),
    ] {
        assert!(
            !found.stdout.contains(&secret) && !machine.to_string().contains(&secret),
            "{secret}"
        );
    }
}

#[test]
fn verify_of_what_was_never_sealed_finds_nothing_sealed() {
    let Some(sandbox) = configured() else { return };
    let error = "nothing is sealed in /var/lib/sealinit; the first sealinit run seals";
    assert_eq!(
        inside(&sandbox, &["verify"], 1).stdout,
        format!("unsealed: {error}\n")
    );
    assert_eq!(
        json_of(&sandbox, &["verify"], 1),
        json!({
            "result": "unsealed", "digest": null, "pin": "none", "lock": null, "entries": 0, "mutable": 0,
            "differences": [], "unreadable": [], "error": error,
        })
    );
}

#[test]
fn verify_of_an_interrupted_first_start_says_so() {
    let Some(sandbox) = configured() else { return };
    sandbox.file(
        JOURNAL,
        format!(r#"{{"version":1,"digest":"{}"}}"#, digest(&sandbox)),
    );
    let found = inside(&sandbox, &["verify"], 1);
    assert_eq!(
        found.stdout,
        "interrupted: a first start was interrupted, or is running, in /var/lib/sealinit; start the container again\n"
    );
}

#[test]
fn verify_believes_no_seal_that_a_start_would_refuse() {
    let tampers: [(&str, Tamper); 5] = [
        ("its checksum is not the recorded one", |sandbox| {
            let seal = sandbox.read(SEAL).replace("echo", "eche");
            sandbox.file(SEAL, seal);
        }),
        ("it is owned by uid 0 with mode 0420", |sandbox| {
            sandbox.mode(SEAL, 0o420);
        }),
        (
            "it is owned by uid 1000, and records uid 0 as the one that sealed",
            |sandbox| {
                sandbox.owner(SEAL, APP, APP);
            },
        ),
        (
            "(uid 1000, mode 0700) lets other users replace files in it",
            |sandbox| {
                sandbox.owner("/var/lib/sealinit", APP, APP);
            },
        ),
        ("it is a FIFO", |sandbox| {
            sandbox.remove(SEAL).fifo(SEAL);
        }),
    ];
    for (why, tamper) in tampers {
        let Some(sandbox) = sealed() else { return };
        tamper(&sandbox);
        let found = inside(&sandbox, &["verify"], 1).stdout;
        assert!(
            found.starts_with("invalid: the seal /var/lib/sealinit/seal is invalid: "),
            "{found}"
        );
        assert!(found.contains(why), "{why}: {found}");
        assert_eq!(json_of(&sandbox, &["verify"], 1)["result"], "invalid");
        let _ = sandbox
            .start()
            .refused(81, why.split(", and records").next().unwrap());
    }
}

#[test]
fn verify_compares_with_the_pin_too() {
    let Some(sandbox) = sealed() else { return };
    let digest = digest(&sandbox);
    assert_eq!(
        json_of(&sandbox, &["verify", "--pin", &digest], 0)["pin"],
        "ok"
    );

    let other = format!("sha256:{}", "0".repeat(64));
    let error = format!(
        "the configuration is not the pinned one: expected {other}, found {digest}; correct --pin or the configuration"
    );
    assert_eq!(
        inside(&sandbox, &["verify", "--pin", &other], 1).stdout,
        format!("mismatch: {error}\ndigest={digest} pin=mismatch lock=full entries=8 mutable=1\n")
    );
    sandbox.mode(CONF, 0o444);
    let found = json_of(&sandbox, &["verify", "--pin", &other], 1);
    assert_eq!(
        (&found["result"], &found["error"]),
        (&json!("mismatch"), &json!(error))
    );
    assert_eq!(
        found["differences"][0]["attribute"], "mode",
        "what drifted is told all the same"
    );

    let by_variable = sandbox
        .launch()
        .subcommand(["verify"])
        .env("SEALINIT_PIN", &other)
        .start()
        .code(1);
    assert!(
        by_variable.stdout.starts_with("mismatch: "),
        "{by_variable:?}"
    );
}

#[test]
fn verify_from_the_host_says_the_same_as_inside() {
    let Some(sandbox) = sealed() else { return };
    for (code, tamper) in [(0, false), (1, true)] {
        if tamper {
            sandbox.file(CONF, "tampered\n").file("/etc/app/tree/z", "");
        }
        let output = from_host(&["verify"], &sandbox);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert_eq!(
            String::from_utf8(output.stdout).unwrap(),
            inside(&sandbox, &["verify"], code).stdout
        );
    }
}

/// "never following a link out of it"
#[test]
fn verify_from_the_host_follows_no_link_out_of_the_root() {
    let Some(sandbox) = sealed() else { return };
    // Absolute links mean the container's root, whoever looks.
    let other = sandbox.another();
    other.one_file(&["true"]);
    let _ = other.start().success();
    let outside = other.path("/var/lib/sealinit");
    sandbox
        .remove("/var/lib/sealinit")
        .symlink("/var/lib/sealinit", outside.to_str().unwrap());
    let output = from_host(&["verify"], &sandbox);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .starts_with("unsealed: ")
    );

    sandbox.remove("/var/lib/sealinit");
    let _ = sandbox.start().success();
    // The same attributes and names outside.
    let copy = other.directory("/copy", 0o755).path("/copy");
    let copied = Command::new("cp")
        .arg("-a")
        .arg(sandbox.path("/etc/app"))
        .arg(&copy)
        .status();
    assert!(copied.unwrap().success());
    sandbox
        .remove("/etc/app")
        .symlink("/etc/app", copy.join("app").to_str().unwrap());
    let output = from_host(&["verify", "--format", "json"], &sandbox);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    let missing = found["differences"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|found| found["change"] == "missing")
        .count();
    assert_eq!(missing, 4, "{found}");
}

#[test]
fn verify_by_the_services_uid_cannot_look_at_roots_seal() {
    let Some(sandbox) = sealed() else { return };
    let verify = |format: &str| {
        let start = sandbox
            .launch()
            .subcommand(["verify", "--format", format])
            .user(APP, APP)
            .start();
        start.untouched();
        start.code(74).stdout
    };
    let error = "cannot read the seal in /var/lib/sealinit: cannot look at /var/lib/sealinit/seal: \
                 Permission denied (os error 13); check owner and mode, or the capabilities that were dropped; \
                 run as the user that sealed (docker exec --user)";
    let found: Value = serde_json::from_str(&verify("json")).unwrap();
    assert_eq!(
        (&found["result"], &found["error"]),
        (&json!("unknown"), &json!(error))
    );
    assert_eq!(verify("text"), format!("unknown: {error}\n"));
}

/// "Works as the service's own uid as far as permissions allow and says what it could not look at."
#[test]
fn verify_without_root_goes_on_where_it_cannot_look() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox
        .manifest(&json!({
            "version": 1,
            "service": {"command": ["true"]},
            "files": [
                {"source": "app.conf", "dest": "/srv/a/closed/conf"},
                {"source": "app.conf", "dest": "/srv/a/open/conf"},
                {"source": "app.conf", "dest": "/srv/z"},
            ],
        }))
        .source("app.conf", CONTENT)
        .owner("/etc/sealinit", APP, APP);
    for directory in [
        "/srv",
        "/srv/a",
        "/srv/a/closed",
        "/srv/a/open",
        "/var/lib/sealinit",
    ] {
        sandbox
            .directory(directory, 0o755)
            .owner(directory, APP, APP);
    }
    let start = sandbox.launch().user(APP, APP).start().success();
    assert_eq!(start.summarised("lock"), "none");
    let verify = |code| {
        let outcome = sandbox
            .launch()
            .subcommand(["verify"])
            .user(APP, APP)
            .start()
            .code(code);
        outcome
            .stdout
            .lines()
            .filter(|line| !line.starts_with("digest="))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(verify(0), ["clean: 3 entries as sealed"]);

    sandbox
        .owner("/srv/a/closed", 0, 0)
        .mode("/srv/a/closed", 0o700);
    let unreadable = "unreadable cannot verify /srv/a/closed/conf: cannot open /srv/a/closed/conf: Permission denied (os error 13); \
                  check owner and mode, or the capabilities that were dropped";
    assert_eq!(
        verify(74),
        [
            "incomplete: 1 path could not be read; no difference in the rest of 3 entries",
            unreadable
        ]
    );

    sandbox.file("/srv/z", "tampered\n");
    let found = verify(1);
    assert_eq!(found[0], "drift: 1 difference in 3 entries");
    assert!(
        found[1].starts_with("changed /srv/z: content: "),
        "{found:?}"
    );
    assert_eq!(found[2..], [unreadable]);

    // The host's root sees everything, and what belonged to the installer is no one else's to it either.
    sandbox
        .file("/srv/z", CONTENT)
        .owner("/srv/a/closed", APP, APP)
        .mode("/srv/a/closed", 0o755);
    assert_eq!(from_host(&["verify"], &sandbox).status.code(), Some(0));
}

#[test]
fn verify_needs_neither_manifest_nor_sources_nor_accounts() {
    let Some(sandbox) = sealed() else { return };
    sandbox
        .remove("/etc/sealinit")
        .remove("/etc/passwd")
        .remove("/etc/group");
    inside(&sandbox, &["verify"], 0);
    let bare = sandbox
        .launch()
        .subcommand(["verify"])
        .without_proc()
        .start()
        .code(0);
    assert!(bare.stdout.starts_with("clean: "), "{bare:?}");
}

#[test]
fn verify_does_not_wait_for_a_start_that_holds_the_state() {
    let Some(sandbox) = sealed() else { return };
    let verify = sandbox
        .launch()
        .subcommand(["verify"])
        .prelude("exec 9< /var/lib/sealinit; flock 9")
        .start();
    assert!(verify.code(0).stdout.starts_with("clean: "));
}

#[test]
fn a_root_that_is_none_cannot_be_looked_at() {
    for command in ["verify", "status"] {
        let output = Command::new(env!("CARGO_BIN_EXE_sealinit"))
            .args([command, "--root", "/no/such/root"])
            .env_clear()
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(74), "{output:?}");
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(
            said.contains("cannot read the root directory /no/such/root: "),
            "{said}"
        );
    }
}

#[test]
fn a_report_that_cannot_be_written_is_an_error() {
    let Some(sandbox) = sealed() else { return };
    for command in ["verify", "status"] {
        let start = sandbox
            .launch()
            .bind_host("/dev/full", "/dev/null")
            .prelude("exec > /dev/null");
        let _ = start
            .subcommand([command])
            .start()
            .code(74)
            .says("cannot write to standard output");
    }
}

#[test]
fn status_tells_what_is_sealed() {
    let Some(sandbox) = sealed() else { return };
    let digest = digest(&sandbox);
    let found = inside(&sandbox, &["status"], 0).stdout;
    let (first, rest) = found.split_once('\n').unwrap();
    let at = first
        .strip_prefix("sealed ")
        .and_then(|rest| rest.strip_suffix(concat!(" by sealinit ", env!("CARGO_PKG_VERSION"))));
    let at = at.unwrap_or_else(|| panic!("{first}"));
    assert!(
        at.len() == 20 && at.starts_with("20") && at.ends_with('Z'),
        "{at}"
    );
    assert_eq!(
        rest,
        format!(
            "digest={digest} lock=full entries=8\n\
             service uid=1000 (app) gid=1000 (app) groups=1000 (app),2000 (certs) command=echo ran\n\
             file 0440 0 (root):1000 (app) /etc/app/app.conf\n\
             absent /etc/app/default.conf\n\
             file 0400 0 (root):1000 (app) /etc/app/key.pem\n\
             absent /etc/app/optional.conf\n\
             directory 0550 0 (root):1000 (app) /etc/app/tree\n\
             file 0440 0 (root):1000 (app) /etc/app/tree/a\n\
             directory 0750 1000 (app):1000 (app) /srv/data\n\
             mutable 0440 1000 (app):1000 (app) /srv/data/seed\n"
        )
    );
    let machine = json_of(&sandbox, &["status"], 0);
    assert_eq!(machine["sealed_at"], at);
    assert_eq!(
        machine,
        json!({
            "state": "sealed",
            "digest": digest,
            "sealed_at": at,
            "sealed_by": env!("CARGO_PKG_VERSION"),
            "lock": "full",
            "service": {"uid": 1000, "user": "app", "gid": 1000, "group": "app", "groups": [1000, 2000], "command": ["echo", "ran"]},
            "entries": [
                {"path": CONF, "kind": "file", "owner": 0, "owner_name": "root", "group": 1000, "group_name": "app", "mode": "0440"},
                {"path": "/etc/app/default.conf", "kind": "absent"},
                {"path": "/etc/app/key.pem", "kind": "file", "owner": 0, "owner_name": "root", "group": 1000, "group_name": "app", "mode": "0400"},
                {"path": "/etc/app/optional.conf", "kind": "absent"},
                {"path": "/etc/app/tree", "kind": "directory", "owner": 0, "owner_name": "root", "group": 1000, "group_name": "app", "mode": "0550"},
                {"path": "/etc/app/tree/a", "kind": "file", "owner": 0, "owner_name": "root", "group": 1000, "group_name": "app", "mode": "0440"},
                {"path": "/srv/data", "kind": "directory", "owner": 1000, "owner_name": "app", "group": 1000, "group_name": "app", "mode": "0750"},
                {"path": "/srv/data/seed", "kind": "mutable", "owner": 1000, "owner_name": "app", "group": 1000, "group_name": "app", "mode": "0440"},
            ],
            "error": null,
        })
    );
    let from_host = from_host(&["status"], &sandbox);
    assert_eq!(String::from_utf8(from_host.stdout).unwrap(), found);
}

#[test]
fn status_says_plainly_when_nothing_is_sealed() {
    let Some(sandbox) = configured() else { return };
    assert_eq!(
        inside(&sandbox, &["status"], 0).stdout,
        "unsealed: nothing is sealed here; the first sealinit run seals\n"
    );
    assert_eq!(json_of(&sandbox, &["status"], 0)["state"], "unsealed");
    let digest = digest(&sandbox);
    sandbox.file(JOURNAL, format!(r#"{{"version":1,"digest":"{digest}"}}"#));
    assert_eq!(
        inside(&sandbox, &["status"], 0).stdout,
        format!("interrupted: a first start was interrupted, or is running (digest {digest})\n")
    );
    sandbox.file(JOURNAL, "torn");
    assert_eq!(json_of(&sandbox, &["status"], 0)["digest"], Value::Null);
}

#[test]
fn status_of_a_damaged_seal_is_an_error() {
    let Some(sandbox) = sealed() else { return };
    sandbox.file(SEAL, "torn");
    let found = inside(&sandbox, &["status"], 74).stdout;
    assert!(
        found.starts_with("invalid: the seal /var/lib/sealinit/seal is invalid: "),
        "{found}"
    );
    assert_eq!(json_of(&sandbox, &["status"], 74)["state"], "invalid");
}
