//! Plays the life of a container in a throw-away root directory: first start, second start, tampering, refusal.
//!
//! ```text
//! cargo run --example quickstart
//! ```
//!
//! Needs no container engine and nothing installed. As root it makes namespaces of its own; without root it makes a user
//! namespace where the kernel allows that. This one static program plays all the parts: the operator (below), sealinit and the
//! service (as which it is installed in the throw-away root).
#![allow(clippy::print_stdout, clippy::print_stderr)] // an example is there to be watched

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

/// The manifest, as an operator would bind-mount it at /etc/sealinit.
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

/// How this machine lets us play.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Root, in namespaces of its own: the whole story.
    Root,
    /// Root in a container that may not make namespaces: a chroot, and sealinit is not PID 1.
    Chroot,
    /// A user namespace with one uid: nothing can be locked, only verified.
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
        (Some("service"), tries) => service(tries.is_some()),
        (_, Some("start")) => outcome(start(arguments.next(), arguments.next())),
        _ => outcome(play()),
    }
}

fn outcome(result: Outcome<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        eprintln!("quickstart: {error}");
        ExitCode::FAILURE
    })
}

/// The service: shows what it was given, and tries what a breached service would try.
fn service(tries: bool) -> ExitCode {
    println!(
        "service: I am pid {}, uid {}, gid {}",
        process::id(),
        getuid(),
        getgid()
    );
    match fs::read_to_string("/etc/app/app.conf") {
        Ok(text) => println!("service: my configuration says {:?}", text.trim_end()),
        Err(error) => println!("service: I cannot read my configuration: {error}"),
    }
    if !tries {
        return ExitCode::SUCCESS;
    }
    for (what, tried) in [
        (
            "write to my configuration",
            fs::OpenOptions::new()
                .append(true)
                .open("/etc/app/app.conf")
                .map(drop),
        ),
        ("replace it", fs::remove_file("/etc/app/app.conf")),
        ("forge the seal", fs::remove_file("/var/lib/sealinit/seal")),
        (
            "keep data in /var/lib/app",
            fs::write("/var/lib/app/data", "mine"),
        ),
    ] {
        match tried {
            Ok(()) => println!("service: may I {what}? yes"),
            Err(error) => println!("service: may I {what}? no: {error}"),
        }
    }
    ExitCode::SUCCESS
}

/// The operator's part.
fn play() -> Outcome<ExitCode> {
    let stage = choose_stage()?;
    let root = ThrowAway::new(stage)?;
    println!("A throw-away container root: {}", root.0.display());
    match stage {
        Stage::Root => {}
        Stage::Chroot => println!(
            "(No namespaces can be made here; so it is a chroot, and sealinit is not PID 1.)"
        ),
        Stage::SingleUser => println!(
            "(No root and no subordinate ids here: one uid plays everybody, so files are verified but not locked: lock=none.)"
        ),
    }

    println!(
        "\n1. First start. The manifest is read, files are installed and locked, the seal is written last."
    );
    root.start(stage, 0)?;

    println!("\n2. Second start. The seal is verified; the manifest is not needed any more.");
    fs::remove_dir_all(root.0.join("etc/sealinit"))?;
    root.start(stage, 0)?;

    println!(
        "\n3. Somebody changes a running deployment by hand: echo 'greeting = goodbye' >> /etc/app/app.conf"
    );
    let config = root.0.join("etc/app/app.conf");
    fs::set_permissions(&config, Permissions::from_mode(0o640))?;
    fs::write(
        &config,
        fs::read_to_string(&config)? + "greeting = goodbye\n",
    )?;
    fs::set_permissions(&config, Permissions::from_mode(0o440))?;

    println!(
        "\n4. Third start. The disk differs from the seal, so the service does not run. That is exit code 80."
    );
    root.start(stage, 80)?;

    println!(
        "\nA new container, made from the same image and the new configuration, would be a first start again."
    );
    Ok(ExitCode::SUCCESS)
}

/// Finds out what this machine allows; re-executes itself with subordinate ids where there are some.
fn choose_stage() -> Outcome<Stage> {
    const MAPPED: &str = "SEALINIT_QUICKSTART_MAPPED";
    if getuid().is_root() {
        let allowed = Command::new(env::current_exe()?)
            .args(["start", "probe"])
            .status()?
            .success();
        return Ok(if allowed { Stage::Root } else { Stage::Chroot });
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
    Ok(Stage::SingleUser)
}

/// The root of a container that is removed when it is no longer needed.
struct ThrowAway(PathBuf);

impl ThrowAway {
    fn new(stage: Stage) -> Outcome<Self> {
        let root = Self(env::temp_dir().join(format!("sealinit-quickstart-{}", process::id())));
        let service = match stage {
            Stage::SingleUser => r#""command": ["/usr/bin/service"]"#,
            _ => r#""command": ["/usr/bin/service", "and try to change things"], "user": "app""#,
        };
        for directory in ["etc/sealinit", "sbin", "usr/bin", "var/lib"] {
            fs::create_dir_all(root.0.join(directory))?;
        }
        // What mkdir made depends on the umask; in an image these are root's and open to be entered.
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

    /// Starts the container and checks how it ended.
    fn start(&self, stage: Stage, expected: i32) -> Outcome<()> {
        let how = match stage {
            Stage::Root => "namespaces",
            Stage::Chroot => "chroot",
            Stage::SingleUser => "user",
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

impl Drop for ThrowAway {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The container engine's part: enters the root and runs sealinit there, as PID 1 where possible.
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
            unshare(namespaces | CloneFlags::CLONE_NEWUSER).map_err(|error| {
                format!(
                    "this needs root, or a kernel that allows user namespaces to everybody: {error}"
                )
            })?;
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
