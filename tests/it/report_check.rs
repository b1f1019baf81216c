//! `check`: would a first start succeed here? All that would stop it at once, told exactly, and nothing written.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::sandbox::{
    APP, CONF, CONTENT, Launch, MANIFEST, OTHER, Outcome, Sandbox, hash, one_file,
};

/// What a case does to the image.
type Tamper = fn(&Sandbox);

#[track_caller]
fn check(launch: Launch<'_>, arguments: &[&str], code: i32) -> Outcome {
    let start = launch.subcommand([&["check"], arguments].concat()).start();
    start.untouched();
    let outcome = start.code(code);
    assert_eq!(outcome.stderr, "", "{outcome:?}");
    outcome
}

#[track_caller]
fn found(launch: Launch<'_>, arguments: &[&str], code: i32) -> Value {
    let outcome = check(launch, &[arguments, &["--format", "json"]].concat(), code);
    assert_eq!(outcome.stdout.lines().count(), 1, "{outcome:?}");
    serde_json::from_str(&outcome.stdout).unwrap()
}

fn messages(findings: &Value) -> Vec<&str> {
    findings
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| finding["message"].as_str().unwrap())
        .collect()
}

fn from_host(sandbox: &Sandbox, arguments: &[&str]) -> Output {
    let (root, manifest) = (sandbox.path("/"), sandbox.path(MANIFEST));
    Command::new(env!("CARGO_BIN_EXE_sealinit"))
        .args([&["check"], arguments].concat())
        .arg("--root")
        .arg(root)
        .arg("--manifest")
        .arg(manifest)
        .env_clear()
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8([&*output.stdout, &*output.stderr].concat()).unwrap()
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

#[test]
fn a_first_start_that_would_succeed_is_ok() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.one_file(&["true"]);
    let digest = digest(&sandbox);
    assert_eq!(
        check(sandbox.launch(), &[], 0).stdout,
        format!("ok: a first start would succeed\ndigest={digest} pin=none lock=full entries=1\n")
    );
    assert_eq!(
        check(sandbox.launch(), &["--format", "json", "--pin", &digest], 0).stdout,
        format!(
            r#"{{"result":"ok","digest":"{digest}","pin":"ok","lock":"full","entries":1,"errors":[],"warnings":[]}}"#
        ) + "\n"
    );
    let mut cases = String::new();
    for area in [
        "manifest",
        "sources",
        "pin",
        "accounts",
        "privileges",
        "state",
        "destinations",
        "service",
    ] {
        let skipped = match area {
            "pin" => "    <skipped message=\"there is no pin\"/>\n",
            _ => "",
        };
        writeln!(
            cases,
            "  <testcase classname=\"sealinit.check\" name=\"{area}\">\n{skipped}  </testcase>"
        )
        .unwrap();
    }
    assert_eq!(
        check(sandbox.launch(), &["--format", "junit"], 0).stdout,
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <testsuite name=\"sealinit check\" tests=\"8\" failures=\"0\" errors=\"0\" skipped=\"1\">\n{cases}</testsuite>\n"
        )
    );
    // The host's programs are only mounted for a start.
    sandbox
        .file("/usr/bin/true", "\x7fELF")
        .mode("/usr/bin/true", 0o755);
    assert_eq!(
        text(&from_host(&sandbox, &[])),
        check(sandbox.launch(), &[], 0).stdout
    );
    let _ = sandbox.start().success();
}

/// "Reports all problems of a first start here without writing anything"
#[test]
fn every_problem_is_told_at_once() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox
        .manifest(&json!({
            "version": 1,
            "service": {"user": "app", "command": ["no-such-program"]},
            "files": [
                {"source": "app.conf", "dest": CONF, "sha256": "0".repeat(64)},
                {"source": "key.pem", "dest": "/etc/app/key.pem", "sha256": "0".repeat(64), "secret": true},
                {"source": "gone", "dest": "/etc/app/gone"},
                {"source": "app.conf", "dest": "/srv/open/conf"},
                {"source": "app.conf", "dest": "/srv/directory", "group": "certz"},
                {"source": "app.conf", "dest": "/srv/own", "owner": "app"},
            ],
        }))
        .source("app.conf", CONTENT)
        .source("key.pem", "the key\n")
        .directory("/srv/open", 0o777)
        .directory("/srv/directory", 0o755)
        .directory("/var/lib/sealinit", 0o755)
        .owner("/var/lib/sealinit", OTHER, OTHER);
    let zero = "0".repeat(64);
    let conf = hash(CONTENT);
    let expected = [
        "error /etc/sealinit/manifest.json:28:15: $.files[5]: /srv/own would belong to the service's user, who could change it; name another owner, or for a file that the service may change add \"mutable\": true".to_owned(),
        format!("error the source /etc/sealinit/app.conf does not have the manifest's sha256: expected sha256:{zero}, found sha256:{conf}; correct one of them"),
        "error the source /etc/sealinit/key.pem does not have the manifest's sha256; correct one of them".into(),
        "error cannot read the source /etc/sealinit/gone of /etc/app/gone: No such file or directory (os error 2); mount it, correct the path, or mark the entry \"optional\"".into(),
        "error /etc/sealinit/manifest.json: $.files[4].group: group \"certz\" is not in /etc/group; did you mean \"certs\"? Otherwise create it in the image or write its id as a number".into(),
        "error cannot keep state in /var/lib/sealinit: /var/lib/sealinit (uid 1001, mode 0755) lets other users replace files in it; in the image: chown root /var/lib/sealinit && chmod go-w /var/lib/sealinit, or declare it in \"directories\"".into(),
        "error cannot install /srv/directory: it is a directory, and the manifest declares a file; remove the directory from the image".into(),
        "error cannot install /srv/open/conf: /srv/open (uid 0, mode 0777) lets other users replace files in it; in the image: chown root /srv/open && chmod go-w /srv/open, or declare it in \"directories\"".into(),
        "error cannot find the service's program no-such-program in PATH=/usr/sbin:/usr/bin:/sbin:/bin; install it in the image or correct the command".into(),
    ];
    let outcome = check(sandbox.launch(), &[], 1);
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(
        lines[0],
        "failed: 9 errors, 0 warnings; a first start would be refused"
    );
    assert_eq!(lines[1], "digest=unknown pin=none lock=full entries=6");
    assert_eq!(lines[2..], expected, "{outcome:?}");
    assert!(!outcome.stdout.contains(&hash("the key\n")));

    let machine = found(sandbox.launch(), &[], 1);
    assert_eq!(
        (&machine["result"], &machine["digest"]),
        (&json!("failed"), &Value::Null)
    );
    let coded: Vec<(&str, u64)> = machine["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| {
            (
                error["area"].as_str().unwrap(),
                error["code"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        coded,
        [
            ("manifest", 78),
            ("sources", 66),
            ("sources", 66),
            ("sources", 66),
            ("accounts", 67),
            ("state", 74),
            ("destinations", 73),
            ("destinations", 73),
            ("service", 127)
        ]
    );
    // What a mounted container tells, the unpacked image tells on the host, but for the paths of what is mounted.
    let host = text(&from_host(&sandbox, &[])).replace(
        sandbox.path("/").to_str().unwrap().trim_end_matches('/'),
        "",
    );
    let inside = outcome
        .stdout
        .replace("PATH=/usr/sbin:/usr/bin:/sbin:/bin", "PATH=…");
    let docker = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(host.replace(docker, "PATH=…"), inside);
}

#[test]
fn every_problem_of_an_invalid_manifest_is_told() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.file(
        MANIFEST,
        r#"{"version": 1, "service": {"usr": "app"}, "files": [{"dest": "x", "content": "<&'>"}]}"#,
    );
    let machine = found(sandbox.launch(), &[], 1);
    assert_eq!(
        messages(&machine["errors"]),
        [
            "/etc/sealinit/manifest.json:1:35: $.service.usr: unknown key \"usr\"; did you mean \"user\"?",
            "/etc/sealinit/manifest.json:1:62: $.files[0].dest: \"x\" is not absolute; begin it with /",
        ]
    );
    assert_eq!(machine["lock"], Value::Null);
    sandbox.remove(MANIFEST);
    let gone = found(sandbox.launch(), &[], 1);
    assert!(
        messages(&gone["errors"])[0]
            .starts_with("cannot read the manifest /etc/sealinit/manifest.json: ")
    );
}

#[test]
fn junit_has_a_failure_for_each_error_and_quotes_what_xml_would_read() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    let mut manifest = one_file(&["/opt/<no>&'such\"program\u{7}"]);
    manifest["files"][0]["mode"] = json!("0400");
    sandbox.manifest(&manifest).source("app.conf", CONTENT);
    let service = "  <testcase classname=\"sealinit.check\" name=\"service\">\n    \
                   <failure type=\"127\" message=\"cannot find the service&apos;s program /opt/&lt;no&gt;&amp;&apos;such&quot;program\\u{7} \
                   in the image; install it in the image or correct the command\"/>\n  </testcase>\n";
    let unreadable = "the service could not read /etc/app/app.conf: /etc/app/app.conf is closed to it (mode 0400, owner 0:1000); \
                      give it to the service&apos;s group and open it for that, if the service is to read it";
    let lenient = check(sandbox.launch(), &["--format", "junit"], 1).stdout;
    assert!(
        lenient.contains(" tests=\"8\" failures=\"1\" errors=\"0\""),
        "{lenient}"
    );
    assert!(lenient.contains(service), "{lenient}");
    assert!(
        lenient.contains(&format!("    <system-out>{unreadable}</system-out>\n")),
        "{lenient}"
    );
    let strict = check(sandbox.launch(), &["--format", "junit", "--strict"], 1).stdout;
    assert!(
        strict.contains(" tests=\"8\" failures=\"2\" errors=\"0\""),
        "{strict}"
    );
    assert!(
        strict.contains(&format!(
            "    <failure type=\"warning\" message=\"{unreadable}\"/>\n"
        )),
        "{strict}"
    );
}

#[test]
fn warnings_are_apart_and_problems_only_under_strict() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox
        .one_file(&["true"])
        .directory("/var/lib/sealinit", 0o700);
    let launch = || sandbox.launch().tmpfs("/var/lib/sealinit", "mode=0700");
    let warning = "the state directory /var/lib/sealinit is in memory: the seal is lost when the container stops";
    let digest = digest(&sandbox);
    let rest = format!("digest={digest} pin=none lock=full entries=1\nwarning {warning}\n");
    assert_eq!(
        check(launch(), &[], 0).stdout,
        format!("warnings: 1 warning; a first start would succeed\n{rest}")
    );
    assert_eq!(
        check(launch(), &["--strict"], 1).stdout,
        format!("failed: 1 warning; --strict treats warnings as errors\n{rest}")
    );
    let machine = found(launch(), &[], 0);
    assert_eq!(machine["result"], "warnings");
    assert_eq!(
        machine["warnings"],
        json!([{"area": "state", "code": null, "message": warning}])
    );
}

#[test]
fn a_pin_that_is_another_is_a_problem() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.one_file(&["true"]);
    let other = format!("sha256:{}", "0".repeat(64));
    let machine = found(sandbox.launch(), &["--pin", &other], 1);
    assert_eq!(
        (&machine["pin"], &machine["errors"][0]["code"]),
        (&json!("mismatch"), &json!(82))
    );
    let _ = sandbox
        .launch()
        .args(["--pin", &other])
        .start()
        .refused(82, messages(&machine["errors"])[0]);
}

#[test]
fn what_was_sealed_or_interrupted_here_is_a_warning() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.one_file(&["true"]);
    let _ = sandbox.start().success();
    let machine = found(sandbox.launch(), &[], 0);
    assert_eq!(
        messages(&machine["warnings"]),
        [
            "there is a seal in /var/lib/sealinit, so the next start is not a first start; see sealinit plan"
        ]
    );
    sandbox.file("/var/lib/sealinit/seal", "torn");
    assert_eq!(found(sandbox.launch(), &[], 1)["errors"][0]["code"], 81);
}

/// "config the service's uid could not read (each path component)"
#[test]
fn what_the_service_could_not_read_is_a_warning_for_each_place_that_is_closed() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
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
    let tail = "give it to the service's group and open it for that, if the service is to read it";
    let expected = [
        format!(
            "the service could not read /srv/closed/b and 1 more: /srv/closed is closed to it (mode 0700, owner 0:0); {tail}"
        ),
        format!(
            "the service could not read /srv/planned/sub/c: /srv/planned is closed to it (mode 0700, owner 0:0); {tail}"
        ),
        format!(
            "the service could not read /srv/root: /srv/root is closed to it (mode 0440, owner 0:0); {tail}"
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

/// "command missing or not executable by the service's uid", below another root by owner, group and mode alone.
#[test]
fn the_program_is_looked_for_with_the_services_eyes() {
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
        let Some(sandbox) = Sandbox::new() else {
            return;
        };
        // The host's programs are only mounted for a start: below the bare root there is this shell.
        sandbox
            .directory("/opt", 0o755)
            .file("/usr/bin/sh", "\x7fELF")
            .mode("/usr/bin/sh", 0o755);
        place(&sandbox);
        sandbox.one_file(&[program, script]);
        let code = i32::from(!why.is_empty());
        let (inside, outside) = (
            check(sandbox.launch(), &[], code).stdout,
            text(&from_host(&sandbox, &[])),
        );
        assert_eq!(outside, inside, "{program}");
        assert!(inside.contains(why), "{program}: {inside}");
    }
}

/// A program for another C library: the kernel would only say that a file is missing, which is there.
#[test]
fn a_program_whose_dynamic_linker_is_missing_is_told_before_anything_is_installed() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
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
        text(&from_host(&sandbox, &[])),
    );
    assert_eq!(outside, inside);
    let told = inside
        .lines()
        .nth(2)
        .unwrap()
        .strip_prefix("error ")
        .unwrap();
    let interpreter = told
        .strip_prefix("cannot execute the service's program /opt/true: its interpreter ")
        .unwrap();
    let path = interpreter
        .strip_suffix(" does not exist; install it in the image")
        .unwrap();
    assert!(path.starts_with("/lib") && path.contains("/no-"), "{told}");
    assert_eq!(sandbox.start().refused(126, told).errors().len(), 1);
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
        text(&from_host(&sandbox, &[])).starts_with("ok: "),
        "{}",
        text(&from_host(&sandbox, &[]))
    );

    let sandbox = sandbox.another();
    sandbox
        .one_file(&["/opt/true"])
        .file("/opt/true", sound)
        .mode("/opt/true", 0o755);
    check(sandbox.launch(), &[], 0);
    let _ = sandbox.start().success();
}

#[test]
fn a_program_behind_links_is_found_below_the_root_alone() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
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
        text(&from_host(&sandbox, &[]))
    );
    sandbox.one_file(&["/opt/outside"]);
    let output = from_host(&sandbox, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output).contains("cannot find the service's program /opt/outside"),
        "{}",
        text(&output)
    );
}

/// An absolute source is a path of the container: what the host has there is another file, and most often none.
#[test]
fn an_absolute_source_is_not_looked_for_on_the_host() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
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
    let said = text(&outside);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(outside.status.code(), Some(0), "{said}");
    assert_eq!(
        lines[0],
        "warnings: 3 warnings; a first start would succeed"
    );
    assert_eq!(lines[1], "digest=unknown pin=none lock=full entries=4");
    assert_eq!(lines[2..], expected);
    assert_eq!(from_host(&sandbox, &["--strict"]).status.code(), Some(1));
    // In the container they are looked at.
    let inside = found(sandbox.launch(), &[], 1);
    assert_eq!(messages(&inside["errors"]).len(), 1, "{inside}");
    assert!(
        messages(&inside["errors"])[0]
            .starts_with("the source /etc/passwd does not have the manifest's sha256"),
        "{inside}"
    );
    // A source beside the manifest is looked at from outside, too.
    sandbox.remove("/etc/sealinit/app.conf");
    let said = text(&from_host(&sandbox, &[]));
    assert!(said.starts_with("failed: 1 error, 3 warnings; "), "{said}");
}

#[test]
fn what_the_process_lacks_and_what_is_mounted_is_seen_inside() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox
        .one_file(&["true"])
        .file("/etc/app/other", "")
        .directory("/srv/ro", 0o755);
    let mut manifest = one_file(&["true"]);
    manifest["files"] =
        json!([{"source": "app.conf", "dest": CONF}, {"content": "", "dest": "/srv/ro/x"}]);
    sandbox.manifest(&manifest).file(CONF, "");
    let lacking = found(
        sandbox.launch().capabilities(&["setuid", "setpcap"]),
        &[],
        1,
    );
    assert_eq!(lacking["errors"][0]["area"], "privileges");
    for capability in ["CAP_CHOWN", "CAP_SETGID"] {
        assert!(
            messages(&lacking["errors"])[0].contains(capability),
            "{lacking}"
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
    let told = messages(&mounted["errors"]);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].contains("/etc/app/app.conf is a mount point"),
        "{told:?}"
    );
    assert!(
        told[1].contains("cannot write in /srv/ro: Read-only file system"),
        "{told:?}"
    );
}

/// What `run` refuses, `check` has said, and what `check` finds right, `run` starts.
#[test]
fn check_and_run_agree() {
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
        let Some(sandbox) = Sandbox::new() else {
            return;
        };
        let mut manifest = one_file(&["true"]);
        sandbox.source("app.conf", CONTENT);
        change(&sandbox, &mut manifest);
        sandbox.manifest(&manifest);
        let machine = found(sandbox.launch(), &[], i32::from(index > 0));
        let told: BTreeSet<String> = messages(&machine["errors"])
            .into_iter()
            .map(str::to_owned)
            .collect();
        let start = sandbox.start();
        if told.is_empty() {
            let _ = start.success();
        } else {
            let code = machine["errors"]
                .as_array()
                .unwrap()
                .iter()
                .map(|error| error["code"].as_i64().unwrap())
                .min();
            let refused =
                start.refused(i32::try_from(code.unwrap()).unwrap(), told.first().unwrap());
            let said: BTreeSet<String> = refused.errors().into_iter().map(str::to_owned).collect();
            assert!(said.is_subset(&told), "case {index}: {said:?} {told:?}");
        }
    }
}

#[test]
fn the_command_after_the_dashes_is_checked_instead() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.one_file(&["no-such-program"]);
    check(sandbox.launch(), &["--", "true"], 0);
    check(sandbox.launch(), &["--", "no-such-program-either"], 1);
}
