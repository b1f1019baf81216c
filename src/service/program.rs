//! The service's program: where it is, and whether it can be executed.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{AccessFlags, faccessat};

use crate::error::Error;
use crate::escape::escaped;
use crate::fs::impersonate::Impersonation;
use crate::fs::source;
use crate::plan::Service;
use crate::service::environment::{Environment, environment};
use crate::service::interpreter::{Interpreter, interpreter};

/// The directories in which programs are looked for if the environment has no PATH, as Docker sets
/// it.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Explains why the kernel will not execute a program as `uid`, and what helps.
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

/// Returns the first path that `fits`, of those that the service's program may be in the order of
/// execvp(3). `fits` returns `false` for a path with nothing there, or the reason why it does not
/// fit.
///
/// # Errors
///
/// [`Error::ServiceNotExecutable`] if a path does not fit and no later one does, or
/// [`Error::ServiceNotFound`].
pub(crate) fn search(
    service: &Service,
    environment: &Environment,
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

/// Returns the paths that `program` may be, and the name of what is searched.
fn candidates(program: &OsStr, environment: &Environment) -> (Vec<PathBuf>, OsString) {
    if program.as_bytes().contains(&b'/') {
        return (vec![program.into()], OsString::from("the image"));
    }
    let path = environment
        .get(OsStr::new("PATH"))
        .cloned()
        .unwrap_or_else(|| DEFAULT_PATH.into());
    // An empty element means the working directory, which is not a place to look for a service.
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

/// Returns the program that execvp(3) would take, with this process's present rights to files.
///
/// # Errors
///
/// Those of [`search`].
pub(crate) fn find(service: &Service, environment: &Environment) -> Result<PathBuf, Error> {
    find_but(service, environment, |_| false)
}

/// As [`find`], for files of which some will be there only later: `planned` paths are taken as
/// they are.
fn find_but(
    service: &Service,
    environment: &Environment,
    planned: impl Fn(&Path) -> bool,
) -> Result<PathBuf, Error> {
    search(service, environment, |path| {
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
    })
}

fn may_execute(path: &Path) -> Result<(), Errno> {
    let checked = faccessat(AT_FDCWD, path, AccessFlags::X_OK, AtFlags::AT_EACCESS);
    // An old kernel or seccomp profile that does not know the call: the exec will report it.
    checked.or_else(|errno| {
        if matches!(errno, Errno::EPERM | Errno::ENOSYS) {
            Ok(())
        } else {
            Err(errno)
        }
    })
}

/// Explains why the kernel will not execute a file that has the permission, as far as the file
/// says. One that is unreadable says nothing.
fn missing_interpreter(path: &Path, planned: impl Fn(&Path) -> bool) -> Option<String> {
    let (program, _) = source::open(path).ok()?;
    unfit(&program, |interpreter| {
        !planned(interpreter)
            && interpreter
                .metadata()
                .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    })
}

/// Explains why the kernel will not execute `program`; `is_missing` knows which interpreters do
/// not exist.
pub(crate) fn unfit(program: &File, is_missing: impl Fn(&Path) -> bool) -> Option<String> {
    match interpreter(program) {
        Interpreter::NotExecutable => Some(why_not(Errno::ENOEXEC, 0)),
        Interpreter::Path(path) if is_missing(&path) => Some(format!(
            "its interpreter {} does not exist; install it in the image",
            escaped(&path)
        )),
        Interpreter::Path(_) | Interpreter::None => None,
    }
}

/// Returns what would keep the service from being started, as far as it shows before anything is
/// installed. `planned` paths will be there by then.
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
    // Relative to a directory that this process is not in yet.
    let relative = |path: &Path| path.is_relative() && service.working_dir.is_some();
    let found = find_but(service, &environment(service), |path| {
        planned(path) || relative(path)
    });
    errors.extend(found.err());
    errors
}
