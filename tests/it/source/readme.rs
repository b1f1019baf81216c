//! The README and the examples: every block, option, exit code and command is tried.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::tree::{Source, sources};
use super::{blocks, read};
use crate::harness::{Directory, digest, hash, leave_out, repository, sealinit};

/// Makes every source that a manifest names, so that it can be read as a whole.
fn make_sources(manifest: &Value, directory: &Path) {
    for file in manifest["files"].as_array().into_iter().flatten() {
        if let Some(source) = file["source"].as_str() {
            let path = directory.join(source);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "content\n").unwrap();
        }
    }
    for declared in manifest["directories"].as_array().into_iter().flatten() {
        if let Some(source) = declared["source"].as_str() {
            fs::create_dir_all(directory.join(source)).unwrap();
        }
    }
}

#[test]
fn every_manifest_in_the_readme_is_valid() {
    let manifests = blocks("json");
    assert!(manifests.len() >= 2, "the README shows manifests");
    for text in manifests {
        let scratch = Directory::new();
        let manifest: Value = serde_json::from_str(&text).unwrap();
        make_sources(&manifest, &scratch.path(""));
        fs::write(scratch.path("manifest.json"), text).unwrap();
        digest(&scratch.path("manifest.json"));
    }
}

#[test]
fn the_example_in_the_readme_is_the_one_in_examples() {
    assert_eq!(blocks("json")[0], read("examples/nginx/manifest.json"));
    let shown = &blocks("dockerfile")[0];
    let code = |text: &str| -> Vec<String> {
        text.lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(code(shown), code(&read("Dockerfile.example")));
}

#[test]
fn every_example_has_a_digest() {
    let mut seen = 0;
    for entry in fs::read_dir(repository().join("examples")).unwrap() {
        let manifest = entry.unwrap().path().join("manifest.json");
        if manifest.exists() {
            digest(&manifest);
            seen += 1;
        }
    }
    assert!(seen >= 2, "only {seen} examples were found");
}

/// The recipe of the README, run by sh, gives what the program gives.
#[test]
fn the_digest_can_be_computed_with_coreutils_as_the_readme_says() {
    let recipe = blocks("sh")
        .into_iter()
        .find(|block| block.contains("sealinit-digest-v1"))
        .unwrap();
    let scratch = Directory::new();
    fs::write(
        scratch.path("manifest.json"),
        r#"{"version": 1, "service": {"user": "app"},
            "files": [{"source": "app.conf", "dest": "/etc/app/app.conf"}], "directories": [{"path": "/var/lib/app"}]}"#,
    )
    .unwrap();
    fs::write(scratch.path("app.conf"), "greeting = hello\n").unwrap();
    let computed = Command::new("sh")
        .args(["-eu", "-c", &recipe])
        .current_dir(scratch.path(""))
        .output()
        .unwrap();
    let computed = String::from_utf8(computed.stdout).unwrap();
    assert_eq!(
        digest(&scratch.path("manifest.json")),
        format!("sha256:{}", computed.split_whitespace().next().unwrap())
    );
}

/// The first of the README's two commands, as it is built for these tests.
#[test]
fn the_quickstart_shows_seal_drift_and_refusal() {
    assert!(
        blocks("sh")
            .iter()
            .any(|block| block == "cargo run --example quickstart\n")
    );
    assert!(blocks("sh").iter().any(|block| block == "cargo test\n"));
    let quickstart = sealinit().with_file_name("examples").join("quickstart");
    if !quickstart.exists() {
        // `cargo test --test it` does not build examples; `cargo test` does.
        assert!(
            std::env::var_os("CI").is_none(),
            "{quickstart:?} was not built"
        );
        return leave_out("run `cargo test`, which builds examples");
    }
    let output = Command::new(quickstart)
        .env("TMPDIR", std::env::temp_dir())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    for part in [
        "state=sealed",
        "state=verified",
        "drift path=/etc/app/app.conf attribute=content",
        "exit code 80",
    ] {
        assert!(said.contains(part), "{part} is missing:\n{said}");
    }
}

/// The value of a line that declares an exit code: `pub(crate) const STATE: u8 = 74;`.
fn exit_code(line: &str) -> Option<u8> {
    let (declared, value) = line.trim().strip_suffix(';')?.split_once(" = ")?;
    let is_code = declared.contains("const ") && declared.ends_with(": u8");
    is_code.then(|| value.parse().ok())?
}

#[test]
fn the_readme_lists_exactly_the_exit_codes_of_the_source() {
    let codes_of =
        |source: Source| -> BTreeSet<u8> { source.text.lines().filter_map(exit_code).collect() };
    // They stand together in one file; a single number in another is something else.
    let mut codes: BTreeSet<u8> = sources()
        .into_iter()
        .map(codes_of)
        .filter(|codes| codes.len() > 5)
        .flatten()
        .collect();
    assert!(!codes.is_empty(), "the source has no exit codes");
    codes.insert(2); // clap's, for usage
    let table = read("README.md");
    let table = table
        .split("## Exit codes")
        .nth(1)
        .unwrap()
        .split("\n## ")
        .next()
        .unwrap();
    let listed: BTreeSet<u8> = table
        .lines()
        .filter_map(|line| line.split('|').nth(1)?.trim().parse().ok())
        .collect();
    assert_eq!(listed, codes);
}

#[test]
fn the_readme_names_every_option_and_subcommand() {
    let readme = read("README.md");
    let help = |arguments: &[&str]| {
        let output = Command::new(sealinit())
            .args(arguments)
            .arg("--help")
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let commands: Vec<String> = help(&[])
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .map_while(|line| {
            line.strip_prefix("  ")?
                .split_whitespace()
                .next()
                .map(str::to_owned)
        })
        .filter(|command| command != "help")
        .collect();
    assert!(commands.contains(&"run".to_owned()), "{commands:?}");
    for command in &commands {
        assert!(
            readme.contains(&format!("sealinit {command}")),
            "the README does not show sealinit {command}"
        );
        for word in help(&[command]).split(|c: char| !c.is_ascii_alphanumeric() && c != '-') {
            if word.starts_with("--") && word.len() > 2 && word != "--help" {
                assert!(
                    readme.contains(word),
                    "the README does not name {word} of sealinit {command}"
                );
            }
        }
    }
}

/// Hashes are printed with their beginning, so that an edit of the example changes the README.
#[test]
fn the_readme_prints_the_hashes_of_the_example() {
    let scratch = Directory::new();
    for name in ["manifest.json", "nginx.conf", "html"] {
        scratch.copy(repository().join("examples/nginx").join(name), name);
    }
    let configuration = fs::read(scratch.path("nginx.conf")).unwrap();
    let known = [
        digest(&scratch.path("manifest.json")),
        format!("sha256:{}", hash(&configuration)),
    ];
    let readme = read("README.md");
    let mut seen = 0;
    for printed in readme.split("sha256:").skip(1) {
        let Some((beginning, _)) = printed.split_once('…') else {
            continue;
        };
        if beginning.is_empty() || beginning.contains(|c: char| !c.is_ascii_hexdigit()) {
            continue;
        }
        seen += 1;
        let beginning = format!("sha256:{beginning}");
        assert!(
            known.iter().any(|hash| hash.starts_with(&beginning)),
            "{beginning} is none of {known:?}"
        );
    }
    assert!(seen > 10, "the README prints {seen} hashes");
    let size = format!("({} bytes)", configuration.len());
    assert!(readme.contains(&size), "the README does not print {size}");
}

/// Tables, code and output have the lines that they need.
#[test]
fn prose_in_the_readme_is_wrapped() {
    for path in ["README.md", "examples/README.md"] {
        let mut in_block = false;
        for line in read(path).lines() {
            in_block ^= line.starts_with("```");
            let is_prose = !in_block && !line.starts_with('|');
            assert!(
                !is_prose || line.chars().count() <= 100,
                "{path}: longer than 100 columns: {line}"
            );
        }
    }
}
