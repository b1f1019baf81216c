//! Destinations: absolute, written in one way, declared once, and not sealinit's own.

use serde_json::json;

use super::{directory, file, problems};
use crate::harness::{SEAL, sandbox_test};

sandbox_test!(relative_and_ambiguous_paths_are_refused, |sandbox| {
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
            &sandbox,
            &file(&format!(r#""content": "", "dest": ▸"{path}""#)),
            &[&format!("$.files[0].dest: {message}")],
        );
        problems(
            &sandbox,
            &directory(&format!(r#""path": ▸"{path}""#)),
            &[&format!("$.directories[0].path: {message}")],
        );
        problems(
            &sandbox,
            &format!(r#"{{"version": 1, "service": {{"user": "app"}}, "absent": [▸"{path}"]}}"#),
            &[&format!("$.absent[0]: {message}")],
        );
    }
});

sandbox_test!(paths_that_no_system_call_accepts_are_refused, |sandbox| {
    problems(
        &sandbox,
        &file(r#""content": "", "dest": ▸"/a\u0000b""#),
        &["$.files[0].dest: \"/a\\0b\" holds a NUL character; remove it"],
    );
    let long = format!("/{}", "n".repeat(256));
    problems(
        &sandbox,
        &file(&format!(r#""content": "", "dest": ▸"{long}""#)),
        &[&format!(
            "$.files[0].dest: \"{long}\" has a name longer than 255 bytes; shorten it"
        )],
    );
    let deep = "/d".repeat(2048);
    problems(
        &sandbox,
        &file(&format!(r#""content": "", "dest": ▸"{deep}""#)),
        &[&format!(
            "$.files[0].dest: \"{deep}\" is longer than 4095 bytes; shorten it"
        )],
    );
});

sandbox_test!(duplicate_destinations_are_refused, |sandbox| {
    problems(
        &sandbox,
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
});

sandbox_test!(
    destinations_below_a_file_or_an_absent_path_are_refused,
    |sandbox| {
        problems(
            &sandbox,
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
);

sandbox_test!(
    a_destination_that_is_declared_and_in_a_source_directory_is_refused,
    |sandbox| {
        sandbox.source("tree/a", "tree's").manifest(&json!({
            "version": 1,
            "service": {"user": "app", "command": ["true"]},
            "files": [{"content": "file's", "dest": "/etc/app/a"}],
            "directories": [{"path": "/etc/app", "source": "tree"}],
        }));
        sandbox.start().refused(78, "/etc/app/a");
    }
);

// A manifest must not replace the files that sealinit itself reads and writes.
sandbox_test!(
    destinations_in_and_above_the_state_directory_are_refused,
    |sandbox| {
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
        // Nor may it remove a directory above them.
        sandbox.source("tree/a", "");
        for (key, value) in [
            (
                "directories",
                json!([{"path": "/var/lib", "source": "tree", "exact": true}]),
            ),
            ("absent", json!(["/var/lib"])),
            ("absent", json!(["/var"])),
        ] {
            let mut manifest =
                json!({"version": 1, "service": {"user": "app", "command": ["true"]}});
            manifest[key] = value;
            sandbox.manifest(&manifest);
            sandbox.start().refused(78, "/var/lib/sealinit");
        }
    }
);
