//! The service: commands, variables, capabilities and directories that it cannot have.

use serde_json::json;

use super::{problems, service};
use crate::harness::{one_file, sandbox_test};

sandbox_test!(
    unknown_capabilities_empty_commands_and_root_without_allow_root_are_refused,
    |sandbox| {
        let at = |members: &str| service(members).replace(r#""service": {"#, r#""service": ▸{"#);
        problems(
            &sandbox,
            &service(r#""user": "app", "command": ▸[]"#),
            &["$.service.command: the command names no program; begin it with one"],
        );
        problems(
            &sandbox,
            &service(r#""user": "app", "command": ▸["", "x"]"#),
            &["$.service.command: the command names no program; begin it with one"],
        );
        problems(
            &sandbox,
            &service(r#""user": "app", "command": ["a", ▸"b\u0000"]"#),
            &["$.service.command[1]: a NUL character cannot be passed to a program; remove it"],
        );
        problems(
            &sandbox,
            &at(r#""user": "app", "env": {"A=B": ""}"#),
            &["$.service: env: \"A=B\" is not a variable name; it is empty or holds = or NUL"],
        );
        problems(
            &sandbox,
            &at(r#""user": "app", "env": {"SEALINIT_PIN": ""}"#),
            &[
                "$.service: env: SEALINIT_PIN never reaches the service; choose a name without SEALINIT_",
            ],
        );
        problems(
            &sandbox,
            &service(r#""user": "app", "working_dir": ▸"srv""#),
            &["$.service.working_dir: \"srv\" is not an absolute path; begin it with /"],
        );
        problems(
            &sandbox,
            &service(r#""user": "app", "capabilities": [▸"net_bind_service", ▸"CAP_FLY"]"#),
            &[
                "$.service.capabilities[0]: \"net_bind_service\" is not a capability; did you mean \"NET_BIND_SERVICE\"?",
                "$.service.capabilities[1]: \"CAP_FLY\" is not a capability; capabilities(7) lists them",
            ],
        );
        problems(
            &sandbox,
            &service(r#""user": ▸"""#),
            &["$.service.user: the name is empty; write a name, or an id as a number"],
        );
        problems(
            &sandbox,
            &service(r#""user": ▸"root", "command": ["true"]"#),
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
                &sandbox,
                &at(&format!(r#""user": "app", {key}"#)),
                &[&format!(
                    "$.service: {name} needs \"supervise\": true; add it or remove {name}"
                )],
            );
        }
    }
);

sandbox_test!(
    a_working_directory_that_cannot_be_entered_is_refused,
    |sandbox| {
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
);

sandbox_test!(a_service_without_a_command_is_refused, |sandbox| {
    let mut manifest = one_file(&[]);
    manifest["service"]
        .as_object_mut()
        .unwrap()
        .remove("command");
    sandbox.one_file(&[]).manifest(&manifest);
    sandbox.start().refused(78, "command");
});
