//! `sealinit init`: signals, reaping and the proven privilege drop without any configuration, instead of tini and gosu.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::running::{PROBE, Running, catchable, image, probe, status};
use crate::sandbox::{CAPABILITY_SETS, EMPTY_SET, Launch, Outcome, Sandbox, UserNamespace};

/// What a service says of itself, and no other line of it.
const LOOK: [&str; 3] = ["sh", "-c", "cat /proc/self/status"];

/// `sealinit init` on the host itself: not as PID 1, and without any right that the test has not.
fn init<'a>(words: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealinit"));
    command.arg("init").args(words);
    command
}

/// `sealinit init` as PID 1 in a sandbox.
fn as_pid_1<'a>(sandbox: &'a Sandbox, words: &[&str]) -> Launch<'a> {
    sandbox.launch().subcommand(["init"]).args(words)
}

/// `sealinit init --user SPEC -- COMMAND` in a sandbox.
fn as_user<'a>(sandbox: &'a Sandbox, spec: &str, command: &[&str]) -> Launch<'a> {
    as_pid_1(sandbox, &[&format!("--user={spec}"), "--"]).args(command)
}

/// The probe's path on the host.
fn host_probe() -> &'static str {
    probe().to_str().unwrap()
}

#[test]
fn every_signal_reaches_the_command() {
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
    let Some(sandbox) = image() else { return };
    let outcome = as_pid_1(&sandbox, &["--", PROBE, "bounce", "1"])
        .start()
        .code(0);
    assert_eq!(outcome.stdout, expected);
    assert_eq!(outcome.stderr, "");
}

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
    for (target, told) in [
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
            told,
            "{target:?}: {ended:?}"
        );
    }
}

#[test]
fn mistakes_on_the_command_line_are_usage() {
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
fn all_256_exit_codes_pass() {
    for code in 0..=255 {
        let status = init(["--", "sh", "-c", &format!("exit {code}")])
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(code));
    }
}

#[test]
fn all_256_exit_codes_pass_pid_1() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
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
}

/// Those that end a process by default: all but those that it ignores or that stop it.
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

#[test]
fn what_cannot_be_run_is_127_or_126_and_said_once() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
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

#[test]
fn nothing_is_ever_written() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    for words in [
        &["--", "true"][..],
        &["--user", "app", "--", "true"],
        &["--user", "bogus", "--", "true"],
    ] {
        as_pid_1(&sandbox, words).start().untouched();
    }
}

#[test]
fn its_arguments_are_the_commands() {
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

#[test]
fn without_a_user_credentials_stay_as_they_are() {
    let Some(sandbox) = image() else { return };
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

/// The ids that others run as root, or as somebody else than was meant: nothing runs, and nothing is guessed.
#[test]
fn what_is_no_user_is_refused_and_nothing_runs() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    for (spec, code) in [
        ("", 2),
        ("+5", 2),
        (":", 2),
        (":0", 2),
        (":app", 2),
        ("nobody:", 2),
        ("nobody+", 2),
        ("nobody:app+", 2),
        ("nobody++app", 2),
        ("4294967295", 2),
        ("4294967296", 2),
        ("18446744073709551616", 2),
        ("99999999999999999999999999", 2),
        ("nobody:4294967296", 2),
        ("nobody:4294967295", 2),
        ("nobody+4294967296", 2),
        // Names that no account has, though other programs read a number in them.
        ("-1", 67),
        ("nobody:-1", 67),
        (" ", 67),
        (" 5", 67),
        ("5 ", 67),
        ("0 ", 67),
        ("\t0", 67),
        ("0\n", 67),
        ("0x10", 67),
        ("0x0", 67),
        ("1e3", 67),
        ("0day", 67),
        ("0.0", 67),
        ("０", 67),
        ("nobody:+5", 2),
        ("nobody: 5", 67),
        ("nobody:0x10", 67),
        ("bogus", 67),
        ("nobody:bogus", 67),
        ("nobody:app+bogus", 67),
        ("App", 67),
        ("app:app:app", 67),
        // Without an account there is no primary group, and gid 0 is nobody's default.
        ("2147483648", 67),
        ("4711", 67),
        ("4711+44", 67),
    ] {
        let outcome = as_user(&sandbox, spec, &["sh", "-c", "echo ran; id"])
            .start()
            .code(code);
        assert_eq!(outcome.stdout, "", "{spec:?}: {outcome:?}");
        assert!(
            !outcome.stderr.is_empty(),
            "{spec:?} is refused without a word"
        );
        assert!(
            !outcome
                .stderr
                .chars()
                .any(|shown| shown.is_control() && shown != '\n'),
            "{spec:?}: {outcome:?}"
        );
    }
    // The name of an option is no user, nor is a missing one.
    for words in [
        &["--user", "-1", "--", "id"][..],
        &["--user", "--", "id"],
        &["--user", "+5", "--", "id"],
    ] {
        let outcome = as_pid_1(&sandbox, words).start();
        let code = outcome.exit_code();
        assert!([2, 67].contains(&code), "{words:?}");
        assert_eq!(outcome.code(code).stdout, "", "{words:?}");
    }
}

#[test]
fn a_user_is_a_name_or_an_id_with_groups() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    for (spec, uid, gid, groups) in [
        // As in Docker: memberships of /etc/group come with a user who is given no group, and only then.
        ("app", 1000, 1000, "1000 2000"),
        ("1000", 1000, 1000, "1000 2000"),
        ("app:app", 1000, 1000, "1000"),
        ("1000:1000", 1000, 1000, "1000"),
        ("app:certs", 1000, 2000, "2000"),
        ("app:0", 1000, 0, "0"),
        ("nobody", 65534, 65534, "65534"),
        ("nobody:app+certs", 65534, 1000, "1000 2000"),
        ("app+44", 1000, 1000, "44 1000 2000"),
        ("app:certs+44+other+44", 1000, 2000, "44 1001 2000"),
        ("4711:4711", 4711, 4711, "4711"),
        ("4711:certs", 4711, 2000, "2000"),
        ("4711:0+7", 4711, 0, "0 7"),
        ("0001000", 1000, 1000, "1000 2000"),
        ("other", 1001, 1001, "1001"),
    ] {
        let service = as_user(&sandbox, spec, &LOOK)
            .wrapper(["setpriv", "--groups=0,3000"])
            .start()
            .code(0);
        assert_eq!(
            service.status("Uid"),
            [uid; 4].map(|uid: u32| uid.to_string()).join(" "),
            "{spec}"
        );
        assert_eq!(
            service.status("Gid"),
            [gid; 4].map(|gid: u32| gid.to_string()).join(" "),
            "{spec}"
        );
        assert_eq!(service.status("Groups"), groups, "{spec}");
        for set in CAPABILITY_SETS {
            assert_eq!(service.status(set), EMPTY_SET, "{spec}: {set}");
        }
        assert_eq!(service.status("NoNewPrivs"), "1", "{spec}");
        assert_eq!(service.stderr, "", "{spec}");
    }
}

/// The largest id there is.
#[test]
fn an_id_may_be_as_large_as_the_kernel_has_them() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    let start = as_user(&sandbox, "4294967294:4294967294", &LOOK).start();
    // In a user namespace, it is not mapped.
    if start.exit_code() == 77 {
        start.code(77).says("not mapped");
        return;
    }
    let service = start.code(0);
    assert_eq!(service.status("Uid"), ["4294967294"; 4].join(" "));
    assert_eq!(service.status("Gid"), ["4294967294"; 4].join(" "));
}

#[test]
fn home_and_user_are_the_users() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    let look = [
        "sh",
        "-c",
        "echo $HOME ${USER-none} ${LOGNAME-none} ${SEALINIT_ANY-none} $KEPT",
    ];
    for (spec, expected) in [
        ("app", "/home/app app app none 1\n"),
        ("1000", "/home/app app app none 1\n"),
        ("app:certs", "/home/app app app none 1\n"),
        ("nobody", "/nonexistent nobody nobody none 1\n"),
        ("4711:4711", "/ none none none 1\n"),
    ] {
        let launch = as_user(&sandbox, spec, &look)
            .env("HOME", "/root")
            .env("USER", "root")
            .env("LOGNAME", "root")
            .env("SEALINIT_ANY", "1")
            .env("KEPT", "1");
        assert_eq!(launch.start().code(0).stdout, expected, "{spec}");
    }
}

#[test]
fn accounts_are_read_as_the_c_library_reads_them() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    let id = ["sh", "-c", "id -u; id -g; echo $USER"];
    let ask = |spec: &str| as_user(&sandbox, spec, &id).start();
    // Two names with one uid: each has its own group; of an id, the first is meant.
    sandbox.file(
        "/etc/passwd",
        "first:x:1500:1500::/:/bin/sh\nsecond:x:1500:1600::/:/bin/sh\nfirst:x:0:0::/root:/bin/sh\n",
    );
    assert_eq!(ask("first").code(0).stdout, "1500\n1500\nfirst\n");
    assert_eq!(ask("second").code(0).stdout, "1500\n1600\nsecond\n");
    assert_eq!(ask("1500").code(0).stdout, "1500\n1500\nfirst\n");
    // Lines that are not sound are nobody's.
    sandbox.file(
        "/etc/passwd",
        "app::+0:0::/:\napp:x:-1:0::/:\n+app:x:0:0::/:\napp:x: 0:0::/:\nshort:x:0\napp:x:4294967296:0::/:/bin/sh\n",
    );
    for spec in ["app", "+app", "short"] {
        let refused = ask(spec);
        let code = refused.exit_code();
        assert!([2, 67].contains(&code), "{spec}");
        assert_eq!(refused.code(code).stdout, "", "{spec}");
    }
    // No accounts, as in an image with nothing in it: ids do.
    for empty in [true, false] {
        if empty {
            sandbox.file("/etc/passwd", "").file("/etc/group", "");
        } else {
            sandbox.remove("/etc/passwd").remove("/etc/group");
        }
        assert_eq!(ask("1000:1000").code(0).stdout, "1000\n1000\n\n");
        let _ = ask("1000").code(67);
        let _ = ask("app").code(67);
        let _ = ask("1000:app").code(67);
    }
}

/// The kernel takes 65536 groups at most.
#[test]
fn more_groups_than_the_kernel_takes_are_refused() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    let groups = (0..70_000).fold(String::new(), |mut text, number| {
        writeln!(text, "g{number}:x:{}:app", 100_000 + number).unwrap();
        text
    });
    sandbox.file("/etc/group", groups);
    let outcome = as_user(&sandbox, "app", &["sh", "-c", "echo ran"])
        .start()
        .code(77);
    assert_eq!(outcome.stdout, "");
    // In a user namespace, most of them are not even mapped, and each is told.
    if !outcome.stderr.contains("not mapped") {
        assert_eq!(outcome.errors().len(), 1, "{outcome:?}");
    }
    assert_eq!(
        as_user(&sandbox, "app:1000", &["echo", "ran"])
            .start()
            .code(0)
            .stdout,
        "ran\n"
    );
}

#[test]
fn what_lacks_is_said_and_nothing_runs() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    for (kept, lacks) in [
        (&["setgid", "setpcap"][..], &["CAP_SETUID"][..]),
        (&["setuid", "setpcap"], &["CAP_SETGID"]),
        (&["setpcap"], &["CAP_SETUID", "CAP_SETGID"]),
        (&[], &["CAP_SETUID", "CAP_SETGID"]),
    ] {
        let outcome = as_user(&sandbox, "app", &["sh", "-c", "echo ran"])
            .capabilities(kept)
            .start()
            .code(77);
        assert_eq!(outcome.stdout, "", "{kept:?}");
        assert_eq!(outcome.errors().len(), 1, "{kept:?}: {outcome:?}");
        for capability in lacks {
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
}

#[test]
fn a_namespace_that_denies_setgroups_is_refused() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
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
}

/// In a pod that forbids root, the same command line works where the uid is the one that was asked for.
#[test]
fn without_root_the_user_that_it_is_already_changes_nothing() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
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
}

#[test]
fn without_root_another_user_or_group_is_refused() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
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
}

/// The same promises as for a configured service.
#[test]
fn promise_4_nothing_of_root_is_left_for_a_bare_command() {
    let Some(sandbox) = image() else { return };
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

#[test]
fn the_init_itself_has_nothing_of_root() {
    let Some(sandbox) = image() else { return };
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
}

/// Whether others of a process's own uid may not look into it: the kernel gives its `/proc` files to root then.
fn is_closed(pid: u32) -> bool {
    fs::metadata(format!("/proc/{pid}/environ")).is_ok_and(|found| found.uid() == 0)
}

/// Without a user to become there is no change of ids that would close it.
#[test]
fn an_init_that_has_the_commands_uid_is_closed_to_it() {
    let Some(sandbox) = image() else { return };
    let look =
        format!("cat /proc/$PPID/environ 2>/dev/null && echo read; exec {PROBE} signals main 64");
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

#[test]
fn orphans_are_reaped_and_the_commands_end_is_not_lost() {
    for (words, code) in [
        (["storm", "2000", "42"], 42),
        (["reaped", "500", ""], 0),
        (["adopted", "", ""], 0),
    ] {
        let running = Running::start(init(["--", host_probe()].into_iter().chain(words)));
        let ended = running.end().code(code);
        assert!(!ended.open, "{ended:?}");
    }
}

/// Without a namespace, nothing but the init itself ends what the command leaves behind.
#[test]
fn the_whole_tree_ends_gracefully_and_nobody_outlives_it() {
    let script = format!(
        "{0} worker group 400 & setsid {0} worker session 400 & (setsid {0} worker orphan 400 &)
        setsid {0} deaf ears & trap 'exit 4' TERM; while :; do sleep 0.02; done",
        host_probe()
    );
    let running = Running::start(init(["--stop-grace", "1", "--", "sh", "-c", &script]));
    for worker in ["group", "session", "orphan", "ears"] {
        running.prints(&format!("{worker} ready\n"));
    }
    let everybody = running.descendants_named("probe");
    assert_eq!(everybody.len(), 4, "{running:?}");
    let since = Instant::now();
    running.signal(15);
    let ended = running.end().code(4);
    let took = since.elapsed();
    assert!(took >= Duration::from_secs(1), "{took:?}");
    for worker in ["group", "session", "orphan"] {
        assert!(
            ended.stdout.contains(&format!("{worker} finished\n")),
            "{ended:?}"
        );
    }
    assert!(!ended.open, "{ended:?}");
    for pid in everybody {
        assert_ne!(status(pid, "Name"), "probe");
    }
}

/// Others of the same user are not its business.
#[test]
fn only_its_own_descendants_are_ended() {
    let mut bystander = Command::new("sleep").arg("60").spawn().unwrap();
    let status = init([
        "--stop-grace=1",
        "--",
        "sh",
        "-c",
        "setsid sleep 60 & exit 3",
    ])
    .status()
    .unwrap();
    assert_eq!(status.code(), Some(3));
    assert!(
        bystander.try_wait().unwrap().is_none(),
        "a process that is not its descendant was ended"
    );
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}
