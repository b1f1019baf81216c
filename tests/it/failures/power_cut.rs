//! Power cuts at every instant of a first start, on a real file system.
//!
//! The disk is an image in memory behind a loop device. sealinit is killed on entry to a system
//! call, and at the same moment, with nothing unmounted and nothing synced, the image is copied:
//! the copy holds what a disk would hold. It is then checked by the file system's own fsck,
//! mounted, and started from. Needs root and loop devices.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, id};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use crate::harness::{
    Launch, Sandbox, Start, TRACE, for_each, has_program, hash, injection, leave_out, name_of,
    sandbox_test, skip, writes,
};

/// A file system, and the way to make, mount and check it.
struct FileSystem {
    kind: &'static str,
    /// Bytes. The minimum of `mkfs.xfs` is 300 MiB; the image is sparse.
    size: u64,
    make: &'static [&'static str],
    /// Repairs without questions, and exits with 0 or 1 on success.
    check: &'static [&'static str],
    options: &'static str,
    /// One of this many instants is tried, beginning with `first`, counted from the end.
    every: usize,
    first: usize,
    /// True if copies can be mounted side by side. btrfs takes all copies for one file system, and
    /// mounts any of them.
    parallel: bool,
}

const EXT4: FileSystem = FileSystem {
    kind: "ext4",
    size: 16 << 20,
    make: &["mkfs.ext4", "-q", "-F"],
    check: &["e2fsck", "-f", "-p"],
    options: "loop",
    every: 2,
    first: 0,
    parallel: true,
};

/// Without the kernel's heuristics for programs that do not sync. Cut off at the instants at which
/// the other one is not.
const EXT4_UNFORGIVING: FileSystem = FileSystem {
    options: "loop,data=writeback,noauto_da_alloc",
    first: 1,
    ..EXT4
};

/// For a start with many files: most of its calls are alike.
const EXT4_MANY: FileSystem = FileSystem {
    every: 12,
    first: 0,
    ..EXT4_UNFORGIVING
};

const XFS: FileSystem = FileSystem {
    kind: "xfs",
    size: 320 << 20,
    make: &["mkfs.xfs", "-q", "-f"],
    // It refuses a log that only a mount can replay, and the kernel checks what it replays.
    check: &["true"],
    // Copies of one file system have one name, of which the kernel mounts only one.
    options: "loop,nouuid",
    every: 3,
    first: 0,
    parallel: true,
};

const XFS_MANY: FileSystem = FileSystem { every: 15, ..XFS };

const BTRFS: FileSystem = FileSystem {
    kind: "btrfs",
    size: 128 << 20,
    make: &["mkfs.btrfs", "-q", "-f"],
    check: &["btrfs", "check", "--readonly"],
    options: "loop",
    every: 3,
    first: 0,
    parallel: false,
};

const BTRFS_MANY: FileSystem = FileSystem { every: 15, ..BTRFS };

/// Reports if this process may mount disks: root outside of user namespaces.
fn may_mount() -> bool {
    let whole = fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.split_whitespace().eq(["0", "0", "4294967295"]));
    let chosen = std::env::var_os("SANDBOX").is_some_and(|choice| choice == "user-namespace");
    whole
        && !chosen
        && Path::new("/dev/loop-control").exists()
        && fs::metadata("/root").is_ok_and(|_| has_root())
}

fn has_root() -> bool {
    Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout == b"0\n")
}

/// Images in memory, removed at the end.
struct Images(PathBuf);

impl Images {
    fn new() -> Self {
        static COUNTER: AtomicUsize = AtomicUsize::new(0);
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() {
            memory.to_owned()
        } else {
            std::env::temp_dir()
        };
        let directory = parent.join(format!(
            "sealinit-it-{}-{}",
            id(),
            COUNTER.fetch_add(1, Ordering::Relaxed)
        ));
        fs::create_dir(&directory).unwrap();
        Self(directory)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn copy(&self, from: &Path, name: &str) -> PathBuf {
        let to = self.path(name);
        run(&[
            "cp",
            "--sparse=always",
            from.to_str().unwrap(),
            to.to_str().unwrap(),
        ]);
        to
    }
}

impl Drop for Images {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn run(argv: &[&str]) {
    let output = Command::new(argv[0]).args(&argv[1..]).output().unwrap();
    assert!(output.status.success(), "{argv:?}: {output:?}");
}

const CONTENT: &str = "what must survive\n";

/// Everything that is installed is on the disk, and so is the state.
fn image(sandbox: &Sandbox) {
    sandbox
        .manifest(&json!({
            "version": 1,
            "service": {"user": "app", "command": ["sh", "-c", "cd /disk && find etc data | sort && cat $(find . -name '*.conf' | sort)"]},
            "files": [
                {"source": "a", "dest": "/disk/etc/app/a.conf"},
                {"source": "a", "dest": "/disk/etc/app/old.conf"},
                {"source": "large", "dest": "/disk/etc/large.bin"},
                {"content": "seed\n", "dest": "/disk/data/state", "owner": "app", "mutable": true},
            ],
            "directories": [
                {"path": "/disk/etc/tree", "source": "tree", "exact": true},
                {"path": "/disk/data"},
            ],
            "absent": ["/disk/etc/gone"],
        }))
        .source("a", CONTENT)
        .source("large", "x".repeat(200 << 10))
        .source("tree/b.conf", "b\n")
        .source("tree/sub/c.conf", "c\n")
        .directory("/disk", 0o755);
}

/// An image like [`image`] with more files than are synced one by one.
fn image_with_many(sandbox: &Sandbox) {
    image(sandbox);
    for index in 0..20 {
        sandbox.source(&format!("tree/many/{index:02}.conf"), format!("{index}\n"));
    }
}

/// Writes the files of the container's image to a new disk.
const OLD: &str = "mkdir -p /disk/etc/app /disk/etc/gone/sub && chmod -R 755 /disk && \
    echo old > /disk/etc/app/old.conf && echo old > /disk/etc/gone/sub/file && sync";

fn on_disk<'a>(sandbox: &'a Sandbox, system: &FileSystem, image: &Path) -> Launch<'a> {
    sandbox
        .launch()
        .mount(
            system.kind,
            image.to_str().unwrap(),
            "/disk",
            system.options,
        )
        .args(["--state-dir", "/disk/state"])
}

/// A disk as it is before the first start.
fn format(sandbox: &Sandbox, system: &FileSystem, images: &Images) -> PathBuf {
    let path = images.path("pristine");
    fs::File::create(&path)
        .unwrap()
        .set_len(system.size)
        .unwrap();
    let mut make = system.make.to_vec();
    make.push(path.to_str().unwrap());
    run(&make);
    let made = on_disk(sandbox, system, &path)
        .prelude(&format!("{OLD} && exit 7; exit 1"))
        .output();
    assert_eq!(made.status.code(), Some(7), "{made:?}");
    path
}

/// The system calls of an undisturbed start, and the output of its service.
fn undisturbed(
    sandbox: &Sandbox,
    system: &FileSystem,
    images: &Images,
    pristine: &Path,
) -> (Vec<String>, String) {
    let disk = images.copy(pristine, "undisturbed");
    let launch = on_disk(sandbox, system, &disk).traced(&[]);
    let found = launch.start().success().stdout;
    let trace = fs::read_to_string(sandbox.path(TRACE)).unwrap();
    let mut calls: Vec<String> = trace
        .lines()
        .filter(|line| line.contains('('))
        .map(Into::into)
        .collect();
    let exec = calls
        .iter()
        .rposition(|call| call.starts_with("execve(\"") && call.contains("/sh\""))
        .unwrap();
    calls.truncate(exec + 1);
    (calls, found)
}

/// Runs a first start under strace with this effect, and copies the image when the start ends,
/// before anything is unmounted.
fn cut(
    sandbox: &Sandbox,
    system: &FileSystem,
    images: &Images,
    pristine: &Path,
    name: &str,
    (call, effect): (&str, &str),
) -> PathBuf {
    let disk = images.copy(pristine, &format!("{name}.disk"));
    let copy = images.path(&format!("{name}.cut"));
    sandbox.directory(format!("/trace/{name}"), 0o755);
    let script = format!(
        "strace {} /sbin/sealinit run --state-dir /disk/state > /dev/null 2>&1\n\
         cp --sparse=always /trace/{name}/{name}.disk /trace/{name}/{name}.cut && exit 7; exit 1",
        injection(call, effect).join(" ")
    );
    let launch = on_disk(sandbox, system, &disk)
        .bind_host(images.0.to_str().unwrap(), &format!("/trace/{name}"));
    let output = launch.prelude(&script).output();
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    fs::remove_file(disk).unwrap();
    copy
}

/// Checks the copy, and starts from it.
fn start_from(sandbox: &Sandbox, system: &FileSystem, copy: &Path, at: &str) -> Start {
    let checked = Command::new(system.check[0])
        .args(&system.check[1..])
        .arg(copy)
        .output()
        .unwrap();
    assert!(
        matches!(checked.status.code(), Some(0 | 1)),
        "{at}: {checked:?}"
    );
    on_disk(sandbox, system, copy).start()
}

fn survives(original: &Sandbox, system: &FileSystem, image: impl Fn(&Sandbox) + Sync) {
    let original = &original.another();
    image(original);
    let images = Images::new();
    let pristine = format(original, system, &images);
    let (calls, golden) = undisturbed(original, system, &images, &pristine);
    assert!(golden.contains(CONTENT), "{golden}");

    let mut nth = BTreeMap::new();
    let mut instants = Vec::new();
    for call in &calls {
        let count = nth.entry(name_of(call)).or_insert(0);
        *count += 1;
        // A cut at a call that only reads is a cut at the next one that does not.
        if writes(call) {
            instants.push((name_of(call), *count));
        }
    }
    // The service's own exec is the last instant; strace does not count sealinit's.
    instants.push(("execve", nth["execve"] - 1));
    // The barrier and the calls after it are always tried.
    let barrier: BTreeSet<usize> = (0..instants.len())
        .filter(|at| instants[*at].0 == "syncfs")
        .flat_map(|at| [at, at + 1, at + 2])
        .collect();
    let last = instants.len() - 1;
    let is_tried = |at: usize| {
        let from_end = last - at;
        barrier.contains(&at)
            || (from_end >= system.first && (from_end - system.first).is_multiple_of(system.every))
    };
    let instants: Vec<(&str, usize)> = (0..=last)
        .rev()
        .filter(|at| is_tried(*at))
        .map(|at| instants[at])
        .collect();
    assert!(instants.len() > 15, "{instants:?}");

    let states = Mutex::new(BTreeMap::new());
    let try_one = |(call, nth): &(&str, usize)| {
        let at = format!("{}: power cut on entry to {call} number {nth}", system.kind);
        let name = format!("{call}-{nth}");
        let sandbox = original.another();
        image(&sandbox);
        let kill = format!("signal=KILL:when={nth}");
        let copy = cut(&sandbox, system, &images, &pristine, &name, (call, &kill));
        let next = start_from(&sandbox, system, &copy, &at);
        assert_eq!(next.exit_code(), 0, "{at}");
        let next = next.success();
        assert_eq!(next.stdout, golden, "{at}");
        *states.lock().unwrap().entry(next.state()).or_insert(0) += 1;
        // The start after it is a later start like any other.
        assert_eq!(
            on_disk(&sandbox, system, &copy).start().success().state(),
            "verified",
            "{at}"
        );
        fs::remove_file(copy).unwrap();
    };
    if system.parallel {
        for_each(&instants, try_one);
    } else {
        instants.iter().for_each(try_one);
    }
    let states: Vec<String> = states.into_inner().unwrap().into_keys().collect();
    assert_eq!(
        states,
        ["resumed", "sealed", "verified"],
        "power was cut before, between and after"
    );
}

// Promise 3: a power cut at any instant of the first start leaves no seal, and the next start
// repairs everything; or a seal that matches.
sandbox_test!(
    promise_3_a_power_cut_on_ext4_leaves_a_sound_disk,
    |sandbox| {
        if !may_mount() {
            // Not possible in a user namespace; the run outside of it has this test.
            return if std::env::var_os("SANDBOX").is_some() {
                leave_out("not in a user namespace");
            } else {
                skip(NEEDED);
            };
        }
        survives(&sandbox, &EXT4, image);
        survives(&sandbox, &EXT4_UNFORGIVING, image);
        survives(&sandbox, &EXT4_MANY, image_with_many);
    }
);

const NEEDED: &str = "needs root, /dev/loop-control, strace and e2fsprogs";

sandbox_test!(
    promise_3_a_power_cut_on_xfs_leaves_a_sound_disk,
    |sandbox| {
        if may_mount() && has_program("mkfs.xfs") && mountable("xfs") {
            survives(&sandbox, &XFS, image);
            survives(&sandbox, &XFS_MANY, image_with_many);
        } else {
            leave_out("needs root, /dev/loop-control, xfsprogs and a kernel with xfs");
        }
    }
);

sandbox_test!(
    promise_3_a_power_cut_on_btrfs_leaves_a_sound_disk,
    |sandbox| {
        if may_mount() && has_program("mkfs.btrfs") && mountable("btrfs") {
            survives(&sandbox, &BTRFS, image);
            survives(&sandbox, &BTRFS_MANY, image_with_many);
        } else {
            leave_out("needs root, /dev/loop-control, btrfs-progs and a kernel with btrfs");
        }
    }
);

/// Reports if the kernel has the file system, after an attempt to load its module.
fn mountable(kind: &str) -> bool {
    let _ = Command::new("modprobe").arg(kind).output();
    fs::read_to_string("/proc/filesystems")
        .is_ok_and(|known| known.split_whitespace().any(|word| word == kind))
}

// Shows that these tests can fail: if only the seal is synced, a power cut leaves a seal for empty
// files.
sandbox_test!(
    a_power_cut_reveals_a_seal_that_was_synced_before_its_files,
    |sandbox| {
        if !may_mount() {
            return leave_out(NEEDED);
        }
        image(&sandbox);
        let images = Images::new();
        let system = &EXT4_UNFORGIVING;
        let pristine = format(&sandbox, system, &images);
        let (calls, golden) = undisturbed(&sandbox, system, &images, &pristine);
        let seal = calls
            .iter()
            .position(|call| call.starts_with("renameat(") && call.contains("\"seal\""))
            .unwrap();
        let synced = calls[..seal]
            .iter()
            .filter(|call| name_of(call) == "fsync")
            .count();
        // The last before the rename is the seal's own.
        let lie = format!("retval=0:when=1..{}", synced - 1);
        let copy = cut(
            &sandbox,
            system,
            &images,
            &pristine,
            "unsynced",
            ("fsync", &lie),
        );
        let next = start_from(&sandbox, system, &copy, "unsynced");
        assert_ne!(hash(&golden), hash(""), "there is something to lose");
        next.failed(80, "/disk/etc/");
    }
);

// The same if the one sync before the seal does nothing.
sandbox_test!(
    a_power_cut_reveals_a_seal_that_was_written_before_the_barrier,
    |sandbox| {
        if !may_mount() {
            return leave_out(NEEDED);
        }
        image_with_many(&sandbox);
        let images = Images::new();
        let system = &EXT4_UNFORGIVING;
        let pristine = format(&sandbox, system, &images);
        let (calls, _) = undisturbed(&sandbox, system, &images, &pristine);
        let syncs = calls.iter().filter(|call| name_of(call) == "syncfs");
        // The first only finds out whether there is such a call.
        assert_eq!(syncs.count(), 2);
        let lie = ("syncfs", "retval=0:when=2");
        let copy = cut(&sandbox, system, &images, &pristine, "unsynced", lie);
        let next = start_from(&sandbox, system, &copy, "unsynced");
        next.failed(80, "/disk/etc/tree/many/");
    }
);
