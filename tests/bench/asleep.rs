//! The cost of an init while its service sleeps.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::contender::{Contender, SEALINIT, owned, peer, with_baseline};
use crate::place::{Place, make};

/// Prints the private memory of an init while its service sleeps, the anonymous part of it, and how
/// often it wakes up in some seconds.
pub(crate) fn asleep(place: &Place) {
    const SECONDS: u64 = 3;
    let sleep = make(place, "sleep", "pause(); return 0;");
    place.manifest("asleep", 6, 2000, &sleep);
    let contenders = [
        peer("tini-static", &["tini-static", "-s", "--", &sleep]),
        Some(Contender::new(
            "sealinit init",
            owned(&[SEALINIT, "init", "--", &sleep]),
        )),
        Some(Contender::new(
            "sealinit run --supervise",
            [place.run("asleep"), owned(&["--supervise"])].concat(),
        )),
        peer("dumb-init", &["dumb-init", "--", &sleep]),
    ];
    println!(
        "\nan init while its service sleeps (kB of private memory, of that anonymous; wake-ups in {SECONDS} s)"
    );
    for contender in with_baseline(contenders.into()) {
        let _ = fs::remove_dir_all(place.path("asleep-state"));
        let mut init = contender.command("").spawn().expect("it can be started");
        let process = |file: &str| {
            fs::read_to_string(format!("/proc/{}/{file}", init.id())).expect("it runs")
        };
        let sum = |text: &str, names: &[&str]| -> u64 {
            let fields = text.lines().filter_map(|line| line.split_once(':'));
            let values = fields
                .filter(|(name, _)| names.contains(name))
                .map(|(_, value)| value);
            values
                .filter_map(|value| value.split_whitespace().next()?.parse::<u64>().ok())
                .sum()
        };
        let wake_ups = || {
            sum(
                &process("status"),
                &["voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"],
            )
        };
        std::thread::sleep(Duration::from_millis(500));
        let before = wake_ups();
        std::thread::sleep(Duration::from_secs(SECONDS));
        let woken = wake_ups() - before;
        let memory = process("smaps_rollup");
        let (private, anonymous) = (
            sum(&memory, &["Private_Clean", "Private_Dirty"]),
            sum(&memory, &["Anonymous"]),
        );
        println!(
            "  {:<44} {private:>6} {anonymous:>6} {woken:>4}",
            contender.name
        );
        let _ = Command::new("kill").arg(init.id().to_string()).status();
        let _ = init.wait();
    }
}
