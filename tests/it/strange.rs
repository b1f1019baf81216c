//! Strange and not hostile: sources that change while they are read, sizes and depths at the limits, odd accounts, a log that is gone.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs as unix_fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{iter, thread};

use serde_json::{Value, json};

use crate::crash::needs_strace;
use crate::sandbox::{
    APP, CONF, CONTENT, JOURNAL, Launch, MANIFEST, SEAL, Sandbox, hash, is_temporary, one_file,
};

/// The first start writes its journal when all sources have been read, and nothing has been installed. It is held there for half a
/// second, which is when `change` happens.
fn held_between_plan_and_installation(
    launch: Launch<'_>,
    sandbox: &Sandbox,
    change: impl FnOnce(),
) -> (i32, String, String) {
    let hold = [
        "strace",
        "-D",
        "-o",
        "/dev/null",
        "-e",
        "trace=renameat",
        "-e",
        "inject=renameat:delay_enter=500000:when=1",
    ];
    let launch = launch.wrapper(hold);
    let output = thread::scope(|scope| {
        let start = scope.spawn(|| launch.output());
        let begun = Instant::now();
        let state = sandbox.path("/var/lib/sealinit");
        // Under whatever name the journal is written before it has its own.
        while !fs::read_dir(&state).is_ok_and(|mut names| names.next().is_some()) {
            assert!(
                begun.elapsed() < Duration::from_secs(30) && !start.is_finished(),
                "it never came to the journal"
            );
            thread::sleep(Duration::from_millis(1));
        }
        assert!(!sandbox.exists(JOURNAL), "too late: the journal is written");
        change();
        start.join().unwrap()
    });
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code().unwrap_or(-1),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// Small enough to be kept in memory: what is installed is what was planned, and the digest is of that.
#[test]
fn a_small_source_that_changes_during_the_start_is_installed_as_it_was_read() {
    let Some(sandbox) = needs_strace() else {
        return;
    };
    sandbox.one_file(&["cat", CONF]);
    let source = sandbox.path("/etc/sealinit/app.conf");
    let digest = sandbox
        .launch()
        .subcommand(["digest"])
        .start()
        .code(0)
        .stdout;
    let (code, stdout, stderr) =
        held_between_plan_and_installation(sandbox.launch(), &sandbox, || {
            fs::write(&source, "another\n").unwrap();
        });
    assert_eq!((code, stdout.as_str()), (0, CONTENT), "{stderr}");
    assert!(stderr.contains(digest.trim()), "{stderr}");
    assert_eq!(sandbox.start().success().stdout, CONTENT);
}

/// What happens to a source.
type Change = fn(&Path);

/// Too large for memory: it is read again, and what is then read must be what was planned.
#[test]
fn a_large_source_that_changes_during_the_start_is_refused_and_never_torn() {
    let large = "planned ".repeat(100_000);
    let changes: [(&str, Change); 4] = [
        ("rewritten", |path| {
            fs::write(path, "swapped ".repeat(100_000)).unwrap()
        }),
        ("cut short", |path| {
            fs::write(path, "planned ".repeat(50_000)).unwrap()
        }),
        ("grown", |path| {
            fs::write(path, "planned ".repeat(100_001)).unwrap()
        }),
        ("removed", |path| fs::remove_file(path).unwrap()),
    ];
    for (what, change) in changes {
        let Some(sandbox) = needs_strace() else {
            return;
        };
        sandbox
            .one_file(&["wc", "-c", CONF])
            .source("app.conf", &large);
        let source = sandbox.path("/etc/sealinit/app.conf");
        let (code, stdout, stderr) =
            held_between_plan_and_installation(sandbox.launch(), &sandbox, || change(&source));
        assert_eq!((code, stdout.as_str()), (66, ""), "{what}: {stderr}");
        assert!(
            stderr.contains("/etc/sealinit/app.conf") && stderr.contains(CONF),
            "{what}: {stderr}"
        );
        assert!(!sandbox.exists(SEAL) && !sandbox.exists(CONF), "{what}");
        assert!(sandbox.temporaries().is_empty(), "{what}");
        // With the configuration that was begun with it can be completed, with another one it cannot.
        if what != "removed" {
            sandbox.start().failed(83, "/var/lib/sealinit");
        }
        fs::write(&source, &large).unwrap();
        assert_eq!(sandbox.start().success().state(), "resumed", "{what}");
    }
}

/// A `ConfigMap` as the kubelet makes it: names are links through `..data`, which is itself renamed over when the map changes.
fn config_map(sandbox: &Sandbox, content: &str) -> PathBuf {
    sandbox
        .manifest(&json!({
            "version": 1,
            "service": {"user": "app", "command": ["sh", "-c", "cat /etc/app/* | sort -u"]},
            "directories": [{"path": "/etc/app", "source": "map", "exact": true}],
        }))
        .file("/etc/sealinit/map/..2026_11_20_old/a", content)
        .file("/etc/sealinit/map/..2026_11_20_old/b", content)
        .symlink("/etc/sealinit/map/..data", "..2026_11_20_old")
        .symlink("/etc/sealinit/map/a", "..data/a")
        .symlink("/etc/sealinit/map/b", "..data/b");
    sandbox.path("/etc/sealinit/map")
}

/// What the kubelet does, in its order.
fn swap(map: &Path, content: &str) {
    let new = map.join("..2026_11_20_new");
    fs::create_dir(&new).unwrap();
    fs::write(new.join("a"), content).unwrap();
    fs::write(new.join("b"), content).unwrap();
    unix_fs::symlink("..2026_11_20_new", map.join("..data_tmp")).unwrap();
    fs::rename(map.join("..data_tmp"), map.join("..data")).unwrap();
    fs::remove_dir_all(map.join("..2026_11_20_old")).unwrap();
}

#[test]
fn a_config_map_that_is_swapped_during_the_start_is_installed_whole() {
    let Some(sandbox) = needs_strace() else {
        return;
    };
    let map = config_map(&sandbox, "old\n");
    let (code, stdout, stderr) =
        held_between_plan_and_installation(sandbox.launch(), &sandbox, || swap(&map, "new\n"));
    assert_eq!((code, stdout.as_str()), (0, "old\n"), "{stderr}");
    // The newer one waits for a new container.
    assert_eq!(sandbox.start().success().stdout, "old\n");
}

#[test]
fn a_large_config_map_that_is_swapped_during_the_start_is_refused_whole() {
    let Some(sandbox) = needs_strace() else {
        return;
    };
    let map = config_map(&sandbox, &"old\n".repeat(50_000));
    let (code, stdout, stderr) =
        held_between_plan_and_installation(sandbox.launch(), &sandbox, || {
            swap(&map, &"new\n".repeat(50_000))
        });
    assert_eq!((code, stdout.as_str()), (66, ""), "{stderr}");
    assert!(
        stderr.contains("changed while it was being installed"),
        "{stderr}"
    );
    assert!(!sandbox.exists(SEAL));
}

/// Swapped between one name and the next: no digest can be wrong about what was read, and a pin does not let it pass.
#[test]
fn a_config_map_that_is_swapped_while_it_is_read_is_not_the_pinned_one() {
    let Some(sandbox) = needs_strace() else {
        return;
    };
    let map = config_map(&sandbox, "old\n");
    let digest = sandbox
        .launch()
        .subcommand(["digest"])
        .start()
        .code(0)
        .stdout;
    let before = sandbox.tree().without(&["/etc/sealinit/map"]);
    // The directory has been listed, and no file been read.
    let inject = "inject=getdents64:delay_exit=300000:when=2";
    let hold = [
        "strace",
        "-D",
        "-o",
        "/dev/null",
        "-e",
        "trace=getdents64",
        "-e",
        inject,
    ];
    let launch = sandbox
        .launch()
        .args(["--pin", digest.trim()])
        .wrapper(hold);
    let output = thread::scope(|scope| {
        let start = scope.spawn(|| launch.output());
        thread::sleep(Duration::from_millis(100));
        // One of two is changed in place: as if one name were read before the swap and one after it.
        fs::write(map.join("..2026_11_20_old/b"), "new\n").unwrap();
        start.join().unwrap()
    });
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(82), "{stderr}");
    assert!(stderr.contains("pin=mismatch"), "{stderr}");
    before.assert_equals(&sandbox.tree().without(&["/etc/sealinit/map"]));
}

/// Twice in one container, on a file system that the harness need not walk; the second start's outcome.
fn twice<'a>(sandbox: &'a Sandbox, target: &str, options: &str) -> Launch<'a> {
    let script =
        "/sbin/sealinit run > /trace/out 2> /trace/log || { cat /trace/log >&2; exit 99; }";
    sandbox.launch().tmpfs(target, options).prelude(script)
}

/// Memory is bounded, whatever the sources: 1 GiB is installed and verified in 64 MiB of address space.
#[test]
fn a_source_of_a_gibibyte_is_installed_and_verified_in_little_memory() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox
        .one_file(&["stat", "-c", "%s", CONF])
        .directory("/etc/app", 0o755);
    // The content is what a hole reads as, so that it takes no room where it comes from.
    File::create(sandbox.path("/etc/sealinit/app.conf"))
        .unwrap()
        .set_len(1 << 30)
        .unwrap();
    let limited = twice(&sandbox, "/etc/app", "size=1100m,mode=0755").prelude("ulimit -v 65536");
    // The harness hashes what it finds before and after, which this is too large for.
    let output = limited.output();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert_eq!(output.stdout, b"1073741824\n");
    assert!(stderr.contains("state=verified"), "{stderr}");
}

#[test]
fn twenty_thousand_files_in_one_directory() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox
        .manifest(&json!({
            "version": 1,
            "service": {"user": "app", "command": ["sh", "-c", "ls /etc/app | wc -l"]},
            "directories": [{"path": "/etc/app", "source": "tree", "exact": true}],
        }))
        .directory("/etc/app", 0o755)
        .directory("/etc/sealinit/tree", 0o755);
    let tree = sandbox.path("/etc/sealinit/tree");
    for n in 0..20_000 {
        fs::write(tree.join(format!("file-{n}")), n.to_string()).unwrap();
    }
    let output = twice(&sandbox, "/etc/app", "size=200m,mode=0755").output();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        (output.status.code(), output.stdout.as_slice()),
        (Some(0), &b"20000\n"[..]),
        "{stderr}"
    );
    assert!(
        stderr.contains("state=verified") && stderr.contains("entries=20001"),
        "{stderr}"
    );
}

/// The directories on the way are held open: a deep tree needs descriptors.
#[test]
fn a_tree_of_sixty_levels_is_installed_and_verified() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    let deep: String = iter::repeat_n("/deep", 60).collect();
    let dest = format!("/etc/app{deep}/file");
    sandbox
        .manifest(&json!({
            "version": 1,
            "service": {"user": "app", "command": ["cat", dest]},
            "directories": [{"path": "/etc/app", "source": "tree", "exact": true, "mode": "0555"}],
        }))
        .file(format!("/etc/sealinit/tree{deep}/file"), "deep\n");
    for state in ["sealed", "verified"] {
        let start = sandbox.launch().prelude("ulimit -n 128").start().success();
        assert_eq!(
            (start.state().as_str(), start.stdout.as_str()),
            (state, "deep\n")
        );
    }
    sandbox.file(&dest, "tampered\n");
    sandbox.start().refused(80, &dest);
}

#[test]
fn a_tree_that_is_deeper_than_there_are_descriptors_is_refused_before_anything_is_written() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    let deep: String = iter::repeat_n("/deep", 60).collect();
    sandbox.one_file(&[]).file("/etc/sealinit/deep", "").manifest(&json!({
        "version": 1,
        "service": {"user": "app", "command": ["true"]},
        "files": [{"content": "", "dest": "/etc/aaa"}, {"content": "", "dest": format!("/srv{deep}/file")}],
    }));
    // The directories are there, so that preflight has to look at each.
    let mut path = String::from("/srv");
    for _ in 0..60 {
        path.push_str("/deep");
        sandbox.directory(&path, 0o755);
    }
    sandbox
        .launch()
        .prelude("ulimit -n 40")
        .start()
        .refused(73, "os error 24");
    let _ = sandbox.start().success();
}

/// A path as long as the system takes them, of names as long as it takes them.
#[test]
fn a_destination_of_four_kibibytes_is_installed_and_verified() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    let name = "n".repeat(255);
    let mut dest = String::from("/deep");
    while dest.len() + 256 <= 4095 {
        dest = format!("{dest}/{name}");
    }
    let rest = 4095 - dest.len() - 1;
    dest = format!("{dest}/{}", "l".repeat(rest));
    assert_eq!(dest.len(), 4095);
    sandbox.directory("/deep", 0o755).manifest(&json!({
        "version": 1,
        "service": {"user": "app", "command": ["cat", dest]},
        "files": [{"content": "there\n", "dest": dest}],
    }));
    // Beyond the harness's reach: its own root is longer than sealinit's.
    let output = twice(&sandbox, "/deep", "mode=0755").output();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        (output.status.code(), output.stdout.as_slice()),
        (Some(0), &b"there\n"[..]),
        "{stderr}"
    );
    assert!(stderr.contains("state=verified"), "{stderr}");
}

/// A tree of the source whose names, put below the destination, are too long for the system.
#[test]
fn what_becomes_too_long_at_its_destination_is_refused_before_anything_is_written() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    let name = "n".repeat(255);
    let below: String = iter::repeat_n(format!("/{name}"), 3).collect();
    let dest: String = iter::repeat_n(format!("/{name}"), 14).collect();
    sandbox
        .directory("/deep", 0o755)
        .file(format!("/etc/sealinit/tree{below}"), "")
        .manifest(&json!({
            "version": 1,
            "service": {"user": "app", "command": ["true"]},
            "files": [{"content": "", "dest": "/etc/aaa"}],
            "directories": [{"path": format!("/deep{dest}"), "source": "tree"}],
        }));
    // In memory, for the harness could not look at it.
    let start = sandbox.launch().tmpfs("/deep", "mode=0755").start();
    let code = start.one_of(&[66, 73, 78]);
    start.refused(code, &name);
}

fn as_user(user: &Value) -> Value {
    let mut manifest = one_file(&["sh", "-c", "id -u; id -g"]);
    manifest["service"]["user"] = user.clone();
    manifest["service"]["group"] = json!("app");
    manifest
}

/// systemd issue 6237, htop issue 1894, and what other droppers of privileges took for a user.
#[test]
fn nothing_that_looks_like_a_user_becomes_one() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.one_file(&[]);
    for user in [
        "",
        " ",
        "+5",
        "-1",
        " 5",
        "5 ",
        "0x10",
        "1e3",
        "0day",
        ":",
        ":0",
        "nobody:",
        "nobody:bogus",
        "nobody:4294967296",
        "app:app",
        "app ",
        " app",
        "App",
        "app\n",
        "app\u{0}",
        "root\u{0}",
        "../app",
        "*",
        "-",
        "+",
        "\u{ff10}",
        "-18446744073709551615",
    ] {
        sandbox.manifest(&as_user(&json!(user)));
        let start = sandbox.start();
        let code = start.one_of(&[67, 78]);
        start.refused(code, "$.service.user");
    }
    for user in ["0", "5", "4294967295", "4294967296", "00", "1000"] {
        sandbox.manifest(&as_user(&json!(user)));
        sandbox.start().refused(78, "string of digits");
    }
    for user in [
        "-1",
        "1e3",
        "4294967295",
        "4294967296",
        "1.0",
        "null",
        "true",
        "[1000]",
        "{}",
        "18446744073709551617",
    ] {
        let text = serde_json::to_string(&as_user(&json!("USER")))
            .unwrap()
            .replace("\"USER\"", user);
        sandbox.file(MANIFEST, text);
        sandbox.start().refused(78, "$.service.user");
    }
}

#[test]
fn the_largest_ids_are_ids() {
    for uid in [2_147_483_648_u32, 4_294_967_294] {
        let Some(sandbox) = Sandbox::new() else {
            return;
        };
        let mut manifest = as_user(&json!(uid));
        manifest["service"]["group"] = json!(uid);
        sandbox.one_file(&[]).manifest(&manifest);
        let start = sandbox.start();
        // A user namespace need not have it; then it is said.
        if start.exit_code() == 77 {
            start.refused(77, &uid.to_string());
            continue;
        }
        assert_eq!(start.success().stdout, format!("{uid}\n{uid}\n"));
    }
}

/// By name, the name's own line counts; by id, the first that has it.
#[test]
fn two_names_of_one_uid_keep_their_own_groups_and_homes() {
    let passwd = "root:x:0:0::/root:/bin/sh\nfirst:x:1000:1000::/home/first:/bin/sh\nsecond:x:1000:2000::/home/second:/bin/sh\n";
    let look = &["sh", "-c", "id -g; echo $HOME $USER"];
    for (user, expected) in [
        (json!("first"), "1000\n/home/first first\n"),
        (json!("second"), "2000\n/home/second second\n"),
        (json!(1000), "1000\n/home/first first\n"),
    ] {
        let Some(sandbox) = Sandbox::new() else {
            return;
        };
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

#[test]
fn accounts_of_a_hundred_thousand_lines_are_read() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    let mut passwd = String::new();
    for n in 0..100_000 {
        writeln!(passwd, "u{n}:x:{}:100::/:/bin/false", 10_000 + n).unwrap();
    }
    passwd.push_str("app:x:1000:1000::/home/app:/bin/sh\n");
    sandbox.one_file(&["id", "-u"]).file("/etc/passwd", &passwd);
    assert_eq!(sandbox.start().success().stdout, "1000\n");
    // Without an end of its last line, and with the line ends of another system.
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox
        .one_file(&["id", "-u"])
        .file("/etc/passwd", "app:x:1000:1000::/home/app:/bin/sh");
    assert_eq!(sandbox.start().success().stdout, "1000\n");
}

/// The kernel takes 65,536 supplementary groups; one more must not be found out after the installation.
#[test]
fn too_many_groups_are_refused_before_anything_is_written() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
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
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    manifest["service"]["supplementary_groups"] =
        json!((1..=65_536).map(|n| 1_000_000 + n).collect::<Vec<u32>>());
    sandbox.one_file(&[]).manifest(&manifest);
    let start = sandbox.start();
    let code = start.one_of(&[77, 78]);
    start.refused(code, "groups");
}

/// What is refused is refused with its code, whether anybody can be told or not.
#[test]
fn a_log_that_cannot_be_written_changes_no_exit_code() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
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
    // The same before there is a log at all: bad usage.
    let usage = sandbox
        .launch()
        .bind_host("/dev/full", "/dev/full")
        .args(["--no-such-option"]);
    let _ = usage.prelude("exec 2>/dev/full").start().code(2);
}

/// Words of the manifest that nothing but a message would ever show: none of them drives the terminal. (Found by fuzzing.)
#[test]
fn a_word_of_the_manifest_or_the_seal_cannot_write_to_the_terminal() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.one_file(&["true"]);
    let escape = "\u{1b}[31m\u{7f}\u{9b}";
    for (key, value) in [
        ("capabilities", json!([escape])),
        ("signals", json!({"rewrite": {escape: "TERM"}})),
        ("signals", json!({"rewrite": {"TERM": escape}})),
        ("signals", json!({"target": escape})),
        ("env", json!({format!("{escape}="): ""})),
        ("umask", json!(escape)),
        ("working_dir", json!(escape)),
        ("user", json!(escape)),
    ] {
        let mut manifest = one_file(&["true"]);
        manifest["service"][key] = value;
        manifest["service"]["supervise"] = json!(true);
        sandbox.manifest(&manifest);
        let start = sandbox.start();
        let code = start.one_of(&[67, 78]);
        // That no line has a control character, `refused` looks at.
        start.refused(code, "$.service");
    }
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox.one_file(&["true"]);
    let _ = sandbox.start().success();
    for body in [
        format!("{{\"{escape}\":1}}"),
        "{\"digest\":\"\\u001b[31m\"}".into(),
        escape.into(),
    ] {
        sandbox.file(
            SEAL,
            format!("sealinit-seal-v1 sha256:{}\n{body}\n", hash(&body)),
        );
        sandbox.start().refused(81, SEAL);
    }
    sandbox.file(SEAL, format!("sealinit-seal-v{escape} sha256:0\n{{}}\n"));
    sandbox.start().refused(81, SEAL);
}

/// Names of ours that somebody else has in use: a directory full of what looks like temporaries is no obstacle, and only the one
/// that is needed is replaced.
#[test]
fn foreign_names_that_look_like_temporaries_stay() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    sandbox
        .one_file(&["cat", CONF])
        .file("/etc/app/.sealinit.0123456789abcdef", "not ours");
    assert_eq!(sandbox.start().success().stdout, CONTENT);
    assert_eq!(
        sandbox.read("/etc/app/.sealinit.0123456789abcdef"),
        "not ours"
    );
    assert!(is_temporary(
        OsStr::new("/etc/app/.sealinit.0123456789abcdef").as_ref()
    ));
    assert!(
        sandbox
            .object(CONF)
            .starts_with(&format!("file 0440 0:{APP} "))
    );
}
