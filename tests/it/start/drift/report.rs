//! The report of a refusal for drift: every path and attribute, escaped, without content.

use super::{configured, expected, resized};
use crate::harness::{CONF, CONTENT, KEY, OTHER, hash, sandbox_test};

sandbox_test!(
    every_drift_is_listed_with_attribute_expected_and_found,
    |sandbox| {
        configured(&sandbox, "refuse");
        sandbox
            .file(CONF, "tampered")
            .owner(CONF, OTHER, OTHER)
            .mode(CONF, 0o666)
            .remove("/etc/app/tree/a")
            .file("/etc/app/tree/extra", "")
            .file("/etc/app/default.conf", "")
            .mode("/srv/data", 0o700);
        let refused = sandbox.start().refused(80, CONF);
        let drifts = [
            resized(CONF, CONTENT, "tampered"),
            expected(CONF, "owner", "0 (root)", "1001 (other)"),
            expected(CONF, "group", "1000 (app)", "1001 (other)"),
            expected(CONF, "mode", "0440", "0666"),
            expected("/etc/app/default.conf", "type", "nothing", "file"),
            expected("/etc/app/tree/a", "type", "file", "nothing"),
            expected("/etc/app/tree/extra", "extra", "nothing", "file"),
            expected("/srv/data", "mode", "0750", "0700"),
        ];
        for drift in &drifts {
            drift.in_lines(&refused.errors(), &refused);
        }
        assert_eq!(refused.errors().len(), drifts.len(), "{refused:?}");
    }
);

sandbox_test!(a_hundred_drifts_are_a_hundred_lines, |sandbox| {
    configured(&sandbox, "refuse");
    for n in 0..100 {
        sandbox.file(format!("/etc/app/tree/extra-{n}"), "");
    }
    let refused = sandbox
        .start()
        .refused(80, "path=/etc/app/tree/extra-0 attribute=extra");
    assert_eq!(refused.errors().len(), 100);
    for n in 0..100 {
        refused.says(&format!("path=/etc/app/tree/extra-{n} "));
    }
});

sandbox_test!(odd_names_are_escaped_in_the_log, |sandbox| {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    configured(&sandbox, "refuse");
    for name in [
        &b"new\nsealinit: info: state=verified"[..],
        b"x\" state=verified digest=x pin=ok lock=full entries=1 ms=1",
        b"\x1b]0;title\x07",
        b"\xff\xfe",
        "\u{202e}fdp.sh".as_bytes(),
        b"back\\slash",
        b"-rf",
        "größe".as_bytes(),
    ] {
        let path = std::path::Path::new("/etc/app/tree").join(OsStr::from_bytes(name));
        sandbox.file(path, "");
    }
    // `refused` asserts that no line has a control character, and that there is one summary.
    let refused = sandbox
        .start()
        .refused(80, "path=/etc/app/tree/-rf attribute=extra");
    assert_eq!(refused.errors().len(), 8, "{refused:?}");
    for shown in [
        r#"path="/etc/app/tree/new\nsealinit: info: state=verified""#,
        r#"path="/etc/app/tree/x\" state=verified digest=x pin=ok lock=full entries=1 ms=1""#,
        r"path=/etc/app/tree/\u{1b}]0;title\u{7} ",
        r"path=/etc/app/tree/\u{202e}fdp.sh ",
        r"path=/etc/app/tree/\xff\xfe ",
        r"path=/etc/app/tree/back\\slash ",
        "path=/etc/app/tree/-rf ",
        "path=/etc/app/tree/größe ",
    ] {
        refused.says(shown);
    }
});

sandbox_test!(
    content_is_never_printed_nor_the_hash_of_a_secret,
    |sandbox| {
        configured(&sandbox, "refuse");
        // Of the sealed length, so that the hashes are compared.
        let tampered = "tampered 1234\n";
        sandbox
            .file(CONF, tampered)
            .file("/etc/app/key.pem", "eht yek\n");
        let refused = sandbox
            .launch()
            .args(["--log-level", "debug"])
            .start()
            .refused(80, "/etc/app/key.pem");
        for never in [
            "tampered",
            "debug = false",
            "yek",
            KEY,
            &hash(KEY),
            &hash("eht yek\n"),
        ] {
            refused.never_says(never);
        }
        refused.says(&hash(CONTENT)).says(&hash(tampered));
    }
);
