//! Starts as root with few capabilities, and in user namespaces.

use serde_json::json;

use crate::harness::{CONF, CONTENT, SEAL, UserNamespace, one_file, sandbox_test};

/// The documented capabilities: `--cap-drop ALL` and these.
const DOCUMENTED: [&str; 4] = ["chown", "setuid", "setgid", "setpcap"];

sandbox_test!(the_documented_capabilities_are_enough, |sandbox| {
    sandbox
        .manifest(&json!({
            "version": 1,
            "service": {"user": "app", "command": ["cat", "/proc/self/status"], "supplementary_groups": ["certs"]},
            "files": [
                {"source": "app.conf", "dest": CONF},
                {"content": "", "dest": "/etc/app/other", "group": "certs", "mode": "0640"},
                {"content": "", "dest": "/var/lib/app/state", "owner": "app", "mutable": true},
            ],
            "directories": [
                {"path": "/etc/app/tree", "source": "tree", "exact": true},
                {"path": "/var/lib/app"},
                {"path": "/srv/data", "recursive": true},
            ],
            "absent": ["/etc/app/default.conf"],
        }))
        .source("app.conf", CONTENT)
        .source("tree/sub/a", "")
        .file("/etc/app/default.conf", "")
        .file("/srv/data/sub/file", "");
    for state in ["sealed", "verified"] {
        let service = sandbox.launch().capabilities(&DOCUMENTED).start().success();
        assert_eq!(service.state(), state);
        service.without_warnings();
        assert_eq!(service.summarised("lock"), "full");
        assert_eq!(service.status("CapBnd"), "0000000000000000");
        assert_eq!(service.status("Groups"), "1000 2000");
    }
});

sandbox_test!(
    a_sealed_file_of_another_owner_needs_no_further_capability,
    |sandbox| {
        let mut manifest = one_file(&["true"]);
        manifest["files"][0]["owner"] = json!("other");
        sandbox.one_file(&[]).manifest(&manifest);
        for state in ["sealed", "verified"] {
            assert_eq!(
                sandbox
                    .launch()
                    .capabilities(&DOCUMENTED)
                    .start()
                    .success()
                    .state(),
                state
            );
        }
    }
);

sandbox_test!(
    without_setpcap_no_new_privileges_stands_in_for_the_bounding_set,
    |sandbox| {
        sandbox.one_file(&["cat", "/proc/self/status"]);
        for state in ["sealed", "verified"] {
            let service = sandbox
                .launch()
                .capabilities(&["chown", "setuid", "setgid"])
                .start()
                .success();
            assert_eq!(service.state(), state);
            for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
                assert_eq!(service.status(set), "0000000000000000");
            }
            assert_eq!(service.status("NoNewPrivs"), "1");
        }
    }
);

// An exec by uid 0 would otherwise be given the whole bounding set.
sandbox_test!(
    without_setpcap_a_service_that_is_root_still_gains_nothing,
    |sandbox| {
        let mut manifest = one_file(&["cat", "/proc/self/status"]);
        manifest["service"]["user"] = json!("root");
        manifest["service"]["allow_root"] = json!(true);
        sandbox.one_file(&[]).manifest(&manifest);
        let service = sandbox
            .launch()
            .capabilities(&["chown", "setuid", "setgid"])
            .start()
            .success();
        assert_eq!(service.status("Uid"), "0 0 0 0");
        assert_eq!(service.status("CapEff"), "0000000000000000");
        assert_eq!(service.status("CapPrm"), "0000000000000000");
    }
);

sandbox_test!(
    without_setpcap_and_no_new_privileges_a_start_is_refused,
    |sandbox| {
        let mut manifest = one_file(&["true"]);
        manifest["service"]["no_new_privileges"] = json!(false);
        sandbox.one_file(&[]).manifest(&manifest);
        sandbox
            .launch()
            .capabilities(&["chown", "setuid", "setgid"])
            .start()
            .refused(77, "SETPCAP");
    }
);

sandbox_test!(all_missing_capabilities_are_named_at_once, |sandbox| {
    sandbox.one_file(&["true"]);
    let refused = sandbox
        .launch()
        .capabilities(&[])
        .start()
        .refused(77, "CHOWN");
    refused.says("SETGID").says("SETUID").says("--cap-add");
    sandbox
        .launch()
        .capabilities(&["chown", "setgid", "setpcap"])
        .start()
        .refused(77, "SETUID");
    sandbox
        .launch()
        .capabilities(&["chown", "setuid", "setpcap"])
        .start()
        .refused(77, "SETGID");
    let refused = sandbox
        .launch()
        .capabilities(&["setgid", "setuid", "setpcap"])
        .start()
        .refused(77, "CHOWN");
    refused.never_says("SETUID");
});

sandbox_test!(
    a_missing_capability_that_the_service_keeps_is_refused,
    |sandbox| {
        let mut manifest = one_file(&["true"]);
        manifest["service"]["capabilities"] = json!(["NET_ADMIN"]);
        sandbox.one_file(&[]).manifest(&manifest);
        sandbox
            .launch()
            .capabilities(&DOCUMENTED)
            .start()
            .refused(77, "NET_ADMIN");
    }
);

// A later start drops root as well, and needs the capabilities for it.
sandbox_test!(
    a_later_start_with_fewer_capabilities_is_refused,
    |sandbox| {
        sandbox.one_file(&["true"]);
        let _ = sandbox.start().success();
        let refused = sandbox
            .launch()
            .capabilities(&[])
            .start()
            .refused(77, "SETUID");
        refused.says("SETGID");
        let later = sandbox
            .launch()
            .capabilities(&["setuid", "setgid"])
            .start()
            .success();
        assert_eq!(later.state(), "verified", "nothing is given away any more");
    }
);

// `--security-opt no-new-privileges`.
sandbox_test!(
    no_new_privileges_set_by_the_engine_changes_nothing,
    |sandbox| {
        sandbox.one_file(&["cat", "/proc/self/status"]);
        let service = sandbox
            .launch()
            .wrapper(["setpriv", "--no-new-privs"])
            .start()
            .success();
        assert_eq!(service.status("Uid"), "1000 1000 1000 1000");
        assert_eq!(service.summarised("lock"), "full");
    }
);

sandbox_test!(a_user_namespace_changes_nothing, |sandbox| {
    sandbox.one_file(&["cat", "/proc/self/status"]);
    for state in ["sealed", "verified"] {
        let service = sandbox
            .launch()
            .user_namespace(UserNamespace::WHOLE)
            .start()
            .success();
        assert_eq!(service.state(), state);
        assert_eq!(service.status("Uid"), "1000 1000 1000 1000");
        assert_eq!(service.status("Groups"), "1000");
        assert_eq!(service.status("CapBnd"), "0000000000000000");
        assert_eq!(service.summarised("lock"), "full");
    }
});

// A map of root alone, as `unshare --map-root-user` makes: chown and setresuid return EINVAL, which
// the message has to explain.
sandbox_test!(
    a_user_namespace_without_the_services_uid_is_explained,
    |sandbox| {
        sandbox.one_file(&["true"]);
        let namespace = UserNamespace {
            map: "0 0 1",
            deny_setgroups: false,
        };
        let start = sandbox.launch().user_namespace(namespace).start();
        let code = start.exit_code();
        assert!([73, 77].contains(&code), "{start:?}");
        let refused = start.refused(code, "1000");
        refused.says("namespace");
        assert!(!sandbox.exists(SEAL));
    }
);

// nsjail issue 288: groups that cannot be dropped must end the start.
sandbox_test!(
    a_user_namespace_that_denies_setgroups_is_refused,
    |sandbox| {
        sandbox.one_file(&["true"]);
        let namespace = UserNamespace {
            deny_setgroups: true,
            ..UserNamespace::WHOLE
        };
        let start = sandbox.launch().user_namespace(namespace).start();
        start.refused(77, "setgroups");
    }
);

sandbox_test!(
    in_a_user_namespace_uid_0_without_capabilities_is_refused,
    |sandbox| {
        sandbox.one_file(&["true"]);
        let launch = sandbox
            .launch()
            .user_namespace(UserNamespace::WHOLE)
            .capabilities(&["setuid"]);
        launch.start().refused(77, "SETGID");
    }
);
