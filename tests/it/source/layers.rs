//! The layers of the source: a folder imports only folders below it, and no two files import each
//! other in a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each folder, or file at the top of `src`, from the bottom up, with what it may import. A folder
/// that needs one more is a change of the design, made here first.
const LAYERS: [(&str, &str); 25] = [
    ("escape", ""),
    ("exit_code", ""),
    ("ids", "escape"),
    ("sys", ""),
    ("json", "escape"),
    ("digest", ""),
    ("fs", "digest escape sys"),
    ("drift", "digest escape fs ids"),
    ("error", "digest drift escape exit_code fs json sys"),
    ("declaration", "digest error escape json sys"),
    ("manifest", "declaration digest error escape fs json sys"),
    ("accounts", "declaration error escape fs ids json sys"),
    (
        "plan",
        "accounts declaration digest error escape fs manifest sys",
    ),
    ("verify", "digest drift error fs plan"),
    ("install", "digest error escape fs plan verify"),
    ("decide", "accounts declaration digest drift error plan"),
    (
        "state",
        "accounts decide declaration digest error escape fs install plan",
    ),
    ("report", "accounts digest drift error escape ids plan sys"),
    (
        "service",
        "accounts declaration error escape exit_code fs install plan state sys",
    ),
    (
        "preflight",
        "accounts declaration digest drift error escape fs plan service state sys",
    ),
    (
        "start",
        "accounts decide declaration digest drift error escape fs install plan preflight report service state verify",
    ),
    (
        "commands",
        "accounts decide declaration digest drift error exit_code fs ids manifest plan preflight report service start state sys verify",
    ),
    ("cli", "commands escape"),
    ("lib", "cli error report service"),
    ("main", ""),
];

/// The Rust files below `src` but unit tests, as paths relative to it.
fn sources() -> Vec<PathBuf> {
    fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && !path.ends_with("tests.rs")
            {
                found.push(path);
            }
        }
    }
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&src, &mut found);
    found
        .iter()
        .map(|path| path.strip_prefix(&src).unwrap().to_owned())
        .collect()
}

fn read(file: &Path) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file)).unwrap()
}

/// The code of a file without comments and without its unit tests.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let lines = text.lines().map(|line| match line.find("//") {
        Some(at) if !line[..at].contains('"') => &line[..at],
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The module of a file, as the components of its path below the crate.
fn module(file: &Path) -> Vec<String> {
    let mut path: Vec<String> = file
        .with_extension("")
        .iter()
        .map(|name| name.to_str().unwrap().to_owned())
        .collect();
    if path.last().is_some_and(|name| name == "mod") {
        path.pop();
    }
    path
}

/// Every path of this crate that the code of `file` names, as a path below `crate::`, with groups
/// in braces taken apart.
fn imports(file: &Path, code: &str) -> BTreeSet<Vec<String>> {
    let own = module(file);
    let above = own[..own.len().saturating_sub(1)].to_vec();
    let mut found = BTreeSet::new();
    for (keyword, prefix) in [("crate::", Vec::new()), ("self::", own), ("super::", above)] {
        for (at, _) in code.match_indices(keyword) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || ['_', '$', ':'].contains(&c)) {
                continue;
            }
            expand(&code[at + keyword.len()..], &prefix, &mut found);
        }
    }
    found
}

/// Adds the paths that `rest` begins with below `prefix`; returns what follows them.
fn expand<'t>(rest: &'t str, prefix: &[String], found: &mut BTreeSet<Vec<String>>) -> &'t str {
    let mut rest = rest.trim_start();
    if let Some(group) = rest.strip_prefix('{') {
        rest = group;
        loop {
            rest = rest.trim_start();
            if let Some(after) = rest.strip_prefix('}') {
                return after;
            }
            rest = expand(rest, prefix, found).trim_start();
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
    }
    if let Some(after) = rest.strip_prefix('*') {
        found.insert(prefix.to_vec());
        return after;
    }
    let end = rest
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(rest.len());
    let (name, after) = rest.split_at(end);
    assert!(
        !name.is_empty(),
        "cannot parse an import at {:?}",
        &rest[..rest.len().min(40)]
    );
    let mut path = prefix.to_vec();
    if name != "self" {
        path.push(name.to_owned());
    }
    match after.strip_prefix("::") {
        Some(below) if !below.starts_with('<') => expand(below, &path, found),
        _ => {
            found.insert(path);
            after.strip_prefix(" as ").map_or(after, |renamed| {
                renamed.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_')
            })
        }
    }
}

/// The first component of a file's path: its folder, or its own name at the top.
fn folder(file: &Path) -> String {
    let first = file
        .components()
        .next()
        .unwrap()
        .as_os_str()
        .to_str()
        .unwrap();
    first.trim_end_matches(".rs").to_owned()
}

#[test]
fn a_folder_imports_only_the_folders_that_its_layer_allows() {
    let allowed: BTreeMap<&str, BTreeSet<&str>> = LAYERS
        .into_iter()
        .map(|(folder, imports)| (folder, imports.split_whitespace().collect()))
        .collect();
    let mut wrong = Vec::new();
    for file in sources() {
        let folder = folder(&file);
        // Entry points for fuzzing, which are not part of the program.
        if folder == "fuzzing" {
            continue;
        }
        let Some(below) = allowed.get(folder.as_str()) else {
            panic!("{folder} is in no layer");
        };
        for import in imports(&file, &code(&read(&file))) {
            let Some(target) = import.first() else {
                continue;
            };
            if *target != folder && !below.contains(target.as_str()) {
                wrong.push(format!("{} imports {}", file.display(), import.join("::")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_layer_allows_only_layers_below_it() {
    let mut below = BTreeSet::new();
    for (folder, imports) in LAYERS {
        for import in imports.split_whitespace() {
            assert!(
                below.contains(import),
                "{folder} may import {import}, which is not below it"
            );
        }
        below.insert(folder);
    }
}

/// The file that a path below `crate::` leads to.
fn target(import: &[String], files: &BTreeSet<PathBuf>) -> Option<PathBuf> {
    (1..=import.len()).rev().find_map(|length| {
        let path: PathBuf = import[..length].iter().collect();
        [path.with_extension("rs"), path.join("mod.rs")]
            .into_iter()
            .find(|file| files.contains(file))
    })
}

#[test]
fn no_two_files_import_each_other_in_a_circle() {
    let files: BTreeSet<PathBuf> = sources().into_iter().collect();
    let mut edges: BTreeMap<PathBuf, BTreeSet<PathBuf>> = BTreeMap::new();
    for file in &files {
        // The module table and the command line know everything.
        if ["lib", "main", "fuzzing"].contains(&folder(file).as_str()) {
            continue;
        }
        let imported = imports(file, &code(&read(file)));
        let targets = imported.iter().filter_map(|import| target(import, &files));
        edges.insert(
            file.clone(),
            targets.filter(|target| target != file).collect(),
        );
    }
    if let Some(circle) = circle(&edges) {
        let names: Vec<String> = circle
            .iter()
            .map(|file| file.display().to_string())
            .collect();
        panic!("{}", names.join(" -> "));
    }
}

/// The first circle in a graph, as the nodes along it.
fn circle(edges: &BTreeMap<PathBuf, BTreeSet<PathBuf>>) -> Option<Vec<PathBuf>> {
    fn visit(
        node: &PathBuf,
        edges: &BTreeMap<PathBuf, BTreeSet<PathBuf>>,
        way: &mut Vec<PathBuf>,
        done: &mut BTreeSet<PathBuf>,
    ) -> Option<Vec<PathBuf>> {
        if let Some(at) = way.iter().position(|passed| passed == node) {
            let mut circle = way[at..].to_vec();
            circle.push(node.clone());
            return Some(circle);
        }
        if !done.insert(node.clone()) {
            return None;
        }
        way.push(node.clone());
        let found = edges
            .get(node)
            .into_iter()
            .flatten()
            .find_map(|next| visit(next, edges, way, done));
        way.pop();
        found
    }
    let mut done = BTreeSet::new();
    edges
        .keys()
        .find_map(|node| visit(node, edges, &mut Vec::new(), &mut done))
}

#[test]
fn imports_are_found_however_they_are_written() {
    let code = "use crate::{a::{self, B}, c::d as e, f::*};\nuse other_crate::x;\n\
                let y = crate::g::h::<T>();\nuse self::i::J;\nuse super::k;";
    let file = Path::new("folder/file.rs");
    let found: Vec<String> = imports(file, code)
        .into_iter()
        .map(|path| path.join("::"))
        .collect();
    assert_eq!(
        found,
        [
            "a",
            "a::B",
            "c::d",
            "f",
            "folder::file::i::J",
            "folder::k",
            "g::h"
        ]
    );
    let module = imports(Path::new("folder/mod.rs"), "use self::a::B;");
    assert_eq!(
        module,
        BTreeSet::from([vec!["folder".into(), "a".into(), "B".into()]])
    );
}

#[test]
fn a_circle_is_found() {
    let path = |name: &str| PathBuf::from(name);
    let mut edges = BTreeMap::from([
        (path("a"), BTreeSet::from([path("b")])),
        (path("b"), BTreeSet::from([path("c")])),
        (path("c"), BTreeSet::new()),
    ]);
    assert_eq!(circle(&edges), None);
    edges.insert(path("c"), BTreeSet::from([path("b")]));
    assert_eq!(circle(&edges), Some(vec![path("b"), path("c"), path("b")]));
}
