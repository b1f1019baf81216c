//! The service's own test of its configuration, which is on disk as it will be and not sealed yet.
//!
//! Between this process and the test stands a process with the service's uid: it needs no
//! `CAP_KILL` to end the test, and adopts what the test leaves behind.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::Signal as Number;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::Mode;
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, dup2_stderr, dup2_stdin, dup2_stdout, getpid, getppid, pipe2};

use tracing::subscriber::{NoSubscriber, with_default};

use crate::accounts::Caller;
use crate::error::Error;
use crate::escape::escaped;
use crate::install::proof::TestPermit;
use crate::plan::supervision::SupervisionConfig;
use crate::plan::{ConfigTest, Plan, Service};
use crate::service::credentials;
use crate::service::exec::{Inherited, ServiceCommand};
use crate::service::launch::spawn;
use crate::state::sealed::Clearance;
use crate::sys;
use crate::sys::signal::Signal;

/// The part of a test's output that is shown: its end, where programs report why they failed.
const SHOWN_BYTES: usize = 4096;
const SHOWN_LINES: usize = 40;

/// Not the pid of any test: what socket activation passes is for the service.
const NO_PID: u32 = 0;

/// The first byte of a result, as the process in between reports it.
const ENDED: &str = "E";
const TIMED_OUT: &str = "T";
const NOT_RUN: &str = "N";

fn failed(step: &'static str) -> impl Fn(Errno) -> Error {
    move |source| Error::Trial { step, source }
}

/// Runs every test of `plan`, one after the other.
///
/// # Errors
///
/// [`Error::CheckFailed`] for each that failed, [`Error::Trial`] for each that could not be run, or
/// [`Error::Stopped`].
pub(crate) fn run(
    plan: &Plan,
    caller: &Caller,
    inherited: Inherited,
    permit: TestPermit,
) -> Result<(), Vec<Error>> {
    let mut errors = Vec::new();
    for test in &plan.checks {
        let run = TestRun {
            test,
            service: plan.service.with_command(test.command.clone()),
            caller,
            inherited: Inherited {
                pid: NO_PID,
                ..inherited
            },
            permit,
        };
        match run.run() {
            Ok(()) => {}
            // A stop does not wait for the other tests.
            Err(stopped @ Error::Stopped { .. }) => return Err(stopped.into()),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors)
    }
}

/// One test, and what it is run with.
struct TestRun<'a> {
    test: &'a ConfigTest,
    /// The service with the test's command.
    service: Service,
    caller: &'a Caller,
    inherited: Inherited,
    permit: TestPermit,
}

impl TestRun<'_> {
    fn run(&self) -> Result<(), Error> {
        let (output, printed) = pipe2(OFlag::O_CLOEXEC).map_err(failed("pipe"))?;
        let (result, reported) = pipe2(OFlag::O_CLOEXEC).map_err(failed("pipe"))?;
        // Inherited as ignored, it would have children reaped by the kernel.
        sys::default_signal(Signal::CHLD);
        let parent = getpid();
        let Some(supervisor) = sys::fork().map_err(failed("fork"))? else {
            drop((output, result));
            let mut reported = File::from(reported);
            // Standard error becomes the test's output, which is no place for a log.
            let supervise = || self.supervise(printed, parent);
            let _ = match with_default(NoSubscriber::new(), supervise) {
                Ok(Some(code)) => writeln!(reported, "{ENDED}{code}"),
                Ok(None) => writeln!(reported, "{TIMED_OUT}"),
                Err(error) => writeln!(reported, "{NOT_RUN}{error}"),
            };
            std::process::exit(0);
        };
        drop((printed, reported));
        // A stop ends this process here, and with it the supervisor.
        let (output, result) = listen(output, result)?;
        // It has ended, or is about to: it has reported everything.
        while waitpid(Pid::from_raw(supervisor), None) == Err(Errno::EINTR) {}
        self.judge(&result, output)
    }

    /// Turns the reported result into an error, unless the test has succeeded.
    fn judge(&self, result: &str, output: Vec<String>) -> Result<(), Error> {
        let line = result.lines().next();
        let how = match line.and_then(|line| line.split_at_checked(1)) {
            Some((ENDED, "0")) => {
                for line in &output {
                    tracing::debug!("check: {line}");
                }
                return Ok(());
            }
            Some((ENDED, code)) => format!("it ended with exit code {code}"),
            Some((TIMED_OUT, _)) => format!(
                "it had not ended after {} s, and was killed",
                self.test.limit.as_secs()
            ),
            Some((NOT_RUN, why)) => why.to_owned(),
            _ => "its supervisor was killed".into(),
        };
        Err(Error::CheckFailed {
            command: self.test.command.join(OsStr::new(" ")),
            how,
            output,
        })
    }

    /// Becomes the service's uid, has a child become the test, and ends it in time. `None` if it
    /// had to be ended.
    fn supervise(&self, printed: OwnedFd, parent: Pid) -> Result<Option<u8>, Error> {
        let nothing = open(
            "/dev/null",
            OFlag::O_RDONLY | OFlag::O_CLOEXEC,
            Mode::empty(),
        );
        let nothing = match nothing {
            Ok(nothing) => nothing,
            // A scratch image has none; an empty pipe gives as little.
            Err(_) => pipe2(OFlag::O_CLOEXEC).map_err(failed("pipe"))?.0,
        };
        dup2_stdin(nothing).map_err(failed("dup2"))?;
        dup2_stdout(&printed).map_err(failed("dup2"))?;
        dup2_stderr(&printed).map_err(failed("dup2"))?;
        drop(printed);
        let unprivileged = credentials::drop_to(&self.service, self.caller)?;
        let command = ServiceCommand::prepare(&self.service, self.inherited, &unprivileged)?;
        // A stop does not wait for the test's end: this process ends the test when its parent is
        // gone. After the drop, which would have undone it.
        let _ = prctl::set_pdeathsig(Number::SIGTERM);
        if getppid() != parent {
            return Ok(None);
        }
        let child = spawn(
            &self.service,
            &command,
            &SupervisionConfig::default(),
            &Clearance::Test(self.permit),
            unprivileged,
        )?;
        Ok(child.within(self.test.limit))
    }
}

/// Returns the end of what was printed, a line each, and the result: when that is there, no process
/// is left that could print.
///
/// # Errors
///
/// [`Error::Stopped`] for a termination signal.
fn listen(output: OwnedFd, result: OwnedFd) -> Result<(Vec<String>, String), Error> {
    let stop = SignalFd::with_flags(
        &[Number::SIGTERM, Number::SIGINT, Number::SIGQUIT]
            .into_iter()
            .collect(),
        SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK,
    )
    .map_err(failed("signalfd"))?;
    let (mut output, mut result) = (File::from(output), File::from(result));
    let (mut tail, mut reported) = (Tail::default(), Vec::new());
    let mut buffer = [0; SHOWN_BYTES];
    loop {
        let mut waiting = [
            PollFd::new(result.as_fd(), PollFlags::POLLIN),
            PollFd::new(
                output.as_fd(),
                if tail.ended {
                    PollFlags::empty()
                } else {
                    PollFlags::POLLIN
                },
            ),
            PollFd::new(stop.as_fd(), PollFlags::POLLIN),
        ];
        // Other signals wait until there is a service to pass them to; whatever else interrupts,
        // the reads below do not block.
        let _ = poll(&mut waiting, PollTimeout::NONE);
        let [over, more, stopped] = waiting.map(|waiting| waiting.any().unwrap_or(false));
        if stopped && let Ok(Some(received)) = stop.read_signal() {
            let number =
                u8::try_from(received.ssi_signo).map_err(|_| failed("signalfd")(Errno::EINVAL))?;
            return Err(Error::Stopped {
                signal: Signal(number),
            });
        }
        if more && !tail.ended {
            match output.read(&mut buffer) {
                Ok(read @ 1..) => tail.push(&buffer[..read]),
                _ => tail.ended = true,
            }
        } else if over {
            let _ = result.read_to_end(&mut reported);
            return Ok((
                tail.lines(),
                String::from_utf8_lossy(&reported).into_owned(),
            ));
        }
    }
}

/// The last bytes of an output.
#[derive(Debug, Default)]
struct Tail {
    bytes: Vec<u8>,
    total: usize,
    ended: bool,
}

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len();
        self.bytes.extend_from_slice(bytes);
        let surplus = self.bytes.len().saturating_sub(SHOWN_BYTES);
        self.bytes.drain(..surplus);
    }

    /// Returns the lines, fit to be printed, after a note if something was left out.
    fn lines(&self) -> Vec<String> {
        let all = self.bytes.len() == self.total;
        let mut lines: Vec<&[u8]> = self.bytes.split(|byte| *byte == b'\n').collect();
        // The first of them has lost its beginning.
        lines.drain(..usize::from(!all && lines.len() > 1));
        lines.retain(|line| !line.is_empty());
        let surplus = lines.len().saturating_sub(SHOWN_LINES);
        lines.drain(..surplus);
        let left_out = (!all || surplus > 0).then(|| format!("… the end of {} bytes:", self.total));
        let shown = lines
            .into_iter()
            .map(|line| escaped(OsStr::from_bytes(line)).to_string());
        left_out.into_iter().chain(shown).collect()
    }
}
