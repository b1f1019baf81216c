//! The exit status of a supervised service, and of one that cannot be executed.

use serde_json::json;

use super::{below_another_init, beside, both, service, summaries, supervised};
use crate::harness::sandbox_test;

sandbox_test!(the_exit_status_is_that_of_the_service, |sandbox| {
    service(&sandbox, &["sh", "-c", "exit $STATUS"]);
    for launch in both(&sandbox) {
        for code in [0, 1, 42, 78, 80, 126, 127, 128, 143, 255] {
            let _ = launch
                .clone()
                .env("STATUS", code.to_string())
                .start()
                .exited(code);
        }
    }
});

sandbox_test!(a_signal_that_ended_the_service_is_added_to_128, |sandbox| {
    service(
        &sandbox,
        &["sh", "-c", "ulimit -c 0; exec /sbin/probe raise $SIGNAL"],
    );
    for launch in both(&sandbox) {
        for number in [1, 6, 9, 11, 15, 31, 32, 34, 64] {
            let _ = launch
                .clone()
                .env("SIGNAL", number.to_string())
                .start()
                .exited(128 + number);
        }
    }
});

sandbox_test!(expected_exit_codes_are_success, probe, |sandbox| {
    let mut manifest = supervised(&["sh", "-c", "exit $STATUS"]);
    manifest["service"]["expected_exit"] = json!([143, 3]);
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

    // A service that died from the signal counts as 143, as in a shell.
    manifest["service"]["command"] = json!(["sh", "-c", "echo ready; exec sleep 60"]);
    let sandbox = beside(&sandbox, &manifest);
    let running = sandbox.launch().running();
    running.prints("ready\n").signal(15);
    running.end().code(0);
});

sandbox_test!(a_program_that_does_not_exist_is_127, |original| {
    for program in ["no-such-program", "/no/such/program"] {
        let sandbox = original.another();
        service(&sandbox, &[program]);
        for launch in both(&sandbox) {
            launch.start().refused(127, program);
        }
    }
});

sandbox_test!(a_program_that_cannot_be_executed_is_126, probe, |sandbox| {
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
});

// An error of the exec itself is reported once, and its code is the container's.
sandbox_test!(
    a_program_that_the_kernel_refuses_is_126_with_one_message,
    probe,
    |sandbox| {
        // The beginning of an ELF header and nothing else.
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
);

// The code is the same if the log is closed.
sandbox_test!(
    a_program_that_the_kernel_refuses_is_126_with_a_closed_log,
    probe,
    |sandbox| {
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
);

sandbox_test!(every_start_has_one_summary, |sandbox| {
    service(&sandbox, &["true"]);
    for format in ["text", "json"] {
        let sandbox = beside(&sandbox, &supervised(&["true"]));
        for state in ["sealed", "verified", "verified"] {
            // `success` asserts that there is one summary.
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
});

sandbox_test!(
    the_flag_supervises_a_service_without_supervision_in_its_manifest,
    probe,
    |sandbox| {
        let look = ["sh", "-c", "echo $$ $PPID"];
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
        let supervising = sandbox.another();
        service(&supervising, &look);
        for _ in ["first start", "later start"] {
            let service = supervising.start().success();
            assert!(service.stdout.ends_with(" 1\n"), "{service:?}");
        }
    }
);
