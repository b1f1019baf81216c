//! `init --user`: who the command becomes, and who it never becomes.

use std::fmt::Write as _;

use super::{LOOK, as_pid_1, as_user};
use crate::harness::{CAPABILITY_SETS, EMPTY_SET, sandbox_test};

// Strings that other programs run as root or as an unintended user.
sandbox_test!(
    strings_that_are_not_users_are_refused_and_nothing_runs,
    |sandbox| {
        for (spec, code) in [
            ("", 2),
            ("+5", 2),
            (":", 2),
            (":0", 2),
            (":app", 2),
            ("nobody:", 2),
            ("nobody+", 2),
            ("nobody:app+", 2),
            ("nobody++app", 2),
            ("4294967295", 2),
            ("4294967296", 2),
            ("18446744073709551616", 2),
            ("99999999999999999999999999", 2),
            ("nobody:4294967296", 2),
            ("nobody:4294967295", 2),
            ("nobody+4294967296", 2),
            // Names without an account in which other programs read a number.
            ("-1", 67),
            ("nobody:-1", 67),
            (" ", 67),
            (" 5", 67),
            ("5 ", 67),
            ("0 ", 67),
            ("\t0", 67),
            ("0\n", 67),
            ("0x10", 67),
            ("0x0", 67),
            ("1e3", 67),
            ("0day", 67),
            ("0.0", 67),
            ("０", 67),
            ("nobody:+5", 2),
            ("nobody: 5", 67),
            ("nobody:0x10", 67),
            ("bogus", 67),
            ("nobody:bogus", 67),
            ("nobody:app+bogus", 67),
            ("App", 67),
            ("app:app:app", 67),
            // Without an account there is no primary group, and gid 0 is not a default.
            ("2147483648", 67),
            ("4711", 67),
            ("4711+44", 67),
        ] {
            let outcome = as_user(&sandbox, spec, &["sh", "-c", "echo ran; id"])
                .start()
                .code(code);
            assert_eq!(outcome.stdout, "", "{spec:?}: {outcome:?}");
            assert!(
                !outcome.stderr.is_empty(),
                "{spec:?} is refused without a word"
            );
            assert!(
                !outcome
                    .stderr
                    .chars()
                    .any(|shown| shown.is_control() && shown != '\n'),
                "{spec:?}: {outcome:?}"
            );
        }
        // The name of an option is not a user.
        for words in [
            &["--user", "-1", "--", "id"][..],
            &["--user", "--", "id"],
            &["--user", "+5", "--", "id"],
        ] {
            let outcome = as_pid_1(&sandbox, words).start();
            let code = outcome.exit_code();
            assert!([2, 67].contains(&code), "{words:?}");
            assert_eq!(outcome.code(code).stdout, "", "{words:?}");
        }
    }
);

sandbox_test!(a_user_is_a_name_or_an_id_with_groups, |sandbox| {
    for (spec, uid, gid, groups) in [
        // As in Docker: the memberships in /etc/group apply only if no group is given.
        ("app", 1000, 1000, "1000 2000"),
        ("1000", 1000, 1000, "1000 2000"),
        ("app:app", 1000, 1000, "1000"),
        ("1000:1000", 1000, 1000, "1000"),
        ("app:certs", 1000, 2000, "2000"),
        ("app:0", 1000, 0, "0"),
        ("nobody", 65534, 65534, "65534"),
        ("nobody:app+certs", 65534, 1000, "1000 2000"),
        ("app+44", 1000, 1000, "44 1000 2000"),
        ("app:certs+44+other+44", 1000, 2000, "44 1001 2000"),
        ("4711:4711", 4711, 4711, "4711"),
        ("4711:certs", 4711, 2000, "2000"),
        ("4711:0+7", 4711, 0, "0 7"),
        ("0001000", 1000, 1000, "1000 2000"),
        ("other", 1001, 1001, "1001"),
    ] {
        let service = as_user(&sandbox, spec, &LOOK)
            .wrapper(["setpriv", "--groups=0,3000"])
            .start()
            .code(0);
        assert_eq!(
            service.status("Uid"),
            [uid; 4].map(|uid: u32| uid.to_string()).join(" "),
            "{spec}"
        );
        assert_eq!(
            service.status("Gid"),
            [gid; 4].map(|gid: u32| gid.to_string()).join(" "),
            "{spec}"
        );
        assert_eq!(service.status("Groups"), groups, "{spec}");
        for set in CAPABILITY_SETS {
            assert_eq!(service.status(set), EMPTY_SET, "{spec}: {set}");
        }
        assert_eq!(service.status("NoNewPrivs"), "1", "{spec}");
        assert_eq!(service.stderr, "", "{spec}");
    }
});

// The largest id there is.
sandbox_test!(the_largest_id_of_the_kernel_is_an_id, |sandbox| {
    let start = as_user(&sandbox, "4294967294:4294967294", &LOOK).start();
    // A user namespace may not map it.
    if start.exit_code() == 77 {
        start.code(77).says("not mapped");
        return;
    }
    let service = start.code(0);
    assert_eq!(service.status("Uid"), ["4294967294"; 4].join(" "));
    assert_eq!(service.status("Gid"), ["4294967294"; 4].join(" "));
});

sandbox_test!(home_and_user_are_those_of_the_account, |sandbox| {
    let look = [
        "sh",
        "-c",
        "echo $HOME ${USER-none} ${LOGNAME-none} ${SEALINIT_ANY-none} $KEPT",
    ];
    for (spec, expected) in [
        ("app", "/home/app app app none 1\n"),
        ("1000", "/home/app app app none 1\n"),
        ("app:certs", "/home/app app app none 1\n"),
        ("nobody", "/nonexistent nobody nobody none 1\n"),
        ("4711:4711", "/ none none none 1\n"),
    ] {
        let launch = as_user(&sandbox, spec, &look)
            .env("HOME", "/root")
            .env("USER", "root")
            .env("LOGNAME", "root")
            .env("SEALINIT_ANY", "1")
            .env("KEPT", "1");
        assert_eq!(launch.start().code(0).stdout, expected, "{spec}");
    }
});

sandbox_test!(accounts_are_read_as_the_c_library_reads_them, |sandbox| {
    let id = ["sh", "-c", "id -u; id -g; echo $USER"];
    let ask = |spec: &str| as_user(&sandbox, spec, &id).start();
    // Two names with one uid: each has its own group; of an id, the first is meant.
    sandbox.file(
        "/etc/passwd",
        "first:x:1500:1500::/:/bin/sh\nsecond:x:1500:1600::/:/bin/sh\nfirst:x:0:0::/root:/bin/sh\n",
    );
    assert_eq!(ask("first").code(0).stdout, "1500\n1500\nfirst\n");
    assert_eq!(ask("second").code(0).stdout, "1500\n1600\nsecond\n");
    assert_eq!(ask("1500").code(0).stdout, "1500\n1500\nfirst\n");
    // Malformed lines do not count.
    sandbox.file(
        "/etc/passwd",
        "app::+0:0::/:\napp:x:-1:0::/:\n+app:x:0:0::/:\napp:x: 0:0::/:\nshort:x:0\napp:x:4294967296:0::/:/bin/sh\n",
    );
    for spec in ["app", "+app", "short"] {
        let refused = ask(spec);
        let code = refused.exit_code();
        assert!([2, 67].contains(&code), "{spec}");
        assert_eq!(refused.code(code).stdout, "", "{spec}");
    }
    // Without accounts, as in an empty image, ids work.
    for empty in [true, false] {
        if empty {
            sandbox.file("/etc/passwd", "").file("/etc/group", "");
        } else {
            sandbox.remove("/etc/passwd").remove("/etc/group");
        }
        assert_eq!(ask("1000:1000").code(0).stdout, "1000\n1000\n\n");
        let _ = ask("1000").code(67);
        let _ = ask("app").code(67);
        let _ = ask("1000:app").code(67);
    }
});

// The kernel accepts 65,536 groups at most.
sandbox_test!(more_groups_than_the_kernel_accepts_are_refused, |sandbox| {
    let groups = (0..70_000).fold(String::new(), |mut text, number| {
        writeln!(text, "g{number}:x:{}:app", 100_000 + number).unwrap();
        text
    });
    sandbox.file("/etc/group", groups);
    let outcome = as_user(&sandbox, "app", &["sh", "-c", "echo ran"])
        .start()
        .code(77);
    assert_eq!(outcome.stdout, "");
    // A user namespace does not map most of them, and the log names each.
    if !outcome.stderr.contains("not mapped") {
        assert_eq!(outcome.errors().len(), 1, "{outcome:?}");
    }
    assert_eq!(
        as_user(&sandbox, "app:1000", &["echo", "ran"])
            .start()
            .code(0)
            .stdout,
        "ran\n"
    );
});
