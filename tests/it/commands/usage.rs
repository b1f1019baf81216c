//! Usage, help, options and their variables, and the formats of the log.

use serde_json::{Map, Value, json};

use super::text;
use crate::harness::{CONF, CONTENT, Outcome, SEAL, on_host, one_file, sandbox_test};

#[test]
fn help_and_version_are_answers_on_stdout() {
    for arguments in [
        &["--help"][..],
        &["run", "--help"],
        &["digest", "--help"],
        &["help"],
    ] {
        let output = on_host(arguments);
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
        assert!(text(&output.stdout).contains("Usage:"), "{arguments:?}");
        assert_eq!(text(&output.stderr), "");
    }
    let version = on_host(["--version"]);
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
            text(&on_host(["run", "--help"]).stdout).contains(option),
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
        let output = on_host(arguments);
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

sandbox_test!(an_invalid_variable_is_an_error_of_usage, |sandbox| {
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
    // A flag wins, and the error names it.
    let outcome = sandbox
        .launch()
        .env("SEALINIT_PIN", "abc")
        .args(["--pin", "def"])
        .start()
        .code(2);
    let named = "invalid value 'def' for '--pin <sha256:HEX>'";
    assert!(outcome.stderr.contains(named), "{outcome:?}");
});

sandbox_test!(an_empty_pin_in_the_environment_is_no_pin, |sandbox| {
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
});

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
        // A probable typing error is not taken for a command.
        (&["verfy"], "'verify'"),
    ] {
        let output = on_host(arguments);
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
fn a_usage_error_escapes_control_characters() {
    for arguments in [
        &["\u{1b}[31m\n"][..],
        &["run", "\u{1b}[31m\n"],
        &["run", "--\u{1b}[31m"],
        &["run", "--log-level", "\u{1b}[31m"],
        &["run", "--state-dir=\u{9b}31m"],
        &["init", "--rewrite", "\u{1b}[31m=TERM", "--", "true"],
    ] {
        let output = on_host(arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said:?}");
        assert!(
            !said.chars().any(|c| c.is_control() && c != '\n'),
            "{said:?}"
        );
    }
}

sandbox_test!(options_win_over_variables, |sandbox| {
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
});

sandbox_test!(
    the_json_log_is_one_object_a_line_with_the_same_keys,
    |sandbox| {
        sandbox.one_file(&["true"]);
        let lines = |outcome: &Outcome| -> Vec<Map<String, Value>> {
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
        let refused = launch().start().refused(80, CONF);
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
);

sandbox_test!(the_log_level_leaves_out_what_is_below_it, |sandbox| {
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
});

sandbox_test!(nothing_but_the_service_writes_to_stdout, |sandbox| {
    sandbox.one_file(&["cat", CONF]);
    for format in ["text", "json"] {
        let start = sandbox
            .launch()
            .args(["--log-level", "debug", "--log-format", format])
            .start();
        assert_eq!(start.code(0).stdout, CONTENT);
    }
});
