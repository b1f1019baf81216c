//! Orphans are adopted and reaped, and the whole tree ends with the service.

use std::time::{Duration, Instant};
use std::{fs, thread};

use serde_json::{Value, json};

use super::{both, is_gone, service, supervised};
use crate::harness::{Launch, PROBE, Running, sandbox_test, send, status};

// The service ends at the same moment as ten thousand orphans.
sandbox_test!(
    the_services_own_end_is_not_lost_in_a_storm_of_orphans,
    |sandbox| {
        service(&sandbox, &[PROBE, "storm", "10000", "42"]);
        for launch in both(&sandbox) {
            let since = Instant::now();
            let _ = launch.start().exited(42);
            assert!(
                since.elapsed() < Duration::from_secs(20),
                "{:?}",
                since.elapsed()
            );
        }
    }
);

sandbox_test!(every_orphan_is_reaped_while_the_service_runs, |sandbox| {
    service(&sandbox, &[PROBE, "reaped", "3000"]);
    for launch in both(&sandbox) {
        let service = launch.start().success();
        assert_eq!(service.stdout, "zombies 1\n");
    }
});

// Also when it is not PID 1, and without a message.
sandbox_test!(orphans_become_children_of_the_init, |sandbox| {
    service(&sandbox, &[PROBE, "adopted"]);
    for launch in both(&sandbox) {
        let service = launch.start().success();
        let parent = service
            .stdout
            .lines()
            .next()
            .unwrap()
            .strip_prefix("parent ")
            .unwrap();
        assert_eq!(
            service.stdout,
            format!("parent {parent}\norphan's {parent}\n")
        );
        service.without_warnings();
    }
});

// A child that the process had before it became sealinit is only reaped.
sandbox_test!(
    a_child_of_the_entrypoint_is_reaped_and_not_mistaken_for_the_service,
    |sandbox| {
        service(&sandbox, &["sh", "-c", "sleep 0.3; exit 6"]);
        for launch in both(&sandbox) {
            let _ = launch
                .prelude("(exit 9) & (sleep 0.1; exit 8) &")
                .start()
                .exited(6);
        }
    }
);

// Processes that the service leaves behind in any group or session may finish. The usual inits do
// not wait for them.
sandbox_test!(the_whole_tree_ends_gracefully, |sandbox| {
    let script = "/sbin/probe worker group 500 & setsid /sbin/probe worker session 500 & \
        (setsid sh -c '/sbin/probe worker orphan 500 & /sbin/probe worker stopped 500 & wait' &); \
        trap 'exit 4' TERM; while :; do sleep 0.02; done";
    service(&sandbox, &["sh", "-c", script]);
    for launch in both(&sandbox) {
        let running = launch.running();
        let workers = ["group", "session", "orphan", "stopped"];
        for worker in workers {
            running.prints(&format!("{worker} ready\n"));
        }
        let stopped = running.descendants_named("probe").into_iter().find(|&pid| {
            fs::read_to_string(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.contains("\0stopped\0"))
        });
        send(stopped.unwrap(), [19]);
        running.signal(15);
        let ended = running.end().code(4);
        for worker in workers {
            assert!(
                ended.stdout.contains(&format!("{worker} finished\n")),
                "{ended:?}"
            );
        }
        assert!(!ended.open, "no process outlives the init: {ended:?}");
    }
});

// The same if the service ends by itself.
sandbox_test!(
    workers_of_a_service_that_ends_by_itself_may_finish,
    |sandbox| {
        let script = "setsid /sbin/probe worker orphan 300 & read -r _ </tmp/go; exit 9";
        service(&sandbox, &["sh", "-c", script]);
        sandbox.fifo("/tmp/go").mode("/tmp/go", 0o644);
        for launch in both(&sandbox) {
            let running = launch.running();
            running.prints("orphan ready\n");
            fs::write(sandbox.path("/tmp/go"), "\n").unwrap();
            let ended = running.end().code(9);
            assert!(ended.stdout.ends_with("orphan finished\n"), "{ended:?}");
        }
    }
);

/// A service with a worker that ignores every signal.
fn with_a_deaf_worker(grace: u32) -> Value {
    let script =
        "setsid /sbin/probe deaf worker & trap 'exit 4' TERM; while :; do sleep 0.02; done";
    let mut manifest = supervised(&["sh", "-c", script]);
    manifest["service"]["stop_grace_seconds"] = json!(grace);
    manifest
}

/// The time from the termination signal to the end.
fn time_to_end(launch: &Launch<'_>, meanwhile: impl FnOnce(&Running, u32)) -> Duration {
    let running = launch.running();
    running.prints("worker ready\n");
    let worker = running.descendants_named("probe")[0];
    let service = running.service();
    let since = Instant::now();
    running
        .signal(15)
        .until("the service has ended", || is_gone(service));
    meanwhile(&running, worker);
    let ended = running.end().code(4);
    let took = since.elapsed();
    assert!(is_gone(worker), "no process outlives the init");
    assert!(!ended.open, "{ended:?}");
    took
}

sandbox_test!(
    a_worker_that_does_not_end_in_time_is_killed,
    probe,
    |sandbox| {
        sandbox.one_file(&[]).manifest(&with_a_deaf_worker(2));
        for launch in both(&sandbox) {
            let took = time_to_end(&launch, |_, _| {});
            assert!((2.0..6.0).contains(&took.as_secs_f64()), "{took:?}");
        }
    }
);

// The service takes half of the time for itself and leaves the other half to its workers.
sandbox_test!(the_grace_begins_with_the_stop_signal, probe, |sandbox| {
    let script = "setsid /sbin/probe deaf worker & \
                  trap 'sleep 1.5; exit 4' TERM; while :; do sleep 0.02; done";
    let mut manifest = supervised(&["sh", "-c", script]);
    manifest["service"]["stop_grace_seconds"] = json!(3);
    sandbox.one_file(&[]).manifest(&manifest);
    for launch in both(&sandbox) {
        let took = time_to_end(&launch, |_, _| {});
        assert!((3.0..4.2).contains(&took.as_secs_f64()), "{took:?}");
    }
});

sandbox_test!(
    a_second_termination_signal_shortens_the_time,
    probe,
    |sandbox| {
        sandbox.one_file(&[]).manifest(&with_a_deaf_worker(40));
        for (number, launch) in [15, 2].into_iter().zip(both(&sandbox)) {
            let took = time_to_end(&launch, |running, worker| {
                // Other signals do not shorten it.
                running.signal(10).signal(17).signal(28);
                thread::sleep(Duration::from_millis(200));
                assert!(!is_gone(worker), "the time was not over: {running:?}");
                running.signal(number);
            });
            assert!(took < Duration::from_secs(10), "{took:?}");
        }
    }
);

sandbox_test!(
    without_any_grace_remaining_processes_are_killed_at_once,
    probe,
    |sandbox| {
        sandbox.one_file(&[]).manifest(&with_a_deaf_worker(0));
        for launch in both(&sandbox) {
            let took = time_to_end(&launch, |_, _| {});
            assert!(took < Duration::from_secs(3), "{took:?}");
        }
    }
);

// The engine decides how long a service may take to end.
sandbox_test!(
    a_service_that_ignores_termination_is_not_killed,
    probe,
    |sandbox| {
        let mut manifest = supervised(&[
            "sh",
            "-c",
            "trap '' TERM INT HUP; trap 'exit 6' USR1; echo ready; while :; do sleep 0.02; done",
        ]);
        manifest["service"]["stop_grace_seconds"] = json!(0);
        sandbox.one_file(&[]).manifest(&manifest);
        for launch in both(&sandbox) {
            let running = launch.running();
            let service = running.prints("ready\n").service();
            for number in [15, 2, 1, 15, 15] {
                running.signal(number);
            }
            thread::sleep(Duration::from_millis(700));
            assert_eq!(running.service(), service);
            assert!(
                !["", "Z", "X"]
                    .iter()
                    .any(|ended| status(service, "State").split(' ').next() == Some(*ended)),
                "{running:?}"
            );
            running.signal(10);
            running.end().code(6);
        }
    }
);

// Without /proc the remaining processes are unknown, but PID 1 can signal all of them.
sandbox_test!(without_proc_pid_1_ends_the_whole_tree_too, |sandbox| {
    service(
        &sandbox,
        &[
            "sh",
            "-c",
            "setsid /sbin/probe worker orphan 200 & echo ready; read -r _ </tmp/go; exit 9",
        ],
    );
    sandbox.fifo("/tmp/go").mode("/tmp/go", 0o644);
    let running = sandbox.launch().without_proc().running();
    running.prints("orphan ready\n");
    fs::write(sandbox.path("/tmp/go"), "\n").unwrap();
    let ended = running.end().code(9);
    assert!(ended.stdout.ends_with("orphan finished\n"), "{ended:?}");
});
