//! Secrets and mutable files.

use serde_json::json;

use crate::harness::{Outcome, hash, sandbox_test};

sandbox_test!(a_secret_is_never_printed, |sandbox| {
    let secrets = ["hunter2-inline", "hunter2-file", "hunter2-changed"];
    let never = |outcome: &Outcome| {
        for secret in secrets {
            outcome.never_says(secret).never_says(&hash(secret));
        }
    };
    for format in ["text", "json"] {
        let sandbox = sandbox.another();
        sandbox
            .manifest(&json!({
                "version": 1,
                "service": {"user": "app", "command": ["true"]},
                "files": [
                    {"content": secrets[0], "dest": "/etc/app/inline", "secret": true},
                    {"source": "file", "dest": "/etc/app/file", "secret": true},
                ],
            }))
            .source("file", secrets[1]);
        let options = ["--log-level", "debug", "--log-format", format];
        never(&sandbox.launch().args(options).start().code(0));
        never(&sandbox.launch().args(options).start().code(0));
        sandbox
            .file("/etc/app/file", secrets[2])
            .file("/etc/app/inline", secrets[2]);
        let drifted = sandbox
            .launch()
            .args(options)
            .start()
            .refused(80, "/etc/app/file");
        drifted.says("/etc/app/inline");
        never(&drifted);
    }
});

sandbox_test!(
    a_mutable_file_is_installed_once_and_then_belongs_to_the_service,
    |sandbox| {
        sandbox
        .manifest(&json!({
            "version": 1,
            "service": {"user": "app", "command": ["sh", "-c", "echo more >>/var/lib/app/state; cat /var/lib/app/state"]},
            "files": [{"source": "seed", "dest": "/var/lib/app/state", "owner": "app", "mode": "0600", "mutable": true}],
            "directories": [{"path": "/var/lib/app"}],
        }))
        .source("seed", "seed\n");
        let first = sandbox.start().success();
        assert_eq!(first.stdout, "seed\nmore\n");
        assert_eq!(
            first.summarised("lock"),
            "full",
            "what is mutable was never to be locked"
        );
        let second = sandbox.start().success();
        assert_eq!(
            (second.state().as_str(), second.stdout.as_str()),
            ("verified", "seed\nmore\nmore\n")
        );
        sandbox.remove("/var/lib/app/state");
        assert_eq!(
            sandbox.start().success().stdout,
            "more\n",
            "not even missing is it drift"
        );
    }
);
