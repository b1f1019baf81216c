//! What a start costs, as far as it does not depend on the machine: system calls and memory.

use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::crash::{needs_strace, strace};
use crate::running::{image, send, status};
use crate::sandbox::Sandbox;

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
    let traced = strace(
        sandbox.launch().capabilities(&DOCKER),
        &["-o", "/run/calls"],
    )
    .output();
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

/// The counts are those of the day this was written, and a twentieth more. More than that is a change to think about.
#[test]
fn a_start_makes_no_more_system_calls_than_it_did() {
    let Some(sandbox) = needs_strace() else {
        return;
    };
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

/// Opened, looked at, read, read to the end, closed: five calls a file.
#[test]
fn a_file_more_costs_a_later_start_five_system_calls() {
    let Some(sandbox) = needs_strace() else {
        return;
    };
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

/// A source is never held as a whole, by no thread: 1 GiB in one file or in 64 costs no more memory than 1 KiB.
#[test]
fn memory_does_not_grow_with_the_size_of_the_sources() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
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
    std::thread::sleep(Duration::from_millis(500));
    let size = memory(init.id(), "Rss:");
    send(init.id(), [15]);
    init.wait().unwrap();
    size
}

/// While the service sleeps its init does too: for good, and with little memory of its own.
#[test]
fn a_sleeping_init_has_less_memory_than_dumb_init_and_does_not_wake_up() {
    const SLEEP: [&str; 3] = ["sh", "-c", "echo ready; exec sleep 60"];
    let Some(sandbox) = image() else { return };
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
                private = memory(init, "Private_Clean:") + memory(init, "Private_Dirty:");
                private < limit
            },
        );
        let slept = status(init, "voluntary_ctxt_switches");
        std::thread::sleep(Duration::from_secs(3));
        assert_eq!(
            status(init, "voluntary_ctxt_switches"),
            slept,
            "it has woken up"
        );
        running.signal(15);
        running.end().code(143);
    }
}
