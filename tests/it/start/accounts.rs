//! `/etc/passwd` and `/etc/group`: links, pipes, damaged lines, many lines, many groups.

use std::fmt::Write as _;
use std::fs;

use serde_json::json;

use crate::harness::{one_file, sandbox_test};

sandbox_test!(
    accounts_that_are_not_regular_files_or_oversized_are_refused_without_blocking,
    |original| {
        for file in ["/etc/passwd", "/etc/group"] {
            let sandbox = original.another();
            let mut manifest = one_file(&["true"]);
            manifest["service"]["group"] = json!("app");
            sandbox
                .one_file(&[])
                .manifest(&manifest)
                .remove(file)
                .fifo(file);
            sandbox.start().refused(67, file);
            sandbox.remove(file).directory(file, 0o755);
            sandbox.start().refused(67, file);
            sandbox.remove(file).file(file, "");
            fs::File::create(sandbox.path(file))
                .unwrap()
                .set_len(20 << 20)
                .unwrap();
            sandbox.start().refused(67, file);
            sandbox.remove(file).symlink(file, file);
            sandbox.start().refused(67, file);
        }
    }
);

// As in images whose `/etc` is generated.
sandbox_test!(accounts_behind_a_link_of_root_are_read, |sandbox| {
    sandbox.one_file(&["id", "-u"]);
    fs::rename(sandbox.path("/etc/passwd"), sandbox.path("/var/passwd")).unwrap();
    sandbox.symlink("/etc/passwd", "../var/passwd");
    assert_eq!(sandbox.start().success().stdout, "1000\n");
});

// systemd issue 6237: a user that does not parse must not become root.
sandbox_test!(malformed_lines_of_accounts_do_not_count, |original| {
    for line in [
        "app:x:0x3e8:0::/:/bin/sh",
        "app:x::0::/:",
        "app:x:-1:0::/:",
        "app:x:4294967296:0::/:",
        "app:x:4294967295:0::/:",
        "app:x",
    ] {
        let sandbox = original.another();
        sandbox.one_file(&["id", "-u"]).file(
            "/etc/passwd",
            format!("root:x:0:0::/root:/bin/sh\n{line}\n"),
        );
        sandbox.start().refused(67, "\"app\"");
    }
    let sandbox = original.another();
    sandbox.one_file(&["id", "-u"]).file(
        "/etc/passwd",
        b"broken\xff\n\n#\napp:x:1000:1000::/:/bin/sh\napp:x:0:0::/:/bin/sh\n",
    );
    assert_eq!(
        sandbox.start().success().stdout,
        "1000\n",
        "the first sound line wins"
    );
});

// A name stands for its own line, an id for the first line that has it.
sandbox_test!(
    two_names_of_one_uid_keep_their_own_groups_and_homes,
    |original| {
        let passwd = "root:x:0:0::/root:/bin/sh\nfirst:x:1000:1000::/home/first:/bin/sh\nsecond:x:1000:2000::/home/second:/bin/sh\n";
        let look = &["sh", "-c", "id -g; echo $HOME $USER"];
        for (user, expected) in [
            (json!("first"), "1000\n/home/first first\n"),
            (json!("second"), "2000\n/home/second second\n"),
            (json!(1000), "1000\n/home/first first\n"),
        ] {
            let sandbox = original.another();
            let mut manifest = one_file(look);
            manifest["service"]["user"] = user;
            sandbox
                .one_file(&[])
                .manifest(&manifest)
                .file("/etc/passwd", passwd);
            for state in ["sealed", "verified"] {
                let start = sandbox.start().success();
                assert_eq!(
                    (start.state().as_str(), start.stdout.as_str()),
                    (state, expected)
                );
            }
        }
    }
);

sandbox_test!(accounts_of_a_hundred_thousand_lines_are_read, |sandbox| {
    let mut passwd = String::new();
    for n in 0..100_000 {
        writeln!(passwd, "u{n}:x:{}:100::/:/bin/false", 10_000 + n).unwrap();
    }
    passwd.push_str("app:x:1000:1000::/home/app:/bin/sh\n");
    sandbox.one_file(&["id", "-u"]).file("/etc/passwd", &passwd);
    assert_eq!(sandbox.start().success().stdout, "1000\n");
    // Without a newline at the end of the last line.
    let sandbox = sandbox.another();
    sandbox
        .one_file(&["id", "-u"])
        .file("/etc/passwd", "app:x:1000:1000::/home/app:/bin/sh");
    assert_eq!(sandbox.start().success().stdout, "1000\n");
});

// The kernel accepts 65,536 supplementary groups; one more is refused before the installation.
sandbox_test!(
    too_many_groups_are_refused_before_anything_is_written,
    |sandbox| {
        let mut manifest = one_file(&["sh", "-c", "id -G | wc -w"]);
        manifest["service"]["supplementary_groups"] =
            json!((1..=1000).map(|n| 100_000 - n).collect::<Vec<u32>>());
        sandbox.one_file(&[]).manifest(&manifest);
        let start = sandbox.start();
        if start.exit_code() == 77 {
            // In a user namespace of 65,536 ids.
            start.refused(77, "namespace");
        } else {
            assert_eq!(start.success().stdout, "1001\n");
        }
        let sandbox = sandbox.another();
        manifest["service"]["supplementary_groups"] =
            json!((1..=65_536).map(|n| 1_000_000 + n).collect::<Vec<u32>>());
        sandbox.one_file(&[]).manifest(&manifest);
        let start = sandbox.start();
        let code = start.one_of(&[77, 78]);
        start.refused(code, "groups");
    }
);
