//! Becomes the service: environment, working directory, program, descriptors, umask, signals, and the exec itself.
//!
//! Never returns when it succeeds, and never runs anything that is not proven [`Sealed`] and [`Unprivileged`].

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::{CString, NulError, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{AccessFlags, faccessat};

use crate::error::Error;
use crate::escape::escaped;
use crate::fs::impersonate::Impersonation;
use crate::fs::source;
use crate::plan::{Login, Service};
use crate::service::credentials::Unprivileged;
use crate::service::elf;
use crate::state::sealed::Clearance;
use crate::sys;
use crate::sys::signal::Signal;

/// Where programs are looked for when the environment has no PATH, as Docker sets it.
pub(crate) const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What sealinit was told; no business of the service.
const OWN_PREFIX: &[u8] = b"SEALINIT_";

/// The first descriptor that socket activation passes (`sd_listen_fds(3)`).
const LISTEN_FDS_START: u32 = 3;

/// What sealinit was started with, and the service is to have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inherited {
    pub(crate) umask: Mode,
    /// The pid that was started. A supervised service has another.
    pub(crate) pid: u32,
}

/// A service that can be executed: what is left to do is the exec.
#[derive(Debug)]
pub(crate) struct Prepared {
    program: PathBuf,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    /// Where in the environment the pid of socket activation is.
    listen_pid: Option<usize>,
    umask: Mode,
}

/// Enters the working directory, finds the program, and closes what is not the service's: all that can go wrong before the exec,
/// done as the service.
///
/// # Errors
/// That the service could not be started.
pub(crate) fn prepare(
    service: &Service,
    inherited: Inherited,
    _: &Unprivileged,
) -> Result<Prepared, Error> {
    let mut environment = environment(service);
    enter_working_dir(service)?;
    let program = find(service, &environment, |_| false)?
        .unwrap_or_else(|| service.command[0].clone().into());

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
    Ok(Prepared {
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
/// What only the kernel knows: that the program is of another architecture, or that the uid has too many processes.
pub(crate) fn exec(
    service: &Prepared,
    _: &Clearance,
    _: &Unprivileged,
) -> Result<Infallible, Error> {
    let path = service.last_steps()?;
    sys::unblock_signals().map_err(|errno| service.not_executable(errno))?;
    nix::unistd::execve(&path, &service.arguments, &service.environment).map_err(|errno| {
        // SIGPIPE is not ignored any more, and must not end us when we say this to a log that nobody reads.
        let _ = sys::block_signals();
        service.not_executable(errno)
    })
}

/// Has a child become the service, in a process group of its own, in the `foreground` of the terminal, and with `signals` to hear before
/// its first instruction; gives its pid.
///
/// # Errors
/// As [`exec`], and that there is no room for a process.
pub(crate) fn spawn(
    service: &Prepared,
    foreground: bool,
    signals: &[Signal],
    _: &Clearance,
    _: &Unprivileged,
) -> Result<i32, Error> {
    let program = sys::Program {
        path: &service.last_steps()?,
        arguments: &service.arguments,
        environment: &service.environment,
        listen_pid: service.listen_pid,
        foreground,
        signals,
    };
    sys::spawn(&program).map_err(|errno| service.not_executable(errno))
}

impl Prepared {
    /// What an exec does not give back: the umask, and which signals are ignored. Gives the program's path.
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

pub(crate) fn why_not(errno: Errno, uid: u32) -> String {
    let remedy = match errno {
        Errno::EACCES => format!(
            "; give uid {uid} execute permission for it and the directories on the way, on a mount without noexec"
        ),
        Errno::ENOEXEC => {
            "; it is neither a program of this architecture nor a script with #! on its first line"
                .into()
        }
        Errno::EAGAIN => format!(
            "; uid {uid} has reached its limit of processes (RLIMIT_NPROC), which counts those of other containers too, or the container its own (--pids-limit)"
        ),
        Errno::E2BIG => "; shorten arguments and environment".into(),
        _ => String::new(),
    };
    format!("{}{remedy}", errno.desc())
}

/// The service's environment: what was inherited without what was meant for us, who it is, and what the manifest says, in this order.
fn environment(service: &Service) -> BTreeMap<OsString, OsString> {
    let inherited =
        std::env::vars_os().filter(|(name, _)| !name.as_bytes().starts_with(OWN_PREFIX));
    // Not by `collect()`, here and elsewhere: that sorts first, and the sort of each type is 5 kB of program.
    let mut environment: BTreeMap<OsString, OsString> = BTreeMap::new();
    environment.extend(inherited);
    if let Some(Login {
        name,
        home,
        replaces,
    }) = &service.login
        && (*replaces || !environment.contains_key(OsStr::new("HOME")))
    {
        // The engine sets HOME for the user that it starts, which is not the service.
        let home = home
            .as_deref()
            .filter(|home| !home.is_empty())
            .unwrap_or("/");
        environment.insert("HOME".into(), home.into());
        for variable in ["USER", "LOGNAME"] {
            match name {
                Some(name) => environment.insert(variable.into(), name.into()),
                None => environment.remove(OsStr::new(variable)),
            };
        }
    }
    environment.extend(
        service
            .env
            .iter()
            .map(|(name, value)| (name.into(), value.0.as_str().into())),
    );
    environment
}

fn enter_working_dir(service: &Service) -> Result<(), Error> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::WorkingDir { path, source }
    };
    if let Some(path) = &service.working_dir {
        std::env::set_current_dir(path).map_err(failed(path))?;
    }
    // A directory outside the container's root is the door to the host (CVE-2024-21626).
    match std::env::current_dir() {
        Ok(here) if here.is_absolute() => Ok(()),
        Ok(here) => Err(failed(&here)(io::Error::other(
            "it is outside the root directory",
        ))),
        Err(error) => Err(failed(Path::new("."))(error)),
    }
}

/// How many descriptors socket activation passes to the process that the engine started, `pid`; they are meant for the service.
fn take_activation(environment: &mut BTreeMap<OsString, OsString>, pid: u32) -> u32 {
    let number = |name: &str| {
        environment
            .get(OsStr::new(name))?
            .to_str()?
            .parse::<u32>()
            .ok()
    };
    if number("LISTEN_PID") != Some(pid) {
        return 0;
    }
    let passed = number("LISTEN_FDS").unwrap_or(0).min(1024);
    environment.insert("LISTEN_PID".into(), std::process::id().to_string().into());
    passed
}

/// Has every descriptor but 0, 1 and 2 closed by the exec, and but the `passed` ones that come next.
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

/// The first path that `fits`, of those that the service's program may be in the order of execvp(3). `fits` says of each whether it does,
/// `false` for nothing there, or why it does not.
pub(crate) fn search(
    service: &Service,
    environment: &BTreeMap<OsString, OsString>,
    fits: impl Fn(&Path) -> Result<bool, String>,
) -> Result<PathBuf, Error> {
    let (candidates, searched) = candidates(&service.command[0], environment);
    let mut unfit = None;
    for path in candidates {
        match fits(&path) {
            Ok(true) => return Ok(path),
            Ok(false) => {}
            // A later directory may have one that fits.
            Err(why) => unfit = unfit.or(Some(Error::ServiceNotExecutable { path, why })),
        }
    }
    Err(unfit.unwrap_or_else(|| Error::ServiceNotFound {
        program: service.command[0].clone(),
        searched,
    }))
}

/// The paths that `program` may be, and what is searched.
fn candidates(
    program: &OsStr,
    environment: &BTreeMap<OsString, OsString>,
) -> (Vec<PathBuf>, OsString) {
    if program.as_bytes().contains(&b'/') {
        return (vec![program.into()], OsString::from("the image"));
    }
    let path = environment
        .get(OsStr::new("PATH"))
        .cloned()
        .unwrap_or_else(|| DEFAULT_PATH.into());
    // An empty element means the working directory, which is no place to look for a service.
    let directories = path
        .as_bytes()
        .split(|byte| *byte == b':')
        .filter(|directory| !directory.is_empty());
    let candidates =
        directories.map(|directory| Path::new(OsStr::from_bytes(directory)).join(program));
    (
        candidates.collect(),
        OsString::from_vec([b"PATH=", path.as_bytes()].concat()),
    )
}

/// The program that execvp(3) would take, looked for with the rights that this process has towards files now; `None` where that
/// cannot be known yet, because `planned` says that it will be installed first.
fn find(
    service: &Service,
    environment: &BTreeMap<OsString, OsString>,
    planned: impl Fn(&Path) -> bool,
) -> Result<Option<PathBuf>, Error> {
    let found = search(service, environment, |path| {
        if planned(path) {
            return Ok(true);
        }
        match path.metadata() {
            Ok(found) if found.is_dir() => Err("it is a directory; name a program in it".into()),
            Ok(_) => {
                may_execute(path).map_err(|errno| why_not(errno, service.uid))?;
                missing_interpreter(path, &planned).map_or(Ok(true), Err)
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(false)
            }
            Err(_) => Err(why_not(Errno::EACCES, service.uid)),
        }
    })?;
    Ok((!planned(&found)).then_some(found))
}

fn may_execute(path: &Path) -> Result<(), Errno> {
    let checked = faccessat(AT_FDCWD, path, AccessFlags::X_OK, AtFlags::AT_EACCESS);
    // An old kernel or seccomp profile that does not know the call: the exec will tell.
    checked.or_else(|errno| {
        if matches!(errno, Errno::EPERM | Errno::ENOSYS) {
            Ok(())
        } else {
            Err(errno)
        }
    })
}

/// Why the kernel will not execute a file that it may, as far as the file says. One that we cannot read says nothing.
fn missing_interpreter(path: &Path, planned: impl Fn(&Path) -> bool) -> Option<String> {
    let (program, _) = source::open(path).ok()?;
    unfit(&program, |interpreter| {
        !planned(interpreter)
            && interpreter
                .metadata()
                .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    })
}

/// Why the kernel will not execute `program`; `is_missing` knows which interpreters do not exist.
pub(crate) fn unfit(program: &File, is_missing: impl Fn(&Path) -> bool) -> Option<String> {
    const LONGEST: u64 = 256; // BINPRM_BUF_SIZE: the kernel looks no further
    let mut head = Vec::new();
    program.take(LONGEST).read_to_end(&mut head).ok()?;
    let interpreter = if head.starts_with(elf::MAGIC) {
        elf::interpreter(|offset, length| {
            let mut bytes = vec![0; length];
            program
                .read_exact_at(&mut bytes, offset)
                .ok()
                .map(|()| bytes)
        })?
    } else {
        let Some(line) = head.strip_prefix(b"#!") else {
            return Some(why_not(Errno::ENOEXEC, 0));
        };
        let line = line.split(|byte| *byte == b'\n').next()?.trim_ascii();
        OsStr::from_bytes(line.split(u8::is_ascii_whitespace).next()?).into()
    };
    is_missing(&interpreter).then(|| {
        format!(
            "its interpreter {} does not exist; install it in the image",
            escaped(&interpreter)
        )
    })
}

/// What would keep the service from being started, as far as it shows before anything is installed. `planned` will be there by then.
pub(crate) fn obstacles(service: &Service, planned: impl Fn(&Path) -> bool) -> Vec<Error> {
    let _acting = Impersonation::identity(service.uid, service.gid, service.groups.iter().copied());
    let mut errors = Vec::new();
    if let Some(path) = &service.working_dir
        && !planned(path)
    {
        let entered = match path.metadata() {
            Ok(found) if !found.is_dir() => Err(io::ErrorKind::NotADirectory.into()),
            Ok(_) => may_execute(path).map_err(io::Error::from),
            Err(error) => Err(error),
        };
        errors.extend(entered.err().map(|source| Error::WorkingDir {
            path: path.clone(),
            source,
        }));
    }
    // Relative to a directory that we are not in yet.
    let relative = |path: &Path| path.is_relative() && service.working_dir.is_some();
    errors.extend(
        find(service, &environment(service), |path| {
            planned(path) || relative(path)
        })
        .err(),
    );
    errors
}
