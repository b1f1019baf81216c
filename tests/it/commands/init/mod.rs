//! `init`: signals, reaping and the drop of privileges without any configuration.

mod privileges;
mod processes;
mod signals;
mod user;

use std::process::Command;

use crate::harness::{Launch, Sandbox, probe, sealinit};

/// A command that prints its own status.
const LOOK: [&str; 3] = ["sh", "-c", "cat /proc/self/status"];

/// `sealinit init` on the host itself: not as PID 1, and with the privileges of the test.
fn init<'a>(words: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(sealinit());
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
