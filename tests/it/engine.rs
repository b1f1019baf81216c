//! Docker, driven as an operator drives it: an image of `Dockerfile.example`, a configuration to mount, a container of the two.
//!
//! [`Image`] is built from the binary under test, [`Configuration`] is a copy of a directory in `examples/`, [`Run`] is a
//! `docker run` that is being written and [`Container`] is what came of it. Containers have no network: they are asked from
//! inside their network namespace, so that no test depends on the engine's bridge and none takes a port from another.
//!
//! Every value removes what it made when it is dropped, with one exception: the images of `Dockerfile.example` stay under their
//! names, because they are the cache that makes the next run fast. Needs root and an engine, and fails without them.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Output};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{env, thread};

use crate::sandbox::CAPABILITY_SETS;

/// On everything made here, so that what a killed run leaves behind can be found.
const LABEL: &str = "sealinit.test";

/// Long enough for a loaded machine, short enough that a container which hangs is seen as one.
const PATIENCE: Duration = Duration::from_mins(1);

/// A name that no other test, run or user of the engine has.
pub(crate) fn unique() -> String {
    static COUNTER: AtomicUsize = AtomicUsize::new(0);
    format!(
        "sealinit-test-{}-{}",
        process::id(),
        COUNTER.fetch_add(1, Ordering::Relaxed)
    )
}

/// Runs a program and returns what it did; whatever it printed, sealinit has not panicked.
fn run<S: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = S>) -> Output {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program} is needed for this test: {error}"));
    assert!(
        !describe(&output).contains("panicked"),
        "{}",
        describe(&output)
    );
    output
}

/// Runs `docker`, which must succeed, and returns the first thing it printed.
fn docker<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> String {
    let arguments: Vec<_> = arguments
        .into_iter()
        .map(|word| word.as_ref().to_owned())
        .collect();
    let output = run("docker", &arguments);
    assert!(
        output.status.success(),
        "docker {arguments:?}:\n{}",
        describe(&output)
    );
    text(&output.stdout).trim().to_owned()
}

fn describe(output: &Output) -> String {
    format!(
        "{}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    )
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Asks until there is an answer.
pub(crate) fn poll<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(since.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A directory of the host that is gone when the test is.
#[derive(Debug)]
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        let path = env::temp_dir().join(unique());
        fs::create_dir(&path).unwrap();
        // A container without root must be able to enter what is mounted into it.
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }

    /// Copies a file or directory, with its modes, to a place in here.
    fn copy(&self, from: impl AsRef<Path>, to: &str) {
        let to = self.0.join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        let copied = run(
            "cp",
            [
                OsStr::new("-R"),
                OsStr::new("-p"),
                from.as_ref().as_ref(),
                to.as_ref(),
            ],
        );
        assert!(copied.status.success(), "{}", describe(&copied));
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The binary under test, as Cargo has just built it.
pub(crate) fn sealinit() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_sealinit"))
}

/// An image that is in the engine.
#[derive(Debug)]
pub(crate) struct Image {
    id: String,
    stays: bool,
}

impl Image {
    /// nginx, from `Dockerfile.example` as it is.
    pub(crate) fn nginx() -> &'static Self {
        static IMAGE: OnceLock<Image> = OnceLock::new();
        IMAGE.get_or_init(|| Self::of_example("nginx-light"))
    }

    /// Redis, from `Dockerfile.example` with another package.
    pub(crate) fn redis() -> &'static Self {
        static IMAGE: OnceLock<Image> = OnceLock::new();
        IMAGE.get_or_init(|| Self::of_example("redis-server"))
    }

    /// Postgres, from `Dockerfile.example` with another package.
    pub(crate) fn postgres() -> &'static Self {
        static IMAGE: OnceLock<Image> = OnceLock::new();
        IMAGE.get_or_init(|| Self::of_example("postgresql"))
    }

    /// Builds `Dockerfile.example` in a context that holds what `.dockerignore` lets through of a clone after
    /// `cargo build --release`, with the binary under test in the place of the built one.
    fn of_example(package: &str) -> Self {
        let context = Directory::new();
        for name in ["Dockerfile.example", ".dockerignore"] {
            context.copy(repository().join(name), name);
        }
        context.copy(
            sealinit(),
            "target/x86_64-unknown-linux-gnu/release/sealinit",
        );
        let name = format!("sealinit-test:{package}");
        // The builder's own network has no name server everywhere; the host's has.
        let mut image = Self::build(
            &context,
            &[
                "--label",
                LABEL,
                "--network=host",
                "--build-arg",
                &format!("PACKAGE={package}"),
                "--tag",
                &name,
            ],
        );
        image.stays = true;
        image
    }

    /// An image with nothing in it but these programs, each at the root under its name, and sealinit as its entrypoint.
    pub(crate) fn scratch(programs: &[(&str, &Path)]) -> Self {
        let context = Directory::new();
        let mut dockerfile = String::from("FROM scratch\nCOPY sealinit /sealinit\n");
        context.copy(sealinit(), "sealinit");
        for (name, program) in programs {
            context.copy(program, name);
            writeln!(dockerfile, "COPY {name} /{name}").unwrap();
        }
        dockerfile.push_str("ENTRYPOINT [\"/sealinit\"]\nCMD [\"run\"]\n");
        fs::write(context.0.join("Dockerfile.example"), dockerfile).unwrap();
        Self::build_own(&context)
    }

    /// This image and a few more lines of Dockerfile.
    pub(crate) fn with(&self, lines: &str) -> Self {
        let context = Directory::new();
        let dockerfile = format!("FROM {}\n{lines}\n", self.id);
        fs::write(context.0.join("Dockerfile.example"), dockerfile).unwrap();
        Self::build_own(&context)
    }

    fn build(context: &Directory, options: &[&str]) -> Self {
        let dockerfile = context.0.join("Dockerfile.example").display().to_string();
        let directory = context.0.display().to_string();
        let arguments = ["build", "--quiet", "--file", &dockerfile];
        let id = docker([&arguments, options, &[&directory]].concat());
        assert!(id.starts_with("sha256:"), "{id}");
        Self { id, stays: false }
    }

    /// Builds an image of the caller's own, though another test may build the very same.
    fn build_own(context: &Directory) -> Self {
        Self::build(context, &["--label", &format!("{LABEL}={}", unique())])
    }

    /// What the engine knows it by.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// A `docker run` of this image.
    pub(crate) fn run(&self) -> Run<'_> {
        Run {
            image: self,
            options: Vec::new(),
            arguments: Vec::new(),
        }
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if !self.stays {
            let _ = run("docker", ["image", "rm", "--force", &self.id]);
        }
    }
}

/// A named volume, for the data that outlives a container.
#[derive(Debug)]
pub(crate) struct Volume(String);

impl Volume {
    pub(crate) fn new() -> Self {
        Self(docker(["volume", "create", "--label", LABEL, &unique()]))
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = run("docker", ["volume", "rm", "--force", &self.0]);
    }
}

/// What the operator mounts at `/etc/sealinit`: a copy of an example, which a test may edit.
#[derive(Debug)]
pub(crate) struct Configuration(Directory);

impl Configuration {
    /// A copy of `examples/<name>`, as the repository has it.
    pub(crate) fn example(name: &str) -> Self {
        let directory = Directory::new();
        let example = repository().join("examples").join(name);
        for entry in fs::read_dir(&example).unwrap() {
            let entry = entry.unwrap();
            // A key that somebody made in the working copy is not of the repository.
            if entry.file_name() != "tls" {
                directory.copy(entry.path(), entry.file_name().to_str().unwrap());
            }
        }
        Self(directory)
    }

    /// A manifest and nothing beside it.
    pub(crate) fn manifest(manifest: &str) -> Self {
        let configuration = Self(Directory::new());
        configuration.write("manifest.json", manifest);
        configuration
    }

    /// The host's path of a file in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.0.join(name)
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, content: &str) -> &Self {
        fs::write(self.path(name), content).unwrap();
        self
    }

    /// Replaces what must be there exactly once.
    pub(crate) fn replace(&self, name: &str, old: &str, new: &str) -> &Self {
        let content = fs::read_to_string(self.path(name)).unwrap();
        assert_eq!(
            content.matches(old).count(),
            1,
            "{old:?} in {name}:\n{content}"
        );
        self.write(name, &content.replace(old, new))
    }

    /// Runs the example's own script, which makes a key and a certificate for `localhost`.
    pub(crate) fn make_certificate(&self) -> &Self {
        let made = run(self.path("make-certificate").to_str().unwrap(), [""; 0]);
        assert!(made.status.success(), "{}", describe(&made));
        self
    }

    /// Gives everything in it to another user of the host.
    pub(crate) fn owner(&self, uid: u32) -> &Self {
        let given = run(
            "chown",
            [
                OsStr::new("-R"),
                OsStr::new(&uid.to_string()),
                self.0.0.as_ref(),
            ],
        );
        assert!(given.status.success(), "{}", describe(&given));
        self
    }
}

/// A `docker run` that is being written.
#[derive(Debug)]
#[must_use]
pub(crate) struct Run<'a> {
    image: &'a Image,
    options: Vec<String>,
    arguments: Vec<String>,
}

impl Run<'_> {
    /// More options of `docker run`, in its words, separated by blanks.
    pub(crate) fn options(mut self, options: &str) -> Self {
        self.options
            .extend(options.split_whitespace().map(str::to_owned));
        self
    }

    /// Mounts a configuration where sealinit looks for one, read-only.
    pub(crate) fn configuration(self, configuration: &Configuration) -> Self {
        let path = configuration.path("").display().to_string();
        self.options(&format!(
            "--volume {}:/etc/sealinit:ro",
            path.trim_end_matches('/')
        ))
    }

    /// Mounts a volume.
    pub(crate) fn volume(self, volume: &Volume, path: &str) -> Self {
        self.options(&format!("--volume {}:{path}", volume.0))
    }

    /// Words after the image: sealinit's command line, in the place of CMD.
    pub(crate) fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments
            .extend(arguments.iter().map(|&word| word.to_owned()));
        self
    }

    /// Starts it in the background.
    pub(crate) fn start(self) -> Container {
        let container = Container {
            name: unique(),
            starts: Cell::new(1),
            before: Cell::new((0, 0)),
        };
        let mut words: Vec<&str> = vec!["run", "--detach", "--name", &container.name];
        words.extend(["--label", LABEL, "--network", "none"]);
        words.extend(self.options.iter().map(String::as_str));
        words.push(&self.image.id);
        words.extend(self.arguments.iter().map(String::as_str));
        docker(words);
        container
    }
}

/// What a container printed since its last start.
#[derive(Debug)]
pub(crate) struct Logs {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A container that has been started, and may have ended.
#[derive(Debug)]
pub(crate) struct Container {
    name: String,
    starts: Cell<usize>,
    /// How much it had printed when it was last restarted.
    before: Cell<(usize, usize)>,
}

impl Container {
    /// What `docker inspect` knows under this key.
    fn inspect(&self, key: &str) -> String {
        docker(["inspect", "--format", &format!("{{{{{key}}}}}"), &self.name])
    }

    /// Waits until the engine calls it this, and returns what the health checks said.
    pub(crate) fn health(&self, expected: &str) -> String {
        poll(expected, || {
            (self.inspect(".State.Health.Status") == expected).then_some(())
        });
        self.inspect("range .State.Health.Log}}{{.Output}}{{end")
    }

    /// The host's pid of its first process.
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

    /// All that it printed in its whole life.
    fn all_logs(&self) -> Logs {
        let output = run("docker", ["logs", &self.name]);
        assert!(output.status.success(), "{}", describe(&output));
        Logs {
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// What it printed since its last start, and what the life before printed while it was being stopped.
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

    /// Runs a command in it, as root as an operator does, and returns what came of it.
    pub(crate) fn try_exec(&self, words: &[&str]) -> Output {
        self.try_exec_as("root", words)
    }

    /// Runs a command in it as this user, and returns what came of it.
    pub(crate) fn try_exec_as(&self, user: &str, words: &[&str]) -> Output {
        run(
            "docker",
            [&["exec", "--user", user, &self.name], words].concat(),
        )
    }

    /// Runs a command in it until it prints this: a service that has just been started takes its time.
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

    /// The page at an URL, asked for from inside the container's network, once the service answers at all.
    pub(crate) fn page(&self, url: &str, curl_options: &[&str]) -> String {
        poll(url, || {
            assert!(self.is_running(), "it has ended:\n{:#?}", self.all_logs());
            let answer = self.try_page(url, curl_options);
            answer.status.success().then(|| text(&answer.stdout))
        })
    }

    /// One request for a page.
    pub(crate) fn try_page(&self, url: &str, curl_options: &[&str]) -> Output {
        let pid = self.host_pid();
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

    /// Its first process, as the host numbers it.
    fn host_pid(&self) -> String {
        self.inspect(".State.Pid")
    }

    /// A file of procfs as the container sees it: `1/status`. Read from the host, which may read any process and needs no
    /// program in the container.
    pub(crate) fn proc(&self, path: &str) -> String {
        let host = format!("/proc/{}/root/proc/{path}", self.host_pid());
        text(
            &fs::read(&host)
                .unwrap_or_else(|error| panic!("{host}: {error}\n{:#?}", self.all_logs())),
        )
    }

    /// What the kernel says of its process 1.
    pub(crate) fn status(&self) -> Status {
        self.status_of("1")
    }

    /// What the kernel says of a process, as the container numbers it.
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

    /// Asserts that this start was refused: the exit code, every part of the message at error level, one summary that says
    /// `refused`, and that the service has not run. `service` is what the service would have printed.
    pub(crate) fn refused(&self, code: i32, message: &[&str], service: &str) -> Summary {
        assert_eq!(self.ended(), code, "{:#?}", self.logs());
        let logs = self.logs();
        for part in message {
            let told = logs
                .stderr
                .lines()
                .any(|line| line.starts_with("sealinit: error: ") && line.contains(part));
            assert!(told, "no error says {part:?}:\n{}", logs.stderr);
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

    /// `docker stop`, and how long that took.
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

/// What `/proc/PID/status` says.
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

    /// Asserts the ids, all four of each kind, that no other group is held, and that no privilege can be gained by exec.
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
