//! Signals that are inherited, or that come before the service runs.

use serde_json::json;

use super::{COUNT, both, service, summaries, supervised};
use crate::harness::{EMPTY_SET, JOURNAL, PROBE, sandbox_test, send, status};

/// The service's status, and an exit code that an inherited ignored SIGCHLD would lose.
const LOOK: &[&str] = &["sh", "-c", "cat /proc/self/status; exit 7"];

sandbox_test!(
    inherited_ignored_and_blocked_signals_do_not_reach_the_service,
    |sandbox| {
        service(&sandbox, LOOK);
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
);

// With the full mask and everything ignored.
sandbox_test!(
    an_init_that_inherited_a_full_mask_passes_signals_on,
    |sandbox| {
        service(&sandbox, COUNT);
        for launch in both(&sandbox) {
            let running = launch.wrapper([PROBE, "inherit", "1-64"]).running();
            running.prints("main ready");
            for number in [1, 13, 15, 17, 32, 40, 64] {
                running.signal(number);
            }
            running.end().code(0);
        }
    }
);

// A signal that is pending before sealinit runs is passed on to a service with default
// dispositions.
sandbox_test!(a_pending_signal_reaches_the_service, |sandbox| {
    service(&sandbox, &["sleep", "60"]);
    for launch in both(&sandbox) {
        let running = launch.wrapper([PROBE, "pending", "15"]).running();
        let ended = running.end().code(143);
        assert_eq!(
            summaries(&ended.stderr),
            1,
            "the start itself was complete: {ended:?}"
        );
    }
    let sandbox = sandbox.another();
    service(&sandbox, &["sh", "-c", "exit 3"]);
    // A service starts in spite of a pending signal that does not end it.
    let _ = sandbox
        .launch()
        .wrapper([PROBE, "pending", "28"])
        .start()
        .exited(3);
});

// `docker stop` while a large configuration is being installed: the installation is completed, and
// the service gets the signal.
sandbox_test!(
    a_signal_while_the_configuration_is_installed_reaches_the_service,
    probe,
    strace,
    |sandbox| {
        let mut manifest = supervised(&["sh", "-c", "echo ran"]);
        // strace belongs to root and is a child of PID 1, which cannot end it with the service's
        // uid.
        manifest["service"]["stop_grace_seconds"] = json!(0);
        sandbox.one_file(&[]).manifest(&manifest);
        // Each fsync takes long.
        let slowly = sandbox.launch().inject("fsync", "delay_enter=400000");
        let running = slowly.running();
        running
            .until("it installs", || sandbox.exists(JOURNAL))
            .signal(15);
        let ended = running.end().code(143);
        assert_eq!(summaries(&ended.stderr), 1, "{ended:?}");
        assert!(!sandbox.exists(JOURNAL), "the first start is complete");
        assert_eq!(sandbox.start().success().state(), "verified");
    }
);

// The program is on a slow disk: the init waits for the exec, then passes on the signals that came
// meanwhile.
sandbox_test!(
    a_signal_while_the_service_is_executed_ends_it,
    probe,
    strace,
    |sandbox| {
        let mut manifest = supervised(&["sh", "-c", "sleep 5; echo ran"]);
        // strace belongs to root and is a child of PID 1, which cannot end it with the service's
        // uid.
        manifest["service"]["stop_grace_seconds"] = json!(0);
        sandbox.one_file(&[]).manifest(&manifest);
        // Calls are counted for each process: this is the child's first.
        let slowly = "delay_enter=500000:when=1";
        let running = sandbox.launch().inject_into_all("execve", slowly).running();
        running.until("nothing is left but the exec", || {
            running.stderr().contains(" state=sealed")
        });
        assert_eq!(running.signal(15).stdout(), "");
        let ended = running.end().code(143);
        assert_eq!(ended.stdout, "", "the service ran: {ended:?}");
    }
);

// Ctrl-Z between fork and exec: the init waits for the exec, and could not notice the stop.
sandbox_test!(
    a_stop_by_keyboard_before_the_exec_does_not_stop_the_start,
    probe,
    strace,
    |sandbox| {
        let mut manifest = supervised(&[
            "sh",
            "-c",
            "echo ran; trap 'echo heard' TSTP; kill -TSTP $$",
        ]);
        manifest["service"]["stop_grace_seconds"] = json!(0);
        sandbox.one_file(&[]).manifest(&manifest);
        let slowly = "delay_exit=3000000";
        let running = sandbox
            .launch()
            .inject_into_all("setpgid", slowly)
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
);
