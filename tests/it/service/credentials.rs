//! Ids, groups, capabilities and signals of the service.

use serde_json::json;

use super::{NET_BIND_SERVICE, STATUS};
use crate::harness::{CAPABILITY_SETS, EMPTY_SET, one_file, sandbox_test};

// Promise 4: the service never has root's ids, groups, capabilities, signal mask, ignored signals
// or open files unless the manifest says so.
sandbox_test!(promise_4_nothing_of_root_is_left, |sandbox| {
    sandbox.one_file(STATUS);
    let service = sandbox
        .launch()
        .prelude("exec 7</etc/passwd 200</")
        .wrapper(["setpriv", "--groups=0,2000,65534"])
        .wrapper(["env", "--ignore-signal", "--block-signal"])
        .start()
        .success();
    service.has_nothing_of_root();
});

sandbox_test!(the_service_is_pid_1, |sandbox| {
    sandbox.one_file(STATUS);
    let service = sandbox.start().success();
    assert_eq!(service.status("Pid"), "1");
    assert_eq!(service.status("Name"), "cat");
    assert_eq!(service.status("Threads"), "1");
});

sandbox_test!(sealinit_need_not_be_pid_1, |sandbox| {
    sandbox.one_file(STATUS);
    for state in ["sealed", "verified"] {
        // As under `docker run --init`: another process is PID 1 and waits.
        let service = sandbox
            .launch()
            .wrapper(["sh", "-c", "\"$@\"; exit $?", "sh"])
            .start()
            .success();
        assert_eq!(service.state(), state);
        assert_ne!(service.status("Pid"), "1");
        assert_eq!(service.status("Uid"), "1000 1000 1000 1000");
    }
});

// A later start takes another path through the code.
sandbox_test!(
    a_later_start_gives_the_service_the_same_credentials,
    |sandbox| {
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
);

sandbox_test!(users_and_groups_may_be_ids_or_names, |sandbox| {
    let mut manifest = one_file(STATUS);
    manifest["service"]["user"] = json!(4711);
    manifest["service"]["group"] = json!("certs");
    sandbox.one_file(STATUS).manifest(&manifest);
    let service = sandbox.start().success();
    assert_eq!(service.status("Uid"), "4711 4711 4711 4711");
    assert_eq!(service.status("Gid"), "2000 2000 2000 2000");
    assert_eq!(service.status("Groups"), "2000");
});

sandbox_test!(
    listed_supplementary_groups_are_added_to_the_primary,
    |sandbox| {
        let mut manifest = one_file(STATUS);
        manifest["service"]["supplementary_groups"] = json!(["certs", 3000]);
        sandbox.one_file(STATUS).manifest(&manifest);
        assert_eq!(sandbox.start().success().status("Groups"), "1000 2000 3000");
    }
);

sandbox_test!(
    a_kept_capability_is_the_only_one_and_survives_exec,
    |sandbox| {
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
);

sandbox_test!(
    a_kept_capability_that_overrides_permissions_makes_the_lock_partial,
    |sandbox| {
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
);

sandbox_test!(no_new_privileges_can_be_switched_off, |sandbox| {
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
});

sandbox_test!(root_needs_allow_root, |sandbox| {
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
});

// Promise 2: the service's uid cannot change a sealed entry, its directories, or the seal.
sandbox_test!(
    promise_2_the_service_cannot_change_sealed_entries,
    |sandbox| {
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
);
