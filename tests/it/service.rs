//! What the service gets: ids, groups, capabilities, signals, descriptors, environment. The service asks the kernel itself.

use serde_json::json;

use crate::sandbox::{CAPABILITY_SETS, CONTENT, EMPTY_SET, Sandbox, one_file};

const STATUS: &[&str] = &["cat", "/proc/self/status"];
/// Bit 10 of capabilities(7).
const NET_BIND_SERVICE: &str = "0000000000000400";

/// Promise 4: the service never has root's ids, groups, capabilities, signal mask, ignored signals or open files unless the
/// manifest says so.
#[test]
fn promise_4_nothing_of_root_is_left() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.one_file(STATUS);
    let service = sandbox
        .launch()
        .prelude("exec 7</etc/passwd 200</")
        .wrapper(["setpriv", "--groups=0,2000,65534"])
        .wrapper(["env", "--ignore-signal", "--block-signal"])
        .start()
        .success();
    service.has_nothing_of_root();
}

#[test]
fn it_is_pid_1_itself() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.one_file(STATUS);
    let service = sandbox.start().success();
    assert_eq!(service.status("Pid"), "1");
    assert_eq!(service.status("Name"), "cat");
    assert_eq!(service.status("Threads"), "1");
}

#[test]
fn sealinit_need_not_be_pid_1() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.one_file(STATUS);
    for state in ["sealed", "verified"] {
        // As under `docker run --init`: another process is, and waits.
        let service = sandbox
            .launch()
            .wrapper(["sh", "-c", "\"$@\"; exit $?", "sh"])
            .start()
            .success();
        assert_eq!(service.state(), state);
        assert_ne!(service.status("Pid"), "1");
        assert_eq!(service.status("Uid"), "1000 1000 1000 1000");
    }
}

/// A later start takes another way to the same end.
#[test]
fn a_later_start_gives_the_same() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    let mut manifest = one_file(STATUS);
    manifest["service"]["supplementary_groups"] = json!(["certs"]);
    manifest["service"]["capabilities"] = json!(["NET_BIND_SERVICE"]);
    sandbox.one_file(STATUS).manifest(&manifest);
    let fields = [
        "Uid",
        "Gid",
        "Groups",
        "NoNewPrivs",
        "SigBlk",
        "SigIgn",
        "SigCgt",
    ];
    let ask = |state: &str| {
        let service = sandbox.start().success();
        assert_eq!(service.state(), state);
        fields
            .iter()
            .chain(&CAPABILITY_SETS)
            .map(|field| service.status(field))
            .collect::<Vec<_>>()
    };
    assert_eq!(ask("sealed"), ask("verified"));
}

#[test]
fn ids_and_the_name_of_a_group_are_taken_as_well() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    let mut manifest = one_file(STATUS);
    manifest["service"]["user"] = json!(4711);
    manifest["service"]["group"] = json!("certs");
    sandbox.one_file(STATUS).manifest(&manifest);
    let service = sandbox.start().success();
    assert_eq!(service.status("Uid"), "4711 4711 4711 4711");
    assert_eq!(service.status("Gid"), "2000 2000 2000 2000");
    assert_eq!(service.status("Groups"), "2000");
}

#[test]
fn listed_supplementary_groups_are_added_to_the_primary() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    let mut manifest = one_file(STATUS);
    manifest["service"]["supplementary_groups"] = json!(["certs", 3000]);
    sandbox.one_file(STATUS).manifest(&manifest);
    assert_eq!(sandbox.start().success().status("Groups"), "1000 2000 3000");
}

#[test]
fn a_kept_capability_is_the_only_one_and_survives_exec() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    for name in ["NET_BIND_SERVICE", "CAP_NET_BIND_SERVICE"] {
        let sandbox = sandbox.another();
        let mut manifest = one_file(STATUS);
        manifest["service"]["capabilities"] = json!([name]);
        sandbox.one_file(STATUS).manifest(&manifest);
        let service = sandbox.start().success();
        for set in CAPABILITY_SETS {
            assert_eq!(service.status(set), NET_BIND_SERVICE, "{set}");
        }
        assert_eq!(service.status("Uid"), "1000 1000 1000 1000");
        assert_eq!(service.status("NoNewPrivs"), "1");
        assert_eq!(service.summarised("lock"), "full");
    }
}

#[test]
fn a_kept_capability_that_overrides_permissions_makes_the_lock_partial() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    for capability in ["DAC_OVERRIDE", "CHOWN", "FOWNER", "SYS_ADMIN"] {
        let sandbox = sandbox.another();
        let mut manifest = one_file(STATUS);
        manifest["service"]["capabilities"] = json!([capability]);
        sandbox.one_file(STATUS).manifest(&manifest);
        let service = sandbox.start().success();
        assert_eq!(service.summarised("lock"), "partial", "{capability}");
        assert_eq!(service.status("CapEff"), service.status("CapBnd"));
    }
}

#[test]
fn no_new_privileges_can_be_left_off() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    let mut manifest = one_file(STATUS);
    manifest["service"]["no_new_privileges"] = json!(false);
    sandbox.one_file(STATUS).manifest(&manifest);
    let service = sandbox.start().success();
    assert_eq!(service.status("NoNewPrivs"), "0");
    assert_eq!(
        service.status("CapBnd"),
        EMPTY_SET,
        "a set-id program would get these"
    );
}

#[test]
fn root_needs_allow_root() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    for root in [json!("root"), json!(0)] {
        let sandbox = sandbox.another();
        let mut manifest = one_file(STATUS);
        manifest["service"]["user"] = root;
        sandbox.one_file(STATUS).manifest(&manifest);
        sandbox.start().refused(78, "allow_root");

        manifest["service"]["allow_root"] = json!(true);
        manifest["service"]["capabilities"] = json!(["NET_BIND_SERVICE"]);
        sandbox.manifest(&manifest);
        let service = sandbox.start().success();
        assert_eq!(service.status("Uid"), "0 0 0 0");
        assert_eq!(service.status("Groups"), "0");
        for set in ["CapPrm", "CapEff", "CapBnd"] {
            assert_eq!(
                service.status(set),
                NET_BIND_SERVICE,
                "{set}: exactly those listed, for root too"
            );
        }
        assert_eq!(service.status("NoNewPrivs"), "1");
        assert_eq!(service.summarised("lock"), "none");
    }
}

#[test]
fn it_gets_no_descriptor_but_its_standard_ones() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
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
}

#[test]
fn closed_standard_descriptors_are_the_null_device() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
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
        // What opens a closed descriptor again gets the log into a file.
        assert_eq!(sandbox.read("/etc/app/app.conf"), CONTENT);
    }
}

#[test]
fn a_log_that_cannot_be_written_does_not_keep_it_from_running() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
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
    assert_eq!(broken.stdout, "ran\n", "with a pipe that nobody reads");
}

#[test]
fn its_output_can_be_opened_again() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    // What /dev/stdout and /dev/stderr are links to; images link their log files there.
    sandbox.one_file(&[
        "sh",
        "-c",
        "echo out >/proc/self/fd/1; echo err >/proc/self/fd/2",
    ]);
    let service = sandbox.start().success();
    assert_eq!(service.stdout, "out\n");
    service.says("err");
}

#[test]
fn its_environment_is_the_containers_with_the_manifests_over_it() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
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

#[test]
fn the_manifest_may_set_home_itself() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    let mut manifest = one_file(&["sh", "-c", "echo $HOME $USER"]);
    manifest["service"]["env"] = json!({"HOME": "/srv"});
    sandbox.one_file(&[]).manifest(&manifest);
    assert_eq!(sandbox.start().success().stdout, "/srv app\n");
}

#[test]
fn a_uid_without_an_account_has_the_root_directory_as_its_home() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    let mut manifest = one_file(&["sh", "-c", "echo $HOME"]);
    manifest["service"]["user"] = json!(4711);
    manifest["service"]["group"] = json!(4711);
    sandbox.one_file(&[]).manifest(&manifest);
    let service = sandbox.launch().env("HOME", "/root").start().success();
    assert_eq!(service.stdout, "/\n");
}

#[test]
fn the_umask_is_the_manifests_or_else_the_inherited_one() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
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

#[test]
fn the_working_directory_is_the_manifests_or_else_the_inherited_one() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
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

#[test]
fn the_command_line_takes_the_place_of_the_manifests_command() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
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

#[test]
fn its_arguments_are_bytes() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let Some(sandbox) = Sandbox::new() else {
        return;
    };
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
}

#[test]
fn without_any_command_it_is_refused() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    let mut manifest = one_file(&[]);
    manifest["service"]
        .as_object_mut()
        .unwrap()
        .remove("command");
    sandbox.one_file(&[]).manifest(&manifest);
    sandbox.start().refused(78, "command");
}

#[test]
fn its_exit_status_is_the_containers() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.one_file(&["sh", "-c", "exit $STATUS"]);
    for status in [0, 1, 42, 78, 80, 126, 255] {
        let _ = sandbox
            .launch()
            .env("STATUS", status.to_string())
            .start()
            .exited(status);
    }
}

#[test]
fn its_program_is_looked_for_in_its_own_path() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox
        .file("/opt/bin/program", "#!/bin/sh\necho /opt\n")
        .mode("/opt/bin/program", 0o755);
    let mut manifest = one_file(&["program"]);
    manifest["service"]["env"] = json!({"PATH": "/opt/bin:/bin"});
    sandbox.one_file(&[]).manifest(&manifest);
    assert_eq!(sandbox.start().success().stdout, "/opt\n");
}

#[test]
fn without_any_path_the_usual_one_is_searched() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.one_file(&["cat", "/etc/app/app.conf"]);
    assert_eq!(
        sandbox.launch().env_clear().start().success().stdout,
        CONTENT
    );
}

#[test]
fn a_program_that_does_not_exist_is_127() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    for program in ["no-such-program", "/no/such/program"] {
        let sandbox = sandbox.another();
        sandbox.one_file(&[program]);
        sandbox.start().refused(127, program);
    }
}

#[test]
fn a_program_that_cannot_be_executed_is_126() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.file("/opt/not-executable", "#!/bin/sh\n");
    sandbox
        .file("/opt/roots-own", "#!/bin/sh\n")
        .mode("/opt/roots-own", 0o700);
    for program in ["/opt", "/opt/not-executable", "/opt/roots-own"] {
        sandbox.one_file(&[program]);
        sandbox.start().refused(126, program);
    }
}

#[test]
fn what_the_kernel_will_not_execute_is_126() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
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
}

/// Promise 2: the service's uid cannot change a sealed entry, its directories, or the seal.
#[test]
fn promise_2_the_service_can_change_nothing_that_is_sealed() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    let attack = r#"
        for path in /etc/app/app.conf /etc/app/key.pem /etc/app/tree/a /etc/app/tree/sub/b /var/lib/sealinit/seal; do
            for act in 'echo x >>"$path"' ': >"$path"' 'chmod 0666 "$path"' 'chown app "$path"' 'rm -f "$path"' \
                       'mv "$path" "$path.old"' 'ln -sf /etc/passwd "$path"' 'touch -m "$path"'; do
                (eval "$act") 2>/dev/null && echo "did: $act on $path"
            done
        done
        for directory in / /etc /etc/app /etc/app/tree /etc/app/tree/sub /etc/sealinit /var /var/lib /var/lib/sealinit; do
            for act in 'touch "$directory/new"' 'chmod 0777 "$directory"' 'mv "$directory" "$directory.old"'; do
                (eval "$act") 2>/dev/null && echo "did: $act on $directory"
            done
        done
        cat /etc/app/app.conf /etc/app/key.pem /etc/app/tree/a /etc/app/tree/sub/b
        cat /var/lib/sealinit/seal 2>/dev/null
        :
    "#;
    sandbox
        .manifest(&json!({
            "version": 1,
            "service": {"user": "app", "command": ["sh", "-c", attack]},
            "files": [
                {"source": "app.conf", "dest": "/etc/app/app.conf"},
                {"content": "key\n", "dest": "/etc/app/key.pem", "secret": true},
            ],
            "directories": [{"path": "/etc/app/tree", "source": "tree", "exact": true}],
        }))
        .source("app.conf", "conf\n")
        .source("tree/a", "a\n")
        .source("tree/sub/b", "b\n");
    let first = sandbox.start().success();
    assert_eq!(first.summarised("lock"), "full");
    assert_eq!(first.stdout, "conf\nkey\na\nb\n");
    let second = sandbox.start().success();
    assert_eq!(second.state(), "verified");
    assert_eq!(second.stdout, "conf\nkey\na\nb\n");
}
