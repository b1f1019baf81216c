//! One random change to a sealed entry, and the way to take it back.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::{Case, Expected, Random};
use crate::harness::{CERTS, OTHER, Sandbox};

/// One change to a sealed entry, and the way to take it back.
pub(super) struct Tampering {
    pub(super) path: PathBuf,
    pub(super) attribute: &'static str,
    pub(super) undo: Undo,
}

type Undo = Box<dyn FnOnce(&Sandbox)>;

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
    let path = path.clone();
    let host = sandbox.path(&path);
    let (path_again, host_again) = (path.clone(), host.clone());
    let (attribute, undo): (&str, Undo) = match expected {
        Expected::Absent => {
            let parent = host.parent().unwrap();
            // A new parent would have to be removed again as well.
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
                    // A bit that changes neither the access of root nor that of the service.
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
                    // Out of the directory, in which an extra name would be drift as well.
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
