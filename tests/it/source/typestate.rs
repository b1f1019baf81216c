//! No step of a first start can be left out: code that tries does not compile.
//!
//! The proofs are private to the crate, so the wrong code is compiled inside a copy of it. Each
//! function names the compiler's error that it must cause (`rustc --explain`), so that it cannot
//! fail for another reason.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Functions that leave out a step or forge a proof, and the error of each.
const MISUSES: [(&str, &str); 15] = [
    (
        "E0308",
        "fn begin_without_admission(state: LockedStateDir<'_>, candidate: Candidate) { let _ = state.begin(candidate); }",
    ),
    (
        "E0308",
        "fn commit_without_verification(attempt: Attempt, installed: Installed<'_>) { let _ = attempt.commit(installed); }",
    ),
    (
        "E0308",
        "fn commit_without_tests(attempt: Attempt, verified: Verified<'_>) { let _ = attempt.commit(verified); }",
    ),
    (
        "E0382",
        "fn commit_twice(attempt: Attempt, tested: Tested) { let _ = attempt.commit(tested); let _ = attempt.plan(); }",
    ),
    (
        "E0599",
        "fn test_without_verification(installed: Installed<'_>, root: &Root) { let _ = installed.test(root, |_, _| Ok(())); }",
    ),
    (
        "E0061",
        "fn launch_without_clearance(service: &Service, caller: &Caller, inherited: Inherited) { let _ = launch(service, caller, inherited, || {}); }",
    ),
    (
        "E0423",
        "fn forge_admission(candidate: Candidate) -> Admitted { Admitted(candidate) }",
    ),
    ("E0423", "fn forge_tests() -> Tested { Tested(()) }"),
    (
        "E0423",
        "fn forge_permit() -> TestPermit { TestPermit(()) }",
    ),
    ("E0423", "fn forge_seal() -> Sealed { Sealed(()) }"),
    (
        "E0624",
        "fn seal_without_commit() -> Sealed { Sealed::committed() }",
    ),
    ("E0423", "fn forge_agreement() -> Clean { Clean(()) }"),
    (
        "E0423",
        "fn forge_tolerance() -> Tolerated { Tolerated(Vec::new()) }",
    ),
    (
        "E0423",
        "fn forge_drop() -> Unprivileged { Unprivileged(()) }",
    ),
    (
        "E0308",
        "fn run_with_drift(drifts: Vec<Drift>) -> Clearance { Clearance::Tolerated(drifts) }",
    ),
];

/// Forged proofs that the compiler only looks for in code without other errors.
const FORGERIES: [(&str, &str); 2] = [
    (
        "E0451",
        "fn forge_installation(plan: &Plan) -> Installed<'_> { Installed { plan, kept: BTreeSet::new() } }",
    ),
    (
        "E0451",
        "fn forge_verification(plan: &Plan) -> Verified<'_> { Verified { plan } }",
    ),
];

const IMPORTS: &str = "//! Steps that are left out.
#![allow(unused_imports, dead_code)]
use super::*;
use crate::decide::first_start::{Admitted, Candidate};
use crate::decide::later_start::{Clean, Tolerated};
use crate::install::proof::{Installed, TestPermit, Tested, Verified};
use crate::plan::Plan;
use crate::service::credentials::Unprivileged;
use crate::state::Attempt;
use crate::state::sealed::Sealed;
";

/// A copy of the crate in which `src/start/misuse.rs` is compiled too.
struct Copy(PathBuf);

impl Copy {
    fn new() -> Self {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
        let copy = std::env::temp_dir().join(format!("sealinit-typestate-{}", std::process::id()));
        copy_tree(&repository.join("src"), &copy.join("src"));
        copy_tree(&repository.join(".cargo"), &copy.join(".cargo"));
        fs::copy(repository.join("Cargo.lock"), copy.join("Cargo.lock")).unwrap();
        // Its tests and benches are not copied, and their targets not needed.
        let manifest = fs::read_to_string(repository.join("Cargo.toml")).unwrap();
        let targets = ["[[bench]]", "[[test]]", "[[bin]]", "[[example]]"];
        let sections = manifest.split_inclusive("\n[").collect::<String>();
        let mut kept = String::new();
        let mut skipping = false;
        for line in sections.lines() {
            if line.starts_with('[') {
                skipping = targets.contains(&line.trim());
            }
            if !skipping {
                kept.push_str(line);
                kept.push('\n');
            }
        }
        fs::write(copy.join("Cargo.toml"), kept).unwrap();
        let start = copy.join("src/start/mod.rs");
        let text = fs::read_to_string(&start).unwrap();
        fs::write(start, text + "\nmod misuse;\n").unwrap();
        Self(copy)
    }

    /// Compiles the crate with these functions; returns the error codes with the names of the
    /// functions that they are in.
    fn errors(&self, functions: &[(&str, &str)]) -> BTreeSet<(String, String)> {
        let mut text = IMPORTS.to_owned();
        for (_, function) in functions {
            text.push_str(function);
            text.push('\n');
        }
        fs::write(self.0.join("src/start/misuse.rs"), &text).unwrap();
        let output = Command::new(env!("CARGO"))
            .args([
                "check",
                "--lib",
                "--offline",
                "--quiet",
                "--message-format=json",
            ])
            .current_dir(&self.0)
            .env(
                "CARGO_TARGET_DIR",
                Path::new(env!("CARGO_TARGET_TMPDIR")).join("typestate"),
            )
            .env_remove("RUSTFLAGS")
            .output()
            .unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let mut found = BTreeSet::new();
        for line in String::from_utf8(output.stdout).unwrap().lines() {
            let message: Value = serde_json::from_str(line).unwrap();
            let message = &message["message"];
            if message["level"] != "error" || message["code"].is_null() {
                continue;
            }
            let span = &message["spans"][0];
            let file = span["file_name"].as_str().unwrap();
            assert!(file.ends_with("misuse.rs"), "{file}: {message}");
            let line = usize::try_from(span["line_start"].as_u64().unwrap()).unwrap();
            let code = message["code"]["code"].as_str().unwrap();
            found.insert((name_of(lines[line - 1]), code.to_owned()));
        }
        assert!(
            !found.is_empty(),
            "nothing was compiled:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        found
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap();
        }
    }
}

/// The name of the function that a line declares, or the line if it declares none.
fn name_of(line: &str) -> String {
    let name = line
        .strip_prefix("fn ")
        .and_then(|rest| rest.split(['(', '<']).next());
    name.unwrap_or(line).to_owned()
}

#[test]
fn no_step_of_a_first_start_can_be_left_out_and_no_proof_can_be_forged() {
    let copy = Copy::new();
    for functions in [&MISUSES[..], &FORGERIES[..]] {
        let expected: BTreeSet<(String, String)> = functions
            .iter()
            .map(|(code, function)| (name_of(function), (*code).to_owned()))
            .collect();
        assert_eq!(copy.errors(functions), expected);
    }
}
