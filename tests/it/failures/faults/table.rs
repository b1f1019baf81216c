//! The outcomes by system call and error.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;

use crate::harness::for_each;

/// Outcomes by call and error.
#[derive(Default)]
pub(super) struct Table(Mutex<BTreeMap<(String, String), BTreeMap<String, usize>>>);

impl Table {
    /// Tests every item on all processors, and publishes the table before it fails.
    pub(super) fn fill<T: Sync>(
        &self,
        name: &str,
        items: &[T],
        test: impl Fn(&T) -> (String, String, String) + Sync,
    ) {
        let failed = Mutex::new(0);
        for_each(items, |item| {
            match catch_unwind(AssertUnwindSafe(|| test(item))) {
                Ok((call, error, outcome)) => {
                    let mut rows = self.0.lock().unwrap();
                    *rows
                        .entry((call, error))
                        .or_default()
                        .entry(outcome)
                        .or_default() += 1;
                }
                // Its message was printed when it panicked.
                Err(_) => *failed.lock().unwrap() += 1,
            }
        });
        self.publish(name);
        let failed = failed.into_inner().unwrap();
        assert_eq!(
            failed,
            0,
            "{failed} of {} failures did not end as they must: see above",
            items.len()
        );
    }

    /// All outcomes of a call and an error.
    pub(super) fn outcomes(&self, call: &str, error: &str) -> BTreeSet<String> {
        let rows = self.0.lock().unwrap();
        rows.get(&(call.into(), error.into()))
            .map_or_else(BTreeSet::new, |row| row.keys().cloned().collect())
    }

    /// Writes the table to a file.
    fn publish(&self, name: &str) {
        let mut text = format!("{:<14} {:<10} outcome (how often)\n", "call", "error");
        for ((call, error), outcomes) in self.0.lock().unwrap().iter() {
            let outcomes: Vec<String> = outcomes
                .iter()
                .map(|(outcome, count)| format!("{outcome} ({count})"))
                .collect();
            writeln!(text, "{call:<14} {error:<10} {}", outcomes.join(", ")).unwrap();
        }
        fs::write(
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("faults-{name}.txt")),
            &text,
        )
        .unwrap();
    }
}
