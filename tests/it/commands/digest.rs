//! `digest`: the same for every user and place, and for every implementation.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::text;
use crate::harness::{
    Directory, MANIFEST, digest, has_program, on_host, repository, sandbox_test, sealinit, skip,
};

/// A manifest and its sources in a directory of their own.
struct Config(Directory);

impl Config {
    fn new(manifest: &str) -> Self {
        let directory = Directory::new();
        fs::write(directory.path("manifest.json"), manifest).unwrap();
        Self(directory)
    }

    fn source(self, name: &str, content: &str) -> Self {
        let path = self.0.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    fn manifest(&self) -> PathBuf {
        self.0.path("manifest.json")
    }

    fn digest(&self) -> String {
        digest(&self.manifest())
    }
}

/// Everything that a digest covers.
const WHOLE: &str = r#"{
  "version": 1,
  "service": {"user": "app", "command": ["true"]},
  "files": [
    {"source": "app.conf", "dest": "/etc/app/app.conf"},
    {"content": "inline", "dest": "/etc/app/inline"},
    {"source": "optional", "dest": "/etc/app/optional", "optional": true},
    {"source": "seed", "dest": "/var/lib/app/seed", "owner": "app", "mutable": true}
  ],
  "directories": [{"path": "/etc/app/tree", "source": "tree"}, {"path": "/var/lib/app"}],
  "absent": ["/etc/app/default.conf"]
}"#;

fn whole() -> Config {
    Config::new(WHOLE)
        .source("app.conf", "conf")
        .source("seed", "seed")
        .source("tree/a", "a")
        .source("tree/sub/b", "b")
}

sandbox_test!(
    the_digest_is_the_same_for_every_user_and_place_and_in_the_log,
    |sandbox| {
        let config = whole();
        let digest = config.digest();
        assert_eq!(whole().digest(), digest, "in another directory");

        sandbox
            .file(MANIFEST, WHOLE)
            .source("app.conf", "conf")
            .source("seed", "seed")
            .source("tree/a", "a")
            .source("tree/sub/b", "b")
            .mode("/etc/sealinit/app.conf", 0o604)
            .owner("/etc/sealinit/tree", 4711, 4711);
        let ask = |user: u32| {
            let asked = sandbox
                .launch()
                .subcommand(["digest"])
                .user(user, user)
                .start()
                .code(0);
            assert_eq!(asked.stdout.trim_end(), digest, "as uid {user}");
        };
        ask(1000);
        ask(4711);
        let first = sandbox.start().success();
        assert_eq!(first.summarised("digest"), digest);
        let later = sandbox.start().success();
        assert_eq!(later.summarised("digest"), digest);
        ask(1000);
    }
);

sandbox_test!(the_digest_needs_no_accounts_and_writes_nothing, |sandbox| {
    sandbox
        .one_file(&["true"])
        .remove("/etc/passwd")
        .remove("/etc/group");
    let before = sandbox.tree();
    let asked = sandbox
        .launch()
        .subcommand(["digest"])
        .user(1001, 1001)
        .start()
        .code(0);
    assert!(asked.stdout.starts_with("sha256:"), "{asked:?}");
    before.assert_equals(&sandbox.tree());
});

#[test]
fn the_digest_changes_with_every_byte_of_the_input_and_nothing_else() {
    let digest = whole().digest();
    let mut seen = vec![digest.clone()];
    let mut differs = |config: Config, what: &str| {
        let other = config.digest();
        assert!(!seen.contains(&other), "{what}");
        seen.push(other);
    };
    differs(whole().source("app.conf", "cond"), "a source's content");
    differs(whole().source("app.conf", "conf\n"), "a source's length");
    differs(whole().source("app.conf", ""), "an empty source");
    differs(whole().source("seed", "seeds"), "a mutable file's content");
    differs(whole().source("tree/a", "b"), "a content below a directory");
    differs(
        whole().source("tree/c", "a"),
        "one more name in a directory",
    );
    differs(
        whole()
            .source("tree/sub/..data", "skipped")
            .source("optional", ""),
        "an optional source that is there",
    );
    let renamed = whole();
    fs::rename(renamed.0.path("tree/a"), renamed.0.path("tree/A")).unwrap();
    differs(renamed, "a name in a directory");
    let swapped = whole().source("tree/a", "b").source("tree/sub/b", "a");
    differs(swapped, "contents that changed places");
    // All blanks are between tokens, where a parser ignores them.
    for (index, _) in WHOLE.match_indices(' ') {
        let mut manifest = WHOLE.to_owned();
        manifest.replace_range(index..=index, "\t");
        let config = whole();
        fs::write(config.0.path("manifest.json"), manifest).unwrap();
        differs(config, "a blank of the manifest");
    }

    let touched = whole().source("tree/..data/ignored", "x");
    Command::new("touch")
        .args(["-d", "2001-01-01"])
        .arg(touched.0.path("app.conf"))
        .status()
        .unwrap();
    assert_eq!(
        touched.digest(),
        digest,
        "neither times nor names beginning with .. are in it"
    );
}

#[test]
fn the_digest_does_not_depend_on_where_links_lead_through() {
    let config = whole();
    let digest = config.digest();
    fs::rename(config.0.path("app.conf"), config.0.path("..real")).unwrap();
    std::os::unix::fs::symlink("..real", config.0.path("app.conf")).unwrap();
    assert_eq!(config.digest(), digest);
}

#[test]
fn digest_reports_what_run_would_report() {
    for (manifest, code, message) in [
        ("{", 78, "not JSON"),
        (
            r#"{"version": 1, "service": {"user": "app"}, "flies": []}"#,
            78,
            "did you mean \"files\"?",
        ),
        (
            r#"{"version": 1, "service": {}, "files": [{"source": "gone", "dest": "/a"}]}"#,
            66,
            "gone",
        ),
    ] {
        let config = Config::new(manifest);
        let output = on_host([
            "digest".as_ref(),
            "--manifest".as_ref(),
            config.manifest().as_os_str(),
        ]);
        assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "");
        assert!(
            text(&output.stderr).contains(message),
            "{}",
            text(&output.stderr)
        );
    }
    let output = on_host(["digest", "--manifest", "/no/such/manifest.json"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("/no/such/manifest.json"));
}

#[test]
fn a_relative_manifest_is_taken_from_the_working_directory() {
    let config = whole();
    let output = Command::new(sealinit())
        .args(["digest", "--manifest", "manifest.json"])
        .current_dir(config.0.path(""))
        .output()
        .unwrap();
    assert_eq!(text(&output.stdout).trim_end(), config.digest());
}

/// The standard output of a program that must succeed.
#[track_caller]
fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The digest by the program in the README.
fn theirs(manifest: &Path) -> String {
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    let program = readme
        .split("```python\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("a program");
    assert!(program.lines().count() < 30, "it is short");
    let mut python = Command::new("python3");
    python.args(["-X", "utf8", "-c", program]).arg(manifest);
    printed(&mut python).trim_end().to_owned()
}

/// A container that was pinned by any released version starts with every later one.
#[test]
fn the_digest_of_the_first_version_never_changes() {
    let manifest = repository().join("tests/fixtures/digest-v1/manifest.json");
    let golden = "sha256:7f2e6e7238a5a45340eb417b9ed607af51c6499605007e0634c0f32b6d8ba205";
    assert_eq!(digest(&manifest), golden);
    if has_program("python3") {
        assert_eq!(theirs(&manifest), golden);
    } else {
        skip("the README's program needs python3");
    }
}

/// "twenty lines of another language reproduce it"
#[test]
fn the_readmes_program_comes_to_the_same_digest_for_every_example() {
    if !has_program("python3") {
        skip("the README's program needs python3");
        return;
    }
    for name in ["nginx", "postgres", "redis"] {
        let manifest = repository()
            .join("examples")
            .join(name)
            .join("manifest.json");
        assert_eq!(theirs(&manifest), digest(&manifest), "{name}");
    }
}
