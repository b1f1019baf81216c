//! Each kind of drift, refused, run with a warning and rolled back.

use super::{Expected, Tamper, configured, expected, resized};
use crate::harness::{APP, CONF, CONTENT, OTHER, Sandbox, hash, sandbox_test};

/// Each kind of drift as three tests: refused, run with a warning, rolled back.
macro_rules! kinds {
    ($($kind:ident: $tamper:expr => $expected:expr;)*) => {$(
        mod $kind {
            use super::*;

            sandbox_test!(is_refused_and_left_as_it_is, |sandbox| {
                super::is_refused(&sandbox, $tamper, &$expected);
            });

            sandbox_test!(runs_with_a_warning_under_warn, |sandbox| {
                super::runs_with_a_warning(&sandbox, $tamper, &$expected);
            });

            sandbox_test!(is_rolled_back_under_restore, |sandbox| {
                super::is_rolled_back(&sandbox, $tamper, &$expected);
            });
        }
    )*};
}

/// Promise 1: if the service runs, every sealed entry had exactly the recorded type, content,
/// owner, group and mode at that moment.
fn is_refused(sandbox: &Sandbox, tamper: Tamper, expected: &Expected) {
    configured(sandbox, "refuse");
    tamper(sandbox);
    let refused = sandbox.start().refused(80, expected.path);
    expected.in_lines(&refused.errors(), &refused);
    let path = format!(" path={} ", expected.path);
    assert!(
        refused.errors().iter().all(|error| error.contains(&path)),
        "nothing else has drifted\n{refused:?}"
    );
}

fn runs_with_a_warning(sandbox: &Sandbox, tamper: Tamper, expected: &Expected) {
    configured(sandbox, "warn");
    tamper(sandbox);
    let before = sandbox.tree();
    let outcome = sandbox.start().success();
    assert_eq!(outcome.stdout, "ran\n");
    expected.in_lines(&outcome.warnings(), &outcome);
    before.assert_equals(&sandbox.tree());
}

fn is_rolled_back(sandbox: &Sandbox, tamper: Tamper, expected: &Expected) {
    configured(sandbox, "restore");
    let sealed = sandbox.tree();
    tamper(sandbox);
    let outcome = sandbox.start().success();
    assert_eq!(
        (outcome.state().as_str(), outcome.stdout.as_str()),
        ("restored", "ran\n")
    );
    outcome.says(expected.path);
    sealed.assert_equals(&sandbox.tree());
    let next = sandbox.start().success();
    assert_eq!(next.state(), "verified");
    next.without_warnings();
}

kinds! {
    content: |sandbox| { sandbox.file(CONF, "tampered\n"); }
        => resized(CONF, CONTENT, "tampered\n");
    content_of_the_same_length: |sandbox| { sandbox.file(CONF, CONTENT.replace("false", "tru.e")); }
        => expected(CONF, "content", &format!("sha256:{}", hash(CONTENT)), &format!("sha256:{}", hash("debug = tru.e\n")));
    content_below_a_directory: |sandbox| { sandbox.file("/etc/app/tree/sub/b", ""); }
        => resized("/etc/app/tree/sub/b", "b\n", "");
    owner: |sandbox| { sandbox.owner(CONF, OTHER, APP); }
        => expected(CONF, "owner", "0 (root)", "1001 (other)");
    owner_by_the_service: |sandbox| { sandbox.owner(CONF, APP, APP); }
        => expected(CONF, "owner", "0 (root)", "1000 (app)");
    group: |sandbox| { sandbox.owner(CONF, 0, OTHER); }
        => expected(CONF, "group", "1000 (app)", "1001 (other)");
    mode: |sandbox| { sandbox.mode(CONF, 0o444); }
        => expected(CONF, "mode", "0440", "0444");
    set_id_bit: |sandbox| { sandbox.mode(CONF, 0o4440); }
        => expected(CONF, "mode", "0440", "4440");
    missing_file: |sandbox| { sandbox.remove(CONF); }
        => expected(CONF, "type", "file", "nothing");
    file_became_directory: |sandbox| { sandbox.remove(CONF).file("/etc/app/app.conf/sub/file", "x"); }
        => expected(CONF, "type", "file", "directory");
    // The content is right, but the owner of the link's target controls it from now on.
    file_became_symlink: |sandbox| { sandbox.remove(CONF).file("/etc/app/copy", CONTENT).symlink(CONF, "copy").remove("/etc/app/copy"); }
        => expected(CONF, "type", "file", "symlink");
    file_became_fifo: |sandbox| { sandbox.remove(CONF).fifo(CONF); }
        => expected(CONF, "type", "file", "FIFO");
    directory_mode: |sandbox| { sandbox.mode("/etc/app/tree/sub", 0o750); }
        => expected("/etc/app/tree/sub", "mode", "0550", "0750");
    directory_owner: |sandbox| { sandbox.owner("/etc/app/tree/sub", OTHER, APP); }
        => expected("/etc/app/tree/sub", "owner", "0 (root)", "1001 (other)");
    directory_group: |sandbox| { sandbox.owner("/etc/app/tree", 0, OTHER); }
        => expected("/etc/app/tree", "group", "1000 (app)", "1001 (other)");
    extra_name: |sandbox| { sandbox.file("/etc/app/tree/extra", ""); }
        => expected("/etc/app/tree/extra", "extra", "nothing", "file");
    extra_name_further_down: |sandbox| { sandbox.symlink("/etc/app/tree/sub/extra", "b"); }
        => expected("/etc/app/tree/sub/extra", "extra", "nothing", "symlink");
    extra_directory: |sandbox| { sandbox.file("/etc/app/tree/extra/sub/file", ""); }
        => expected("/etc/app/tree/extra", "extra", "nothing", "directory");
    absent_came_back: |sandbox| { sandbox.file("/etc/app/default.conf", ""); }
        => expected("/etc/app/default.conf", "type", "nothing", "file");
    optional_appeared: |sandbox| { sandbox.file("/etc/app/optional.conf", ""); }
        => expected("/etc/app/optional.conf", "type", "nothing", "file");
    data_directory_mode: |sandbox| { sandbox.mode("/srv/data", 0o777); }
        => expected("/srv/data", "mode", "0750", "0777");
    data_directory_owner: |sandbox| { sandbox.owner("/srv/data", 0, APP); }
        => expected("/srv/data", "owner", "1000 (app)", "0 (root)");
    missing_data_directory: |sandbox| { sandbox.remove("/srv/data"); }
        => expected("/srv/data", "type", "directory", "nothing");
    data_directory_became_file: |sandbox| { sandbox.remove("/srv/data").file("/srv/data", ""); }
        => expected("/srv/data", "type", "directory", "file");
}
