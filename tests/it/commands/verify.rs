//! `verify`: lists what has drifted, from inside and from the host, and writes nothing.

use std::process::Command;

use serde_json::{Value, json};

use super::{configured, from_host, inside, json_of, sealed};
use crate::harness::{APP, CONF, CONTENT, JOURNAL, OTHER, SEAL, Sandbox, hash, sandbox_test};

/// A change to the sealed disk.
type Tamper = fn(&Sandbox);

sandbox_test!(verify_of_an_untouched_disk_is_clean, |sandbox| {
    sealed(&sandbox);
    let digest = sandbox.digest();
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
});

// All differences, sorted, without any content and without the hash of a secret.
sandbox_test!(verify_lists_every_difference_in_order, |sandbox| {
    sealed(&sandbox);
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
    let (digest, conf) = (sandbox.digest(), hash(CONTENT));
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
});

sandbox_test!(verify_reports_that_nothing_is_sealed, |sandbox| {
    configured(&sandbox);
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
});

sandbox_test!(verify_reports_an_interrupted_first_start, |sandbox| {
    configured(&sandbox);
    sandbox.file(
        JOURNAL,
        format!(r#"{{"version":1,"digest":"{}"}}"#, sandbox.digest()),
    );
    let found = inside(&sandbox, &["verify"], 1);
    assert_eq!(
        found.stdout,
        "interrupted: a first start was interrupted, or is running, in /var/lib/sealinit; start the container again\n"
    );
});

sandbox_test!(
    verify_refuses_a_seal_that_a_start_would_refuse,
    |original| {
        let tampers: [(&str, Tamper); 5] = [
            ("its checksum does not match", |sandbox| {
                let seal = sandbox.read(SEAL).replace("echo", "eche");
                sandbox.file(SEAL, seal);
            }),
            ("it is owned by uid 0 with mode 0420", |sandbox| {
                sandbox.mode(SEAL, 0o420);
            }),
            (
                "it is owned by uid 1000, and records that uid 0 sealed",
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
            let sandbox = original.another();
            sealed(&sandbox);
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
);

sandbox_test!(verify_compares_the_digest_with_the_pin, |sandbox| {
    sealed(&sandbox);
    let digest = sandbox.digest();
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
        "drift is reported as well"
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
});

sandbox_test!(verify_from_the_host_says_the_same_as_inside, |sandbox| {
    sealed(&sandbox);
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
});

// "never following a link out of it"
sandbox_test!(
    verify_from_the_host_follows_no_link_out_of_the_root,
    |sandbox| {
        sealed(&sandbox);
        // Absolute links start at the container's root, even from the host.
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
);

sandbox_test!(
    verify_by_the_services_uid_cannot_read_the_seal_of_root,
    |sandbox| {
        sealed(&sandbox);
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
);

// "Works as the service's own uid as far as permissions allow and says what it could not look at."
sandbox_test!(
    verify_without_root_continues_after_unreadable_entries,
    |sandbox| {
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

        // The host's root can read everything, and accepts entries that belong to the installer.
        sandbox
            .file("/srv/z", CONTENT)
            .owner("/srv/a/closed", APP, APP)
            .mode("/srv/a/closed", 0o755);
        assert_eq!(from_host(&["verify"], &sandbox).status.code(), Some(0));
    }
);

sandbox_test!(
    verify_needs_neither_manifest_nor_sources_nor_accounts,
    |sandbox| {
        sealed(&sandbox);
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
);

sandbox_test!(
    verify_does_not_wait_for_a_start_that_holds_the_state,
    |sandbox| {
        sealed(&sandbox);
        let verify = sandbox
            .launch()
            .subcommand(["verify"])
            .prelude("exec 9< /var/lib/sealinit; flock 9")
            .start();
        assert!(verify.code(0).stdout.starts_with("clean: "));
    }
);
