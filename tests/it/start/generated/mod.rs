//! Generated manifests, sources and planted states, and a second opinion on the result.
//!
//! Each case is made from its number alone, and a failure names it: `GENERATED_SEED=17 cargo test
//! --test it generated::` runs that one again, `GENERATED_CASES=5000` runs more of them.

mod case;
mod tampering;

use tampering::{Tampering, tamper};

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::{env, fs, thread};

use serde_json::{Value, json};

use crate::harness::{Sandbox, Tree, for_each, hash, sandbox_test};

/// xorshift64*: sufficiently random, and the same on every machine.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        // Neighbouring seeds begin alike.
        for _ in 0..8 {
            random.next();
        }
        random
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % limit
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// A content: empty, short, or too long to be held in memory; not text.
    fn content(&mut self) -> Vec<u8> {
        let length = *self.pick(&[0, 1, 13, 4096, 70_000]);
        (0..length).map(|_| self.next().to_le_bytes()[3]).collect()
    }
}

/// The expected object at a path.
#[derive(Clone, Debug, PartialEq)]
enum Expected {
    File {
        mode: u32,
        uid: u32,
        gid: u32,
        hash: String,
        mutable: bool,
        secret: bool,
    },
    Directory {
        mode: u32,
        uid: u32,
        gid: u32,
        exact: bool,
    },
    Absent,
}

/// A configuration, the image that it is for, and the expected result.
struct Case {
    seed: u64,
    manifest: Value,
    /// By name beside the manifest.
    sources: BTreeMap<OsString, Vec<u8>>,
    /// Objects that are in the image before the first start.
    plants: Vec<(PathBuf, Plant)>,
    expected: BTreeMap<PathBuf, Expected>,
    /// Below these anything may change: directories to be emptied, given away or removed.
    free: BTreeSet<PathBuf>,
    /// The reason for which it must be refused.
    refusal: Option<&'static str>,
}

#[derive(Clone, Copy, Debug)]
enum Plant {
    File { mode: u32, uid: u32 },
    LinkToVictim,
    HardLinkToVictim,
    DanglingLink,
    Fifo,
    Directory { mode: u32, uid: u32 },
    FullDirectory,
}

const VICTIM: &str = "/srv/victim";

/// Names the case when the test fails.
struct Naming(u64);

impl Drop for Naming {
    fn drop(&mut self) {
        if thread::panicking() {
            use std::io::Write as _;
            let _ = writeln!(
                std::io::stderr(),
                "the failed case is GENERATED_SEED={}",
                self.0
            );
        }
    }
}

fn number(name: &str) -> Option<u64> {
    env::var(name)
        .ok()
        .map(|value| value.parse().expect("a number"))
}

/// The numbers of the cases to be run.
fn seeds(count: u64) -> Vec<u64> {
    match number("GENERATED_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("GENERATED_CASES").unwrap_or(count)).collect(),
    }
}

/// A path as it is printed.
fn shown(path: &Path) -> String {
    let mut shown = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '\'' || c == '"' {
                shown.push(c);
            } else {
                shown.extend(c.escape_debug());
            }
        }
        shown.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    // A value with a quote is quoted itself.
    shown.replace('"', "\\\"")
}

/// Files of an earlier container's service at the place of a mutable file: data, which is kept.
fn data<'c>(case: &'c Case, sandbox: &Sandbox) -> BTreeMap<&'c PathBuf, String> {
    let is_data = |(path, expected): (&'c PathBuf, &Expected)| match expected {
        Expected::File {
            mutable: true, uid, ..
        } if *uid != 0 && sandbox.exists(path) => {
            let object = sandbox.object(path);
            let owned = object.starts_with("file ")
                && object.split(' ').nth(2)?.starts_with(&format!("{uid}:"));
            owned.then_some((path, object))
        }
        _ => None,
    };
    case.expected.iter().filter_map(is_data).collect()
}

/// Asserts that the disk is as declared; shares no code with the program.
fn assert_as_declared(case: &Case, data: &BTreeMap<&PathBuf, String>, sandbox: &Sandbox) {
    for (path, expected) in &case.expected {
        let expected = match expected {
            Expected::File { .. } if data.contains_key(path) => data[path].clone(),
            Expected::Absent => {
                assert!(!sandbox.exists(path), "{} is to be absent", shown(path));
                continue;
            }
            Expected::File {
                mode,
                uid,
                gid,
                hash,
                ..
            } => format!("file {mode:04o} {uid}:{gid} {hash}"),
            Expected::Directory { mode, uid, gid, .. } => {
                format!("directory {mode:04o} {uid}:{gid}")
            }
        };
        assert_eq!(sandbox.object(path), expected, "{}", shown(path));
    }
}

/// Asserts that only declared destinations, names below free directories and missing parents have
/// changed.
fn assert_nothing_else(case: &Case, before: &Tree, after: &Tree) {
    let paths: BTreeSet<&PathBuf> = before.0.keys().chain(after.0.keys()).collect();
    for path in paths {
        let declared = case.expected.contains_key(path) || path.starts_with("/var/lib/sealinit");
        if declared
            || case.free.iter().any(|free| path.starts_with(free))
            || before.0.get(path) == after.0.get(path)
        {
            continue;
        }
        let made_for_another = !before.0.contains_key(path)
            && case.expected.keys().any(|dest| dest.starts_with(path))
            && after
                .0
                .get(path)
                .is_some_and(|object| object.to_string() == "directory 0755 0:0");
        let (was, is) = (before.0.get(path), after.0.get(path));
        assert!(
            made_for_another,
            "{} was changed: {was:?} to {is:?}",
            shown(path)
        );
    }
}

/// Manifest and sources, by their digest.
type Digests = Mutex<BTreeMap<String, (Value, BTreeMap<OsString, Vec<u8>>)>>;

fn run(case: &Case, original: &Sandbox, digests: &Digests) {
    let sandbox = case.sandbox(original);
    let before = sandbox.tree();
    let data = data(case, &sandbox);
    let digest = sandbox.digest();
    let same = digests.lock().unwrap().insert(
        digest.clone(),
        (case.manifest.clone(), case.sources.clone()),
    );
    if let Some(same) = same {
        assert_eq!(
            same,
            (case.manifest.clone(), case.sources.clone()),
            "two states have the digest {digest}"
        );
    }
    if let Some(reason) = case.refusal {
        let start = sandbox.start();
        // Because of the manifest or because of the disk.
        let code = start.one_of(&[73, 78]);
        start.refused(code, reason);
        return;
    }

    let first = sandbox.start().success();
    assert_eq!(
        (first.state().as_str(), first.stdout.as_str()),
        ("sealed", "ran\n")
    );
    assert_eq!(first.summarised("digest"), digest);
    let after = sandbox.tree();
    assert_as_declared(case, &data, &sandbox);
    assert_nothing_else(case, &before, &after);
    assert_eq!(sandbox.read(VICTIM), "victim");
    assert_eq!(fs::metadata(sandbox.path(VICTIM)).unwrap().uid(), 0);

    let later = sandbox.start();
    later.untouched();
    assert_eq!(later.success().state(), "verified");

    let mut random = Random::new(case.seed ^ 0x5EA1);
    for _ in 0..3 {
        let Some(Tampering {
            path,
            attribute,
            undo,
        }) = tamper(&mut random, case, &sandbox)
        else {
            break;
        };
        let refused = sandbox.start().refused(80, &shown(&path));
        let line = |error: &str| {
            error.contains(&shown(&path)) && error.contains(&format!("attribute={attribute} "))
        };
        assert!(
            refused.errors().iter().any(|error| line(error)),
            "{attribute} of {}\n{refused:?}",
            shown(&path)
        );
        undo(&sandbox);
        assert_eq!(
            sandbox.start().success().state(),
            "verified",
            "{attribute} of {} was put back",
            shown(&path)
        );
    }
}

// Plan, installation and verification agree with each other and with a second opinion.
sandbox_test!(
    declared_entries_are_installed_and_verified_and_every_change_is_found,
    |original| {
        let digests = Mutex::default();
        let seeds = seeds(250);
        for_each(&seeds, |seed| {
            let _naming = Naming(*seed);
            run(&Case::new(*seed), &original, &digests);
        });
        let (inputs, digests) = (seeds.len(), digests.into_inner().unwrap().len());
        // Two generated cases can be the same, but hardly ever are.
        assert!(
            digests * 10 >= inputs * 9,
            "{inputs} cases have {digests} digests"
        );
    }
);

/// A generator that makes too little would make the other tests pass.
#[test]
fn the_generator_makes_objects_of_every_kind() {
    let cases: Vec<Case> = (0..250).map(Case::new).collect();
    let refused = cases.iter().filter(|case| case.refusal.is_some()).count();
    assert!(
        (5..60).contains(&refused),
        "{refused} cases are to be refused"
    );
    let count = |of: fn(&Expected) -> bool| {
        cases
            .iter()
            .flat_map(|case| case.expected.values())
            .filter(|e| of(e))
            .count()
    };
    assert!(count(|e| matches!(e, Expected::Absent)) > 50);
    assert!(count(|e| matches!(e, Expected::Directory { exact: true, .. })) > 50);
    assert!(count(|e| matches!(e, Expected::File { mutable: true, .. })) > 20);
    assert!(count(|e| matches!(e, Expected::File { secret: true, .. })) > 20);
    let plants: BTreeSet<String> = cases
        .iter()
        .flat_map(|case| &case.plants)
        .map(|(_, plant)| format!("{plant:?}"))
        .collect();
    assert!(plants.len() > 15, "{plants:?}");
}

// The digest covers every byte, every name and every absence.
sandbox_test!(
    every_change_of_a_configuration_changes_the_digest,
    |original| {
        for_each(&seeds(40), |seed| {
            let _naming = Naming(*seed);
            let case = Case::new(*seed);
            let sandbox = case.sandbox(&original);
            let digest = || sandbox.digest();
            let original = digest();
            for (name, content) in &case.sources {
                let path = Path::new("/etc/sealinit").join(name);
                let host = sandbox.path(&path);
                // A source with a declared hash would be an error instead.
                if !case.manifest.to_string().contains(&hash(content)) {
                    let mut changed = content.clone();
                    changed.push(b'x');
                    fs::write(&host, changed).unwrap();
                    assert_ne!(digest(), original, "a byte more in {name:?}");
                    fs::write(&host, content).unwrap();
                }
                if name.as_bytes().starts_with(b"tree") {
                    let renamed = host.with_file_name("renamed");
                    fs::rename(&host, &renamed).unwrap();
                    assert_ne!(digest(), original, "another name for {name:?}");
                    fs::rename(&renamed, &host).unwrap();
                }
                assert_eq!(
                    digest(),
                    original,
                    "nothing but the content of {name:?} counts"
                );
            }
            let mut manifest = case.manifest.clone();
            manifest["x-note"] = json!("");
            sandbox.manifest(&manifest);
            assert_ne!(digest(), original, "another manifest");
        });
    }
);
