//! Damaged, replaced and forged seals, and state directories that others could change.

use std::fs;

use serde_json::{Value, json};

use super::sealed;
use crate::harness::{APP, CONF, OTHER, SEAL, Sandbox, hash, one_file, sandbox_test};

// Contract: a seal that cannot be read is never a first start.
sandbox_test!(a_damaged_seal_is_refused, |sandbox| {
    sealed(&sandbox);
    let seal = sandbox.read(SEAL);
    let half = &seal[..seal.len() / 2];
    let (_, body) = seal.split_once('\n').unwrap();
    let longer = format!("{seal}\n");
    for (what, content) in [
        ("empty", ""),
        ("a newline", "\n"),
        ("cut short", half),
        ("without its last byte", &seal[..seal.len() - 1]),
        ("longer", &longer),
        ("without its header", body),
        ("JSON", "{}"),
        ("garbage", "\u{0}\u{1}\u{2}"),
    ] {
        sandbox.file(SEAL, content);
        let refused = sandbox.start().refused(81, SEAL);
        assert!(
            refused.errors()[0].contains("recreate the container"),
            "{what}: {refused:?}"
        );
    }
    sandbox.file(SEAL, b"\xff\xfe");
    sandbox.start().refused(81, SEAL);
    sandbox.file(SEAL, vec![b'x'; 80 << 20]);
    sandbox.start().refused(81, SEAL);
    sandbox.file(SEAL, seal.replace("seal-v1", "seal-v2"));
    sandbox.start().refused(81, SEAL).says("seal-v2");
    sandbox.file(SEAL, &seal);
    assert_eq!(sandbox.start().success().state(), "verified");
});

sandbox_test!(
    a_seal_that_is_not_a_regular_file_is_refused_without_blocking,
    |sandbox| {
        sealed(&sandbox);
        fs::rename(sandbox.path(SEAL), sandbox.path("/var/lib/sealinit/kept")).unwrap();
        sandbox.fifo(SEAL);
        sandbox.start().refused(81, SEAL);
        sandbox.remove(SEAL).directory(SEAL, 0o700);
        sandbox.start().refused(81, SEAL);
        // Even to the seal itself: the link may lead elsewhere later.
        sandbox.remove(SEAL).symlink(SEAL, "kept");
        sandbox.start().refused(81, SEAL);
        sandbox.remove(SEAL).symlink(SEAL, "nowhere");
        sandbox.start().refused(81, SEAL);
        sandbox.remove(SEAL);
        fs::rename(sandbox.path("/var/lib/sealinit/kept"), sandbox.path(SEAL)).unwrap();
        assert_eq!(sandbox.start().success().state(), "verified");
    }
);

// Promise 2: the service's uid cannot change the seal.
sandbox_test!(
    promise_2_a_seal_that_the_service_could_have_written_is_refused,
    |sandbox| {
        sealed(&sandbox);
        sandbox.owner(SEAL, APP, APP);
        sandbox.start().refused(81, SEAL);
        sandbox.owner(SEAL, 0, 0).mode(SEAL, 0o602);
        sandbox.start().refused(81, SEAL);
        sandbox
            .mode(SEAL, 0o400)
            .owner("/var/lib/sealinit", APP, APP);
        sandbox.start().refused(81, "/var/lib/sealinit");
        sandbox
            .owner("/var/lib/sealinit", 0, 0)
            .mode("/var/lib/sealinit", 0o777);
        sandbox.start().refused(81, "/var/lib/sealinit");
        sandbox
            .mode("/var/lib/sealinit", 0o700)
            .owner("/var/lib", OTHER, OTHER);
        sandbox.start().refused(81, "/var/lib");
        sandbox.owner("/var/lib", 0, 0);
        assert_eq!(sandbox.start().success().state(), "verified");
    }
);

/// Writes a seal with a valid checksum over an edited body, as root by `docker exec` could.
fn forge(sandbox: &Sandbox, edit: impl FnOnce(&mut Value)) {
    let seal = sandbox.read(SEAL);
    let (header, body) = seal.trim_end().split_once('\n').unwrap();
    let mut record: Value = serde_json::from_str(body).unwrap();
    let before = record.clone();
    edit(&mut record);
    assert_ne!(record, before, "the edit must find what it edits");
    let body = serde_json::to_string(&record).unwrap();
    let (magic, _) = header.split_once(' ').unwrap();
    sandbox.file(SEAL, format!("{magic} sha256:{}\n{body}\n", hash(&body)));
}

// Promise 4: the service never has root's ids unless the manifest says so.
sandbox_test!(
    promise_4_a_forged_seal_cannot_make_the_service_root,
    |original| {
        for user in [json!("app"), json!(APP)] {
            let sandbox = original.another();
            let mut manifest = one_file(&["cat", "/proc/self/status"]);
            manifest["service"]["user"] = user.clone();
            sandbox.one_file(&[]).manifest(&manifest);
            let digest = sandbox.start().success().summarised("digest");
            forge(&sandbox, |record| {
                let text = serde_json::to_string(record).unwrap();
                let text = text
                    .replace("\"uid\":1000", "\"uid\":0")
                    .replace("\"app\":1000", "\"app\":0");
                *record = serde_json::from_str(&text).unwrap();
            });
            sandbox.start().refused(81, SEAL);
            sandbox
                .launch()
                .args(["--pin", &digest])
                .start()
                .refused(81, SEAL);
        }
    }
);

// A numeric id of the manifest is not resolved, so the seal cannot have another.
sandbox_test!(
    a_forged_seal_cannot_contradict_the_ids_of_its_manifest,
    |sandbox| {
        let mut manifest = one_file(&["cat", "/proc/self/status"]);
        manifest["service"]["user"] = json!(APP);
        manifest["service"]["group"] = json!(APP);
        sandbox.one_file(&[]).manifest(&manifest);
        let _ = sandbox.start().success();
        forge(&sandbox, |record| {
            let text = serde_json::to_string(record)
                .unwrap()
                .replace("\"uid\":1000", "\"uid\":1001");
            *record = serde_json::from_str(&text).unwrap();
        });
        sandbox.start().refused(81, SEAL);
    }
);

sandbox_test!(
    a_forged_seal_cannot_leave_out_what_its_manifest_declares,
    |sandbox| {
        sealed(&sandbox);
        forge(&sandbox, |record| {
            record["entries"] = json!([]);
            record["digest"] = json!(format!("sha256:{}", "0".repeat(64)));
        });
        sandbox.file(CONF, "tampered");
        sandbox.start().refused(81, SEAL);
    }
);

sandbox_test!(
    a_state_directory_that_others_can_change_is_refused_at_the_first_start,
    |original| {
        for (what, uid, mode) in [("the service's", APP, 0o700), ("another's", OTHER, 0o755)] {
            let sandbox = original.another();
            sandbox
                .one_file(&["true"])
                .directory("/var/lib/sealinit", mode)
                .owner("/var/lib/sealinit", uid, uid);
            let refused = sandbox.start().refused(74, "/var/lib/sealinit");
            assert!(refused.errors()[0].contains("chown"), "{what}: {refused:?}");
        }
        let sandbox = original.another();
        sandbox.one_file(&["true"]).mode("/var/lib", 0o777);
        sandbox.start().refused(74, "/var/lib");
    }
);

// The default mode of a tmpfs that an engine mounts.
sandbox_test!(a_state_directory_of_root_is_closed_to_others, |sandbox| {
    sandbox
        .one_file(&["true"])
        .directory("/var/lib/sealinit", 0o1777);
    let _ = sandbox.start().success();
    assert_eq!(sandbox.object("/var/lib/sealinit"), "directory 0700 0:0");
});

sandbox_test!(
    a_state_directory_that_is_a_file_or_a_dangling_link_is_refused,
    |sandbox| {
        sandbox.one_file(&["true"]).file("/var/lib/sealinit", "");
        sandbox.start().refused(74, "/var/lib/sealinit");
        sandbox
            .remove("/var/lib/sealinit")
            .symlink("/var/lib/sealinit", "nowhere");
        sandbox.start().refused(74, "/var/lib/");
    }
);
