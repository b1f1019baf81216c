//! The disk of one container: a private root directory that the tests fill.
//!
//! A [`Sandbox`] is a temporary directory with the host's `/usr` bound over it, accounts of its own
//! and whatever a test puts there. `KEEP=1` keeps the directories.

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::{self as unix_fs, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::namespaces::{Place, place, rerun_in_user_namespace};
use super::needs::{note, skip, test_name};

/// The service's uid and gid in every sandbox, user and group `app`.
pub(crate) const APP: u32 = 1000;
/// A uid and gid that is neither root nor the service, user and group `other`.
pub(crate) const OTHER: u32 = 1001;
/// The gid of group `certs`, of which `app` is a member.
pub(crate) const CERTS: u32 = 2000;

pub(crate) const MANIFEST: &str = "/etc/sealinit/manifest.json";
pub(crate) const SEAL: &str = "/var/lib/sealinit/seal";
pub(crate) const JOURNAL: &str = "/var/lib/sealinit/journal";

const PASSWD: &str = "\
root:x:0:0:root:/root:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
app:x:1000:1000:Application:/home/app:/bin/sh
other:x:1001:1001::/home/other:/bin/sh
";

const GROUP: &str = "\
root:x:0:
nogroup:x:65534:
app:x:1000:
other:x:1001:
certs:x:2000:app
";

/// The destination of [`one_file`]'s only file, and the content of its source.
pub(crate) const CONF: &str = "/etc/app/app.conf";
pub(crate) const CONTENT: &str = "debug = false\n";

/// A manifest with one sealed file, for tests that are about something else.
/// [`Sandbox::one_file`] writes it together with its source.
pub(crate) fn one_file(command: &[&str]) -> Value {
    json!({
        "version": 1,
        "service": {"user": "app", "command": command},
        "files": [{"source": "app.conf", "dest": CONF}],
    })
}

/// The content of the secret of [`every_kind`].
pub(crate) const KEY: &str = "the key\n";

/// A manifest with a sealed entry of every kind, whose service prints `ran`.
/// [`Sandbox::every_kind`] writes it together with its sources.
pub(crate) fn every_kind() -> Value {
    json!({
        "version": 1,
        "service": {"user": "app", "command": ["echo", "ran"]},
        "files": [
            {"source": "app.conf", "dest": CONF},
            {"source": "key.pem", "dest": "/etc/app/key.pem", "secret": true, "mode": "0400"},
            {"source": "optional.conf", "dest": "/etc/app/optional.conf", "optional": true},
        ],
        "directories": [
            {"path": "/etc/app/tree", "source": "tree", "exact": true},
            {"path": "/srv/data"},
        ],
        "absent": ["/etc/app/default.conf"],
    })
}

static COUNTER: AtomicUsize = AtomicUsize::new(0);

/// The disk of one container.
#[derive(Debug)]
pub(crate) struct Sandbox {
    pub(super) directory: PathBuf,
}

impl Sandbox {
    /// A fresh image, or `None` if this machine cannot run one or the test has just been run in a
    /// user namespace. Either way the calling test has nothing left to do.
    pub(crate) fn new() -> Option<Self> {
        match place() {
            Place::Here => Some(Self::create(&env::temp_dir())),
            Place::UserNamespace => {
                rerun_in_user_namespace(&test_name());
                None
            }
            Place::Nowhere(reason) => {
                skip(reason);
                None
            }
        }
    }

    /// Another fresh image beside this one.
    pub(crate) fn another(&self) -> Self {
        Self::create(self.directory.parent().unwrap())
    }

    fn create(parent: &Path) -> Self {
        let directory = parent.join(format!(
            "sealinit-it-{}-{}",
            process::id(),
            COUNTER.fetch_add(1, Ordering::Relaxed)
        ));
        let sandbox = Self { directory };
        let root = sandbox.root();
        fs::create_dir_all(&root).unwrap();
        // The service must be able to enter its own root, whatever umask the tests run with.
        set_mode(&root, 0o755);
        for (directory, mode) in [
            ("/dev", 0o755),
            ("/etc", 0o755),
            ("/home", 0o755),
            ("/home/app", 0o750),
            ("/proc", 0o555),
            ("/root", 0o700),
            ("/run", 0o755),
            ("/sbin", 0o755),
            ("/tmp", 0o1777),
            ("/trace", 0o755),
            ("/usr", 0o755),
            ("/var", 0o755),
            ("/var/lib", 0o755),
        ] {
            sandbox.directory(directory, mode);
        }
        for name in ["bin", "lib", "lib64"] {
            match fs::read_link(Path::new("/").join(name)) {
                Ok(target) => unix_fs::symlink(target, root.join(name)).unwrap(),
                Err(_) if Path::new("/").join(name).is_dir() => {
                    fs::create_dir(root.join(name)).unwrap();
                }
                Err(_) => {}
            }
        }
        // Mount points for the binary, the null device and /usr.
        sandbox
            .file("/sbin/sealinit", "")
            .mode("/sbin/sealinit", 0o755);
        sandbox.file("/dev/null", "");
        sandbox
            .file("/etc/passwd", PASSWD)
            .file("/etc/group", GROUP);
        sandbox.owner("/home/app", APP, APP);
        sandbox.directory("/etc/sealinit", 0o755);
        sandbox
    }

    pub(super) fn root(&self) -> PathBuf {
        self.directory.join("root")
    }

    /// The host's path of a path of the sandbox. Panics on a symlink on the way: an absolute one
    /// would leave the sandbox.
    pub(crate) fn path(&self, inside: impl AsRef<Path>) -> PathBuf {
        let inside = inside.as_ref();
        let relative = inside
            .strip_prefix("/")
            .expect("a path in the sandbox is absolute");
        let mut path = self.root();
        let mut components = relative.components().peekable();
        while let Some(component) = components.next() {
            path.push(component);
            let last = components.peek().is_none();
            assert!(
                last || !path.is_symlink(),
                "{} is a symlink, which the harness must not follow",
                path.display()
            );
        }
        path
    }

    /// The path for writing: its last component must not be a symlink either.
    pub(super) fn path_to_write(&self, inside: impl AsRef<Path>) -> PathBuf {
        let path = self.path(inside);
        assert!(
            !path.is_symlink(),
            "{} is a symlink, which the harness must not follow",
            path.display()
        );
        path
    }

    /// Writes the manifest.
    pub(crate) fn manifest(&self, manifest: &Value) -> &Self {
        self.file(MANIFEST, serde_json::to_string_pretty(manifest).unwrap())
    }

    /// The manifest [`one_file`] with its source.
    pub(crate) fn one_file(&self, command: &[&str]) -> &Self {
        self.manifest(&one_file(command))
            .source("app.conf", CONTENT)
    }

    /// A manifest made from [`every_kind`], with the sources of that.
    pub(crate) fn every_kind(&self, manifest: &Value) -> &Self {
        self.manifest(manifest)
            .source("app.conf", CONTENT)
            .source("key.pem", KEY)
            .source("tree/a", "a\n")
    }

    /// Writes a file beside the manifest.
    pub(crate) fn source(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
        self.file(Path::new("/etc/sealinit").join(name), content)
    }

    /// Writes a file, root's and 0644, and makes the directories above it. An existing file keeps
    /// its owner and mode.
    pub(crate) fn file(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> &Self {
        let path = path.as_ref();
        if let Some(parent) = path.parent()
            && !self.path(parent).exists()
        {
            self.directory(parent, 0o755);
        }
        let host = self.path_to_write(path);
        let new = !host.exists();
        fs::write(&host, content).unwrap();
        if new {
            set_mode(&host, 0o644);
        }
        self
    }

    /// Makes a directory, root's, and those above it.
    pub(crate) fn directory(&self, path: impl AsRef<Path>, mode: u32) -> &Self {
        let path = path.as_ref();
        let host = self.path_to_write(path);
        if let Some(parent) = path.parent()
            && !self.path(parent).exists()
        {
            self.directory(parent, 0o755);
        }
        fs::create_dir(&host).unwrap();
        set_mode(&host, mode);
        self
    }

    /// Makes a symlink.
    pub(crate) fn symlink(&self, path: impl AsRef<Path>, target: &str) -> &Self {
        unix_fs::symlink(target, self.path(path)).unwrap();
        self
    }

    /// Makes a hard link.
    pub(crate) fn hard_link(&self, path: &str, existing: &str) -> &Self {
        fs::hard_link(self.path(existing), self.path(path)).unwrap();
        self
    }

    /// Makes a named pipe.
    pub(crate) fn fifo(&self, path: &str) -> &Self {
        let made = Command::new("mkfifo")
            .arg("-m")
            .arg("0644")
            .arg(self.path(path))
            .status();
        assert!(made.unwrap().success());
        self
    }

    /// Changes the mode of a file or directory.
    pub(crate) fn mode(&self, path: impl AsRef<Path>, mode: u32) -> &Self {
        set_mode(&self.path_to_write(path), mode);
        self
    }

    /// Changes the owner and group of an object, of a symlink itself too.
    pub(crate) fn owner(&self, path: impl AsRef<Path>, uid: u32, gid: u32) -> &Self {
        let path = self.path(path);
        unix_fs::lchown(&path, Some(uid), Some(gid)).unwrap();
        self
    }

    /// Removes a file, or a directory with everything in it.
    pub(crate) fn remove(&self, path: impl AsRef<Path>) -> &Self {
        let path = self.path(path);
        if path.symlink_metadata().unwrap().is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else {
            fs::remove_file(path).unwrap();
        }
        self
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if env::var_os("KEEP").is_some_and(|keep| !keep.is_empty()) {
            note(&format!(
                "KEEP {}: {}",
                test_name(),
                self.directory.display()
            ));
        } else {
            // Another failure on the way out of a failed test would hide the first.
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}
