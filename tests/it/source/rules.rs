//! The rules of the source tree: documentation, unsafe code, sizes and names.

use std::collections::BTreeMap;

use super::tree::{functions, sources, types};

/// Lines of a file.
const FILE: usize = 450;
/// Lines of a function, from `fn` to its closing brace.
const FUNCTION: usize = 60;
/// Parameters of a function, `self` included.
const PARAMETERS: usize = 5;
/// Columns of a line of documentation.
const COLUMNS: usize = 100;

/// Words that begin a clause instead of a statement about the module.
const CLAUSES: [&str; 6] = ["How", "Never", "What", "Whether", "Which", "Who"];

/// The reason why this is not the documentation of a module, if there is one.
fn fault(documentation: &[&str]) -> Option<String> {
    let first = documentation.first().copied().unwrap_or_default();
    if first.is_empty() {
        return Some("has no documentation".into());
    }
    if documentation.get(1).is_some_and(|line| !line.is_empty()) {
        return Some("needs more than one line to say what it is".into());
    }
    let word = first.split(' ').next().unwrap_or_default();
    if CLAUSES.contains(&word) {
        return Some(format!("begins with {word}"));
    }
    if !first.ends_with('.') {
        return Some("does not begin with a sentence".into());
    }
    let widest = documentation.iter().map(|line| line.chars().count()).max();
    // With `//!` and a blank before it.
    (widest.unwrap_or_default() + 4 > COLUMNS).then(|| format!("is wider than {COLUMNS} columns"))
}

#[test]
fn every_module_says_in_one_line_what_it_is() {
    let faults: Vec<String> = sources()
        .iter()
        .filter_map(|source| {
            Some(format!(
                "{} {}",
                source.name,
                fault(&source.documentation())?
            ))
        })
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn unsafe_code_is_below_sys_alone() {
    let mut seen = false;
    for source in sources() {
        let code = source.code();
        let words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
        let is_unsafe = words.into_iter().any(|word| word == "unsafe")
            || code.contains("allow(unsafe_code") && source.name != "lib.rs";
        let may_be = source.name == "sys.rs" || source.name.starts_with("sys/");
        assert!(may_be || !is_unsafe, "src/{} has unsafe code", source.name);
        seen |= is_unsafe;
    }
    assert!(seen, "the test finds the unsafe code that there is");
}

#[test]
fn files_functions_and_parameter_lists_are_short_and_type_names_unique() {
    let mut faults = Vec::new();
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in sources() {
        let name = &source.name;
        let lines = source.text.lines().count();
        if lines > FILE {
            faults.push(format!("{name} has {lines} lines"));
        }
        for found in functions(&source.code()) {
            let function = &found.name;
            if found.lines > FUNCTION {
                faults.push(format!("{name}: {function} has {} lines", found.lines));
            }
            if found.parameters > PARAMETERS {
                let parameters = found.parameters;
                faults.push(format!("{name}: {function} has {parameters} parameters"));
            }
        }
        for found in types(&source.program()) {
            places.entry(found).or_default().push(name.clone());
        }
    }
    let twice = places.into_iter().filter(|(_, places)| places.len() > 1);
    faults.extend(twice.map(|(name, places)| format!("{name} is a type in {}", places.join(", "))));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_documentation_of_a_module_is_one_sentence_about_it() {
    for (documentation, expected) in [
        (
            &["Reads files.", "", "More about it,", "in two lines."][..],
            None,
        ),
        (&[], Some("has no documentation")),
        (
            &["Reads", "files."],
            Some("needs more than one line to say what it is"),
        ),
        (&["What it reads."], Some("begins with What")),
        (&["Reads files"], Some("does not begin with a sentence")),
    ] {
        assert_eq!(
            fault(documentation).as_deref(),
            expected,
            "{documentation:?}"
        );
    }
    let wide = format!("{}.", "x".repeat(100));
    assert_eq!(
        fault(&[&wide]).as_deref(),
        Some("is wider than 100 columns")
    );
}
