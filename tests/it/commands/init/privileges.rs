//! Privileges under `init`: dropped and proven, or refused.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::{LOOK, as_pid_1, as_user, init};
use crate::harness::{
    CAPABILITY_SETS, EMPTY_SET, Outcome, PROBE, Running, UserNamespace, sandbox_test, status,
};

#[test]
fn the_arguments_are_passed_to_the_command() {
    let words = [
        "--",
        "printf",
        "[%s]",
        "a b",
        "",
        "--help",
        "--user=0",
        "new\nline",
        "'\"$(id)\\",
        "--",
    ];
    let ended = Running::start(init(words)).end().code(0);
    assert_eq!(
        ended.stdout,
        "[a b][][--help][--user=0][new\nline]['\"$(id)\\][--]"
    );
}

sandbox_test!(
    without_a_user_credentials_stay_as_they_are,
    probe,
    |sandbox| {
        let fields = [
            "Uid",
            "Gid",
            "Groups",
            "NoNewPrivs",
            "CapInh",
            "CapPrm",
            "CapEff",
            "CapBnd",
            "CapAmb",
        ];
        let of = |outcome: &Outcome| fields.map(|field| outcome.status(field));
        for wrapper in [
            &["setpriv", "--groups=0,2000"][..],
            &[
                "setpriv",
                "--inh-caps=+kill",
                "--ambient-caps=+kill",
                "--bounding-set=-sys_admin",
            ],
            &[
                "setpriv",
                "--reuid=1001",
                "--regid=1001",
                "--groups=2000",
                "--inh-caps=-all",
            ],
        ] {
            let launch = as_pid_1(&sandbox, &["--"]).args(LOOK);
            let plain = launch
                .clone()
                .wrapper(wrapper)
                .wrapper(["sh", "-c", "shift 3; exec \"$@\"", "sh"])
                .start()
                .code(0);
            let outcome = launch
                .wrapper(wrapper)
                .env("HOME", "/root")
                .env("USER", "root")
                .start()
                .code(0);
            assert_eq!(of(&outcome), of(&plain), "{wrapper:?}");
        }
        let look = [
            "--",
            "sh",
            "-c",
            "echo $HOME $USER ${SEALINIT_PIN:-none} ${SEALINIT_ANY:-none}",
        ];
        let launch = as_pid_1(&sandbox, &look)
            .env("HOME", "/root")
            .env("USER", "someone")
            .env("SEALINIT_ANY", "1");
        assert_eq!(launch.start().code(0).stdout, "/root someone none none\n");
    }
);

sandbox_test!(missing_capabilities_are_named_and_nothing_runs, |sandbox| {
    for (kept, missing) in [
        (&["setgid", "setpcap"][..], &["SETUID"][..]),
        (&["setuid", "setpcap"], &["SETGID"]),
        (&["setpcap"], &["SETUID", "SETGID"]),
        (&[], &["SETUID", "SETGID"]),
    ] {
        let outcome = as_user(&sandbox, "app", &["sh", "-c", "echo ran"])
            .capabilities(kept)
            .start()
            .code(77);
        assert_eq!(outcome.stdout, "", "{kept:?}");
        assert_eq!(outcome.errors().len(), 1, "{kept:?}: {outcome:?}");
        for capability in missing {
            outcome.says(capability);
        }
    }
    let service = as_user(&sandbox, "app", &LOOK)
        .capabilities(&["setuid", "setgid"])
        .start()
        .code(0);
    assert_eq!(service.status("CapEff"), EMPTY_SET);
    assert_eq!(
        service.status("NoNewPrivs"),
        "1",
        "what the bounding set still holds cannot be gained"
    );
});

sandbox_test!(a_namespace_that_denies_setgroups_is_refused, |sandbox| {
    let denied = UserNamespace {
        deny_setgroups: true,
        ..UserNamespace::WHOLE
    };
    let outcome = as_user(&sandbox, "app", &["sh", "-c", "echo ran"])
        .user_namespace(denied)
        .start()
        .code(77);
    assert_eq!(outcome.stdout, "");
    outcome.says("setgroups");
    let whole = as_user(&sandbox, "app", &LOOK)
        .user_namespace(UserNamespace::WHOLE)
        .start()
        .code(0);
    assert_eq!(whole.status("Uid"), "1000 1000 1000 1000");
    assert_eq!(whole.status("Groups"), "1000 2000");
});

// In a pod that forbids root, the same command line works if the process has the requested uid.
sandbox_test!(without_root_the_same_user_is_accepted, |sandbox| {
    for spec in ["app", "1000", "app:app", "1000:1000", "app:1000"] {
        let service = as_user(&sandbox, spec, &LOOK)
            .user(1000, 1000)
            .start()
            .code(0);
        assert_eq!(service.status("Uid"), "1000 1000 1000 1000", "{spec}");
        assert_eq!(service.status("Gid"), "1000 1000 1000 1000", "{spec}");
        assert_eq!(service.status("NoNewPrivs"), "1", "{spec}");
        let in_group = as_user(&sandbox, spec, &LOOK)
            .wrapper([
                "setpriv",
                "--reuid=1000",
                "--regid=1000",
                "--groups=2000",
                "--inh-caps=-all",
            ])
            .start()
            .code(0);
        assert_eq!(in_group.status("Groups"), "2000", "{spec}");
    }
    // An arbitrary uid with group 0, as OpenShift gives it.
    let service = as_user(&sandbox, "12345:0", &LOOK)
        .user(12345, 0)
        .start()
        .code(0);
    assert_eq!(service.status("Uid"), "12345 12345 12345 12345");
});

sandbox_test!(without_root_another_user_or_group_is_refused, |sandbox| {
    for spec in [
        "other",
        "1001",
        "root",
        "0",
        "0:0",
        "other:app",
        "app:other",
        "app:0",
        "1000:1000+0",
        "app:app+certs",
    ] {
        let outcome = as_user(&sandbox, spec, &["sh", "-c", "echo ran"])
            .user(1000, 1000)
            .start()
            .code(77);
        assert_eq!(outcome.stdout, "", "{spec}");
        assert_eq!(
            outcome.stderr.lines().count(),
            outcome.errors().len(),
            "{spec}: {outcome:?}"
        );
    }
});

// The same promises as for a configured service.
sandbox_test!(
    promise_4_nothing_of_root_is_left_for_a_bare_command,
    probe,
    |sandbox| {
        let look = [
            "sh",
            "-c",
            "cat /proc/self/status; echo out >/proc/self/fd/1; ls /proc/self/fd; cat /proc/1/environ; ls /proc/1/fd; readlink /proc/1/exe",
        ];
        let service = as_user(&sandbox, "app", &look)
            .prelude("exec 7</etc/passwd 9>/tmp/scratch 200</")
            .wrapper([PROBE, "inherit", "1-64"])
            .env("TOKEN", "secret")
            .start()
            .code(1);
        for field in ["SigBlk", "SigIgn"] {
            assert_eq!(service.status(field), EMPTY_SET, "{field}");
        }
        assert!(service.stdout.ends_with("out\n0\n1\n2\n3\n"), "{service:?}");
        service
            .says("/proc/1/environ: Permission denied")
            .never_says("secret");
    }
);

sandbox_test!(the_init_itself_has_nothing_of_root, probe, |sandbox| {
    let running = as_user(&sandbox, "app", &[PROBE, "signals", "main", "64"]).running();
    let init = running.prints("main ready").init();
    for (field, expected) in [
        ("Uid", "1000 1000 1000 1000"),
        ("Gid", "1000 1000 1000 1000"),
        ("Groups", "1000 2000"),
        ("NoNewPrivs", "1"),
    ] {
        assert_eq!(status(init, field), expected, "{field}");
    }
    for set in CAPABILITY_SETS {
        assert_eq!(status(init, set), EMPTY_SET, "{set}");
    }
    assert!(is_closed(init));
    running.signal(64);
    running.end().code(0);
});

/// Reports if other processes of the same uid cannot look into a process: its `/proc` files belong
/// to root then.
fn is_closed(pid: u32) -> bool {
    fs::metadata(format!("/proc/{pid}/environ")).is_ok_and(|found| found.uid() == 0)
}

// Without a change of ids, the kernel would not close it by itself.
sandbox_test!(
    a_command_with_the_inits_uid_cannot_look_into_it,
    probe,
    |sandbox| {
        let look = format!(
            "cat /proc/$PPID/environ 2>/dev/null && echo read; exec {PROBE} signals main 64"
        );
        for options in [&["--"][..], &["--user=app:app", "--"]] {
            let launch = as_pid_1(&sandbox, options)
                .args(["sh", "-c", &look])
                .user(1000, 1000)
                .env("TOKEN", "secret");
            let running = launch.running();
            let init = running.prints("main ready").init();
            assert!(is_closed(init));
            running.signal(64);
            assert_eq!(running.end().code(0).stdout, "main ready\nmain 64\n");
        }
    }
);
