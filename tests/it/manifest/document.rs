//! The document as a whole: missing, damaged, oversized, not JSON, of another version.

use serde_json::json;

use super::problems;
use crate::harness::{CONTENT, MANIFEST, one_file, sandbox_test};

sandbox_test!(
    every_problem_is_reported_at_once_with_line_column_and_path,
    |sandbox| {
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
        let refused = sandbox.start().refused(78, MANIFEST);
        assert_eq!(
            refused.errors(),
            [
                "/etc/sealinit/manifest.json:3:40: $.service.comand: unknown key \"comand\"; did you mean \"command\"?",
                "/etc/sealinit/manifest.json:3:59: $.service.umask: a mode is a string of octal digits, such as \"0640\"",
                "/etc/sealinit/manifest.json:5:29: $.files[0].dest: \"etc/app.conf\" is not absolute; begin it with /",
                "/etc/sealinit/manifest.json:6:47: $.files[1].mode: \"04755\" is not a mode; write one to four octal digits, such \
             as \"0640\"",
                "/etc/sealinit/manifest.json:6:56: $.files[1]: duplicate key \"mode\"; remove one",
                "/etc/sealinit/manifest.json:8:15: $.on_drift: unknown value \"ignore\"; known here: refuse, warn, restore",
            ]
        );
        refused.says("state=refused");
    }
);

sandbox_test!(a_missing_manifest_is_refused, |sandbox| {
    let refused = sandbox.start().refused(78, MANIFEST);
    assert_eq!(refused.errors().len(), 1, "{refused:?}");
});

sandbox_test!(
    a_manifest_that_is_not_a_regular_file_is_refused_without_blocking,
    |sandbox| {
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
);

sandbox_test!(an_empty_manifest_is_refused, |sandbox| {
    problems(
        &sandbox,
        "▸",
        &["$: not JSON: EOF while parsing a value; the file is empty"],
    );
    problems(
        &sandbox,
        "  \n▸\t",
        &["$: not JSON: EOF while parsing a value; the file is empty"],
    );
});

sandbox_test!(
    a_manifest_that_is_truncated_anywhere_is_refused,
    |sandbox| {
        let whole = serde_json::to_string(&one_file(&["true"])).unwrap();
        sandbox.source("app.conf", CONTENT);
        for length in (1..whole.len()).step_by(7).chain([whole.len() - 1]) {
            sandbox.file(MANIFEST, &whole[..length]);
            let refused = sandbox.start().refused(78, "not JSON");
            assert_eq!(refused.errors().len(), 1, "{refused:?}");
        }
    }
);

sandbox_test!(a_manifest_that_is_not_json_is_refused, |sandbox| {
    problems(&sandbox, "▸# comment\n{}", &["$: not JSON: expected value"]);
    problems(
        &sandbox,
        "{\"version\": 1} ▸{}",
        &["$: not JSON: trailing characters"],
    );
    problems(
        &sandbox,
        "▸\u{feff}{}",
        &["$: not JSON: expected value; remove the byte order mark"],
    );
});

sandbox_test!(
    a_manifest_with_a_trailing_comma_is_refused_with_the_remedy,
    |sandbox| {
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
);

sandbox_test!(a_manifest_that_is_not_utf_8_is_refused, |sandbox| {
    sandbox.file(MANIFEST, b"{\n  \"versi\xf6n\": 1\n}");
    let refused = sandbox.start().refused(78, "not UTF-8");
    assert_eq!(
        refused.errors(),
        ["/etc/sealinit/manifest.json:2:9: $: this byte is not UTF-8; save the file as UTF-8"]
    );
});

sandbox_test!(an_oversized_manifest_is_refused, |sandbox| {
    let mut text = serde_json::to_vec(&one_file(&["true"])).unwrap();
    text.resize(64 << 20, b' ');
    sandbox.file(MANIFEST, text).source("app.conf", CONTENT);
    let refused = sandbox.start().refused(78, MANIFEST);
    assert_eq!(refused.errors().len(), 1, "{refused:?}");
});

sandbox_test!(a_manifest_that_is_nested_too_deeply_is_refused, |sandbox| {
    sandbox.file(
        MANIFEST,
        format!("{{\"version\": 1, \"x-deep\": {}", "[".repeat(100_000)),
    );
    sandbox.start().refused(78, "not JSON");
});

sandbox_test!(a_document_that_is_not_an_object_is_refused, |sandbox| {
    problems(&sandbox, "▸[]", &["$: expected an object, found an array"]);
    problems(
        &sandbox,
        "▸\"manifest\"",
        &["$: expected an object, found a string"],
    );
    problems(&sandbox, "▸null", &["$: expected an object, found null"]);
});

sandbox_test!(unsupported_versions_are_refused, |sandbox| {
    problems(
        &sandbox,
        r#"{"version": ▸2, "service": {"user": "app"}}"#,
        &["$.version: version 2 is not known to this sealinit; supported: 1"],
    );
    problems(
        &sandbox,
        r#"{"version": ▸0, "service": {"user": "app"}}"#,
        &["$.version: version 0 is not known to this sealinit; supported: 1"],
    );
    problems(
        &sandbox,
        r#"{"version": ▸1.5, "service": {"user": "app"}}"#,
        &["$.version: expected a whole number from 0 to 4294967295"],
    );
});

// The message for an old binary with a new manifest is the version, not a list of unknown keys.
sandbox_test!(
    a_newer_version_is_the_only_problem_of_a_newer_manifest,
    |sandbox| {
        problems(
            &sandbox,
            r#"{"version": ▸2, "service": {"user": "app", "cgroup": "x"}, "templates": []}"#,
            &["$.version: version 2 is not known to this sealinit; supported: 1"],
        );
    }
);

sandbox_test!(
    extensions_and_a_schema_are_allowed_and_mean_nothing,
    |sandbox| {
        let mut manifest = one_file(&["true"]);
        manifest["$schema"] = json!("https://example.org/manifest.json");
        manifest["x-team"] = json!({"nested": ["anything", null, 1.5]});
        manifest["service"]["x-note"] = json!(null);
        manifest["files"][0]["x-note"] = json!(true);
        sandbox.one_file(&[]).manifest(&manifest);
        let _ = sandbox.start().success();
    }
);
