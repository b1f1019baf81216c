//! The place of a bench, and the container-like process that it runs in.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use nix::mount::{MsFlags, mount, umount};
use nix::sched::{CloneFlags, unshare};

use crate::contender::SEALINIT;

/// The variable that names the place to a bench that runs as in a container.
pub(crate) const PLACE: &str = "BENCH_PLACE";

/// The capabilities that Docker leaves to root in a container.
const DOCKER: &str = "--bounding-set=-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,\
    +net_bind_service,+net_raw,+sys_chroot,+mknod,+audit_write,+setfcap";

/// Runs this bench once more as in a container: with its capabilities, a tmpfs, and a [`Place`].
/// Measurements that need root outside of a container follow.
pub(crate) fn in_a_container(afterwards: impl Fn(&Place)) -> ExitCode {
    let place = Place(format!("/var/lib/sealinit-bench-{}", std::process::id()).into());
    let memory = place.path("memory");
    fs::create_dir_all(&memory).expect("a directory in /var/lib");
    fs::set_permissions(&place.0, Permissions::from_mode(0o755)).expect("an own directory");
    // The mount goes with this process.
    unshare(CloneFlags::CLONE_NEWNS).expect("root may");
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("root may");
    mount(
        Some("tmpfs"),
        memory.as_str(),
        Some("tmpfs"),
        MsFlags::empty(),
        Some("mode=755"),
    )
    .expect("root may");
    let status = Command::new("setpriv")
        .args(["--inh-caps=-all", DOCKER])
        .arg(std::env::current_exe().expect("a bench that runs"))
        .args(std::env::args_os().skip(1))
        .env(PLACE, &place.0)
        .status();
    afterwards(&place);
    umount(memory.as_str()).expect("no process uses it");
    let _ = fs::remove_dir_all(&place.0);
    let ended = status.expect("setpriv, of util-linux").success();
    if ended {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// A directory that belongs to root, as do all above it.
pub(crate) struct Place(pub(crate) PathBuf);

impl Place {
    pub(crate) fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.0.display())
    }

    /// A manifest with `count` files of `bytes` each, installed below `dest`.
    pub(crate) fn manifest(&self, name: &str, count: usize, bytes: usize, command: &str) {
        let sources = self.0.join(name);
        fs::create_dir_all(&sources).expect("a directory of ours");
        let mut files = String::new();
        for index in 0..count {
            let separator = if index == 0 { "" } else { "," };
            let content: Vec<u8> = (0..bytes)
                .map(|byte| ((byte * 31 + index) % 251).to_le_bytes()[0])
                .collect();
            fs::write(sources.join(format!("f{index}")), content).expect("a file of ours");
            let dest = self.path(&format!("{name}-etc/f{index}"));
            write!(
                files,
                r#"{separator}{{"source": "f{index}", "dest": "{dest}"}}"#
            )
            .expect("a string");
        }
        let manifest = format!(
            r#"{{"version": 1, "service": {{"command": ["{command}"], "user": 65534, "group": 65534}}, "files": [{files}]}}"#
        );
        fs::write(sources.join("manifest.json"), manifest).expect("a file of ours");
    }

    pub(crate) fn run(&self, name: &str) -> Vec<String> {
        let manifest = self.path(&format!("{name}/manifest.json"));
        let state = self.path(&format!("{name}-state"));
        let words = [
            SEALINIT,
            "run",
            "--log-level",
            "error",
            "--manifest",
            &manifest,
            "--state-dir",
            &state,
        ];
        words.map(str::to_owned).to_vec()
    }

    pub(crate) fn forget(&self, name: &str) {
        let _ = fs::remove_dir_all(self.0.join(format!("{name}-etc")));
        let _ = fs::remove_dir_all(self.0.join(format!("{name}-state")));
    }
}

/// Compiles a static program of one line of C, whose own start is short.
pub(crate) fn make(place: &Place, name: &str, body: &str) -> String {
    let (source, program) = (place.path(&format!("{name}.c")), place.path(name));
    fs::write(
        &source,
        format!("#include <unistd.h>\n#include <sys/wait.h>\nint main(void) {{ {body} }}\n"),
    )
    .expect("a file of ours");
    let compiled = ["musl-gcc", "cc"].into_iter().any(|compiler| {
        Command::new(compiler)
            .args(["-static", "-O2", "-o", &program, &source])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    });
    assert!(compiled, "no C compiler: install gcc or musl-tools");
    program
}
