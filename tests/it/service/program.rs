//! The command of the service: found, executed with its arguments, its exit status passed on.

use serde_json::json;

use crate::harness::{CONTENT, one_file, sandbox_test};

sandbox_test!(
    the_command_line_takes_the_place_of_the_manifests_command,
    |sandbox| {
        sandbox.one_file(&["echo", "manifest"]);
        let arguments = [
            "--",
            "printf",
            "[%s]",
            "a b",
            "",
            "--help",
            "new\nline",
            "'\"$(id)\\",
        ];
        let service = sandbox.launch().args(arguments).start().success();
        assert_eq!(service.stdout, "[a b][][--help][new\nline]['\"$(id)\\]");
    }
);

sandbox_test!(the_arguments_of_the_service_may_be_any_bytes, |sandbox| {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    sandbox.one_file(&[]);
    let mut manifest = one_file(&[]);
    manifest["service"]
        .as_object_mut()
        .unwrap()
        .remove("command");
    sandbox.manifest(&manifest);
    let latin = OsStr::from_bytes(b"caf\xe9");
    let show = r#"printf %s "$1" | od -An -tx1"#;
    let arguments = ["--", "sh", "-c", show, "sh"].map(OsStr::new);
    for _ in ["first start", "later start"] {
        let service = sandbox
            .launch()
            .args(arguments)
            .args([latin])
            .start()
            .success();
        assert_eq!(service.stdout, " 63 61 66 e9\n");
    }
});

sandbox_test!(
    the_exit_status_of_the_service_is_the_containers,
    |sandbox| {
        sandbox.one_file(&["sh", "-c", "exit $STATUS"]);
        for status in [0, 1, 42, 78, 80, 126, 255] {
            let _ = sandbox
                .launch()
                .env("STATUS", status.to_string())
                .start()
                .exited(status);
        }
    }
);

sandbox_test!(
    the_program_is_searched_in_the_services_own_path,
    |sandbox| {
        sandbox
            .file("/opt/bin/program", "#!/bin/sh\necho /opt\n")
            .mode("/opt/bin/program", 0o755);
        let mut manifest = one_file(&["program"]);
        manifest["service"]["env"] = json!({"PATH": "/opt/bin:/bin"});
        sandbox.one_file(&[]).manifest(&manifest);
        assert_eq!(sandbox.start().success().stdout, "/opt\n");
    }
);

sandbox_test!(without_any_path_the_usual_one_is_searched, |sandbox| {
    sandbox.one_file(&["cat", "/etc/app/app.conf"]);
    assert_eq!(
        sandbox.launch().env_clear().start().success().stdout,
        CONTENT
    );
});

sandbox_test!(a_program_that_does_not_exist_is_127, |sandbox| {
    for program in ["no-such-program", "/no/such/program"] {
        let sandbox = sandbox.another();
        sandbox.one_file(&[program]);
        sandbox.start().refused(127, program);
    }
});

sandbox_test!(a_program_that_cannot_be_executed_is_126, |sandbox| {
    sandbox.file("/opt/not-executable", "#!/bin/sh\n");
    sandbox
        .file("/opt/roots-own", "#!/bin/sh\n")
        .mode("/opt/roots-own", 0o700);
    for program in ["/opt", "/opt/not-executable", "/opt/roots-own"] {
        sandbox.one_file(&[program]);
        sandbox.start().refused(126, program);
    }
});

sandbox_test!(a_program_that_the_kernel_refuses_is_126, |sandbox| {
    sandbox
        .file("/opt/no-format", "what is this\n")
        .mode("/opt/no-format", 0o755);
    sandbox.one_file(&["/opt/no-format"]);
    sandbox.start().failed(126, "/opt/no-format");
    let sandbox = sandbox.another();
    sandbox
        .file("/opt/orphan", "#!/no/such/interpreter\n")
        .mode("/opt/orphan", 0o755);
    sandbox.one_file(&["/opt/orphan"]);
    sandbox
        .start()
        .failed(126, "/opt/orphan")
        .says("interpreter");
});
