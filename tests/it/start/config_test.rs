//! The manifest's `check`: the service's own test of its configuration before the seal.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{APP, CONTENT, JOURNAL, Launch, SEAL, Sandbox, one_file, sandbox_test, send};

/// A configuration with one sealed file and these checks.
fn checked(sandbox: &Sandbox, checks: Value) {
    let mut manifest = one_file(&["echo", "ran"]);
    manifest["check"] = checks;
    sandbox.manifest(&manifest).source("app.conf", CONTENT);
}

fn shell(script: &str) -> Value {
    json!({"command": ["sh", "-c", script]})
}

// "runs after install and before the seal, as the service's credentials, no shell"
sandbox_test!(
    a_check_runs_as_the_service_on_what_is_installed_and_not_sealed,
    |sandbox| {
        let command = "cat /etc/app/app.conf && ! test -e /var/lib/sealinit/seal && grep -E '^(Uid|Gid|Groups|CapPrm|CapBnd|NoNew|SigBlk|SigIgn)' /proc/self/status && env && ls -l /proc/self/fd";
        checked(&sandbox, json!([shell(command)]));
        let start = sandbox
            .launch()
            .args(["--log-level", "debug"])
            .env("SEALINIT_MANIFEST", "/etc/sealinit/manifest.json");
        let outcome = start.prelude("exec 7< /etc/passwd").start().success();
        assert_eq!(outcome.state(), "sealed");
        let said = |part: &str| outcome.says(&format!("sealinit: debug: check: {part}"));
        for line in [
            "debug = false",
            "Uid:\\t1000\\t1000\\t1000\\t1000",
            "Gid:\\t1000\\t1000\\t1000\\t1000",
            "Groups:\\t1000",
            "CapPrm:\\t0000000000000000",
            "CapBnd:\\t0000000000000000",
            "NoNewPrivs:\\t1",
            "SigBlk:\\t0000000000000000",
            "SigIgn:\\t0000000000000000",
            "HOME=/home/app",
        ] {
            said(line);
        }
        let of_check: Vec<&str> = outcome
            .stderr
            .lines()
            .filter(|line| line.contains("check: "))
            .collect();
        assert!(
            of_check.iter().any(|line| line.contains(" 0 -> /dev/null")),
            "{outcome:?}"
        );
        for absent in ["SEALINIT_", " 7 -> "] {
            assert!(
                !of_check.iter().any(|line| line.contains(absent)),
                "{absent}\n{outcome:?}"
            );
        }
        assert_eq!(
            outcome.stdout, "ran\n",
            "what a check prints is not the service's output"
        );
    }
);

sandbox_test!(
    a_check_that_succeeds_is_silent_and_is_not_run_again,
    |sandbox| {
        checked(
            &sandbox,
            json!([shell("echo checked; echo >> /home/app/runs")]),
        );
        let outcome = sandbox.start().success();
        outcome.never_says("checked").without_warnings();
        let _ = sandbox.start().success();
        assert_eq!(sandbox.read("/home/app/runs"), "\n");
    }
);

// "a failure or timeout refuses (exit 84, the command's output shown), leaves no seal"
sandbox_test!(
    a_check_that_fails_refuses_and_the_next_start_tries_again,
    |sandbox| {
        checked(
            &sandbox,
            json!([shell(
                "echo 'unknown directive \"x\"'; printf '\\033[31mbad\\n' >&2; test -e /home/app/ok"
            )]),
        );
        let refused = sandbox.start().failed(
            84,
            "failed: it ended with exit code 1; nothing was sealed; correct the configuration",
        );
        assert_eq!(
            refused.errors(),
            [
                "check: unknown directive \"x\"",
                "check: \\u{1b}[31mbad",
                "the service's check sh -c echo 'unknown directive \"x\"'; printf '\\\\033[31mbad\\\\n' >&2; test -e /home/app/ok \
             failed: it ended with exit code 1; nothing was sealed; correct the configuration",
            ]
        );
        assert!(!sandbox.exists(SEAL) && sandbox.exists(JOURNAL));
        let _ = sandbox.start().failed(84, "exit code 1");
        sandbox.file("/home/app/ok", "");
        let resumed = sandbox.start().success();
        assert_eq!(
            (resumed.state().as_str(), resumed.stdout.as_str()),
            ("resumed", "ran\n")
        );
    }
);

sandbox_test!(every_check_is_run_and_every_failure_reported, |sandbox| {
    checked(
        &sandbox,
        json!([shell("exit 3"), {"command": ["true"]}, shell("kill -SEGV $$")]),
    );
    let refused = sandbox.start().failed(84, "exit code 3");
    refused.says("failed: it ended with exit code 139");
    assert_eq!(refused.errors().len(), 2);
});

// "kills what it started"
sandbox_test!(
    a_check_that_takes_too_long_is_killed_with_everything_that_it_started,
    |sandbox| {
        let script = "trap '' TERM HUP INT; setsid sh -c 'trap \"\" TERM; sleep 50 & sleep 50' & (setsid sleep 50 &) ; \
                  echo started; sleep 50";
        checked(
            &sandbox,
            json!([{"command": ["sh", "-c", script], "timeout_seconds": 1}]),
        );
        let since = Instant::now();
        // PID 1 ends before the harness could look; here a shell stays to look.
        let start = outlived(sandbox.launch(), COUNT);
        let outcome = start.start().code(84);
        assert!(
            since.elapsed() < Duration::from_secs(15),
            "{:?}",
            since.elapsed()
        );
        outcome.says("failed: it had not ended after 1 s, and was killed");
        outcome.says("check: started");
        assert_eq!(
            outcome.stdout, "1\n",
            "what the check started has outlived it"
        );
        assert!(!sandbox.exists(SEAL));
    }
);

sandbox_test!(
    processes_that_a_successful_check_leaves_behind_are_killed,
    |sandbox| {
        checked(
            &sandbox,
            json!([shell(
                "setsid sleep 50 > /dev/null 2>&1 & (sleep 50 &); exit 0"
            )]),
        );
        let since = Instant::now();
        let outcome = outlived(sandbox.launch(), COUNT).start().code(0);
        assert_eq!(outcome.stdout, "ran\n1\n");
        assert!(
            since.elapsed() < Duration::from_secs(15),
            "{:?}",
            since.elapsed()
        );
    }
);

// `docker stop` during a check that takes long.
sandbox_test!(a_stop_during_a_check_ends_the_start_at_once, |sandbox| {
    checked(
        &sandbox,
        json!([
            shell("echo started; setsid sleep 50 & sleep 50"),
            shell("exit 1")
        ]),
    );
    for launch in [
        sandbox.launch(),
        outlived(
            sandbox.launch(),
            "sleep 1; ! grep -qx sleep /proc/[0-9]*/comm || code=1",
        ),
    ] {
        let running = launch.running();
        let mut sealinit = 0;
        running.until("the check runs", || {
            let inits = running.descendants_named("sealinit");
            sealinit = inits.first().copied().unwrap_or(0);
            inits.len() == 2 && !running.descendants_named("sleep").is_empty()
        });
        let since = Instant::now();
        send(sealinit, [15]);
        let ended = running.end().code(143);
        assert!(
            since.elapsed() < Duration::from_secs(5),
            "{:?}",
            since.elapsed()
        );
        let message = "sealinit: error: SIGTERM arrived before the service was started; the next start continues";
        assert!(ended.stderr.contains(message), "{ended:?}");
        assert!(!ended.stderr.contains("the service's check"), "{ended:?}");
        assert!(!sandbox.exists(SEAL));
    }
});

// Without `CAP_KILL` root cannot signal the service's uid.
sandbox_test!(a_check_is_killed_without_cap_kill, |sandbox| {
    let script = "setsid sleep 50 & sleep 50";
    checked(
        &sandbox,
        json!([{"command": ["sh", "-c", script], "timeout_seconds": 1}]),
    );
    let start = sandbox
        .launch()
        .capabilities(&["chown", "setuid", "setgid", "setpcap"]);
    let start = outlived(start, COUNT);
    let outcome = start.start().code(84);
    assert_eq!(outcome.stdout, "1\n");
});

/// Counts the sleeping processes that remain; one of them is this shell's own.
const COUNT: &str = "sleep 50 & sleep 0.3; grep -lx sleep /proc/[0-9]*/comm 2>/dev/null | wc -l";

/// Runs sealinit as a child of a shell that stays, and then the script.
fn outlived<'a>(launch: Launch<'a>, script: &str) -> Launch<'a> {
    launch.prelude(&format!("\"$@\"; code=$?; {script}; exit $code; :"))
}

sandbox_test!(
    only_the_end_of_a_long_output_of_a_check_is_logged,
    |sandbox| {
        let script = "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; exit 1";
        checked(&sandbox, json!([shell(script)]));
        let refused = sandbox.start().failed(84, "exit code 1");
        let errors = refused.errors();
        assert_eq!(errors.len(), 42);
        assert_eq!(errors[0], "check: … the end of 208890 bytes:");
        assert_eq!(
            (errors[1], errors[40]),
            ("check: line 19960", "check: line 19999")
        );

        let sandbox = sandbox.another();
        checked(
            &sandbox,
            json!([shell("head -c 1000000 /dev/zero; exit 1")]),
        );
        sandbox.file("/dev/zero", "");
        let refused = sandbox
            .launch()
            .bind_host("/dev/zero", "/dev/zero")
            .start()
            .failed(84, "exit code 1");
        assert!(refused.stderr.len() < 40_000, "{}", refused.stderr.len());
        refused.says("check: … the end of 1000000 bytes:");
    }
);

sandbox_test!(
    a_check_that_cannot_be_run_is_refused_before_anything_is_written,
    |sandbox| {
        let checks = json!([{"command": ["no-such-program"]}, {"command": ["/etc/passwd"]}]);
        checked(&sandbox, checks);
        let refused = sandbox
        .start()
        .refused(84, "the service's check cannot be run: cannot find the service's program no-such-program in PATH=");
        refused.says(
            "the service's check cannot be run: cannot execute the service's program /etc/passwd: ",
        );
        assert_eq!(refused.errors().len(), 2);
    }
);

sandbox_test!(
    a_check_may_be_a_program_that_is_installed_first,
    |sandbox| {
        let mut manifest = one_file(&["echo", "ran"]);
        manifest["files"]
        .as_array_mut()
        .unwrap()
        .push(json!({"content": "#!/bin/sh\ngrep debug /etc/app/app.conf", "dest": "/opt/check", "mode": "0550"}));
        manifest["check"] = json!([{"command": ["/opt/check"]}]);
        sandbox.manifest(&manifest).source("app.conf", CONTENT);
        assert_eq!(sandbox.start().success().state(), "sealed");
    }
);

// Promise 1 also holds where nothing is locked.
sandbox_test!(
    a_check_that_changes_an_installed_file_is_refused,
    |sandbox| {
        let mut manifest = one_file(&["echo", "ran"]);
        manifest["service"] = json!({"command": ["echo", "ran"]});
        manifest["check"] = json!([shell(
            "chmod u+w /etc/app/app.conf; echo more >> /etc/app/app.conf; chmod u-w /etc/app/app.conf"
        )]);
        sandbox.manifest(&manifest).source("app.conf", CONTENT);
        for directory in ["/etc/app", "/var/lib/sealinit"] {
            sandbox
                .directory(directory, 0o755)
                .owner(directory, APP, APP);
        }
        let _ = sandbox
            .launch()
            .user(APP, APP)
            .start()
            .failed(74, "/etc/app/app.conf: content: expected");
        assert!(!sandbox.exists(SEAL));
    }
);

sandbox_test!(a_check_may_change_mutable_files, |sandbox| {
    let mut manifest = one_file(&["cat", "/srv/data/seed"]);
    manifest["directories"] = json!([{"path": "/srv/data"}]);
    manifest["files"]
        .as_array_mut()
        .unwrap()
        .push(json!({"content": "seed\n", "dest": "/srv/data/seed", "owner": "app", "mode": "0600", "mutable": true}));
    manifest["check"] = json!([shell("echo checked >> /srv/data/seed")]);
    sandbox.manifest(&manifest).source("app.conf", CONTENT);
    assert_eq!(sandbox.start().success().stdout, "seed\nchecked\n");
    assert_eq!(sandbox.start().success().state(), "verified");
});

sandbox_test!(
    a_check_runs_without_proc_and_without_null_device,
    |sandbox| {
        checked(&sandbox, json!([shell("cat; exit 0"), shell("exit 5")]));
        let refused = sandbox
            .launch()
            .without_proc()
            .start()
            .failed(84, "exit code 5");
        assert_eq!(refused.errors().len(), 1);
    }
);

sandbox_test!(a_timeout_of_zero_seconds_is_refused, |sandbox| {
    checked(
        &sandbox,
        json!([{"command": ["true"], "timeout_seconds": 0}]),
    );
    let _ = sandbox.start().refused(
        78,
        "$.check[0]: timeout_seconds is 0, in which nothing can succeed; write 1 or more",
    );
});
