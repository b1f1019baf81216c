//! The README's examples of JSON reports have the keys and words of the real ones.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::blocks;
use crate::harness::{APP, Launch, sandbox_test};

/// The README's example of the JSON of one command, and the remark behind each of its keys.
struct Shape {
    example: Value,
    remarks: BTreeMap<String, String>,
    /// The places of the example that no report has had yet.
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

sandbox_test!(
    the_readme_shows_the_json_of_every_report_as_it_is,
    |sandbox| {
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
        // A value for every key: a difference, a closed directory, an extra name, and another
        // manifest.
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
);
