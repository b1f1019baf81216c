//! Runs a container in a temporary root directory: first start, second start, a change by hand,
//! refusal.
//!
//! ```text
//! cargo run --example quickstart
//! ```
//!
//! No container engine is needed. As root, the example creates PID and mount namespaces; without
//! root, it also creates a user namespace, if the kernel allows it. This one static program has
//! three roles: the operator, and as copies in the temporary root directory sealinit and the
//! service.
#![allow(clippy::print_stdout, clippy::print_stderr)] // the output is the purpose of the example

use std::error::Error;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, process};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{chroot, getgid, getuid};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The manifest, which an operator would mount at `/etc/sealinit`.
const MANIFEST: &str = r#"{
  "version": 1,
  "service": {SERVICE, "umask": "0027"},
  "files": [
    {"source": "app.conf", "dest": "/etc/app/app.conf"},
    {"content": "hunter2\n", "dest": "/etc/app/password", "secret": true}
  ],
  "directories": [{"path": "/var/lib/app"}]
}
"#;

/// The isolation that this machine allows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Isolation {
    /// PID and mount namespaces, created by root.
    Namespaces,
    /// A chroot, for root in a container that cannot create namespaces: sealinit is not PID 1.
    Chroot,
    /// A user namespace with a single uid: files are verified, but cannot be locked.
    SingleUser,
}

fn main() -> ExitCode {
    let mut arguments = env::args();
    let name = arguments.next().unwrap_or_default();
    match (
        Path::new(&name).file_name().and_then(|name| name.to_str()),
        arguments.next().as_deref(),
    ) {
        (Some("sealinit"), _) => sealinit::main(),
        (Some("service"), attack) => service(attack.is_some()),
        (_, Some("start")) => outcome(start(arguments.next(), arguments.next())),
        _ => outcome(operate()),
    }
}

fn outcome(result: Outcome<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        eprintln!("quickstart: {error}");
        ExitCode::FAILURE
    })
}

/// The service: prints its credentials and configuration. With `attack` it also tries what a
/// compromised service would try.
fn service(attack: bool) -> ExitCode {
    println!(
        "service: pid {}, uid {}, gid {}",
        process::id(),
        getuid(),
        getgid()
    );
    match fs::read_to_string("/etc/app/app.conf") {
        Ok(text) => println!("service: /etc/app/app.conf: {:?}", text.trim_end()),
        Err(error) => println!("service: cannot read /etc/app/app.conf: {error}"),
    }
    if !attack {
        return ExitCode::SUCCESS;
    }
    for (action, result) in [
        (
            "write to /etc/app/app.conf",
            fs::OpenOptions::new()
                .append(true)
                .open("/etc/app/app.conf")
                .map(drop),
        ),
        (
            "remove /etc/app/app.conf",
            fs::remove_file("/etc/app/app.conf"),
        ),
        ("remove the seal", fs::remove_file("/var/lib/sealinit/seal")),
        (
            "create /var/lib/app/data",
            fs::write("/var/lib/app/data", "data\n"),
        ),
    ] {
        match result {
            Ok(()) => println!("service: {action}: allowed"),
            Err(error) => println!("service: {action}: {error}"),
        }
    }
    ExitCode::SUCCESS
}

/// The operator: starts the container three times.
fn operate() -> Outcome<ExitCode> {
    let isolation = choose_isolation()?;
    let root = TemporaryRoot::new(isolation)?;
    println!("The root directory of the container: {}", root.0.display());
    match isolation {
        Isolation::Namespaces => {}
        Isolation::Chroot => println!(
            "(Namespaces cannot be created here: this is a chroot, and sealinit is not PID 1.)"
        ),
        Isolation::SingleUser => println!(
            "(Without root and subordinate ids there is one uid: files are verified, but not locked (lock=none).)"
        ),
    }

    println!(
        "\n1. First start: the manifest is read, files are installed and locked, and the seal is written."
    );
    root.start(isolation, 0)?;

    println!("\n2. Second start: the seal is verified. The manifest is not needed any more.");
    fs::remove_dir_all(root.0.join("etc/sealinit"))?;
    root.start(isolation, 0)?;

    println!("\n3. A change by hand: echo 'greeting = goodbye' >> /etc/app/app.conf");
    let config = root.0.join("etc/app/app.conf");
    fs::set_permissions(&config, Permissions::from_mode(0o640))?;
    fs::write(
        &config,
        fs::read_to_string(&config)? + "greeting = goodbye\n",
    )?;
    fs::set_permissions(&config, Permissions::from_mode(0o440))?;

    println!(
        "\n4. Third start: the disk differs from the seal, and the service is not started (80)."
    );
    root.start(isolation, 80)?;

    println!("\nA new container of the same image would be a first start again.");
    Ok(ExitCode::SUCCESS)
}

/// Returns the isolation that this machine allows. Without root, this program is executed again with
/// subordinate ids, if there are any.
fn choose_isolation() -> Outcome<Isolation> {
    const MAPPED: &str = "SEALINIT_QUICKSTART_MAPPED";
    if getuid().is_root() {
        let allowed = Command::new(env::current_exe()?)
            .args(["start", "probe"])
            .status()?
            .success();
        return Ok(if allowed {
            Isolation::Namespaces
        } else {
            Isolation::Chroot
        });
    }
    let mapped = ["--user", "--map-root-user", "--map-auto", "--"];
    let probe = Command::new("unshare").args(mapped).arg("true").output();
    if env::var_os(MAPPED).is_none() && probe.is_ok_and(|probe| probe.status.success()) {
        let status = Command::new("unshare")
            .args(mapped)
            .arg(env::current_exe()?)
            .env(MAPPED, "1")
            .status()?;
        process::exit(status.code().unwrap_or(1));
    }
    Ok(Isolation::SingleUser)
}

/// The root directory of a container, removed on drop.
struct TemporaryRoot(PathBuf);

impl TemporaryRoot {
    fn new(isolation: Isolation) -> Outcome<Self> {
        let root = Self(env::temp_dir().join(format!("sealinit-quickstart-{}", process::id())));
        let service = match isolation {
            Isolation::SingleUser => r#""command": ["/usr/bin/service"]"#,
            _ => r#""command": ["/usr/bin/service", "attack"], "user": "app""#,
        };
        for directory in ["etc/sealinit", "sbin", "usr/bin", "var/lib"] {
            fs::create_dir_all(root.0.join(directory))?;
        }
        // The modes that mkdir(2) sets depend on the umask.
        for directory in [
            "",
            "etc",
            "etc/sealinit",
            "sbin",
            "usr",
            "usr/bin",
            "var",
            "var/lib",
        ] {
            fs::set_permissions(root.0.join(directory), Permissions::from_mode(0o755))?;
        }
        for program in ["sbin/sealinit", "usr/bin/service"] {
            fs::copy(env::current_exe()?, root.0.join(program))?;
            fs::set_permissions(root.0.join(program), Permissions::from_mode(0o755))?;
        }
        fs::write(
            root.0.join("etc/passwd"),
            "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/var/lib/app:/bin/sh\n",
        )?;
        fs::write(root.0.join("etc/group"), "root:x:0:\napp:x:1000:\n")?;
        fs::write(
            root.0.join("etc/sealinit/manifest.json"),
            MANIFEST.replace("SERVICE", service),
        )?;
        fs::write(root.0.join("etc/sealinit/app.conf"), "greeting = hello\n")?;
        Ok(root)
    }

    /// Starts the container, and checks its exit code.
    fn start(&self, isolation: Isolation, expected: i32) -> Outcome<()> {
        let how = match isolation {
            Isolation::Namespaces => "namespaces",
            Isolation::Chroot => "chroot",
            Isolation::SingleUser => "user",
        };
        let status = Command::new(env::current_exe()?)
            .arg("start")
            .arg(how)
            .arg(&self.0)
            .status()?;
        println!("   exit code {}", status.code().unwrap_or(-1));
        if status.code() == Some(expected) {
            Ok(())
        } else {
            Err(format!("expected exit code {expected}").into())
        }
    }
}

impl Drop for TemporaryRoot {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The container engine: enters the root directory and runs sealinit, as PID 1 where possible.
fn start(how: Option<String>, root: Option<String>) -> Outcome<ExitCode> {
    let namespaces = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID;
    let how = how.unwrap_or_default();
    let (uid, gid) = (getuid(), getgid());
    match how.as_str() {
        "probe" => {
            return Ok(if unshare(namespaces).is_ok() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        }
        "namespaces" => {
            unshare(namespaces)?;
            mount(
                None::<&str>,
                "/",
                None::<&str>,
                MsFlags::MS_REC | MsFlags::MS_PRIVATE,
                None::<&str>,
            )?;
        }
        "user" => {
            unshare(namespaces | CloneFlags::CLONE_NEWUSER)
                .map_err(|error| format!("cannot create a user namespace without root: {error}"))?;
            fs::write("/proc/self/setgroups", "deny")?;
            fs::write("/proc/self/uid_map", format!("1000 {uid} 1"))?;
            fs::write("/proc/self/gid_map", format!("1000 {gid} 1"))?;
        }
        _ => {}
    }
    chroot(Path::new(&root.unwrap_or_default()))?;
    env::set_current_dir("/")?;
    let mut sealinit = Command::new("/sbin/sealinit");
    sealinit.arg("run").env_clear();
    let status = sealinit.status()?;
    Ok(ExitCode::from(
        u8::try_from(status.code().unwrap_or(1)).unwrap_or(1),
    ))
}
