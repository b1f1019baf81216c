//! Runs the service's own tests of its configuration, which is installed and not sealed yet.
//!
//! A process with the service's uid supervises each test: it needs no `CAP_KILL` to end the test,
//! and adopts the processes that the test leaves behind.

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

/// A pid that no test has: descriptors of socket activation are passed to the service alone.
const NO_PID: u32 = 0;

/// The first byte of the result that a test's supervisor writes.
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

/// One test and the parameters of its run.
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
        // An inherited SIG_IGN would make the kernel reap the children (wait(2)).
        sys::default_signal(Signal::CHLD);
        let parent = getpid();
        let Some(supervisor) = sys::fork().map_err(failed("fork"))? else {
            drop((output, result));
            let mut reported = File::from(reported);
            // Standard error becomes the test's output, into which no log lines belong.
            let supervise = || self.supervise(printed, parent);
            let _ = match with_default(NoSubscriber::new(), supervise) {
                Ok(Some(code)) => writeln!(reported, "{ENDED}{code}"),
                Ok(None) => writeln!(reported, "{TIMED_OUT}"),
                Err(error) => writeln!(reported, "{NOT_RUN}{error}"),
            };
            std::process::exit(0);
        };
        drop((printed, reported));
        // A termination signal returns here; the supervisor ends with this process.
        let (output, result) = collect(output, result)?;
        // The supervisor has written its result and is about to end.
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

    /// Drops to the service's credentials and runs the test as a child. Returns its exit code, or
    /// `None` if it was ended at the limit.
    fn supervise(&self, printed: OwnedFd, parent: Pid) -> Result<Option<u8>, Error> {
        let null = open(
            "/dev/null",
            OFlag::O_RDONLY | OFlag::O_CLOEXEC,
            Mode::empty(),
        );
        let null = match null {
            Ok(null) => null,
            // An image from scratch may have no /dev/null; an empty pipe reads as end of file too.
            Err(_) => pipe2(OFlag::O_CLOEXEC).map_err(failed("pipe"))?.0,
        };
        dup2_stdin(null).map_err(failed("dup2"))?;
        dup2_stdout(&printed).map_err(failed("dup2"))?;
        dup2_stderr(&printed).map_err(failed("dup2"))?;
        drop(printed);
        let unprivileged = credentials::drop_to(&self.service, self.caller)?;
        let command = ServiceCommand::prepare(&self.service, self.inherited, &unprivileged)?;
        // This process ends the test when its parent is stopped. Set after the drop, since a change
        // of uid clears it (prctl(2)).
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
        Ok(child.wait_timeout(self.test.limit))
    }
}

/// Returns the last lines of the output, and the result. Once the result is complete, no process is
/// left that could write output.
///
/// # Errors
///
/// [`Error::Stopped`] for a termination signal.
fn collect(output: OwnedFd, result: OwnedFd) -> Result<(Vec<String>, String), Error> {
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
        // Other signals stay pending for the service. The reads below do not block after an
        // interruption.
        let _ = poll(&mut waiting, PollTimeout::NONE);
        let [result_ready, output_ready, stopped] =
            waiting.map(|waiting| waiting.any().unwrap_or(false));
        if stopped && let Ok(Some(received)) = stop.read_signal() {
            let number =
                u8::try_from(received.ssi_signo).map_err(|_| failed("signalfd")(Errno::EINVAL))?;
            return Err(Error::Stopped {
                signal: Signal(number),
            });
        }
        if output_ready && !tail.ended {
            match output.read(&mut buffer) {
                Ok(read @ 1..) => tail.push(&buffer[..read]),
                _ => tail.ended = true,
            }
        } else if result_ready {
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

    /// Returns the lines, escaped, after a note if something was left out.
    fn lines(&self) -> Vec<String> {
        let all = self.bytes.len() == self.total;
        let mut lines: Vec<&[u8]> = self.bytes.split(|byte| *byte == b'\n').collect();
        // The beginning of the first line is missing.
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
