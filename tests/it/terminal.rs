//! A supervised service on a terminal, as under `docker run -it`: the test is the other side of a pseudo-terminal.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use nix::pty::{Winsize, openpty};

use crate::running::{PROBE, Running, image, probe, send, status};
use crate::sandbox::{Launch, Sandbox, one_file};

pub(crate) const CTRL_C: &str = "\x03";
const CTRL_BACKSLASH: &str = "\x1c";
pub(crate) const CTRL_Z: &str = "\x1a";

/// An interactive shell without the machine's own settings.
pub(crate) const SHELL: [&str; 3] = ["bash", "--norc", "-i"];

/// Something that runs on a terminal.
#[derive(Debug)]
pub(crate) struct Terminal {
    pub(crate) running: Running,
    keyboard: File,
    /// What runs has it too; it is held to change its size.
    device: OwnedFd,
}

impl Terminal {
    /// Starts a command with a terminal of 24 lines and 80 columns as its three standard streams.
    pub(crate) fn start(mut command: Command) -> Self {
        let size = Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pair = openpty(Some(&size), None).unwrap();
        let stream = || Stdio::from(pair.slave.try_clone().unwrap());
        command.stdin(stream()).stdout(stream()).stderr(stream());
        let screen = File::from(pair.master.try_clone().unwrap());
        Self {
            running: Running::on_terminal(command, screen),
            keyboard: pair.master.into(),
            device: pair.slave,
        }
    }

    /// sealinit as PID 1, and the leader of a session of which this is the terminal: what a container engine gives it.
    fn of(launch: &Launch<'_>) -> Self {
        Self::start(launch.clone().wrapper(["setsid", "--ctty"]).command())
    }

    pub(crate) fn keys(&self, keys: &str) -> &Self {
        (&self.keyboard).write_all(keys.as_bytes()).unwrap();
        self
    }

    /// A line for the shell, and what it must print.
    #[track_caller]
    pub(crate) fn asks(&self, line: &str, answer: &str) -> &Self {
        self.keys(line).keys("\n").prints(answer)
    }

    #[track_caller]
    pub(crate) fn prints(&self, text: &str) -> &Self {
        self.running.prints(text);
        self
    }

    /// Types a command that runs until it is ended, and waits for it to be in the foreground.
    #[track_caller]
    fn runs(&self, line: &str, name: &str) -> u32 {
        self.keys(line).keys("\n");
        let found = || {
            self.running
                .descendants_named(name)
                .into_iter()
                .find(|&pid| in_foreground(pid))
        };
        self.running
            .until(format_args!("{name} is in the foreground"), || {
                found().is_some()
            });
        found().unwrap()
    }

    pub(crate) fn resize(&self, rows: u32, columns: u32) -> &Self {
        let device = self.device.try_clone().unwrap();
        let resized = Command::new("stty")
            .args(["rows", &rows.to_string(), "cols", &columns.to_string()])
            .stdin(device)
            .status()
            .unwrap();
        assert!(resized.success());
        self
    }
}

/// Whether a process is in the foreground of its terminal: in `proc_pid_stat(5)`, `pgrp` and `tpgid` are equal.
fn in_foreground(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .map_or("", |(_, rest)| rest)
        .split_whitespace()
        .collect();
    fields
        .get(2)
        .is_some_and(|group| fields.get(5) == Some(group))
}

/// A shell on a terminal, started in every way: with and without a configuration, as PID 1 and as the leader of some session. Their disks must
/// outlive them.
fn shells() -> Option<(Vec<Terminal>, [Sandbox; 2])> {
    let init = ["init", "--user", "app", "--"];
    let sandbox = image()?;
    let bare = Terminal::of(&sandbox.launch().subcommand(init).args(SHELL));
    let configured = sandbox.another();
    configured.one_file(&SHELL);
    let supervised = Terminal::of(&configured.launch().args(["--supervise"]));
    let terminals = vec![bare, supervised, Terminal::start(on_host(&SHELL))];
    for terminal in &terminals {
        terminal.asks("PS1='$ '; echo ready-$((40 + 2))", "ready-42");
    }
    Some((terminals, [sandbox, configured]))
}

/// A bare init on the host itself, the leader of a session.
fn on_host(command: &[&str]) -> Command {
    let mut setsid = Command::new("setsid");
    setsid
        .args(["--ctty", env!("CARGO_BIN_EXE_sealinit"), "init", "--"])
        .args(command);
    setsid
}

#[test]
fn a_shell_has_job_control() {
    let Some((terminals, _disks)) = shells() else {
        return;
    };
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
}

#[test]
fn ctrl_c_interrupts_what_is_in_the_foreground_and_not_the_shell() {
    let Some((terminals, _disks)) = shells() else {
        return;
    };
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

#[test]
fn ctrl_z_stops_what_is_in_the_foreground_and_the_shell_goes_on() {
    let Some((terminals, _disks)) = shells() else {
        return;
    };
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
        // What is stopped when the shell ends is ended with it.
        terminal.runs("sleep 2000", "sleep");
        terminal
            .keys(CTRL_Z)
            .prints("Stopped")
            .keys("exit 5\nexit 5\n");
        terminal.running.end().code(5);
    }
}

#[test]
fn a_change_of_the_windows_size_reaches_the_shell() {
    let Some((terminals, _disks)) = shells() else {
        return;
    };
    for terminal in terminals {
        terminal.asks("stty size", "24 80");
        terminal.asks(
            "trap 'echo changed-$((6 * 7))' WINCH; echo set-$((6 * 7))",
            "set-42",
        );
        terminal.resize(40, 100);
        // Told by the kernel at once, and by the shell when it reads the next line.
        terminal.asks("stty size", "40 100").prints("changed-42");
        terminal.keys("exit\n");
        terminal.running.end().code(0);
    }
}

/// The kernel tells the foreground, which is the service; the init does not tell it once more.
#[test]
fn a_service_gets_each_key_and_change_once() {
    let Some(sandbox) = image() else { return };
    let count = [PROBE, "signals", "main", "64"];
    let init = sandbox.launch().subcommand(["init", "--"]).args(count);
    let host = on_host(&[probe().to_str().unwrap(), "signals", "main", "64"]);
    for terminal in [Terminal::of(&init), Terminal::start(host)] {
        terminal.prints("main ready");
        terminal.keys(CTRL_C).prints("main 2\r\n");
        terminal.keys(CTRL_BACKSLASH).prints("main 3\r\n");
        terminal.keys(CTRL_Z).prints("main 20\r\n");
        // One change: stty tells the kernel rows and columns one after the other.
        terminal.resize(33, 80).prints("main 28\r\n");
        // As `docker stop` and the engine's own resizing send them: through the init.
        terminal.running.signal(28).signal(15);
        terminal.prints("main 15\r\n").running.signal(64);
        let screen = terminal.running.end().code(0).stdout;
        for (number, times) in [(2, 1), (3, 1), (15, 1), (20, 1), (28, 2)] {
            let told = screen
                .lines()
                .filter(|line| line.trim_end().ends_with(&format!("main {number}")))
                .count();
            assert_eq!(told, times, "signal {number}: {screen:?}");
        }
    }
}

/// What is on the terminal is the service's: the device is its uid's, as runc gives it to the user that it starts.
#[test]
fn the_terminal_belongs_to_the_service() {
    let Some(sandbox) = image() else { return };
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
}

/// The window is closed: the service hears of it, and nothing is left.
#[test]
fn a_hangup_ends_it_all() {
    let Some(sandbox) = image() else { return };
    let service = ["sh", "-c", "(setsid sleep 1000 &); echo ready; sleep 1000"];
    let pid_1 = sandbox
        .launch()
        .wrapper(["setsid", "--ctty"])
        .subcommand(["init", "--"])
        .args(service)
        .command();
    for command in [pid_1, on_host(&service)] {
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

/// A job of somebody's shell: in the background it leaves the foreground to whom it belongs, and in the foreground it takes it.
#[test]
fn as_a_job_of_a_shell_it_takes_no_foreground_that_is_not_its_own() {
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
    // Where standard input is something else, the init is what the terminal knows, and passes on what it gets.
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

/// A script on a terminal, without job control: nobody but the init itself gives back what it took, and what reads after it must not be
/// in the background.
#[test]
fn what_comes_after_it_in_a_script_has_the_terminal_again() {
    let sealinit = env!("CARGO_BIN_EXE_sealinit");
    // What the kernel will not execute was given the terminal too.
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

/// A job in the background whose service leaves something behind: the end of that is no reason to take the terminal.
#[test]
fn in_the_background_its_end_takes_no_terminal() {
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

#[test]
fn a_service_that_is_no_shell_is_in_the_foreground_too() {
    let Some(sandbox) = image() else { return };
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
