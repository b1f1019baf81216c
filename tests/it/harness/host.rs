//! The binary on the host itself, without namespaces: its path, its reports, its digest, and
//! scratch directories.

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A name that no other test, run or user of the engine has.
pub(crate) fn unique() -> String {
    static COUNTER: AtomicUsize = AtomicUsize::new(0);
    format!(
        "sealinit-test-{}-{}",
        process::id(),
        COUNTER.fetch_add(1, Ordering::Relaxed)
    )
}

/// A directory of the host that is gone when the test is.
#[derive(Debug)]
pub(crate) struct Directory(pub(super) PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        let path = env::temp_dir().join(unique());
        fs::create_dir(&path).unwrap();
        // A container without root must be able to enter what is mounted into it.
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }

    /// The path of a name in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Copies a file or directory, with its modes, to a place in here.
    pub(crate) fn copy(&self, from: impl AsRef<Path>, to: &str) {
        let to = self.0.join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        let copied = Command::new("cp")
            .args(["-R", "-p"])
            .args([from.as_ref(), &to])
            .output()
            .unwrap();
        assert!(copied.status.success(), "{copied:?}");
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The root of the repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The binary under test, as Cargo has just built it.
pub(crate) fn sealinit() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_sealinit"))
}

/// Runs sealinit on the host, with an empty environment.
pub(crate) fn on_host<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Output {
    Command::new(sealinit())
        .args(arguments)
        .env_clear()
        .output()
        .unwrap()
}

/// The digest of the configuration with this manifest, as the deploy host computes it.
#[track_caller]
pub(crate) fn digest(manifest: &Path) -> String {
    let output = on_host([
        "digest".as_ref(),
        "--manifest".as_ref(),
        manifest.as_os_str(),
    ]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert_eq!(stderr, "");
    digest_in(&String::from_utf8(output.stdout).unwrap())
}

/// The digest on standard output of `sealinit digest`, of which it must be the only line.
#[track_caller]
pub(super) fn digest_in(stdout: &str) -> String {
    let digest = stdout.strip_suffix('\n').unwrap();
    let hexadecimal = digest.strip_prefix("sha256:").unwrap();
    let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    assert!(
        hexadecimal.len() == 64 && hexadecimal.bytes().all(is_digit),
        "{digest}"
    );
    digest.to_owned()
}

/// Standard output and standard error of a process, as text.
pub(crate) fn all_text(output: &Output) -> String {
    String::from_utf8([&*output.stdout, &*output.stderr].concat()).unwrap()
}
