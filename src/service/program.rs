//! Finds the service's program, and checks that it can be executed.

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

/// The PATH that Docker sets, for an environment without one.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Describes why the kernel does not execute a program as `uid`, with the remedy.
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
            "; raise the limit of processes of uid {uid} (RLIMIT_NPROC, which counts those of other containers too) or of the container (--pids-limit)"
        ),
        Errno::E2BIG => "; shorten arguments and environment".into(),
        _ => String::new(),
    };
    format!("{}{remedy}", errno.desc())
}

/// Returns the first candidate path of the service's program that `fits`, in the order of
/// execvp(3). `fits` returns `false` if nothing is there, or the reason why the file does not fit.
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
            // A later directory may have a program that fits.
            Err(why) => unfit = unfit.or(Some(Error::ServiceNotExecutable { path, why })),
        }
    }
    Err(unfit.unwrap_or_else(|| Error::ServiceNotFound {
        program: service.command[0].clone(),
        searched,
    }))
}

/// Returns the candidate paths of `program`, and the search path for messages.
fn candidates(program: &OsStr, environment: &Environment) -> (Vec<PathBuf>, OsString) {
    if program.as_bytes().contains(&b'/') {
        return (vec![program.into()], OsString::from("the image"));
    }
    let path = environment
        .get(OsStr::new("PATH"))
        .cloned()
        .unwrap_or_else(|| DEFAULT_PATH.into());
    // An empty element means the working directory, in which no service is searched for.
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

/// Returns the program that execvp(3) would execute with this process's present credentials.
///
/// # Errors
///
/// Those of [`search`].
pub(crate) fn find(service: &Service, environment: &Environment) -> Result<PathBuf, Error> {
    find_or_planned(service, environment, |_| false)
}

/// As [`find`], but accepts every path that is `planned`, which will be installed later.
fn find_or_planned(
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
    // The kernel or seccomp profile does not know the call: the exec reports the error.
    checked.or_else(|errno| {
        if matches!(errno, Errno::EPERM | Errno::ENOSYS) {
            Ok(())
        } else {
            Err(errno)
        }
    })
}

/// Describes why the kernel does not execute a file with execute permission, if the file is
/// readable.
fn missing_interpreter(path: &Path, planned: impl Fn(&Path) -> bool) -> Option<String> {
    let (program, _) = source::open(path).ok()?;
    unfit(&program, |interpreter| {
        !planned(interpreter)
            && interpreter
                .metadata()
                .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    })
}

/// Describes why the kernel does not execute `program`. `is_missing` returns true for an
/// interpreter that does not exist.
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

/// Returns the problems that would keep the service from starting, before anything is installed.
/// `planned` paths will exist by then.
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
    // This process is not in the directory yet that the path is relative to.
    let relative = |path: &Path| path.is_relative() && service.working_dir.is_some();
    let found = find_or_planned(service, &environment(service), |path| {
        planned(path) || relative(path)
    });
    errors.extend(found.err());
    errors
}
