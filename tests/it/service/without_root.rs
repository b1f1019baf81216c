//! Starts without root, in pods that forbid it.

use serde_json::{Value, json};

use crate::harness::{APP, CONF, CONTENT, OTHER, SEAL, Sandbox, hash, one_file, sandbox_test};

/// Makes an image for a pod that forbids root: the directories to be written belong to the uid.
fn for_uid(sandbox: &Sandbox, uid: u32, gid: u32, manifest: &Value) {
    sandbox
        .manifest(manifest)
        .source("app.conf", CONTENT)
        .directory("/etc/app", 0o755)
        .owner("/etc/app", uid, gid)
        .directory("/var/lib/sealinit", 0o700)
        .owner("/var/lib/sealinit", uid, gid);
}

fn without_user(command: &[&str]) -> Value {
    let mut manifest = one_file(command);
    manifest["service"].as_object_mut().unwrap().remove("user");
    manifest
}

sandbox_test!(
    without_root_the_service_runs_and_the_lock_is_none,
    |original| {
        for manifest in [
            one_file(&["cat", "/proc/self/status"]),
            without_user(&["cat", "/proc/self/status"]),
        ] {
            let sandbox = original.another();
            for_uid(&sandbox, APP, APP, &manifest);
            for state in ["sealed", "verified"] {
                let service = sandbox.launch().user(APP, APP).start().success();
                assert_eq!(service.state(), state);
                assert_eq!(service.summarised("lock"), "none");
                assert_eq!(service.status("Uid"), "1000 1000 1000 1000");
                assert_eq!(service.status("Gid"), "1000 1000 1000 1000");
                assert_eq!(service.status("CapEff"), "0000000000000000");
                assert_eq!(service.status("NoNewPrivs"), "1");
            }
            assert_eq!(
                sandbox.object(CONF),
                format!("file 0440 {APP}:{APP} {}", hash(CONTENT))
            );
            assert!(sandbox.object(SEAL).starts_with("file 0400 1000:1000 "));
            sandbox.file(CONF, "tampered");
            sandbox.launch().user(APP, APP).start().refused(80, CONF);
        }
    }
);

// `OpenShift` gives every namespace uids of its own, with group 0.
sandbox_test!(an_arbitrary_uid_that_no_account_has_can_run, |sandbox| {
    let uid = 12345;
    for_uid(
        &sandbox,
        uid,
        0,
        &without_user(&[
            "sh",
            "-c",
            "id -u; id -g; cat /etc/app/app.conf; echo $HOME",
        ]),
    );
    for state in ["sealed", "verified"] {
        let service = sandbox.launch().user(uid, 0).start().success();
        assert_eq!(service.state(), state);
        assert_eq!(service.stdout, format!("{uid}\n0\n{CONTENT}/\n"));
        assert_eq!(service.summarised("lock"), "none");
    }
});

// The usual `OpenShift` image: directories of group 0, writable for it.
sandbox_test!(
    directories_that_a_group_may_write_are_enough_without_root,
    |sandbox| {
        sandbox
            .manifest(&without_user(&["cat", CONF]))
            .source("app.conf", CONTENT)
            .directory("/etc/app", 0o775)
            .directory("/var/lib/sealinit", 0o775);
        for state in ["sealed", "verified"] {
            let service = sandbox.launch().user(12345, 0).start().success();
            assert_eq!(
                (service.state().as_str(), service.stdout.as_str()),
                (state, CONTENT)
            );
        }
    }
);

sandbox_test!(another_user_is_refused_with_how_to_start_it, |sandbox| {
    for_uid(&sandbox, OTHER, OTHER, &one_file(&["true"]));
    let refused = sandbox
        .launch()
        .user(OTHER, OTHER)
        .start()
        .refused(77, "1000");
    refused.says("--user");
});

sandbox_test!(
    entries_of_another_owner_are_refused_all_at_once,
    |sandbox| {
        let mut manifest = one_file(&["true"]);
        manifest["files"] = json!([
            {"content": "", "dest": "/etc/app/a", "owner": "root"},
            {"content": "", "dest": "/etc/app/b", "owner": OTHER},
            {"content": "", "dest": "/etc/app/c"},
        ]);
        for_uid(&sandbox, APP, APP, &manifest);
        let refused = sandbox
            .launch()
            .user(APP, APP)
            .start()
            .refused(77, "/etc/app/a");
        refused.says("/etc/app/b").never_says("/etc/app/c");
    }
);

sandbox_test!(directories_that_cannot_be_written_are_refused, |sandbox| {
    for_uid(&sandbox, APP, APP, &one_file(&["true"]));
    sandbox.owner("/etc/app", 0, 0);
    sandbox
        .launch()
        .user(APP, APP)
        .start()
        .refused(73, "/etc/app");
    sandbox
        .owner("/etc/app", APP, APP)
        .owner("/var/lib/sealinit", 0, 0);
    sandbox
        .launch()
        .user(APP, APP)
        .start()
        .refused(74, "/var/lib/sealinit");
    sandbox.remove("/var/lib/sealinit");
    sandbox
        .launch()
        .user(APP, APP)
        .start()
        .refused(74, "/var/lib");
});

sandbox_test!(a_source_that_the_uid_cannot_read_is_refused, |sandbox| {
    for_uid(&sandbox, APP, APP, &one_file(&["cat", CONF]));
    sandbox.mode("/etc/sealinit/app.conf", 0o600);
    sandbox
        .launch()
        .user(APP, APP)
        .start()
        .refused(66, "/etc/sealinit/app.conf")
        .says("readable");
});

sandbox_test!(
    a_seal_of_root_does_not_let_another_uid_start_anew,
    |sandbox| {
        sandbox.one_file(&["true"]);
        let _ = sandbox.start().success();
        let start = sandbox.launch().user(APP, APP).start();
        let code = start.exit_code();
        assert!([74, 77, 81].contains(&code), "{start:?}");
        start.refused(code, "/var/lib/sealinit");
    }
);

// Conversely: root must not accept a seal that the service's uid could have written.
sandbox_test!(root_refuses_a_seal_of_another_uid, |sandbox| {
    for_uid(&sandbox, APP, APP, &one_file(&["true"]));
    let _ = sandbox.launch().user(APP, APP).start().success();
    sandbox.start().refused(81, SEAL);
});
