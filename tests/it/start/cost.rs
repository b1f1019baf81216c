//! The cost of a start, as far as it does not depend on the machine: system calls and memory.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::harness::{Sandbox, sandbox_test, send, status};

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
}

/// The limits of a release and of a debug build, about a twentieth above the measured values.
///
/// An unoptimised build asks of each descriptor that it closes if it was open.
const LIMITS: [(Cost, u64, u64); 3] = [
    (Cost::FirstStart, 610, 680),
    (Cost::LaterStart, 315, 355),
    (Cost::EachFile, 5, 6),
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

/// A field of `/proc/PID/smaps_rollup`, in kB.
fn memory(pid: u32, field: &str) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = rollup
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

/// The resident size of Debian's dumb-init while its command sleeps, in kB: measured if it is
/// installed, and otherwise that of version 1.2.5.
fn resident_size_of_dumb_init() -> u64 {
    let Ok(mut init) = Command::new("dumb-init").args(["sleep", "60"]).spawn() else {
        return 1204;
    };
    thread::sleep(Duration::from_millis(500));
    let size = memory(init.id(), "Rss:");
    send(init.id(), [15]);
    init.wait().unwrap();
    size
}

const SLEEP: [&str; 3] = ["sh", "-c", "echo ready; exec sleep 60"];

// While the service sleeps, its init neither wakes up nor holds much memory: what is written, and
// cannot be shared with another container of the image or read again from its file.
sandbox_test!(
    a_sleeping_init_holds_less_memory_than_dumb_init_and_does_not_wake_up,
    probe,
    |sandbox| {
        let limit = resident_size_of_dumb_init();
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
            let mut private = 0;
            running.until(
                format_args!("it has less than {limit} kB of its own"),
                || {
                    private = memory(init, "Private_Dirty:");
                    private < limit
                },
            );
            let slept = status(init, "voluntary_ctxt_switches");
            thread::sleep(Duration::from_secs(3));
            assert_eq!(
                status(init, "voluntary_ctxt_switches"),
                slept,
                "it has woken up"
            );
            running.signal(15);
            running.end().code(143);
        }
    }
);
