//! Keys: missing, unknown, duplicate, of a wrong type, and none of them drives a terminal.

use serde_json::json;

use super::{directory, file, problems, service};
use crate::harness::{MANIFEST, SEAL, hash, one_file, sandbox_test};

sandbox_test!(missing_keys_are_refused, |sandbox| {
    problems(
        &sandbox,
        "▸▸{}",
        &["$: missing key \"version\"", "$: missing key \"service\""],
    );
    problems(
        &sandbox,
        r#"{"version": 1, "service": ▸{"command": ["true"]}}"#,
        &["$.service: missing key \"user\"; only a start without root can do without it"],
    );
    problems(
        &sandbox,
        &file("▸\"content\": \"x\"")
            .replace("▸\"content\"", "\"content\"")
            .replace("[{", "[▸{"),
        &["$.files[0]: missing key \"dest\""],
    );
    problems(
        &sandbox,
        &directory("\"mode\": \"0750\"").replace("[{", "[▸{"),
        &["$.directories[0]: missing key \"path\""],
    );
});

sandbox_test!(
    unknown_keys_are_refused_with_the_nearest_known_one,
    |sandbox| {
        problems(
            &sandbox,
            r#"{"version": 1, "service": {"user": "app"}, "file": ▸[]}"#,
            &["$.file: unknown key \"file\"; did you mean \"files\"?"],
        );
        problems(
            &sandbox,
            &service(r#""user": "app", "no_new_privilege": ▸true"#),
            &[
                "$.service.no_new_privilege: unknown key \"no_new_privilege\"; did you mean \"no_new_privileges\"?",
            ],
        );
        problems(
            &sandbox,
            &file(r#""content": "", "dst": ▸"/a", "dest": "/b""#),
            &["$.files[0].dst: unknown key \"dst\"; did you mean \"dest\"?"],
        );
        problems(
            &sandbox,
            &directory(r#""path": "/a", "Mode": ▸"0750""#),
            &["$.directories[0].Mode: unknown key \"Mode\"; did you mean \"mode\"?"],
        );
        problems(
            &sandbox,
            &directory(r#""path": "/a", "$schema": ▸1"#),
            &[
                "$.directories[0]['$schema']: unknown key \"$schema\"; known here: path, source, owner, group, mode, file_mode, \
         exact, recursive",
            ],
        );
    }
);

sandbox_test!(duplicate_keys_are_refused, |sandbox| {
    problems(
        &sandbox,
        r#"{"version": 1, ▸"version": 1, "service": {"user": "app"}}"#,
        &["$: duplicate key \"version\"; remove one"],
    );
    problems(
        &sandbox,
        r#"{"version": 1, "service": {"user": "app", ▸"\u0075ser": "root"}}"#,
        &["$.service: duplicate key \"user\"; remove one"],
    );
    problems(
        &sandbox,
        &file(r#""content": "", "dest": "/a", ▸"dest": "/b""#),
        &["$.files[0]: duplicate key \"dest\"; remove one"],
    );
    problems(
        &sandbox,
        &service(r#""user": "app", "env": {"A": "1", ▸"A": "2"}"#),
        &["$.service.env: duplicate key \"A\"; remove one"],
    );
});

sandbox_test!(values_of_a_wrong_type_are_refused, |sandbox| {
    problems(
        &sandbox,
        r#"{"version": ▸"1", "service": ▸[], "files": ▸{}, "absent": [▸1], "on_drift": ▸true}"#,
        &[
            "$.version: expected a number, found a string",
            "$.service: expected an object, found an array",
            "$.files: expected an array, found an object",
            "$.absent[0]: expected a string, found a number",
            "$.on_drift: expected a string, found true or false",
        ],
    );
    problems(
        &sandbox,
        &service(
            r#""user": ▸true, "group": ▸null, "env": {"A": ▸1}, "umask": ▸[], "allow_root": ▸"true", "command": ["a", ▸1]"#,
        ),
        &[
            "$.service.user: expected a name (a string) or an id (a number), found true or false",
            "$.service.group: expected a name (a string) or an id (a number), found null",
            "$.service.env.A: expected a string, found a number",
            "$.service.umask: expected a string, found an array",
            "$.service.allow_root: expected true or false, found a string",
            "$.service.command[1]: expected a string, found a number",
        ],
    );
    problems(
        &sandbox,
        &service(r#""user": "app", "command": ▸"true""#),
        &[
            "$.service.command: a command is an array of strings, such as [\"nginx\", \"-g\", \"daemon off;\"]",
        ],
    );
    problems(
        &sandbox,
        &file(r#""content": ▸1, "dest": ▸2, "mode": ▸true, "optional": ▸"yes", "sha256": ▸null"#),
        &[
            "$.files[0].content: expected a string, found a number",
            "$.files[0].dest: expected a string, found a number",
            "$.files[0].mode: expected a string, found true or false",
            "$.files[0].optional: expected true or false, found a string",
            "$.files[0].sha256: expected a string, found null",
        ],
    );
});

sandbox_test!(keys_and_values_cannot_drive_the_terminal, |sandbox| {
    let odd = r"a\nsealinit: info: state=sealed\u001b[2J";
    let of = |members: &str| service(&members.replace("ODD", odd));
    let beside = |members: &str| {
        format!(r#"{{"version": 1, "service": {{"user": "app"}}, {members}}}"#).replace("ODD", odd)
    };
    let in_file = |members: &str| file(&members.replace("ODD", odd));
    let rewrite = r#""user": "app", "supervise": true, "signals": {"rewrite": {"ODD": null}}"#;
    let target = r#""user": "app", "supervise": true, "signals": {"target": "ODD"}"#;
    let hash = r#""content": "", "dest": "/a", "sha256": "ODD""#;
    for (text, code, reason) in [
        (beside(r#""ODD": 1"#), 78, "unknown key \"a\\nsealinit"),
        (
            of(r#""user": "ODD""#),
            67,
            "$.service.user: user \"a\\nsealinit",
        ),
        (
            of(r#""user": "app", "group": "ODD""#),
            67,
            "$.service.group: group \"a\\nsealinit",
        ),
        (
            of(r#""user": "app", "capabilities": ["ODD"]"#),
            78,
            "$.service.capabilities[0]: ",
        ),
        (
            of(r#""user": "app", "env": {"ODD": 1}"#),
            78,
            "expected a string, found a number",
        ),
        (
            of(r#""user": "app", "umask": "ODD""#),
            78,
            "$.service.umask: \"a\\nsealinit",
        ),
        (
            of(r#""user": "app", "working_dir": "ODD""#),
            78,
            "$.service.working_dir: \"a\\nsealinit",
        ),
        (
            beside(r#""on_drift": "ODD""#),
            78,
            "$.on_drift: unknown value \"a\\nsealinit",
        ),
        (
            beside(r#""absent": ["ODD"]"#),
            78,
            "$.absent[0]: \"a\\nsealinit",
        ),
        (
            beside(r#""absent": ["/ODD", "/ODD"]"#),
            78,
            "$.absent[1]: /a\\nsealinit",
        ),
        (of(rewrite), 78, "\"a\\nsealinit"),
        (
            of(target),
            78,
            "$.service.signals.target: unknown value \"a\\nsealinit",
        ),
        (
            in_file(r#""source": "ODD", "dest": "/a""#),
            66,
            "/etc/sealinit/a\\nsealinit",
        ),
        (in_file(hash), 78, "$.files[0].sha256: "),
        (
            of(r#""user": "app", "command": ["/ODD"]"#),
            127,
            "/a\\nsealinit",
        ),
    ] {
        sandbox.file(MANIFEST, text);
        // `refused` also asserts that no line of the log has a control character, and that there is
        // one summary.
        sandbox.start().refused(code, reason);
    }
});

// Strings of the manifest that appear only in messages. (Found by fuzzing.)
sandbox_test!(
    strings_of_the_manifest_or_the_seal_cannot_drive_the_terminal,
    |sandbox| {
        sandbox.one_file(&["true"]);
        let escape = "\u{1b}[31m\u{7f}\u{9b}";
        for (key, value) in [
            ("capabilities", json!([escape])),
            ("signals", json!({"rewrite": {escape: "TERM"}})),
            ("signals", json!({"rewrite": {"TERM": escape}})),
            ("signals", json!({"target": escape})),
            ("env", json!({format!("{escape}="): ""})),
            ("umask", json!(escape)),
            ("working_dir", json!(escape)),
            ("user", json!(escape)),
        ] {
            let mut manifest = one_file(&["true"]);
            manifest["service"][key] = value;
            manifest["service"]["supervise"] = json!(true);
            sandbox.manifest(&manifest);
            let start = sandbox.start();
            let code = start.one_of(&[67, 78]);
            // `refused` asserts that no line has a control character.
            start.refused(code, "$.service");
        }
        let sandbox = sandbox.another();
        sandbox.one_file(&["true"]);
        let _ = sandbox.start().success();
        for body in [
            format!("{{\"{escape}\":1}}"),
            "{\"digest\":\"\\u001b[31m\"}".into(),
            escape.into(),
        ] {
            sandbox.file(
                SEAL,
                format!("sealinit-seal-v1 sha256:{}\n{body}\n", hash(&body)),
            );
            sandbox.start().refused(81, SEAL);
        }
        sandbox.file(SEAL, format!("sealinit-seal-v{escape} sha256:0\n{{}}\n"));
        sandbox.start().refused(81, SEAL);
    }
);
