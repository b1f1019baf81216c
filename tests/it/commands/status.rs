//! `status`: shows what is sealed.

use serde_json::{Value, json};

use super::{configured, from_host, inside, json_of, sealed};
use crate::harness::{CONF, JOURNAL, SEAL, all_text, on_host, sandbox_test};

#[test]
fn a_root_that_does_not_exist_is_an_error() {
    for command in ["verify", "status"] {
        let output = on_host([command, "--root", "/no/such/root"]);
        assert_eq!(output.status.code(), Some(74), "{output:?}");
        let said = all_text(&output);
        assert!(
            said.contains("cannot read the root directory /no/such/root: "),
            "{said}"
        );
    }
}

sandbox_test!(a_report_that_cannot_be_written_is_an_error, |sandbox| {
    sealed(&sandbox);
    for command in ["verify", "status"] {
        let start = sandbox
            .launch()
            .bind_host("/dev/full", "/dev/null")
            .prelude("exec > /dev/null");
        let _ = start
            .subcommand([command])
            .start()
            .code(74)
            .says("cannot write to standard output");
    }
});

sandbox_test!(status_shows_what_is_sealed, |sandbox| {
    sealed(&sandbox);
    let digest = sandbox.digest();
    let found = inside(&sandbox, &["status"], 0).stdout;
    let (first, rest) = found.split_once('\n').unwrap();
    let at = first
        .strip_prefix("sealed ")
        .and_then(|rest| rest.strip_suffix(concat!(" by sealinit ", env!("CARGO_PKG_VERSION"))));
    let at = at.unwrap_or_else(|| panic!("{first}"));
    assert!(
        at.len() == 20 && at.starts_with("20") && at.ends_with('Z'),
        "{at}"
    );
    assert_eq!(
        rest,
        format!(
            "digest={digest} lock=full entries=8\n\
             service uid=1000 (app) gid=1000 (app) groups=1000 (app),2000 (certs) command=echo ran\n\
             file 0440 0 (root):1000 (app) /etc/app/app.conf\n\
             absent /etc/app/default.conf\n\
             file 0400 0 (root):1000 (app) /etc/app/key.pem\n\
             absent /etc/app/optional.conf\n\
             directory 0550 0 (root):1000 (app) /etc/app/tree\n\
             file 0440 0 (root):1000 (app) /etc/app/tree/a\n\
             directory 0750 1000 (app):1000 (app) /srv/data\n\
             mutable 0440 1000 (app):1000 (app) /srv/data/seed\n"
        )
    );
    let machine = json_of(&sandbox, &["status"], 0);
    assert_eq!(machine["sealed_at"], at);
    assert_eq!(
        machine,
        json!({
            "state": "sealed",
            "digest": digest,
            "sealed_at": at,
            "sealed_by": env!("CARGO_PKG_VERSION"),
            "lock": "full",
            "service": {"uid": 1000, "user": "app", "gid": 1000, "group": "app", "groups": [1000, 2000], "command": ["echo", "ran"]},
            "entries": [
                {"path": CONF, "kind": "file", "owner": 0, "owner_name": "root", "group": 1000, "group_name": "app", "mode": "0440"},
                {"path": "/etc/app/default.conf", "kind": "absent"},
                {"path": "/etc/app/key.pem", "kind": "file", "owner": 0, "owner_name": "root", "group": 1000, "group_name": "app", "mode": "0400"},
                {"path": "/etc/app/optional.conf", "kind": "absent"},
                {"path": "/etc/app/tree", "kind": "directory", "owner": 0, "owner_name": "root", "group": 1000, "group_name": "app", "mode": "0550"},
                {"path": "/etc/app/tree/a", "kind": "file", "owner": 0, "owner_name": "root", "group": 1000, "group_name": "app", "mode": "0440"},
                {"path": "/srv/data", "kind": "directory", "owner": 1000, "owner_name": "app", "group": 1000, "group_name": "app", "mode": "0750"},
                {"path": "/srv/data/seed", "kind": "mutable", "owner": 1000, "owner_name": "app", "group": 1000, "group_name": "app", "mode": "0440"},
            ],
            "error": null,
        })
    );
    let from_host = from_host(&["status"], &sandbox);
    assert_eq!(String::from_utf8(from_host.stdout).unwrap(), found);
});

sandbox_test!(status_reports_that_nothing_is_sealed, |sandbox| {
    configured(&sandbox);
    assert_eq!(
        inside(&sandbox, &["status"], 0).stdout,
        "unsealed: nothing is sealed here; the first sealinit run seals\n"
    );
    assert_eq!(json_of(&sandbox, &["status"], 0)["state"], "unsealed");
    let digest = sandbox.digest();
    sandbox.file(JOURNAL, format!(r#"{{"version":1,"digest":"{digest}"}}"#));
    assert_eq!(
        inside(&sandbox, &["status"], 0).stdout,
        format!("interrupted: a first start was interrupted, or is running (digest {digest})\n")
    );
    sandbox.file(JOURNAL, "torn");
    assert_eq!(json_of(&sandbox, &["status"], 0)["digest"], Value::Null);
});

sandbox_test!(status_of_a_damaged_seal_is_an_error, |sandbox| {
    sealed(&sandbox);
    sandbox.file(SEAL, "torn");
    let found = inside(&sandbox, &["status"], 74).stdout;
    assert!(
        found.starts_with("invalid: the seal /var/lib/sealinit/seal is invalid: "),
        "{found}"
    );
    assert_eq!(json_of(&sandbox, &["status"], 74)["state"], "invalid");
});
