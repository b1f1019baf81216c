//! Manifests, sources and planted states that nobody thought of, and a second opinion on what must come of them.
//!
//! Each case is made from its number alone, and a failure names it: `GENERATED_SEED=17 cargo test --test it generated::` runs that one
//! again, `GENERATED_CASES=5000` runs more of them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::{env, thread};

use serde_json::{Map, Value, json};

use crate::crash::for_each;
use crate::sandbox::{APP, CERTS, OTHER, Sandbox, Tree, hash};

/// xorshift64*: as random as it has to be, and the same everywhere.
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

    /// A content: empty, short, longer than what is held in memory, not text.
    fn content(&mut self) -> Vec<u8> {
        let length = *self.pick(&[0, 1, 13, 4096, 70_000]);
        (0..length).map(|_| self.next().to_le_bytes()[3]).collect()
    }
}

/// What must be at a path.
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

/// A configuration, the image that it is for, and what must come of it.
struct Case {
    seed: u64,
    manifest: Value,
    /// By name beside the manifest.
    sources: BTreeMap<OsString, Vec<u8>>,
    /// In the image, before the first start: what to do to it.
    plants: Vec<(PathBuf, Plant)>,
    expected: BTreeMap<PathBuf, Expected>,
    /// Below these anything may change: directories to be emptied, given away or removed.
    free: BTreeSet<PathBuf>,
    /// Why it must be refused.
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

const FILE_MODES: [u32; 6] = [0o400, 0o440, 0o444, 0o550, 0o640, 0o755];
const DIRECTORY_MODES: [u32; 4] = [0o500, 0o550, 0o750, 0o755];
const OWNERS: [(&str, u32); 2] = [("root", 0), ("other", OTHER)];
const GROUPS: [(&str, u32); 4] = [
    ("root", 0),
    ("app", APP),
    ("other", OTHER),
    ("certs", CERTS),
];
/// For destinations, which are written in JSON.
const NAMES: [&str; 10] = [
    "a",
    "b b",
    "größe",
    "new\nline",
    "-rf",
    "a-b",
    "a.b",
    "..x",
    "\"quoted\\",
    "\u{1b}[31m",
];

impl Case {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut case = Self {
            seed,
            manifest: json!({"version": 1, "service": {"user": "app", "command": ["echo", "ran"]}}),
            sources: BTreeMap::new(),
            plants: Vec::new(),
            expected: BTreeMap::new(),
            free: BTreeSet::new(),
            refusal: None,
        };
        let counts = [
            random.below(5),
            random.below(3),
            random.below(3),
            random.below(3),
        ];
        case.manifest["files"] = (0..counts[0]).map(|n| case.file(&mut random, n)).collect();
        let copied: Vec<Value> = (0..counts[1])
            .map(|n| case.copied_directory(&mut random, n))
            .collect();
        let own: Vec<Value> = (0..counts[2])
            .map(|n| case.own_directory(&mut random, n))
            .collect();
        case.manifest["directories"] = copied.into_iter().chain(own).collect();
        case.manifest["absent"] = (0..counts[3])
            .map(|n| case.absent(&mut random, n))
            .collect();
        if random.one_in(12) && case.refusal.is_none() {
            case.spoil(&mut random);
        }
        case
    }

    /// Owner, group and mode: as members of an entry and as numbers.
    fn attributes(
        random: &mut Random,
        entry: &mut Map<String, Value>,
        modes: &[u32],
        default_mode: u32,
    ) -> (u32, u32, u32) {
        let (mut uid, mut gid, mut mode) = (0, APP, default_mode);
        if random.one_in(2) {
            let (name, id) = random.pick(&OWNERS);
            uid = *id;
            entry.insert(
                "owner".into(),
                if random.one_in(2) {
                    json!(name)
                } else {
                    json!(id)
                },
            );
        }
        if random.one_in(2) {
            let (name, id) = random.pick(&GROUPS);
            gid = *id;
            entry.insert(
                "group".into(),
                if random.one_in(2) {
                    json!(name)
                } else {
                    json!(id)
                },
            );
        }
        if random.one_in(2) {
            mode = *random.pick(modes);
            entry.insert("mode".into(), json!(format!("{mode:04o}")));
        }
        (uid, gid, mode)
    }

    fn file(&mut self, random: &mut Random, n: usize) -> Value {
        let parent = *random.pick(&["/etc/app", "/etc/app/below", "/opt/x/y/z", "/run/app"]);
        let dest = PathBuf::from(format!("{parent}/{}{n}", random.pick(&NAMES)));
        let mut entry = Map::new();
        entry.insert("dest".into(), json!(dest));
        let (mut uid, gid, mode) = Self::attributes(random, &mut entry, &FILE_MODES, 0o440);
        let content = match random.below(4) {
            0 => {
                let text = random.pick(&["", "inline\n", "größe"]).to_string();
                entry.insert("content".into(), json!(text));
                Some(text.into_bytes())
            }
            1 => {
                entry.insert("source".into(), json!(format!("missing{n}")));
                entry.insert("optional".into(), json!(true));
                None
            }
            _ => {
                let content = random.content();
                let name = format!("source{n}");
                entry.insert("source".into(), json!(name));
                if random.one_in(3) {
                    entry.insert("sha256".into(), json!(hash(&content)));
                }
                self.sources.insert(name.into(), content.clone());
                Some(content)
            }
        };
        let secret = random.one_in(4);
        entry.insert("secret".into(), json!(secret));
        let mutable = random.one_in(5);
        if mutable {
            entry.insert("mutable".into(), json!(true));
            entry.insert("owner".into(), json!("app"));
            uid = APP;
        }
        match content {
            Some(content) => {
                self.plant(random, &dest);
                let expected = Expected::File {
                    mode,
                    uid,
                    gid,
                    hash: hash(content),
                    mutable,
                    secret,
                };
                self.expected.insert(dest, expected);
            }
            // Nothing is said about a mutable file that is optional and missing.
            None if mutable => {}
            None => {
                self.plant(random, &dest);
                self.expected.insert(dest, Expected::Absent);
            }
        }
        Value::Object(entry)
    }

    /// What an earlier life may have left at a file's destination.
    fn plant(&mut self, random: &mut Random, dest: &Path) {
        let plant = match random.below(12) {
            0 | 1 => Plant::File {
                mode: *random.pick(&[0o600, 0o644, 0o777, 0o4755]),
                uid: *random.pick(&[0, APP, OTHER]),
            },
            2 => Plant::LinkToVictim,
            3 => Plant::HardLinkToVictim,
            4 => Plant::DanglingLink,
            5 => Plant::Fifo,
            _ => return,
        };
        self.plants.push((dest.to_owned(), plant));
    }

    fn copied_directory(&mut self, random: &mut Random, n: usize) -> Value {
        let path = PathBuf::from(format!("/etc/copied/{}{n}", random.pick(&NAMES)));
        let source = format!("tree{n}");
        let mut entry = Map::new();
        entry.insert("path".into(), json!(path));
        entry.insert("source".into(), json!(source));
        let (mut uid, gid, mode) = Self::attributes(random, &mut entry, &DIRECTORY_MODES, 0o550);
        if uid != 0 && random.one_in(4) {
            // Who owns a directory can replace what is in it, whoever that is.
            self.refusal = Some("root");
        } else if uid != 0 {
            entry.remove("owner");
            uid = 0;
        }
        let file_mode = *random.pick(&FILE_MODES);
        entry.insert("file_mode".into(), json!(format!("{file_mode:04o}")));
        let exact = random.one_in(2);
        entry.insert("exact".into(), json!(exact));
        let directory = Expected::Directory {
            mode,
            uid,
            gid,
            exact,
        };
        self.expected.insert(path.clone(), directory.clone());
        // An empty source directory has to be there, too.
        self.sources
            .insert(format!("{source}/first").into(), b"first".to_vec());
        let mut files = vec![(PathBuf::from("first"), b"first".to_vec())];
        for m in 0..random.below(6) {
            let mut below = PathBuf::new();
            for _ in 0..random.below(3) {
                below.push(format!("d{}", random.below(2)));
            }
            let names: [&[u8]; 5] = [b"f", b"with space", b"\xff\xfe", b"new\nline", b".hidden"];
            let mut name = random.pick(&names).to_vec();
            name.extend(m.to_string().bytes());
            below.push(OsStr::from_bytes(&name));
            let content = random.content();
            self.sources.insert(
                Path::new(&source).join(&below).into_os_string(),
                content.clone(),
            );
            files.push((below, content));
        }
        for (below, content) in files {
            let dest = path.join(&below);
            for parent in dest
                .ancestors()
                .skip(1)
                .take_while(|parent| *parent != path)
            {
                self.expected.insert(parent.to_owned(), directory.clone());
            }
            if random.one_in(4) {
                self.plant(random, &dest);
            }
            let expected = Expected::File {
                mode: file_mode,
                uid,
                gid,
                hash: hash(content),
                mutable: false,
                secret: false,
            };
            self.expected.insert(dest, expected);
        }
        match random.below(4) {
            // What the image has in it stays, unless the source is all that may be there.
            0 => {
                self.plants.push((path.join("extra"), Plant::FullDirectory));
                if exact {
                    self.free.insert(path.join("extra"));
                }
            }
            1 => self.plants.push((
                path.clone(),
                Plant::Directory {
                    mode: 0o700,
                    uid: *random.pick(&[0, APP]),
                },
            )),
            _ => {}
        }
        Value::Object(entry)
    }

    fn own_directory(&mut self, random: &mut Random, n: usize) -> Value {
        let path = PathBuf::from(format!("/var/own/{}{n}", random.pick(&NAMES)));
        let mode = *random.pick(&DIRECTORY_MODES);
        let recursive = random.one_in(3);
        self.expected.insert(
            path.clone(),
            Expected::Directory {
                mode,
                uid: APP,
                gid: APP,
                exact: false,
            },
        );
        if random.one_in(2) {
            self.plants.push((path.clone(), Plant::FullDirectory));
            if recursive {
                self.free.insert(path.clone());
            }
        }
        json!({"path": path, "mode": format!("{mode:04o}"), "recursive": recursive})
    }

    fn absent(&mut self, random: &mut Random, n: usize) -> Value {
        let path = PathBuf::from(format!("/etc/gone/{}{n}", random.pick(&NAMES)));
        match random.below(4) {
            0 => self.plants.push((path.clone(), Plant::FullDirectory)),
            1 => self.plants.push((path.clone(), Plant::Fifo)),
            _ => self.plant(random, &path),
        }
        self.free.insert(path.clone());
        self.expected.insert(path.clone(), Expected::Absent);
        json!(path)
    }

    /// Something for which it must be refused.
    fn spoil(&mut self, random: &mut Random) {
        let sealed = |expected: &Expected| {
            !matches!(
                expected,
                Expected::Absent | Expected::File { mutable: true, .. }
            )
        };
        let files: Vec<PathBuf> = (self.expected.iter())
            .filter(|(path, expected)| {
                matches!(expected, Expected::File { .. })
                    && sealed(expected)
                    && !path.starts_with("/etc/copied")
            })
            .map(|(path, _)| path.clone())
            .collect();
        let Some(path) = (!files.is_empty()).then(|| random.pick(&files).clone()) else {
            return;
        };
        self.plants.retain(|(planted, _)| *planted != path);
        match random.below(3) {
            0 => {
                self.plants.push((path, Plant::FullDirectory));
                self.refusal = Some("it is a directory");
            }
            1 => {
                self.plants.insert(
                    0,
                    (
                        path.parent().unwrap().to_owned(),
                        Plant::Directory {
                            mode: 0o755,
                            uid: APP,
                        },
                    ),
                );
                self.refusal = Some("chown it to root");
            }
            _ => {
                self.plants.insert(
                    0,
                    (
                        path.parent().unwrap().to_owned(),
                        Plant::Directory {
                            mode: 0o777,
                            uid: 0,
                        },
                    ),
                );
                self.refusal = Some("chown it to root");
            }
        }
    }

    /// The image with the sources and what was planted.
    fn sandbox(&self, original: &Sandbox) -> Sandbox {
        let sandbox = original.another();
        sandbox.manifest(&self.manifest).file(VICTIM, "victim");
        for (name, content) in &self.sources {
            sandbox.file(Path::new("/etc/sealinit").join(name), content);
        }
        for (path, plant) in &self.plants {
            if let Some(parent) = path.parent()
                && !sandbox.exists(parent)
            {
                sandbox.directory(parent, 0o755);
            }
            match *plant {
                Plant::Directory { mode, uid } if sandbox.exists(path) => {
                    sandbox.mode(path, mode).owner(path, uid, uid);
                }
                // Two entries may share a parent, but nothing else.
                _ if sandbox.exists(path) => {}
                Plant::File { mode, uid } => {
                    sandbox
                        .file(path, "the image's")
                        .owner(path, uid, uid)
                        .mode(path, mode);
                }
                Plant::LinkToVictim => {
                    sandbox.symlink(path, VICTIM);
                }
                Plant::HardLinkToVictim => {
                    fs::hard_link(sandbox.path(VICTIM), sandbox.path(path)).unwrap()
                }
                Plant::DanglingLink => {
                    sandbox.symlink(path, "/no/such/file");
                }
                Plant::Fifo => {
                    let made = std::process::Command::new("mkfifo")
                        .arg("--")
                        .arg(sandbox.path(path))
                        .status();
                    assert!(made.unwrap().success());
                }
                Plant::Directory { mode, uid } => {
                    sandbox.directory(path, mode).owner(path, uid, uid);
                }
                Plant::FullDirectory => {
                    sandbox
                        .file(path.join("sub/file"), "the image's")
                        .symlink(path.join("link"), VICTIM);
                }
            }
        }
        sandbox
    }
}

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

/// A name as it is printed.
fn shown(path: &Path) -> String {
    let mut shown = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '\'' || c == '"' {
                shown.push(c)
            } else {
                shown.extend(c.escape_debug())
            }
        }
        shown.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    // A value with a quote is quoted itself.
    shown.replace('"', "\\\"")
}

/// Files that an earlier container's service left where a mutable one is declared: data, which is kept.
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

/// What is on disk is what was declared, by an opinion that shares no line with the program's.
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

/// Nothing but the declared destinations, what is below them where that is meant, and missing parents was changed.
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

/// One change to a sealed entry, and how to take it back.
struct Tampering {
    path: PathBuf,
    attribute: &'static str,
    undo: Undo,
}

type Undo = Box<dyn FnOnce(&Sandbox)>;

fn tamper(random: &mut Random, case: &Case, sandbox: &Sandbox) -> Option<Tampering> {
    let sealed = |expected: &&Expected| !matches!(expected, Expected::File { mutable: true, .. });
    let entries: Vec<(&PathBuf, &Expected)> = case
        .expected
        .iter()
        .filter(|(_, expected)| sealed(expected))
        .collect();
    if entries.is_empty() {
        return None;
    }
    let (path, expected) = *random.pick(&entries);
    let path = path.clone();
    let host = sandbox.path(&path);
    let (path_again, host_again) = (path.clone(), host.clone());
    let (attribute, undo): (&str, Undo) = match expected {
        Expected::Absent => {
            let parent = host.parent().unwrap();
            // Otherwise it would have to be removed again as well.
            if !parent.exists() {
                return None;
            }
            fs::write(&host, "").unwrap();
            (
                "type",
                Box::new(move |_| fs::remove_file(host_again).unwrap()),
            )
        }
        Expected::Directory { exact: true, .. } if random.one_in(2) => {
            let extra = path.join("one name more");
            let extra_host = sandbox.path(&extra);
            if random.one_in(2) {
                fs::write(&extra_host, "").unwrap();
            } else {
                std::os::unix::fs::symlink("/", &extra_host).unwrap();
            }
            let undo = Box::new(move |_: &Sandbox| fs::remove_file(extra_host).unwrap());
            return Some(Tampering {
                path: extra,
                attribute: "extra",
                undo,
            });
        }
        Expected::File { mode, uid, gid, .. } | Expected::Directory { mode, uid, gid, .. } => {
            let (mode, uid, gid) = (*mode, *uid, *gid);
            let is_file = matches!(expected, Expected::File { .. });
            let moved = host.with_file_name("moved away");
            match random.below(if is_file { 6 } else { 4 }) {
                0 => {
                    // A bit that takes nothing from us and opens nothing to others.
                    let other = if mode & 0o001 == 0 {
                        mode | 0o001
                    } else {
                        mode & !0o001
                    };
                    fs::set_permissions(&host, fs::Permissions::from_mode(other)).unwrap();
                    let undo = move |sandbox: &Sandbox| {
                        sandbox.mode(&path_again, mode);
                    };
                    ("mode", Box::new(undo))
                }
                1 => {
                    let other = if uid == 0 { OTHER } else { 0 };
                    sandbox.owner(&path, other, gid).mode(&path, mode);
                    let undo = move |sandbox: &Sandbox| {
                        sandbox.owner(&path_again, uid, gid).mode(&path_again, mode);
                    };
                    ("owner", Box::new(undo))
                }
                2 => {
                    let other = if gid == CERTS { 0 } else { CERTS };
                    sandbox.owner(&path, uid, other).mode(&path, mode);
                    let undo = move |sandbox: &Sandbox| {
                        sandbox.owner(&path_again, uid, gid).mode(&path_again, mode);
                    };
                    ("group", Box::new(undo))
                }
                3 => {
                    // Out of the directory, in which a name too many would be drift, too.
                    let moved = sandbox.path("/root/moved away");
                    fs::rename(&host, &moved).unwrap();
                    let kind = random.below(3);
                    match kind {
                        0 => {}
                        1 => std::os::unix::fs::symlink("/root/moved away", &host).unwrap(),
                        _ if is_file => fs::create_dir(&host).unwrap(),
                        _ => fs::write(&host, "").unwrap(),
                    }
                    let undo = move |_: &Sandbox| {
                        match kind {
                            0 => {}
                            2 if is_file => fs::remove_dir(&host_again).unwrap(),
                            _ => fs::remove_file(&host_again).unwrap(),
                        }
                        fs::rename(moved, host_again).unwrap();
                    };
                    ("type", Box::new(undo))
                }
                _ => {
                    let _ = moved;
                    let original = fs::read(&host).unwrap();
                    let mut other = original.clone();
                    match (random.below(3), other.len()) {
                        (_, 0) | (0, _) => other.push(b'x'),
                        (1, length) => other.truncate(length - 1),
                        (_, length) => other[random.below(length)] ^= 1,
                    }
                    fs::write(&host, other).unwrap();
                    (
                        "content",
                        Box::new(move |_| fs::write(host_again, original).unwrap()),
                    )
                }
            }
        }
    };
    Some(Tampering {
        path,
        attribute,
        undo,
    })
}

/// Manifest and sources, by their digest.
type Digests = Mutex<BTreeMap<String, (Value, BTreeMap<OsString, Vec<u8>>)>>;

fn run(case: &Case, original: &Sandbox, digests: &Digests) {
    let sandbox = case.sandbox(original);
    let before = sandbox.tree();
    let data = data(case, &sandbox);
    let digest = sandbox
        .launch()
        .subcommand(["digest"])
        .start()
        .code(0)
        .stdout
        .trim()
        .to_owned();
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
        // By what the manifest says or by what is on the disk.
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

/// Plan, installation and verification agree with each other and with a second opinion; a change is always found, and named.
#[test]
fn what_is_declared_is_installed_and_verified_and_every_change_is_found() {
    let Some(original) = Sandbox::new() else {
        return;
    };
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

/// A generator that never makes what it is there for would pass.
#[test]
fn the_generator_makes_something_of_everything() {
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

/// The digest covers every byte, every name and every absence: the nearest neighbours of a configuration have others.
#[test]
fn the_digest_of_every_neighbour_is_another() {
    let Some(original) = Sandbox::new() else {
        return;
    };
    for_each(&seeds(40), |seed| {
        let _naming = Naming(*seed);
        let case = Case::new(*seed);
        let sandbox = case.sandbox(&original);
        let digest = || {
            sandbox
                .launch()
                .subcommand(["digest"])
                .start()
                .code(0)
                .stdout
        };
        let original = digest();
        for (name, content) in &case.sources {
            let path = Path::new("/etc/sealinit").join(name);
            let host = sandbox.path(&path);
            // A changed declared hash is another error; here only what the digest has to see.
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
