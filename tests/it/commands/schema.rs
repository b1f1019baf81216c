//! `schema`: an independent validator and the reader accept the same manifests.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs, process};

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::harness::on_host;

fn schema() -> Value {
    let output = on_host(["schema"]);
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn validator() -> Validator {
    jsonschema::draft202012::new(&schema()).unwrap()
}

/// Reports if the reader accepts a manifest; its sources may be missing.
fn is_read(manifest: &Value) -> bool {
    static COUNTER: AtomicUsize = AtomicUsize::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let path = env::temp_dir().join(format!("sealinit-schema-{}-{count}.json", process::id()));
    fs::write(&path, manifest.to_string()).unwrap();
    let output = on_host(["digest", "--manifest", path.to_str().unwrap()]);
    fs::remove_file(&path).unwrap();
    let code = output.status.code();
    assert!([Some(0), Some(66), Some(78)].contains(&code), "{output:?}");
    code != Some(78)
}

/// A manifest with every key.
fn whole() -> Value {
    json!({
        "$schema": "./sealinit.schema.json",
        "version": 1,
        "service": {
            "command": ["nginx", "-g", "daemon off;"],
            "user": "nginx",
            "group": 101,
            "supplementary_groups": ["ssl-cert", 7],
            "env": {"TZ": "UTC", "EMPTY": ""},
            "working_dir": "/",
            "umask": "0027",
            "capabilities": ["NET_BIND_SERVICE", "CAP_CHOWN"],
            "no_new_privileges": true,
            "allow_root": false,
            "supervise": true,
            "signals": {"target": "group", "rewrite": {"TERM": "QUIT", "SIGHUP": null, "RTMIN+3": "RTMAX-1"}},
            "stop_grace_seconds": 8,
            "expected_exit": [0, 143],
            "x-note": 1
        },
        "files": [
            {"source": "a", "dest": "/etc/a", "owner": "root", "group": 0, "mode": "0440", "sha256": "ab".repeat(32), "secret": true},
            {"content": "", "dest": "/etc/b", "mode": "444", "mutable": true, "optional": false, "x-why": {}},
            {"source": "/c", "dest": "/etc/..c", "optional": true}
        ],
        "directories": [
            {"path": "/etc/d", "source": "d/", "mode": "0550", "file_mode": "0440", "exact": true},
            {"path": "/srv/e", "owner": "nginx", "recursive": true, "exact": false}
        ],
        "absent": ["/etc/f"],
        "check": [{"command": ["nginx", "-t"], "timeout_seconds": 10}],
        "on_drift": "restore",
        "on_manifest_change": "refuse",
        "x-team": "edge"
    })
}

#[test]
fn the_schema_is_valid_by_its_meta_schema() {
    let schema = schema();
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    jsonschema::meta::validate(&schema).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn every_key_has_a_description() {
    fn look(at: &str, schema: &Value, described: &mut usize) {
        if let Some(properties) = schema
            .get("properties")
            .and_then(Value::as_object)
            .filter(|_| schema["type"] == "object")
        {
            for (key, property) in properties {
                let description = property["description"].as_str().unwrap_or_default();
                assert!(description.ends_with('.'), "{at}.{key}: {description:?}");
                *described += 1;
            }
        }
        for (name, definition) in schema
            .get("$defs")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            look(name, definition, described);
        }
    }
    let mut described = 0;
    look("$", &schema(), &mut described);
    assert_eq!(described, 45);
}

/// Validates the examples of a schema and of everything below it, and notes the places that have some:
/// `$.files[].dest`.
fn examples(at: &str, schema: &Value, root: &Value, found: &mut BTreeSet<String>) {
    if let Some(examples) = schema.get("examples").and_then(Value::as_array) {
        let mut here = schema.clone();
        here["$defs"] = root["$defs"].clone();
        let validator = jsonschema::draft202012::new(&here).unwrap();
        assert!(
            !examples.is_empty() && examples.iter().all(|example| validator.is_valid(example)),
            "{at}: {examples:?}"
        );
        found.insert(at.to_owned());
    }
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        let target = root.pointer(target.strip_prefix('#').unwrap()).unwrap();
        examples(at, target, root, found);
    }
    for keyword in ["allOf", "anyOf", "oneOf"] {
        for part in schema
            .get(keyword)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            examples(at, part, root, found);
        }
    }
    if let Some(items) = schema.get("items") {
        examples(&format!("{at}[]"), items, root, found);
    }
    for (key, property) in schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        examples(&format!("{at}.{key}"), property, root, found);
    }
}

/// The examples that an editor offers are valid at their places.
#[test]
fn every_object_and_every_written_value_has_examples_that_are_valid() {
    let schema = schema();
    let mut found = BTreeSet::new();
    examples("$", &schema, &schema, &mut found);
    for place in [
        "$",
        "$.files[]",
        "$.files[].source",
        "$.files[].dest",
        "$.files[].owner",
        "$.files[].group",
        "$.files[].mode",
        "$.directories[]",
        "$.directories[].path",
        "$.directories[].source",
        "$.directories[].file_mode",
        "$.check[]",
        "$.check[].command",
        "$.service.command",
        "$.service.user",
        "$.service.working_dir",
        "$.service.umask",
        "$.service.signals.rewrite",
    ] {
        assert!(found.contains(place), "{place} has no examples: {found:?}");
    }
}

#[test]
fn valid_manifests_are_accepted_by_schema_and_reader() {
    let validator = validator();
    let mut manifests = vec![whole(), json!({"version": 1, "service": {}})];
    manifests.extend(schema()["examples"].as_array().unwrap().iter().cloned());
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut found = 0;
    for entry in fs::read_dir(examples).unwrap() {
        let path = entry.unwrap().path().join("manifest.json");
        if let Ok(text) = fs::read_to_string(path) {
            manifests.push(serde_json::from_str(&text).unwrap());
            found += 1;
        }
    }
    assert!(found >= 3, "{found} examples");
    let readme =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    for block in readme.split("```json\n").skip(1) {
        manifests.push(serde_json::from_str(block.split("```").next().unwrap()).unwrap());
    }
    for manifest in manifests {
        let errors: Vec<String> = validator
            .iter_errors(&manifest)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{errors:?}\n{manifest:#}");
        assert!(is_read(&manifest), "{manifest:#}");
    }
}

/// Places in [`whole`], and a value that is wrong there.
fn mistakes() -> Vec<(&'static str, Value)> {
    vec![
        ("", json!([])),
        ("/version", json!(2)),
        ("/version", json!("1")),
        ("/servce", json!({})),
        ("/service", json!("nginx")),
        ("/service/comand", json!([])),
        ("/service/$schema", json!("only at the top")),
        ("/service/command", json!("nginx -g")),
        ("/service/command", json!([])),
        ("/service/command", json!([""])),
        ("/service/command/1", json!(1)),
        ("/service/command/1", json!("a\u{0}b")),
        ("/service/user", json!("")),
        ("/service/user", json!("1000")),
        ("/service/user", json!(4_294_967_295_u32)),
        ("/service/user", json!(-1)),
        ("/service/user", json!(1.5)),
        ("/service/group", json!(true)),
        ("/service/env/SEALINIT_PIN", json!("")),
        ("/service/env/A=B", json!("")),
        ("/service/env/", json!("")),
        ("/service/env/TZ", json!(1)),
        ("/service/working_dir", json!("srv")),
        ("/service/umask", json!(27)),
        ("/service/umask", json!("1027")),
        ("/service/capabilities/0", json!("NET_BIND")),
        ("/service/supervise", json!(false)),
        ("/service/supervise", json!("yes")),
        ("/service/signals/target", json!("all")),
        ("/service/signals/rewrite/TERMINATE", json!("QUIT")),
        ("/service/signals/rewrite/TERM", json!("LEAVE")),
        ("/service/signals/rewrite/TERM", json!(15)),
        ("/service/expected_exit/0", json!(256)),
        ("/service/stop_grace_seconds", json!("8")),
        ("/files/0/content", json!("and source")),
        ("/files/0/mode", json!(440)),
        ("/files/0/mode", json!("0999")),
        ("/files/0/mode", json!("4755")),
        ("/files/0/mode", json!("0666")),
        ("/files/0/mode", json!("1444")),
        ("/files/0/sha256", json!("ab")),
        ("/files/0/dest", json!("etc/a")),
        ("/files/0/dest", json!("/")),
        ("/files/0/dest", json!("/etc/")),
        ("/files/0/dest", json!("/etc//a")),
        ("/files/0/dest", json!("/etc/../a")),
        ("/files/0/dest", json!("/etc/.")),
        ("/files/0/dest", json!("/etc/.sealinit.a")),
        ("/files/0/dest", json!(format!("/{}", "a".repeat(256)))),
        ("/files/0/dest", json!("/a".repeat(2048))),
        ("/files/0/source", json!("")),
        ("/files/0/perm", json!("0440")),
        ("/files/1/optional", json!(true)),
        ("/files/1/sha256", json!("ab".repeat(32))),
        ("/directories/0/recursive", json!(true)),
        ("/directories/1/exact", json!(true)),
        ("/directories/1/file_mode", json!("0440")),
        ("/directories/0/file_mode", json!("0442")),
        ("/absent/0", json!("relative")),
        ("/check/0/timeout_seconds", json!(0)),
        ("/check/0/command", json!([])),
        ("/check/0/shell", json!(true)),
        ("/on_drift", json!("ignore")),
        ("/on_manifest_change", json!(null)),
    ]
}

/// Strict: the editor underlines every mistake that the reader refuses.
#[test]
fn invalid_manifests_are_refused_by_schema_and_reader() {
    let validator = validator();
    for (place, wrong) in mistakes() {
        let mut manifest = whole();
        if let Some((parent, key)) = place.rsplit_once('/') {
            match manifest.pointer_mut(parent).unwrap() {
                Value::Array(array) => array[key.parse::<usize>().unwrap()] = wrong.clone(),
                object => object[key] = wrong.clone(),
            }
        } else {
            manifest = wrong.clone();
        }
        assert!(!is_read(&manifest), "the reader takes {wrong} at {place}");
        assert!(
            !validator.is_valid(&manifest),
            "the schema takes {wrong} at {place}"
        );
    }
    for (object, key) in [
        ("", "version"),
        ("", "service"),
        ("/files/0", "dest"),
        ("/files/0", "source"),
        ("/directories/0", "path"),
        ("/check/0", "command"),
    ] {
        let mut manifest = whole();
        manifest
            .pointer_mut(object)
            .unwrap()
            .as_object_mut()
            .unwrap()
            .remove(key);
        assert!(
            !is_read(&manifest) && !validator.is_valid(&manifest),
            "{object} without {key}"
        );
    }
}
