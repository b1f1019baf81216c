//! Interrupted first starts, and two starts at the same time.

use crate::harness::{CONF, CONTENT, JOURNAL, SEAL, Sandbox, sandbox_test};

/// Leaves a first start that ran out of space: with a journal and without a seal.
fn interrupted(sandbox: &Sandbox) {
    sandbox
        .directory("/etc/app", 0o755)
        .one_file(&["cat", CONF])
        .source("app.conf", "x".repeat(128 << 10));
    let launch = sandbox.launch().tmpfs("/etc/app", "size=64k,mode=0755");
    launch.start().failed(73, CONF);
    assert!(sandbox.exists(JOURNAL) && !sandbox.exists(SEAL));
}

sandbox_test!(an_interrupted_first_start_is_resumed, |sandbox| {
    interrupted(&sandbox);
    let resumed = sandbox.start().success();
    assert_eq!(resumed.state(), "resumed");
    assert_eq!(resumed.stdout, "x".repeat(128 << 10));
    assert!(sandbox.exists(SEAL) && !sandbox.exists(JOURNAL));
    assert!(sandbox.temporaries().is_empty());
    let next = sandbox.start().success();
    assert_eq!(next.state(), "verified");
    assert_eq!(next.summarised("digest"), resumed.summarised("digest"));
});

sandbox_test!(
    an_interrupted_first_start_of_another_configuration_is_refused,
    |sandbox| {
        interrupted(&sandbox);
        sandbox.source("app.conf", CONTENT);
        let refused = sandbox.start().refused(83, "recreate the container");
        refused.says("/var/lib/sealinit");
        sandbox.source("app.conf", "x".repeat(128 << 10));
        assert_eq!(
            sandbox.start().success().state(),
            "resumed",
            "with the old one again"
        );
    }
);

sandbox_test!(a_journal_beside_a_seal_is_removed, |sandbox| {
    sandbox.one_file(&["true"]);
    let _ = sandbox.start().success();
    sandbox.file(JOURNAL, "left over").mode(JOURNAL, 0o400);
    assert_eq!(sandbox.start().success().state(), "verified");
    assert_eq!(sandbox.start().success().state(), "verified");
});

sandbox_test!(
    an_unreadable_journal_counts_as_another_configurations,
    |original| {
        for content in ["", "garbage", "{\"version\":2,\"digest\":\"sha256:00\"}"] {
            let sandbox = original.another();
            sandbox
                .one_file(&["true"])
                .directory("/var/lib/sealinit", 0o700)
                .file(JOURNAL, content);
            sandbox.start().refused(83, "/var/lib/sealinit");
        }
        let sandbox = original.another();
        sandbox
            .one_file(&["true"])
            .directory("/var/lib/sealinit", 0o700)
            .fifo(JOURNAL);
        sandbox.start().refused(83, "/var/lib/sealinit");
    }
);

// `docker exec` of a second one while the first is running.
sandbox_test!(a_second_sealinit_at_the_same_time_is_refused, |sandbox| {
    sandbox
        .one_file(&["echo", "ran"])
        .directory("/var/lib/sealinit", 0o700);
    let busy = || sandbox.launch().wrapper(["flock", "/var/lib/sealinit"]);
    busy().start().refused(74, "another sealinit");
    let _ = sandbox.start().success();
    busy().start().refused(74, "another sealinit");
    assert_eq!(sandbox.start().success().state(), "verified");
});
