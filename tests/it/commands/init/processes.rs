//! Processes under `init`: orphans, the end of the tree, bystanders.

use std::process::Command;
use std::time::{Duration, Instant};

use super::{host_probe, init};
use crate::harness::{Running, status};

#[test]
fn orphans_are_reaped_and_the_commands_end_is_not_lost() {
    for (words, code) in [
        (["storm", "2000", "42"], 42),
        (["reaped", "500", ""], 0),
        (["adopted", "", ""], 0),
    ] {
        let running = Running::start(init(["--", host_probe()].into_iter().chain(words)));
        let ended = running.end().code(code);
        assert!(!ended.open, "{ended:?}");
    }
}

/// Without a namespace, only the init ends the processes that the command leaves behind.
#[test]
fn the_whole_tree_ends_gracefully_and_no_process_outlives_it() {
    let script = format!(
        "{0} worker group 400 & setsid {0} worker session 400 & (setsid {0} worker orphan 400 &)
        setsid {0} deaf ears & trap 'exit 4' TERM; while :; do sleep 0.02; done",
        host_probe()
    );
    let running = Running::start(init(["--stop-grace", "1", "--", "sh", "-c", &script]));
    for worker in ["group", "session", "orphan", "ears"] {
        running.prints(&format!("{worker} ready\n"));
    }
    let everybody = running.descendants_named("probe");
    assert_eq!(everybody.len(), 4, "{running:?}");
    let since = Instant::now();
    running.signal(15);
    let ended = running.end().code(4);
    let took = since.elapsed();
    assert!(took >= Duration::from_secs(1), "{took:?}");
    for worker in ["group", "session", "orphan"] {
        assert!(
            ended.stdout.contains(&format!("{worker} finished\n")),
            "{ended:?}"
        );
    }
    assert!(!ended.open, "{ended:?}");
    for pid in everybody {
        assert_ne!(status(pid, "Name"), "probe");
    }
}

/// Other processes of the same user are left alone.
#[test]
fn only_its_own_descendants_are_ended() {
    let mut bystander = Command::new("sleep").arg("60").spawn().unwrap();
    let status = init([
        "--stop-grace=1",
        "--",
        "sh",
        "-c",
        "setsid sleep 60 & exit 3",
    ])
    .status()
    .unwrap();
    assert_eq!(status.code(), Some(3));
    assert!(
        bystander.try_wait().unwrap().is_none(),
        "a process that is not its descendant was ended"
    );
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}
