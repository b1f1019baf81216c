//! The end of a start: a test states what it expected, then asks closer questions.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::path::PathBuf;

use serde_json::Value;

use super::snapshot::Tree;

/// The capability sets in `/proc/PID/status`.
pub(crate) const CAPABILITY_SETS: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];

/// A set of capabilities or signals there that has none.
pub(crate) const EMPTY_SET: &str = "0000000000000000";

/// The end of a [`Launch`](super::Launch); a test must state what it expected.
#[derive(Debug)]
#[must_use]
pub(crate) struct Start {
    pub(super) directory: PathBuf,
    pub(super) description: String,
    pub(super) before: Tree,
    pub(super) after: Tree,
    pub(super) code: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Start {
    /// The service ran and left with 0; sealinit reported one summary and no error.
    #[track_caller]
    pub(crate) fn success(self) -> Outcome {
        self.exited(0)
    }

    /// The service ran and left with this code; sealinit reported one summary and no error.
    #[track_caller]
    pub(crate) fn exited(self, code: i32) -> Outcome {
        let outcome = self.ended(code);
        let state = outcome.state();
        assert!(
            ["sealed", "resumed", "verified", "restored"].contains(&state.as_str()),
            "the service cannot have run with state={state}\n{outcome:?}"
        );
        assert!(
            outcome.errors().is_empty(),
            "there were errors\n{outcome:?}"
        );
        outcome
    }

    /// The service did not run, nothing on the disk was touched, and an error has this reason.
    #[track_caller]
    pub(crate) fn refused(self, code: i32, reason: &str) -> Outcome {
        let changed = self.before.difference(&self.after);
        let outcome = self.failed(code, reason);
        assert!(
            changed.is_empty(),
            "the refusal changed the disk:\n{changed}\n{outcome:?}"
        );
        outcome
    }

    /// Asserts that nothing on the disk was written, by inode, link count and times.
    #[track_caller]
    pub(crate) fn untouched(&self) {
        let changed = self.before.difference(&self.after);
        assert!(
            changed.is_empty(),
            "the start changed the disk:\n{changed}\n{}",
            self.stderr
        );
    }

    /// The exit code, for a test that accepts several.
    #[track_caller]
    pub(crate) fn exit_code(&self) -> i32 {
        self.code
            .unwrap_or_else(|| panic!("there is no exit code: {self:?}"))
    }

    /// The log, for a test that decides by it which message it expects.
    pub(crate) fn log(&self) -> &str {
        &self.stderr
    }

    /// The exit code, which must be one of these.
    #[track_caller]
    pub(crate) fn one_of(&self, codes: &[i32]) -> i32 {
        let code = self.exit_code();
        let Self {
            description,
            stdout,
            stderr,
            ..
        } = self;
        assert!(
            codes.contains(&code),
            "{code} is not one of {codes:?}\n--- {description}\n{stdout}\n---\n{stderr}"
        );
        code
    }

    /// The service did not run, and an error has this reason; the disk may have been changed.
    #[track_caller]
    pub(crate) fn failed(self, code: i32, reason: &str) -> Outcome {
        assert!(!reason.is_empty(), "the test must name the reason");
        let outcome = self.ended(code);
        assert_eq!(outcome.stdout, "", "the service ran\n{outcome:?}");
        assert_eq!(outcome.state(), "refused", "{outcome:?}");
        outcome.each_line_is_one_message();
        let errors = outcome.errors();
        assert!(!errors.is_empty(), "no reason is given\n{outcome:?}");
        assert!(
            errors.iter().any(|error| error.contains(reason)),
            "the reason is not {reason:?}\n{outcome:?}"
        );
        outcome
    }

    /// Any subcommand, or a start that ended before its summary: only the exit code is asserted.
    #[track_caller]
    pub(crate) fn code(self, code: i32) -> Outcome {
        let outcome = Outcome {
            code: self.code,
            stdout: self.stdout,
            stderr: self.stderr,
            description: format!("{} in {}", self.description, self.directory.display()),
        };
        assert!(
            !outcome.stderr.contains("panicked"),
            "panicked\n{outcome:?}"
        );
        assert_eq!(outcome.code, Some(code), "the exit code\n{outcome:?}");
        outcome
    }

    #[track_caller]
    fn ended(self, code: i32) -> Outcome {
        let outcome = self.code(code);
        assert_eq!(
            outcome.summaries().len(),
            1,
            "every start has exactly one summary line\n{outcome:?}"
        );
        outcome
    }
}

/// An expected end of a start, for closer questions.
pub(crate) struct Outcome {
    description: String,
    code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Debug for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "--- {}\n--- exit code {:?}\n--- stdout\n{}\n--- stderr\n{}\n---",
            self.description, self.code, self.stdout, self.stderr
        )
    }
}

impl Outcome {
    fn summaries(&self) -> Vec<&str> {
        self.stderr
            .lines()
            .filter(|line| is_summary(line))
            .collect()
    }

    /// The key=value pairs of the summary line, of a text or a JSON log.
    #[track_caller]
    pub(crate) fn summary(&self) -> BTreeMap<String, String> {
        let line = self.summaries()[0];
        if line.starts_with('{') {
            let object: serde_json::Map<String, Value> = serde_json::from_str(line).unwrap();
            let text = |value: Value| match value {
                Value::String(text) => text,
                other => other.to_string(),
            };
            return object
                .into_iter()
                .map(|(key, value)| (key, text(value)))
                .collect();
        }
        line.split(' ')
            .filter_map(|word| word.split_once('='))
            .map(|(key, value)| (key.into(), value.into()))
            .collect()
    }

    /// One value of the summary line.
    #[track_caller]
    pub(crate) fn summarised(&self, key: &str) -> String {
        let summary = self.summary();
        summary
            .get(key)
            .unwrap_or_else(|| panic!("the summary has no {key}=\n{self:?}"))
            .clone()
    }

    /// The service, which printed its `/proc/self/status`, is uid and gid 1000 alone, with nothing
    /// of root's.
    #[track_caller]
    pub(crate) fn has_nothing_of_root(&self) {
        assert_eq!(self.status("Uid"), "1000 1000 1000 1000");
        assert_eq!(self.status("Gid"), "1000 1000 1000 1000");
        assert_eq!(self.status("Groups"), "1000");
        for set in CAPABILITY_SETS {
            assert_eq!(self.status(set), EMPTY_SET, "{set}");
        }
        assert_eq!(self.status("NoNewPrivs"), "1");
        for set in ["SigBlk", "SigIgn"] {
            assert_eq!(self.status(set), EMPTY_SET, "{set}");
        }
        assert_eq!(self.summarised("lock"), "full");
    }

    /// `state=` of the summary line.
    #[track_caller]
    pub(crate) fn state(&self) -> String {
        self.summarised("state")
    }

    fn lines_of(&self, level: &str) -> Vec<&str> {
        let prefix = format!("sealinit: {level}: ");
        self.stderr
            .lines()
            .filter(|line| !is_summary(line))
            .filter_map(|line| {
                if line.starts_with('{') {
                    json_of(line, level)
                } else {
                    line.strip_prefix(&prefix)
                }
            })
            .collect()
    }

    /// The errors, one a line, without their prefix and without the summary.
    pub(crate) fn errors(&self) -> Vec<&str> {
        self.lines_of("error")
    }

    /// The warnings, one a line, without their prefix and without the summary.
    pub(crate) fn warnings(&self) -> Vec<&str> {
        self.lines_of("warning")
    }

    /// Asserts that there was no warning.
    #[track_caller]
    pub(crate) fn without_warnings(&self) -> &Self {
        assert!(self.warnings().is_empty(), "there are warnings\n{self:?}");
        self
    }

    /// Asserts that a line of the log has this part.
    #[track_caller]
    pub(crate) fn says(&self, part: &str) -> &Self {
        assert!(
            self.stderr.lines().any(|line| line.contains(part)),
            "nothing says {part:?}\n{self:?}"
        );
        self
    }

    /// Asserts that neither the log nor standard output has this part.
    #[track_caller]
    pub(crate) fn never_says(&self, part: &str) -> &Self {
        assert!(
            !self.stderr.contains(part),
            "the log says {part:?}\n{self:?}"
        );
        assert!(
            !self.stdout.contains(part),
            "stdout says {part:?}\n{self:?}"
        );
        self
    }

    /// The value of a field in the service's `cat /proc/self/status`.
    #[track_caller]
    pub(crate) fn status(&self, field: &str) -> String {
        self.stdout
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
            .unwrap_or_else(|| panic!("no {field} in the service's status\n{self:?}"))
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Asserts, where no service has run, that each message is one line and has no control
    /// character that could drive a terminal.
    #[track_caller]
    fn each_line_is_one_message(&self) {
        for line in self.stderr.lines() {
            assert!(
                line.starts_with("sealinit: ") || line.starts_with('{'),
                "a message has more than one line: {line:?}\n{self:?}"
            );
            assert!(
                !line.chars().any(char::is_control),
                "a message has control characters: {line:?}\n{self:?}"
            );
        }
    }
}

/// Reports if a line of a log is the summary of a start. Text inside quotes does not count.
fn is_summary(line: &str) -> bool {
    if line.starts_with('{') {
        return serde_json::from_str::<Value>(line).is_ok_and(|line| line.get("state").is_some());
    }
    let bare: String = line.replace("\\\"", "").split('"').step_by(2).collect();
    ["state", "digest", "pin", "lock", "entries", "ms"]
        .iter()
        .all(|key| bare.contains(&format!(" {key}=")))
}

/// A line of a JSON log, if it is of this level.
fn json_of<'line>(line: &'line str, level: &str) -> Option<&'line str> {
    let object: Value = serde_json::from_str(line).unwrap();
    let found = object["level"].as_str().unwrap().to_lowercase();
    level.starts_with(&found).then_some(line)
}
