//! User namespaces of a start, and the namespaces that the tests themselves need.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::{env, fs, thread};

use super::launch::PATIENCE;

/// A user namespace, by the lines of its maps.
#[derive(Clone, Debug)]
pub(crate) struct UserNamespace {
    /// For `uid_map` and `gid_map`: first id inside, first id outside, count.
    pub(crate) map: &'static str,
    /// Writes `deny` to `setgroups`, as an unprivileged creator must before it writes `gid_map`.
    pub(crate) deny_setgroups: bool,
}

impl UserNamespace {
    /// Every id is itself, as in an engine's user namespace seen from the inside. Two lines,
    /// because an unprivileged creator of the namespace above has mapped root apart.
    pub(crate) const WHOLE: Self = Self {
        map: "0 0 1\n1 1 65535\n",
        deny_setgroups: false,
    };

    pub(super) fn output(&self, argv: &[OsString]) -> Output {
        // The shell waits for its maps; the command that it then execs as uid 0 has every
        // capability in the namespace.
        let script = "echo && read -r _ && exec \"$@\"";
        let mut child = Command::new("unshare")
            .args(["--user", "--", "sh", "-c", script, "sh"])
            .args(argv)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut String::new()).unwrap();
        let process = PathBuf::from(format!("/proc/{}", child.id()));
        if self.deny_setgroups {
            fs::write(process.join("setgroups"), "deny").unwrap();
        }
        fs::write(process.join("gid_map"), self.map).unwrap();
        fs::write(process.join("uid_map"), self.map).unwrap();
        child.stdin.take().unwrap().write_all(b"\n").unwrap();
        let reader = thread::spawn(move || {
            let mut bytes = Vec::new();
            stdout.read_to_end(&mut bytes).unwrap();
            bytes
        });
        let mut output = child.wait_with_output().unwrap();
        output.stdout = reader.join().unwrap();
        output
    }
}

/// The places in which a sandbox can run.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// In this process's own namespaces.
    Here,
    /// After entering a user namespace.
    UserNamespace,
    Nowhere(&'static str),
}

/// Set in the environment of a test that runs inside a user namespace.
const INSIDE: &str = "SEALINIT_TEST_INSIDE";

pub(super) fn place() -> Place {
    static PLACE: OnceLock<Place> = OnceLock::new();
    *PLACE.get_or_init(|| {
        let chosen = env::var_os("SANDBOX").is_some_and(|choice| choice == "user-namespace");
        let inside = env::var_os(INSIDE).is_some();
        if (inside || !chosen) && can_make_namespaces(&["timeout", "--signal=KILL", PATIENCE]) {
            Place::Here
        } else if inside {
            Place::Nowhere("no mount and PID namespaces inside the user namespace")
        } else if can_make_namespaces(&into_user_namespace()) || is_root() && chosen {
            Place::UserNamespace
        } else {
            Place::Nowhere(
                "needs root, or user namespaces with subordinate ids (newuidmap, /etc/subuid)",
            )
        }
    })
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// Puts a command of an ordinary user into a user namespace in which more than one id exists.
fn into_user_namespace() -> [&'static str; 5] {
    ["unshare", "--user", "--map-root-user", "--map-auto", "--"]
}

fn can_make_namespaces(prefix: &[&str]) -> bool {
    // A service needs more than one id: the chown is what a single-id map fails.
    let script =
        "mount -t proc proc /proc && exec setpriv --reuid=1000 --regid=1000 --clear-groups true";
    Command::new(prefix[0])
        .args(&prefix[1..])
        .args([
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--",
            "sh",
            "-c",
            script,
        ])
        .stdin(Stdio::null())
        .output()
        .is_ok_and(|output| output.status.success())
}

/// Runs one test again, as root of a user namespace.
pub(super) fn rerun_in_user_namespace(test: &str) {
    let this = env::current_exe().unwrap();
    let mut argv: Vec<OsString> = vec![
        "env".into(),
        format!("{INSIDE}=1").into(),
        this.into(),
        "--exact".into(),
        test.into(),
    ];
    let output = if is_root() {
        UserNamespace::WHOLE.output(&argv)
    } else {
        argv.splice(0..0, into_user_namespace().map(OsString::from));
        Command::new(&argv[0])
            .args(&argv[1..])
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };
    let stdout = String::from_utf8_lossy(&output.stdout);
    // A name that fits no test would pass, too.
    assert!(
        output.status.success() && stdout.contains("running 1 test"),
        "in a user namespace:\n{stdout}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // Its SKIP lines are this run's.
    let _ = std::io::stderr().write_all(&output.stderr);
}
