//! Entry points for the fuzz targets in `tests/fuzz`, compiled under `cargo fuzz` alone.
//!
//! Each reads foreign bytes, and asserts what must hold for any of them.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::accounts::{Accounts, Caller, Identities};
use crate::declaration::{DeclaredContent, DeclaredKind};
use crate::digest::Digest;
use crate::escape::escaped;
use crate::fs::root::Root;
use crate::manifest;
use crate::plan::temporary_name;
use crate::state::seal::Seal;
use crate::sys::capability::CapabilitySet;

/// The path of the manifest for all targets.
const MANIFEST: &str = "/etc/sealinit/manifest.json";

fn root() -> Caller {
    Caller {
        uid: 0,
        gid: 0,
        groups: Vec::new(),
        capabilities: CapabilitySet(u64::MAX),
    }
}

/// A directory of this process alone, in memory.
fn scratch(name: &str) -> PathBuf {
    let directory = PathBuf::from(format!(
        "/dev/shm/sealinit-fuzz-{}-{name}",
        std::process::id()
    ));
    fs::create_dir_all(&directory).expect("a directory in /dev/shm");
    directory
}

/// Asserts that a message is one line without control characters.
fn assert_printable(message: &str) {
    assert!(
        !message.is_empty() && !message.chars().any(char::is_control),
        "{message:?}"
    );
}

/// Any bytes as a manifest: a declaration that keeps the text, or problems that can be printed.
pub fn manifest(bytes: &[u8]) {
    match manifest::parse(Path::new(MANIFEST), bytes.to_vec()) {
        Ok(declaration) => {
            assert_eq!(
                declaration.origin.text().as_bytes(),
                bytes,
                "the text is kept as it is"
            );
            for entry in &declaration.entries {
                let dest = &entry.dest;
                assert!(dest.is_absolute() && dest.file_name().is_some(), "{dest:?}");
                if let DeclaredKind::File(file) = &entry.kind
                    && let DeclaredContent::Source(source) = &file.content
                {
                    assert!(source.path.is_absolute());
                }
            }
            // Without accounts only numbers can be resolved, and never to "unchanged".
            let accounts = Accounts::default();
            if let (Some(identities), errors) =
                Identities::resolve(&declaration, &accounts, &root())
                && errors.is_empty()
            {
                assert_ne!(identities.service.uid, u32::MAX);
                assert_ne!(identities.service.gid, u32::MAX);
                assert!(identities.service.uid != 0 || declaration.service.allow_root);
            }
        }
        Err(problems) => {
            assert!(!problems.is_empty(), "refused without a reason");
            problems
                .iter()
                .for_each(|problem| assert_printable(&problem.to_string()));
        }
    }
}

/// Any bytes as `/etc/passwd` and `/etc/group`, divided at the first NUL: a name has the ids of its
/// first valid line, or none.
pub fn accounts(bytes: &[u8]) {
    let directory = scratch("accounts");
    let (passwd, group) = bytes.split_at(
        bytes
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(bytes.len()),
    );
    fs::create_dir_all(directory.join("etc")).expect("etc");
    fs::write(directory.join("etc/passwd"), passwd).expect("passwd");
    fs::write(directory.join("etc/group"), group).expect("group");
    let tree = Root::open(&directory).expect("the directory is there");
    let accounts = Accounts::load(&tree).expect("regular files are read");
    let text = r#"{"version":1,"service":{"user":"app","group":"grp","allow_root":true}}"#;
    let declaration = manifest::parse(Path::new(MANIFEST), text.into()).expect("a valid manifest");
    let found = Identities::resolve(&declaration, &accounts, &root());
    // The same in other words.
    let id_of = |file: &[u8], name: &str, fields: usize, numbers: &[usize]| {
        String::from_utf8_lossy(file).lines().find_map(|line| {
            let parts: Vec<&str> = line.split(':').collect();
            let id = |index: usize| {
                let digits = parts[index].bytes().all(|byte| byte.is_ascii_digit());
                parts[index]
                    .parse::<u32>()
                    .ok()
                    .filter(|id| digits && *id < u32::MAX)
            };
            (parts.len() == fields
                && parts[0] == name
                && numbers.iter().all(|index| id(*index).is_some()))
            .then(|| id(2))?
        })
    };
    let expected = (
        id_of(passwd, "app", 7, &[2, 3]),
        id_of(group, "grp", 4, &[2]),
    );
    match (found, expected) {
        ((Some(found), errors), (Some(uid), Some(gid))) if errors.is_empty() => {
            assert_eq!((found.service.uid, found.service.gid), (uid, gid));
        }
        ((None, errors), (None, _) | (_, None)) if !errors.is_empty() => {
            errors
                .iter()
                .for_each(|error| assert_printable(&error.to_string()));
        }
        (found, expected) => panic!("{found:?}, but {expected:?}"),
    }
}

/// Any bytes as a seal, as they are and under a right checksum: a valid one can be written and read
/// again, and planned or refused.
pub fn seal(bytes: &[u8]) {
    let mut forged = format!("sealinit-seal-v1 {}\n", Digest::of(bytes)).into_bytes();
    forged.extend_from_slice(bytes);
    forged.push(b'\n');
    for bytes in [bytes, &forged] {
        match Seal::decode(bytes, Path::new(MANIFEST)) {
            Ok(seal) => {
                let encoded = seal.encode().expect("what was read can be written");
                assert_eq!(
                    Seal::decode(&encoded, Path::new(MANIFEST)).ok().as_ref(),
                    Some(&seal)
                );
                assert_eq!(
                    seal.digest,
                    seal.sources.digest(seal.declaration.origin.text())
                );
                assert!(
                    seal.plan().err().is_none_or(|errors| !errors.is_empty()),
                    "refused without a reason"
                );
            }
            Err(error) => assert_printable(&error.to_string()),
        }
    }
}

/// Any bytes as a path: as a destination, as the target of a link, as a name that is printed.
pub fn path(bytes: &[u8]) {
    let shown = escaped(OsStr::from_bytes(bytes)).to_string();
    assert!(bytes.is_empty() || !shown.is_empty());
    assert!(!shown.chars().any(char::is_control), "{shown:?}");
    let temporary = temporary_name(Path::new(OsStr::from_bytes(bytes)));
    assert!(temporary.len() < 255 && !temporary.as_bytes().contains(&b'/'));

    if let Ok(text) = std::str::from_utf8(bytes) {
        let document = serde_json::json!({"version": 1, "service": {"user": 1, "group": 1, "command": ["x"]}, "absent": [text]});
        let parsed = manifest::parse(Path::new(MANIFEST), document.to_string().into());
        // The same in other words.
        let fit = text.len() < 4096
            && text.strip_prefix('/').is_some_and(|below| {
                below.split('/').all(|name| {
                    !["", ".", ".."].contains(&name)
                        && name.len() < 256
                        && !name.contains('\0')
                        && !name.starts_with(".sealinit.")
                })
            });
        assert_eq!(parsed.is_ok(), fit, "{text:?}: {parsed:?}");
    }

    // A link that leads anywhere leads nowhere outside the root.
    let directory = scratch("path");
    let inside = directory.join("root");
    if !inside.exists() {
        fs::create_dir_all(inside.join("a/b")).expect("a directory");
        fs::write(inside.join("a/file"), "inside").expect("a file");
        fs::write(inside.join("file"), "inside").expect("a file");
        fs::write(directory.join("file"), "outside").expect("a file");
    }
    for link in [inside.join("link"), inside.join("a/link")] {
        let _ = fs::remove_file(&link);
        if std::os::unix::fs::symlink(OsStr::from_bytes(bytes), &link).is_err() {
            return;
        }
        let tree = Root::open(&inside).expect("the directory is there");
        let below = Path::new("/").join(link.strip_prefix(&inside).expect("it is below"));
        match tree.read(&below, 1024) {
            Ok(Some(content)) => assert_eq!(content, b"inside", "{bytes:?}"),
            Ok(None) => {}
            Err(error) => assert_printable(&error.to_string()),
        }
        match tree.dir(&below) {
            Ok(found) => assert!(found.path().is_absolute()),
            Err(error) => assert_printable(&error.to_string()),
        }
        if let Ok(Some(content)) = tree.read(&below.join("file"), 1024) {
            assert_eq!(content, b"inside", "{bytes:?}");
        }
    }
}
