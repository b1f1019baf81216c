//! Files and directories: members that contradict each other or would leave an entry unlocked.

use serde_json::{Value, json};

use super::{directory, file, problems};
use crate::harness::{APP, CONF, CONTENT, OTHER, sandbox_test};

sandbox_test!(a_file_has_either_content_or_a_source, |sandbox| {
    let at = |members: &str| file(members).replace("[{", "[▸{");
    problems(
        &sandbox,
        &at(r#""source": "app.conf", "content": "", "dest": "/a""#),
        &["$.files[0]: has both source and content; keep one"],
    );
    problems(
        &sandbox,
        &at(r#""dest": "/a""#),
        &["$.files[0]: has neither source nor content; add one"],
    );
    problems(
        &sandbox,
        &at(r#""content": "", "dest": "/a", "optional": true"#),
        &["$.files[0]: is optional but has its content here; remove optional"],
    );
    let hash = "0".repeat(64);
    problems(
        &sandbox,
        &at(&format!(
            r#""content": "", "dest": "/a", "sha256": "{hash}""#
        )),
        &["$.files[0]: sha256 is for a source, and the content is here; remove sha256"],
    );
    problems(
        &sandbox,
        &file(r#""source": "app.conf", "dest": "/a", "sha256": ▸"abc""#),
        &["$.files[0].sha256: expected 64 hexadecimal digits, as sha256sum prints them"],
    );
    problems(
        &sandbox,
        &file(r#""source": ▸"", "dest": "/a""#),
        &["$.files[0].source: a source is a path: not empty, without a NUL character"],
    );
});

sandbox_test!(
    members_of_a_directory_that_need_a_source_are_refused_without_one,
    |sandbox| {
        let at = |members: &str| directory(members).replace("[{", "[▸{");
        problems(
            &sandbox,
            &at(r#""path": "/a", "exact": true"#),
            &["$.directories[0]: exact needs a source; add one or remove exact"],
        );
        problems(
            &sandbox,
            &at(r#""path": "/a", "file_mode": "0440""#),
            &["$.directories[0]: file_mode needs a source; add one or remove file_mode"],
        );
        problems(
            &sandbox,
            &at(r#""path": "/a", "source": "tree", "recursive": true"#),
            &[
                "$.directories[0]: recursive is for a directory without a source; remove one of the two",
            ],
        );
    }
);

sandbox_test!(
    sealed_files_that_the_service_could_change_are_refused,
    |sandbox| {
        sandbox.source("app.conf", CONTENT).source("tree/a", "");
        let manifest = |files: Value, directories: Value| {
            json!({
                "version": 1,
                "service": {"user": "app", "command": ["true"], "supplementary_groups": ["certs"]},
                "files": files,
                "directories": directories,
            })
        };
        let source = "app.conf";
        let (owner, group, below) = (
            "name another owner",
            "for the service's group with mode",
            "belong to root",
        );
        for (files, directories, at, remedy) in [
            (
                json!([{"source": source, "dest": CONF, "owner": "app"}]),
                json!([]),
                "$.files[0]",
                owner,
            ),
            (
                json!([{"source": source, "dest": CONF, "owner": APP}]),
                json!([]),
                "$.files[0]",
                owner,
            ),
            (
                json!([{"source": source, "dest": CONF, "mode": "0660"}]),
                json!([]),
                "$.files[0]",
                group,
            ),
            (
                json!([{"source": source, "dest": CONF, "mode": "0460", "group": "certs"}]),
                json!([]),
                "$.files[0]",
                group,
            ),
            (
                json!([{"source": source, "dest": CONF}]),
                json!([{"path": "/etc/app"}]),
                "$.files[0]",
                below,
            ),
            (
                json!([{"source": source, "dest": "/srv/a/b/c"}]),
                json!([{"path": "/srv/a"}]),
                "$.files[0]",
                below,
            ),
            (
                json!([]),
                json!([{"path": "/etc/app", "source": "tree", "owner": "app"}]),
                "$.directories[0]",
                owner,
            ),
            (
                json!([]),
                json!([{"path": "/etc/app", "source": "tree", "mode": "0770"}]),
                "$.directories[0]",
                group,
            ),
            (
                json!([]),
                json!([{"path": "/etc/app", "source": "tree", "file_mode": "0660"}]),
                "$.directories[0]",
                group,
            ),
            (
                json!([]),
                json!([{"path": "/srv/a"}, {"path": "/srv/a/b", "source": "tree"}]),
                "$.directories[1]",
                below,
            ),
        ] {
            sandbox.manifest(&manifest(files, directories));
            sandbox.start().refused(78, at).says(remedy);
        }
        // A group that the service is not in may write.
        sandbox.manifest(&manifest(
            json!([{"source": source, "dest": CONF, "mode": "0660", "group": OTHER}]),
            json!([]),
        ));
        assert_eq!(sandbox.start().success().summarised("lock"), "full");
    }
);
