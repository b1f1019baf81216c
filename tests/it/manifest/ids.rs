//! Users, groups and ids: exactly what the accounts and the kernel call one.

use serde_json::{Value, json};

use super::{file, problems, service};
use crate::harness::{APP, CONF, CONTENT, MANIFEST, one_file, sandbox_test};

sandbox_test!(names_that_are_digits_are_refused, |sandbox| {
    for key in ["user", "group"] {
        let others = if key == "user" {
            ""
        } else {
            r#""user": "app", "#
        };
        problems(
            &sandbox,
            &service(&format!(r#"{others}"{key}": ▸"1000""#)),
            &[&format!(
                "$.service.{key}: \"1000\" is a string of digits; write 1000 without quotes for an id"
            )],
        );
    }
    problems(
        &sandbox,
        &service(r#""user": "app", "supplementary_groups": ["certs", ▸"0"]"#),
        &[
            "$.service.supplementary_groups[1]: \"0\" is a string of digits; write 0 without quotes for an id",
        ],
    );
    problems(
        &sandbox,
        &file(r#""content": "", "dest": "/a", "owner": ▸"0", "group": ▸"007""#),
        &[
            "$.files[0].owner: \"0\" is a string of digits; write 0 without quotes for an id",
            "$.files[0].group: \"007\" is a string of digits; write 007 without quotes for an id",
        ],
    );
});

sandbox_test!(numbers_that_are_not_ids_are_refused, |sandbox| {
    for id in ["-1", "1.5", "4294967296", "1e3"] {
        problems(
            &sandbox,
            &service(&format!(r#""user": ▸{id}"#)),
            &["$.service.user: expected a whole number from 0 to 4294967295"],
        );
    }
    problems(
        &sandbox,
        &service(r#""user": ▸4294967295"#),
        &["$.service.user: 4294967295 is not an id: system calls take it for \"unchanged\""],
    );
});

sandbox_test!(unknown_users_and_groups_are_all_named, |sandbox| {
    sandbox.source("app.conf", CONTENT).manifest(&json!({
        "version": 1,
        "service": {"user": "ap", "group": "nobody", "supplementary_groups": ["cert"], "command": ["true"]},
        "files": [{"source": "app.conf", "dest": CONF, "owner": "mallory", "group": "app"}],
        "directories": [{"path": "/srv", "group": "www-data"}],
    }));
    let refused = sandbox.start().refused(67, "$.service.user");
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
});

sandbox_test!(
    accounts_in_a_scratch_image_are_unknown_by_name_and_usable_by_id,
    |sandbox| {
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
);

fn as_user(user: &Value) -> Value {
    let mut manifest = one_file(&["sh", "-c", "id -u; id -g"]);
    manifest["service"]["user"] = user.clone();
    manifest["service"]["group"] = json!("app");
    manifest
}

// systemd issue 6237, htop issue 1894, and other strings that programs have taken for a user.
sandbox_test!(strings_that_look_like_users_are_refused, |sandbox| {
    sandbox.one_file(&[]);
    for user in [
        "",
        " ",
        "+5",
        "-1",
        " 5",
        "5 ",
        "0x10",
        "1e3",
        "0day",
        ":",
        ":0",
        "nobody:",
        "nobody:bogus",
        "nobody:4294967296",
        "app:app",
        "app ",
        " app",
        "App",
        "app\n",
        "app\u{0}",
        "root\u{0}",
        "../app",
        "*",
        "-",
        "+",
        "\u{ff10}",
        "-18446744073709551615",
    ] {
        sandbox.manifest(&as_user(&json!(user)));
        let start = sandbox.start();
        let code = start.one_of(&[67, 78]);
        start.refused(code, "$.service.user");
    }
    for user in ["0", "5", "4294967295", "4294967296", "00", "1000"] {
        sandbox.manifest(&as_user(&json!(user)));
        sandbox.start().refused(78, "string of digits");
    }
    for user in [
        "-1",
        "1e3",
        "4294967295",
        "4294967296",
        "1.0",
        "null",
        "true",
        "[1000]",
        "{}",
        "18446744073709551617",
    ] {
        let text = serde_json::to_string(&as_user(&json!("USER")))
            .unwrap()
            .replace("\"USER\"", user);
        sandbox.file(MANIFEST, text);
        sandbox.start().refused(78, "$.service.user");
    }
});

sandbox_test!(the_largest_uids_are_accepted, |original| {
    for uid in [2_147_483_648_u32, 4_294_967_294] {
        let sandbox = original.another();
        let mut manifest = as_user(&json!(uid));
        manifest["service"]["group"] = json!(uid);
        sandbox.one_file(&[]).manifest(&manifest);
        let start = sandbox.start();
        // A user namespace may not map it; then the message names it.
        if start.exit_code() == 77 {
            start.refused(77, &uid.to_string());
            continue;
        }
        assert_eq!(start.success().stdout, format!("{uid}\n{uid}\n"));
    }
});
