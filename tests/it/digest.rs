//! The digest by other means: the README's own program must come to the same value, and what was released never changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::sandbox::{has_program, skip};

fn repository() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

/// What a program prints about a manifest.
#[track_caller]
fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn ours(manifest: &Path) -> String {
    printed(
        Command::new(env!("CARGO_BIN_EXE_sealinit"))
            .arg("digest")
            .arg("--manifest")
            .arg(manifest)
            .env_clear(),
    )
}

/// By the program that stands in the README.
fn theirs(manifest: &Path) -> String {
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    let program = readme
        .split("```python\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("a program");
    assert!(program.lines().count() < 30, "it is short");
    printed(
        Command::new("python3")
            .args(["-X", "utf8", "-c", program])
            .arg(manifest),
    )
}

/// Kept for ever: a container that was pinned by any released version starts with every later one.
#[test]
fn the_digest_of_the_first_version_never_changes() {
    let manifest = repository().join("tests/fixtures/digest-v1/manifest.json");
    let golden = "sha256:7f2e6e7238a5a45340eb417b9ed607af51c6499605007e0634c0f32b6d8ba205\n";
    assert_eq!(ours(&manifest), golden);
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
        assert_eq!(theirs(&manifest), ours(&manifest), "{name}");
    }
}
