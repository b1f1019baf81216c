//! A service on a terminal, as under `docker run -it`: job control, keys, window size.

use std::process::Command;

use crate::harness::{
    CTRL_BACKSLASH, CTRL_C, CTRL_Z, PROBE, Running, SHELL, Sandbox, Terminal, in_foreground,
    one_file, probe, sandbox_test, send, status,
};

/// A shell on a terminal, started in every way: with and without a configuration, as PID 1 and as
/// the leader of some session. The returned disk must outlive them.
fn shells(sandbox: &Sandbox) -> (Vec<Terminal>, Sandbox) {
    let init = ["init", "--user", "app", "--"];
    let bare = Terminal::of(&sandbox.launch().subcommand(init).args(SHELL));
    let configured = sandbox.another();
    configured.one_file(&SHELL);
    let supervised = Terminal::of(&configured.launch().args(["--supervise"]));
    let terminals = vec![bare, supervised, Terminal::start(session_on_host(&SHELL))];
    for terminal in &terminals {
        terminal.asks("PS1='$ '; echo ready-$((40 + 2))", "ready-42");
    }
    (terminals, configured)
}

/// A bare init on the host itself, the leader of a session.
fn session_on_host(command: &[&str]) -> Command {
    let mut setsid = Command::new("setsid");
    setsid
        .args(["--ctty", env!("CARGO_BIN_EXE_sealinit"), "init", "--"])
        .args(command);
    setsid
}

sandbox_test!(a_shell_has_job_control, |sandbox| {
    let (terminals, _disk) = shells(&sandbox);
    for terminal in terminals {
        let screen = terminal.running.stdout();
        for complaint in ["job control", "process group", "ioctl", "tty"] {
            assert!(!screen.contains(complaint), "{screen}");
        }
        assert!(in_foreground(terminal.running.service()), "{terminal:?}");
        terminal.asks(
            "case $- in *m*) echo monitor-$((6 * 7));; esac",
            "monitor-42",
        );
        // A job in the background may be brought to the foreground and is waited for.
        terminal.asks(
            "(sleep 0.2; exit 3) & fg; echo code-$?-$((6 * 7))",
            "code-3-42",
        );
        terminal.keys("exit 7\n");
        terminal.running.end().code(7);
    }
});

sandbox_test!(
    ctrl_c_interrupts_what_is_in_the_foreground_and_not_the_shell,
    |sandbox| {
        let (terminals, _disk) = shells(&sandbox);
        for terminal in terminals {
            let sleeps = terminal.runs("sleep 1000", "sleep");
            terminal.keys(CTRL_C);
            terminal
                .running
                .until("sleep has ended", || status(sleeps, "Name") != "sleep");
            terminal.asks("echo code-$?-$((6 * 7))", "code-130-42");
            terminal.keys("exit\n");
            terminal.running.end();
        }
    }
);

sandbox_test!(
    ctrl_z_stops_what_is_in_the_foreground_and_the_shell_goes_on,
    |sandbox| {
        let (terminals, _disk) = shells(&sandbox);
        for terminal in terminals {
            let sleeps = terminal.runs("sleep 1000", "sleep");
            terminal.keys(CTRL_Z);
            terminal.running.until("sleep is stopped", || {
                status(sleeps, "State").starts_with('T')
            });
            terminal
                .asks("jobs; echo listed-$((6 * 7))", "listed-42")
                .prints("Stopped");
            terminal.keys("fg\n");
            terminal.running.until("sleep goes on", || {
                in_foreground(sleeps) && !status(sleeps, "State").starts_with('T')
            });
            terminal.keys(CTRL_C);
            terminal
                .running
                .until("sleep has ended", || status(sleeps, "Name") != "sleep");
            terminal.asks("echo alive-$((6 * 7))", "alive-42");
            // A stopped job ends with the shell.
            terminal.runs("sleep 2000", "sleep");
            terminal
                .keys(CTRL_Z)
                .prints("Stopped")
                .keys("exit 5\nexit 5\n");
            terminal.running.end().code(5);
        }
    }
);

sandbox_test!(a_change_of_the_window_size_reaches_the_shell, |sandbox| {
    let (terminals, _disk) = shells(&sandbox);
    for terminal in terminals {
        terminal.asks("stty size", "24 80");
        terminal.asks(
            "trap 'echo changed-$((6 * 7))' WINCH; echo set-$((6 * 7))",
            "set-42",
        );
        terminal.resize(40, 100);
        // The kernel sends it at once, the shell runs its trap at the next line.
        terminal.asks("stty size", "40 100").prints("changed-42");
        terminal.keys("exit\n");
        terminal.running.end().code(0);
    }
});

// The kernel signals the foreground, which is the service; the init must not repeat it.
sandbox_test!(a_service_gets_each_key_and_change_once, probe, |sandbox| {
    let count = [PROBE, "signals", "main", "64"];
    let init = sandbox.launch().subcommand(["init", "--"]).args(count);
    let host = session_on_host(&[probe().to_str().unwrap(), "signals", "main", "64"]);
    for terminal in [Terminal::of(&init), Terminal::start(host)] {
        terminal.prints("main ready");
        terminal.keys(CTRL_C).prints("main 2\r\n");
        terminal.keys(CTRL_BACKSLASH).prints("main 3\r\n");
        terminal.keys(CTRL_Z).prints("main 20\r\n");
        // One change, because stty sets rows and columns one after the other.
        terminal.resize(33, 80).prints("main 28\r\n");
        // As `docker stop` and the engine's own resizing send them: through the init.
        terminal.running.signal(28).signal(15);
        terminal.prints("main 15\r\n").running.signal(64);
        let screen = terminal.running.end().code(0).stdout;
        for (number, times) in [(2, 1), (3, 1), (15, 1), (20, 1), (28, 2)] {
            let received = screen
                .lines()
                .filter(|line| line.trim_end().ends_with(&format!("main {number}")))
                .count();
            assert_eq!(received, times, "signal {number}: {screen:?}");
        }
    }
});

// The device belongs to the service's uid, as runc gives it to the user that it starts.
sandbox_test!(the_terminal_belongs_to_the_service, probe, |sandbox| {
    let look = [
        "sh",
        "-c",
        "echo opened-$((6 * 7)) >/proc/self/fd/1; stat --dereference --format=%u-%F /proc/self/fd/0; test -t 0",
    ];
    sandbox.one_file(&look);
    for launch in [
        sandbox.launch().args(["--supervise"]),
        sandbox
            .launch()
            .subcommand(["init", "--user", "app", "--"])
            .args(look),
    ] {
        let screen = Terminal::of(&launch).running.end().code(0).stdout;
        assert!(screen.contains("opened-42\r\n"), "{screen}");
        assert!(
            screen.contains("1000-character special file\r\n"),
            "{screen}"
        );
    }
});

// The window is closed.
sandbox_test!(
    a_hangup_ends_the_service_and_all_its_processes,
    probe,
    |sandbox| {
        let service = ["sh", "-c", "(setsid sleep 1000 &); echo ready; sleep 1000"];
        let pid_1 = sandbox
            .launch()
            .wrapper(["setsid", "--ctty"])
            .subcommand(["init", "--"])
            .args(service)
            .command();
        for command in [pid_1, session_on_host(&service)] {
            let mut window = Command::new(probe());
            window
                .arg("hangup")
                .arg(command.get_program())
                .args(command.get_args());
            let running = Running::start(window);
            running.prints("ready").until("both sleep", || {
                running.descendants_named("sleep").len() == 2
            });
            let sleeping = running.descendants_named("sleep");
            send(running.pid(), [10]);
            running.end().code(129);
            for pid in sleeping {
                assert_ne!(status(pid, "Name"), "sleep", "nothing is left");
            }
        }
    }
);

/// As a job of a shell: in the background it does not take the foreground, and in the foreground it
/// does.
#[test]
fn as_a_job_it_takes_the_foreground_only_if_it_is_in_it() {
    let mut shell = Command::new("setsid");
    shell.args(["--ctty"]).args(SHELL);
    let terminal = Terminal::start(shell);
    let sealinit = env!("CARGO_BIN_EXE_sealinit");
    terminal.asks("PS1='$ '; echo ready-$((40 + 2))", "ready-42");
    let background =
        format!("{sealinit} init -- sh -c 'sleep 0.2; exit 3' & wait $!; echo code-$?-$((6 * 7))");
    terminal.asks(&background, "code-3-42");
    terminal.asks(
        &format!("{sealinit} init -- sh -c 'exit 4'; echo code-$?-$((6 * 7))"),
        "code-4-42",
    );
    let sleeps = terminal.runs(&format!("{sealinit} init -- sleep 1000"), "sleep");
    terminal.keys(CTRL_C);
    terminal
        .running
        .until("sleep has ended", || status(sleeps, "Name") != "sleep");
    terminal.asks("echo code-$?-$((6 * 7))", "code-130-42");
    // If standard input is not the terminal, the init is in the foreground and passes the signals
    // on.
    terminal.keys(&format!("{sealinit} init -- sleep 1000 </dev/null\n"));
    let sleeping = || terminal.running.descendants_named("sleep");
    terminal
        .running
        .until("sleep runs", || !sleeping().is_empty());
    terminal
        .keys(CTRL_C)
        .running
        .until("sleep has ended", || sleeping().is_empty());
    terminal.asks("echo code-$?-$((6 * 7))", "code-130-42");
    terminal.keys("exit 0\n");
    terminal.running.end().code(0);
}

/// In a script without job control only the init can give the foreground back, and the next command
/// must not be in the background.
#[test]
fn the_next_command_of_a_script_has_the_terminal_again() {
    let sealinit = env!("CARGO_BIN_EXE_sealinit");
    // A program that the kernel refuses has been given the terminal as well.
    let unfit = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("unfit");
    std::fs::write(&unfit, [&b"\x7fELF\x02\x01"[..], &[0; 250]].concat()).unwrap();
    std::fs::set_permissions(&unfit, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let unfit = unfit.to_str().unwrap();
    for (command, code) in [
        ("true", 0),
        ("sh -c 'sleep 1000 & exit 3'", 3),
        ("sh -c 'kill -9 $$'", 137),
        (unfit, 126),
    ] {
        let script = format!(
            "{sealinit} init -- {command}; echo code-$?-$((6 * 7)); read -r line; echo got-$line"
        );
        let mut shell = Command::new("setsid");
        shell.args(["--ctty", "sh", "-c", &script]);
        let terminal = Terminal::start(shell);
        terminal
            .prints(&format!("code-{code}-42"))
            .keys("typed\n")
            .prints("got-typed");
        terminal.running.end().code(0);
    }
}

/// A job in the background whose service leaves a process behind: its end must not take the
/// terminal.
#[test]
fn an_init_in_the_background_does_not_take_the_terminal_at_its_end() {
    let mut shell = Command::new("setsid");
    let job = format!(
        "{} init -- sh -c 'sleep 1000 & exit 3'",
        env!("CARGO_BIN_EXE_sealinit")
    );
    shell.args(["--ctty", "bash", "-c"]);
    shell.arg(format!(
        "set -m; {{ {job}; echo code-$?-$((6 * 7)); }} & read -r line; echo got-$line"
    ));
    let terminal = Terminal::start(shell);
    terminal
        .prints("code-3-42")
        .keys("typed\n")
        .prints("got-typed");
    terminal.running.end().code(0);
}

sandbox_test!(
    a_service_that_is_not_a_shell_is_in_the_foreground,
    probe,
    |sandbox| {
        sandbox
            .manifest(&one_file(&[
                "sh",
                "-c",
                "read -r line; echo got-$line; exit 2",
            ]))
            .source("app.conf", "");
        let terminal = Terminal::of(&sandbox.launch().args(["--supervise"]));
        // In the background, reading would stop it.
        terminal.keys("typed\n").prints("got-typed");
        terminal.running.end().code(2);
    }
);
