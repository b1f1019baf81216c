//! Docker, driven as an operator drives it: an image, a configuration to mount, a `docker run`.
//!
//! [`Image`] is built from the binary under test, [`Configuration`] is a copy of a directory in
//! `examples/`, [`Run`] is a `docker run` that is being written. Containers have no network: they
//! are asked from inside their network namespace, so that no test depends on the engine's bridge
//! and none takes a port from another.
//!
//! Every value removes what it made when it is dropped, with one exception: the images of
//! `Dockerfile.example` keep their names, because they are the cache that makes the next run fast.
//! Needs root and an engine, and fails without them.

use std::cell::Cell;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use super::container::Container;
use super::host::{Directory, digest, repository, sealinit, unique};

/// The label of everything made here, so that the remains of a killed run can be found.
const LABEL: &str = "sealinit.test";

/// The time limit of every wait: long enough for a loaded machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Runs a program and returns its output, in which there is no panic of sealinit.
pub(super) fn run<S: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = S>,
) -> Output {
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

/// Runs `docker`, which must succeed, and returns its standard output without surrounding blanks.
pub(super) fn docker<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> String {
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

pub(super) fn describe(output: &Output) -> String {
    format!(
        "{}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    )
}

pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Asks until there is an answer, and returns it.
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

    /// Builds `Dockerfile.example` in a context that holds the part of a clone after
    /// `cargo build --release` that `.dockerignore` lets through, with the binary under test in the
    /// place of the built one.
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

    /// An image with nothing in it but these programs, each at the root under its name, and
    /// sealinit as its entrypoint.
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

    /// Builds an image for one test, even if another test builds an equal one.
    fn build_own(context: &Directory) -> Self {
        Self::build(context, &["--label", &format!("{LABEL}={}", unique())])
    }

    /// The engine's name for it.
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

/// The directory that an operator mounts at `/etc/sealinit`: a copy of an example, which a test may
/// edit.
#[derive(Debug)]
pub(crate) struct Configuration(Directory);

impl Configuration {
    /// A copy of `examples/<name>`, as the repository has it.
    pub(crate) fn example(name: &str) -> Self {
        let directory = Directory::new();
        let example = repository().join("examples").join(name);
        for entry in fs::read_dir(&example).unwrap() {
            let entry = entry.unwrap();
            // A key that was made in the working copy is not part of the repository.
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

    /// Replaces a text that must be there exactly once.
    pub(crate) fn replace(&self, name: &str, old: &str, new: &str) -> &Self {
        let content = fs::read_to_string(self.path(name)).unwrap();
        assert_eq!(
            content.matches(old).count(),
            1,
            "{old:?} in {name}:\n{content}"
        );
        self.write(name, &content.replace(old, new))
    }

    /// The digest that the deploy host computes.
    pub(crate) fn digest(&self) -> String {
        digest(&self.path("manifest.json"))
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
