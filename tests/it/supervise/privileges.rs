//! Neither the init nor its service has anything of root, nor looks into the other.

use std::os::unix::fs::MetadataExt;
use std::time::Duration;
use std::{fs, thread};

use serde_json::json;

use super::{COUNT, both, service, summaries, supervised};
use crate::harness::{
    APP, CAPABILITY_SETS, EMPTY_SET, PROBE, UserNamespace, sandbox_test, status, with_probe,
};

// The init has the service's ids and no capability, even if the service keeps one.
sandbox_test!(
    while_the_service_runs_the_init_has_nothing_of_root,
    probe,
    |sandbox| {
        let mut manifest = supervised(COUNT);
        manifest["service"]["supplementary_groups"] = json!(["certs"]);
        manifest["service"]["capabilities"] = json!(["NET_BIND_SERVICE"]);
        sandbox.one_file(&[]).manifest(&manifest);
        for launch in both(&sandbox) {
            let running = launch
                .prelude("exec 7</etc/passwd 9>/tmp/scratch 200</; cd /tmp")
                .wrapper(["setpriv", "--groups=0,2000,65534"])
                .running();
            let init = running.prints("main ready").init();
            let place = |link: &str| {
                fs::metadata(format!("/proc/{init}/{link}/"))
                    .map(|found| (found.dev(), found.ino()))
                    .unwrap()
            };
            running.until("it is in the root directory", || {
                place("cwd") == place("root")
            });
            for (field, expected) in [
                ("Uid", "1000 1000 1000 1000"),
                ("Gid", "1000 1000 1000 1000"),
                ("Groups", "1000 2000"),
                ("NoNewPrivs", "1"),
                ("Threads", "1"),
            ] {
                assert_eq!(status(init, field), expected, "{field}");
            }
            for set in CAPABILITY_SETS.iter().filter(|set| **set != "CapBnd") {
                assert_eq!(status(init, set), EMPTY_SET, "{set}");
            }
            // The bounding set limits an exec, and the init executes nothing.
            assert_eq!(status(init, "CapBnd"), "0000000000000400");
            assert_eq!(
                status(running.service(), "CapEff"),
                "0000000000000400",
                "the service's own"
            );
            running.until("it holds no descriptor but the standard ones", || {
                descriptors(init) == ["0", "1", "2"]
            });
            running.signal(64);
            running.end().code(0);
        }
    }
);

/// The names in `/proc/PID/fd`.
fn descriptors(pid: u32) -> Vec<String> {
    let listed = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let mut names: Vec<String> = listed
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

// The service cannot read the init's environment, which may hold a token, and cannot trace it.
sandbox_test!(the_service_cannot_read_or_trace_the_init, |sandbox| {
    let script = "cat /proc/self/environ >/dev/null && echo sees itself
        for file in environ maps auxv mem stack; do cat /proc/$PPID/$file 2>/dev/null && echo $file; done
        for link in cwd root exe fd/0; do readlink /proc/$PPID/$link && echo $link; done
        ls /proc/$PPID/fd 2>/dev/null
        { echo >/proc/$PPID/mem; } 2>/dev/null && echo wrote
        :";
    service(&sandbox, &["sh", "-c", script]);
    for launch in both(&sandbox) {
        assert_eq!(
            launch.env("TOKEN", "secret").start().success().stdout,
            "sees itself\n"
        );
    }
});

// tini wakes up every second.
sandbox_test!(the_init_sleeps_while_the_service_does, |sandbox| {
    service(&sandbox, COUNT);
    let running = sandbox.launch().running();
    let init = running.prints("main ready").init();
    let switches = || {
        (
            status(init, "voluntary_ctxt_switches"),
            status(init, "nonvoluntary_ctxt_switches"),
        )
    };
    // It may not sleep yet.
    let mut before = switches();
    running.until("the init sleeps", || {
        thread::sleep(Duration::from_millis(100));
        let last = std::mem::replace(&mut before, switches());
        last == before && status(init, "State").starts_with('S')
    });
    thread::sleep(Duration::from_secs(2));
    assert_eq!(switches(), before);
});

// The same promises as for a service that sealinit becomes.
sandbox_test!(
    promise_4_nothing_of_root_is_left_for_a_supervised_service,
    |sandbox| {
        service(
            &sandbox,
            &[
                "sh",
                "-c",
                "cat /proc/self/status; ls /proc/self/fd; ps -o pgid=,pid= -p $$ >&2",
            ],
        );
        for launch in both(&sandbox) {
            let service = launch
                .prelude("exec 7</etc/passwd 9>/tmp/scratch 200</")
                .wrapper(["setpriv", "--groups=0,2000,65534"])
                .wrapper([PROBE, "inherit", "1-64"])
                .start()
                .success();
            service.has_nothing_of_root();
            for field in ["SigPnd", "ShdPnd"] {
                assert_eq!(service.status(field), EMPTY_SET, "{field}");
            }
            // The listing itself needs one, the first that is free.
            assert!(service.stdout.ends_with("\n0\n1\n2\n3\n"), "{service:?}");
        }
    }
);

sandbox_test!(the_service_leads_a_process_group_of_its_own, |sandbox| {
    service(
        &sandbox,
        &[
            "sh",
            "-c",
            "read -r pid name state parent group rest </proc/self/stat; echo $pid $group $parent",
        ],
    );
    for launch in both(&sandbox) {
        let service = launch.start().success();
        let [pid, group, parent] = service.stdout.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("{service:?}")
        };
        assert_eq!(group, pid);
        assert_ne!(parent, pid);
    }
    let as_pid_1 = sandbox.start().success();
    assert!(as_pid_1.stdout.ends_with(" 1\n"), "{as_pid_1:?}");
});

// The securebits forbid to keep a capability.
sandbox_test!(
    a_service_that_cannot_keep_its_capabilities_does_not_run,
    probe,
    |sandbox| {
        let mut manifest = supervised(&["sh", "-c", "echo ran >/dev/null; echo ran"]);
        manifest["service"]["capabilities"] = json!(["NET_BIND_SERVICE"]);
        sandbox.one_file(&[]).manifest(&manifest);
        for launch in both(&sandbox) {
            let locked = launch
                .wrapper(["setpriv", "--securebits=+keep_caps_locked"])
                .start();
            let outcome = locked.failed(77, "keeping capabilities");
            assert_eq!(outcome.errors().len(), 1, "{outcome:?}");
        }
    }
);

sandbox_test!(
    an_init_that_cannot_drop_its_privileges_runs_nothing,
    strace,
    |original| {
        for call in ["setresuid", "setresgid", "setgroups", "capset"] {
            let sandbox = original.another();
            service(&sandbox, &["sh", "-c", "echo ran"]);
            // The first call of setgroups is the preflight's.
            let when = if call == "setgroups" { 2 } else { 1 };
            let failing = format!("error=EPERM:when={when}+");
            let start = sandbox.launch().inject_into_all(call, &failing).start();
            let outcome = start.failed(77, call);
            assert_eq!(outcome.errors().len(), 1, "{call}: {outcome:?}");
        }
    }
);

// The init gives up the service's capabilities after it has started the service. If that fails,
// both end.
sandbox_test!(
    an_init_that_cannot_give_up_what_the_service_keeps_ends_it,
    probe,
    strace,
    |sandbox| {
        let mut manifest = supervised(&["sh", "-c", "sleep 5; echo ran"]);
        manifest["service"]["capabilities"] = json!(["NET_BIND_SERVICE"]);
        sandbox.one_file(&[]).manifest(&manifest);
        for (inject, why) in [
            ("error=EPERM", "EPERM: Operation not permitted"),
            ("retval=0", "CAP_NET_BIND_SERVICE is left"),
        ] {
            let inject = format!("{inject}:when=2");
            let start = sandbox.launch().inject("capset", &inject).start();
            let ended = start.code(77);
            assert_eq!(ended.errors().len(), 1, "{ended:?}");
            ended.says(&format!(
            "cannot drop the capabilities that only the service keeps: {why}; the service was ended"
        ));
        }
    }
);

sandbox_test!(
    missing_capabilities_are_named_before_anything_is_written,
    |sandbox| {
        service(&sandbox, &["true"]);
        for launch in both(&sandbox) {
            let refused = launch
                .capabilities(&["chown"])
                .start()
                .refused(77, "SETUID");
            assert_eq!(refused.errors().len(), 1, "{refused:?}");
            refused.says("SETGID");
        }
    }
);

// `CAP_KILL` is not among them: the init has the service's uid.
sandbox_test!(the_documented_capabilities_are_enough, |sandbox| {
    service(&sandbox, COUNT);
    for launch in both(&sandbox) {
        let running = launch
            .capabilities(&["chown", "setuid", "setgid", "setpcap"])
            .running();
        running
            .prints("main ready")
            .signal(15)
            .prints("main 15\n")
            .signal(64);
        running.end().code(0);
    }
});

sandbox_test!(
    without_root_the_init_supervises_as_its_own_uid,
    |original| {
        let mut manifest = supervised(COUNT);
        manifest["service"].as_object_mut().unwrap().remove("user");
        for (uid, gid) in [(APP, APP), (12345, 0)] {
            let sandbox = original.another();
            with_probe(&sandbox);
            sandbox.one_file(&[]).manifest(&manifest);
            sandbox
                .directory("/etc/app", 0o755)
                .owner("/etc/app", uid, gid);
            sandbox
                .directory("/var/lib/sealinit", 0o700)
                .owner("/var/lib/sealinit", uid, gid);
            for launch in both(&sandbox) {
                let running = launch.user(uid, gid).running();
                running
                    .prints("main ready")
                    .signal(15)
                    .prints("main 15\n")
                    .signal(64);
                let ended = running.end().code(0);
                assert_eq!(summaries(&ended.stderr), 1, "{ended:?}");
            }
        }
    }
);

sandbox_test!(a_service_is_supervised_in_a_user_namespace, |sandbox| {
    service(&sandbox, &[PROBE, "bounce", "1"]);
    let service = sandbox
        .launch()
        .user_namespace(UserNamespace::WHOLE)
        .start()
        .success();
    assert!(service.stdout.ends_with("back 64\n"), "{service:?}");
});
