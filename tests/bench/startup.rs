//! What a start costs beside the programs that sealinit replaces, in one run: `cargo bench`.
//!
//! Whole processes, interleaved (A B C A B C …), median of the wall time: on a machine that is shared, one run's medians and their ratios say
//! something and single times do not. Peers are Debian's packages; one that is not installed is said to be missing, not
//! skipped in silence. Needs root, as sealinit does for the service's credentials; all contenders have the capabilities that Docker gives
//! to a container.
#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a bench is there to be read"
)]

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount, umount};
use nix::sched::{CloneFlags, unshare};

const SEALINIT: &str = env!("CARGO_BIN_EXE_sealinit");

/// Counted runs of each start, after a tenth of that to warm up.
const STARTS: usize = 300;

/// Counted runs of what takes longer.
const LONG_RUNS: usize = 5;

/// Where a bench that runs as in a container finds its place.
const PLACE: &str = "BENCH_PLACE";

/// What Docker lets root do in a container.
const DOCKER: &str = "--bounding-set=-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,+net_bind_service,+net_raw,\
    +sys_chroot,+mknod,+audit_write,+setfcap";

/// Has this bench run once more, as in a container: with its capabilities, a tmpfs, and a place that belongs to root all the way up. What
/// only root outside of it may see comes afterwards.
fn in_a_container() -> ExitCode {
    let place = Place(format!("/var/lib/sealinit-bench-{}", std::process::id()).into());
    let memory = place.path("memory");
    fs::create_dir_all(&memory).expect("a directory in /var/lib");
    fs::set_permissions(&place.0, Permissions::from_mode(0o755)).expect("it is ours");
    // The mount goes with this process.
    unshare(CloneFlags::CLONE_NEWNS).expect("root may");
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("root may");
    mount(
        Some("tmpfs"),
        memory.as_str(),
        Some("tmpfs"),
        MsFlags::empty(),
        Some("mode=755"),
    )
    .expect("root may");
    let status = Command::new("setpriv")
        .args(["--inh-caps=-all", DOCKER])
        .arg(std::env::current_exe().expect("a bench that runs"))
        .args(std::env::args_os().skip(1))
        .env(PLACE, &place.0)
        .status();
    asleep(&place);
    umount(memory.as_str()).expect("nobody is there any more");
    let _ = fs::remove_dir_all(&place.0);
    let ended = status.expect("setpriv, of util-linux").success();
    if ended {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// A directory that belongs to root all the way up.
struct Place(PathBuf);

impl Place {
    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.0.display())
    }

    /// A manifest with `count` files of `bytes` each, installed below `dest`.
    fn manifest(&self, name: &str, count: usize, bytes: usize, command: &str) {
        let sources = self.0.join(name);
        fs::create_dir_all(&sources).expect("a directory of ours");
        let mut files = String::new();
        for index in 0..count {
            let separator = if index == 0 { "" } else { "," };
            let content: Vec<u8> = (0..bytes)
                .map(|byte| ((byte * 31 + index) % 251).to_le_bytes()[0])
                .collect();
            fs::write(sources.join(format!("f{index}")), content).expect("a file of ours");
            let dest = self.path(&format!("{name}-etc/f{index}"));
            write!(
                files,
                r#"{separator}{{"source": "f{index}", "dest": "{dest}"}}"#
            )
            .expect("a string");
        }
        let manifest = format!(
            r#"{{"version": 1, "service": {{"command": ["{command}"], "user": 65534, "group": 65534}}, "files": [{files}]}}"#
        );
        fs::write(sources.join("manifest.json"), manifest).expect("a file of ours");
    }

    fn run(&self, name: &str) -> Vec<String> {
        let manifest = self.path(&format!("{name}/manifest.json"));
        let state = self.path(&format!("{name}-state"));
        let words = [
            SEALINIT,
            "run",
            "--log-level",
            "error",
            "--manifest",
            &manifest,
            "--state-dir",
            &state,
        ];
        words.map(str::to_owned).to_vec()
    }

    fn forget(&self, name: &str) {
        let _ = fs::remove_dir_all(self.0.join(format!("{name}-etc")));
        let _ = fs::remove_dir_all(self.0.join(format!("{name}-state")));
    }
}

/// One thing to be timed.
struct Contender {
    name: &'static str,
    command: Vec<String>,
    /// Done before each run, not timed.
    before: Box<dyn Fn()>,
    times: Vec<Duration>,
}

impl Contender {
    fn new(name: &'static str, command: Vec<String>) -> Self {
        Self {
            name,
            command,
            before: Box::new(|| {}),
            times: Vec::new(),
        }
    }

    fn command(&self) -> Command {
        let (program, arguments) = self.command.split_first().expect("a program");
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    fn run(&mut self, counted: bool) {
        (self.before)();
        let mut command = self.command();
        let began = Instant::now();
        let status = command.status().expect("it can be started");
        let time = began.elapsed();
        assert!(status.success(), "{}: {status}", self.name);
        if counted {
            self.times.push(time);
        }
    }

    fn median(&self) -> Duration {
        let mut times = self.times.clone();
        times.sort();
        times[times.len() / 2]
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Runs all of them in turn and prints medians, and ratios to the first.
fn compare(title: &str, runs: usize, contenders: Vec<Option<Contender>>) {
    let mut contenders: Vec<Contender> = contenders.into_iter().flatten().collect();
    for round in 0..=(runs + runs / 10) {
        for contender in &mut contenders {
            contender.run(round > runs / 10);
        }
    }
    println!("\n{title} (median of {runs})");
    let base = contenders[0].median();
    for contender in &contenders {
        let median = contender.median();
        let ratio = median.as_secs_f64() / base.as_secs_f64();
        println!(
            "  {:<44} {:>10.0} us  {ratio:>6.2}",
            contender.name,
            median.as_secs_f64() * 1e6
        );
    }
}

/// A peer, if it is installed.
fn peer(name: &'static str, command: &[&str]) -> Option<Contender> {
    let found = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|directory| directory.join(command[0]).exists())
    });
    if !found {
        println!(
            "MISSING: {} (not installed; the comparison is without it)",
            command[0]
        );
        return None;
    }
    Some(Contender::new(
        name,
        command.iter().map(|word| (*word).to_owned()).collect(),
    ))
}

/// What an init costs while its service sleeps: private memory, of that anonymous, and how often it woke up in some seconds.
fn asleep(place: &Place) {
    const SECONDS: u64 = 3;
    let sleep = make(place, "sleep", "pause(); return 0;");
    place.manifest("asleep", 6, 2000, &sleep);
    let contenders = [
        peer("tini-static", &["tini-static", "-s", "--", &sleep]),
        Some(Contender::new(
            "sealinit init",
            owned(&[SEALINIT, "init", "--", &sleep]),
        )),
        Some(Contender::new(
            "sealinit run --supervise",
            [place.run("asleep"), owned(&["--supervise"])].concat(),
        )),
        peer("dumb-init", &["dumb-init", "--", &sleep]),
    ];
    println!(
        "\nan init while its service sleeps (kB of private memory, of that anonymous; wake-ups in {SECONDS} s)"
    );
    for contender in contenders.into_iter().flatten() {
        let mut init = contender.command().spawn().expect("it can be started");
        let process = |file: &str| {
            fs::read_to_string(format!("/proc/{}/{file}", init.id())).expect("it runs")
        };
        let sum = |text: &str, names: &[&str]| -> u64 {
            let fields = text.lines().filter_map(|line| line.split_once(':'));
            let values = fields
                .filter(|(name, _)| names.contains(name))
                .map(|(_, value)| value);
            values
                .filter_map(|value| value.split_whitespace().next()?.parse::<u64>().ok())
                .sum()
        };
        let wake_ups = || {
            sum(
                &process("status"),
                &["voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"],
            )
        };
        std::thread::sleep(Duration::from_millis(500));
        let before = wake_ups();
        std::thread::sleep(Duration::from_secs(SECONDS));
        let woken = wake_ups() - before;
        let memory = process("smaps_rollup");
        let (private, anonymous) = (
            sum(&memory, &["Private_Clean", "Private_Dirty"]),
            sum(&memory, &["Anonymous"]),
        );
        println!(
            "  {:<44} {private:>6} {anonymous:>6} {woken:>4}",
            contender.name
        );
        let _ = Command::new("kill").arg(init.id().to_string()).status();
        let _ = init.wait();
    }
}

/// A service of one line of C: static, so that its own start is as short as can be.
fn make(place: &Place, name: &str, body: &str) -> String {
    let (source, program) = (place.path(&format!("{name}.c")), place.path(name));
    fs::write(
        &source,
        format!("#include <unistd.h>\n#include <sys/wait.h>\nint main(void) {{ {body} }}\n"),
    )
    .expect("a file of ours");
    let compiled = ["musl-gcc", "cc"].into_iter().any(|compiler| {
        Command::new(compiler)
            .args(["-static", "-O2", "-o", &program, &source])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    });
    assert!(compiled, "no C compiler: install gcc or musl-tools");
    program
}

/// Whole starts.
fn starts(place: &Place, service: &str, runs: usize) {
    let waits =
        format!("if (fork() == 0) execl(\"{service}\", \"true\", (char *)0); return wait(0) < 0;");
    let forks = make(place, "forks", &waits);
    place.manifest("six", 6, 2000, service);
    Contender::new("first", place.run("six")).run(false);
    let first = |name: &'static str, manifest: &'static str| {
        let mut contender = Contender::new(name, place.run(manifest));
        let (etc, state) = (
            place.path(&format!("{manifest}-etc")),
            place.path(&format!("{manifest}-state")),
        );
        contender.before = Box::new(move || {
            let _ = fs::remove_dir_all(Path::new(&etc));
            let _ = fs::remove_dir_all(Path::new(&state));
        });
        contender
    };
    place.manifest("fresh", 6, 2000, service);
    place.manifest("memory/fresh", 6, 2000, service);
    compare(
        "a start, service = a static program that does nothing",
        runs,
        vec![
            peer("tini-static", &["tini-static", "-s", "--", service]),
            Some(Contender::new("the service alone", owned(&[service]))),
            Some(Contender::new(
                "a bare fork and wait around it",
                owned(&[&forks]),
            )),
            Some(Contender::new(
                "sealinit run, later start, 6 files",
                place.run("six"),
            )),
            Some(first(
                "sealinit run, first start, 6 files, tmpfs",
                "memory/fresh",
            )),
            Some(first("sealinit run, first start, 6 files, synced", "fresh")),
            Some(Contender::new(
                "sealinit run --supervise, later start",
                [place.run("six"), owned(&["--supervise"])].concat(),
            )),
            Some(Contender::new(
                "sealinit init",
                owned(&[SEALINIT, "init", "--", service]),
            )),
            Some(Contender::new(
                "sealinit init --user 65534:65534",
                owned(&[SEALINIT, "init", "--user", "65534:65534", "--", service]),
            )),
            peer("dumb-init", &["dumb-init", "--", service]),
            peer("gosu", &["gosu", "65534:65534", service]),
            peer(
                "setpriv",
                &[
                    "setpriv",
                    "--reuid",
                    "65534",
                    "--regid",
                    "65534",
                    "--clear-groups",
                    service,
                ],
            ),
        ],
    );
}

/// What only looks, beside what does nothing at all.
fn reports(place: &Place, service: &str, runs: usize) {
    place.manifest("sixty", 60, 2000, service);
    Contender::new("first", place.run("sixty")).run(false);
    let report = |command: &str, name: &str| {
        let manifest = place.path(&format!("{name}/manifest.json"));
        let state = place.path(&format!("{name}-state"));
        let state = owned(&["--state-dir", &state]);
        match command {
            "verify" => [owned(&[SEALINIT, "verify"]), state].concat(),
            command => [owned(&[SEALINIT, command, "--manifest", &manifest]), state].concat(),
        }
    };
    compare(
        "reports",
        runs,
        vec![
            Some(Contender::new(
                "sealinit --version",
                owned(&[SEALINIT, "--version"]),
            )),
            Some(Contender::new(
                "sealinit verify, 60 files",
                report("verify", "sixty"),
            )),
            Some(Contender::new(
                "sealinit check, 6 files",
                report("check", "six"),
            )),
            Some(Contender::new(
                "sealinit plan, 6 files",
                report("plan", "six"),
            )),
        ],
    );
}

/// `size` bytes, in one file and in many.
fn hashing(place: &Place, service: &str, runs: usize, size: u64) {
    place.manifest("large", 1, 0, service);
    let file = fs::File::create(place.path("large/f0")).expect("a file of ours");
    file.set_len(size).expect("room for a sparse file");
    let large = place.path("large/f0");
    place.manifest("spread", 64, 0, service);
    for index in 0..64 {
        let file =
            fs::File::create(place.path(&format!("spread/f{index}"))).expect("a file of ours");
        file.set_len(size / 64).expect("room for a sparse file");
    }
    let digest = |name: &str| {
        owned(&[
            SEALINIT,
            "digest",
            "--manifest",
            &place.path(&format!("{name}/manifest.json")),
        ])
    };
    compare(
        "hashing one large file, and as much in 64 files",
        runs,
        vec![
            peer(
                "openssl dgst -sha256",
                &["openssl", "dgst", "-sha256", &large],
            ),
            Some(Contender::new("sealinit digest", digest("large"))),
            Some(Contender::new(
                "sealinit digest, 64 files, one core",
                [owned(&["taskset", "-c", "0"]), digest("spread")].concat(),
            )),
            Some(Contender::new(
                "sealinit digest, 64 files, all cores",
                digest("spread"),
            )),
        ],
    );
}

/// `count` files of 20 kB.
fn verifying(place: &Place, service: &str, runs: usize, count: usize) {
    place.manifest("many", count, 20_000, service);
    Contender::new("first", place.run("many")).run(false);
    let config = format!(
        "database_in=file:{0}/aide.db\ndatabase_out=file:{0}/aide.db\n{0}/many-etc p+u+g+s+sha256+ftype\n",
        place.0.display()
    );
    fs::write(place.path("aide.conf"), config).expect("a file of ours");
    let aide = place.path("aide.conf");
    if let Some(mut init) = peer("aide --init", &["aide", "--config", &aide, "--init"]) {
        init.run(false);
    }
    compare(
        "verifying many files of 20 kB",
        runs,
        vec![
            peer("aide --check", &["aide", "--config", &aide, "--check"]),
            Some(Contender::new(
                "sealinit run, later start",
                place.run("many"),
            )),
        ],
    );
    place.forget("many");
}

fn main() -> ExitCode {
    if !nix::unistd::geteuid().is_root() {
        println!("SKIP: the bench needs root, to drop it");
        return ExitCode::SUCCESS;
    }
    let Some(place) = std::env::var_os(PLACE) else {
        return in_a_container();
    };
    let place = Place(place.into());
    let service = make(&place, "true", "return 0;");
    println!(
        "binary: {} bytes",
        fs::metadata(SEALINIT).map_or(0, |found| found.len())
    );
    // `cargo test --benches` only wants to know that it runs.
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let (runs, long_runs, size, count) = if is_bench {
        (STARTS, LONG_RUNS, 1 << 30, 5000)
    } else {
        (3, 1, 1 << 20, 50)
    };
    starts(&place, &service, runs);
    reports(&place, &service, runs);
    hashing(&place, &service, long_runs, size);
    verifying(&place, &service, long_runs, count);
    ExitCode::SUCCESS
}
