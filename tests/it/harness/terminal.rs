//! The other side of a pseudo-terminal, as `docker run -it` has it.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use nix::pty::{Winsize, openpty};

use super::launch::Launch;
use super::running::Running;

pub(crate) const CTRL_C: &str = "\x03";
pub(crate) const CTRL_BACKSLASH: &str = "\x1c";
pub(crate) const CTRL_Z: &str = "\x1a";

/// An interactive shell without the machine's own settings.
pub(crate) const SHELL: [&str; 3] = ["bash", "--norc", "-i"];

/// A command that runs on a terminal.
#[derive(Debug)]
pub(crate) struct Terminal {
    pub(crate) running: Running,
    keyboard: File,
    /// The device itself, which the command has too; held to change its size.
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

    /// Starts sealinit as PID 1 and the leader of a session of which this is the terminal, as a
    /// container engine does.
    pub(crate) fn of(launch: &Launch<'_>) -> Self {
        Self::start(launch.clone().wrapper(["setsid", "--ctty"]).command())
    }

    pub(crate) fn keys(&self, keys: &str) -> &Self {
        (&self.keyboard).write_all(keys.as_bytes()).unwrap();
        self
    }

    /// Types a line for the shell, and waits for the answer.
    #[track_caller]
    pub(crate) fn asks(&self, line: &str, answer: &str) -> &Self {
        self.keys(line).keys("\n").prints(answer)
    }

    #[track_caller]
    pub(crate) fn prints(&self, text: &str) -> &Self {
        self.running.prints(text);
        self
    }

    /// Types a command that runs until it is ended, and waits until it is in the foreground.
    #[track_caller]
    pub(crate) fn runs(&self, line: &str, name: &str) -> u32 {
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

/// Reports if a process is in the foreground of its terminal: `pgrp` and `tpgid` of
/// `proc_pid_stat(5)` are equal.
pub(crate) fn in_foreground(pid: u32) -> bool {
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
