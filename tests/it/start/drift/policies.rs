//! Drift beyond one entry: links, unsafe parents, restoring, and the pin over `warn`.

use serde_json::json;

use super::{Tamper, configured, expected, manifest};
use crate::harness::{APP, CONF, CONTENT, OTHER, sandbox_test};

sandbox_test!(
    a_missing_directory_is_rolled_back_with_all_that_was_in_it,
    |sandbox| {
        configured(&sandbox, "restore");
        let sealed = sandbox.tree();
        sandbox.remove("/etc/app/tree");
        assert_eq!(sandbox.start().success().state(), "restored");
        sealed.assert_equals(&sandbox.tree());
    }
);

sandbox_test!(a_directory_that_became_a_link_is_not_followed, |sandbox| {
    configured(&sandbox, "refuse");
    // The same names with the same contents in another place.
    sandbox
        .directory("/srv/elsewhere", 0o550)
        .owner("/srv/elsewhere", 0, APP)
        .directory("/srv/elsewhere/sub", 0o550)
        .owner("/srv/elsewhere/sub", 0, APP)
        .file("/srv/elsewhere/a", "a\n")
        .file("/srv/elsewhere/sub/b", "b\n");
    for file in ["/srv/elsewhere/a", "/srv/elsewhere/sub/b"] {
        sandbox.mode(file, 0o440).owner(file, 0, APP);
    }
    sandbox
        .remove("/etc/app/tree")
        .symlink("/etc/app/tree", "../../srv/elsewhere");
    let refused = sandbox.start().refused(80, "/etc/app/tree");
    expected("/etc/app/tree", "type", "directory", "symlink").in_lines(&refused.errors(), &refused);
});

sandbox_test!(
    a_parent_directory_that_became_a_link_is_refused,
    |sandbox| {
        configured(&sandbox, "refuse");
        let moved = sandbox.path("/etc/app.moved");
        std::fs::rename(sandbox.path("/etc/app"), moved).unwrap();
        sandbox
            .symlink("/etc/app", "app.moved")
            .owner("/etc/app", APP, APP);
        sandbox.start().refused(80, "/etc/app");
    }
);

// Promise 2: every directory on the way is root's and not group- or world-writable, or the start is
// refused with the remedy.
sandbox_test!(
    promise_2_a_directory_on_the_way_that_became_unsafe_is_refused_under_every_policy,
    |original| {
        let unsafe_ways: [(&str, Tamper); 5] = [
            ("the service's", |sandbox| {
                sandbox.owner("/etc/app", APP, APP);
            }),
            ("another's", |sandbox| {
                sandbox.owner("/etc/app", OTHER, OTHER);
            }),
            ("group-writable", |sandbox| {
                sandbox.mode("/etc/app", 0o775);
            }),
            ("world-writable", |sandbox| {
                sandbox.mode("/etc/app", 0o757);
            }),
            ("sticky", |sandbox| {
                sandbox.mode("/etc/app", 0o1777);
            }),
        ];
        for on_drift in ["refuse", "warn", "restore"] {
            for (what, tamper) in unsafe_ways {
                let sandbox = original.another();
                configured(&sandbox, on_drift);
                tamper(&sandbox);
                let refused = sandbox.start().refused(80, "/etc/app");
                assert!(
                    refused.stderr.contains("recreate the container (with"),
                    "{what} under {on_drift}: no remedy\n{refused:?}"
                );
            }
        }
    }
);

sandbox_test!(unsealed_files_may_change, |sandbox| {
    configured(&sandbox, "refuse");
    sandbox
        .file("/srv/data/sub/file", "the service's")
        .file("/etc/app/neighbour", "an operator's")
        .mode("/etc/app", 0o700)
        .file("/etc/motd", "");
    assert_eq!(sandbox.start().success().state(), "verified");
});

sandbox_test!(restoring_installs_only_the_sealed_content, |sandbox| {
    configured(&sandbox, "restore");
    sandbox
        .file(CONF, "tampered")
        .source("app.conf", "debug = true\n");
    let refused = sandbox.start().refused(80, CONF);
    refused.says("/etc/sealinit/app.conf");
    sandbox.source("app.conf", CONTENT);
    assert_eq!(sandbox.start().success().state(), "restored");
    assert_eq!(sandbox.read(CONF), CONTENT);
});

sandbox_test!(restoring_does_not_install_newer_sources, |sandbox| {
    configured(&sandbox, "restore");
    // Nothing has drifted: a newer source alone is not a reason to write.
    sandbox.source("app.conf", "debug = true\n");
    let start = sandbox.start().success();
    assert_eq!(start.state(), "verified");
    assert_eq!(sandbox.read(CONF), CONTENT);
});

sandbox_test!(restoring_is_all_or_nothing, |sandbox| {
    configured(&sandbox, "restore");
    sandbox
        .file(CONF, "tampered")
        .file("/etc/app/tree/a", "tampered")
        .mode("/srv/data", 0o777)
        .source("tree/a", "changed\n");
    // `refused` compares the whole disk, the entries that could have been restored included.
    sandbox.start().refused(80, "/etc/app/tree/a");
});

sandbox_test!(restoring_without_the_mount_is_refused, |sandbox| {
    configured(&sandbox, "restore");
    sandbox.file(CONF, "tampered").remove("/etc/sealinit");
    sandbox.start().refused(80, CONF);
});

sandbox_test!(
    restoring_from_a_pipe_is_refused_without_blocking,
    |sandbox| {
        configured(&sandbox, "restore");
        sandbox
            .file(CONF, "tampered")
            .remove("/etc/sealinit/app.conf")
            .fifo("/etc/sealinit/app.conf");
        sandbox.start().refused(80, CONF);
    }
);

sandbox_test!(inline_content_is_restored_from_the_manifest, |sandbox| {
    sandbox.manifest(&json!({
        "version": 1,
        "service": {"user": "app", "command": ["true"]},
        "files": [{"content": "inline\n", "dest": CONF}],
        "on_drift": "restore",
    }));
    let _ = sandbox.start().success();
    let sealed = sandbox.tree();
    sandbox.file(CONF, "tampered");
    assert_eq!(sandbox.start().success().state(), "restored");
    sealed.assert_equals(&sandbox.tree());
});

sandbox_test!(the_sealed_policy_decides_and_not_a_newer_one, |sandbox| {
    configured(&sandbox, "refuse");
    sandbox.manifest(&manifest("warn")).file(CONF, "tampered");
    sandbox.start().refused(80, CONF);
});

// Promise 5: with a pin, no other manifest and no other content is ever installed or run.
sandbox_test!(
    promise_5_a_pinned_configuration_does_not_run_with_other_content_under_warn,
    |sandbox| {
        configured(&sandbox, "warn");
        let digest = sandbox.start().success().summarised("digest");
        sandbox.file(CONF, "tampered");
        let refused = sandbox
            .launch()
            .args(["--pin", &digest])
            .start()
            .refused(80, CONF);
        assert_eq!(refused.stdout, "");
    }
);
