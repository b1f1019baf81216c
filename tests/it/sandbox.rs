//! A private root in which the real binary is PID 1, as in a container.
//!
//! [`Sandbox`] is the disk: a temporary directory with the host's `/usr` bound over it, accounts of its own and whatever a test
//! puts there. [`Launch`] is one start of `sealinit` in fresh mount and PID namespaces. [`Start`] is what came of it and
//! [`Outcome`] is that, once a test has said what it expected.
//!
//! Needs real root, or a user namespace with subordinate ids, in which the test then runs again. Where there is neither, the
//! test says `SKIP` and passes, except under `REQUIRE_SANDBOX=1` or `CI`. `SANDBOX=user-namespace` chooses the namespace even for
//! root. `KEEP=1` keeps the directories.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt::{self, Debug, Display, Write as _};
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{self as unix_fs, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, process, thread};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The service's uid and gid in every sandbox, user and group `app`.
pub(crate) const APP: u32 = 1000;
/// A uid and gid that is neither root nor the service, user and group `other`.
pub(crate) const OTHER: u32 = 1001;
/// The gid of group `certs`, of which `app` is a member.
pub(crate) const CERTS: u32 = 2000;

/// The capability sets in `/proc/PID/status`.
pub(crate) const CAPABILITY_SETS: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];

/// A set of capabilities or signals there that has none.
pub(crate) const EMPTY_SET: &str = "0000000000000000";

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

/// The one file of [`one_file`], and what its source holds.
pub(crate) const CONF: &str = "/etc/app/app.conf";
pub(crate) const CONTENT: &str = "debug = false\n";

/// A manifest with one sealed file, for tests that are about something else. Its source is [`Sandbox::one_file`]'s.
pub(crate) fn one_file(command: &[&str]) -> Value {
    json!({
        "version": 1,
        "service": {"user": "app", "command": command},
        "files": [{"source": "app.conf", "dest": CONF}],
    })
}

/// Long enough for a loaded machine, short enough that a start which hangs is seen as one.
const PATIENCE: &str = "60";

/// Names in the root that are the harness's and not the image's.
const SCAFFOLD: [&str; 4] = ["dev", "proc", "trace", "usr"];

static COUNTER: AtomicUsize = AtomicUsize::new(0);

/// The disk of one container.
#[derive(Debug)]
pub(crate) struct Sandbox {
    directory: PathBuf,
}

impl Sandbox {
    /// A fresh image; nothing where this machine cannot run one, or where the test has just been run in a user namespace.
    /// Either way the calling test has nothing left to do.
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
        // The service must be able to enter its own root, whatever the umask of whoever runs the tests.
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
        // What the binary, the null device and /usr are bound on.
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

    fn root(&self) -> PathBuf {
        self.directory.join("root")
    }

    /// The host's path of a path of the sandbox. Refuses to pass a symlink: an absolute one would leave the sandbox.
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

    /// The path for writing: not through a symlink at its end either.
    fn path_to_write(&self, inside: impl AsRef<Path>) -> PathBuf {
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

    /// Writes a file beside the manifest.
    pub(crate) fn source(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
        self.file(Path::new("/etc/sealinit").join(name), content)
    }

    /// Writes a file, root's and 0644, and the directories above it. A file that is there keeps its owner and mode.
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

    /// Changes the owner and group of anything, of a symlink itself too. Keeps the mode.
    pub(crate) fn owner(&self, path: impl AsRef<Path>, uid: u32, gid: u32) -> &Self {
        let path = self.path(path);
        unix_fs::lchown(&path, Some(uid), Some(gid)).unwrap();
        self
    }

    /// Removes whatever is there.
    pub(crate) fn remove(&self, path: impl AsRef<Path>) -> &Self {
        let path = self.path(path);
        if path.symlink_metadata().unwrap().is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else {
            fs::remove_file(path).unwrap();
        }
        self
    }

    /// The content of a file.
    pub(crate) fn read(&self, path: impl AsRef<Path>) -> String {
        let path = self.path_to_write(path);
        String::from_utf8(fs::read(path).unwrap()).unwrap()
    }

    /// Whether there is anything, a dangling symlink included.
    pub(crate) fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.path(path).symlink_metadata().is_ok()
    }

    /// One object as the kernel describes it: `file 0440 0:1000 <SHA-256>`, `directory 0755 0:0`, `symlink 0777 0:0 <target>`.
    pub(crate) fn object(&self, path: impl AsRef<Path>) -> String {
        Object {
            identity: None,
            ..Object::read(&self.path(path))
        }
        .to_string()
    }

    /// Every object in the root with its type, mode, owner, group and content; what two starts that did the same leave alike.
    pub(crate) fn tree(&self) -> Tree {
        let mut tree = self.fingerprint();
        for object in tree.0.values_mut() {
            object.identity = None;
        }
        tree
    }

    /// [`Self::tree`] with inode numbers and times: what only an untouched disk leaves alike.
    fn fingerprint(&self) -> Tree {
        let mut objects = BTreeMap::new();
        walk(&self.root(), &self.root(), &mut objects);
        Tree(objects)
    }

    /// Paths of sealinit's own temporary files.
    pub(crate) fn temporaries(&self) -> Vec<PathBuf> {
        self.fingerprint()
            .0
            .into_keys()
            .filter(|path| is_temporary(path))
            .collect()
    }

    /// `sealinit run`, with more to say about it.
    pub(crate) fn launch(&self) -> Launch<'_> {
        Launch {
            sandbox: self,
            arguments: vec!["run".into()],
            environment: BTreeMap::from([("PATH".into(), "/usr/sbin:/usr/bin:/sbin:/bin".into())]),
            wrapper: Vec::new(),
            mounts: String::new(),
            user_namespace: None,
            proc: true,
        }
    }

    /// `sealinit run`.
    pub(crate) fn start(&self) -> Start {
        self.launch().start()
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

/// One start of `sealinit` as PID 1 on a [`Sandbox`]'s disk.
#[derive(Clone, Debug)]
#[must_use]
pub(crate) struct Launch<'a> {
    sandbox: &'a Sandbox,
    arguments: Vec<OsString>,
    environment: BTreeMap<OsString, OsString>,
    wrapper: Vec<OsString>,
    mounts: String,
    user_namespace: Option<UserNamespace>,
    proc: bool,
}

impl Launch<'_> {
    /// More arguments after `run`.
    pub(crate) fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(
            arguments
                .into_iter()
                .map(|argument| argument.as_ref().into()),
        );
        self
    }

    /// Another subcommand than `run`, with its arguments.
    pub(crate) fn subcommand<S: AsRef<OsStr>>(
        mut self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Self {
        self.arguments.clear();
        self.args(arguments)
    }

    /// A variable in the environment of the start, which otherwise holds `PATH` alone.
    pub(crate) fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment
            .insert(key.as_ref().into(), value.as_ref().into());
        self
    }

    /// No variable at all in the environment of the start.
    pub(crate) fn env_clear(mut self) -> Self {
        self.environment.clear();
        self
    }

    /// A command in front of sealinit, which it must exec: `setpriv …`, `env --ignore-signal`.
    pub(crate) fn wrapper<S: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.wrapper
            .extend(words.into_iter().map(|word| word.as_ref().into()));
        self
    }

    /// A shell script in front of sealinit that sets the scene, in bash for the sake of descriptors above 9.
    pub(crate) fn prelude(self, script: &str) -> Self {
        let script = format!("{script}\nexec \"$@\"");
        self.wrapper(["bash", "-c", &script, "bash"])
    }

    /// Runs sealinit as this uid and gid, without supplementary groups and capabilities.
    pub(crate) fn user(self, uid: u32, gid: u32) -> Self {
        let (uid, gid) = (format!("--reuid={uid}"), format!("--regid={gid}"));
        self.wrapper(["setpriv", &uid, &gid, "--clear-groups", "--inh-caps=-all"])
    }

    /// Runs sealinit as root with these capabilities alone, as `--cap-drop ALL --cap-add …` does.
    pub(crate) fn capabilities(self, capabilities: &[&str]) -> Self {
        let mut bounding = String::from("--bounding-set=-all");
        for capability in capabilities {
            write!(bounding, ",+{capability}").unwrap();
        }
        self.wrapper(["setpriv", "--inh-caps=-all", &bounding])
    }

    /// One more mount for this start, in the words of fstab(5); an absolute source is bound from the sandbox.
    pub(crate) fn mount(mut self, kind: &str, source: &str, target: &str, options: &str) -> Self {
        let source = if kind == "none" {
            self.sandbox.path(source).into_os_string()
        } else {
            source.into()
        };
        self.mounts.push_str(&fstab_line(
            source.as_ref(),
            &self.sandbox.path(target),
            kind,
            options,
        ));
        self
    }

    /// A tmpfs for this start, empty as every tmpfs of a fresh container.
    pub(crate) fn tmpfs(self, target: &str, options: &str) -> Self {
        self.mount("tmpfs", "tmpfs", target, options)
    }

    /// Makes what is below a path read-only for this start.
    pub(crate) fn read_only(self, target: &str) -> Self {
        self.mount("none", target, target, "bind,ro")
    }

    /// The host's device or file at a path of the sandbox, for this start.
    pub(crate) fn bind_host(mut self, source: &str, target: &str) -> Self {
        self.mounts.push_str(&fstab_line(
            source.as_ref(),
            &self.sandbox.path(target),
            "none",
            "bind",
        ));
        self
    }

    /// No `/proc`, as in a bare chroot.
    pub(crate) fn without_proc(mut self) -> Self {
        self.proc = false;
        self
    }

    /// In a user namespace of its own.
    pub(crate) fn user_namespace(mut self, namespace: UserNamespace) -> Self {
        self.user_namespace = Some(namespace);
        self
    }

    /// Starts, and waits for the end of the service or the refusal.
    pub(crate) fn start(self) -> Start {
        let before = self.sandbox.fingerprint();
        let output = self.output();
        Start {
            directory: self.sandbox.directory.clone(),
            description: format!("{:?} {:?}", self.wrapper, self.arguments),
            before,
            after: self.sandbox.fingerprint(),
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Starts and hands back what the process left, unjudged: for a start that is meant to be killed.
    pub(crate) fn output(&self) -> Output {
        let argv = self.argv();
        match &self.user_namespace {
            Some(namespace) => namespace.output(&argv),
            None => Command::new(&argv[0])
                .args(&argv[1..])
                .stdin(Stdio::null())
                .output()
                .unwrap(),
        }
    }

    /// What starts it, for a test that does something while it runs.
    pub(crate) fn command(&self) -> Command {
        assert!(
            self.user_namespace.is_none(),
            "what waits for its maps is started with start()"
        );
        let argv = self.argv();
        let mut command = Command::new(&argv[0]);
        command.args(&argv[1..]);
        command
    }

    fn argv(&self) -> Vec<OsString> {
        let fstab = self.sandbox.directory.join("fstab");
        fs::write(&fstab, self.fstab()).unwrap();
        // exec all the way, so that the process which unshare forked, PID 1, becomes sealinit.
        let script = "set -e; mount --all --fstab \"$1\"; root=$2; shift 2; exec chroot \"$root\" env -i \"$@\"";
        let mut argv: Vec<OsString> = ["timeout", "--signal=KILL", PATIENCE]
            .into_iter()
            .chain([
                "unshare",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--propagation",
                "private",
            ])
            .chain(["--", "sh", "-c", script, "sh"])
            .map(OsString::from)
            .collect();
        argv.push(fstab.into());
        argv.push(self.sandbox.root().into());
        for (key, value) in &self.environment {
            let mut assignment = key.clone();
            assignment.push("=");
            assignment.push(value);
            argv.push(assignment);
        }
        argv.extend(self.wrapper.iter().cloned());
        argv.push("/sbin/sealinit".into());
        argv.extend(self.arguments.iter().cloned());
        argv
    }

    fn fstab(&self) -> String {
        let root = self.sandbox.root();
        let mut fstab = String::new();
        for name in ["usr", "bin", "lib", "lib64"] {
            if root
                .join(name)
                .symlink_metadata()
                .is_ok_and(|found| found.is_dir())
            {
                let source = Path::new("/").join(name);
                fstab.push_str(&fstab_line(&source, &root.join(name), "none", "bind,ro"));
            }
        }
        let binary = Path::new(env!("CARGO_BIN_EXE_sealinit"));
        fstab.push_str(&fstab_line(
            binary,
            &root.join("sbin/sealinit"),
            "none",
            "bind,ro",
        ));
        fstab.push_str(&fstab_line(
            "/dev/null".as_ref(),
            &root.join("dev/null"),
            "none",
            "bind",
        ));
        if self.proc {
            fstab.push_str(&fstab_line(
                "proc".as_ref(),
                &root.join("proc"),
                "proc",
                "defaults",
            ));
        }
        fstab + &self.mounts
    }
}

fn fstab_line(source: &Path, target: &Path, kind: &str, options: &str) -> String {
    let escape = |path: &Path| {
        let path = path.to_str().expect("the harness's own paths are text");
        path.replace('\\', "\\134")
            .replace(' ', "\\040")
            .replace('\t', "\\011")
    };
    format!(
        "{} {} {kind} {options} 0 0\n",
        escape(source),
        escape(target)
    )
}

/// A user namespace, by the lines of its maps.
#[derive(Clone, Debug)]
pub(crate) struct UserNamespace {
    /// For `uid_map` and `gid_map`: first id inside, first id outside, count.
    pub(crate) map: &'static str,
    /// Writes `deny` to `setgroups`, as an unprivileged creator must before it writes `gid_map`.
    pub(crate) deny_setgroups: bool,
}

impl UserNamespace {
    /// Every id is itself, in two lines because an unprivileged creator of the namespace above has mapped root apart: what an engine's user namespace looks like from the inside.
    pub(crate) const WHOLE: Self = Self {
        map: "0 0 1\n1 1 65535\n",
        deny_setgroups: false,
    };

    fn output(&self, argv: &[OsString]) -> Output {
        // The shell waits for its maps; what it then execs as uid 0 has every capability in the namespace.
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

/// What came of a [`Launch`]; a test must say what it expected.
#[derive(Debug)]
#[must_use]
pub(crate) struct Start {
    directory: PathBuf,
    description: String,
    before: Tree,
    after: Tree,
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Start {
    /// The service ran and left with 0; sealinit reported one summary and no error.
    #[track_caller]
    pub(crate) fn success(self) -> Outcome {
        self.exited(0)
    }

    /// The service ran and left with this code; sealinit reported one summary and no error.
    #[track_caller]
    pub(crate) fn exited(self, code: i32) -> Outcome {
        let outcome = self.ended(code);
        let state = outcome.state();
        assert!(
            ["sealed", "resumed", "verified", "restored"].contains(&state.as_str()),
            "the service cannot have run with state={state}\n{outcome:?}"
        );
        assert!(
            outcome.errors().is_empty(),
            "there were errors\n{outcome:?}"
        );
        outcome
    }

    /// The service did not run, nothing on the disk was touched, and the reason is this.
    #[track_caller]
    pub(crate) fn refused(self, code: i32, reason: &str) -> Outcome {
        let changed = self.before.difference(&self.after);
        let outcome = self.failed(code, reason);
        assert!(
            changed.is_empty(),
            "the refusal changed the disk:\n{changed}\n{outcome:?}"
        );
        outcome
    }

    /// Asserts that nothing on the disk was written, by inode, link count and times.
    #[track_caller]
    pub(crate) fn untouched(&self) {
        let changed = self.before.difference(&self.after);
        assert!(
            changed.is_empty(),
            "the start changed the disk:\n{changed}\n{}",
            self.stderr
        );
    }

    /// The exit code, for a test that lets several be.
    #[track_caller]
    pub(crate) fn exit_code(&self) -> i32 {
        self.code
            .unwrap_or_else(|| panic!("there is no exit code: {self:?}"))
    }

    /// The exit code, for a test that lets it be any of these.
    #[track_caller]
    pub(crate) fn one_of(&self, codes: &[i32]) -> i32 {
        let code = self.exit_code();
        let Self {
            description,
            stdout,
            stderr,
            ..
        } = self;
        assert!(
            codes.contains(&code),
            "{code} is none of {codes:?}\n--- {description}\n{stdout}\n---\n{stderr}"
        );
        code
    }

    /// The service did not run for this reason, but what had been begun may be left on the disk.
    #[track_caller]
    pub(crate) fn failed(self, code: i32, reason: &str) -> Outcome {
        let outcome = self.ended(code);
        assert_eq!(outcome.stdout, "", "the service ran\n{outcome:?}");
        assert_eq!(outcome.state(), "refused", "{outcome:?}");
        outcome.each_line_is_sealinits();
        let errors = outcome.errors();
        assert!(!errors.is_empty(), "no reason is given\n{outcome:?}");
        assert!(
            errors.iter().any(|error| error.contains(reason)),
            "the reason is not {reason:?}\n{outcome:?}"
        );
        outcome
    }

    /// Any subcommand, or a start that ended before it was one: only the exit code is judged.
    #[track_caller]
    pub(crate) fn code(self, code: i32) -> Outcome {
        let outcome = Outcome {
            code: self.code,
            stdout: self.stdout,
            stderr: self.stderr,
            description: format!("{} in {}", self.description, self.directory.display()),
        };
        assert!(
            !outcome.stderr.contains("panicked"),
            "panicked\n{outcome:?}"
        );
        assert_eq!(outcome.code, Some(code), "the exit code\n{outcome:?}");
        outcome
    }

    #[track_caller]
    fn ended(self, code: i32) -> Outcome {
        let outcome = self.code(code);
        assert_eq!(
            outcome.summaries().len(),
            1,
            "every start has exactly one summary line\n{outcome:?}"
        );
        outcome
    }
}

/// An expected end of a start, for closer questions.
pub(crate) struct Outcome {
    description: String,
    code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Debug for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "--- {}\n--- exit code {:?}\n--- stdout\n{}\n--- stderr\n{}\n---",
            self.description, self.code, self.stdout, self.stderr
        )
    }
}

impl Outcome {
    fn summaries(&self) -> Vec<&str> {
        self.stderr
            .lines()
            .filter(|line| is_summary(line))
            .collect()
    }

    /// The key=value pairs of the summary line, of a text or a JSON log.
    #[track_caller]
    pub(crate) fn summary(&self) -> BTreeMap<String, String> {
        let line = self.summaries()[0];
        if line.starts_with('{') {
            let object: serde_json::Map<String, Value> = serde_json::from_str(line).unwrap();
            let text = |value: Value| match value {
                Value::String(text) => text,
                other => other.to_string(),
            };
            return object
                .into_iter()
                .map(|(key, value)| (key, text(value)))
                .collect();
        }
        line.split(' ')
            .filter_map(|word| word.split_once('='))
            .map(|(key, value)| (key.into(), value.into()))
            .collect()
    }

    /// One value of the summary line.
    #[track_caller]
    pub(crate) fn summarised(&self, key: &str) -> String {
        let summary = self.summary();
        summary
            .get(key)
            .unwrap_or_else(|| panic!("the summary has no {key}=\n{self:?}"))
            .clone()
    }

    /// The service, which printed its `/proc/self/status`, is uid and gid 1000 alone, with nothing of root's.
    #[track_caller]
    pub(crate) fn has_nothing_of_root(&self) {
        assert_eq!(self.status("Uid"), "1000 1000 1000 1000");
        assert_eq!(self.status("Gid"), "1000 1000 1000 1000");
        assert_eq!(self.status("Groups"), "1000");
        for set in CAPABILITY_SETS {
            assert_eq!(self.status(set), EMPTY_SET, "{set}");
        }
        assert_eq!(self.status("NoNewPrivs"), "1");
        for set in ["SigBlk", "SigIgn"] {
            assert_eq!(self.status(set), EMPTY_SET, "{set}");
        }
        assert_eq!(self.summarised("lock"), "full");
    }

    /// `state=` of the summary line.
    #[track_caller]
    pub(crate) fn state(&self) -> String {
        self.summarised("state")
    }

    fn lines_of(&self, level: &str) -> Vec<&str> {
        let prefix = format!("sealinit: {level}: ");
        self.stderr
            .lines()
            .filter(|line| !is_summary(line))
            .filter_map(|line| {
                if line.starts_with('{') {
                    json_of(line, level)
                } else {
                    line.strip_prefix(&prefix)
                }
            })
            .collect()
    }

    /// The errors, one a line, without their prefix and without the summary.
    pub(crate) fn errors(&self) -> Vec<&str> {
        self.lines_of("error")
    }

    /// The warnings, one a line, without their prefix and without the summary.
    pub(crate) fn warnings(&self) -> Vec<&str> {
        self.lines_of("warning")
    }

    /// Asserts that there was no warning.
    #[track_caller]
    pub(crate) fn without_warnings(&self) -> &Self {
        assert!(self.warnings().is_empty(), "there are warnings\n{self:?}");
        self
    }

    /// Asserts that some error, or warning, or any other line of the log has this part.
    #[track_caller]
    pub(crate) fn says(&self, part: &str) -> &Self {
        assert!(
            self.stderr.lines().any(|line| line.contains(part)),
            "nothing says {part:?}\n{self:?}"
        );
        self
    }

    /// Asserts that neither the log nor the service's output has this part.
    #[track_caller]
    pub(crate) fn never_says(&self, part: &str) -> &Self {
        assert!(
            !self.stderr.contains(part),
            "the log says {part:?}\n{self:?}"
        );
        assert!(
            !self.stdout.contains(part),
            "stdout says {part:?}\n{self:?}"
        );
        self
    }

    /// The value of a field in the service's `cat /proc/self/status`.
    #[track_caller]
    pub(crate) fn status(&self, field: &str) -> String {
        self.stdout
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
            .unwrap_or_else(|| panic!("no {field} in the service's status\n{self:?}"))
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// While no service has run, the log is sealinit's alone: each message is one line, and no name in it can drive a terminal.
    #[track_caller]
    fn each_line_is_sealinits(&self) {
        for line in self.stderr.lines() {
            assert!(
                line.starts_with("sealinit: ") || line.starts_with('{'),
                "a message has more than one line: {line:?}\n{self:?}"
            );
            assert!(
                !line.chars().any(char::is_control),
                "a message has control characters: {line:?}\n{self:?}"
            );
        }
    }
}

/// Whether a line of a log sums a start up. What a quoted name says does not count.
fn is_summary(line: &str) -> bool {
    if line.starts_with('{') {
        return serde_json::from_str::<Value>(line).is_ok_and(|line| line.get("state").is_some());
    }
    let bare: String = line.replace("\\\"", "").split('"').step_by(2).collect();
    ["state", "digest", "pin", "lock", "entries", "ms"]
        .iter()
        .all(|key| bare.contains(&format!(" {key}=")))
}

/// A line of a JSON log, if it is of this level.
fn json_of<'line>(line: &'line str, level: &str) -> Option<&'line str> {
    let object: Value = serde_json::from_str(line).unwrap();
    let found = object["level"].as_str().unwrap().to_lowercase();
    level.starts_with(&found).then_some(line)
}

/// Objects of a root by path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tree(pub(crate) BTreeMap<PathBuf, Object>);

impl Tree {
    /// Without the objects at and below these paths.
    pub(crate) fn without(mut self, paths: &[&str]) -> Self {
        self.0
            .retain(|path, _| !paths.iter().any(|without| path.starts_with(without)));
        self
    }

    /// What differs, a line per object and side; empty for equal trees.
    pub(crate) fn difference(&self, other: &Self) -> String {
        let mut lines = String::new();
        for (path, object) in &self.0 {
            if other.0.get(path) != Some(object) {
                writeln!(lines, "- {} {object}", path.display()).unwrap();
            }
        }
        for (path, object) in &other.0 {
            if self.0.get(path) != Some(object) {
                writeln!(lines, "+ {} {object}", path.display()).unwrap();
            }
        }
        lines
    }

    /// Asserts that the other tree is this one.
    #[track_caller]
    pub(crate) fn assert_equals(&self, other: &Self) {
        let difference = self.difference(other);
        assert!(difference.is_empty(), "the trees differ:\n{difference}");
    }
}

/// One object as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) kind: &'static str,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The content's hash, a symlink's target, nothing for others.
    pub(crate) content: String,
    /// What changes when the object is touched at all.
    identity: Option<String>,
}

impl Object {
    fn read(path: &Path) -> Self {
        let metadata = path
            .symlink_metadata()
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let kind = metadata.file_type();
        let (kind, content) = if kind.is_file() {
            ("file", hash(fs::read(path).unwrap()))
        } else if kind.is_dir() {
            ("directory", String::new())
        } else if kind.is_symlink() {
            (
                "symlink",
                fs::read_link(path).unwrap().display().to_string(),
            )
        } else if kind.is_fifo() {
            ("fifo", String::new())
        } else {
            ("other", String::new())
        };
        let identity = format!(
            "inode {} links {} modified {}.{} changed {}.{}",
            metadata.ino(),
            metadata.nlink(),
            metadata.mtime(),
            metadata.mtime_nsec(),
            metadata.ctime(),
            metadata.ctime_nsec()
        );
        Self {
            kind,
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
            content,
            identity: Some(identity),
        }
    }
}

impl Display for Object {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            mode,
            uid,
            gid,
            content,
            identity,
        } = self;
        write!(formatter, "{kind} {mode:04o} {uid}:{gid}")?;
        if !content.is_empty() {
            write!(formatter, " {content}")?;
        }
        identity
            .as_ref()
            .map_or(Ok(()), |identity| write!(formatter, " {identity}"))
    }
}

/// Whether the name is one of sealinit's temporary files.
pub(crate) fn is_temporary(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.as_bytes().starts_with(b".sealinit."))
}

fn walk(root: &Path, directory: &Path, objects: &mut BTreeMap<PathBuf, Object>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let inside = Path::new("/").join(path.strip_prefix(root).unwrap());
        if SCAFFOLD
            .iter()
            .any(|name| inside == Path::new("/").join(name))
        {
            continue;
        }
        let object = Object::read(&path);
        let descend = object.kind == "directory";
        objects.insert(inside, object);
        if descend {
            walk(root, &path, objects);
        }
    }
}

/// SHA-256 in hexadecimal, as it stands in [`Sandbox::object`] and in manifests.
pub(crate) fn hash(content: impl AsRef<[u8]>) -> String {
    Sha256::digest(content)
        .iter()
        .fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        })
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Whether a program is on the path of this machine.
pub(crate) fn has_program(name: &str) -> bool {
    env::split_paths(&env::var_os("PATH").unwrap_or_default())
        .any(|directory| directory.join(name).is_file())
}

/// Says that a test cannot run here, or fails where it must.
#[track_caller]
pub(crate) fn skip(reason: &str) {
    let required = ["REQUIRE_SANDBOX", "CI"]
        .iter()
        .any(|name| env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0"));
    assert!(!required, "cannot run here: {reason}");
    note(&format!("SKIP {}: {reason}", test_name()));
}

/// A line on the real standard error, which libtest captures from the macros only.
fn note(line: &str) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

fn test_name() -> String {
    thread::current().name().unwrap_or("test").into()
}

/// Where a sandbox can run.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// In this process's own namespaces.
    Here,
    /// After entering a user namespace.
    UserNamespace,
    Nowhere(&'static str),
}

/// Tells the test that it is inside a user namespace.
const INSIDE: &str = "SEALINIT_TEST_INSIDE";

fn place() -> Place {
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

/// What puts a command of an ordinary user into a user namespace in which more than one id exists.
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
fn rerun_in_user_namespace(test: &str) {
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
