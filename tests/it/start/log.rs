//! The log and the termination log: complete where they can be written, never in the way.

use std::fs;

use serde_json::json;

use crate::harness::{CONF, CONTENT, SEAL, one_file, sandbox_test};

const TERMINATION_LOG: &str = "/dev/termination-log";

// "When a start is refused, the reason also goes to /dev/termination-log if it exists"
sandbox_test!(a_refusal_is_written_to_the_termination_log, |sandbox| {
    sandbox
        .one_file(&["true"])
        .file(TERMINATION_LOG, "an older and longer message\n".repeat(9));
    let _ = sandbox.start().success();
    assert!(
        sandbox.read(TERMINATION_LOG).starts_with("an older"),
        "a start that succeeds leaves it alone"
    );

    sandbox.mode(CONF, 0o444);
    let _ = sandbox.start().refused(80, CONF);
    assert_eq!(
        sandbox.read(TERMINATION_LOG),
        "/etc/app/app.conf: mode: expected 0440, found 0444\n\
         recreate the container (with \"on_drift\": \"restore\" in the manifest, a restart restores it)\n"
    );

    sandbox.file(SEAL, "torn");
    let _ = sandbox.start().refused(81, "seal");
    assert_eq!(
        sandbox.read(TERMINATION_LOG),
        "the seal /var/lib/sealinit/seal is invalid: it was cut short or changed: its checksum is not the recorded \
         one; recreate the container\n"
    );
});

sandbox_test!(
    a_long_refusal_is_cut_and_a_missing_termination_log_is_not_created,
    |sandbox| {
        let absent: Vec<String> = (0..200).map(|index| format!("relative/{index}")).collect();
        let mut manifest = one_file(&["true"]);
        manifest["absent"] = json!(absent);
        sandbox.manifest(&manifest).source("app.conf", CONTENT);
        let refused = sandbox.start().refused(78, "is not absolute");
        assert_eq!(refused.errors().len(), 200);
        assert!(!sandbox.exists(TERMINATION_LOG));

        sandbox.file(TERMINATION_LOG, "");
        let _ = sandbox.start().refused(78, "is not absolute");
        let reported = sandbox.read(TERMINATION_LOG);
        assert_eq!(reported.len(), 4096);
        assert!(
            reported.starts_with("/etc/sealinit/manifest.json:"),
            "{reported}"
        );
    }
);

sandbox_test!(
    a_termination_log_that_is_something_else_is_left_alone,
    |sandbox| {
        sandbox
            .one_file(&["no-such-program"])
            .file("/etc/victim", "victim")
            .symlink(TERMINATION_LOG, "/etc/victim");
        let _ = sandbox.start().refused(127, "no-such-program");
        assert_eq!(sandbox.read("/etc/victim"), "victim");
        fs::remove_file(sandbox.path(TERMINATION_LOG)).unwrap();
        sandbox.fifo(TERMINATION_LOG);
        let _ = sandbox.start().refused(127, "no-such-program");
    }
);

// A refusal has its exit code even if its reason cannot be written.
sandbox_test!(
    a_log_that_cannot_be_written_changes_no_exit_code,
    |sandbox| {
        sandbox.file("/dev/full", "").one_file(&["echo", "ran"]);
        let _ = sandbox.start().success();
        sandbox.file(CONF, "tampered\n");
        for prelude in [
            "exec 2>/dev/full",
            "exec 2>&-",
            "exec 0<&- 1>&- 2>&-",
            "exec 2> >(true); sleep 0.1",
        ] {
            for format in ["text", "json"] {
                let launch = sandbox
                    .launch()
                    .bind_host("/dev/full", "/dev/full")
                    .args(["--log-format", format]);
                let refused = launch.prelude(prelude).start();
                refused.untouched();
                assert_eq!(refused.code(80).stdout, "", "{prelude}");
            }
        }
        // The same before there is a log: bad usage.
        let usage = sandbox
            .launch()
            .bind_host("/dev/full", "/dev/full")
            .args(["--no-such-option"]);
        let _ = usage.prelude("exec 2>/dev/full").start().code(2);
    }
);
