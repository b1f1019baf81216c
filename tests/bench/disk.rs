//! The time and memory of first starts whose work is the disk.
//!
//! Every run installs into a new directory, and all of them are removed at the end: a file system
//! that has just freed many inodes takes longer to find new ones (ext4 does not reuse them at
//! once), which would be measured otherwise.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::contender::{Contender, SEALINIT, compare, owned, with_baseline};
use crate::place::Place;

/// Compares first starts with `count` files of `bytes` with `cp -a` and `sync -f`, on a quiet disk
/// and beside a process that writes and syncs.
pub(crate) fn first_starts(
    place: &Place,
    service: &str,
    runs: usize,
    (count, bytes): (usize, usize),
) {
    let sources = place.path(&format!("disk-{count}"));
    fs::create_dir_all(&sources).expect("an own directory");
    for index in 0..count {
        let content: Vec<u8> = (0..bytes)
            .map(|byte| ((byte * 31 + index) % 251).to_le_bytes()[0])
            .collect();
        fs::write(format!("{sources}/f{index}"), content).expect("an own file");
    }
    sync(&sources);
    for busy in [false, true] {
        let target = format!("{sources}-out-{busy}");
        fs::create_dir(&target).expect("an own directory");
        let writer = busy.then(|| busy_writer(place, &target));
        let (from, to) = (sources.clone(), target.clone());
        let copy = move |run: &str| {
            let script = format!("cp -a {from} {to}/{run} && sync -f {to}/{run}");
            owned(&["sh", "-c", &script])
        };
        let (from, to, service) = (sources.clone(), target.clone(), service.to_owned());
        let start = move |run: &str| {
            let directory = format!(r#"{{"path": "{to}/{run}", "source": "{from}"}}"#);
            first_start(&format!("{to}/{run}-start"), &service, &directory)
        };
        let disk = if busy { "busy" } else { "quiet" };
        compare(
            &format!("first start, {count} files of {bytes} bytes, {disk} disk"),
            runs,
            vec![
                Some(Contender::fresh("cp -a and sync -f", copy)),
                Some(Contender::fresh("sealinit run, first start", start)),
            ],
        );
        if let Some(mut writer) = writer {
            let _ = writer.kill();
            let _ = writer.wait();
        }
        let _ = fs::remove_dir_all(target);
    }
    let _ = fs::remove_dir_all(sources);
}

/// Compares a recursive directory of `count` files with `chown -R`, and one in which nothing is to
/// be changed with `find`.
pub(crate) fn recursive(place: &Place, service: &str, runs: usize, count: usize) {
    let tree = place.path("recursive");
    make_tree(&tree, count, 1000);
    let start = |state: &'static str| {
        let (tree, service) = (tree.clone(), service.to_owned());
        let state = place.path(state);
        move |run: &str| {
            let directory = format!(
                r#"{{"path": "{tree}", "owner": 65534, "group": 65534, "recursive": true}}"#
            );
            first_start(&format!("{state}-{run}"), &service, &directory)
        }
    };
    let reset = {
        let tree = tree.clone();
        move || {
            let status = Command::new("chown").args(["-R", "0:0", &tree]).status();
            assert!(status.is_ok_and(|status| status.success()), "chown");
            sync(&tree);
        }
    };
    let chown = owned(&["chown", "-R", "65534:65534", &tree]);
    let script = format!("chown -R 65534:65534 {tree} && sync -f {tree}");
    compare(
        &format!("recursive, {count} files of another owner"),
        runs,
        vec![
            Some(Contender::new("chown -R", chown).before(reset.clone())),
            Some(
                Contender::new("chown -R and sync -f", owned(&["sh", "-c", &script]))
                    .before(reset.clone()),
            ),
            Some(Contender::fresh("sealinit run, first start", start("given")).before(reset)),
        ],
    );
    compare(
        &format!("recursive, {count} files that are right already"),
        runs,
        vec![
            // Reads names only.
            Some(Contender::new(
                "find -printf ''",
                owned(&["find", &tree, "-printf", ""]),
            )),
            // Looks at each file.
            Some(Contender::new(
                "find -printf '%U'",
                owned(&["find", &tree, "-printf", "%U"]),
            )),
            Some(Contender::fresh(
                "sealinit run, first start",
                start("right"),
            )),
        ],
    );
    let _ = fs::remove_dir_all(tree);
}

/// Prints the peak memory of a first start with a recursive directory of `count` files.
pub(crate) fn memory(place: &Place, service: &str, count: usize) {
    let tree = place.path("million");
    make_tree(&tree, count, count);
    println!("\npeak memory, {count} empty files in one recursive directory");
    let service = service.to_owned();
    let state = place.path("million-state");
    let directory =
        format!(r#"{{"path": "{tree}", "owner": 65534, "group": 65534, "recursive": true}}"#);
    let start = Contender::fresh("sealinit run, first start", move |run| {
        first_start(&format!("{state}-{run}"), &service, &directory)
    });
    for (index, contender) in with_baseline(vec![Some(start)]).into_iter().enumerate() {
        // Root's again, so that there is work for each.
        let _ = Command::new("chown").args(["-R", "0:0", &tree]).status();
        let command = contender.command(&index.to_string()).spawn();
        let peak = peak_memory(command.expect("it can be started"));
        println!("  {:<48} {peak:>10} kB", contender.name);
    }
    let _ = fs::remove_dir_all(tree);
}

/// Makes a manifest with one directory, and returns the command of a first start from it.
fn first_start(place: &str, service: &str, directory: &str) -> Vec<String> {
    let manifest = format!("{place}.json");
    let text = format!(
        r#"{{"version": 1, "service": {{"command": ["{service}"], "user": 65534, "group": 65534}}, "directories": [{directory}]}}"#
    );
    fs::write(&manifest, text).expect("an own file");
    owned(&[
        SEALINIT,
        "run",
        "--log-level",
        "error",
        "--manifest",
        &manifest,
        "--state-dir",
        &format!("{place}.state"),
    ])
}

/// Makes `count` empty files, `each` of them in one directory.
fn make_tree(tree: &str, count: usize, each: usize) {
    for index in 0..count {
        let directory = format!("{tree}/d{}", index / each);
        if index % each == 0 {
            fs::create_dir_all(&directory).expect("an own directory");
        }
        fs::File::create(format!("{directory}/f{index}")).expect("an own file");
    }
    sync(tree);
}

fn sync(path: &str) {
    let status = Command::new("sync").args(["-f", path]).status();
    assert!(status.is_ok_and(|status| status.success()), "sync -f");
}

/// Starts a process that writes 8 MiB and syncs them, again and again, as long as `target` exists.
fn busy_writer(place: &Place, target: &str) -> Child {
    let script = format!(
        "while [ -d {target} ]; do dd if=/dev/zero of={} bs=1M count=8 conv=fsync; done",
        place.path("junk")
    );
    Command::new("sh")
        .args(["-c", &script])
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell")
}

/// Returns the largest resident size of a process in kB, as long as it is sealinit.
fn peak_memory(mut process: Child) -> u64 {
    let status = format!("/proc/{}/status", process.id());
    let program = Path::new(&status).with_file_name("exe");
    let mut peak = 0;
    while process.try_wait().is_ok_and(|ended| ended.is_none()) {
        let is_sealinit =
            fs::read_link(&program).is_ok_and(|program| program.ends_with("sealinit"));
        if is_sealinit && let Ok(status) = fs::read_to_string(&status) {
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let size = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
            peak = peak.max(size.unwrap_or(0));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    peak
}
