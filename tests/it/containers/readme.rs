//! The console sessions of the README, run as they are printed.

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::harness::{Configuration, Directory, Image, docker_test, repository, sealinit};

/// The time of a status and of a log line, as the README prints them.
const TIMES: [&str; 2] = ["2026-01-31T23:59:59Z", "2026-01-31T23:59:59.123456Z"];

/// Stands for the rest of a hash, and for values that differ at each run.
const ELLIPSIS: char = '…';

/// A command of a session, and the output that is printed below it.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    command: String,
    output: Vec<String>,
}

/// The steps of the console blocks in each section of the README that has any.
fn sessions() -> Vec<Vec<Step>> {
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    readme
        .split("\n## ")
        .map(|section| {
            section
                .split("```console\n")
                .skip(1)
                .flat_map(|block| steps(block.split("```").next().unwrap()))
                .collect::<Vec<_>>()
        })
        .filter(|steps| !steps.is_empty())
        .collect()
}

fn steps(block: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in block.lines() {
        match line.strip_prefix("$ ") {
            Some(command) => steps.push(Step {
                command: command.to_owned(),
                output: Vec::new(),
            }),
            None => steps.last_mut().unwrap().output.push(line.to_owned()),
        }
    }
    steps
}

/// `text` with `name` in the place of the word `web`.
fn with_name(text: &str, name: &str) -> String {
    text.split_inclusive([' ', ';', ')'])
        .map(|word| match word.strip_prefix("web") {
            Some("") => name.to_owned(),
            Some(end @ (" " | ";" | ")")) => format!("{name}{end}"),
            _ => word.to_owned(),
        })
        .collect()
}

/// A printed line, with an ellipsis for each value that differs at each run.
fn pattern(line: &str) -> String {
    let mut line = line.to_owned();
    for time in TIMES {
        line = line.replace(time, &ELLIPSIS.to_string());
    }
    for key in [" ms=", "\"ms\":"] {
        if let Some((before, after)) = line.split_once(key) {
            let end = after.trim_start_matches(|c: char| c.is_ascii_digit());
            line = format!("{before}{key}{ELLIPSIS}{end}");
        }
    }
    line
}

/// Returns true if `found` is `pattern` with a hash, a number or a time for each ellipsis.
fn is_like(pattern: &str, found: &str) -> bool {
    let Some((before, after)) = pattern.split_once(ELLIPSIS) else {
        return pattern == found;
    };
    let Some(rest) = found.strip_prefix(before) else {
        return false;
    };
    let is_value = |c: char| c.is_ascii_alphanumeric() || [':', '-', '.'].contains(&c);
    let longest = rest.find(|c| !is_value(c)).unwrap_or(rest.len());
    (1..=longest).any(|end| is_like(after, &rest[end..]))
}

/// Runs a command as an operator does: in the repository, with sealinit in PATH, as root.
fn run(command: &str, directory: &Path) -> Vec<String> {
    let programs = sealinit().parent().unwrap().display();
    let path = env::var("PATH").unwrap();
    let output = Command::new("sh")
        .args(["-c", &format!("exec 2>&1\n{command}")])
        .current_dir(directory)
        .env("PATH", format!("{programs}:{path}"))
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    printed.lines().map(str::to_owned).collect()
}

docker_test!(every_console_session_in_the_readme_prints_this, {
    let sessions = sessions();
    let commands: Vec<&str> = sessions
        .iter()
        .flatten()
        .map(|step| step.command.as_str())
        .collect();
    for command in ["logs", "verify", "status", "check", "plan --diff", "digest"] {
        assert!(
            commands.iter().any(|shown| shown.contains(command)),
            "the README does not show {command}"
        );
    }
    for session in sessions {
        let configuration = Configuration::example("nginx");
        let directory = Directory::new();
        fs::create_dir(directory.path("examples")).unwrap();
        symlink(configuration.path(""), directory.path("examples/nginx")).unwrap();
        let container = Image::nginx().run().configuration(&configuration).start();
        container.started();
        for Step { command, output } in session {
            let command = with_name(&command, container.name());
            let command = command.replace("sealinit-nginx", Image::nginx().id());
            let found = run(&command, &directory.path(""));
            let expected: Vec<String> = output
                .iter()
                .map(|line| pattern(&with_name(line, container.name())))
                .collect();
            let same = expected.len() == found.len()
                && expected
                    .iter()
                    .zip(&found)
                    .all(|(pattern, found)| is_like(pattern, found));
            assert!(
                same,
                "$ {command}\nin the README:\n{}\nprinted:\n{}",
                expected.join("\n"),
                found.join("\n")
            );
        }
    }
});

#[test]
fn an_ellipsis_stands_for_a_value_and_for_nothing_else() {
    assert!(is_like(
        "digest=sha256:f7… pin=none",
        "digest=sha256:f774fb pin=none"
    ));
    assert!(is_like(&pattern("lock=full ms=7"), "lock=full ms=1234"));
    assert!(is_like(&pattern("{\"ms\":7}"), "{\"ms\":12}"));
    assert!(is_like(
        &pattern("sealed 2026-01-31T23:59:59Z by sealinit"),
        "sealed 2030-02-01T00:00:00Z by sealinit"
    ));
    for (pattern, found) in [
        (
            "digest=sha256:f7… pin=none",
            "digest=sha256:e774fb pin=none",
        ),
        ("digest=sha256:f7… pin=none", "digest=sha256:f774fb pin=ok"),
        ("digest=…", "digest="),
        ("sha256:f7… pin", "sha256:f774fb lock=full pin"),
        ("clean: 9 entries", "clean: 8 entries"),
    ] {
        assert!(!is_like(pattern, found), "{pattern} {found}");
    }
}

#[test]
fn the_container_of_the_readme_has_another_name_in_a_test() {
    let command = "docker wait web; docker logs web 2>&1 | grep /web sealinit-web";
    assert_eq!(
        with_name(command, "c1"),
        "docker wait c1; docker logs c1 2>&1 | grep /web sealinit-web"
    );
    assert_eq!(with_name("web", "c1"), "c1");
}
