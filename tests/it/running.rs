//! A start that is watched while it runs, and the probe that sends and counts signals.
//!
//! [`Running`] is one: it has standard output and error so far, knows the host's numbers of the init and its children, passes
//! signals to them from outside, and ends with the test at the latest. [`probe`] is a program of `probe.c`, compiled when it is
//! first needed.

use std::fmt::{self, Debug, Display, Write as _};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{self, Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::sandbox::{Launch, Sandbox};

/// Long enough for a loaded machine, short enough that what hangs is seen as such.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the probe is in a sandbox.
pub(crate) const PROBE: &str = "/sbin/probe";

/// The signals that a process can get: all but KILL and STOP.
pub(crate) fn catchable() -> impl Iterator<Item = i32> {
    (1..=64).filter(|number| ![9, 19].contains(number))
}

/// The probe, compiled.
pub(crate) fn probe() -> &'static Path {
    static PROBE: OnceLock<PathBuf> = OnceLock::new();
    PROBE.get_or_init(|| {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/probe.c");
        let (path, new) = (
            directory.join("probe"),
            directory.join(format!("probe.{}", process::id())),
        );
        // Static, to run in any root; and whoever links a static Rust program has what that takes.
        let compiled = Command::new("cc")
            .args(["-static", "-O1", "-o"])
            .arg(&new)
            .arg(source)
            .output()
            .unwrap();
        assert!(
            compiled.status.success(),
            "{}",
            String::from_utf8_lossy(&compiled.stderr)
        );
        fs::rename(new, &path).unwrap();
        path
    })
}

/// A fresh image with the probe in it, where the machine can run one.
pub(crate) fn image() -> Option<Sandbox> {
    let sandbox = Sandbox::new()?;
    with_probe(&sandbox);
    Some(sandbox)
}

/// Puts the probe into an image.
pub(crate) fn with_probe(sandbox: &Sandbox) {
    sandbox
        .file(PROBE, fs::read(probe()).unwrap())
        .mode(PROBE, 0o755);
}

/// Asks until the answer is yes.
#[track_caller]
pub(crate) fn wait_until(what: impl Display, mut ask: impl FnMut() -> bool) {
    let since = Instant::now();
    while !ask() {
        assert!(
            since.elapsed() < PATIENCE,
            "waited {PATIENCE:?} until {what}"
        );
        thread::sleep(Duration::from_millis(5));
    }
}

/// Sends signals to a process of the host.
#[track_caller]
pub(crate) fn send(pid: u32, signals: impl IntoIterator<Item = i32>) {
    let numbers: Vec<String> = signals
        .into_iter()
        .map(|number| number.to_string())
        .collect();
    let sent = Command::new(probe())
        .arg("send")
        .arg(pid.to_string())
        .args(&numbers)
        .status()
        .unwrap();
    assert!(sent.success(), "{numbers:?} cannot be sent to {pid}");
}

/// A field of `/proc/PID/status`, its columns separated by single blanks.
pub(crate) fn status(pid: u32, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
        .unwrap_or_default();
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The children of a process, lowest number first. Zombies are none.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let parent = pid.to_string();
    let numbers = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let mut found: Vec<u32> = numbers
        .filter(|&number| {
            status(number, "PPid") == parent && !status(number, "State").starts_with('Z')
        })
        .collect();
    found.sort_unstable();
    found
}

/// What a stream has given so far.
#[derive(Clone, Default)]
struct Text(Arc<Mutex<Vec<u8>>>);

impl Text {
    fn read(&self, mut stream: impl Read + Send + 'static) -> JoinHandle<()> {
        let text = self.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            // A terminal whose other side is closed gives an error and not an end.
            while let Ok(length @ 1..) = stream.read(&mut buffer) {
                text.0.lock().unwrap().extend_from_slice(&buffer[..length]);
            }
        })
    }

    fn get(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

/// A start that runs.
pub(crate) struct Running {
    child: Child,
    stdout: Text,
    stderr: Text,
    readers: Vec<JoinHandle<()>>,
    /// The host's number of the init, once it was asked for.
    init: OnceLock<u32>,
}

impl Debug for Running {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut processes = String::new();
        for pid in self.descendants() {
            let [name, state, parent] = ["Name", "State", "PPid"].map(|field| status(pid, field));
            write!(processes, "\n{pid} {name} {state}, child of {parent}")?;
        }
        write!(
            formatter,
            "--- processes{processes}\n--- stdout\n{}\n--- stderr\n{}\n---",
            self.stdout.get(),
            self.stderr.get()
        )
    }
}

impl Running {
    /// Starts it with both streams read by the test.
    pub(crate) fn start(mut command: Command) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (stdout, stderr) = (Text::default(), Text::default());
        let readers = vec![
            stdout.read(child.stdout.take().unwrap()),
            stderr.read(child.stderr.take().unwrap()),
        ];
        Self {
            child,
            stdout,
            stderr,
            readers,
            init: OnceLock::new(),
        }
    }

    /// Starts it with a standard error that nobody reads.
    pub(crate) fn start_unread(mut command: Command) -> (Self, ChildStderr) {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (stdout, stderr) = (Text::default(), child.stderr.take().unwrap());
        let readers = vec![stdout.read(child.stdout.take().unwrap())];
        (
            Self {
                child,
                stdout,
                stderr: Text::default(),
                readers,
                init: OnceLock::new(),
            },
            stderr,
        )
    }

    /// Starts it on a terminal, of which this is the other side.
    pub(crate) fn on_terminal(mut command: Command, terminal: impl Read + Send + 'static) -> Self {
        let stdout = Text::default();
        let readers = vec![stdout.read(terminal)];
        let child = command.spawn().unwrap();
        Self {
            child,
            stdout,
            stderr: Text::default(),
            readers,
            init: OnceLock::new(),
        }
    }

    /// Standard output, or the terminal, so far.
    pub(crate) fn stdout(&self) -> String {
        self.stdout.get()
    }

    /// Standard error so far.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.get()
    }

    /// Waits until it has printed this on standard output.
    #[track_caller]
    pub(crate) fn prints(&self, text: &str) -> &Self {
        self.until(format_args!("it prints {text:?}"), || {
            self.stdout().contains(text)
        })
    }

    /// Asks until the answer is yes.
    #[track_caller]
    pub(crate) fn until(&self, what: impl Display, mut ask: impl FnMut() -> bool) -> &Self {
        let since = Instant::now();
        while !ask() {
            assert!(
                since.elapsed() < PATIENCE,
                "waited {PATIENCE:?} until {what}\n{self:?}"
            );
            thread::sleep(Duration::from_millis(5));
        }
        self
    }

    /// The process that the test started, which may be far above the init.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn descendants(&self) -> Vec<u32> {
        let mut found = vec![self.child.id()];
        let mut next = 0;
        while let Some(&pid) = found.get(next) {
            found.extend(children(pid));
            next += 1;
        }
        found
    }

    /// Processes of this name below it, as the host numbers them.
    pub(crate) fn descendants_named(&self, name: &str) -> Vec<u32> {
        self.descendants()
            .into_iter()
            .filter(|&pid| status(pid, "Name") == name)
            .collect()
    }

    /// The sealinit that supervises, as the host numbers it. The service must have been heard of: before, it may not be there yet.
    #[track_caller]
    pub(crate) fn init(&self) -> u32 {
        *self.init.get_or_init(|| {
            let found = self
                .descendants()
                .into_iter()
                .find(|&pid| status(pid, "Name") == "sealinit");
            found.unwrap_or_else(|| panic!("no sealinit runs\n{self:?}"))
        })
    }

    /// The processes whose parent is the init, as the host numbers them; the service is the first.
    #[track_caller]
    pub(crate) fn service(&self) -> u32 {
        let children = children(self.init());
        *children
            .first()
            .unwrap_or_else(|| panic!("no service runs\n{self:?}"))
    }

    /// Sends a signal to the init, from outside.
    #[track_caller]
    pub(crate) fn signal(&self, number: i32) -> &Self {
        send(self.init(), [number]);
        self
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn end(mut self) -> Ended {
        let since = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(
                since.elapsed() < PATIENCE,
                "waited {PATIENCE:?} for its end\n{self:?}"
            );
            thread::sleep(Duration::from_millis(5));
        };
        // Whoever outlives it may hold its streams open: that is not waited for.
        let since = Instant::now();
        while self.readers.iter().any(|reader| !reader.is_finished())
            && since.elapsed() < Duration::from_secs(2)
        {
            thread::sleep(Duration::from_millis(2));
        }
        let open = self.readers.iter().any(|reader| !reader.is_finished());
        Ended {
            status,
            stdout: self.stdout.get(),
            stderr: self.stderr.get(),
            open,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // What has ended may be another process by now.
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        for pid in self.descendants().into_iter().rev() {
            let _ = Command::new(probe())
                .args(["send", &pid.to_string(), "9"])
                .stderr(Stdio::null())
                .status();
        }
        let _ = self.child.wait();
    }
}

/// What a [`Running`] has left.
#[derive(Debug)]
pub(crate) struct Ended {
    status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// Whether somebody has outlived it, with its standard streams.
    pub(crate) open: bool,
}

impl Ended {
    /// Asserts the exit code.
    #[track_caller]
    pub(crate) fn code(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "{self:?}");
        self
    }
}

impl Launch<'_> {
    /// Starts it, to do something while it runs.
    pub(crate) fn running(&self) -> Running {
        Running::start(self.command())
    }
}
