//! The service's own check of its configuration, on disk as it will be and not yet sealed: run as the service, with nothing of root's.
//!
//! Never waits longer than the manifest says, and leaves nobody behind. Between us and the check stands a process that is the
//! service's uid itself and adopts what the check leaves: it needs no `CAP_KILL` to end it.

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

use crate::accounts::Caller;
use crate::error::Error;
use crate::escape::escaped;
use crate::install::proof::TestPermit;
use crate::plan::supervision::SupervisionConfig;
use crate::plan::{ConfigTest, Plan, Service};
use crate::service;
use crate::service::credentials;
use crate::service::exec::{self, Inherited};
use crate::state::sealed::Clearance;
use crate::sys;
use crate::sys::signal::Signal;

/// What is shown of a check's output: its end, where programs say why they failed.
const SHOWN_BYTES: usize = 4096;
const SHOWN_LINES: usize = 40;

/// No pid of a check: what socket activation passes is for the service.
const NOBODY: u32 = 0;

/// Runs every check of `plan`, one after the other.
///
/// # Errors
/// Every check that failed, or that could not be run.
pub(crate) fn run(
    plan: &Plan,
    caller: &Caller,
    inherited: Inherited,
    permit: TestPermit,
) -> Result<(), Vec<Error>> {
    let mut errors = Vec::new();
    for check in &plan.checks {
        match run_one(
            check,
            &plan.service,
            caller,
            Inherited {
                pid: NOBODY,
                ..inherited
            },
            permit,
        ) {
            Ok(()) => {}
            // Whoever wants us to stop does not want to hear of the rest.
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

fn run_one(
    check: &ConfigTest,
    service: &Service,
    caller: &Caller,
    inherited: Inherited,
    permit: TestPermit,
) -> Result<(), Error> {
    let failed = |step| move |source| Error::Trial { step, source };
    let (output, printed) = pipe2(OFlag::O_CLOEXEC).map_err(failed("pipe"))?;
    let (verdict, judged) = pipe2(OFlag::O_CLOEXEC).map_err(failed("pipe"))?;
    // Inherited as ignored, it would have children reaped without us.
    sys::default_signal(Signal::CHLD);
    let parent = getpid();
    let Some(warden) = sys::fork().map_err(failed("fork"))? else {
        drop((output, verdict));
        let service = service.with_command(check.command.clone());
        let mut judged = File::from(judged);
        let ended = watch(check, &service, caller, inherited, permit, printed, parent);
        let _ = match ended {
            Ok(Some(code)) => writeln!(judged, "{ENDED}{code}"),
            Ok(None) => writeln!(judged, "{TIMED_OUT}"),
            Err(error) => writeln!(judged, "{NOT_RUN}{error}"),
        };
        std::process::exit(0);
    };
    drop((printed, judged));
    // A stop ends us here, and with us the warden.
    let (output, verdict) = listen(output, verdict)?;
    // It has ended, or is about to: it has nothing more to say.
    while waitpid(Pid::from_raw(warden), None) == Err(Errno::EINTR) {}
    let how = match verdict
        .lines()
        .next()
        .and_then(|verdict| verdict.split_at_checked(1))
    {
        Some((ENDED, "0")) => {
            for line in &output {
                tracing::debug!("check: {line}");
            }
            return Ok(());
        }
        Some((ENDED, code)) => format!("it ended with exit code {code}"),
        Some((TIMED_OUT, _)) => format!(
            "it had not ended after {} s, and was killed",
            check.limit.as_secs()
        ),
        Some((NOT_RUN, why)) => why.to_owned(),
        _ => "what watched it was killed".into(),
    };
    let command = check.command.join(OsStr::new(" "));
    Err(Error::CheckFailed {
        command,
        how,
        output,
    })
}

/// How a verdict begins.
const ENDED: &str = "E";
const TIMED_OUT: &str = "T";
const NOT_RUN: &str = "N";

/// What the process between us and the check does: becomes the service's uid, has a child become the check, and ends it in time.
fn watch(
    check: &ConfigTest,
    service: &Service,
    caller: &Caller,
    inherited: Inherited,
    permit: TestPermit,
    printed: OwnedFd,
    parent: Pid,
) -> Result<Option<u8>, Error> {
    let failed = |step| move |source| Error::Trial { step, source };
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
    let unprivileged = credentials::drop_to(service, caller)?;
    let prepared = exec::prepare(service, inherited, &unprivileged)?;
    // Who is stopped does not wait for the check's end, and this process ends the check when it is alone. After the drop, which
    // would have undone it.
    let _ = prctl::set_pdeathsig(Number::SIGTERM);
    if getppid() != parent {
        return Ok(None);
    }
    let child = service::spawn(
        service,
        &prepared,
        &SupervisionConfig::default(),
        &Clearance::Test(permit),
        unprivileged,
    )?;
    Ok(child.within(check.limit))
}

/// The end of what was printed, a line each, and the verdict: once that is there, nobody who could print is left. Or that somebody wants
/// us to stop.
fn listen(output: OwnedFd, verdict: OwnedFd) -> Result<(Vec<String>, String), Error> {
    let stop = SignalFd::with_flags(
        &[Number::SIGTERM, Number::SIGINT, Number::SIGQUIT]
            .into_iter()
            .collect(),
        SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK,
    )
    .map_err(|source| Error::Trial {
        step: "signalfd",
        source,
    })?;
    let (mut output, mut verdict) = (File::from(output), File::from(verdict));
    let (mut tail, mut judged) = (Tail::default(), Vec::new());
    let mut buffer = [0; SHOWN_BYTES];
    loop {
        let mut waiting = [
            PollFd::new(verdict.as_fd(), PollFlags::POLLIN),
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
        // Other signals wait until there is a service to pass them to; whatever else interrupts, the reads below do not block.
        let _ = poll(&mut waiting, PollTimeout::NONE);
        let [over, more, stopped] = waiting.map(|waiting| waiting.any().unwrap_or(false));
        if stopped && let Ok(Some(received)) = stop.read_signal() {
            let signal = Signal(u8::try_from(received.ssi_signo).unwrap_or(0));
            return Err(Error::Stopped { signal });
        }
        if more && !tail.ended {
            match output.read(&mut buffer) {
                Ok(read @ 1..) => tail.push(&buffer[..read]),
                _ => tail.ended = true,
            }
        } else if over {
            let _ = verdict.read_to_end(&mut judged);
            return Ok((tail.lines(), String::from_utf8_lossy(&judged).into_owned()));
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

    /// Fit to be printed. That something was left out is said first.
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
