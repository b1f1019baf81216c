//! Log lines about work that takes long.

use std::time::{Duration, Instant};

/// Time after which the first line is logged.
const FIRST: Duration = Duration::from_secs(1);

/// Least time between two lines.
const BETWEEN: Duration = Duration::from_secs(10);

/// The progress of one piece of work.
#[derive(Debug)]
pub(crate) struct Progress {
    /// A participle, such as "installing".
    work: &'static str,
    /// The unit, in the plural.
    unit: &'static str,
    done: usize,
    /// `None` where it is not known before the end.
    total: Option<usize>,
    next: Instant,
}

impl Progress {
    /// Begins a piece of work on `total` entries.
    pub(crate) fn new(work: &'static str, unit: &'static str, total: Option<usize>) -> Self {
        Self {
            work,
            unit,
            done: 0,
            total,
            next: Instant::now() + FIRST,
        }
    }

    /// Continues with another piece of work. The time to the next line goes on.
    pub(crate) fn turn_to(&mut self, work: &'static str) {
        self.work = work;
        self.done = 0;
    }

    /// Counts one more as done, and logs a line if it is time.
    pub(crate) fn step(&mut self) {
        self.advance(1);
    }

    /// Counts `count` more as done, and logs a line if it is time.
    pub(crate) fn advance(&mut self, count: usize) {
        self.done += count;
        self.tick();
    }

    /// Logs a line if it is time.
    pub(crate) fn tick(&mut self) {
        let now = Instant::now();
        if now < self.next {
            return;
        }
        self.next = now + BETWEEN;
        let Self {
            work, unit, done, ..
        } = *self;
        match self.total {
            Some(total) if done > 0 => tracing::info!("{work} {done} of {total} {unit}"),
            Some(total) => tracing::info!("{work} {total} {unit}"),
            None => tracing::info!("{work}: {done} {unit} so far"),
        }
    }
}
