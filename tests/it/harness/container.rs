//! A container that has been started: its log, its processes, its files, its end.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Output;
use std::thread;
use std::time::{Duration, Instant};

use super::docker::{describe, docker, poll, run, text};
use super::outcome::CAPABILITY_SETS;

/// The output of a container since its last start.
#[derive(Debug)]
pub(crate) struct Logs {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A container that has been started, and may have ended.
#[derive(Debug)]
pub(crate) struct Container {
    pub(super) name: String,
    pub(super) starts: Cell<usize>,
    /// The lengths of its two streams when it was last restarted.
    pub(super) before: Cell<(usize, usize)>,
}

impl Container {
    /// Its name in the engine.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The value of this key in `docker inspect`.
    fn inspect(&self, key: &str) -> String {
        docker(["inspect", "--format", &format!("{{{{{key}}}}}"), &self.name])
    }

    /// Waits until its health is this, and returns the output of the health checks.
    pub(crate) fn health(&self, expected: &str) -> String {
        poll(expected, || {
            (self.inspect(".State.Health.Status") == expected).then_some(())
        });
        self.inspect("range .State.Health.Log}}{{.Output}}{{end")
    }

    /// Its first process, as the host numbers it.
    pub(crate) fn pid(&self) -> String {
        self.inspect(".State.Pid")
    }

    /// Waits until the service has been started.
    pub(crate) fn started(&self) {
        poll("a summary", || {
            assert!(self.is_running(), "it has ended:\n{:#?}", self.all_logs());
            self.logs().stderr.contains(" state=").then_some(())
        });
    }

    pub(crate) fn is_running(&self) -> bool {
        self.inspect(".State.Running") == "true"
    }

    /// Its output since it was created.
    fn all_logs(&self) -> Logs {
        let output = run("docker", ["logs", &self.name]);
        assert!(output.status.success(), "{}", describe(&output));
        Logs {
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// Its output since its last start, and since it began to be stopped before that.
    pub(crate) fn logs(&self) -> Logs {
        let Logs { stdout, stderr } = self.all_logs();
        let (out, err) = self.before.get();
        Logs {
            stdout: stdout[out..].to_owned(),
            stderr: stderr[err..].to_owned(),
        }
    }

    /// `docker restart`.
    pub(crate) fn restart(&self) {
        let before = self.all_logs();
        self.before.set((before.stdout.len(), before.stderr.len()));
        self.starts.set(self.starts.get() + 1);
        docker(["restart", &self.name]);
    }

    /// Runs a command in it, as root as an operator does, and returns its output.
    pub(crate) fn try_exec(&self, words: &[&str]) -> Output {
        self.try_exec_as("root", words)
    }

    /// Runs a command in it as this user, and returns its output.
    pub(crate) fn try_exec_as(&self, user: &str, words: &[&str]) -> Output {
        run(
            "docker",
            [&["exec", "--user", user, &self.name], words].concat(),
        )
    }

    /// Runs a command in it until it prints this: a service that has just been started is not ready
    /// yet.
    pub(crate) fn answers(&self, answer: &str, words: &[&str]) {
        self.answers_as("root", answer, words);
    }

    /// The same as this user.
    pub(crate) fn answers_as(&self, user: &str, answer: &str, words: &[&str]) {
        poll(answer, || {
            assert!(self.is_running(), "it has ended:\n{:#?}", self.all_logs());
            let output = self.try_exec_as(user, words);
            text(&output.stdout).contains(answer).then_some(())
        });
    }

    /// Waits until it has printed this since its last start.
    pub(crate) fn prints(&self, expected: &str) {
        poll(expected, || {
            let logs = self.logs();
            let printed = logs.stdout.contains(expected);
            assert!(printed || self.is_running(), "it has ended:\n{logs:#?}");
            printed.then_some(())
        });
    }

    /// Copies a file of the host into it.
    pub(crate) fn copy_in(&self, file: &Path, to: &str) {
        docker([
            "cp",
            &file.display().to_string(),
            &format!("{}:{to}", self.name),
        ]);
    }

    /// Runs a command in it that must succeed, and returns what it printed.
    pub(crate) fn exec(&self, words: &[&str]) -> String {
        let output = self.try_exec(words);
        assert!(
            output.status.success(),
            "docker exec {words:?}:\n{}",
            describe(&output)
        );
        text(&output.stdout).trim_end().to_owned()
    }

    /// The one summary line of its last start.
    pub(crate) fn summary(&self) -> Summary {
        let lines = poll("the summary line", || {
            let lines = summary_lines(&self.logs().stderr);
            (!lines.is_empty() || !self.is_running()).then_some(lines)
        });
        assert_eq!(
            lines.len(),
            1,
            "one summary per start:\n{}",
            self.logs().stderr
        );
        let all = summary_lines(&self.all_logs().stderr).len();
        assert_eq!(all, self.starts.get(), "{}", self.all_logs().stderr);
        Summary::parse(&lines[0])
    }

    /// The page at an URL, asked for from inside the container's network, once the service answers
    /// at all.
    pub(crate) fn page(&self, url: &str, curl_options: &[&str]) -> String {
        poll(url, || {
            assert!(self.is_running(), "it has ended:\n{:#?}", self.all_logs());
            let answer = self.try_page(url, curl_options);
            answer.status.success().then(|| text(&answer.stdout))
        })
    }

    /// One request for a page.
    pub(crate) fn try_page(&self, url: &str, curl_options: &[&str]) -> Output {
        let pid = self.pid();
        let words = [
            "--net",
            "--target",
            &pid,
            "curl",
            "--silent",
            "--show-error",
            "--fail",
        ];
        run(
            "nsenter",
            words
                .iter()
                .chain(["--max-time", "10"].iter())
                .chain(curl_options)
                .chain([&url]),
        )
    }

    /// A file of procfs as the container sees it: `1/status`. Read from the host, which may read
    /// any process and needs no program in the container.
    pub(crate) fn proc(&self, path: &str) -> String {
        let host = format!("/proc/{}/root/proc/{path}", self.pid());
        text(
            &fs::read(&host)
                .unwrap_or_else(|error| panic!("{host}: {error}\n{:#?}", self.all_logs())),
        )
    }

    /// The status of its process 1.
    pub(crate) fn status(&self) -> Status {
        self.status_of("1")
    }

    /// The status of a process, as the container numbers it.
    pub(crate) fn status_of(&self, pid: &str) -> Status {
        let status = self.proc(&format!("{pid}/status"));
        let fields = status.lines().filter_map(|line| line.split_once(':'));
        Status(
            fields
                .map(|(key, value)| {
                    (
                        key.to_owned(),
                        value.split_whitespace().collect::<Vec<_>>().join(" "),
                    )
                })
                .collect(),
        )
    }

    /// Type, mode, owner and group of a path, as `-r--r----- root www-data`.
    pub(crate) fn stat(&self, path: &str) -> String {
        self.exec(&["stat", "--format=%A %U %G", path])
    }

    /// The paths that differ from its image.
    pub(crate) fn changes(&self) -> BTreeSet<String> {
        docker(["diff", &self.name])
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// Waits for its end and returns its exit code.
    pub(crate) fn ended(&self) -> i32 {
        poll("the container's end", || (!self.is_running()).then_some(()));
        self.inspect(".State.ExitCode").parse().unwrap()
    }

    /// Asserts that this start was refused: the exit code, every part of the message at error
    /// level, one summary that says `refused`, and that the service, which would have printed
    /// `service`, has not run.
    pub(crate) fn refused(&self, code: i32, message: &[&str], service: &str) -> Summary {
        assert_eq!(self.ended(), code, "{:#?}", self.logs());
        let logs = self.logs();
        for part in message {
            let reported = logs
                .stderr
                .lines()
                .any(|line| line.starts_with("sealinit: error: ") && line.contains(part));
            assert!(reported, "no error says {part:?}:\n{}", logs.stderr);
        }
        assert!(!service.is_empty());
        assert!(
            !logs.stdout.contains(service),
            "the service ran: {}",
            logs.stdout
        );
        assert!(
            !logs.stderr.contains(service),
            "the service ran: {}",
            logs.stderr
        );
        let summary = self.summary();
        assert_eq!(summary.level, "error", "{}", logs.stderr);
        assert_eq!(summary.get("state"), "refused");
        summary
    }

    /// Asserts that the service was started and ended with this code, and returns what it printed.
    pub(crate) fn finished(&self, code: i32) -> String {
        assert_eq!(self.ended(), code, "{:#?}", self.logs());
        self.logs().stdout
    }

    /// Runs `docker stop`, and returns the time it took.
    pub(crate) fn stop(&self) -> Duration {
        let since = Instant::now();
        docker(["stop", "--time", "30", &self.name]);
        since.elapsed()
    }
}

impl Drop for Container {
    #[expect(
        clippy::print_stderr,
        reason = "the test's own output, which libtest shows when it has failed"
    )]
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!(
                "{} printed:\n{}",
                self.name,
                describe(&run("docker", ["logs", &self.name]))
            );
        }
        let _ = run("docker", ["rm", "--force", "--volumes", &self.name]);
    }
}

fn summary_lines(log: &str) -> Vec<String> {
    let summary = |line: &&str| line.starts_with("sealinit: ") && line.contains(" state=");
    log.lines().filter(summary).map(str::to_owned).collect()
}

/// The summary line of one start, taken apart.
#[derive(Debug)]
pub(crate) struct Summary {
    level: String,
    fields: BTreeMap<String, String>,
}

impl Summary {
    fn parse(line: &str) -> Self {
        let level = line.split(':').nth(1).unwrap_or_default().trim().to_owned();
        let fields = line
            .split_whitespace()
            .filter_map(|word| word.split_once('='));
        Self {
            level,
            fields: fields
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
        }
    }

    /// The value of a key that must be there.
    pub(crate) fn get(&self, key: &str) -> &str {
        self.fields
            .get(key)
            .unwrap_or_else(|| panic!("no {key}= in {self:?}"))
    }
}

/// The fields of `/proc/PID/status`.
#[derive(Debug)]
pub(crate) struct Status(BTreeMap<String, String>);

impl Status {
    /// The value of a field, its columns separated by single blanks.
    pub(crate) fn get(&self, field: &str) -> &str {
        self.0
            .get(field)
            .unwrap_or_else(|| panic!("no {field} in {self:?}"))
    }

    /// Asserts that no id, group or capability of root is left, nor a way back to them.
    pub(crate) fn is_without_privileges(&self, uid: u32, gid: u32) -> &Self {
        self.is_user(uid, gid);
        for set in CAPABILITY_SETS {
            assert_eq!(self.get(set), "0000000000000000", "{set}");
        }
        self
    }

    /// Asserts the ids, all four of each kind, that no other group is held, and that no privilege
    /// can be gained by exec.
    pub(crate) fn is_user(&self, uid: u32, gid: u32) -> &Self {
        assert_eq!(self.get("Uid"), format!("{uid} {uid} {uid} {uid}"));
        assert_eq!(self.get("Gid"), format!("{gid} {gid} {gid} {gid}"));
        assert!(
            ["", &gid.to_string()].contains(&self.get("Groups")),
            "{self:?}"
        );
        assert_eq!(self.get("NoNewPrivs"), "1");
        self
    }
}
