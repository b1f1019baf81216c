//! One random change to a sealed entry, and the way to take it back.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::{Case, Expected, Random};
use crate::harness::{CERTS, OTHER, Sandbox};

/// One change to a sealed entry, and the way to take it back.
pub(super) struct Tampering {
    pub(super) path: PathBuf,
    pub(super) attribute: &'static str,
    pub(super) undo: Undo,
}

type Undo = Box<dyn FnOnce(&Sandbox)>;

/// Tampers with a random sealed entry, unless there is none or it cannot be tampered with.
pub(super) fn tamper(random: &mut Random, case: &Case, sandbox: &Sandbox) -> Option<Tampering> {
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
    match *expected {
        // A new parent would have to be removed again as well.
        Expected::Absent if !sandbox.path(path.parent().unwrap()).exists() => None,
        Expected::Absent => Some(appear(sandbox, path)),
        Expected::Directory { exact: true, .. } if random.one_in(2) => {
            Some(add_name(random, sandbox, path))
        }
        Expected::Directory { mode, uid, gid, .. } => Some(match random.below(4) {
            3 => replace(random, sandbox, path, false),
            which => change(which, sandbox, path, (mode, uid, gid)),
        }),
        Expected::File { mode, uid, gid, .. } => Some(match random.below(6) {
            3 => replace(random, sandbox, path, true),
            which @ 0..3 => change(which, sandbox, path, (mode, uid, gid)),
            _ => rewrite(random, sandbox, path),
        }),
    }
}

/// Makes a file where nothing may be.
fn appear(sandbox: &Sandbox, path: &Path) -> Tampering {
    let host = sandbox.path(path);
    fs::write(&host, "").unwrap();
    Tampering {
        path: path.to_owned(),
        attribute: "type",
        undo: Box::new(move |_| fs::remove_file(host).unwrap()),
    }
}

/// Adds a name to an exact directory.
fn add_name(random: &mut Random, sandbox: &Sandbox, directory: &Path) -> Tampering {
    let path = directory.join("one name more");
    let host = sandbox.path(&path);
    if random.one_in(2) {
        fs::write(&host, "").unwrap();
    } else {
        symlink("/", &host).unwrap();
    }
    Tampering {
        path,
        attribute: "extra",
        undo: Box::new(move |_| fs::remove_file(host).unwrap()),
    }
}

/// Changes the mode, the owner or the group.
fn change(
    which: usize,
    sandbox: &Sandbox,
    path: &Path,
    (mode, uid, gid): (u32, u32, u32),
) -> Tampering {
    let attribute = match which {
        0 => {
            // A bit that changes neither the access of root nor that of the service.
            sandbox.mode(path, mode ^ 0o001);
            "mode"
        }
        1 => {
            let other = if uid == 0 { OTHER } else { 0 };
            sandbox.owner(path, other, gid).mode(path, mode);
            "owner"
        }
        _ => {
            let other = if gid == CERTS { 0 } else { CERTS };
            sandbox.owner(path, uid, other).mode(path, mode);
            "group"
        }
    };
    let again = path.to_owned();
    Tampering {
        path: path.to_owned(),
        attribute,
        undo: Box::new(move |sandbox: &Sandbox| {
            sandbox.owner(&again, uid, gid).mode(&again, mode);
        }),
    }
}

/// Moves the entry away, and puts nothing, a link or an object of another type in its place.
fn replace(random: &mut Random, sandbox: &Sandbox, path: &Path, is_file: bool) -> Tampering {
    let host = sandbox.path(path);
    // Out of the directory, in which an extra name would be drift as well.
    let moved = sandbox.path("/root/moved away");
    fs::rename(&host, &moved).unwrap();
    let kind = random.below(3);
    match kind {
        0 => {}
        1 => symlink("/root/moved away", &host).unwrap(),
        _ if is_file => fs::create_dir(&host).unwrap(),
        _ => fs::write(&host, "").unwrap(),
    }
    let undo = move |_: &Sandbox| {
        match kind {
            0 => {}
            2 if is_file => fs::remove_dir(&host).unwrap(),
            _ => fs::remove_file(&host).unwrap(),
        }
        fs::rename(moved, host).unwrap();
    };
    Tampering {
        path: path.to_owned(),
        attribute: "type",
        undo: Box::new(undo),
    }
}

/// Changes the content of a file, and its length in two of three cases.
fn rewrite(random: &mut Random, sandbox: &Sandbox, path: &Path) -> Tampering {
    let host = sandbox.path(path);
    let original = fs::read(&host).unwrap();
    let mut other = original.clone();
    match (random.below(3), other.len()) {
        (_, 0) | (0, _) => other.push(b'x'),
        (1, length) => other.truncate(length - 1),
        (_, length) => other[random.below(length)] ^= 1,
    }
    fs::write(&host, other).unwrap();
    Tampering {
        path: path.to_owned(),
        attribute: "content",
        undo: Box::new(move |_| fs::write(host, original).unwrap()),
    }
}
