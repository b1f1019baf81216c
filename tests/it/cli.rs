//! The command line: usage, help, `digest`, options and their variables, log formats.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs, process};

use serde_json::{Map, Value, json};

use crate::sandbox::{CONF, CONTENT, MANIFEST, SEAL, Sandbox, one_file};

/// `sealinit` as any user would run it, outside of every sandbox.
fn sealinit(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sealinit"))
        .args(arguments)
        .env_clear()
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

/// A manifest and its sources in a directory of their own, which goes with the value.
struct Config(PathBuf);

impl Config {
    fn new(manifest: &str) -> Self {
        static COUNTER: AtomicUsize = AtomicUsize::new(0);
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let directory = env::temp_dir().join(format!("sealinit-config-{}-{count}", process::id()));
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("manifest.json"), manifest).unwrap();
        Self(directory)
    }

    fn source(self, name: &str, content: &str) -> Self {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    fn manifest(&self) -> String {
        self.0.join("manifest.json").to_str().unwrap().into()
    }

    fn digest(&self) -> String {
        let output = sealinit(&["digest", "--manifest", &self.manifest()]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(text(&output.stderr), "");
        let digest = text(&output.stdout).strip_suffix('\n').unwrap();
        let hex = digest.strip_prefix("sha256:").unwrap();
        assert!(
            hex.len() == 64
                && hex
                    .bytes()
                    .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')),
            "{digest}"
        );
        digest.into()
    }
}

impl Drop for Config {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
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

#[test]
fn help_and_version_are_answers_on_stdout() {
    for arguments in [
        &["--help"][..],
        &["run", "--help"],
        &["digest", "--help"],
        &["help"],
    ] {
        let output = sealinit(arguments);
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
        assert!(text(&output.stdout).contains("Usage:"), "{arguments:?}");
        assert_eq!(text(&output.stderr), "");
    }
    let version = sealinit(&["--version"]);
    assert_eq!(
        text(&version.stdout),
        concat!("sealinit ", env!("CARGO_PKG_VERSION"), "\n")
    );
    for option in [
        "--manifest",
        "--state-dir",
        "--pin",
        "--log-format",
        "--log-level",
    ] {
        assert!(
            text(&sealinit(&["run", "--help"]).stdout).contains(option),
            "{option}"
        );
    }
}

#[test]
fn wrong_usage_is_2_and_nothing_is_started() {
    for arguments in [
        &[][..],
        &["start"],
        &["run", "--no-such-option"],
        &["run", "--log-format", "xml"],
        &["run", "--log-level", "loud"],
        &["run", "--pin", "sha256:abc"],
        &["run", "--pin", ""],
        &["run", "true"],
        &["digest", "extra"],
    ] {
        let output = sealinit(arguments);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
        assert_eq!(text(&output.stdout), "", "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn an_invalid_variable_is_as_wrong_as_the_option() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.one_file(&["echo", "ran"]);
    for (variable, value) in [
        ("SEALINIT_PIN", "abc"),
        ("SEALINIT_LOG_FORMAT", "xml"),
        ("SEALINIT_LOG_LEVEL", "loud"),
    ] {
        let outcome = sandbox.launch().env(variable, value).start().code(2);
        assert_eq!(outcome.stdout, "");
        let named = format!("invalid value '{value}' for '{variable}'");
        assert!(outcome.stderr.contains(&named), "{outcome:?}");
        assert!(!outcome.stderr.contains(" for '--"), "{outcome:?}");
        assert!(!sandbox.exists(SEAL));
    }
    // A flag wins, and is what is named then.
    let outcome = sandbox
        .launch()
        .env("SEALINIT_PIN", "abc")
        .args(["--pin", "def"])
        .start()
        .code(2);
    let named = "invalid value 'def' for '--pin <sha256:HEX>'";
    assert!(outcome.stderr.contains(named), "{outcome:?}");
}

#[test]
fn an_empty_pin_is_none_in_the_environment_alone() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.one_file(&["echo", "ran"]);
    for pin in [&["--pin", ""][..], &["--pin="]] {
        let launch = sandbox.launch().env("SEALINIT_PIN", "").args(pin);
        let outcome = launch.start().code(2);
        assert!(
            outcome.stderr.contains("'--pin <sha256:HEX>'"),
            "{outcome:?}"
        );
        assert!(!sandbox.exists(SEAL));
    }
    let started = sandbox.launch().env("SEALINIT_PIN", "").start().success();
    assert_eq!(started.summarised("pin"), "none");
}

#[test]
fn a_command_without_the_dashes_is_answered_with_the_right_form() {
    for (arguments, form) in [
        (&["nginx", "-t"][..], "'sealinit run -- nginx -t'"),
        (&["run", "nginx"], "'sealinit run -- nginx'"),
        (
            &["run", "--supervise", "nginx", "-g", "daemon off;"],
            "'sealinit run --supervise -- nginx -g daemon off;'",
        ),
        (
            &["init", "--user", "u", "id"],
            "'sealinit init --user u -- id'",
        ),
        (&["check", "nginx"], "'sealinit check -- nginx'"),
        // What may be a typing error is not taken for a command.
        (&["verfy"], "'verify'"),
    ] {
        let output = sealinit(arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        let tips: Vec<&str> = said
            .lines()
            .filter_map(|line| line.strip_prefix("  tip: "))
            .collect();
        assert!(tips.len() == 1 && tips[0].ends_with(form), "{said}");
    }
}

#[test]
fn nothing_in_a_usage_error_drives_a_terminal() {
    for arguments in [
        &["\u{1b}[31m\n"][..],
        &["run", "\u{1b}[31m\n"],
        &["run", "--\u{1b}[31m"],
        &["run", "--log-level", "\u{1b}[31m"],
        &["run", "--state-dir=\u{9b}31m"],
        &["init", "--rewrite", "\u{1b}[31m=TERM", "--", "true"],
    ] {
        let output = sealinit(arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said:?}");
        assert!(
            !said.chars().any(|c| c.is_control() && c != '\n'),
            "{said:?}"
        );
    }
}

#[test]
fn the_digest_is_the_same_for_every_user_and_place_and_in_the_log() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
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

#[test]
fn the_digest_needs_no_accounts_and_writes_nothing() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
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
}

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
    fs::rename(renamed.0.join("tree/a"), renamed.0.join("tree/A")).unwrap();
    differs(renamed, "a name in a directory");
    let swapped = whole().source("tree/a", "b").source("tree/sub/b", "a");
    differs(swapped, "contents that changed places");
    // All of its blanks are between tokens, and so mean nothing to whoever parses it.
    for (index, _) in WHOLE.match_indices(' ') {
        let mut manifest = WHOLE.to_owned();
        manifest.replace_range(index..=index, "\t");
        let config = whole();
        fs::write(config.0.join("manifest.json"), manifest).unwrap();
        differs(config, "a blank of the manifest");
    }

    let touched = whole().source("tree/..data/ignored", "x");
    Command::new("touch")
        .args(["-d", "2001-01-01"])
        .arg(touched.0.join("app.conf"))
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
    fs::rename(config.0.join("app.conf"), config.0.join("..real")).unwrap();
    std::os::unix::fs::symlink("..real", config.0.join("app.conf")).unwrap();
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
        let output = sealinit(&["digest", "--manifest", &config.manifest()]);
        assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "");
        assert!(
            text(&output.stderr).contains(message),
            "{}",
            text(&output.stderr)
        );
    }
    let output = sealinit(&["digest", "--manifest", "/no/such/manifest.json"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("/no/such/manifest.json"));
}

#[test]
fn a_relative_manifest_is_taken_from_the_working_directory() {
    let config = whole();
    let output = Command::new(env!("CARGO_BIN_EXE_sealinit"))
        .args(["digest", "--manifest", "manifest.json"])
        .current_dir(&config.0)
        .output()
        .unwrap();
    assert_eq!(text(&output.stdout).trim_end(), config.digest());
}

#[test]
fn options_win_over_variables() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    let mut manifest = one_file(&["cat", CONF]);
    sandbox.one_file(&["cat", CONF]);
    manifest["service"]["command"] = json!(["echo", "variable"]);
    sandbox.source("variable.json", serde_json::to_string(&manifest).unwrap());
    manifest["service"]["command"] = json!(["echo", "option"]);
    sandbox.source("option.json", serde_json::to_string(&manifest).unwrap());

    let start = || {
        sandbox
            .launch()
            .env("SEALINIT_STATE_DIR", "/var/lib/variable")
    };
    let variable = start()
        .env("SEALINIT_MANIFEST", "/etc/sealinit/variable.json")
        .start()
        .success();
    assert_eq!(variable.stdout, "variable\n");
    assert!(sandbox.exists("/var/lib/variable/seal") && !sandbox.exists("/var/lib/sealinit"));

    let option = start()
        .env("SEALINIT_MANIFEST", "/etc/sealinit/variable.json")
        .args([
            "--manifest",
            "/etc/sealinit/option.json",
            "--state-dir",
            "/var/lib/option",
        ])
        .start()
        .success();
    assert_eq!(
        (option.state().as_str(), option.stdout.as_str()),
        ("sealed", "option\n")
    );
    assert!(sandbox.exists("/var/lib/option/seal"));
}

#[test]
fn the_json_log_is_one_object_a_line_with_the_same_keys() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.one_file(&["true"]);
    let lines = |outcome: &crate::sandbox::Outcome| -> Vec<Map<String, Value>> {
        outcome
            .stderr
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .inspect(|line: &Map<String, Value>| {
                assert_eq!(line["program"], "sealinit");
                let time = line["timestamp"].as_str().unwrap();
                let (date, of_day) = time.split_once('T').unwrap();
                assert!(date.len() == 10 && date.starts_with("20"), "{time}");
                assert!(of_day.len() >= 9 && of_day.ends_with('Z'), "{time}");
                assert!(line["level"].is_string() && line["message"].is_string());
            })
            .collect()
    };
    let launch = || {
        sandbox
            .launch()
            .args(["--log-format", "json", "--log-level", "debug"])
    };
    for state in ["sealed", "verified"] {
        let outcome = launch().start().success();
        let summaries: Vec<_> = lines(&outcome)
            .into_iter()
            .filter(|line| line.contains_key("state"))
            .collect();
        assert_eq!(summaries.len(), 1);
        let summary = &summaries[0];
        assert_eq!(summary["state"], state);
        assert_eq!(summary["pin"], "none");
        assert_eq!(summary["lock"], "full");
        assert_eq!(outcome.summarised("entries"), "1");
        assert!(summary["digest"].as_str().unwrap().starts_with("sha256:"));
        assert!(summary.contains_key("ms"));
    }
    sandbox
        .mode(CONF, 0o444)
        .file("/etc/app/odd\u{1b}[31m\nname", "");
    let refused = launch().start().refused(80, "");
    let lines = lines(&refused);
    assert_eq!(
        lines
            .iter()
            .filter(|line| line.get("state").is_some_and(|state| state == "refused"))
            .count(),
        1
    );
    assert!(lines.iter().any(|line| {
        line.values()
            .any(|value| value.as_str().is_some_and(|text| text.contains(CONF)))
    }));
}

#[test]
fn the_log_level_leaves_out_what_is_below_it() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.one_file(&["true"]);
    let count = |level: &str| {
        let outcome = sandbox
            .launch()
            .args(["--log-level", level])
            .start()
            .code(0);
        outcome.stderr.lines().count()
    };
    assert!(count("debug") >= count("info"));
    assert_eq!(count("info"), 1, "a start without surprises says one line");
    assert_eq!(count("warn"), 0);
    assert_eq!(count("error"), 0);
    sandbox.file(CONF, "tampered");
    let refused = sandbox
        .launch()
        .args(["--log-level", "error"])
        .start()
        .refused(80, CONF);
    assert_eq!(refused.stdout, "");
}

#[test]
fn nothing_but_the_service_writes_to_stdout() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.one_file(&["cat", CONF]);
    for format in ["text", "json"] {
        let start = sandbox
            .launch()
            .args(["--log-level", "debug", "--log-format", format])
            .start();
        assert_eq!(start.code(0).stdout, CONTENT);
    }
}
