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
        "the seal /var/lib/sealinit/seal is invalid: it was cut short or changed: its checksum does not match; \
         recreate the container\n"
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

/// A manifest with `count` small files and a recursive directory.
fn many_files(sandbox: &crate::harness::Sandbox, count: usize) {
    let files: Vec<_> = (0..count)
        .map(|index| json!({"content": "text\n", "dest": format!("/etc/app/f{index:02}")}))
        .collect();
    sandbox.manifest(&json!({
        "version": 1,
        "service": {"user": "app", "command": ["true"]},
        "files": files,
        "directories": [{"path": "/srv/data", "owner": "app", "recursive": true}],
        "absent": ["/etc/app/old"],
    }));
    sandbox
        .file("/etc/app/f00", "the image's")
        .file("/etc/app/old", "")
        .file("/srv/data/file", "");
}

sandbox_test!(work_that_takes_long_says_how_far_it_is, strace, |sandbox| {
    many_files(&sandbox, 30);
    let lines = |log: &str| {
        let lines = log.lines().map(str::to_owned);
        let lines = lines.filter(|line| line.starts_with("sealinit: info: installing "));
        lines.collect::<Vec<_>>()
    };
    let slowly = sandbox
        .launch()
        .inject("renameat", "delay_enter=100000:when=3+");
    let start = slowly.start().success();
    let logged = lines(&start.stderr);
    let [line] = logged.as_slice() else {
        panic!("one line after a second, and ten seconds between two: {start:?}");
    };
    assert!(line.ends_with(" of 32 entries"), "{line}");
    let later = sandbox.start().success();
    assert_eq!(lines(&later.stderr).len(), 0);
});

sandbox_test!(a_sync_that_takes_long_is_logged, strace, |sandbox| {
    many_files(&sandbox, 30);
    let slowly = sandbox
        .launch()
        .inject("syncfs", "delay_enter=1500000:when=2+");
    let start = slowly.start().success();
    assert!(
        start
            .stderr
            .contains("sealinit: info: syncing 32 entries\n"),
        "{start:?}"
    );
});

sandbox_test!(
    the_debug_level_reports_each_step_of_an_installation,
    |sandbox| {
        many_files(&sandbox, 2);
        let verbose = sandbox.launch().args(["--log-level", "debug"]);
        let start = verbose.start().success();
        for step in [
            "replace path=/etc/app/f00",
            "create path=/etc/app/f01",
            "remove path=/etc/app/old",
            "set owner path=/srv/data/file uid=1000 gid=1000",
        ] {
            let line = format!("sealinit: debug: {step}\n");
            assert!(start.stderr.contains(&line), "{step}: {start:?}");
        }
        assert!(!start.stderr.contains("text"), "{start:?}");
    }
);
