//! Without root, with too few capabilities, in user namespaces.

use serde_json::{Value, json};

use crate::sandbox::{APP, CONF, CONTENT, OTHER, SEAL, Sandbox, UserNamespace, hash, one_file};

/// What the documentation asks for: `--cap-drop ALL` and these.
const DOCUMENTED: [&str; 4] = ["chown", "setuid", "setgid", "setpcap"];

/// An image that is made for a pod which forbids root: what is to be written belongs to the uid.
fn for_uid(uid: u32, gid: u32, manifest: &Value) -> Option<Sandbox> {
    let sandbox = Sandbox::new()?;
    sandbox
        .manifest(manifest)
        .source("app.conf", CONTENT)
        .directory("/etc/app", 0o755)
        .owner("/etc/app", uid, gid)
        .directory("/var/lib/sealinit", 0o700)
        .owner("/var/lib/sealinit", uid, gid);
    Some(sandbox)
}

fn without_user(command: &[&str]) -> Value {
    let mut manifest = one_file(command);
    manifest["service"].as_object_mut().unwrap().remove("user");
    manifest
}

#[test]
fn it_runs_as_it_is_started_and_says_that_nothing_is_locked() {
    for manifest in [
        one_file(&["cat", "/proc/self/status"]),
        without_user(&["cat", "/proc/self/status"]),
    ] {
        let Some(sandbox) = for_uid(APP, APP, &manifest) else {
            return;
        };
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

/// `OpenShift` gives every namespace uids of its own, with group 0.
#[test]
fn an_arbitrary_uid_that_no_account_has_can_run() {
    let uid = 12345;
    let Some(sandbox) = for_uid(
        uid,
        0,
        &without_user(&[
            "sh",
            "-c",
            "id -u; id -g; cat /etc/app/app.conf; echo $HOME",
        ]),
    ) else {
        return;
    };
    for state in ["sealed", "verified"] {
        let service = sandbox.launch().user(uid, 0).start().success();
        assert_eq!(service.state(), state);
        assert_eq!(service.stdout, format!("{uid}\n0\n{CONTENT}/\n"));
        assert_eq!(service.summarised("lock"), "none");
    }
}

/// The usual `OpenShift` image: directories of group 0, writable for it.
#[test]
fn directories_that_a_group_may_write_are_enough_without_root() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
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

#[test]
fn another_user_is_refused_with_how_to_start_it() {
    let Some(sandbox) = for_uid(OTHER, OTHER, &one_file(&["true"])) else {
        return;
    };
    let refused = sandbox
        .launch()
        .user(OTHER, OTHER)
        .start()
        .refused(77, "1000");
    refused.says("--user");
}

#[test]
fn entries_of_another_owner_are_refused_all_at_once() {
    let mut manifest = one_file(&["true"]);
    manifest["files"] = json!([
        {"content": "", "dest": "/etc/app/a", "owner": "root"},
        {"content": "", "dest": "/etc/app/b", "owner": OTHER},
        {"content": "", "dest": "/etc/app/c"},
    ]);
    let Some(sandbox) = for_uid(APP, APP, &manifest) else {
        return;
    };
    let refused = sandbox
        .launch()
        .user(APP, APP)
        .start()
        .refused(77, "/etc/app/a");
    refused.says("/etc/app/b").never_says("/etc/app/c");
}

#[test]
fn directories_that_cannot_be_written_are_refused() {
    let Some(sandbox) = for_uid(APP, APP, &one_file(&["true"])) else {
        return;
    };
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
}

#[test]
fn the_root_directory_need_not_be_the_uids() {
    let Some(sandbox) = for_uid(APP, APP, &one_file(&["cat", CONF])) else {
        return;
    };
    sandbox.mode("/etc/sealinit/app.conf", 0o600);
    sandbox
        .launch()
        .user(APP, APP)
        .start()
        .refused(66, "/etc/sealinit/app.conf")
        .says("readable");
}

#[test]
fn a_seal_of_root_is_no_first_start_for_another_uid() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.one_file(&["true"]);
    let _ = sandbox.start().success();
    let start = sandbox.launch().user(APP, APP).start();
    let code = start.exit_code();
    assert!([74, 77, 81].contains(&code), "{start:?}");
    start.refused(code, "/var/lib/sealinit");
}

/// The other way round: what the service's uid could have written, root must not believe.
#[test]
fn a_seal_of_another_uid_is_nothing_root_believes() {
    let Some(sandbox) = for_uid(APP, APP, &one_file(&["true"])) else {
        return;
    };
    let _ = sandbox.launch().user(APP, APP).start().success();
    sandbox.start().refused(81, SEAL);
}

#[test]
fn the_documented_capabilities_are_enough() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
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
}

#[test]
fn a_sealed_file_of_another_owner_needs_no_further_capability() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
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

#[test]
fn without_setpcap_no_new_privileges_stands_in_for_the_bounding_set() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
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

/// An exec by uid 0 would otherwise be given the whole bounding set.
#[test]
fn without_setpcap_a_service_that_is_root_still_gains_nothing() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
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

#[test]
fn without_setpcap_and_without_no_new_privileges_it_is_refused() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    let mut manifest = one_file(&["true"]);
    manifest["service"]["no_new_privileges"] = json!(false);
    sandbox.one_file(&[]).manifest(&manifest);
    sandbox
        .launch()
        .capabilities(&["chown", "setuid", "setgid"])
        .start()
        .refused(77, "CAP_SETPCAP");
}

#[test]
fn all_capabilities_that_lack_are_named_at_once() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.one_file(&["true"]);
    let refused = sandbox
        .launch()
        .capabilities(&[])
        .start()
        .refused(77, "CAP_CHOWN");
    refused
        .says("CAP_SETGID")
        .says("CAP_SETUID")
        .says("--cap-add");
    sandbox
        .launch()
        .capabilities(&["chown", "setgid", "setpcap"])
        .start()
        .refused(77, "CAP_SETUID");
    sandbox
        .launch()
        .capabilities(&["chown", "setuid", "setpcap"])
        .start()
        .refused(77, "CAP_SETGID");
    let refused = sandbox
        .launch()
        .capabilities(&["setgid", "setuid", "setpcap"])
        .start()
        .refused(77, "CAP_CHOWN");
    refused.never_says("CAP_SETUID");
}

#[test]
fn a_capability_to_keep_that_is_not_there_is_refused() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    let mut manifest = one_file(&["true"]);
    manifest["service"]["capabilities"] = json!(["NET_ADMIN"]);
    sandbox.one_file(&[]).manifest(&manifest);
    sandbox
        .launch()
        .capabilities(&DOCUMENTED)
        .start()
        .refused(77, "CAP_NET_ADMIN");
}

/// A later start drops root as well, and so needs what that takes.
#[test]
fn a_later_start_with_fewer_capabilities_is_refused() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.one_file(&["true"]);
    let _ = sandbox.start().success();
    let refused = sandbox
        .launch()
        .capabilities(&[])
        .start()
        .refused(77, "CAP_SETUID");
    refused.says("CAP_SETGID");
    let later = sandbox
        .launch()
        .capabilities(&["setuid", "setgid"])
        .start()
        .success();
    assert_eq!(later.state(), "verified", "nothing is given away any more");
}

/// `--security-opt no-new-privileges`.
#[test]
fn no_new_privileges_set_by_the_engine_changes_nothing() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.one_file(&["cat", "/proc/self/status"]);
    let service = sandbox
        .launch()
        .wrapper(["setpriv", "--no-new-privs"])
        .start()
        .success();
    assert_eq!(service.status("Uid"), "1000 1000 1000 1000");
    assert_eq!(service.summarised("lock"), "full");
}

#[test]
fn in_a_user_namespace_everything_is_as_outside() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
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
}

/// A map of root alone, as `unshare --map-root-user` makes: chown and setresuid say EINVAL, and whoever started this needs to be
/// told what that means.
#[test]
fn a_user_namespace_without_the_services_uid_is_explained() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
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

/// nsjail issue 288: groups that cannot be dropped must end the start.
#[test]
fn a_user_namespace_that_denies_setgroups_is_refused() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.one_file(&["true"]);
    let namespace = UserNamespace {
        deny_setgroups: true,
        ..UserNamespace::WHOLE
    };
    let start = sandbox.launch().user_namespace(namespace).start();
    start.refused(77, "setgroups");
}

#[test]
fn in_a_user_namespace_uid_0_without_capabilities_is_refused() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.one_file(&["true"]);
    let launch = sandbox
        .launch()
        .user_namespace(UserNamespace::WHOLE)
        .capabilities(&["setuid"]);
    launch.start().refused(77, "CAP_SETGID");
}
