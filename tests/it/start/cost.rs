//! The cost of a start, as far as it does not depend on the machine: system calls and memory.

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::harness::{Sandbox, sandbox_test};

/// A manifest with `count` small files.
fn files(sandbox: &Sandbox, count: usize) {
    let files: Vec<_> = (0..count)
        .map(|index| json!({"content": format!("content of {index}\n"), "dest": format!("/etc/app/f{index:05}")}))
        .collect();
    sandbox.manifest(
        &json!({"version": 1, "service": {"user": "app", "command": ["true"]}, "files": files}),
    );
}

/// What Docker gives a container, for each of which there is a call to give it up.
const DOCKER: [&str; 14] = [
    "chown",
    "dac_override",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "net_bind_service",
    "net_raw",
    "sys_chroot",
    "mknod",
    "audit_write",
    "setfcap",
];

/// How many system calls sealinit makes until it becomes the service.
fn system_calls(sandbox: &Sandbox) -> usize {
    let launch = sandbox.launch().capabilities(&DOCKER);
    let traced = launch.strace(["-o", "/run/calls"]).output();
    assert!(
        traced.status.success(),
        "{}",
        String::from_utf8_lossy(&traced.stderr)
    );
    let calls = sandbox.read("/run/calls");
    // The first exec is strace's own, of sealinit; the next one is the service.
    let until_exec = calls
        .lines()
        .enumerate()
        .skip(1)
        .find(|(_, line)| line.contains("execve("));
    until_exec.map_or_else(
        || panic!("there is no exec in\n{calls}"),
        |(count, _)| count,
    )
}

/// An unoptimised build asks about each descriptor that it closes, whether it was open.
const DEBUG: usize = cfg!(debug_assertions) as usize;

// The counts are those of the day this was written, and a twentieth more. More than that is a change to think about.
sandbox_test!(
    a_start_makes_no_more_system_calls_than_it_did,
    strace,
    |sandbox| {
        files(&sandbox, 6);
        let first = system_calls(&sandbox);
        let later = system_calls(&sandbox);
        assert!(
            first <= 610 + 70 * DEBUG,
            "a first start with 6 files: {first}"
        );
        assert!(
            later <= 315 + 40 * DEBUG,
            "a later start with 6 files: {later}"
        );
    }
);

// Opened, looked at, read, read to the end, closed: five calls a file.
sandbox_test!(
    a_file_more_costs_a_later_start_five_system_calls,
    strace,
    |sandbox| {
        let mut counts = Vec::new();
        for count in [10, 110] {
            let sandbox = sandbox.another();
            files(&sandbox, count);
            let _ = sandbox.start().success();
            counts.push(system_calls(&sandbox));
        }
        let each = (counts[1] - counts[0]) / 100;
        assert!(each <= 5 + DEBUG, "{each} calls a file, {counts:?}");
    }
);

// A source is never held as a whole, by no thread: 1 GiB in one file or in 64 costs no more memory than 1 KiB.
sandbox_test!(
    memory_does_not_grow_with_the_size_of_the_sources,
    |sandbox| {
        for count in [1, 64] {
            let files: Vec<_> = (0..count)
            .map(|index| json!({"source": format!("large{index}"), "dest": format!("/etc/app/large{index}")}))
            .collect();
            sandbox.manifest(
            &json!({"version": 1, "service": {"user": "app", "command": ["true"]}, "files": files}),
        );
            for index in 0..count {
                sandbox.source(&format!("large{index}"), "");
                let large = sandbox.path(format!("/etc/sealinit/large{index}"));
                std::fs::File::options()
                    .write(true)
                    .open(large)
                    .unwrap()
                    .set_len((1 << 30) / count)
                    .unwrap();
            }
            // A limit on the address space of the process: what is asked for beyond it is refused, and that would be a crash.
            let limit = format!("{}", 24 << 10);
            let manifest = sandbox.path("/etc/sealinit/manifest.json");
            let script = "ulimit -v \"$1\"; exec \"$2\" digest --manifest \"$3\"";
            let output = Command::new("sh")
                .args(["-c", script, "sh", &limit, env!("CARGO_BIN_EXE_sealinit")])
                .arg(manifest)
                .output()
                .unwrap();
            assert!(
                output.status.success(),
                "{count}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
);

/// What a process has in memory that no other has, and of that what no file is behind, in kB.
fn private_memory(pid: u32) -> [u64; 2] {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let field = |name: &str| -> u64 {
        let line = rollup
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    };
    [
        field("Private_Clean:") + field("Private_Dirty:"),
        field("Anonymous:"),
    ]
}

// While the service sleeps its init does too, and holds on to next to nothing. (`tini-static` has 700 kB, 52 kB of it anonymous.)
sandbox_test!(
    an_init_that_sleeps_has_given_its_memory_back,
    probe,
    |sandbox| {
        const SLEEP: [&str; 3] = ["sh", "-c", "echo ready; exec sleep 60"];
        sandbox.one_file(&[]).manifest(&json!({
            "version": 1,
            "service": {"user": "app", "command": SLEEP, "supervise": true},
            "files": [{"source": "app.conf", "dest": "/etc/app/app.conf"}],
        }));
        let bare = sandbox
            .launch()
            .subcommand(["init"])
            .args(["--user", "app", "--"])
            .args(SLEEP);
        for launch in [sandbox.launch(), bare] {
            let running = launch.running();
            let init = running.prints("ready\n").init();
            // What is not optimised is as large as the kernel likes to read it in.
            let limits = if cfg!(debug_assertions) {
                [u64::MAX, 400]
            } else {
                [600, 140]
            };
            let mut found = [0; 2];
            running.until(format_args!("it is below {limits:?} kB"), || {
                found = private_memory(init);
                found[0] < limits[0] && found[1] < limits[1]
            });
            running.signal(15);
            running.end().code(143);
        }
    }
);
