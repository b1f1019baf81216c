//! Becomes the service: environment, working directory, umask, signals, descriptors, and the exec itself.
//!
//! Never returns when it succeeds, and never runs anything that is not proven [`Sealed`] and [`Unprivileged`].

use std::collections::{BTreeMap, HashSet};
use std::convert::Infallible;
use std::ffi::{CString, NulError, OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::stat::{Mode, umask};

use crate::error::Error;
use crate::plan::Service;
use crate::privileges::Unprivileged;
use crate::start::Sealed;
use crate::sys;

/// Where programs are looked for when the environment has no PATH, as Docker sets it.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What sealinit was told; no business of the service.
const OWN_PREFIX: &[u8] = b"SEALINIT_";

/// The first descriptor that socket activation passes (`sd_listen_fds(3)`).
const LISTEN_FDS_START: u32 = 3;

/// Replaces this process by the service. `inherited_umask` is the one that sealinit was started with.
///
/// # Errors
/// That the service could not be started; it never ran then.
pub(crate) fn exec(
    service: &Service,
    inherited_umask: Mode,
    _: &Sealed,
    _: &Unprivileged,
) -> Result<Infallible, Error> {
    let environment = environment(service);
    enter_working_dir(service)?;
    umask(service.umask.map_or(inherited_umask, Mode::from_bits_truncate));
    close_descriptors(&environment);
    sys::default_signals().map_err(|source| Error::Drop { step: "unblocking signals", source })?;

    let unfit = |_: NulError| Error::ServiceNotExecutable {
        path: service.command[0].clone().into(),
        why: "an argument or variable holds a NUL character; remove it".into(),
    };
    let arguments: Result<Vec<CString>, NulError> =
        service.command.iter().map(|word| CString::new(word.as_bytes())).collect();
    let variables: Result<Vec<CString>, NulError> = environment
        .iter()
        .map(|(name, value)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()))
        .collect();
    let (arguments, variables) = (arguments.map_err(unfit)?, variables.map_err(unfit)?);

    let (candidates, searched) = candidates(&service.command[0], &environment);
    let mut denied = None;
    for candidate in candidates {
        let path = CString::new(candidate.as_os_str().as_bytes()).map_err(unfit)?;
        let Err(errno) = nix::unistd::execve(&path, &arguments, &variables);
        match errno {
            Errno::ENOENT if candidate.exists() => {
                let why = "its interpreter or loader does not exist; install it in the image".into();
                return Err(Error::ServiceNotExecutable { path: candidate, why });
            }
            Errno::ENOENT | Errno::ENOTDIR => {}
            // As execvp(3): a later directory may have one that we may execute.
            Errno::EACCES => denied = denied.or(Some(candidate)),
            errno => return Err(Error::ServiceNotExecutable { path: candidate, why: why_not(errno, service.uid) }),
        }
    }
    Err(match denied {
        Some(path) => Error::ServiceNotExecutable { path, why: why_not(Errno::EACCES, service.uid) },
        None => Error::ServiceNotFound { program: service.command[0].clone(), searched },
    })
}

fn why_not(errno: Errno, uid: u32) -> String {
    let remedy = match errno {
        Errno::EACCES => format!(
            "; give uid {uid} execute permission for it and the directories on the way, on a mount without noexec"
        ),
        Errno::ENOEXEC => {
            "; it is neither a program of this architecture nor a script with #! on its first line".into()
        }
        Errno::EAGAIN => format!(
            "; uid {uid} has reached its limit of processes (RLIMIT_NPROC), which counts those of other containers too"
        ),
        Errno::E2BIG => "; shorten arguments and environment".into(),
        _ => String::new(),
    };
    format!("{}{remedy}", errno.desc())
}

/// The service's environment: what was inherited without what was meant for us, who it is, and what the manifest says, in this order.
fn environment(service: &Service) -> BTreeMap<OsString, OsString> {
    let inherited = std::env::vars_os().filter(|(name, _)| !name.as_bytes().starts_with(OWN_PREFIX));
    let mut environment: BTreeMap<OsString, OsString> = inherited.collect();
    // The engine sets HOME for the user that it starts, which is not the service.
    let home = service.home.as_deref().filter(|home| !home.is_empty()).unwrap_or("/");
    environment.insert("HOME".into(), home.into());
    match &service.name {
        Some(name) => {
            environment.insert("USER".into(), name.into());
            environment.insert("LOGNAME".into(), name.into());
        }
        None => {
            environment.remove(OsStr::new("USER"));
            environment.remove(OsStr::new("LOGNAME"));
        }
    }
    environment.extend(service.env.iter().map(|(name, value)| (name.into(), value.into())));
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
        Ok(here) => Err(failed(&here)(io::Error::other("it is outside the root directory"))),
        Err(error) => Err(failed(Path::new("."))(error)),
    }
}

/// Has every descriptor but 0, 1 and 2 closed by the exec, and but those that socket activation passes to this very process.
fn close_descriptors(environment: &BTreeMap<OsString, OsString>) {
    let number = |name: &str| environment.get(OsStr::new(name))?.to_str()?.parse::<u32>().ok();
    let passed = match number("LISTEN_PID") {
        Some(pid) if pid == std::process::id() => number("LISTEN_FDS").unwrap_or(0).min(1024),
        _ => 0,
    };
    if sys::close_on_exec_from(LISTEN_FDS_START).is_err() {
        // close_range(2) is from Linux 5.9 (as used here 5.11), and old seccomp profiles refuse it.
        let listed = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
        let listed: Vec<i32> = listed.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        let all = if listed.is_empty() { (3..65_536).collect() } else { listed };
        for descriptor in all.into_iter().filter(|descriptor| *descriptor > 2) {
            sys::close_on_exec(descriptor);
        }
    }
    for descriptor in LISTEN_FDS_START..LISTEN_FDS_START + passed {
        sys::keep_on_exec(descriptor.cast_signed());
    }
}

/// The paths that `program` may be, in the order of execvp(3), and what was searched.
fn candidates(program: &OsStr, environment: &BTreeMap<OsString, OsString>) -> (Vec<PathBuf>, OsString) {
    if program.as_bytes().contains(&b'/') {
        return (vec![program.into()], OsString::from("the image"));
    }
    let path = environment.get(OsStr::new("PATH")).cloned().unwrap_or_else(|| DEFAULT_PATH.into());
    // An empty element means the working directory, which is no place to look for a service.
    let directories = path.as_bytes().split(|byte| *byte == b':').filter(|directory| !directory.is_empty());
    let candidates = directories.map(|directory| Path::new(OsStr::from_bytes(directory)).join(program));
    (candidates.collect(), OsString::from_vec([b"PATH=", path.as_bytes()].concat()))
}

/// What would keep the service from being started, as far as it shows before it is installed. `planned` will be there by then.
pub(crate) fn obstacles(service: &Service, planned: &HashSet<&Path>) -> Vec<Error> {
    let mut errors = Vec::new();
    if let Some(path) = &service.working_dir
        && !planned.contains(path.as_path())
        && let Err(source) = path
            .metadata()
            .and_then(|found| if found.is_dir() { Ok(()) } else { Err(io::ErrorKind::NotADirectory.into()) })
    {
        errors.push(Error::WorkingDir { path: path.clone(), source });
    }
    let (candidates, searched) = candidates(&service.command[0], &environment(service));
    let mut unfit = None;
    for candidate in candidates {
        if planned.contains(candidate.as_path()) || candidate.is_relative() {
            return errors;
        }
        match candidate.metadata() {
            Ok(found) if found.is_file() && found.permissions().mode() & 0o111 != 0 => return errors,
            Ok(found) if found.is_dir() => {
                unfit = unfit.or(Some((candidate, "it is a directory; name a program in it".into())));
            }
            Ok(_) => unfit = unfit.or(Some((candidate, why_not(Errno::EACCES, service.uid)))),
            // What we cannot look at now, the service may: the exec will tell.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return errors,
            Err(_) => {}
        }
    }
    errors.push(match unfit {
        Some((path, why)) => Error::ServiceNotExecutable { path, why },
        None => Error::ServiceNotFound { program: service.command[0].clone(), searched },
    });
    errors
}
