//! Sizes, depths and lengths at the limits of the system.

use std::fs::File;
use std::{fs, iter};

use serde_json::json;

use crate::harness::{CONF, Launch, Sandbox, sandbox_test};

/// Starts twice in one container, on a file system that the harness need not walk. The outcome is
/// that of the second start.
fn twice<'a>(sandbox: &'a Sandbox, target: &str, options: &str) -> Launch<'a> {
    let script =
        "/sbin/sealinit run > /trace/out 2> /trace/log || { cat /trace/log >&2; exit 99; }";
    sandbox.launch().tmpfs(target, options).prelude(script)
}

// Memory does not depend on the size of the sources: 64 MiB of address space for 1 GiB.
sandbox_test!(
    a_source_of_a_gibibyte_is_installed_and_verified_in_little_memory,
    |sandbox| {
        sandbox
            .one_file(&["stat", "-c", "%s", CONF])
            .directory("/etc/app", 0o755);
        // A sparse file, so that the source takes no room.
        File::create(sandbox.path("/etc/sealinit/app.conf"))
            .unwrap()
            .set_len(1 << 30)
            .unwrap();
        let limited =
            twice(&sandbox, "/etc/app", "size=1100m,mode=0755").prelude("ulimit -v 65536");
        // Too large for the harness to hash before and after.
        let output = limited.output();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{stderr}");
        assert_eq!(output.stdout, b"1073741824\n");
        assert!(stderr.contains("state=verified"), "{stderr}");
    }
);

sandbox_test!(
    twenty_thousand_files_in_one_directory_are_sealed_and_verified,
    |sandbox| {
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
);

// On one core, so that the number of threads is that of every machine.
sandbox_test!(
    a_recursive_directory_is_given_away_with_32_descriptors,
    |sandbox| {
        sandbox
            .manifest(&json!({
                "version": 1,
                "service": {"user": "app", "command": ["sh", "-c", "find /srv ! -user app"]},
                "directories": [{"path": "/srv", "recursive": true}],
            }))
            .directory("/srv", 0o755);
        for n in 0..300 {
            sandbox.file(format!("/srv/{n}"), "");
        }
        let one_core = "core=$(taskset -cp $$ | sed 's/.*: //; s/[,-].*//')\n\
            taskset -cp $core $$ > /dev/null\n\
            ulimit -n 32";
        let start = sandbox.launch().prelude(one_core).start().success();
        assert_eq!(
            (start.state().as_str(), start.stdout.as_str()),
            ("sealed", "")
        );
    }
);

// The directories on the way are held open, so a deep tree needs descriptors.
sandbox_test!(
    a_tree_of_sixty_levels_is_installed_and_verified,
    |sandbox| {
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
);

sandbox_test!(
    a_tree_that_is_deeper_than_there_are_descriptors_is_refused_before_anything_is_written,
    |sandbox| {
        let deep: String = iter::repeat_n("/deep", 60).collect();
        sandbox.one_file(&[]).file("/etc/sealinit/deep", "").manifest(&json!({
        "version": 1,
        "service": {"user": "app", "command": ["true"]},
        "files": [{"content": "", "dest": "/etc/aaa"}, {"content": "", "dest": format!("/srv{deep}/file")}],
    }));
        // The directories exist, so that preflight has to look at each.
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
);

// A path of the maximum length, of names of the maximum length.
sandbox_test!(
    a_destination_of_four_kibibytes_is_installed_and_verified,
    |sandbox| {
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
        // The harness cannot reach it: its path to the root is longer.
        let output = twice(&sandbox, "/deep", "mode=0755").output();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            (output.status.code(), output.stdout.as_slice()),
            (Some(0), &b"there\n"[..]),
            "{stderr}"
        );
        assert!(stderr.contains("state=verified"), "{stderr}");
    }
);

// A source tree whose names are too long for the system below the destination.
sandbox_test!(
    names_too_long_for_their_destination_are_refused_before_anything_is_written,
    |sandbox| {
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
        // On a tmpfs, because the harness could not look at it.
        let start = sandbox.launch().tmpfs("/deep", "mode=0755").start();
        let code = start.one_of(&[66, 73, 78]);
        start.refused(code, &name);
    }
);
