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

/// The capabilities of a Docker container; giving up each one takes a system call.
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

/// The number of system calls until sealinit becomes the service.
fn system_calls(sandbox: &Sandbox) -> u64 {
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
    let (count, _) = until_exec.unwrap_or_else(|| panic!("there is no exec in\n{calls}"));
    count.try_into().unwrap()
}

/// A cost that is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cost {
    /// System calls of a first start with 6 files.
    FirstStart,
    /// System calls of a later start with 6 files.
    LaterStart,
    /// System calls of a later start for each further file.
    EachFile,
    /// Memory that no other process shares with the sleeping init, in kB.
    PrivateMemory,
    /// The part of it that no file backs, in kB.
    AnonymousMemory,
}

/// The limits of a release and of a debug build, about a twentieth above the measured values.
///
/// An unoptimised build asks of each descriptor that it closes if it was open, and the kernel reads
/// in as much of it as it likes.
const LIMITS: [(Cost, u64, u64); 5] = [
    (Cost::FirstStart, 610, 680),
    (Cost::LaterStart, 315, 355),
    (Cost::EachFile, 5, 6),
    (Cost::PrivateMemory, 600, u64::MAX),
    (Cost::AnonymousMemory, 140, 400),
];

impl Cost {
    fn limit(self) -> u64 {
        let (_, release, debug) = LIMITS.into_iter().find(|(cost, ..)| *cost == self).unwrap();
        if cfg!(debug_assertions) {
            debug
        } else {
            release
        }
    }

    #[track_caller]
    fn assert(self, found: u64) {
        let limit = self.limit();
        assert!(
            found <= limit,
            "{self:?} is {found}, and at most {limit} is allowed"
        );
    }
}

sandbox_test!(
    a_start_makes_no_more_system_calls_than_allowed,
    strace,
    |sandbox| {
        files(&sandbox, 6);
        Cost::FirstStart.assert(system_calls(&sandbox));
        Cost::LaterStart.assert(system_calls(&sandbox));
    }
);

// Opened, examined, read, read to the end, closed: five calls for each file.
sandbox_test!(
    a_further_file_costs_a_later_start_five_system_calls,
    strace,
    |sandbox| {
        let calls = [10, 110].map(|count| {
            let sandbox = sandbox.another();
            files(&sandbox, count);
            let _ = sandbox.start().success();
            system_calls(&sandbox)
        });
        Cost::EachFile.assert((calls[1] - calls[0]) / 100);
    }
);

// No thread holds a whole source: 1 GiB in one file or in 64 takes no more memory than 1 KiB.
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
            // A limit on the address space of the process: an allocation beyond it would be a
            // crash.
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

/// The memory that a process shares with no other, and the part of it that no file backs, in kB.
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

// For comparison: `tini-static` has 700 kB, 52 kB of it anonymous.
sandbox_test!(a_sleeping_init_has_little_memory, probe, |sandbox| {
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
        let limits = [Cost::PrivateMemory, Cost::AnonymousMemory].map(Cost::limit);
        let mut found = [0; 2];
        running.until(format_args!("it is below {limits:?} kB"), || {
            found = private_memory(init);
            found[0] < limits[0] && found[1] < limits[1]
        });
        running.signal(15);
        running.end().code(143);
    }
});
