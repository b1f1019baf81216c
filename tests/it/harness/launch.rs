//! One start of sealinit as PID 1 in fresh mount and PID namespaces.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::host::digest_in;
use super::image::Sandbox;
use super::namespaces::UserNamespace;
use super::outcome::Start;

/// Seconds after which a start is killed: long enough for a loaded machine.
pub(super) const PATIENCE: &str = "60";

impl Sandbox {
    /// `sealinit run`, to be completed with options and a surrounding.
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

    /// The digest of the configuration, as `sealinit digest` prints it inside.
    #[track_caller]
    pub(crate) fn digest(&self) -> String {
        self.launch().digest()
    }

    /// `sealinit run`.
    pub(crate) fn start(&self) -> Start {
        self.launch().start()
    }
}

/// One start of `sealinit` as PID 1 on a [`Sandbox`]'s disk.
#[derive(Clone, Debug)]
#[must_use]
pub(crate) struct Launch<'a> {
    pub(super) sandbox: &'a Sandbox,
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

    /// A shell script in front of sealinit that sets the scene, in bash for the sake of descriptors
    /// above 9.
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

    /// One more mount for this start, in the words of fstab(5); an absolute source is bound from
    /// the sandbox.
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

    /// Starts, and returns the output of the process as it is: for a start that is meant to be
    /// killed.
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

    /// The digest that `sealinit digest` prints here.
    #[track_caller]
    pub(crate) fn digest(self) -> String {
        digest_in(&self.subcommand(["digest"]).start().code(0).stdout)
    }

    /// The command that starts it, for a test that acts while it runs.
    pub(crate) fn command(&self) -> Command {
        assert!(
            self.user_namespace.is_none(),
            "a start in a user namespace waits for its maps: use start()"
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
