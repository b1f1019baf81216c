//! What the documentation says, tried: README blocks, examples, exit codes, help, and the rules of the source tree itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::sandbox::{APP, Launch, Sandbox};

const SEALINIT: &str = env!("CARGO_BIN_EXE_sealinit");

fn repository() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The code blocks of the README in one language.
fn blocks(language: &str) -> Vec<String> {
    let text = read("README.md");
    let mut blocks = Vec::new();
    let mut block: Option<(String, String)> = None;
    for line in text.lines() {
        match (&mut block, line.strip_prefix("```")) {
            (None, Some(language)) => block = Some((language.to_owned(), String::new())),
            (Some(_), Some(_)) => {
                let (found, content) = block.take().unwrap();
                if found == language {
                    blocks.push(content);
                }
            }
            (Some((_, content)), None) => {
                content.push_str(line);
                content.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(block.is_none(), "a code block does not end");
    blocks
}

/// A directory that is removed with the value.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let directory =
            std::env::temp_dir().join(format!("sealinit-docs-{}-{name}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn digest(manifest: &Path) -> Output {
    Command::new(SEALINIT)
        .args(["digest", "--manifest"])
        .arg(manifest)
        .output()
        .unwrap()
}

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
    for (index, text) in manifests.iter().enumerate() {
        let scratch = Scratch::new(&format!("manifest-{index}"));
        let manifest: Value = serde_json::from_str(text).unwrap();
        make_sources(&manifest, &scratch.0);
        fs::write(scratch.0.join("manifest.json"), text).unwrap();
        let output = digest(&scratch.0.join("manifest.json"));
        assert!(
            output.status.success(),
            "{text}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
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
            let output = digest(&manifest);
            assert!(
                output.status.success(),
                "{manifest:?}\n{}",
                String::from_utf8_lossy(&output.stderr)
            );
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
    let scratch = Scratch::new("digest");
    fs::write(
        scratch.0.join("manifest.json"),
        r#"{"version": 1, "service": {"user": "app"},
            "files": [{"source": "app.conf", "dest": "/etc/app/app.conf"}], "directories": [{"path": "/var/lib/app"}]}"#,
    )
    .unwrap();
    fs::write(scratch.0.join("app.conf"), "greeting = hello\n").unwrap();
    let computed = Command::new("sh")
        .args(["-eu", "-c", &recipe])
        .current_dir(&scratch.0)
        .output()
        .unwrap();
    let computed = String::from_utf8(computed.stdout).unwrap();
    let printed = String::from_utf8(digest(&scratch.0.join("manifest.json")).stdout).unwrap();
    assert_eq!(
        printed.trim(),
        format!("sha256:{}", computed.split_whitespace().next().unwrap())
    );
}

/// The first of the README's two commands, as it is built for these tests.
#[test]
fn the_quickstart_plays_the_whole_story() {
    assert!(
        blocks("sh")
            .iter()
            .any(|block| block == "cargo run --example quickstart\n")
    );
    assert!(blocks("sh").iter().any(|block| block == "cargo test\n"));
    let quickstart = Path::new(SEALINIT)
        .with_file_name("examples")
        .join("quickstart");
    if !quickstart.exists() {
        // `cargo test --test it` does not build examples; `cargo test` does.
        assert!(
            std::env::var_os("CI").is_none(),
            "{quickstart:?} was not built"
        );
        let reason = "SKIP docs::the_quickstart_plays_the_whole_story: run `cargo test`, which builds examples\n";
        let _ = std::io::Write::write_all(&mut std::io::stderr(), reason.as_bytes());
        return;
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

#[test]
fn the_readme_lists_exactly_the_exit_codes_of_the_source() {
    let code = |line: &str| {
        line.trim()
            .strip_prefix("pub(crate) const ")?
            .split(['=', ';'])
            .nth(1)?
            .trim()
            .parse()
            .ok()
    };
    let codes: BTreeSet<u8> = read("src/exit_code.rs").lines().filter_map(code).collect();
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
        let output = Command::new(SEALINIT)
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

/// What the README says about the JSON of one command: an example, and what stands behind each of its keys.
struct Shape {
    example: Value,
    remarks: BTreeMap<String, String>,
    /// Of what the example shows, what a report has not had yet.
    unshown: BTreeSet<String>,
}

impl Shape {
    fn of(command: &str) -> Self {
        let heading = format!("// sealinit {command}\n");
        let block = blocks("jsonc")
            .into_iter()
            .find(|block| block.starts_with(&heading))
            .unwrap();
        let mut json = String::new();
        let mut remarks: BTreeMap<String, String> = BTreeMap::new();
        for line in block.lines() {
            let (code, remark) = line.split_once("//").unwrap_or((line, ""));
            json.push_str(code);
            for key in code
                .split('"')
                .skip(1)
                .step_by(2)
                .filter(|word| code.contains(&format!("\"{word}\":")))
            {
                remarks.entry(key.to_owned()).or_default().push_str(remark);
            }
        }
        let example: Value =
            serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {block}"));
        let mut unshown = BTreeSet::new();
        places(&example, "$", &mut unshown);
        Self {
            example,
            remarks,
            unshown,
        }
    }

    /// Asserts that a report has these keys and no others, and values of these types and words.
    #[track_caller]
    fn covers(&mut self, launch: Launch<'_>) {
        let outcome = launch.start();
        let code = outcome.exit_code();
        let report: Value = serde_json::from_str(&outcome.code(code).stdout).unwrap();
        self.compare(&self.example, &report, "");
        let mut shown = BTreeSet::new();
        places(&report, "$", &mut shown);
        self.unshown.retain(|place| !shown.contains(place));
    }

    fn compare(&self, example: &Value, found: &Value, key: &str) {
        /// Keys whose value is one of the words in the remark.
        const WORDS: [&str; 10] = [
            "action",
            "area",
            "attribute",
            "change",
            "kind",
            "lock",
            "pin",
            "result",
            "start",
            "state",
        ];
        let remark = self.remarks.get(key).map_or("", String::as_str);
        match (example, found) {
            (Value::Object(example), Value::Object(found)) => {
                for key in found.keys() {
                    assert!(example.contains_key(key), "the README does not name {key}");
                }
                for (key, example) in example {
                    match found.get(key) {
                        Some(found) => self.compare(example, found, key),
                        None => assert!(self.remarks[key].contains("missing"), "{key} is missing"),
                    }
                }
            }
            (Value::Array(example), Value::Array(found)) => {
                for found in found {
                    self.compare(&example[0], found, key);
                }
            }
            (Value::String(_), Value::String(found)) if WORDS.contains(&key) => {
                let known = remark
                    .split(|c: char| !c.is_ascii_lowercase())
                    .any(|word| word == found);
                assert!(known, "{found:?} is not in the remark on {key}: {remark}");
            }
            (Value::String(_), Value::String(_))
            | (Value::Number(_), Value::Number(_))
            | (Value::Null, Value::Null) => {}
            (_, Value::Null) => assert!(
                remark.contains("null"),
                "{key} is null, and the README does not say when"
            ),
            (example, found) => panic!("{key} is {found}, and in the README {example}"),
        }
    }
}

/// Every place in `value` that is not null, elements of an array as one.
fn places(value: &Value, at: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => object
            .iter()
            .for_each(|(key, value)| places(value, &format!("{at}.{key}"), found)),
        Value::Array(array) => array
            .iter()
            .for_each(|value| places(value, &format!("{at}[]"), found)),
        Value::Null => {}
        _ => {
            found.insert(at.to_owned());
        }
    }
}

#[test]
fn the_readme_shows_the_json_of_every_report_as_it_is() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    let mut manifest = json!({
        "version": 1,
        "service": {"user": "app", "command": ["true"]},
        "files": [
            {"content": "a\n", "dest": "/srv/a/conf"},
            {"content": "b\n", "dest": "/srv/b"},
            {"content": "data\n", "dest": "/srv/data", "mutable": true},
        ],
        "directories": [{"path": "/srv/tree"}],
        "absent": ["/srv/absent"],
    });
    sandbox.manifest(&manifest);
    for directory in ["/srv", "/srv/a", "/var/lib/sealinit"] {
        sandbox
            .directory(directory, 0o755)
            .owner(directory, APP, APP);
    }
    let report = |words: &[&str]| {
        sandbox
            .launch()
            .subcommand([words, &["--format", "json"]].concat())
            .user(APP, APP)
    };
    let [mut verify, mut check, mut plan, mut status] =
        ["verify", "check", "plan", "status"].map(Shape::of);
    verify.covers(report(&["verify"]));
    status.covers(report(&["status"]));
    plan.covers(report(&["plan", "--diff"]));
    check.covers(report(&["check"]));
    sandbox.launch().user(APP, APP).start().success();

    verify.covers(report(&["verify"]));
    status.covers(report(&["status"]));
    // Something for every key: what differs, what is closed, what is too much, and a manifest that is not the sealed one.
    sandbox
        .file("/srv/b", "b\nb\n")
        .file("/srv/absent", "")
        .owner("/srv/tree", 0, 0)
        .owner("/srv/a", 0, 0)
        .mode("/srv/a", 0o700);
    manifest["service"]["command"] = json!(["no-such-program"]);
    sandbox.manifest(&manifest);
    let other = format!("sha256:{}", "0".repeat(64));
    verify.covers(report(&["verify", "--pin", &other]));
    plan.covers(report(&["plan", "--diff"]));
    check.covers(report(&["check"]));
    manifest["service"]["user"] = json!("no-such-user");
    sandbox.manifest(&manifest);
    check.covers(report(&["check"]));
    sandbox.file("/var/lib/sealinit/seal", "torn");
    verify.covers(report(&["verify"]));
    status.covers(report(&["status"]));
    for shape in [verify, check, plan, status] {
        assert!(
            shape.unshown.is_empty(),
            "no report has {:?}",
            shape.unshown
        );
    }
}

/// The files under `src`, by name.
fn sources() -> Vec<(String, String)> {
    fs::read_dir(repository().join("src"))
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect()
}

#[test]
fn every_module_says_what_it_is_and_what_it_never_does() {
    for (name, text) in sources() {
        let doc: String = text
            .lines()
            .take_while(|line| line.starts_with("//!"))
            .collect();
        assert!(
            doc.starts_with("//! "),
            "src/{name}.rs has no documentation"
        );
        if !["lib", "main"].contains(&name.as_str()) {
            assert!(
                doc.contains("ever"),
                "src/{name}.rs does not say what it never does"
            );
        }
    }
}

#[test]
fn only_one_module_is_unsafe() {
    for (name, text) in sources() {
        let code = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let is_unsafe = code
            .into_iter()
            .any(|line| line.contains("unsafe {") || line.contains("allow(unsafe_code)"));
        assert_eq!(is_unsafe, name == "sys", "src/{name}.rs");
    }
}

/// Who may use what: a module that needs one more of these is a change of design, made here first.
#[test]
fn modules_import_only_what_their_place_allows() {
    let forbidden: [(&str, &[&str]); 18] = [
        // What the operator wrote is read without a look at the machine, and a plan is made without one.
        ("json", &["manifest", "tree", "sys", "plan"]),
        (
            "manifest",
            &["tree", "sys", "plan", "accounts", "inventory", "state"],
        ),
        ("inventory", &["tree", "sys", "plan", "accounts", "state"]),
        ("configuration", &["sys", "plan", "state", "install"]),
        (
            "plan",
            &[
                "sys",
                "state",
                "seal",
                "install",
                "verify",
                "preflight",
                "privileges",
            ],
        ),
        // What decides does not do, and what does not decide.
        // (verify knows install's proof of what was installed, no act of it.)
        ("verify", &["state", "seal", "privileges"]),
        (
            "verdict",
            &["install", "privileges", "exec", "launch", "start", "log"],
        ),
        ("preflight", &["install", "privileges", "seal", "verify"]),
        (
            "install",
            &[
                "manifest",
                "accounts",
                "seal",
                "state",
                "verify",
                "preflight",
            ],
        ),
        (
            "dir",
            &["tree", "plan", "manifest", "install", "verify", "state"],
        ),
        ("tree", &["plan", "manifest", "install", "verify", "state"]),
        ("supervisor", &["start", "plan", "state", "tree", "log"]),
        // What other threads do needs nothing that is one thread's.
        (
            "hashers",
            &[
                "acting",
                "dir",
                "tree",
                "source",
                "inventory",
                "verify",
                "privileges",
                "sys",
            ],
        ),
        // What reports does nothing else.
        (
            "verification",
            &["install", "privileges", "exec", "launch", "start"],
        ),
        (
            "status",
            &["install", "privileges", "exec", "launch", "start", "verify"],
        ),
        (
            "rehearsal",
            &["install", "privileges", "exec", "launch", "start"],
        ),
        (
            "forecast",
            &["install", "privileges", "exec", "launch", "start"],
        ),
        ("report", &["plan", "manifest", "tree", "sys", "verify"]),
    ];
    let sources = sources();
    for (module, never) in forbidden {
        let (_, text) = sources.iter().find(|(name, _)| name == module).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap();
        for other in never {
            let imported = text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"))
                .any(|line| {
                    line.contains(&format!("crate::{other}::"))
                        || line.contains(&format!("crate::{other};"))
                });
            assert!(!imported, "src/{module}.rs uses {other}");
        }
    }
    // Nothing below `lib` knows the command line.
    for (name, text) in &sources {
        assert!(
            name == "lib" || !text.contains("crate::cli"),
            "src/{name}.rs uses cli"
        );
    }
}
