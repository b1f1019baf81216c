//! Executes the service: working directory, program, descriptors, umask, signals and exec.

use std::convert::Infallible;
use std::ffi::{CString, NulError};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::stat::{Mode, umask};

use crate::error::Error;
use crate::plan::Service;
use crate::service::credentials::Unprivileged;
use crate::service::environment::{environment, take_activation};
use crate::service::program::{find, why_not};
use crate::state::sealed::Clearance;
use crate::sys;
use crate::sys::signal::Signal;

/// The first descriptor that socket activation passes (`sd_listen_fds(3)`).
const LISTEN_FDS_START: u32 = 3;

/// Process attributes that sealinit was started with, for the service.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inherited {
    pub(crate) umask: Mode,
    /// The pid that the engine started. A supervised service has another.
    pub(crate) pid: u32,
}

/// A service that is ready for its exec.
#[derive(Debug)]
pub(crate) struct ServiceCommand {
    program: PathBuf,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    /// The index of the variable for the pid of socket activation.
    listen_pid: Option<usize>,
    umask: Mode,
}

/// The process that the service gets when it is started as a child.
#[derive(Debug)]
pub(crate) struct ChildSetup<'a> {
    /// True if it takes the terminal behind standard input.
    pub(crate) foreground: bool,
    /// The signals that it gets before its first instruction.
    pub(crate) signals: &'a [Signal],
}

impl ServiceCommand {
    /// Enters the working directory, finds the program, and marks all other descriptors
    /// close-on-exec: the steps that can fail before the exec, with the service's credentials.
    ///
    /// # Errors
    ///
    /// [`Error::WorkingDir`], [`Error::ServiceNotFound`] or [`Error::ServiceNotExecutable`].
    pub(crate) fn prepare(
        service: &Service,
        inherited: Inherited,
        _: &Unprivileged,
    ) -> Result<Self, Error> {
        let mut environment = environment(service);
        enter_working_dir(service)?;
        let program = find(service, &environment)?;

        let unfit = |_: NulError| Error::ServiceNotExecutable {
            path: service.command[0].clone().into(),
            why: "an argument or variable holds a NUL character; remove it".into(),
        };
        let passed = take_activation(&mut environment, inherited.pid);
        let arguments: Result<Vec<CString>, NulError> = service
            .command
            .iter()
            .map(|word| CString::new(word.as_bytes()))
            .collect();
        let variables: Result<Vec<CString>, NulError> = environment
            .iter()
            .map(|(name, value)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()))
            .collect();
        close_descriptors(passed);
        let listen_pid = (passed > 0)
            .then(|| environment.keys().position(|name| name == "LISTEN_PID"))
            .flatten();
        Ok(Self {
            program,
            arguments: arguments.map_err(unfit)?,
            environment: variables.map_err(unfit)?,
            listen_pid,
            umask: service
                .umask
                .map_or(inherited.umask, Mode::from_bits_truncate),
        })
    }

    /// Replaces this process by the service.
    ///
    /// # Errors
    ///
    /// [`Error::ServiceNotExecutable`] if the kernel refuses, for example a program of another
    /// architecture.
    pub(crate) fn exec(&self, _: &Clearance, _: &Unprivileged) -> Result<Infallible, Error> {
        let path = self.last_steps()?;
        sys::unblock_signals().map_err(|errno| self.not_executable(errno))?;
        nix::unistd::execve(&path, &self.arguments, &self.environment).map_err(|errno| {
            // SIGPIPE has its default action by now, and must not end this process when it logs the
            // error to a closed pipe.
            let _ = sys::block_signals();
            self.not_executable(errno)
        })
    }

    /// Starts the service as a child in a process group of its own. Returns its pid.
    ///
    /// # Errors
    ///
    /// [`Error::ServiceNotExecutable`] as for [`Self::exec`], also if no process can be created.
    pub(crate) fn spawn(
        &self,
        setup: &ChildSetup<'_>,
        _: &Clearance,
        _: &Unprivileged,
    ) -> Result<i32, Error> {
        let program = sys::Program {
            path: &self.last_steps()?,
            arguments: &self.arguments,
            environment: &self.environment,
            listen_pid: self.listen_pid,
            foreground: setup.foreground,
            signals: setup.signals,
        };
        sys::spawn(&program).map_err(|errno| self.not_executable(errno))
    }

    /// Sets the attributes that an exec keeps: the umask, and the ignored signals. Returns the
    /// program's path.
    fn last_steps(&self) -> Result<CString, Error> {
        umask(self.umask);
        sys::default_signals();
        CString::new(self.program.as_os_str().as_bytes())
            .map_err(|_| self.not_executable(Errno::ENOENT))
    }

    fn not_executable(&self, errno: Errno) -> Error {
        let uid = nix::unistd::getuid().as_raw();
        Error::ServiceNotExecutable {
            path: self.program.clone(),
            why: why_not(errno, uid),
        }
    }
}

fn enter_working_dir(service: &Service) -> Result<(), Error> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::WorkingDir { path, source }
    };
    if let Some(path) = &service.working_dir {
        std::env::set_current_dir(path).map_err(failed(path))?;
    }
    // A working directory outside the container's root gives access to the host (CVE-2024-21626).
    match std::env::current_dir() {
        Ok(here) if here.is_absolute() => Ok(()),
        Ok(here) => Err(failed(&here)(io::Error::other(
            "it is outside the root directory",
        ))),
        Err(error) => Err(failed(Path::new("."))(error)),
    }
}

/// Marks every descriptor close-on-exec except 0, 1, 2 and the `passed` ones that follow.
fn close_descriptors(passed: u32) {
    if sys::close_on_exec_from(LISTEN_FDS_START).is_err() {
        // close_range(2) is from Linux 5.9 (as used here 5.11), and old seccomp profiles refuse it.
        let listed = std::fs::read_dir("/proc/self/fd")
            .into_iter()
            .flatten()
            .flatten();
        let listed: Vec<i32> = listed
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect();
        let all = if listed.is_empty() {
            (3..65_536).collect()
        } else {
            listed
        };
        for descriptor in all.into_iter().filter(|descriptor| *descriptor > 2) {
            sys::close_on_exec(descriptor);
        }
    }
    for descriptor in LISTEN_FDS_START..LISTEN_FDS_START + passed {
        sys::keep_on_exec(descriptor.cast_signed());
    }
}
