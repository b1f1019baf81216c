//! The repository itself: its documentation, tried, and the rules of its source tree.

mod json_reports;
mod layers;
mod readme;
mod rules;
mod tree;
mod typestate;

use std::fs;

use crate::harness::repository;

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
