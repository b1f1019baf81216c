//! Signals reach the service as themselves, as its group, or rewritten.

use serde_json::json;

use super::{COUNT, both, got, service, summaries, supervised};
use crate::harness::{PROBE, catchable, children, sandbox_test, send, send_until_it_ends, status};

// No signal that can be caught is dropped or changed.
sandbox_test!(
    every_signal_from_outside_reaches_the_service_as_itself,
    |sandbox| {
        service(&sandbox, COUNT);
        for launch in both(&sandbox) {
            let running = launch.running();
            running.prints("main ready");
            for number in catchable() {
                running.signal(number);
                if number != 64 {
                    running.prints(&format!("main {number}\n"));
                    assert!(
                        !status(running.init(), "State").starts_with('T'),
                        "after signal {number}\n{running:?}"
                    );
                }
            }
            let ended = running.end().code(0);
            assert_eq!(ended.stdout, got(catchable()));
            assert_eq!(summaries(&ended.stderr), 1, "{ended:?}");
        }
    }
);

// Sent by the service's own uid, as by `docker exec … kill 1` or a service that signals its parent.
sandbox_test!(
    every_signal_from_within_reaches_the_service_as_itself,
    |sandbox| {
        service(
            &sandbox,
            &["sh", "-c", &format!("exec {PROBE} bounce $PPID")],
        );
        let expected = catchable().fold(String::new(), |text, number| {
            format!("{text}back {number}\n")
        });
        for launch in both(&sandbox) {
            assert_eq!(launch.start().success().stdout, expected);
        }
    }
);

// CONT and the signals that stop a process cancel each other in the kernel; all others stay
// pending.
sandbox_test!(signals_that_come_all_at_once_all_arrive, |sandbox| {
    service(&sandbox, COUNT);
    let at_once: Vec<i32> = catchable()
        .filter(|number| !(18..=22).contains(number))
        .collect();
    for launch in both(&sandbox) {
        let running = launch.running();
        running.prints("main ready");
        // The last is the one that the probe leaves after.
        send(running.init(), at_once.iter().copied());
        let ended = running.end().code(0);
        let mut lines: Vec<&str> = ended.stdout.lines().collect();
        lines.sort_unstable();
        let expected = got(at_once.iter().copied());
        let mut expected: Vec<&str> = expected.lines().collect();
        expected.sort_unstable();
        assert_eq!(lines, expected);
    }
});

// Real-time signals are queued: as many arrive as were sent.
sandbox_test!(as_many_queued_signals_arrive_as_were_sent, |sandbox| {
    service(&sandbox, COUNT);
    let running = sandbox.launch().running();
    running.prints("main ready");
    let many = (0..500).map(|n| 34 + n % 3).chain([64]);
    send(running.init(), many);
    let ended = running.end().code(0);
    for number in 34..37 {
        let count = ended
            .stdout
            .lines()
            .filter(|line| *line == format!("main {number}"))
            .count();
        assert_eq!(
            count,
            (0..500).filter(|n| 34 + n % 3 == number).count(),
            "signal {number}"
        );
    }
});

sandbox_test!(
    a_storm_of_termination_signals_ends_the_service_once,
    |sandbox| {
        service(
            &sandbox,
            &[
                "sh",
                "-c",
                "trap 'echo TERM; exit 3' TERM; echo ready; while :; do sleep 0.02; done",
            ],
        );
        for launch in both(&sandbox) {
            let running = launch.running();
            running.prints("ready\n");
            // The service, and the init with it, may end before the last of them is sent.
            send_until_it_ends(running.init(), [15; 1000]);
            let ended = running.end().code(3);
            assert!(ended.stdout.starts_with("ready\nTERM\n"), "{ended:?}");
        }
    }
);

/// A service with a worker in its process group, which is ended after the service.
const WITH_A_WORKER: &str = "/sbin/probe signals worker 15 & exec /sbin/probe signals main 10";

sandbox_test!(by_default_a_signal_is_for_the_service_alone, |sandbox| {
    service(&sandbox, &["sh", "-c", WITH_A_WORKER]);
    for launch in both(&sandbox) {
        let running = launch.running();
        running
            .prints("main ready\n")
            .prints("worker ready\n")
            .signal(10);
        let ended = running.end().code(0);
        assert!(ended.stdout.contains("main 10\n"), "{ended:?}");
        // It would come first, as the lower number.
        assert!(!ended.stdout.contains("worker 10\n"), "{ended:?}");
        assert!(ended.stdout.contains("worker 15\n"), "{ended:?}");
    }
});

sandbox_test!(
    with_target_group_a_signal_is_for_the_services_process_group,
    probe,
    |sandbox| {
        let mut manifest = supervised(&["sh", "-c", WITH_A_WORKER]);
        manifest["service"]["signals"] = json!({"target": "group"});
        sandbox.one_file(&[]).manifest(&manifest);
        for launch in both(&sandbox) {
            let running = launch.running();
            running
                .prints("main ready\n")
                .prints("worker ready\n")
                .signal(10);
            let ended = running.end().code(0);
            assert!(ended.stdout.contains("main 10\n"), "{ended:?}");
            assert!(ended.stdout.contains("worker 10\n"), "{ended:?}");
        }
    }
);

// To another signal or to none, real-time signals included. The new signal is not rewritten again.
sandbox_test!(signals_are_rewritten_by_name, probe, |sandbox| {
    let mut manifest = supervised(COUNT);
    manifest["service"]["signals"] = json!({"rewrite": {
        "TERM": "QUIT",
        "SIGQUIT": "INT",
        "HUP": null,
        "RTMAX-1": null,
        "USR1": "RTMIN+3",
        "RTMIN+4": "USR2",
        "SIGRTMIN": "RTMAX-2",
        "TSTP": "WINCH",
        "CHLD": "URG",
    }});
    sandbox.one_file(&[]).manifest(&manifest);
    for launch in both(&sandbox) {
        let running = launch.running();
        running.prints("main ready");
        let mut expected = vec![];
        for (sent, passed_on) in [
            (15, Some(3)),
            (3, Some(2)),
            (1, None),
            (63, None),
            (10, Some(37)),
            (38, Some(12)),
            (34, Some(62)),
            (20, Some(28)),
            (17, Some(23)),
            (14, Some(14)),
            (64, Some(64)),
        ] {
            running.signal(sent);
            expected.extend(passed_on);
            if sent != 64 {
                running.until(format_args!("{sent} is passed on"), || {
                    running.stdout() == got(expected.clone())
                });
            }
        }
        assert_eq!(running.end().code(0).stdout, got(expected));
    }
});

// The operator may choose KILL for a service that ignores other signals.
sandbox_test!(
    a_signal_may_be_rewritten_to_one_that_cannot_be_caught,
    probe,
    |sandbox| {
        let mut manifest = supervised(&[PROBE, "deaf", "main"]);
        manifest["service"]["signals"] = json!({"rewrite": {"TERM": "KILL"}});
        sandbox.one_file(&[]).manifest(&manifest);
        let running = sandbox.launch().running();
        running.prints("main ready").signal(15);
        running.end().code(137);
    }
);

sandbox_test!(a_stopped_service_gets_a_termination_signal, |sandbox| {
    service(
        &sandbox,
        &[
            "sh",
            "-c",
            "trap 'echo TERM; exit 5' TERM; echo ready; while :; do sleep 0.02; done",
        ],
    );
    for launch in both(&sandbox) {
        let running = launch.running();
        let service = running.prints("ready\n").service();
        send(service, [19]);
        running.until("the service is stopped", || {
            status(service, "State").starts_with('T')
        });
        running.signal(15);
        assert_eq!(running.end().code(5).stdout, "ready\nTERM\n");
    }
});

// The init itself is never stopped.
sandbox_test!(
    a_service_is_stopped_and_continued_by_signals_through_the_init,
    |sandbox| {
        service(
            &sandbox,
            &["sh", "-c", "echo ready; while :; do sleep 0.02; done"],
        );
        for launch in both(&sandbox) {
            let running = launch.running();
            let service = running.prints("ready\n").service();
            for _ in 0..3 {
                // TTIN freezes the service for good under dumb-init, and does nothing under tini.
                running.signal(21).until("the service is stopped", || {
                    status(service, "State").starts_with('T')
                });
                assert!(
                    !status(running.init(), "State").starts_with('T'),
                    "{running:?}"
                );
                running.signal(18).until("the service goes on", || {
                    !status(service, "State").starts_with('T')
                });
            }
            running.signal(15);
            running.end().code(143);
        }
    }
);

// The kernel's SIGCHLD reports the end of a child; only one sent by a process is passed on.
sandbox_test!(
    the_end_of_an_orphan_sends_no_signal_to_the_service,
    |sandbox| {
        service(
            &sandbox,
            &[
                "sh",
                "-c",
                "(sleep 0.2 &); (sleep 0.3 &); exec /sbin/probe signals main 64",
            ],
        );
        for launch in both(&sandbox) {
            let running = launch.running();
            let init = running.prints("main ready").init();
            running.until("the orphans have ended", || children(init).len() == 1);
            running.signal(64);
            assert_eq!(running.end().code(0).stdout, got([64]));
        }
    }
);
