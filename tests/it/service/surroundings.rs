//! Descriptors, environment, umask and working directory of the service.

use serde_json::json;

use crate::harness::{CONTENT, one_file, sandbox_test};

sandbox_test!(the_service_gets_only_the_standard_descriptors, |sandbox| {
    // The listing itself needs one, the first that is free.
    sandbox.one_file(&["ls", "/proc/self/fd"]);
    let service = sandbox
        .launch()
        .prelude("exec 7</etc/passwd 9>/tmp/scratch 200</")
        .start()
        .success();
    assert_eq!(service.stdout, "0\n1\n2\n3\n");
    assert_eq!(
        sandbox.start().success().stdout,
        "0\n1\n2\n3\n",
        "at a later start"
    );
});

sandbox_test!(closed_standard_descriptors_are_the_null_device, |sandbox| {
    let look = "x=$(readlink /proc/$$/fd/0 /proc/$$/fd/1 /proc/$$/fd/2); echo \"$x\" >/home/app/descriptors; echo >&2";
    sandbox.one_file(&["sh", "-c", look]);
    for later in [false, true] {
        let outcome = sandbox
            .launch()
            .prelude("exec 0<&- 1>&- 2>&-")
            .start()
            .code(0);
        assert_eq!(outcome.stderr, "");
        let descriptors = sandbox.read("/home/app/descriptors");
        assert_eq!(
            descriptors, "/dev/null\n/dev/null\n/dev/null\n",
            "at a later start: {later}"
        );
        // Without the null device, the next opened file would get the log.
        assert_eq!(sandbox.read("/etc/app/app.conf"), CONTENT);
    }
});

sandbox_test!(
    a_service_runs_even_if_the_log_cannot_be_written,
    |sandbox| {
        sandbox
            .file("/dev/full", "")
            .one_file(&["sh", "-c", "echo ran"]);
        for _ in ["first start", "later start"] {
            let start = sandbox
                .launch()
                .bind_host("/dev/full", "/dev/full")
                .prelude("exec 2>/dev/full")
                .start()
                .code(0);
            assert_eq!(start.stdout, "ran\n");
        }
        let broken = sandbox
            .launch()
            .prelude("exec 2> >(true); sleep 0.1")
            .start()
            .code(0);
        assert_eq!(broken.stdout, "ran\n", "with a pipe without a reader");
    }
);

sandbox_test!(the_service_can_open_its_output_again, |sandbox| {
    // /dev/stdout and /dev/stderr link there, and images link their log files to those.
    sandbox.one_file(&[
        "sh",
        "-c",
        "echo out >/proc/self/fd/1; echo err >/proc/self/fd/2",
    ]);
    let service = sandbox.start().success();
    assert_eq!(service.stdout, "out\n");
    service.says("err");
});

sandbox_test!(
    the_environment_is_the_containers_with_the_manifests_variables,
    |sandbox| {
        let mut manifest = one_file(&["env"]);
        manifest["service"]["env"] = json!({"TZ": "UTC", "LANG": "C.UTF-8", "EMPTY": ""});
        sandbox.one_file(&["env"]).manifest(&manifest);
        for _ in ["first start", "later start"] {
            let service = sandbox
                .launch()
                .env("TZ", "CET")
                .env("INHERITED", "a b\nc")
                .env("HOME", "/root")
                .env("USER", "root")
                .env("LOGNAME", "root")
                .env("SEALINIT_LOG_LEVEL", "debug")
                .env("SEALINIT_UNHEARD_OF", "1")
                .start()
                .success();
            let mut variables: Vec<_> = service.stdout.lines().collect();
            variables.sort_unstable();
            assert_eq!(
                variables,
                [
                    "EMPTY=",
                    "HOME=/home/app",
                    "INHERITED=a b",
                    "LANG=C.UTF-8",
                    "LOGNAME=app",
                    "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                    "TZ=UTC",
                    "USER=app",
                    "c",
                ]
            );
        }
    }
);

sandbox_test!(the_manifest_may_set_home_itself, |sandbox| {
    let mut manifest = one_file(&["sh", "-c", "echo $HOME $USER"]);
    manifest["service"]["env"] = json!({"HOME": "/srv"});
    sandbox.one_file(&[]).manifest(&manifest);
    assert_eq!(sandbox.start().success().stdout, "/srv app\n");
});

sandbox_test!(
    a_uid_without_an_account_has_the_root_directory_as_its_home,
    |sandbox| {
        let mut manifest = one_file(&["sh", "-c", "echo $HOME"]);
        manifest["service"]["user"] = json!(4711);
        manifest["service"]["group"] = json!(4711);
        sandbox.one_file(&[]).manifest(&manifest);
        let service = sandbox.launch().env("HOME", "/root").start().success();
        assert_eq!(service.stdout, "/\n");
    }
);

sandbox_test!(
    the_umask_is_the_manifests_or_else_the_inherited_one,
    |sandbox| {
        let mut manifest = one_file(&["sh", "-c", "umask"]);
        sandbox.one_file(&[]).manifest(&manifest);
        for _ in ["first start", "later start"] {
            assert_eq!(
                sandbox
                    .launch()
                    .prelude("umask 0037")
                    .start()
                    .success()
                    .stdout,
                "0037\n"
            );
        }
        let sandbox = sandbox.another();
        manifest["service"]["umask"] = json!("027");
        sandbox.one_file(&[]).manifest(&manifest);
        for _ in ["first start", "later start"] {
            assert_eq!(
                sandbox
                    .launch()
                    .prelude("umask 0037")
                    .start()
                    .success()
                    .stdout,
                "0027\n"
            );
        }
    }
);

sandbox_test!(
    the_working_directory_is_the_manifests_or_else_the_inherited_one,
    |sandbox| {
        let mut manifest = one_file(&["pwd"]);
        sandbox.one_file(&[]).manifest(&manifest);
        for _ in ["first start", "later start"] {
            assert_eq!(
                sandbox.launch().prelude("cd /tmp").start().success().stdout,
                "/tmp\n"
            );
        }
        let sandbox = sandbox.another();
        // Only the service's own uid may enter it.
        manifest["service"]["working_dir"] = json!("/home/app");
        sandbox
            .one_file(&[])
            .manifest(&manifest)
            .mode("/home/app", 0o700);
        for _ in ["first start", "later start"] {
            assert_eq!(sandbox.start().success().stdout, "/home/app\n");
        }
    }
);
