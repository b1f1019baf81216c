//! Many large files: the result and its order are the same on one core and on all.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::thread;

use serde_json::{Value, json};

use crate::harness::{APP, Launch, Sandbox, hash, sandbox_test, skip};

/// Together more than the 8 MiB from which on threads are used.
const MANY: usize = 24;

/// Long and short in turn.
fn size(index: usize) -> usize {
    if index.is_multiple_of(4) {
        100
    } else {
        (1 << 20) - index
    }
}

fn content(index: usize) -> Vec<u8> {
    let mut content = vec![0; size(index)];
    content[0] = u8::try_from(index).unwrap();
    content
}

fn dest(index: usize) -> String {
    format!("/etc/app/f{index:02}")
}

/// Half of them named one by one with their hash, half in a directory.
fn manifest(count: usize) -> Value {
    let files: Vec<Value> = (0..count / 2)
        .map(|index| {
            let sha256 = hash(content(index));
            json!({"source": format!("files/f{index:02}"), "dest": dest(index), "sha256": sha256})
        })
        .collect();
    json!({
        "version": 1,
        "service": {"user": "app", "command": ["true"]},
        "files": files,
        "directories": [{"path": "/etc/app", "source": "tree"}],
    })
}

fn sources(sandbox: &Sandbox, count: usize) {
    sandbox.manifest(&manifest(count));
    for index in 0..count {
        let directory = if index < count / 2 { "files" } else { "tree" };
        sandbox.source(&format!("{directory}/f{index:02}"), content(index));
    }
}

/// Another byte in the middle, the size unchanged.
fn change(sandbox: &Sandbox, path: &str) {
    let file = File::options()
        .write(true)
        .open(sandbox.path(path))
        .unwrap();
    let middle = file.metadata().unwrap().len() / 2;
    file.write_all_at(b"!", middle).unwrap();
}

/// Surroundings with and without threads.
fn surroundings(launch: Launch<'_>) -> [(&'static str, Launch<'_>); 3] {
    [
        ("all cores", launch.clone()),
        ("one core", launch.clone().wrapper(["taskset", "-c", "0"])),
        ("few descriptors", launch.prelude("ulimit -n 32")),
    ]
}

sandbox_test!(
    many_large_files_are_sealed_and_verified_everywhere_alike,
    |sandbox| {
        sources(&sandbox, MANY);
        let digests = surroundings(sandbox.launch().subcommand(["digest"]))
            .map(|(_, launch)| launch.start().code(0).stdout);
        assert_eq!([&digests[0]; 3], digests.each_ref());
        for (name, launch) in surroundings(sandbox.launch()) {
            for state in ["sealed", "verified"] {
                let start = launch.clone().start().success();
                assert_eq!(start.state(), state, "{name}");
                assert_eq!(
                    format!("{}\n", start.summarised("digest")),
                    digests[0],
                    "{name}"
                );
            }
            for index in 0..MANY {
                assert_eq!(
                    sandbox.object(dest(index)),
                    format!("file 0440 0:{APP} {}", hash(content(index))),
                    "{name}"
                );
            }
            sandbox.remove("/etc/app").remove("/var/lib/sealinit");
        }
    }
);

sandbox_test!(
    drift_of_many_large_files_is_reported_in_their_order,
    |sandbox| {
        sources(&sandbox, MANY);
        let _ = sandbox.start().success();
        for index in [3, 4, 14, 15] {
            change(&sandbox, &dest(index));
        }
        sandbox
            .mode(dest(3), 0o640)
            .mode(dest(7), 0o640)
            .mode(dest(22), 0o640)
            .remove(dest(8))
            .file(dest(21), "shorter");
        for (name, launch) in
            surroundings(sandbox.launch().subcommand(["verify", "--format", "json"]))
        {
            let outcome = launch.start().code(1);
            let report: Value = serde_json::from_str(&outcome.stdout).unwrap();
            let drifts: Vec<_> = report["differences"]
                .as_array()
                .unwrap()
                .iter()
                .map(|drift| {
                    (
                        drift["path"].as_str().unwrap(),
                        drift["attribute"].as_str().unwrap(),
                    )
                })
                .collect();
            assert_eq!(
                drifts,
                [
                    ("/etc/app/f03", "mode"),
                    ("/etc/app/f03", "content"),
                    ("/etc/app/f04", "content"),
                    ("/etc/app/f07", "mode"),
                    ("/etc/app/f08", "type"),
                    ("/etc/app/f14", "content"),
                    ("/etc/app/f15", "content"),
                    ("/etc/app/f21", "content"),
                    ("/etc/app/f22", "mode"),
                ],
                "{name}"
            );
        }
        sandbox
            .start()
            .refused(80, "path=/etc/app/f15 attribute=content");
    }
);

sandbox_test!(
    problems_of_many_large_sources_are_reported_in_their_order,
    |sandbox| {
        sources(&sandbox, MANY);
        for index in [1, 4, 11] {
            change(&sandbox, &format!("/etc/sealinit/files/f{index:02}"));
        }
        sandbox
            .remove("/etc/sealinit/files/f02")
            .remove("/etc/sealinit/files/f10");
        // Two that the manifest names as well, one long and one short.
        sandbox
            .source("tree/f05", content(5))
            .source("tree/f08", "")
            .fifo("/etc/sealinit/tree/f13a");
        for (name, launch) in surroundings(sandbox.launch()) {
            let start = launch.start().refused(66, "f13a");
            let errors = start.errors();
            let named: Vec<_> = errors
                .iter()
                .map(|error| {
                    error
                        .split("/etc/sealinit/")
                        .nth(1)
                        .unwrap()
                        .get(..9)
                        .unwrap()
                })
                .collect();
            let expected = [
                "files/f01",
                "files/f02",
                "files/f04",
                "files/f10",
                "files/f11",
                "tree/f05:",
                "tree/f08:",
                "tree/f13a",
            ];
            assert_eq!(named, expected, "{name}\n{errors:#?}");
        }
    }
);

sandbox_test!(a_process_that_may_not_create_threads_verifies, |sandbox| {
    sources(&sandbox, MANY);
    let mut manifest = manifest(MANY);
    manifest["service"].as_object_mut().unwrap().remove("user");
    sandbox
        .manifest(&manifest)
        .directory("/etc/app", 0o755)
        .owner("/etc/app", APP, APP);
    sandbox
        .directory("/var/lib/sealinit", 0o700)
        .owner("/var/lib/sealinit", APP, APP);
    let limited = || sandbox.launch().user(APP, APP).prelude("ulimit -u 1");
    for state in ["sealed", "verified"] {
        assert_eq!(limited().start().success().state(), state);
    }
    change(&sandbox, &dest(15));
    limited()
        .start()
        .refused(80, "path=/etc/app/f15 attribute=content");
});

/// The number of threads that `digest` creates, counted by root.
fn threads(sandbox: &Sandbox, wrapper: &[&str]) -> usize {
    let launch = sandbox.launch().subcommand(["digest"]).wrapper(wrapper);
    let options = ["-f", "-e", "trace=clone,clone3", "-o", "/run/calls"];
    let _ = launch.strace(options).start().code(0);
    sandbox
        .read("/run/calls")
        .lines()
        .filter(|line| line.contains("CLONE_THREAD"))
        .count()
}

sandbox_test!(
    threads_are_made_only_for_more_than_eight_mebibytes_and_on_more_than_one_core,
    strace,
    |sandbox| {
        sources(&sandbox, 10);
        assert_eq!(threads(&sandbox, &[]), 0, "for less");
        let sandbox = sandbox.another();
        sources(&sandbox, MANY);
        assert_eq!(threads(&sandbox, &["taskset", "-c", "0"]), 0, "on one core");
        if thread::available_parallelism().unwrap().get() == 1 {
            skip("needs two cores");
            return;
        }
        assert!(threads(&sandbox, &[]) >= 1, "for more");
    }
);
