//! A start that is watched and signalled while it runs.

use std::fmt::{self, Debug, Display, Write as _};
use std::fs;
use std::io::Read;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::launch::Launch;
use super::probe::{probe, send};

/// The time limit of every wait: long enough for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until the condition holds.
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

/// A field of `/proc/PID/status`, its columns separated by single blanks.
pub(crate) fn status(pid: u32, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
        .unwrap_or_default();
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The children of a process, lowest number first, without zombies.
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

/// The output of a stream so far.
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

    /// Starts it with a standard error that is not read.
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

    /// Waits until the condition holds.
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

    /// The sealinit that supervises, as the host numbers it. Only valid once the service has
    /// printed something: before that, it may not be there yet.
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
        // A process that outlives it may hold its streams open: that is not waited for.
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
        // The number of a process that has ended may be another process's by now.
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

/// The output and the end of a [`Running`].
#[derive(Debug)]
pub(crate) struct Ended {
    status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// True if a process has outlived it and holds its standard streams.
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
    /// Starts it, for a test that acts while it runs.
    pub(crate) fn running(&self) -> Running {
        Running::start(self.command())
    }
}
