//! The report of `check`: results, formats, warnings and strictness.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{check, found, from_host, messages};
use crate::harness::{CONF, CONTENT, MANIFEST, OTHER, all_text, hash, one_file, sandbox_test};

sandbox_test!(a_first_start_that_would_succeed_is_ok, |sandbox| {
    sandbox.one_file(&["true"]);
    let digest = sandbox.digest();
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
        all_text(&from_host(&sandbox, &[])),
        check(sandbox.launch(), &[], 0).stdout
    );
    let _ = sandbox.start().success();
});

// "Reports all problems of a first start here without writing anything"
sandbox_test!(every_problem_is_reported_at_once, |sandbox| {
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
    // The report on the host is the same, but for the paths.
    let host = all_text(&from_host(&sandbox, &[])).replace(
        sandbox.path("/").to_str().unwrap().trim_end_matches('/'),
        "",
    );
    let inside = outcome
        .stdout
        .replace("PATH=/usr/sbin:/usr/bin:/sbin:/bin", "PATH=…");
    let docker = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(host.replace(docker, "PATH=…"), inside);
});

// An unknown user hides neither the program nor the directory that the service starts in.
sandbox_test!(
    an_unknown_user_does_not_hide_what_else_is_wrong_with_the_service,
    |sandbox| {
        let mut manifest = one_file(&["/usr/bin/no-such-program"]);
        manifest["service"]["user"] = json!("no-such-user");
        manifest["service"]["working_dir"] = json!("/no/such/directory");
        sandbox.one_file(&[]).manifest(&manifest);
        let machine = found(sandbox.launch(), &[], 1);
        assert_eq!(
            messages(&machine["errors"]),
            [
                "/etc/sealinit/manifest.json: $.service.user: user \"no-such-user\" is not in /etc/passwd; create it in the image or write its id as a number",
                "cannot start the service in /no/such/directory: No such file or directory (os error 2); create the directory, or correct working_dir",
                "cannot find the service's program /usr/bin/no-such-program in the image; install it in the image or correct the command",
            ]
        );
        sandbox
            .file("/srv/program", "#!/no/such/interpreter\n")
            .mode("/srv/program", 0o755);
        manifest["service"]["command"] = json!(["/srv/program"]);
        manifest["service"]["working_dir"] = json!("/");
        sandbox.manifest(&manifest);
        let machine = found(sandbox.launch(), &[], 1);
        assert_eq!(
            messages(&machine["errors"])[1..],
            [
                "cannot execute the service's program /srv/program: its interpreter /no/such/interpreter does not exist; install it in the image"
            ]
        );
        // A program that the manifest installs itself is not missed.
        manifest["service"]["command"] = json!([CONF]);
        sandbox.manifest(&manifest);
        let machine = found(sandbox.launch(), &[], 1);
        assert_eq!(messages(&machine["errors"]).len(), 1);
    }
);

sandbox_test!(
    every_problem_of_an_invalid_manifest_is_reported,
    |sandbox| {
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
        // JUnit does not call passed what was not examined.
        let junit = check(sandbox.launch(), &["--format", "junit"], 1).stdout;
        assert!(
            junit.contains(" failures=\"1\" errors=\"0\" skipped=\"6\">"),
            "{junit}"
        );
        sandbox.remove(MANIFEST);
        let gone = found(sandbox.launch(), &[], 1);
        assert!(
            messages(&gone["errors"])[0]
                .starts_with("cannot read the manifest /etc/sealinit/manifest.json: ")
        );
    }
);

sandbox_test!(junit_has_an_escaped_failure_for_each_error, |sandbox| {
    let mut manifest = one_file(&["/opt/<no>&'such\"program\u{7}"]);
    manifest["files"][0]["mode"] = json!("0400");
    sandbox.manifest(&manifest).source("app.conf", CONTENT);
    let service = "  <testcase classname=\"sealinit.check\" name=\"service\">\n    \
                   <failure type=\"127\" message=\"cannot find the service&apos;s program /opt/&lt;no&gt;&amp;&apos;such&quot;program\\u{7} \
                   in the image; install it in the image or correct the command\"/>\n  </testcase>\n";
    let unreadable = "the service could not read /etc/app/app.conf: /etc/app/app.conf denies it (mode 0400, owner 0:1000); \
                      if the service must read it, give it to the service&apos;s group, with the group&apos;s permission";
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
});

sandbox_test!(warnings_are_problems_only_under_strict, |sandbox| {
    sandbox
        .one_file(&["true"])
        .directory("/var/lib/sealinit", 0o700);
    let launch = || sandbox.launch().tmpfs("/var/lib/sealinit", "mode=0700");
    let warning = "the state directory /var/lib/sealinit is on a tmpfs: the seal is lost when the container stops";
    let digest = sandbox.digest();
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
});

sandbox_test!(a_pin_of_another_configuration_is_a_problem, |sandbox| {
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
});

sandbox_test!(
    an_existing_seal_is_a_warning_and_a_damaged_one_an_error,
    |sandbox| {
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
);
