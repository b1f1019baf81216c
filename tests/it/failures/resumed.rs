//! Killed once, resumed, and killed again at every system call of the second attempt.

use super::{comparable, image, killed_first_start};
use crate::harness::{
    JOURNAL, SEAL, Sandbox, calls_of, for_each, kill_points, name_of, sandbox_test,
};

// Promise 3 for a first start that was interrupted before: a crash loop makes progress or does no
// harm.
sandbox_test!(
    promise_3_a_resumed_start_can_be_killed_at_every_system_call,
    strace,
    |golden| {
        image(&golden);
        let before = golden.tree();
        let calls = calls_of(&golden);
        let after = comparable(golden.tree());
        // Interrupted when some files are in their places and one is about to be.
        let renames = calls
            .iter()
            .filter(|call| name_of(call) == "renameat")
            .count();
        let interrupt = |sandbox: &Sandbox| {
            let output = sandbox.launch().killed_at("renameat", renames / 2).output();
            assert!(
                output.stdout.is_empty() && sandbox.exists(JOURNAL) && !sandbox.exists(SEAL),
                "{output:?}"
            );
        };
        let twin = golden.another();
        image(&twin);
        interrupt(&twin);
        assert_eq!(
            twin.temporaries().len(),
            1,
            "it was interrupted in the middle"
        );
        let points = kill_points(&calls_of(&twin));
        after.assert_equals(&comparable(twin.tree()));
        assert!(
            points.len() > 40,
            "a resumed start makes more system calls than {}",
            points.len()
        );

        for_each(&points, |(name, nth)| {
            let at = format!("resumed, and killed on entry to {name} number {nth}");
            let sandbox = golden.another();
            image(&sandbox);
            interrupt(&sandbox);
            let sealed = killed_first_start(&sandbox, (name, *nth), &at, (&before, &after));
            let next = sandbox.start().success();
            assert_eq!(
                next.state(),
                if sealed { "verified" } else { "resumed" },
                "{at}"
            );
            after.assert_equals(&comparable(sandbox.tree()));
            assert!(sandbox.temporaries().is_empty(), "{at}");
        });
    }
);
