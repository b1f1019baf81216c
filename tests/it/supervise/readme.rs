//! The README's table of signals, tried row by row.

use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

use super::service;
use crate::harness::{PROBE, sandbox_test};

/// A row of the README's table: signal numbers, and the text about them.
#[derive(Debug)]
struct Row {
    numbers: Vec<i32>,
    says: String,
}

/// The table between the heading "Signals" and the next one: `| 1, 3-5 | … |`.
fn signals_table(readme: &str) -> Vec<Row> {
    let section = readme
        .split_once("\n## Signals\n")
        .expect("the README has a section Signals")
        .1;
    let section = section.split("\n## ").next().unwrap();
    let cells = |line: &str| {
        line.split('|')
            .map(|cell| cell.trim().to_owned())
            .collect::<Vec<_>>()
    };
    let range = |part: &str| -> Option<RangeInclusive<i32>> {
        let (from, to) = part.split_once(['-', '–']).unwrap_or((part, part));
        Some(from.trim().parse().ok()?..=to.trim().parse().ok()?)
    };
    let row = |line: &str| {
        let cells = cells(line);
        let ranges: Option<Vec<_>> = cells
            .get(1)?
            .split(',')
            .map(|part| range(part.trim()))
            .collect();
        Some(Row {
            numbers: ranges?.into_iter().flatten().collect(),
            says: cells.last_chunk::<2>()?[0].clone(),
        })
    };
    section
        .lines()
        .filter(|line| line.starts_with('|'))
        .filter_map(row)
        .collect()
}

// Every signal is in the table once, and behaves as the table says.
sandbox_test!(the_readme_accounts_for_every_signal, |sandbox| {
    let readme =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let table = signals_table(&readme);
    let mut all: Vec<i32> = table
        .iter()
        .flat_map(|row| row.numbers.iter().copied())
        .collect();
    all.sort_unstable();
    assert_eq!(all, (1..=64).collect::<Vec<_>>(), "{table:#?}");

    // Sent by the service itself: first those that cannot be caught, which must do nothing.
    service(
        &sandbox,
        &[
            "sh",
            "-c",
            &format!("{PROBE} send $PPID 9 19; exec {PROBE} bounce $PPID"),
        ],
    );
    let service = sandbox.start().success();
    for row in &table {
        for number in &row.numbers {
            let passed_on = service
                .stdout
                .lines()
                .filter(|line| *line == format!("back {number}"))
                .count();
            let says = &row.says;
            let expected =
                if says.starts_with("passed on") || says.contains("sent by a process: passed on") {
                    1
                } else if says.starts_with("cannot be caught") {
                    0
                } else {
                    panic!("what does the README say of {number}? {says}")
                };
            assert_eq!(
                passed_on, expected,
                "the README says of {number}: {says}\n{service:?}"
            );
        }
    }
});
