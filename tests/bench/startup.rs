//! The time of starts beside the programs that sealinit replaces, in one run: `cargo bench`.
//!
//! Whole processes, in turn (A B C A B C ...), and the median of their wall time. On a machine that
//! is shared the ratios of one run are comparable and single times are not. Peers are Debian's
//! packages; one that is not installed is reported. With `BENCH_BASELINE=/path/to/sealinit` each
//! row of sealinit is paired with one of that program. Needs root, as sealinit does for the
//! service's credentials; all rows have the capabilities that Docker gives to a container.
#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "the output of a bench is its purpose"
)]

mod asleep;
mod contender;
mod contents;
mod disk;
mod place;
mod starts;

use std::fs;
use std::process::ExitCode;

use crate::contender::SEALINIT;
use crate::place::{PLACE, Place, in_a_container, make};

/// Counted runs of each start with few files.
const STARTS: usize = 300;

/// Counted runs of what takes longer.
const LONG_RUNS: usize = 5;

fn main() -> ExitCode {
    if !nix::unistd::geteuid().is_root() {
        println!("SKIP: the bench needs root, to drop it");
        return ExitCode::SUCCESS;
    }
    let Some(place) = std::env::var_os(PLACE) else {
        return in_a_container(asleep::asleep);
    };
    let place = Place(place.into());
    let service = make(&place, "true", "return 0;");
    println!(
        "binary: {} bytes",
        fs::metadata(SEALINIT).map_or(0, |found| found.len())
    );
    // `cargo test --benches` only checks that it runs.
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let (runs, long_runs, scale) = if is_bench {
        (STARTS, LONG_RUNS, 1)
    } else {
        (3, 1, 100)
    };
    starts::starts(&place, &service, runs);
    starts::reports(&place, &service, runs);
    contents::hashing(&place, &service, long_runs, (1 << 30) / scale);
    contents::verifying(&place, &service, long_runs, 5000 / scale);
    let scale = usize::try_from(scale).expect("a small number");
    for (count, bytes) in [(5000, 20_000), (500, 2000)] {
        disk::first_starts(&place, &service, long_runs, (count / scale, bytes));
    }
    disk::recursive(&place, &service, long_runs, 50_000 / scale);
    disk::memory(&place, &service, 1_000_000 / scale);
    ExitCode::SUCCESS
}
