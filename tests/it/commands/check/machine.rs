//! The findings of `check` on permissions, programs, sources and mounts; it agrees with `run`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Tamper, check, found, from_host, messages};
use crate::harness::{APP, CONF, CONTENT, Sandbox, all_text, one_file, sandbox_test};

// "config the service's uid could not read (each path component)"
sandbox_test!(
    each_place_that_the_service_cannot_read_is_a_warning,
    |sandbox| {
        sandbox
            .manifest(&json!({
                "version": 1,
                "service": {"user": "app", "command": ["true"], "supplementary_groups": ["certs"]},
                "files": [
                    {"content": "", "dest": "/srv/closed/sub/a"},
                    {"content": "", "dest": "/srv/closed/b"},
                    {"content": "", "dest": "/srv/planned/sub/c"},
                    {"content": "", "dest": "/srv/opened/d"},
                    {"content": "", "dest": "/srv/root", "group": "root"},
                    {"content": "", "dest": "/srv/certs", "group": "certs"},
                    {"content": "", "dest": "/srv/all", "group": "root", "mode": "0444"},
                    {"content": "", "dest": "/new/e"},
                ],
                "directories": [
                    {"path": "/srv/planned", "owner": "root", "group": "root", "mode": "0700"},
                    {"path": "/srv/opened", "owner": "root", "mode": "0750"},
                ],
            }))
            .directory("/srv/closed", 0o700)
            .directory("/srv/closed/sub", 0o755)
            .directory("/srv/opened", 0o700);
        let tail = "if the service must read it, give it to the service's group, with the group's permission";
        let expected = [
            format!(
                "the service could not read /srv/closed/b and 1 more: /srv/closed denies it (mode 0700, owner 0:0); {tail}"
            ),
            format!(
                "the service could not read /srv/planned/sub/c: /srv/planned denies it (mode 0700, owner 0:0); {tail}"
            ),
            format!(
                "the service could not read /srv/root: /srv/root denies it (mode 0440, owner 0:0); {tail}"
            ),
        ];
        let machine = found(sandbox.launch(), &[], 0);
        assert_eq!(messages(&machine["warnings"]), expected);
        // The kernel agrees.
        let read = "for f in /srv/closed/sub/a /srv/closed/b /srv/planned/sub/c /srv/root /srv/opened/d /srv/certs /srv/all /new/e; \
                do cat $f 2> /dev/null || echo $f; done";
        let start = sandbox
            .launch()
            .args(["--", "sh", "-c", read])
            .start()
            .success();
        assert_eq!(
            start.stdout,
            "/srv/closed/sub/a\n/srv/closed/b\n/srv/planned/sub/c\n/srv/root\n"
        );
    }
);

// "command missing or not executable by the service's uid", below another root by owner, group and
// mode alone.
sandbox_test!(
    the_program_is_searched_with_the_services_permissions,
    |original| {
        let script = "#!/bin/sh\n";
        let cases: [(&str, Tamper, &str); 8] = [
            (
                "/opt/ok",
                |sandbox| {
                    sandbox
                        .file("/opt/ok", "#!/bin/sh\n")
                        .mode("/opt/ok", 0o755);
                },
                "",
            ),
            (
                "/opt/gone",
                |_| {},
                "cannot find the service's program /opt/gone in the image; ",
            ),
            (
                "/opt/plain",
                |sandbox| {
                    sandbox.file("/opt/plain", "#!/bin/sh\n");
                },
                "Permission denied; give uid 1000 execute permission",
            ),
            (
                "/opt/others",
                |sandbox| {
                    sandbox
                        .file("/opt/others", "#!/bin/sh\n")
                        .mode("/opt/others", 0o754);
                },
                "Permission denied; give uid 1000",
            ),
            (
                "/opt/closed/x",
                |sandbox| {
                    sandbox
                        .file("/opt/closed/x", "#!/bin/sh\n")
                        .mode("/opt/closed/x", 0o755)
                        .mode("/opt/closed", 0o700);
                },
                "Permission denied; give uid 1000",
            ),
            ("/opt", |_| {}, "it is a directory; name a program in it"),
            (
                "/opt/script",
                |sandbox| {
                    sandbox
                        .file("/opt/script", "#!/no/such/sh\n")
                        .mode("/opt/script", 0o755);
                },
                "its interpreter /no/such/sh does not exist",
            ),
            (
                "/opt/text",
                |sandbox| {
                    sandbox.file("/opt/text", "echo").mode("/opt/text", 0o755);
                },
                "neither a program of this architecture nor a script",
            ),
        ];
        for (program, place, why) in cases {
            let sandbox = original.another();
            // The host's programs are only mounted for a start: below the bare root there is this
            // shell.
            sandbox
                .directory("/opt", 0o755)
                .file("/usr/bin/sh", "\x7fELF")
                .mode("/usr/bin/sh", 0o755);
            place(&sandbox);
            sandbox.one_file(&[program, script]);
            let code = i32::from(!why.is_empty());
            let (inside, outside) = (
                check(sandbox.launch(), &[], code).stdout,
                all_text(&from_host(&sandbox, &[])),
            );
            assert_eq!(outside, inside, "{program}");
            assert!(inside.contains(why), "{program}: {inside}");
        }
    }
);

// A program for another C library: the kernel's error would only name the program, which exists.
sandbox_test!(
    a_missing_dynamic_linker_is_reported_before_anything_is_installed,
    |sandbox| {
        let sound = std::fs::read("/bin/true").unwrap();
        let linker = b"/ld-";
        let mut foreign = sound.clone();
        for at in 0..foreign.len() - linker.len() {
            if foreign[at..].starts_with(linker) {
                foreign[at + 1..at + 3].copy_from_slice(b"no");
            }
        }
        assert_ne!(foreign, sound, "/bin/true is linked dynamically");
        sandbox
            .one_file(&["/opt/true"])
            .file("/opt/true", foreign)
            .mode("/opt/true", 0o755);
        let (inside, outside) = (
            check(sandbox.launch(), &[], 1).stdout,
            all_text(&from_host(&sandbox, &[])),
        );
        assert_eq!(outside, inside);
        let reported = inside
            .lines()
            .nth(2)
            .unwrap()
            .strip_prefix("error ")
            .unwrap();
        let interpreter = reported
            .strip_prefix("cannot execute the service's program /opt/true: its interpreter ")
            .unwrap();
        let path = interpreter
            .strip_suffix(" does not exist; install it in the image")
            .unwrap();
        assert!(
            path.starts_with("/lib") && path.contains("/no-"),
            "{reported}"
        );
        assert_eq!(sandbox.start().refused(126, reported).errors().len(), 1);
        // The manifest may bring it.
        let mut manifest = one_file(&["/opt/true"]);
        manifest["files"] = json!([{"content": "", "dest": path, "mode": "0555"}]);
        sandbox.manifest(&manifest);
        for linked in ["/lib", "/lib64"]
            .into_iter()
            .filter(|path| sandbox.exists(path))
        {
            sandbox.remove(linked).directory(linked, 0o755);
        }
        assert!(
            all_text(&from_host(&sandbox, &[])).starts_with("ok: "),
            "{}",
            all_text(&from_host(&sandbox, &[]))
        );

        let sandbox = sandbox.another();
        sandbox
            .one_file(&["/opt/true"])
            .file("/opt/true", sound)
            .mode("/opt/true", 0o755);
        check(sandbox.launch(), &[], 0);
        let _ = sandbox.start().success();
    }
);

sandbox_test!(
    a_program_behind_links_is_found_below_the_root_alone,
    |sandbox| {
        sandbox
            .file("/opt/real", "\x7fELF")
            .mode("/opt/real", 0o755)
            .symlink("/opt/link", "/opt/next")
            .symlink("/opt/next", "real")
            .symlink("/opt/outside", sandbox.path("/opt/real").to_str().unwrap());
        sandbox.one_file(&["/opt/link"]);
        assert!(
            from_host(&sandbox, &[]).status.success(),
            "{}",
            all_text(&from_host(&sandbox, &[]))
        );
        sandbox.one_file(&["/opt/outside"]);
        let output = from_host(&sandbox, &[]);
        assert_eq!(output.status.code(), Some(1));
        assert!(
            all_text(&output).contains("cannot find the service's program /opt/outside"),
            "{}",
            all_text(&output)
        );
    }
);

// An absolute source is a path of the container; the host has another file there, or none.
sandbox_test!(an_absolute_source_is_not_read_on_the_host, |sandbox| {
    sandbox
        .manifest(&json!({
            "version": 1,
            "service": {"user": "app", "command": ["true"]},
            "files": [
                {"source": "/run/secrets/key", "dest": "/etc/app/key", "optional": true},
                // The host has this one, with another content than the image.
                {"source": "/etc/passwd", "dest": "/etc/app/passwd", "sha256": "0".repeat(64)},
                {"source": "app.conf", "dest": CONF},
            ],
            "directories": [{"path": "/etc/app/tree", "source": "/srv/defaults", "exact": true}],
        }))
        .source("app.conf", CONTENT)
        .file("/srv/defaults/a", "a\n")
        .file("/usr/bin/true", "\x7fELF")
        .mode("/usr/bin/true", 0o755);
    let expected: Vec<String> = [
        ("/run/secrets/key", "/etc/app/key"),
        ("/etc/passwd", "/etc/app/passwd"),
        ("/srv/defaults", "/etc/app/tree"),
    ]
    .map(|(source, dest)| {
        format!(
            "warning the source {source} of {dest} was not read: it is a path of the container, where it may be mounted; \
             run check in the container, or put the source beside the manifest"
        )
    })
    .into();
    let outside = from_host(&sandbox, &[]);
    let said = all_text(&outside);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(outside.status.code(), Some(0), "{said}");
    assert_eq!(
        lines[0],
        "warnings: 3 warnings; a first start would succeed"
    );
    assert_eq!(lines[1], "digest=unknown pin=none lock=full entries=4");
    assert_eq!(lines[2..], expected);
    assert_eq!(from_host(&sandbox, &["--strict"]).status.code(), Some(1));
    // In the container they are checked.
    let inside = found(sandbox.launch(), &[], 1);
    assert_eq!(messages(&inside["errors"]).len(), 1, "{inside}");
    assert!(
        messages(&inside["errors"])[0]
            .starts_with("the source /etc/passwd does not have the manifest's sha256"),
        "{inside}"
    );
    // A source beside the manifest is checked from outside as well.
    sandbox.remove("/etc/sealinit/app.conf");
    let said = all_text(&from_host(&sandbox, &[]));
    assert!(said.starts_with("failed: 1 error, 3 warnings; "), "{said}");
});

sandbox_test!(
    missing_capabilities_and_mounts_are_reported_inside,
    |sandbox| {
        sandbox
            .one_file(&["true"])
            .file("/etc/app/other", "")
            .directory("/srv/ro", 0o755);
        let mut manifest = one_file(&["true"]);
        manifest["files"] =
            json!([{"source": "app.conf", "dest": CONF}, {"content": "", "dest": "/srv/ro/x"}]);
        sandbox.manifest(&manifest).file(CONF, "");
        let missing = found(
            sandbox.launch().capabilities(&["setuid", "setpcap"]),
            &[],
            1,
        );
        assert_eq!(missing["errors"][0]["area"], "privileges");
        for capability in ["CHOWN", "SETGID"] {
            assert!(
                messages(&missing["errors"])[0].contains(capability),
                "{missing}"
            );
        }
        let mounted = found(
            sandbox
                .launch()
                .bind_host("/dev/null", CONF)
                .read_only("/srv/ro"),
            &[],
            1,
        );
        let reported = messages(&mounted["errors"]);
        assert_eq!(reported.len(), 2, "{reported:?}");
        assert!(
            reported[0].contains("/etc/app/app.conf is a mount point"),
            "{reported:?}"
        );
        assert!(
            reported[1].contains("cannot write in /srv/ro: Read-only file system"),
            "{reported:?}"
        );
    }
);

// `run` refuses for the reasons that `check` reports, and starts if there are none.
sandbox_test!(check_and_run_agree, |original| {
    let cases: [fn(&Sandbox, &mut Value); 9] = [
        |_, _| {},
        |_, manifest| manifest["service"]["user"] = json!("nobody-such"),
        |_, manifest| manifest["files"][0]["source"] = json!("gone"),
        |_, manifest| manifest["files"][0]["owner"] = json!("app"),
        |sandbox, _| {
            sandbox.file("/etc/app/app.conf/in-the-way", "");
        },
        |sandbox, _| {
            sandbox
                .directory("/etc/app", 0o775)
                .owner("/etc/app", 0, APP);
        },
        |_, manifest| manifest["service"]["command"] = json!(["/etc/passwd"]),
        |_, manifest| manifest["service"]["working_dir"] = json!("/no/such/directory"),
        |_, manifest| manifest["check"] = json!([{"command": ["no-such-check"]}]),
    ];
    for (index, change) in cases.into_iter().enumerate() {
        let sandbox = original.another();
        let mut manifest = one_file(&["true"]);
        sandbox.source("app.conf", CONTENT);
        change(&sandbox, &mut manifest);
        sandbox.manifest(&manifest);
        let machine = found(sandbox.launch(), &[], i32::from(index > 0));
        let reported: BTreeSet<String> = messages(&machine["errors"])
            .into_iter()
            .map(str::to_owned)
            .collect();
        let start = sandbox.start();
        if reported.is_empty() {
            let _ = start.success();
        } else {
            let code = machine["errors"]
                .as_array()
                .unwrap()
                .iter()
                .map(|error| error["code"].as_i64().unwrap())
                .min();
            let refused = start.refused(
                i32::try_from(code.unwrap()).unwrap(),
                reported.first().unwrap(),
            );
            let said: BTreeSet<String> = refused.errors().into_iter().map(str::to_owned).collect();
            assert!(
                said.is_subset(&reported),
                "case {index}: {said:?} {reported:?}"
            );
        }
    }
});

sandbox_test!(the_command_after_the_dashes_is_checked_instead, |sandbox| {
    sandbox.one_file(&["no-such-program"]);
    check(sandbox.launch(), &["--", "true"], 0);
    check(sandbox.launch(), &["--", "no-such-program-either"], 1);
});
