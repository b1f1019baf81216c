//! Supervised services: stopped, reloaded and typed at.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use super::{FEW, HTTP, NGINX_RUNS, PAGE, WWW_DATA};
use crate::harness::{
    CTRL_C, CTRL_Z, Configuration, Container, Image, SHELL, Terminal, docker_test, poll, send,
    status, wait_until,
};

/// The example's container, supervised: sealed, and serving its page.
fn supervised(options: &str, configuration: &Configuration) -> Container {
    let run = Image::nginx()
        .run()
        .options(options)
        .configuration(configuration);
    let container = run.arguments(&["run", "--supervise"]).start();
    assert!(container.page(HTTP, &[]).contains(PAGE));
    container
}

/// A container that can be found by a label.
struct Labelled {
    container: Container,
    label: String,
}

impl Labelled {
    fn start(name: &str, start: impl FnOnce(&str) -> Container) -> Self {
        let label = format!("sealinit.test.{name}={}", std::process::id());
        let container = start(&format!("--label {label}"));
        Self { container, label }
    }

    fn id(&self) -> String {
        let output = Command::new("docker")
            .args(["ps", "--quiet", "--filter"])
            .arg(format!("label={}", self.label))
            .output();
        String::from_utf8(output.unwrap().stdout)
            .unwrap()
            .trim()
            .to_owned()
    }

    /// `docker kill --signal SIGNAL`.
    fn kill(&self, signal: &str) {
        let killed = Command::new("docker")
            .args(["kill", "--signal", signal, &self.id()])
            .output()
            .unwrap();
        assert!(killed.status.success(), "{killed:?}");
    }

    /// PID 1, as the host numbers it.
    fn init(&self) -> u32 {
        let output = Command::new("docker")
            .args(["inspect", "--format={{.State.Pid}}", &self.id()])
            .output()
            .unwrap();
        String::from_utf8(output.stdout)
            .unwrap()
            .trim()
            .parse()
            .unwrap()
    }
}

/// The time from a signal to the end of PID 1, without the time that the engine needs to notice.
fn time_to_end(init: u32, signal: i32) -> Duration {
    let since = Instant::now();
    send(init, [signal]);
    wait_until("PID 1 has ended", || {
        ["", "Z", "X"]
            .iter()
            .any(|gone| status(init, "State").split(' ').next() == Some(*gone))
    });
    since.elapsed()
}

docker_test!(docker_stop_ends_the_service_at_once, {
    let configuration = Configuration::example("nginx");
    let nginx = supervised("", &configuration);
    let took = nginx.stop();
    assert!(
        took < Duration::from_secs(8),
        "{took:?}, of which the engine needs most"
    );
    assert_eq!(nginx.ended(), 0);

    // A program without a handler for SIGTERM ends as well, because it is not PID 1. As PID 1,
    // `sleep` would be killed after ten seconds.
    let sleep = ["init", "--", "sleep", "1000"];
    let container = Image::nginx().run().arguments(&sleep).start();
    poll("the command", || {
        container
            .proc("1/task/1/children")
            .contains(' ')
            .then_some(())
    });
    let took = container.stop();
    assert!(
        took < Duration::from_secs(8),
        "{took:?}, of which the engine needs most"
    );
    assert_eq!(container.ended(), 143);
});

docker_test!(a_stop_takes_sealinit_well_under_a_second, {
    let configuration = Configuration::example("nginx");
    let nginx = Labelled::start("stop", |label| supervised(label, &configuration));
    let took = time_to_end(nginx.init(), 15);
    assert!(took < Duration::from_millis(900), "{took:?}");
    assert_eq!(nginx.container.ended(), 0);
});

docker_test!(docker_kill_with_hup_reloads_nginx, {
    let configuration = Configuration::example("nginx");
    let nginx = Labelled::start("reload", |label| supervised(label, &configuration));
    let starts = || nginx.container.logs().stderr.matches(NGINX_RUNS).count();
    assert_eq!(starts(), 1);
    nginx.kill("HUP");
    poll("new workers", || (starts() == 2).then_some(()));
    assert!(nginx.container.page(HTTP, &[]).contains(PAGE));
    assert!(nginx.container.is_running());
    assert_eq!(nginx.container.summary().get("state"), "sealed");
    // nginx ends gracefully for QUIT.
    nginx.kill("QUIT");
    assert_eq!(nginx.container.ended(), 0);
});

// Under the options with which operators harden containers; `CAP_KILL` is not needed.
docker_test!(neither_the_init_nor_the_service_has_anything_of_root, {
    let configuration = Configuration::example("nginx");
    for options in ["", FEW, "--init"] {
        let container = supervised(options, &configuration);
        for pid in container
            .proc("1/task/1/children")
            .split_whitespace()
            .chain(["1"])
        {
            // With --init, the engine's own init is PID 1.
            if options == "--init" && pid == "1" {
                continue;
            }
            let comm = container.proc(&format!("{pid}/comm"));
            assert!(["nginx\n", "sealinit\n"].contains(&comm.as_str()), "{comm}");
            let status = container.status_of(pid);
            status.is_user(WWW_DATA, WWW_DATA);
            for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
                assert_eq!(status.get(set), "0000000000000000", "{set} of {comm}");
            }
        }
        assert!(
            !container.logs().stderr.contains("sealinit: warning: "),
            "{}",
            container.logs().stderr
        );
        let took = container.stop();
        assert!(took < Duration::from_secs(8), "{options}: {took:?}");
        assert_eq!(container.ended(), 0);
        // And the next start of the same container verifies.
        container.restart();
        assert!(container.page(HTTP, &[]).contains(PAGE));
        assert_eq!(container.summary().get("state"), "verified");
    }
});

// PID 1 has the environment that the engine gave it.
docker_test!(the_service_cannot_read_the_environment_of_pid_1, {
    let look = "cat /proc/1/environ; ls /proc/1/fd; readlink /proc/1/exe /proc/1/cwd";
    let words = ["init", "--user", "www-data", "--", "sh", "-c", look];
    let container = Image::nginx()
        .run()
        .options("--env TOKEN=secret")
        .arguments(&words)
        .start();
    assert_eq!(container.finished(1), "");
    assert!(
        container
            .logs()
            .stderr
            .contains("/proc/1/environ: Permission denied")
    );
});

docker_test!(docker_run_with_a_terminal_has_a_working_shell, {
    // Built if it is not there; it stays under this name.
    let _ = Image::nginx();
    for (number, options) in ["", "--init", "--user 33:33 --cap-drop ALL"]
        .into_iter()
        .enumerate()
    {
        let user: &[&str] = if options.starts_with("--user") {
            &[]
        } else {
            &["--user", "www-data"]
        };
        let name = Named(format!(
            "sealinit-test-terminal-{number}-{}",
            std::process::id()
        ));
        // The kernel signals a change of the size to the session of the terminal.
        let mut docker = Command::new("setsid");
        docker
            .args([
                "--ctty",
                "docker",
                "run",
                "--rm",
                "--interactive",
                "--tty",
                "--network",
                "none",
                "--label",
                "sealinit.test",
            ])
            .args(["--name", &name.0])
            .args(options.split_whitespace())
            .args(["sealinit-test:nginx-light", "init"])
            .args(user)
            .arg("--")
            .args(SHELL);
        let terminal = Terminal::start(docker);
        terminal.asks("PS1='$ '; echo ready-$((40 + 2))", "ready-42");
        let screen = terminal.running.stdout();
        for complaint in ["job control", "process group", "ioctl"] {
            assert!(!screen.contains(complaint), "{screen}");
        }
        // docker sets the size some time after the start.
        let has_size = |size: &str| {
            format!(
                "until [ \"$(stty size)\" = '{size}' ]; do sleep 0.1; done; echo size-{size}-$((6 * 7))"
            )
        };
        terminal.asks(&has_size("24 80"), "size-24 80-42");
        terminal.resize(40, 100);
        terminal.asks(&has_size("40 100"), "size-40 100-42");
        terminal.asks("echo to-$((6 * 7)) >/dev/stdout", "to-42");
        // A number that no other process of this machine sleeps for.
        let seconds = format!("10{number}{}", std::process::id());
        let sleeps = |state: &str| {
            process(&["sleep", &seconds]).is_some_and(|pid| status(pid, "State").starts_with(state))
        };
        terminal.keys(&format!("sleep {seconds}\n"));
        wait_until("sleep sleeps", || sleeps("S"));
        terminal.keys(CTRL_Z);
        wait_until("sleep is stopped", || sleeps("T"));
        terminal
            .asks("jobs; echo listed-$((6 * 7))", "listed-42")
            .prints("Stopped");
        terminal.keys("fg\n");
        wait_until("sleep goes on", || sleeps("S"));
        terminal.keys(CTRL_C);
        wait_until("sleep has ended", || {
            process(&["sleep", &seconds]).is_none()
        });
        terminal.asks("echo alive-$((6 * 7))", "alive-42");
        terminal.keys("exit 7\n");
        terminal.running.end().code(7);
    }
});

/// A container that is gone with its terminal, and at the end of a test that has failed.
struct Named(String);

impl Drop for Named {
    fn drop(&mut self) {
        let _ = Command::new("docker")
            .args(["rm", "--force", &self.0])
            .output();
    }
}

/// The process with these words as its command line, on the whole machine.
fn process(words: &[&str]) -> Option<u32> {
    let wanted = words.join("\0") + "\0";
    let numbers = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers.into_iter().find(|pid: &u32| {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == wanted.as_bytes())
    })
}
