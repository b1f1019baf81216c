//! Signals and exit codes under `init`.

use std::fmt::Write as _;

use super::{as_pid_1, host_probe, init};
use crate::harness::{PROBE, Running, catchable, sandbox_test};

sandbox_test!(every_signal_reaches_the_command, probe, |sandbox| {
    let script = format!("exec {} bounce $PPID", host_probe());
    let expected = catchable().fold(String::new(), |mut text, number| {
        writeln!(text, "back {number}").unwrap();
        text
    });
    let ended = Running::start(init(["--", "sh", "-c", &script]))
        .end()
        .code(0);
    assert_eq!(ended.stdout, expected);
    assert_eq!(ended.stderr, "", "it has nothing to say");
    let outcome = as_pid_1(&sandbox, &["--", PROBE, "bounce", "1"])
        .start()
        .code(0);
    assert_eq!(outcome.stdout, expected);
    assert_eq!(outcome.stderr, "");
});

#[test]
fn signals_are_rewritten_by_name() {
    let rewrite = [
        "TERM=QUIT",
        "SIGQUIT=INT",
        "HUP=",
        "USR1=RTMIN+3",
        "RTMAX-1=SIGUSR2",
        "CHLD=URG",
        "RTMIN=",
    ];
    let mut words: Vec<&str> = rewrite
        .iter()
        .flat_map(|rewrite| ["--rewrite", rewrite])
        .collect();
    words.extend(["--", host_probe(), "signals", "main", "64"]);
    let running = Running::start(init(words));
    running.prints("main ready");
    let mut expected = String::from("main ready\n");
    for (sent, passed_on) in [
        (15, Some(3)),
        (3, Some(2)),
        (1, None),
        (10, Some(37)),
        (63, Some(12)),
        (17, Some(23)),
        (34, None),
        (64, Some(64)),
    ] {
        running.signal(sent);
        if let Some(number) = passed_on {
            writeln!(expected, "main {number}").unwrap();
            running.until(format_args!("{sent} is passed on"), || {
                running.stdout() == expected
            });
        }
    }
    running.end().code(0);
}

#[test]
fn signals_are_for_the_command_or_for_its_group() {
    let worker = format!(
        "{0} signals worker 15 & exec {0} signals main 10",
        host_probe()
    );
    for (target, reaches_worker) in [
        (None, false),
        (Some("--target=child"), false),
        (Some("--target=group"), true),
    ] {
        let words = target.into_iter().chain(["--", "sh", "-c", &worker]);
        let running = Running::start(init(words));
        running
            .prints("main ready\n")
            .prints("worker ready\n")
            .signal(10);
        let ended = running.end().code(0);
        assert!(ended.stdout.contains("main 10\n"), "{ended:?}");
        assert_eq!(
            ended.stdout.contains("worker 10\n"),
            reaches_worker,
            "{target:?}: {ended:?}"
        );
    }
}

#[test]
fn mistakes_on_the_command_line_are_errors_of_usage() {
    for (words, reason) in [
        (&["--"][..], "COMMAND"),
        (&[], "COMMAND"),
        (&["true"], "true"),
        (&["--target", "session", "--", "true"], "session"),
        (&["--rewrite", "TERM", "--", "true"], "TERM"),
        (&["--rewrite", "TERM=NOPE", "--", "true"], "NOPE"),
        (&["--rewrite", "=QUIT", "--", "true"], "=QUIT"),
        (&["--rewrite", "term=QUIT", "--", "true"], "TERM"),
        (&["--rewrite", "15=3", "--", "true"], "15"),
        (&["--rewrite", "RTMIN+31=QUIT", "--", "true"], "RTMIN+31"),
        (&["--rewrite", "TERM=RTMAX-31", "--", "true"], "RTMAX-31"),
        (&["--expected-exit", "256", "--", "true"], "256"),
        (&["--expected-exit", "-1", "--", "true"], "-1"),
        (&["--stop-grace", "-1", "--", "true"], "-1"),
        (&["--stop-grace", "soon", "--", "true"], "soon"),
        (&["--manifest", "/m.json", "--", "true"], "--manifest"),
    ] {
        let ended = Running::start(init(words.iter().copied())).end().code(2);
        assert!(ended.stderr.contains(reason), "{words:?}: {ended:?}");
    }
}

#[test]
fn all_256_exit_codes_are_passed_on() {
    for code in 0..=255 {
        let status = init(["--", "sh", "-c", &format!("exit {code}")])
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(code));
    }
}

sandbox_test!(all_256_exit_codes_are_passed_on_by_pid_1, |sandbox| {
    // One sandbox for all; each init is PID 1 of a namespace of its own.
    let script = "for code in $(seq 0 255); do unshare --pid --fork /sbin/sealinit init -- sh -c \"exit $code\"; echo $code $?; done; exit 3";
    let all = (0..=255).fold(String::new(), |mut text, code| {
        writeln!(text, "{code} {code}").unwrap();
        text
    });
    assert_eq!(
        as_pid_1(&sandbox, &["--", "sh", "-c", script])
            .start()
            .code(3)
            .stdout,
        all
    );
});

/// The signals that end a process by default.
#[test]
fn a_signal_that_ended_the_command_is_added_to_128() {
    let harmless = [17, 18, 23, 28];
    let stop = [19, 20, 21, 22];
    for number in (1..=64).filter(|number| !harmless.contains(number) && !stop.contains(number)) {
        let script = format!("ulimit -c 0; exec {} raise {number}", host_probe());
        let status = init(["--", "sh", "-c", &script]).status().unwrap();
        assert_eq!(status.code(), Some(128 + number));
    }
    for number in harmless {
        assert_eq!(
            init(["--", host_probe(), "raise", &number.to_string()])
                .status()
                .unwrap()
                .code(),
            Some(0)
        );
    }
}

#[test]
fn expected_exit_codes_are_success() {
    for (code, expected) in [(143, 0), (3, 0), (0, 0), (1, 1), (142, 142), (255, 255)] {
        let words = [
            "--expected-exit",
            "143",
            "--expected-exit=3",
            "--",
            "sh",
            "-c",
            &format!("exit {code}"),
        ];
        assert_eq!(init(words).status().unwrap().code(), Some(expected));
    }
    let running = Running::start(init([
        "--expected-exit=143",
        "--",
        host_probe(),
        "raise",
        "15",
    ]));
    running.end().code(0);
    let running = Running::start(init(["--expected-exit=0", "--", "sh", "-c", "exit 5"]));
    running.end().code(5);
}

sandbox_test!(
    a_command_that_cannot_be_run_is_127_or_126_with_one_message,
    |sandbox| {
        sandbox.file("/opt/not-executable", "#!/bin/sh\n");
        sandbox
            .file("/opt/no-format", "what is this\n")
            .mode("/opt/no-format", 0o755);
        sandbox
            .file("/opt/orphan", "#!/no/such/interpreter\n")
            .mode("/opt/orphan", 0o755);
        sandbox
            .file("/opt/torn", b"\x7fELF\x02\x01\x01")
            .mode("/opt/torn", 0o755);
        sandbox.file("/opt/empty", "").mode("/opt/empty", 0o755);
        for (program, code) in [
            ("no-such-program", 127),
            ("/no/such/program", 127),
            ("/opt", 126),
            ("/opt/not-executable", 126),
            ("/opt/no-format", 126),
            ("/opt/orphan", 126),
            ("/opt/torn", 126),
            ("/opt/empty", 126),
        ] {
            for options in [&["--"][..], &["--user=app", "--"]] {
                let outcome = as_pid_1(&sandbox, options)
                    .args([program])
                    .start()
                    .code(code);
                let errors = outcome.errors();
                assert_eq!(errors.len(), 1, "{outcome:?}");
                assert!(errors[0].contains(program), "{outcome:?}");
                assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
            }
        }
        // A command may end with these codes itself.
        for code in [126, 127] {
            let outcome = as_pid_1(&sandbox, &["--", "sh", "-c", &format!("exit {code}")])
                .start()
                .code(code);
            assert_eq!(outcome.stderr, "");
        }
    }
);

sandbox_test!(init_writes_nothing, |sandbox| {
    for words in [
        &["--", "true"][..],
        &["--user", "app", "--", "true"],
        &["--user", "bogus", "--", "true"],
    ] {
        as_pid_1(&sandbox, words).start().untouched();
    }
});
