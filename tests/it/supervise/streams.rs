//! Streams, descriptors and environment of a supervised service; logs that are closed or full.

use std::fs;

use serde_json::json;

use super::{both, service, supervised};
use crate::harness::{PROBE, Running, sandbox_test};

// A write to a log without a reader raises SIGPIPE in the init.
sandbox_test!(a_closed_log_does_not_end_the_service, |sandbox| {
    service(&sandbox, &["sh", "-c", "echo ran"]);
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
});

sandbox_test!(the_service_can_open_its_output_again, |sandbox| {
    // /dev/stdout and /dev/stderr link there, and images link their log files to those.
    service(
        &sandbox,
        &[
            "sh",
            "-c",
            "echo out >/proc/self/fd/1; echo err >/proc/self/fd/2",
        ],
    );
    for launch in both(&sandbox) {
        let service = launch.start().success();
        assert_eq!(service.stdout, "out\n");
        service.says("err");
    }
});

sandbox_test!(
    environment_arguments_directory_and_umask_are_as_without_supervision,
    probe,
    |sandbox| {
        let mut manifest = supervised(&["false"]);
        manifest["service"]["env"] = json!({"TZ": "UTC"});
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
);

// LISTEN_PID names the process that the sockets are for: the service, not the process that was
// started.
sandbox_test!(activated_sockets_are_passed_to_the_service, |sandbox| {
    let script = "echo ${LISTEN_PID:-none} $$ ${LISTEN_FDS:-none}; cat <&3; readlink /proc/$$/fd/4; echo $(ls /proc/self/fd)";
    service(&sandbox, &["sh", "-c", script]);
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

        // For another process: nothing is passed or rewritten.
        let ended = launch
            .prelude(&activate.replace("$$", "4711"))
            .running()
            .end();
        assert!(ended.stdout.starts_with("4711 "), "{ended:?}");
        assert!(!ended.stdout.contains("passed"), "{ended:?}");
    }
});

sandbox_test!(closed_standard_descriptors_are_the_null_device, |sandbox| {
    let look = "x=$(readlink /proc/$$/fd/0 /proc/$$/fd/1 /proc/$$/fd/2); echo \"$x\" >/home/app/descriptors; exit 3";
    service(&sandbox, &["sh", "-c", look]);
    for launch in both(&sandbox) {
        let outcome = launch.prelude("exec 0<&- 1>&- 2>&-").start().code(3);
        assert_eq!(outcome.stderr, "");
        assert_eq!(
            sandbox.read("/home/app/descriptors"),
            "/dev/null\n/dev/null\n/dev/null\n"
        );
    }
});

sandbox_test!(
    a_supervised_service_runs_and_ends_even_if_the_log_cannot_be_written,
    |sandbox| {
        service(&sandbox, &["sh", "-c", "echo ran; exit 3"]);
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
            assert_eq!(broken.stdout, "ran\n", "with a pipe without a reader");
        }
    }
);

// The pipe behind standard error is full, and its reader has stopped.
sandbox_test!(
    a_log_reader_that_has_stopped_reading_does_not_hang_the_start,
    |sandbox| {
        service(&sandbox, &["sh", "-c", "echo ran; exit 3"]);
        for launch in both(&sandbox) {
            let running = launch.wrapper([PROBE, "full"]).running();
            assert_eq!(running.end().code(3).stdout, "ran\n");
        }
    }
);

// The same while the service runs and is stuck in its own log: a signal still ends it.
sandbox_test!(
    a_log_reader_that_stops_reading_does_not_hang_the_end,
    |sandbox| {
        let script = "(sleep 0.3; while :; do echo flood; done) >&2 & trap 'exit 4' TERM; echo ready; while :; do sleep 0.02; done";
        service(&sandbox, &["sh", "-c", script]);
        for launch in both(&sandbox) {
            // The reading end is held and never read.
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
);

fn wchan(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default()
}
