//! Pins: only the pinned configuration is installed and run.

use serde_json::json;

use crate::harness::{CONF, CONTENT, SEAL, hash, one_file, sandbox_test};

const OTHER_DIGEST: &str =
    "sha256:0000000000000000000000000000000000000000000000000000000000000000";

// Promise 5: with a pin, no other manifest and no other content is ever installed or run.
sandbox_test!(
    promise_5_another_pin_installs_nothing_and_runs_nothing,
    |sandbox| {
        sandbox.one_file(&["cat", CONF]);
        let refused = sandbox
            .launch()
            .args(["--pin", OTHER_DIGEST])
            .start()
            .refused(82, OTHER_DIGEST);
        assert_eq!(refused.summarised("pin"), "mismatch");
        let digest = refused.summarised("digest");
        refused.says(&format!("found {digest}"));

        let first = sandbox.launch().args(["--pin", &digest]).start().success();
        assert_eq!(
            (first.state().as_str(), first.summarised("pin").as_str()),
            ("sealed", "ok")
        );
        assert_eq!(first.summarised("digest"), digest);

        let refused = sandbox
            .launch()
            .args(["--pin", OTHER_DIGEST])
            .start()
            .refused(82, OTHER_DIGEST);
        assert_eq!(refused.summarised("pin"), "mismatch");
        let later = sandbox
            .launch()
            .env("SEALINIT_PIN", &digest)
            .start()
            .success();
        assert_eq!(
            (later.state().as_str(), later.summarised("pin").as_str()),
            ("verified", "ok")
        );
        assert_eq!(sandbox.start().success().summarised("pin"), "none");
    }
);

sandbox_test!(promise_5_each_changed_input_is_another_pin, |sandbox| {
    sandbox.one_file(&["cat", CONF]);
    let digest = sandbox.digest();
    let pinned = || sandbox.launch().args(["--pin", &digest]);
    sandbox.source("app.conf", "debug = true\n");
    pinned().start().refused(82, &digest);
    let mut manifest = one_file(&["cat", CONF]);
    manifest["service"]["user"] = json!("other");
    sandbox.source("app.conf", CONTENT).manifest(&manifest);
    pinned().start().refused(82, &digest);
    sandbox.one_file(&["cat", CONF]);
    assert_eq!(pinned().start().success().state(), "sealed");
});

// Without a pin, root by `docker exec` can change a file and remove the seal, and the next start
// seals the result.
sandbox_test!(
    promise_5_a_configuration_that_was_sealed_again_is_not_the_pinned_one,
    |sandbox| {
        sandbox.one_file(&["cat", CONF]);
        let digest = sandbox.start().success().summarised("digest");
        sandbox.remove(SEAL).source("app.conf", "debug = true\n");
        assert_eq!(sandbox.start().success().state(), "sealed");
        sandbox
            .launch()
            .args(["--pin", &digest])
            .start()
            .refused(82, &digest);
    }
);

// A seal that was edited to fit tampered files, with its old digest left in, must not pass for the
// pinned configuration.
sandbox_test!(promise_5_an_edited_seal_is_refused, |sandbox| {
    sandbox.one_file(&["cat", CONF]);
    let digest = sandbox.start().success().summarised("digest");
    sandbox.file(CONF, "tampered\n");
    let seal = sandbox.read(SEAL);
    assert!(
        seal.contains(&hash(CONTENT)),
        "the seal holds the hash of the content"
    );
    sandbox.file(SEAL, seal.replace(&hash(CONTENT), &hash("tampered\n")));
    for pin in [&[][..], &["--pin", &digest]] {
        sandbox.launch().args(pin).start().refused(81, SEAL);
    }
});

sandbox_test!(the_pin_is_checked_when_the_mount_is_gone, |sandbox| {
    sandbox.one_file(&["cat", CONF]);
    let digest = sandbox.start().success().summarised("digest");
    sandbox.remove("/etc/sealinit");
    let later = sandbox.launch().args(["--pin", &digest]).start().success();
    assert_eq!(
        (later.state().as_str(), later.summarised("pin").as_str()),
        ("verified", "ok")
    );
    sandbox
        .launch()
        .args(["--pin", OTHER_DIGEST])
        .start()
        .refused(82, OTHER_DIGEST);
});

sandbox_test!(
    a_pin_that_was_given_at_the_first_start_is_not_remembered,
    |sandbox| {
        sandbox.one_file(&["true"]);
        let digest = sandbox.digest();
        let _ = sandbox.launch().args(["--pin", &digest]).start().success();
        assert_eq!(sandbox.start().success().summarised("pin"), "none");
    }
);

// The seal's fields that a pin does not cover, such as the service's uid, come from resolving names
// on this machine; the seal itself must show that they were changed.
sandbox_test!(every_edit_of_the_seal_is_refused, |sandbox| {
    sandbox.one_file(&["cat", CONF]);
    let _ = sandbox.start().success();
    let seal = sandbox.read(SEAL);
    let mut edits = 0;
    for (index, byte) in seal.bytes().enumerate() {
        if byte.is_ascii_digit() && edits < 200 {
            edits += 1;
            let mut edited = seal.clone().into_bytes();
            edited[index] = if byte == b'0' { b'1' } else { b'0' };
            sandbox.file(SEAL, edited);
            sandbox.start().refused(81, SEAL);
        }
    }
    assert!(edits > 60, "there are two hashes at least");
    sandbox.file(SEAL, seal);
    assert_eq!(sandbox.start().success().state(), "verified");
});
