//! Modes: strings of octal digits, and no bit that a sealed entry must not have.

use serde_json::json;

use super::{directory, file, problems, service};
use crate::harness::{APP, OTHER, hash, sandbox_test};

sandbox_test!(
    numeric_modes_are_refused_with_the_string_to_write,
    |sandbox| {
        problems(
            &sandbox,
            &file(r#""content": "", "dest": "/a", "mode": ▸640"#),
            &["$.files[0].mode: a mode is a string of octal digits; write \"0640\""],
        );
        problems(
            &sandbox,
            &file(r#""content": "", "dest": "/a", "mode": ▸488"#),
            &["$.files[0].mode: a mode is a string of octal digits, such as \"0640\""],
        );
        problems(
            &sandbox,
            &file(r#""content": "", "dest": "/a", "mode": 0▸640"#),
            &["$: not JSON: invalid number; a mode is a string of octal digits, such as \"0640\""],
        );
        problems(
            &sandbox,
            &service(r#""user": "app", "umask": ▸27"#),
            &["$.service.umask: a mode is a string of octal digits; write \"0027\""],
        );
    }
);

sandbox_test!(strings_that_are_not_modes_are_refused, |sandbox| {
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
            &sandbox,
            &file(&format!(
                r#""content": "", "dest": "/a", "mode": ▸"{mode}""#
            )),
            &[&format!(
                "$.files[0].mode: \"{mode}\" is not a mode; write one to four octal digits, such as \"0640\""
            )],
        );
    }
});

sandbox_test!(
    set_id_sticky_and_world_writable_modes_are_refused,
    |sandbox| {
        for (mode, has, fit) in [
            ("4755", "the set-user-ID bit", "0755"),
            ("2755", "the set-group-ID bit", "0755"),
            ("1755", "the sticky bit", "0755"),
            ("0646", "write permission for everyone", "0644"),
        ] {
            let message = format!("mode {mode} has {has}; write \"{fit}\"");
            problems(
                &sandbox,
                &file(&format!(
                    r#""content": "", "dest": "/a", "mode": ▸"{mode}""#
                )),
                &[&format!("$.files[0].mode: {message}")],
            );
            problems(
                &sandbox,
                &directory(&format!(
                    r#""path": "/a", "source": "tree", "mode": ▸"{mode}""#
                )),
                &[&format!("$.directories[0].mode: {message}")],
            );
            problems(
                &sandbox,
                &directory(&format!(
                    r#""path": "/a", "source": "tree", "file_mode": ▸"{mode}""#
                )),
                &[&format!("$.directories[0].file_mode: {message}")],
            );
        }
        problems(
            &sandbox,
            &service(r#""user": "app", "umask": ▸"1777""#)
                .replace('▸', "")
                .replace(r#""service": {"#, r#""service": ▸{"#),
            &["$.service: umask 1777 has bits other than permissions; write \"0027\" or the like"],
        );
    }
);

sandbox_test!(modes_are_octal_with_or_without_a_leading_zero, |sandbox| {
    sandbox.manifest(&json!({
        "version": 1,
        "service": {"user": "app", "command": ["true"]},
        "files": [
            {"content": "", "dest": "/etc/app/a", "mode": "0640"},
            {"content": "", "dest": "/etc/app/b", "mode": "640", "group": "other"},
            {"content": "", "dest": "/etc/app/c", "mode": "0"},
            {"content": "", "dest": "/etc/app/d", "mode": "0755"},
        ],
    }));
    let _ = sandbox.start().success();
    let empty = hash("");
    assert_eq!(
        sandbox.object("/etc/app/a"),
        format!("file 0640 0:{APP} {empty}")
    );
    assert_eq!(
        sandbox.object("/etc/app/b"),
        format!("file 0640 0:{OTHER} {empty}")
    );
    assert_eq!(
        sandbox.object("/etc/app/c"),
        format!("file 0000 0:{APP} {empty}")
    );
    assert_eq!(
        sandbox.object("/etc/app/d"),
        format!("file 0755 0:{APP} {empty}")
    );
    assert_eq!(sandbox.start().success().state(), "verified");
});
