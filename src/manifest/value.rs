//! The values of the native format, each read strictly.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::declaration::destination;
use crate::declaration::{Account, Argument, OnDrift, OnManifestChange, SignalTarget, names};
use crate::digest::Digest;
use crate::escape::escaped;
use crate::json::{FromJson, Value};
use crate::sys::capability::Capability;
use crate::sys::signal::Signal;

/// The manifest version that this program reads.
pub(super) const SUPPORTED_VERSION: u32 = 1;

/// Reads a word.
macro_rules! word {
    ($($name:ident)+) => { $(
        impl FromJson for $name {
            fn from_json(value: Value<'_, '_>) -> Option<Self> {
                value.string()?.parse().map_or_else(|why: String| value.problem(why), Some)
            }
        }
    )+ };
}

word!(OnDrift OnManifestChange SignalTarget);

/// The manifest's version: always the one that is supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version;

impl FromJson for Version {
    fn from_json(value: Value<'_, '_>) -> Option<Self> {
        match u32::from_json(value)? {
            SUPPORTED_VERSION => Some(Self),
            other => value.problem(format!(
                "version {other} is not known to this sealinit; supported: {SUPPORTED_VERSION}"
            )),
        }
    }
}

/// A manifest of which only the version is read.
pub(super) struct VersionAlone;

impl FromJson for VersionAlone {
    fn from_json(value: Value<'_, '_>) -> Option<Self> {
        let object = value.object()?;
        match object.raw("version").map(str::parse::<u32>) {
            Some(Ok(version)) if version != SUPPORTED_VERSION => {
                object.member::<Version>("version").map(|_| Self)
            }
            _ => Some(Self),
        }
    }
}

impl FromJson for Account {
    fn from_json(value: Value<'_, '_>) -> Option<Self> {
        if value.is_number() {
            return match u32::from_json(value)? {
                // (uid_t) -1 means "leave as it is" to chown(2) and setresuid(2).
                u32::MAX => {
                    value.problem("4294967295 is not an id: system calls take it for \"unchanged\"")
                }
                id => Some(Self::Id(id)),
            };
        }
        if !value.raw().starts_with('"') {
            return value.unexpected("a name (a string) or an id (a number)");
        }
        let name = value.string()?;
        if name.is_empty() {
            return value.problem("the name is empty; write a name, or an id as a number");
        }
        if name.bytes().all(|byte| byte.is_ascii_digit()) {
            return value.problem(format!(
                "\"{name}\" is a string of digits; write {name} without quotes for an id"
            ));
        }
        Some(Self::Name(name))
    }
}

/// Permission bits, written as octal digits in a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mode(pub(crate) u32);

impl FromJson for Mode {
    fn from_json(value: Value<'_, '_>) -> Option<Self> {
        let octal = |text: &str| {
            let octal = !text.is_empty()
                && text.len() <= 4
                && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
            octal.then(|| u32::from_str_radix(text, 8).ok()).flatten()
        };
        if value.is_number() {
            return match octal(value.raw()) {
                Some(mode) => value.problem(format!(
                    "a mode is a string of octal digits; write \"{mode:04o}\""
                )),
                None => value.problem("a mode is a string of octal digits, such as \"0640\""),
            };
        }
        let text = value.string()?;
        match octal(&text) {
            Some(mode) => Some(Self(mode)),
            None => value.problem(format!(
                "\"{}\" is not a mode; write one to four octal digits, such as \"0640\"",
                escaped(&text)
            )),
        }
    }
}

/// A path to install to: absolute, without `.`, `..`, or anything else that could be read in two
/// ways.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Destination(pub(crate) PathBuf);

impl FromJson for Destination {
    fn from_json(value: Value<'_, '_>) -> Option<Self> {
        let text = value.string()?;
        match destination::defect(&text) {
            None => Some(Self(text.into())),
            Some(why) => value.problem(format!("\"{}\" {why}", escaped(&text))),
        }
    }
}

/// The path of a source: relative to the manifest's directory, or absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourcePath(pub(crate) String);

impl FromJson for SourcePath {
    fn from_json(value: Value<'_, '_>) -> Option<Self> {
        let text = value.string()?;
        if text.is_empty() || text.contains('\0') {
            return value.problem("a source is a path: not empty, without a NUL character");
        }
        Some(Self(text))
    }
}

/// The directory in which the service starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WorkingDir(pub(crate) PathBuf);

impl FromJson for WorkingDir {
    fn from_json(value: Value<'_, '_>) -> Option<Self> {
        let text = value.string()?;
        if !text.starts_with('/') || text.contains('\0') {
            return value.problem(format!(
                "\"{}\" is not an absolute path; begin it with /",
                escaped(&text)
            ));
        }
        Some(Self(text.into()))
    }
}

impl FromJson for Argument {
    fn from_json(value: Value<'_, '_>) -> Option<Self> {
        let text = value.string()?;
        if text.contains('\0') {
            return value.problem("a NUL character cannot be passed to a program; remove it");
        }
        Some(Self(text))
    }
}

/// A program and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommandDocument(pub(crate) Vec<Argument>);

impl FromJson for CommandDocument {
    fn from_json(value: Value<'_, '_>) -> Option<Self> {
        if value.raw().starts_with('"') {
            return value.problem(
                "a command is an array of strings, such as [\"nginx\", \"-g\", \"daemon off;\"]",
            );
        }
        let words: Vec<Argument> = value.array()?;
        match words.first() {
            Some(Argument(program)) if !program.is_empty() => Some(Self(words)),
            _ => value.problem("the command names no program; begin it with one"),
        }
    }
}

/// A SHA-256 in hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sha256(pub(crate) Digest);

impl FromJson for Sha256 {
    fn from_json(value: Value<'_, '_>) -> Option<Self> {
        let text = value.string()?;
        match Digest::from_hex(&text) {
            Some(digest) => Some(Self(digest)),
            None => value.problem("expected 64 hexadecimal digits, as sha256sum prints them"),
        }
    }
}

/// An exit status, 0 to 255.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ExitStatus(pub(crate) u8);

impl FromJson for ExitStatus {
    fn from_json(value: Value<'_, '_>) -> Option<Self> {
        match value.raw().parse() {
            Ok(status) if value.is_number() => Some(Self(status)),
            _ => value.problem("expected an exit status from 0 to 255"),
        }
    }
}

/// Signals that are passed on as another, or with `None` not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RewriteDocument(pub(crate) BTreeMap<Signal, Option<Signal>>);

impl FromJson for RewriteDocument {
    fn from_json(value: Value<'_, '_>) -> Option<Self> {
        let words: BTreeMap<String, RewriteTo> = BTreeMap::from_json(value)?;
        let mut rewrite = BTreeMap::new();
        let mut sound = true;
        for (name, RewriteTo(to)) in words {
            match names::signal(&name) {
                Err(why) => {
                    sound = false;
                    value.report(why);
                }
                Ok(from) if rewrite.insert(from, to).is_some() => {
                    sound = false;
                    value.report(format!("{from} is rewritten twice; remove one"));
                }
                Ok(_) => {}
            }
        }
        sound.then_some(Self(rewrite))
    }
}

/// The signal that another one is forwarded as, or null for none.
pub(super) struct RewriteTo(Option<Signal>);

impl FromJson for RewriteTo {
    fn from_json(value: Value<'_, '_>) -> Option<Self> {
        if value.is_null() {
            Some(Self(None))
        } else {
            Signal::from_json(value).map(|signal| Self(Some(signal)))
        }
    }
}

impl FromJson for Signal {
    fn from_json(value: Value<'_, '_>) -> Option<Self> {
        names::signal(&value.string()?).map_or_else(|why| value.problem(why), Some)
    }
}

impl FromJson for Capability {
    fn from_json(value: Value<'_, '_>) -> Option<Self> {
        names::capability(&value.string()?).map_or_else(|why| value.problem(why), Some)
    }
}
