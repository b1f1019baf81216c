//! The generator: a manifest, its sources, the image that it meets, and the expected result.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{Case, Expected, Plant, Random, VICTIM};
use crate::harness::{APP, CERTS, OTHER, Sandbox, hash};

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
    pub(super) fn new(seed: u64) -> Self {
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
            // A mutable file that is optional and missing may be anything.
            None if mutable => {}
            None => {
                self.plant(random, &dest);
                self.expected.insert(dest, Expected::Absent);
            }
        }
        Value::Object(entry)
    }

    /// Plants an object that an earlier container may have left at a file's destination.
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
            // The owner of a directory can replace the files in it.
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
        // The source directory must exist even if nothing else is in it.
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
            // Other names of the image stay, unless the entry is exact.
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

    /// Adds a reason for which the case must be refused.
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
                self.refusal = Some("in the image: chown root ");
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
                self.refusal = Some("in the image: chown root ");
            }
        }
    }

    /// The image with the sources and the planted objects.
    pub(super) fn sandbox(&self, original: &Sandbox) -> Sandbox {
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
                // Two entries may only share a parent.
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
                    fs::hard_link(sandbox.path(VICTIM), sandbox.path(path)).unwrap();
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
