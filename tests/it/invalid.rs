//! Bad input: each mistake has its exit code and one clear message with the remedy, the service does not run, and nothing is
//! written.

use serde_json::{Value, json};

use crate::sandbox::{APP, CONF, CONTENT, MANIFEST, OTHER, SEAL, Sandbox, one_file};

/// Starts with a manifest in which a `▸` stands before each place that is at fault, and asserts that exactly these problems are
/// reported, each with its place: `$.path: message`.
#[track_caller]
fn problems(marked: &str, expected: &[&str]) {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox
        .source("app.conf", CONTENT)
        .directory("/etc/sealinit/tree", 0o755);
    problems_in(&sandbox, marked, expected);
}

#[track_caller]
fn problems_in(sandbox: &Sandbox, marked: &str, expected: &[&str]) {
    let mut places = Vec::new();
    for (line, text) in marked.lines().enumerate() {
        for (nth, (offset, _)) in text.match_indices('▸').enumerate() {
            places.push((line + 1, text[..offset].chars().count() - nth + 1));
        }
    }
    assert_eq!(
        places.len(),
        expected.len(),
        "the test must mark each place once"
    );
    sandbox.file(MANIFEST, marked.replace('▸', ""));
    let refused = sandbox.start().refused(78, "");
    let expected: Vec<_> = places
        .iter()
        .zip(expected)
        .map(|((line, column), problem)| format!("{MANIFEST}:{line}:{column}: {problem}"))
        .collect();
    assert_eq!(refused.errors(), expected, "{refused:?}");
}

/// A manifest around these members of its one file.
fn file(members: &str) -> String {
    format!(
        r#"{{"version": 1, "service": {{"user": "app", "command": ["true"]}}, "files": [{{{members}}}]}}"#
    )
}

/// A manifest around these members of its service, which has no others.
fn service(members: &str) -> String {
    format!(r#"{{"version": 1, "service": {{{members}}}}}"#)
}

/// A manifest around these members of its one directory.
fn directory(members: &str) -> String {
    format!(
        r#"{{"version": 1, "service": {{"user": "app", "command": ["true"]}}, "directories": [{{{members}}}]}}"#
    )
}

#[test]
fn every_problem_is_reported_at_once_with_line_column_and_path() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    let text = "\
{
  \"version\": 1,
  \"service\": {\"user\": \"app\", \"comand\": [\"true\"], \"umask\": 18},
  \"files\": [
    {\"source\": \"ä\", \"dest\": \"etc/app.conf\"},
    {\"source\": \"a\", \"dest\": \"/etc/a\", \"mode\": \"04755\", \"mode\": 420}
  ],
  \"on_drift\": \"ignore\"
}
";
    sandbox.file(MANIFEST, text);
    let refused = sandbox.start().refused(78, "");
    assert_eq!(
        refused.errors(),
        [
            "/etc/sealinit/manifest.json:3:40: $.service.comand: unknown key \"comand\"; did you mean \"command\"?",
            "/etc/sealinit/manifest.json:3:59: $.service.umask: a mode is a string of octal digits, such as \"0640\"",
            "/etc/sealinit/manifest.json:5:29: $.files[0].dest: \"etc/app.conf\" is not absolute; begin it with /",
            "/etc/sealinit/manifest.json:6:47: $.files[1].mode: \"04755\" is no mode; write one to four octal digits, such \
             as \"0640\"",
            "/etc/sealinit/manifest.json:6:56: $.files[1]: duplicate key \"mode\"; remove one",
            "/etc/sealinit/manifest.json:8:15: $.on_drift: unknown value \"ignore\"; known here: refuse, warn, restore",
        ]
    );
    refused.says("state=refused");
}

#[test]
fn a_manifest_that_is_missing() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    let refused = sandbox.start().refused(78, MANIFEST);
    assert_eq!(refused.errors().len(), 1, "{refused:?}");
}

#[test]
fn a_manifest_that_is_no_regular_file_is_no_hang() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.fifo(MANIFEST);
    sandbox.start().refused(78, "a FIFO");
    sandbox.remove(MANIFEST).directory(MANIFEST, 0o755);
    sandbox.start().refused(78, "a directory");
    sandbox.remove(MANIFEST).file(MANIFEST, "");
    sandbox
        .launch()
        .bind_host("/dev/zero", MANIFEST)
        .start()
        .refused(78, "a device");
    sandbox.remove(MANIFEST).symlink(MANIFEST, "manifest.json");
    sandbox.start().refused(78, MANIFEST);
}

#[test]
fn a_manifest_that_is_empty() {
    problems(
        "▸",
        &["$: not JSON: EOF while parsing a value; the file is empty"],
    );
    problems(
        "  \n▸\t",
        &["$: not JSON: EOF while parsing a value; the file is empty"],
    );
}

#[test]
fn a_manifest_that_is_truncated_anywhere() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    let whole = serde_json::to_string(&one_file(&["true"])).unwrap();
    sandbox.source("app.conf", CONTENT);
    for length in (1..whole.len()).step_by(7).chain([whole.len() - 1]) {
        sandbox.file(MANIFEST, &whole[..length]);
        let refused = sandbox.start().refused(78, "not JSON");
        assert_eq!(refused.errors().len(), 1, "{refused:?}");
    }
}

#[test]
fn a_manifest_that_is_not_json() {
    problems("▸# comment\n{}", &["$: not JSON: expected value"]);
    problems(
        "{\"version\": 1} ▸{}",
        &["$: not JSON: trailing characters"],
    );
    problems(
        "▸\u{feff}{}",
        &["$: not JSON: expected value; remove the byte order mark"],
    );
}

#[test]
fn a_manifest_with_a_comma_too_many() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    for text in [
        "{\"version\": 1,}",
        "{\"version\": 1, \"absent\": [\"/a\",]}",
    ] {
        sandbox.file(MANIFEST, text);
        sandbox
            .start()
            .refused(78, "not JSON")
            .says("remove the comma");
    }
}

#[test]
fn a_manifest_that_is_not_utf_8() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.file(MANIFEST, b"{\n  \"versi\xf6n\": 1\n}");
    let refused = sandbox.start().refused(78, "");
    assert_eq!(
        refused.errors(),
        ["/etc/sealinit/manifest.json:2:9: $: this byte is not UTF-8; save the file as UTF-8"]
    );
}

#[test]
fn a_manifest_that_is_oversized() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    let mut text = serde_json::to_vec(&one_file(&["true"])).unwrap();
    text.resize(64 << 20, b' ');
    sandbox.file(MANIFEST, text).source("app.conf", CONTENT);
    let refused = sandbox.start().refused(78, MANIFEST);
    assert_eq!(refused.errors().len(), 1, "{refused:?}");
}

#[test]
fn a_manifest_that_is_nested_too_deeply() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.file(
        MANIFEST,
        format!("{{\"version\": 1, \"x-deep\": {}", "[".repeat(100_000)),
    );
    sandbox.start().refused(78, "not JSON");
}

#[test]
fn a_document_of_another_type() {
    problems("▸[]", &["$: expected an object, found an array"]);
    problems("▸\"manifest\"", &["$: expected an object, found a string"]);
    problems("▸null", &["$: expected an object, found null"]);
}

#[test]
fn missing_keys() {
    problems(
        "▸▸{}",
        &["$: missing key \"version\"", "$: missing key \"service\""],
    );
    problems(
        r#"{"version": 1, "service": ▸{"command": ["true"]}}"#,
        &["$.service: missing key \"user\"; only a start without root can do without it"],
    );
    problems(
        &file("▸\"content\": \"x\"")
            .replace("▸\"content\"", "\"content\"")
            .replace("[{", "[▸{"),
        &["$.files[0]: missing key \"dest\""],
    );
    problems(
        &directory("\"mode\": \"0750\"").replace("[{", "[▸{"),
        &["$.directories[0]: missing key \"path\""],
    );
}

#[test]
fn unknown_keys_with_the_nearest_known_one() {
    problems(
        r#"{"version": 1, "service": {"user": "app"}, "file": ▸[]}"#,
        &["$.file: unknown key \"file\"; did you mean \"files\"?"],
    );
    problems(
        &service(r#""user": "app", "no_new_privilege": ▸true"#),
        &[
            "$.service.no_new_privilege: unknown key \"no_new_privilege\"; did you mean \"no_new_privileges\"?",
        ],
    );
    problems(
        &file(r#""content": "", "dst": ▸"/a", "dest": "/b""#),
        &["$.files[0].dst: unknown key \"dst\"; did you mean \"dest\"?"],
    );
    problems(
        &directory(r#""path": "/a", "Mode": ▸"0750""#),
        &["$.directories[0].Mode: unknown key \"Mode\"; did you mean \"mode\"?"],
    );
    problems(
        &directory(r#""path": "/a", "$schema": ▸1"#),
        &[
            "$.directories[0]['$schema']: unknown key \"$schema\"; known here: path, source, owner, group, mode, file_mode, \
         exact, recursive",
        ],
    );
}

#[test]
fn a_key_or_value_cannot_write_to_the_terminal() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    let odd = r"a\nsealinit: info: state=sealed\u001b[2J";
    for text in [
        format!(r#"{{"version": 1, "service": {{"user": "app"}}, "{odd}": 1}}"#),
        format!(r#"{{"version": 1, "service": {{"user": "{odd}"}}}}"#),
        format!(r#"{{"version": 1, "service": {{"user": "app", "group": "{odd}"}}}}"#),
        format!(r#"{{"version": 1, "service": {{"user": "app", "capabilities": ["{odd}"]}}}}"#),
        format!(r#"{{"version": 1, "service": {{"user": "app", "env": {{"{odd}": 1}}}}}}"#),
        format!(r#"{{"version": 1, "service": {{"user": "app", "umask": "{odd}"}}}}"#),
        format!(r#"{{"version": 1, "service": {{"user": "app", "working_dir": "{odd}"}}}}"#),
        format!(r#"{{"version": 1, "service": {{"user": "app"}}, "on_drift": "{odd}"}}"#),
        format!(r#"{{"version": 1, "service": {{"user": "app"}}, "absent": ["{odd}"]}}"#),
        format!(
            r#"{{"version": 1, "service": {{"user": "app"}}, "absent": ["/{odd}", "/{odd}"]}}"#
        ),
        service(&format!(
            r#""user": "app", "supervise": true, "signals": {{"rewrite": {{"{odd}": null}}}}"#
        )),
        service(&format!(
            r#""user": "app", "supervise": true, "signals": {{"target": "{odd}"}}"#
        )),
        file(&format!(r#""source": "{odd}", "dest": "/a""#)),
        file(&format!(
            r#""content": "", "dest": "/a", "sha256": "{odd}""#
        )),
        service(&format!(r#""user": "app", "command": ["/{odd}"]"#)),
    ] {
        sandbox.file(MANIFEST, text);
        // `refused` and `failed` judge each line of the log for control characters and for a second summary.
        let start = sandbox.start();
        let code = start.exit_code();
        start.refused(code, "");
    }
}

#[test]
fn duplicate_keys() {
    problems(
        r#"{"version": 1, ▸"version": 1, "service": {"user": "app"}}"#,
        &["$: duplicate key \"version\"; remove one"],
    );
    problems(
        r#"{"version": 1, "service": {"user": "app", ▸"\u0075ser": "root"}}"#,
        &["$.service: duplicate key \"user\"; remove one"],
    );
    problems(
        &file(r#""content": "", "dest": "/a", ▸"dest": "/b""#),
        &["$.files[0]: duplicate key \"dest\"; remove one"],
    );
    problems(
        &service(r#""user": "app", "env": {"A": "1", ▸"A": "2"}"#),
        &["$.service.env: duplicate key \"A\"; remove one"],
    );
}

#[test]
fn values_of_a_wrong_type() {
    problems(
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
        &service(r#""user": "app", "command": ▸"true""#),
        &[
            "$.service.command: a command is an array of strings, such as [\"nginx\", \"-g\", \"daemon off;\"]",
        ],
    );
    problems(
        &file(r#""content": ▸1, "dest": ▸2, "mode": ▸true, "optional": ▸"yes", "sha256": ▸null"#),
        &[
            "$.files[0].content: expected a string, found a number",
            "$.files[0].dest: expected a string, found a number",
            "$.files[0].mode: expected a string, found true or false",
            "$.files[0].optional: expected true or false, found a string",
            "$.files[0].sha256: expected a string, found null",
        ],
    );
}

#[test]
fn versions_that_are_not_supported() {
    problems(
        r#"{"version": ▸2, "service": {"user": "app"}}"#,
        &["$.version: version 2 is not known to this sealinit; supported: 1"],
    );
    problems(
        r#"{"version": ▸0, "service": {"user": "app"}}"#,
        &["$.version: version 0 is not known to this sealinit; supported: 1"],
    );
    problems(
        r#"{"version": ▸1.5, "service": {"user": "app"}}"#,
        &["$.version: expected a whole number from 0 to 4294967295"],
    );
}

/// Whoever runs an old binary on a new manifest must learn that, and not a list of keys that it does not know yet.
#[test]
fn a_newer_version_is_the_only_problem_of_a_newer_manifest() {
    problems(
        r#"{"version": ▸2, "service": {"user": "app", "cgroup": "x"}, "templates": []}"#,
        &["$.version: version 2 is not known to this sealinit; supported: 1"],
    );
}

#[test]
fn numeric_modes_with_what_to_write_instead() {
    problems(
        &file(r#""content": "", "dest": "/a", "mode": ▸640"#),
        &["$.files[0].mode: a mode is a string of octal digits; write \"0640\""],
    );
    problems(
        &file(r#""content": "", "dest": "/a", "mode": ▸488"#),
        &["$.files[0].mode: a mode is a string of octal digits, such as \"0640\""],
    );
    problems(
        &file(r#""content": "", "dest": "/a", "mode": 0▸640"#),
        &["$: not JSON: invalid number; a mode is a string of octal digits, such as \"0640\""],
    );
    problems(
        &service(r#""user": "app", "umask": ▸27"#),
        &["$.service.umask: a mode is a string of octal digits; write \"0027\""],
    );
}

#[test]
fn modes_that_are_none() {
    for mode in [
        "",
        "0999",
        "rw-r-----",
        "0o640",
        "06400",
        "-640",
        "+640",
        " 640",
    ] {
        problems(
            &file(&format!(
                r#""content": "", "dest": "/a", "mode": ▸"{mode}""#
            )),
            &[&format!(
                "$.files[0].mode: \"{mode}\" is no mode; write one to four octal digits, such as \"0640\""
            )],
        );
    }
}

#[test]
fn set_id_sticky_and_world_writable_modes() {
    for (mode, has, fit) in [
        ("4755", "the set-user-ID bit", "0755"),
        ("2755", "the set-group-ID bit", "0755"),
        ("1755", "the sticky bit", "0755"),
        ("0646", "write permission for everyone", "0644"),
    ] {
        let message = format!("mode {mode} has {has}; write \"{fit}\"");
        problems(
            &file(&format!(
                r#""content": "", "dest": "/a", "mode": ▸"{mode}""#
            )),
            &[&format!("$.files[0].mode: {message}")],
        );
        problems(
            &directory(&format!(
                r#""path": "/a", "source": "tree", "mode": ▸"{mode}""#
            )),
            &[&format!("$.directories[0].mode: {message}")],
        );
        problems(
            &directory(&format!(
                r#""path": "/a", "source": "tree", "file_mode": ▸"{mode}""#
            )),
            &[&format!("$.directories[0].file_mode: {message}")],
        );
    }
    problems(
        &service(r#""user": "app", "umask": ▸"1777""#)
            .replace('▸', "")
            .replace(r#""service": {"#, r#""service": ▸{"#),
        &["$.service: umask 1777 has bits other than permissions; write \"0027\" or the like"],
    );
}

#[test]
fn names_of_digits() {
    for key in ["user", "group"] {
        let others = if key == "user" {
            ""
        } else {
            r#""user": "app", "#
        };
        problems(
            &service(&format!(r#"{others}"{key}": ▸"1000""#)),
            &[&format!(
                "$.service.{key}: \"1000\" is a string of digits; write 1000 without quotes for an id"
            )],
        );
    }
    problems(
        &service(r#""user": "app", "supplementary_groups": ["certs", ▸"0"]"#),
        &[
            "$.service.supplementary_groups[1]: \"0\" is a string of digits; write 0 without quotes for an id",
        ],
    );
    problems(
        &file(r#""content": "", "dest": "/a", "owner": ▸"0", "group": ▸"007""#),
        &[
            "$.files[0].owner: \"0\" is a string of digits; write 0 without quotes for an id",
            "$.files[0].group: \"007\" is a string of digits; write 007 without quotes for an id",
        ],
    );
}

#[test]
fn ids_that_are_none() {
    for id in ["-1", "1.5", "4294967296", "1e3"] {
        problems(
            &service(&format!(r#""user": ▸{id}"#)),
            &["$.service.user: expected a whole number from 0 to 4294967295"],
        );
    }
    problems(
        &service(r#""user": ▸4294967295"#),
        &["$.service.user: 4294967295 is no id: system calls take it for \"unchanged\""],
    );
}

#[test]
fn unknown_users_and_groups_are_all_named() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.source("app.conf", CONTENT).manifest(&json!({
        "version": 1,
        "service": {"user": "ap", "group": "nobody", "supplementary_groups": ["cert"], "command": ["true"]},
        "files": [{"source": "app.conf", "dest": CONF, "owner": "mallory", "group": "app"}],
        "directories": [{"path": "/srv", "group": "www-data"}],
    }));
    let refused = sandbox.start().refused(67, "");
    let errors = refused.errors();
    assert_eq!(errors.len(), 5, "{refused:?}");
    for (error, (at, name, file, hint)) in errors.iter().zip([
        (
            "$.service.user",
            "ap",
            "/etc/passwd",
            "did you mean \"app\"?",
        ),
        (
            "$.service.group",
            "nobody",
            "/etc/group",
            "create it in the image",
        ),
        (
            "$.service.supplementary_groups[0]",
            "cert",
            "/etc/group",
            "did you mean \"certs\"?",
        ),
        (
            "$.files[0].owner",
            "mallory",
            "/etc/passwd",
            "create it in the image",
        ),
        (
            "$.directories[0].group",
            "www-data",
            "/etc/group",
            "create it in the image",
        ),
    ]) {
        for part in [at, &format!("\"{name}\""), file, hint] {
            assert!(error.contains(part), "{part} is not in {error}");
        }
    }
}

#[test]
fn accounts_in_a_scratch_image_are_unknown_by_name_and_usable_by_id() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox
        .one_file(&["cat", CONF])
        .remove("/etc/passwd")
        .remove("/etc/group");
    sandbox.start().refused(67, "/etc/passwd");
    let mut manifest = one_file(&["cat", CONF]);
    manifest["service"]["user"] = json!(APP);
    sandbox.manifest(&manifest);
    sandbox.start().refused(78, "add \"group\"");
    manifest["service"]["group"] = json!(APP);
    sandbox.manifest(&manifest);
    assert_eq!(sandbox.start().success().stdout, CONTENT);
}

#[test]
fn paths_that_are_relative_or_can_be_read_in_two_ways() {
    for (path, why) in [
        ("", "is not absolute; begin it with /"),
        ("etc/app.conf", "is not absolute; begin it with /"),
        ("./app.conf", "is not absolute; begin it with /"),
        ("/", "is the root directory; name something in it"),
        (
            "/etc/./app.conf",
            "contains \".\"; write the path without it",
        ),
        (
            "/etc/../app.conf",
            "contains \"..\"; write the path without it",
        ),
        ("/etc/app/..", "contains \"..\"; write the path without it"),
        (
            "/etc//app.conf",
            "has an empty component; write each / once and none at the end",
        ),
        (
            "/etc/app/",
            "has an empty component; write each / once and none at the end",
        ),
        (
            "/etc/.sealinit.0123456789abcdef",
            "uses the prefix .sealinit. of sealinit's temporary files; choose another name",
        ),
    ] {
        let message = format!("\"{path}\" {why}");
        problems(
            &file(&format!(r#""content": "", "dest": ▸"{path}""#)),
            &[&format!("$.files[0].dest: {message}")],
        );
        problems(
            &directory(&format!(r#""path": ▸"{path}""#)),
            &[&format!("$.directories[0].path: {message}")],
        );
        problems(
            &format!(r#"{{"version": 1, "service": {{"user": "app"}}, "absent": [▸"{path}"]}}"#),
            &[&format!("$.absent[0]: {message}")],
        );
    }
}

#[test]
fn paths_that_no_system_call_would_take() {
    problems(
        &file(r#""content": "", "dest": ▸"/a\u0000b""#),
        &["$.files[0].dest: \"/a\\0b\" holds a NUL character; remove it"],
    );
    let long = format!("/{}", "n".repeat(256));
    problems(
        &file(&format!(r#""content": "", "dest": ▸"{long}""#)),
        &[&format!(
            "$.files[0].dest: \"{long}\" has a name longer than 255 bytes; shorten it"
        )],
    );
    let deep = "/d".repeat(2048);
    problems(
        &file(&format!(r#""content": "", "dest": ▸"{deep}""#)),
        &[&format!(
            "$.files[0].dest: \"{deep}\" is longer than 4095 bytes; shorten it"
        )],
    );
}

#[test]
fn duplicate_destinations() {
    problems(
        r#"{"version": 1, "service": {"user": "app"},
  "files": [{"content": "", "dest": "/a"}, {"content": "", "dest": ▸"/a"}],
  "directories": [{"path": "/d"}, {"path": ▸"/a"}],
  "absent": [▸"/d"]}"#,
        &[
            "$.files[1].dest: /a is declared already at $.files[0].dest; keep one",
            "$.directories[1].path: /a is declared already at $.files[1].dest; keep one",
            "$.absent[0]: /d is declared already at $.directories[0].path; keep one",
        ],
    );
}

#[test]
fn destinations_below_what_is_no_directory() {
    problems(
        r#"{"version": 1, "service": {"user": "app"},
  "files": [{"content": "", "dest": "/a"}, {"content": "", "dest": ▸"/a/b/c"}, {"content": "", "dest": ▸"/gone/x"}],
  "directories": [{"path": ▸"/a/d"}, {"path": "/dir"}],
  "absent": ["/gone", ▸"/gone/y", "/dir/gone", "/ab"]}"#,
        &[
            "$.files[1].dest: /a/b/c is below /a, which is not a directory according to $.files[0].dest; remove one",
            "$.files[2].dest: /gone/x is below /gone, which is not a directory according to $.absent[0]; remove one",
            "$.directories[0].path: /a/d is below /a, which is not a directory according to $.files[0].dest; remove one",
            "$.absent[1]: /gone/y is below /gone, which is not a directory according to $.absent[0]; remove one",
        ],
    );
}

#[test]
fn a_destination_that_is_declared_and_found_in_a_source_directory() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.source("tree/a", "tree's").manifest(&json!({
        "version": 1,
        "service": {"user": "app", "command": ["true"]},
        "files": [{"content": "file's", "dest": "/etc/app/a"}],
        "directories": [{"path": "/etc/app", "source": "tree"}],
    }));
    sandbox.start().refused(78, "/etc/app/a");
}

/// What sealinit itself reads and writes is not for a manifest to replace.
#[test]
fn destinations_that_are_sealinits_own() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    for own in [SEAL, "/var/lib/sealinit", "/var/lib/sealinit/other"] {
        sandbox.manifest(&json!({
            "version": 1,
            "service": {"user": "app", "command": ["true"]},
            "files": [{"content": "", "dest": own}],
        }));
        sandbox.start().refused(78, own);
        sandbox.manifest(&json!({
            "version": 1,
            "service": {"user": "app", "command": ["true"]},
            "absent": [own],
        }));
        sandbox.start().refused(78, own);
    }
    sandbox.manifest(&json!({
        "version": 1,
        "service": {"user": "app", "command": ["true"]},
        "directories": [{"path": "/var/lib/sealinit"}],
    }));
    sandbox.start().refused(78, "/var/lib/sealinit");
    // What is removed must not be above it.
    sandbox.source("tree/a", "");
    for (key, value) in [
        (
            "directories",
            json!([{"path": "/var/lib", "source": "tree", "exact": true}]),
        ),
        ("absent", json!(["/var/lib"])),
        ("absent", json!(["/var"])),
    ] {
        let mut manifest = json!({"version": 1, "service": {"user": "app", "command": ["true"]}});
        manifest[key] = value;
        sandbox.manifest(&manifest);
        sandbox.start().refused(78, "/var/lib/sealinit");
    }
}

#[test]
fn content_and_source_exclude_each_other() {
    let at = |members: &str| file(members).replace("[{", "[▸{");
    problems(
        &at(r#""source": "app.conf", "content": "", "dest": "/a""#),
        &["$.files[0]: has both source and content; keep one"],
    );
    problems(
        &at(r#""dest": "/a""#),
        &["$.files[0]: has neither source nor content; add one"],
    );
    problems(
        &at(r#""content": "", "dest": "/a", "optional": true"#),
        &["$.files[0]: is optional but has its content here; remove optional"],
    );
    let hash = "0".repeat(64);
    problems(
        &at(&format!(
            r#""content": "", "dest": "/a", "sha256": "{hash}""#
        )),
        &["$.files[0]: sha256 is for a source, and the content is here; remove sha256"],
    );
    problems(
        &file(r#""source": "app.conf", "dest": "/a", "sha256": ▸"abc""#),
        &["$.files[0].sha256: expected 64 hexadecimal digits, as sha256sum prints them"],
    );
    problems(
        &file(r#""source": ▸"", "dest": "/a""#),
        &["$.files[0].source: a source is a path: not empty, without a NUL character"],
    );
}

#[test]
fn what_a_directory_needs_a_source_for() {
    let at = |members: &str| directory(members).replace("[{", "[▸{");
    problems(
        &at(r#""path": "/a", "exact": true"#),
        &["$.directories[0]: exact needs a source; add one or remove exact"],
    );
    problems(
        &at(r#""path": "/a", "file_mode": "0440""#),
        &["$.directories[0]: file_mode needs a source; add one or remove file_mode"],
    );
    problems(
        &at(r#""path": "/a", "source": "tree", "recursive": true"#),
        &["$.directories[0]: recursive is for a directory without a source; remove one of the two"],
    );
}

#[test]
fn services_that_cannot_be() {
    let at = |members: &str| service(members).replace(r#""service": {"#, r#""service": ▸{"#);
    problems(
        &service(r#""user": "app", "command": ▸[]"#),
        &["$.service.command: the command names no program; begin it with one"],
    );
    problems(
        &service(r#""user": "app", "command": ▸["", "x"]"#),
        &["$.service.command: the command names no program; begin it with one"],
    );
    problems(
        &service(r#""user": "app", "command": ["a", ▸"b\u0000"]"#),
        &["$.service.command[1]: a NUL character cannot be passed to a program; remove it"],
    );
    problems(
        &at(r#""user": "app", "env": {"A=B": ""}"#),
        &["$.service: env: \"A=B\" is no variable name; it is empty or holds = or NUL"],
    );
    problems(
        &at(r#""user": "app", "env": {"SEALINIT_PIN": ""}"#),
        &[
            "$.service: env: SEALINIT_PIN never reaches the service; choose a name without SEALINIT_",
        ],
    );
    problems(
        &service(r#""user": "app", "working_dir": ▸"srv""#),
        &["$.service.working_dir: \"srv\" is not an absolute path; begin it with /"],
    );
    problems(
        &service(r#""user": "app", "capabilities": [▸"net_bind_service", ▸"CAP_FLY"]"#),
        &[
            "$.service.capabilities[0]: \"net_bind_service\" is not a capability; did you mean \"NET_BIND_SERVICE\"?",
            "$.service.capabilities[1]: \"CAP_FLY\" is not a capability; capabilities(7) lists them",
        ],
    );
    problems(
        &service(r#""user": ▸"""#),
        &["$.service.user: the name is empty; write a name, or an id as a number"],
    );
    problems(
        &service(r#""user": ▸"root""#),
        &[
            "$.service.user: the service would run as root; name another user, or add \"allow_root\": true",
        ],
    );
    for key in [
        "\"signals\": {}",
        "\"stop_grace_seconds\": 8",
        "\"expected_exit\": [143]",
    ] {
        let name = key.split('"').nth(1).unwrap();
        problems(
            &at(&format!(r#""user": "app", {key}"#)),
            &[&format!(
                "$.service: {name} needs \"supervise\": true; add it or remove {name}"
            )],
        );
    }
}

#[test]
fn a_working_directory_that_cannot_be_entered() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.file("/srv/file", "").directory("/srv/roots", 0o700);
    for directory in ["/srv/missing", "/srv/file", "/srv/roots"] {
        let mut manifest = one_file(&["true"]);
        manifest["service"]["working_dir"] = json!(directory);
        let sandbox = sandbox.another();
        sandbox.file("/srv/file", "").directory("/srv/roots", 0o700);
        sandbox.one_file(&[]).manifest(&manifest);
        let start = sandbox.start();
        let code = start.exit_code();
        assert!([78, 126].contains(&code), "{start:?}");
        start.failed(code, directory);
    }
}

/// A manifest with one file from this source.
fn from_source(source: &str) -> Value {
    let mut manifest = one_file(&["true"]);
    manifest["files"][0]["source"] = json!(source);
    manifest
}

#[test]
fn sources_that_are_missing_are_all_named() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox
        .symlink("/etc/sealinit/dangling", "nowhere")
        .symlink("/etc/sealinit/loop", "loop");
    sandbox.manifest(&json!({
        "version": 1,
        "service": {"user": "app", "command": ["true"]},
        "files": [
            {"source": "a.conf", "dest": "/etc/app/a"},
            {"source": "/run/b.conf", "dest": "/etc/app/b"},
            {"source": "dangling", "dest": "/etc/app/c"},
            {"source": "loop", "dest": "/etc/app/d", "optional": true},
        ],
        "directories": [{"path": "/etc/app/tree", "source": "tree"}],
    }));
    let refused = sandbox.start().refused(66, "");
    let errors = refused.errors();
    assert_eq!(errors.len(), 5, "{refused:?}");
    for (error, (source, dest)) in errors.iter().zip([
        ("/etc/sealinit/a.conf", "/etc/app/a"),
        ("/run/b.conf", "/etc/app/b"),
        ("/etc/sealinit/dangling", "/etc/app/c"),
        ("/etc/sealinit/loop", "/etc/app/d"),
        ("/etc/sealinit/tree", "/etc/app/tree"),
    ]) {
        assert!(
            error.contains(source) && error.contains(dest),
            "{source} -> {dest} is not in {error}"
        );
    }
}

#[test]
fn sources_that_are_no_regular_files_are_no_hang() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox
        .fifo("/etc/sealinit/pipe")
        .directory("/etc/sealinit/directory", 0o755)
        .source("device", "");
    sandbox.symlink("/etc/sealinit/link", "pipe");
    for (source, kind) in [
        ("pipe", "a FIFO"),
        ("link", "a FIFO"),
        ("directory", "a directory"),
        ("device", "a device"),
    ] {
        for optional in [false, true] {
            let mut manifest = from_source(source);
            manifest["files"][0]["optional"] = json!(optional);
            sandbox.manifest(&manifest);
            let launch = sandbox
                .launch()
                .bind_host("/dev/zero", "/etc/sealinit/device");
            let refused = launch
                .start()
                .refused(66, &format!("/etc/sealinit/{source}"));
            refused.says(kind);
        }
    }
}

#[test]
fn source_directories_that_hold_what_cannot_be_copied() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox
        .source("file", "")
        .directory("/etc/sealinit/piped", 0o755)
        .fifo("/etc/sealinit/piped/pipe")
        .source("device/device", "")
        .directory("/etc/sealinit/looped", 0o755)
        .symlink("/etc/sealinit/looped/up", "../looped")
        .directory("/etc/sealinit/dangling", 0o755)
        .symlink("/etc/sealinit/dangling/link", "nowhere")
        .source("ours/.sealinit.0123456789abcdef", "");
    for (source, culprit, why) in [
        ("file", "/etc/sealinit/file", "a regular file"),
        ("piped", "/etc/sealinit/piped/pipe", "a FIFO"),
        ("device", "/etc/sealinit/device/device", "a device"),
        ("looped", "/etc/sealinit/looped/up", "leads back"),
        ("dangling", "/etc/sealinit/dangling/link", ""),
        (
            "ours",
            "/etc/sealinit/ours/.sealinit.0123456789abcdef",
            ".sealinit.",
        ),
    ] {
        sandbox.manifest(&json!({
            "version": 1,
            "service": {"user": "app", "command": ["true"]},
            "directories": [{"path": "/etc/app", "source": source}],
        }));
        let launch = sandbox
            .launch()
            .bind_host("/dev/zero", "/etc/sealinit/device/device");
        launch.start().refused(66, culprit).says(why);
    }
}

#[test]
fn sealed_files_that_the_service_could_change() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.source("app.conf", CONTENT).source("tree/a", "");
    let manifest = |files: Value, directories: Value| {
        json!({
            "version": 1,
            "service": {"user": "app", "command": ["true"], "supplementary_groups": ["certs"]},
            "files": files,
            "directories": directories,
        })
    };
    let source = "app.conf";
    let (owner, group, below) = (
        "name another owner",
        "for the service's group with mode",
        "belong to root",
    );
    for (files, directories, at, remedy) in [
        (
            json!([{"source": source, "dest": CONF, "owner": "app"}]),
            json!([]),
            "$.files[0]",
            owner,
        ),
        (
            json!([{"source": source, "dest": CONF, "owner": APP}]),
            json!([]),
            "$.files[0]",
            owner,
        ),
        (
            json!([{"source": source, "dest": CONF, "mode": "0660"}]),
            json!([]),
            "$.files[0]",
            group,
        ),
        (
            json!([{"source": source, "dest": CONF, "mode": "0460", "group": "certs"}]),
            json!([]),
            "$.files[0]",
            group,
        ),
        (
            json!([{"source": source, "dest": CONF}]),
            json!([{"path": "/etc/app"}]),
            "$.files[0]",
            below,
        ),
        (
            json!([{"source": source, "dest": "/srv/a/b/c"}]),
            json!([{"path": "/srv/a"}]),
            "$.files[0]",
            below,
        ),
        (
            json!([]),
            json!([{"path": "/etc/app", "source": "tree", "owner": "app"}]),
            "$.directories[0]",
            owner,
        ),
        (
            json!([]),
            json!([{"path": "/etc/app", "source": "tree", "mode": "0770"}]),
            "$.directories[0]",
            group,
        ),
        (
            json!([]),
            json!([{"path": "/etc/app", "source": "tree", "file_mode": "0660"}]),
            "$.directories[0]",
            group,
        ),
        (
            json!([]),
            json!([{"path": "/srv/a"}, {"path": "/srv/a/b", "source": "tree"}]),
            "$.directories[1]",
            below,
        ),
    ] {
        sandbox.manifest(&manifest(files, directories));
        sandbox.start().refused(78, at).says(remedy);
    }
    // A group that the service is not in may write.
    sandbox.manifest(&manifest(
        json!([{"source": source, "dest": CONF, "mode": "0660", "group": OTHER}]),
        json!([]),
    ));
    assert_eq!(sandbox.start().success().summarised("lock"), "full");
}
