//! A supervised service: the init stays as PID 1, or as any other process, and behaves.
//!
//! The service is mostly the probe (`probe.c`), which says what it gets; the host's `/proc` says what the init is.

use std::fs;
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::crash::{needs_strace, strace};
use crate::running::{PROBE, Running, catchable, children, image, send, status, with_probe};
use crate::sandbox::{
    APP, CAPABILITY_SETS, EMPTY_SET, JOURNAL, Launch, Sandbox, UserNamespace, one_file,
};

/// The probe that prints what signals it gets, and leaves after the last.
const COUNT: &[&str] = &[PROBE, "signals", "main", "64"];

/// [`one_file`], supervised.
fn supervised(command: &[&str]) -> Value {
    let mut manifest = one_file(command);
    manifest["service"]["supervise"] = json!(true);
    manifest
}

/// An image with the probe whose service is this.
fn service(command: &[&str]) -> Option<Sandbox> {
    let sandbox = image()?;
    sandbox.one_file(command).manifest(&supervised(command));
    Some(sandbox)
}

/// An image with the probe and this manifest, beside another.
fn beside(sandbox: &Sandbox, manifest: &Value) -> Sandbox {
    let sandbox = sandbox.another();
    with_probe(&sandbox);
    sandbox.one_file(&[]).manifest(manifest);
    sandbox
}

/// A process above it, as under `docker run --init` or in a pod with a shared process namespace, which says who outlives it.
fn below_another_init(launch: Launch<'_>) -> Launch<'_> {
    let script = "\"$@\"; code=$?; cd /proc
        for process in [0-9]*; do [ $process = 1 ] || echo outlived by $(cat $process/comm); done
        exit $code";
    launch.wrapper(["sh", "-c", script, "sh"])
}

/// As PID 1, and as another process.
fn both(sandbox: &Sandbox) -> [Launch<'_>; 2] {
    [sandbox.launch(), below_another_init(sandbox.launch())]
}

/// The lines of the probe `main`, in the order in which it got the signals.
fn got(numbers: impl IntoIterator<Item = i32>) -> String {
    numbers
        .into_iter()
        .fold("main ready\n".to_owned(), |text, number| {
            format!("{text}main {number}\n")
        })
}

fn summaries(log: &str) -> usize {
    log.lines().filter(|line| line.contains(" state=")).count()
}

fn is_gone(pid: u32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

/// Every signal that can be caught reaches the service, and as the very same: nothing is dropped, nothing else is made of it.
#[test]
fn every_signal_from_outside_reaches_the_service_as_itself() {
    let Some(sandbox) = service(COUNT) else {
        return;
    };
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

/// As `docker exec … kill 1` does it, and as a service that signals its parent does: from within, by the service's own uid.
#[test]
fn every_signal_from_within_reaches_the_service_as_itself() {
    let Some(sandbox) = service(&["sh", "-c", &format!("exec {PROBE} bounce $PPID")]) else {
        return;
    };
    let expected = catchable().fold(String::new(), |text, number| {
        format!("{text}back {number}\n")
    });
    for launch in both(&sandbox) {
        assert_eq!(launch.start().success().stdout, expected);
    }
}

/// Those that stop a process and CONT cancel each other in the kernel; all others wait for the service side by side.
#[test]
fn signals_that_come_all_at_once_all_arrive() {
    let Some(sandbox) = service(COUNT) else {
        return;
    };
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
}

/// Real-time signals are queued, and the queue is passed on: as many as were sent.
#[test]
fn queued_signals_are_as_many_as_were_sent() {
    let Some(sandbox) = service(COUNT) else {
        return;
    };
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
}

#[test]
fn a_storm_of_termination_signals_ends_the_service_once() {
    let Some(sandbox) = service(&[
        "sh",
        "-c",
        "trap 'echo TERM; exit 3' TERM; echo ready; while :; do sleep 0.02; done",
    ]) else {
        return;
    };
    for launch in both(&sandbox) {
        let running = launch.running();
        running.prints("ready\n");
        send(running.init(), [15; 1000]);
        let ended = running.end().code(3);
        assert!(ended.stdout.starts_with("ready\nTERM\n"), "{ended:?}");
    }
}

/// A worker in the service's process group gets what is left to be told after the service has gone, and nothing before.
const WITH_A_WORKER: &str = "/sbin/probe signals worker 15 & exec /sbin/probe signals main 10";

#[test]
fn by_default_a_signal_is_for_the_service_alone() {
    let Some(sandbox) = service(&["sh", "-c", WITH_A_WORKER]) else {
        return;
    };
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
}

#[test]
fn with_target_group_a_signal_is_for_the_services_process_group() {
    let mut manifest = supervised(&["sh", "-c", WITH_A_WORKER]);
    manifest["service"]["signals"] = json!({"target": "group"});
    let Some(sandbox) = image() else { return };
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

/// By name, beyond 31, to another or to nothing; and once: what a signal is rewritten to is not rewritten again.
#[test]
fn signals_are_rewritten_by_name() {
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
    let Some(sandbox) = image() else { return };
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
}

/// Many a service asks for another signal than the one that its engine sends; KILL is one that only the operator can choose.
#[test]
fn a_signal_may_be_rewritten_to_one_that_cannot_be_caught() {
    let mut manifest = supervised(&[PROBE, "deaf", "main"]);
    manifest["service"]["signals"] = json!({"rewrite": {"TERM": "KILL"}});
    let Some(sandbox) = image() else { return };
    sandbox.one_file(&[]).manifest(&manifest);
    let running = sandbox.launch().running();
    running.prints("main ready").signal(15);
    running.end().code(137);
}

/// The service, in the kernel's words, and an exit code that a SIGCHLD ignored by inheritance would lose.
const LOOK: &[&str] = &["sh", "-c", "cat /proc/self/status; exit 7"];

#[test]
fn what_was_inherited_ignored_or_blocked_neither_hangs_nor_reaches_the_service() {
    let Some(sandbox) = service(LOOK) else { return };
    for inherited in ["1-64", "17-17", "13-13", "15-15", "32-33"] {
        for launch in both(&sandbox) {
            let service = launch
                .wrapper([PROBE, "inherit", inherited])
                .start()
                .exited(7);
            for field in ["SigBlk", "SigIgn"] {
                assert_eq!(
                    service.status(field),
                    EMPTY_SET,
                    "{field} of a service whose init inherited {inherited}"
                );
            }
        }
    }
}

/// With the full mask and everything ignored, signals are passed on all the same.
#[test]
fn an_init_that_inherited_a_full_mask_passes_signals_on() {
    let Some(sandbox) = service(COUNT) else {
        return;
    };
    for launch in both(&sandbox) {
        let running = launch.wrapper([PROBE, "inherit", "1-64"]).running();
        running.prints("main ready");
        for number in [1, 13, 15, 17, 32, 40, 64] {
            running.signal(number);
        }
        running.end().code(0);
    }
}

/// Sent before sealinit is there: it waits, and is passed on to a service that knows nothing else of it than its default.
#[test]
fn a_signal_that_was_there_first_reaches_the_service() {
    let Some(sandbox) = service(&["sleep", "60"]) else {
        return;
    };
    for launch in both(&sandbox) {
        let running = launch.wrapper([PROBE, "pending", "15"]).running();
        let ended = running.end().code(143);
        assert_eq!(
            summaries(&ended.stderr),
            1,
            "the start itself was complete: {ended:?}"
        );
    }
    let Some(sandbox) = service(&["sh", "-c", "exit 3"]) else {
        return;
    };
    // A signal that does not end the service is no reason not to start it.
    let _ = sandbox
        .launch()
        .wrapper([PROBE, "pending", "28"])
        .start()
        .exited(3);
}

/// `docker stop` while a large configuration is being installed: the installation is not torn, and the service hears of it.
#[test]
fn a_signal_while_the_configuration_is_installed_reaches_the_service() {
    if needs_strace().is_none() {
        return;
    }
    let Some(sandbox) = image() else { return };
    let mut manifest = supervised(&["sh", "-c", "echo ran"]);
    // strace is root's, a child of PID 1, and cannot be ended by what has the service's uid.
    manifest["service"]["stop_grace_seconds"] = json!(0);
    sandbox.one_file(&[]).manifest(&manifest);
    // Whatever is made to last takes its time.
    let slowly = "inject=fsync:delay_enter=400000";
    let running = strace(
        sandbox.launch(),
        &["-o", "/dev/null", "-e", "trace=fsync", "-e", slowly],
    )
    .running();
    running
        .until("it installs", || sandbox.exists(JOURNAL))
        .signal(15);
    let ended = running.end().code(143);
    assert_eq!(summaries(&ended.stderr), 1, "{ended:?}");
    assert!(!sandbox.exists(JOURNAL), "the first start is complete");
    assert_eq!(sandbox.start().success().state(), "verified");
}

/// The program is on a slow disk: the init waits for the exec, and then passes on what has come meanwhile.
#[test]
fn a_signal_while_the_service_is_executed_ends_it() {
    if needs_strace().is_none() {
        return;
    }
    let Some(sandbox) = image() else { return };
    let mut manifest = supervised(&["sh", "-c", "sleep 5; echo ran"]);
    // strace is root's, a child of PID 1, and cannot be ended by what has the service's uid.
    manifest["service"]["stop_grace_seconds"] = json!(0);
    sandbox.one_file(&[]).manifest(&manifest);
    // Counted for each process: the child's first.
    let slowly = "inject=execve:delay_enter=500000:when=1";
    let running = strace(
        sandbox.launch(),
        &["-f", "-o", "/dev/null", "-e", "trace=execve", "-e", slowly],
    )
    .running();
    running.until("nothing is left but the exec", || {
        running.stderr().contains(" state=sealed")
    });
    assert_eq!(running.signal(15).stdout(), "");
    let ended = running.end().code(143);
    assert_eq!(ended.stdout, "", "the service ran: {ended:?}");
}

/// Ctrl-Z between fork and exec: the init waits for the exec, and could neither hear of the stop nor end it.
#[test]
fn a_stop_by_keyboard_before_the_service_is_executed_stops_nobody() {
    if needs_strace().is_none() {
        return;
    }
    let Some(sandbox) = image() else { return };
    let mut manifest = supervised(&[
        "sh",
        "-c",
        "echo ran; trap 'echo heard' TSTP; kill -TSTP $$",
    ]);
    manifest["service"]["stop_grace_seconds"] = json!(0);
    sandbox.one_file(&[]).manifest(&manifest);
    let slowly = "inject=setpgid:delay_exit=3000000";
    let running = strace(
        sandbox.launch(),
        &["-f", "-o", "/dev/null", "-e", "trace=setpgid", "-e", slowly],
    )
    .running();
    let child = || {
        let both = running.descendants_named("sealinit");
        both.iter().copied().find(|&pid| {
            both.iter()
                .any(|init| status(pid, "PPid") == init.to_string())
        })
    };
    running.until("there is a child", || child().is_some());
    send(child().unwrap(), [20]);
    running.prints("heard");
    assert_eq!(running.end().code(0).stdout, "ran\nheard\n");
}

/// A log that nobody reads: the signal that this makes is ours.
#[test]
fn a_closed_log_does_not_end_the_service() {
    let Some(sandbox) = service(&["sh", "-c", "echo ran"]) else {
        return;
    };
    let other = sandbox.another();
    other.one_file(&[]).manifest(
        &json!({"version": 1, "service": {"user": "app", "command": ["sh", "-c", "echo ran"]}}),
    );
    for launch in both(&sandbox).into_iter().chain(both(&other)) {
        let outcome = launch
            .prelude("rm -f /run/log; mkfifo /run/log; exec 3<>/run/log 2>/run/log 3<&-")
            .start();
        assert_eq!(outcome.code(0).stdout, "ran\n");
    }
}

#[test]
fn a_stopped_service_hears_that_it_shall_end() {
    let Some(sandbox) = service(&[
        "sh",
        "-c",
        "trap 'echo TERM; exit 5' TERM; echo ready; while :; do sleep 0.02; done",
    ]) else {
        return;
    };
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
}

/// A service that stopped and was continued by somebody else is not continued once more.
#[test]
fn a_service_is_stopped_and_continued_by_signals_through_the_init() {
    let Some(sandbox) = service(&["sh", "-c", "echo ready; while :; do sleep 0.02; done"]) else {
        return;
    };
    for launch in both(&sandbox) {
        let running = launch.running();
        let service = running.prints("ready\n").service();
        for _ in 0..3 {
            // TTIN under dumb-init freezes the service for good, and under tini does nothing. Here it is what it is.
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

/// Both hundreds of times at once: the end of the service among ten thousand orphans is not lost.
#[test]
fn the_services_own_end_is_not_lost_in_a_storm_of_orphans() {
    let Some(sandbox) = service(&[PROBE, "storm", "10000", "42"]) else {
        return;
    };
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

#[test]
fn every_orphan_is_reaped_while_the_service_runs() {
    let Some(sandbox) = service(&[PROBE, "reaped", "3000"]) else {
        return;
    };
    for launch in both(&sandbox) {
        let service = launch.start().success();
        assert_eq!(service.stdout, "zombies 1\n");
    }
}

/// Also when it is not PID 1, and without a word about it.
#[test]
fn orphans_become_the_inits_children() {
    let Some(sandbox) = service(&[PROBE, "adopted"]) else {
        return;
    };
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
}

/// A child that the process had before it became sealinit is reaped, and taken for nothing else.
#[test]
fn a_child_of_the_entrypoint_is_not_taken_for_the_service() {
    let Some(sandbox) = service(&["sh", "-c", "sleep 0.3; exit 6"]) else {
        return;
    };
    for launch in both(&sandbox) {
        let _ = launch
            .prelude("(exit 9) & (sleep 0.1; exit 8) &")
            .start()
            .exited(6);
    }
}

/// What the service leaves behind, wherever it has put itself, may finish: none of the usual inits waits for it.
#[test]
fn the_whole_tree_ends_gracefully() {
    let script = "/sbin/probe worker group 500 & setsid /sbin/probe worker session 500 & \
        (setsid sh -c '/sbin/probe worker orphan 500 & /sbin/probe worker stopped 500 & wait' &); \
        trap 'exit 4' TERM; while :; do sleep 0.02; done";
    let Some(sandbox) = service(&["sh", "-c", script]) else {
        return;
    };
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
        assert!(!ended.open, "nobody outlives the init: {ended:?}");
    }
}

/// The service may end by itself, too.
#[test]
fn a_service_that_ends_by_itself_leaves_its_workers_time() {
    let script = "setsid /sbin/probe worker orphan 300 & read -r _ </tmp/go; exit 9";
    let Some(sandbox) = service(&["sh", "-c", script]) else {
        return;
    };
    sandbox.fifo("/tmp/go").mode("/tmp/go", 0o644);
    for launch in both(&sandbox) {
        let running = launch.running();
        running.prints("orphan ready\n");
        fs::write(sandbox.path("/tmp/go"), "\n").unwrap();
        let ended = running.end().code(9);
        assert!(ended.stdout.ends_with("orphan finished\n"), "{ended:?}");
    }
}

/// A worker that does not end is killed, when the time is over and not before.
fn with_a_deaf_worker(grace: u32) -> Value {
    let script =
        "setsid /sbin/probe deaf worker & trap 'exit 4' TERM; while :; do sleep 0.02; done";
    let mut manifest = supervised(&["sh", "-c", script]);
    manifest["service"]["stop_grace_seconds"] = json!(grace);
    manifest
}

/// What it takes from the termination signal to the end.
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
    assert!(is_gone(worker), "nobody outlives the init");
    assert!(!ended.open, "{ended:?}");
    took
}

#[test]
fn what_does_not_end_in_time_is_killed() {
    let Some(sandbox) = image() else { return };
    sandbox.one_file(&[]).manifest(&with_a_deaf_worker(2));
    for launch in both(&sandbox) {
        let took = time_to_end(&launch, |_, _| {});
        assert!((2.0..6.0).contains(&took.as_secs_f64()), "{took:?}");
    }
}

/// A service that takes half of the time for itself leaves the other half for its workers.
#[test]
fn the_grace_begins_with_the_stop_signal() {
    let script = "setsid /sbin/probe deaf worker & \
                  trap 'sleep 1.5; exit 4' TERM; while :; do sleep 0.02; done";
    let mut manifest = supervised(&["sh", "-c", script]);
    manifest["service"]["stop_grace_seconds"] = json!(3);
    let Some(sandbox) = image() else { return };
    sandbox.one_file(&[]).manifest(&manifest);
    for launch in both(&sandbox) {
        let took = time_to_end(&launch, |_, _| {});
        assert!((3.0..4.2).contains(&took.as_secs_f64()), "{took:?}");
    }
}

#[test]
fn a_second_termination_signal_shortens_the_time() {
    let Some(sandbox) = image() else { return };
    sandbox.one_file(&[]).manifest(&with_a_deaf_worker(40));
    for (number, launch) in [15, 2].into_iter().zip(both(&sandbox)) {
        let took = time_to_end(&launch, |running, worker| {
            // Whatever else comes does not.
            running.signal(10).signal(17).signal(28);
            thread::sleep(Duration::from_millis(200));
            assert!(!is_gone(worker), "the time was not over: {running:?}");
            running.signal(number);
        });
        assert!(took < Duration::from_secs(10), "{took:?}");
    }
}

#[test]
fn without_any_grace_what_is_left_is_killed_at_once() {
    let Some(sandbox) = image() else { return };
    sandbox.one_file(&[]).manifest(&with_a_deaf_worker(0));
    for launch in both(&sandbox) {
        let took = time_to_end(&launch, |_, _| {});
        assert!(took < Duration::from_secs(3), "{took:?}");
    }
}

/// Who says when a service has had time enough is the engine.
#[test]
fn a_service_that_ignores_termination_is_not_killed() {
    let mut manifest = supervised(&[
        "sh",
        "-c",
        "trap '' TERM INT HUP; trap 'exit 6' USR1; echo ready; while :; do sleep 0.02; done",
    ]);
    manifest["service"]["stop_grace_seconds"] = json!(0);
    let Some(sandbox) = image() else { return };
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

#[test]
fn the_exit_status_is_the_services() {
    let Some(sandbox) = service(&["sh", "-c", "exit $STATUS"]) else {
        return;
    };
    for launch in both(&sandbox) {
        for code in [0, 1, 42, 78, 80, 126, 127, 128, 143, 255] {
            let _ = launch
                .clone()
                .env("STATUS", code.to_string())
                .start()
                .exited(code);
        }
    }
}

#[test]
fn a_signal_that_ended_the_service_is_added_to_128() {
    let Some(sandbox) = service(&["sh", "-c", "ulimit -c 0; exec /sbin/probe raise $SIGNAL"])
    else {
        return;
    };
    for launch in both(&sandbox) {
        for number in [1, 6, 9, 11, 15, 31, 32, 34, 64] {
            let _ = launch
                .clone()
                .env("SIGNAL", number.to_string())
                .start()
                .exited(128 + number);
        }
    }
}

#[test]
fn expected_exit_codes_are_success() {
    let mut manifest = supervised(&["sh", "-c", "exit $STATUS"]);
    manifest["service"]["expected_exit"] = json!([143, 3]);
    let Some(sandbox) = image() else { return };
    sandbox.one_file(&[]).manifest(&manifest);
    for (code, expected) in [(143, 0), (3, 0), (0, 0), (15, 15), (142, 142), (137, 137)] {
        let _ = sandbox
            .launch()
            .env("STATUS", code.to_string())
            .start()
            .exited(expected);
    }
    let _ = below_another_init(sandbox.launch())
        .env("STATUS", "143")
        .start()
        .success();

    // A service that died from the signal is one whose shell would say 143.
    manifest["service"]["command"] = json!(["sh", "-c", "echo ready; exec sleep 60"]);
    let sandbox = beside(&sandbox, &manifest);
    let running = sandbox.launch().running();
    running.prints("ready\n").signal(15);
    running.end().code(0);
}

#[test]
fn a_program_that_does_not_exist_is_127() {
    for program in ["no-such-program", "/no/such/program"] {
        let Some(sandbox) = service(&[program]) else {
            return;
        };
        for launch in both(&sandbox) {
            launch.start().refused(127, program);
        }
    }
}

#[test]
fn a_program_that_cannot_be_executed_is_126() {
    let Some(sandbox) = image() else { return };
    sandbox.file("/opt/not-executable", "#!/bin/sh\n");
    sandbox
        .file("/opt/no-format", "what is this\n")
        .mode("/opt/no-format", 0o755);
    for program in ["/opt", "/opt/not-executable", "/opt/no-format"] {
        sandbox.one_file(&[]).manifest(&supervised(&[program]));
        for launch in both(&sandbox) {
            launch.start().refused(126, program);
        }
    }
}

/// What only the exec itself can tell is told once, and its code is the container's.
#[test]
fn what_the_kernel_will_not_execute_is_126_and_said_once() {
    let Some(sandbox) = image() else { return };
    // The head of a program, and nothing of it.
    sandbox
        .file("/opt/torn", b"\x7fELF\x02\x01\x01")
        .mode("/opt/torn", 0o755);
    sandbox.one_file(&[]).manifest(&supervised(&["/opt/torn"]));
    for launch in both(&sandbox) {
        let outcome = launch.start().code(126);
        assert_eq!(outcome.errors().len(), 1, "{outcome:?}");
        assert_eq!(summaries(&outcome.stderr), 1, "{outcome:?}");
        assert_eq!(outcome.stdout, "");
    }
}

/// Nor is that code another where nobody reads the log.
#[test]
fn what_the_kernel_will_not_execute_is_126_with_a_closed_log_too() {
    let Some(sandbox) = image() else { return };
    sandbox
        .file("/opt/torn", b"\x7fELF\x02\x01\x01")
        .mode("/opt/torn", 0o755);
    sandbox.one_file(&[]).manifest(&supervised(&["/opt/torn"]));
    let other = beside(
        &sandbox,
        &json!({"version": 1, "service": {"user": "app", "command": ["/opt/torn"]}}),
    );
    other
        .file("/opt/torn", b"\x7fELF\x02\x01\x01")
        .mode("/opt/torn", 0o755);
    for launch in both(&sandbox).into_iter().chain(both(&other)) {
        let _ = launch
            .prelude("rm -f /run/log; mkfifo /run/log; exec 3<>/run/log 2>/run/log 3<&-")
            .start()
            .code(126);
    }
}

/// No root process remains: the init has the service's ids and no capability, whatever the service keeps.
#[test]
fn while_the_service_runs_the_init_has_nothing_of_root() {
    let mut manifest = supervised(COUNT);
    manifest["service"]["supplementary_groups"] = json!(["certs"]);
    manifest["service"]["capabilities"] = json!(["NET_BIND_SERVICE"]);
    let Some(sandbox) = image() else { return };
    sandbox.one_file(&[]).manifest(&manifest);
    for launch in both(&sandbox) {
        let running = launch
            .prelude("exec 7</etc/passwd 9>/tmp/scratch 200</; cd /tmp")
            .wrapper(["setpriv", "--groups=0,2000,65534"])
            .running();
        let init = running.prints("main ready").init();
        let place = |link: &str| {
            fs::metadata(format!("/proc/{init}/{link}/"))
                .map(|found| (found.dev(), found.ino()))
                .unwrap()
        };
        running.until("it is in the root directory", || {
            place("cwd") == place("root")
        });
        for (field, expected) in [
            ("Uid", "1000 1000 1000 1000"),
            ("Gid", "1000 1000 1000 1000"),
            ("Groups", "1000 2000"),
            ("NoNewPrivs", "1"),
            ("Threads", "1"),
        ] {
            assert_eq!(status(init, field), expected, "{field}");
        }
        for set in CAPABILITY_SETS.iter().filter(|set| **set != "CapBnd") {
            assert_eq!(status(init, set), EMPTY_SET, "{set}");
        }
        // The bounding set is what an exec may give: the service's own, and the init executes nothing.
        assert_eq!(status(init, "CapBnd"), "0000000000000400");
        assert_eq!(
            status(running.service(), "CapEff"),
            "0000000000000400",
            "the service's own"
        );
        running.until("it holds no descriptor but the standard ones", || {
            descriptors(init) == ["0", "1", "2"]
        });
        running.signal(64);
        running.end().code(0);
    }
}

/// The names in `/proc/PID/fd`.
fn descriptors(pid: u32) -> Vec<String> {
    let listed = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let mut names: Vec<String> = listed
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// What the init was started with (a token in its environment, say) is not the service's to read; nor may it be traced.
#[test]
fn the_service_cannot_look_into_the_init() {
    let script = "cat /proc/self/environ >/dev/null && echo sees itself
        for file in environ maps auxv mem stack; do cat /proc/$PPID/$file 2>/dev/null && echo $file; done
        for link in cwd root exe fd/0; do readlink /proc/$PPID/$link && echo $link; done
        ls /proc/$PPID/fd 2>/dev/null
        { echo >/proc/$PPID/mem; } 2>/dev/null && echo wrote
        :";
    let Some(sandbox) = service(&["sh", "-c", script]) else {
        return;
    };
    for launch in both(&sandbox) {
        assert_eq!(
            launch.env("TOKEN", "secret").start().success().stdout,
            "sees itself\n"
        );
    }
}

/// tini wakes up each second.
#[test]
fn the_init_sleeps_while_the_service_does() {
    let Some(sandbox) = service(COUNT) else {
        return;
    };
    let running = sandbox.launch().running();
    let init = running.prints("main ready").init();
    let switches = || {
        (
            status(init, "voluntary_ctxt_switches"),
            status(init, "nonvoluntary_ctxt_switches"),
        )
    };
    // It may just be on its way to sleep.
    let mut before = switches();
    running.until("the init sleeps", || {
        thread::sleep(Duration::from_millis(100));
        let last = std::mem::replace(&mut before, switches());
        last == before && status(init, "State").starts_with('S')
    });
    thread::sleep(Duration::from_secs(2));
    assert_eq!(switches(), before);
}

/// The same promises as for a service that sealinit becomes.
#[test]
fn promise_4_nothing_of_root_is_left_for_a_supervised_service() {
    let Some(sandbox) = service(&[
        "sh",
        "-c",
        "cat /proc/self/status; ls /proc/self/fd; ps -o pgid=,pid= -p $$ >&2",
    ]) else {
        return;
    };
    for launch in both(&sandbox) {
        let service = launch
            .prelude("exec 7</etc/passwd 9>/tmp/scratch 200</")
            .wrapper(["setpriv", "--groups=0,2000,65534"])
            .wrapper([PROBE, "inherit", "1-64"])
            .start()
            .success();
        service.has_nothing_of_root();
        for field in ["SigPnd", "ShdPnd"] {
            assert_eq!(service.status(field), EMPTY_SET, "{field}");
        }
        // The listing itself needs one, the first that is free.
        assert!(service.stdout.ends_with("\n0\n1\n2\n3\n"), "{service:?}");
    }
}

#[test]
fn the_service_leads_a_process_group_of_its_own() {
    let Some(sandbox) = service(&[
        "sh",
        "-c",
        "read -r pid name state parent group rest </proc/self/stat; echo $pid $group $parent",
    ]) else {
        return;
    };
    for launch in both(&sandbox) {
        let service = launch.start().success();
        let [pid, group, parent] = service.stdout.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("{service:?}")
        };
        assert_eq!(group, pid);
        assert_ne!(parent, pid);
    }
    let as_pid_1 = sandbox.start().success();
    assert!(as_pid_1.stdout.ends_with(" 1\n"), "{as_pid_1:?}");
}

#[test]
fn its_output_can_be_opened_again() {
    // What /dev/stdout and /dev/stderr are links to; images link their log files there.
    let Some(sandbox) = service(&[
        "sh",
        "-c",
        "echo out >/proc/self/fd/1; echo err >/proc/self/fd/2",
    ]) else {
        return;
    };
    for launch in both(&sandbox) {
        let service = launch.start().success();
        assert_eq!(service.stdout, "out\n");
        service.says("err");
    }
}

#[test]
fn environment_arguments_directory_and_umask_are_as_without_supervision() {
    let mut manifest = supervised(&["false"]);
    manifest["service"]["env"] = json!({"TZ": "UTC"});
    let Some(sandbox) = image() else { return };
    sandbox.one_file(&[]).manifest(&manifest);
    for launch in both(&sandbox) {
        let service = launch
            .prelude("cd /tmp; umask 0037")
            .env("HOME", "/root")
            .env("USER", "root")
            .env("SEALINIT_LOG_LEVEL", "debug")
            .env("SEALINIT_UNHEARD_OF", "1")
            .args([
                "--",
                "sh",
                "-c",
                "printf '[%s]' \"$@\" \"$HOME\" \"$USER\" \"$TZ\" \"$PWD\" \"$(umask)\"; env | grep SEALINIT; :",
                "sh",
                "a b",
                "",
                "-x",
            ])
            .start()
            .success();
        assert_eq!(
            service.stdout,
            "[a b][][-x][/home/app][app][UTC][/tmp][0037]"
        );
    }
}

/// Socket activation names the process that it is meant for, which is the service and no longer the one that was started.
#[test]
fn activated_sockets_are_the_services() {
    let script = "echo ${LISTEN_PID:-none} $$ ${LISTEN_FDS:-none}; cat <&3; readlink /proc/$$/fd/4; echo $(ls /proc/self/fd)";
    let Some(sandbox) = service(&["sh", "-c", script]) else {
        return;
    };
    sandbox.file("/run/socket", "passed\n");
    for launch in both(&sandbox) {
        let activate =
            "exec 3</run/socket 4</etc/passwd 9</etc/group; export LISTEN_FDS=2 LISTEN_PID=$$";
        let running = launch.clone().prelude(activate).running();
        let ended = running.end().code(0);
        let lines: Vec<&str> = ended.stdout.lines().collect();
        let [who, content, fourth, all] = lines[..] else {
            panic!("{ended:?}")
        };
        let words: Vec<&str> = who.split(' ').collect();
        assert_eq!((words[0], words[2]), (words[1], "2"), "{ended:?}");
        assert_eq!((content, fourth), ("passed", "/etc/passwd"));
        // The listing itself needs one, the first that is free.
        assert_eq!(all, "0 1 2 3 4 5");

        // Meant for somebody else: nothing is passed, and nothing rewritten.
        let ended = launch
            .prelude(&activate.replace("$$", "4711"))
            .running()
            .end();
        assert!(ended.stdout.starts_with("4711 "), "{ended:?}");
        assert!(!ended.stdout.contains("passed"), "{ended:?}");
    }
}

#[test]
fn closed_standard_descriptors_are_the_null_device() {
    let look = "x=$(readlink /proc/$$/fd/0 /proc/$$/fd/1 /proc/$$/fd/2); echo \"$x\" >/home/app/descriptors; exit 3";
    let Some(sandbox) = service(&["sh", "-c", look]) else {
        return;
    };
    for launch in both(&sandbox) {
        let outcome = launch.prelude("exec 0<&- 1>&- 2>&-").start().code(3);
        assert_eq!(outcome.stderr, "");
        assert_eq!(
            sandbox.read("/home/app/descriptors"),
            "/dev/null\n/dev/null\n/dev/null\n"
        );
    }
}

#[test]
fn a_full_log_device_does_not_keep_it_from_running_and_ending() {
    let Some(sandbox) = service(&["sh", "-c", "echo ran; exit 3"]) else {
        return;
    };
    sandbox.file("/dev/full", "");
    for launch in both(&sandbox) {
        let full = launch.bind_host("/dev/full", "/dev/full");
        assert_eq!(
            full.clone()
                .prelude("exec 2>/dev/full")
                .start()
                .code(3)
                .stdout,
            "ran\n"
        );
    }
    for launch in both(&sandbox) {
        let broken = launch.prelude("exec 2> >(true); sleep 0.1").start().code(3);
        assert_eq!(broken.stdout, "ran\n", "with a pipe that nobody reads");
    }
}

/// The pipe behind standard error is full, and whoever should read it has stopped: a start is not stopped with it.
#[test]
fn a_log_reader_that_has_stopped_reading_does_not_hang_the_start() {
    let Some(sandbox) = service(&["sh", "-c", "echo ran; exit 3"]) else {
        return;
    };
    for launch in both(&sandbox) {
        let running = launch.wrapper([PROBE, "full"]).running();
        assert_eq!(running.end().code(3).stdout, "ran\n");
    }
}

/// The same while the service runs, which is stuck in its own log: a signal ends it all the same.
#[test]
fn a_log_reader_that_stops_reading_does_not_hang_the_end() {
    let script = "(sleep 0.3; while :; do echo flood; done) >&2 & trap 'exit 4' TERM; echo ready; while :; do sleep 0.02; done";
    let Some(sandbox) = service(&["sh", "-c", script]) else {
        return;
    };
    for launch in both(&sandbox) {
        // Its reading end is held, and nothing is read.
        let (running, unread) = Running::start_unread(launch.command());
        running.prints("ready\n");
        let flooding = || {
            running
                .descendants_named("sh")
                .into_iter()
                .any(|pid| wchan(pid).contains("pipe_write"))
        };
        running.until("the pipe is full", flooding);
        running.signal(15);
        running.end().code(4);
        drop(unread);
    }
}

fn wchan(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default()
}

#[test]
fn every_start_has_one_summary() {
    let Some(sandbox) = service(&["true"]) else {
        return;
    };
    for format in ["text", "json"] {
        let sandbox = beside(&sandbox, &supervised(&["true"]));
        for state in ["sealed", "verified", "verified"] {
            // `success` judges the number of summaries.
            assert_eq!(
                sandbox
                    .launch()
                    .args(["--log-format", format])
                    .start()
                    .success()
                    .state(),
                state
            );
        }
    }
}

/// A capability that the service is to keep cannot be kept where keeping is locked.
#[test]
fn a_service_that_cannot_have_its_capabilities_does_not_run_and_it_is_said_once() {
    let mut manifest = supervised(&["sh", "-c", "echo ran >/dev/null; echo ran"]);
    manifest["service"]["capabilities"] = json!(["NET_BIND_SERVICE"]);
    let Some(sandbox) = image() else { return };
    sandbox.one_file(&[]).manifest(&manifest);
    for launch in both(&sandbox) {
        let locked = launch
            .wrapper(["setpriv", "--securebits=+keep_caps_locked"])
            .start();
        let outcome = locked.failed(77, "keeping capabilities");
        assert_eq!(outcome.errors().len(), 1, "{outcome:?}");
    }
}

#[test]
fn an_init_that_cannot_drop_its_privileges_says_so_once_and_runs_nothing() {
    if needs_strace().is_none() {
        return;
    }
    for call in ["setresuid", "setresgid", "setgroups", "capset"] {
        let Some(sandbox) = service(&["sh", "-c", "echo ran"]) else {
            return;
        };
        // Of setgroups the first call is the preflight's.
        let when = if call == "setgroups" { 2 } else { 1 };
        let (trace, inject) = (
            format!("trace={call}"),
            format!("inject={call}:error=EPERM:when={when}+"),
        );
        let start = strace(
            sandbox.launch(),
            &["-f", "-o", "/dev/null", "-e", &trace, "-e", &inject],
        )
        .start();
        let outcome = start.failed(77, call);
        assert_eq!(outcome.errors().len(), 1, "{call}: {outcome:?}");
    }
}

/// What the service keeps its init must give up, after it has started the service: where that fails, neither stays.
#[test]
fn an_init_that_cannot_give_up_what_the_service_keeps_ends_it() {
    if needs_strace().is_none() {
        return;
    }
    let mut manifest = supervised(&["sh", "-c", "sleep 5; echo ran"]);
    manifest["service"]["capabilities"] = json!(["NET_BIND_SERVICE"]);
    let Some(sandbox) = image() else { return };
    sandbox.one_file(&[]).manifest(&manifest);
    for (inject, why) in [
        ("error=EPERM", "EPERM: Operation not permitted"),
        ("retval=0", "CAP_NET_BIND_SERVICE is left"),
    ] {
        let inject = format!("inject=capset:{inject}:when=2");
        let start = strace(
            sandbox.launch(),
            &["-o", "/dev/null", "-e", "trace=capset", "-e", &inject],
        )
        .start();
        let ended = start.code(77);
        assert_eq!(ended.errors().len(), 1, "{ended:?}");
        ended.says(&format!(
            "cannot drop the capabilities that only the service keeps: {why}; the service was ended"
        ));
    }
}

#[test]
fn what_lacks_is_said_before_anything_is_written() {
    let Some(sandbox) = service(&["true"]) else {
        return;
    };
    for launch in both(&sandbox) {
        let refused = launch
            .capabilities(&["chown"])
            .start()
            .refused(77, "CAP_SETUID");
        assert_eq!(refused.errors().len(), 1, "{refused:?}");
        refused.says("CAP_SETGID");
    }
}

/// `CAP_KILL` is not among them: the init has the service's uid.
#[test]
fn the_documented_capabilities_are_enough() {
    let Some(sandbox) = service(COUNT) else {
        return;
    };
    for launch in both(&sandbox) {
        let running = launch
            .capabilities(&["chown", "setuid", "setgid", "setpcap"])
            .running();
        running
            .prints("main ready")
            .signal(15)
            .prints("main 15\n")
            .signal(64);
        running.end().code(0);
    }
}

#[test]
fn without_root_it_supervises_as_the_uid_that_it_has() {
    let mut manifest = supervised(COUNT);
    manifest["service"].as_object_mut().unwrap().remove("user");
    for (uid, gid) in [(APP, APP), (12345, 0)] {
        let Some(sandbox) = image() else { return };
        sandbox.one_file(&[]).manifest(&manifest);
        sandbox
            .directory("/etc/app", 0o755)
            .owner("/etc/app", uid, gid);
        sandbox
            .directory("/var/lib/sealinit", 0o700)
            .owner("/var/lib/sealinit", uid, gid);
        for launch in both(&sandbox) {
            let running = launch.user(uid, gid).running();
            running
                .prints("main ready")
                .signal(15)
                .prints("main 15\n")
                .signal(64);
            let ended = running.end().code(0);
            assert_eq!(summaries(&ended.stderr), 1, "{ended:?}");
        }
    }
}

#[test]
fn in_a_user_namespace_it_supervises_as_well() {
    let Some(sandbox) = service(&[PROBE, "bounce", "1"]) else {
        return;
    };
    let service = sandbox
        .launch()
        .user_namespace(UserNamespace::WHOLE)
        .start()
        .success();
    assert!(service.stdout.ends_with("back 64\n"), "{service:?}");
}

#[test]
fn the_flag_supervises_whatever_the_manifest_says() {
    let look = ["sh", "-c", "echo $$ $PPID"];
    let Some(sandbox) = image() else { return };
    sandbox.one_file(&look);
    for _ in ["first start", "later start"] {
        let service = sandbox.launch().args(["--supervise"]).start().success();
        assert!(service.stdout.ends_with(" 1\n"), "{service:?}");
    }
    assert_eq!(
        sandbox.start().success().stdout,
        "1 0\n",
        "without the flag it becomes the service"
    );
    let Some(supervising) = service(&look) else {
        return;
    };
    for _ in ["first start", "later start"] {
        let service = supervising.start().success();
        assert!(service.stdout.ends_with(" 1\n"), "{service:?}");
    }
}

/// The kernel's own SIGCHLD is how a child's end is known; only one that somebody sent is a message for the service.
#[test]
fn the_end_of_an_orphan_is_no_signal_for_the_service() {
    let Some(sandbox) = service(&[
        "sh",
        "-c",
        "(sleep 0.2 &); (sleep 0.3 &); exec /sbin/probe signals main 64",
    ]) else {
        return;
    };
    for launch in both(&sandbox) {
        let running = launch.running();
        let init = running.prints("main ready").init();
        running.until("the orphans have ended", || children(init).len() == 1);
        running.signal(64);
        assert_eq!(running.end().code(0).stdout, got([64]));
    }
}

/// Without /proc it cannot be asked who is left, but PID 1 need not ask.
#[test]
fn without_proc_pid_1_ends_the_whole_tree_too() {
    let Some(sandbox) = service(&[
        "sh",
        "-c",
        "setsid /sbin/probe worker orphan 200 & echo ready; read -r _ </tmp/go; exit 9",
    ]) else {
        return;
    };
    sandbox.fifo("/tmp/go").mode("/tmp/go", 0o644);
    let running = sandbox.launch().without_proc().running();
    running.prints("orphan ready\n");
    fs::write(sandbox.path("/tmp/go"), "\n").unwrap();
    let ended = running.end().code(9);
    assert!(ended.stdout.ends_with("orphan finished\n"), "{ended:?}");
}

/// A row of the README's table: the numbers, and what it says of them.
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

/// Every signal is in the table once, and what the table says is what happens.
#[test]
fn the_readme_accounts_for_every_signal() {
    let readme =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let table = signals_table(&readme);
    let mut all: Vec<i32> = table
        .iter()
        .flat_map(|row| row.numbers.iter().copied())
        .collect();
    all.sort_unstable();
    assert_eq!(all, (1..=64).collect::<Vec<_>>(), "{table:#?}");

    // Sent from within, by the service itself: first those of which it says that they cannot be caught, which must do nothing.
    let Some(sandbox) = service(&[
        "sh",
        "-c",
        &format!("{PROBE} send $PPID 9 19; exec {PROBE} bounce $PPID"),
    ]) else {
        return;
    };
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
}
