//! The operator's document: what it may say, and everything that can be found wrong with it without looking at the machine.
//!
//! Never resolves a name and never opens a source; that is for [`accounts`](crate::accounts) and
//! [`inventory`](crate::plan::sources).

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde_json::json;

use crate::digest::Digest;
use crate::error::Error;
use crate::escape::escaped;
use crate::fs::source;
use crate::json::schema::{Definitions, literal, sentence};
use crate::json::{self, FromJson, Located, Problem, Value, nearest, object};
use crate::sys::capability::Capability;
use crate::sys::signal::Signal;

/// The manifest version that this program reads.
const SUPPORTED_VERSION: u32 = 1;

/// Larger than any manifest written by hand or template; what is larger belongs into a source file.
const MAX_BYTES: u64 = 1024 * 1024;

/// Names of this form are our temporaries'.
pub(crate) const TEMPORARY_PREFIX: &str = ".sealinit.";

/// `PATH_MAX` and `NAME_MAX` of limits.h, without the terminating NUL.
pub(crate) const MAX_PATH: usize = 4095;
const MAX_NAME: usize = 255;

/// A valid manifest, and the bytes it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    path: PathBuf,
    text: String,
    pub(crate) document: ManifestDocument,
}

impl Manifest {
    /// Reads and validates the manifest at `path`.
    ///
    /// # Errors
    /// That it cannot be read, or everything that is wrong with it.
    pub(crate) fn load(path: &Path) -> Result<Self, Vec<Error>> {
        Self::parse(path, read(path).map_err(|error| vec![error])?)
    }

    /// Validates `bytes`; `path` is where they come from, for messages and relative sources.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(crate) fn parse(path: &Path, bytes: Vec<u8>) -> Result<Self, Vec<Error>> {
        let invalid = |problems: Vec<Problem>| {
            let path = path.to_owned();
            problems
                .into_iter()
                .map(|problem| Error::ManifestInvalid {
                    path: path.clone(),
                    problem,
                })
                .collect::<Vec<_>>()
        };
        let document = json::parse(&bytes).map_err(|problems| {
            // What another version means by its keys is not known, so nothing is said about them.
            let mut of_version = json::parse::<VersionAlone>(&bytes)
                .err()
                .unwrap_or_default();
            of_version.retain(|problem| problem.path == "$.version");
            invalid(if of_version.is_empty() {
                problems
            } else {
                of_version
            })
        })?;
        let text = String::from_utf8(bytes).map_err(|_| Vec::new())?;
        Ok(Self {
            path: path.to_owned(),
            text,
            document,
        })
    }

    /// The bytes as they are in the file.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Where a relative source is looked for: beside the manifest.
    pub(crate) fn locate(&self, source: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("/")).join(source)
    }

    /// The path it was read from.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A problem that only shows once the machine is known.
    pub(crate) fn problem(&self, offset: usize, at: String, message: String) -> Error {
        let problem = Problem::at(&self.text, offset, at, message);
        Error::ManifestInvalid {
            path: self.path.clone(),
            problem,
        }
    }
}

/// Reads the manifest's bytes and nothing more.
///
/// # Errors
/// That it is missing, is no regular file, is too large, or cannot be read.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let at_fault = |source| Error::ManifestRead {
        path: path.to_owned(),
        source,
    };
    let (mut file, size) = source::open(path).map_err(at_fault)?;
    if size > MAX_BYTES {
        return Err(Error::ManifestTooLarge {
            path: path.to_owned(),
            size,
            limit: MAX_BYTES,
        });
    }
    source::read_to_end(&mut file, size, MAX_BYTES).map_err(|error| at_fault(error.into()))
}

object! {
    /// What is to be in a container, and what is to run in it.
    pub(crate) struct ManifestDocument {
        /// The version of this format: 1.
        pub(crate) version: Version,
        /// What is run, and as whom.
        pub(crate) service: Located<ServiceDocument>,
        /// Files to install.
        pub(crate) files: Vec<FileDocument> = Vec::new(),
        /// Directories to copy, or to make for the service.
        pub(crate) directories: Vec<DirectoryDocument> = Vec::new(),
        /// What is removed at the first start, with all that is in it, and must stay away.
        pub(crate) absent: Vec<Located<Destination>> = Vec::new(),
        /// Commands that must succeed, as the service and without a shell, before the configuration is sealed.
        pub(crate) check: Vec<CheckDocument> = Vec::new(),
        /// What a later start does when the disk differs from the seal.
        pub(crate) on_drift: OnDrift = OnDrift::Refuse,
        /// What a later start does when the mounted manifest is not the sealed one.
        pub(crate) on_manifest_change: OnManifestChange = OnManifestChange::Keep,
    } then ManifestDocument::validate
}

object! {
    /// What is run, and as whom.
    pub(crate) struct ServiceDocument {
        /// Program and arguments; no shell. A command after -- takes its place.
        pub(crate) command: Option<CommandDocument>,
        /// The service's uid. Required where sealinit is started as root.
        pub(crate) user: Option<Located<Account>>,
        /// The service's gid. Default: the primary group of the user.
        pub(crate) group: Option<Account>,
        /// These and the primary group, and no others.
        pub(crate) supplementary_groups: Vec<Account> = Vec::new(),
        /// Variables, added to what the container was given.
        pub(crate) env: BTreeMap<String, Argument> = BTreeMap::new(),
        /// The directory that it starts in. Default: as sealinit was started.
        pub(crate) working_dir: Option<WorkingDir>,
        /// Its umask. Default: as sealinit was started.
        pub(crate) umask: Option<Mode>,
        /// All that it has, as ambient capabilities.
        pub(crate) capabilities: Vec<Capability> = Vec::new(),
        /// False only for a service that needs a set-id program.
        pub(crate) no_new_privileges: bool = true,
        /// Lets it run as uid 0; then nothing can be locked against it.
        pub(crate) allow_root: bool = false,
        /// Whether sealinit stays as PID 1, passes signals on and reaps.
        pub(crate) supervise: bool = false,
        /// How a supervised service is signalled.
        pub(crate) signals: Option<SignalsDocument>,
        /// How long what a supervised service leaves behind may take to end. Default: 8.
        pub(crate) stop_grace_seconds: Option<u32>,
        /// Exit codes of a supervised service that count as 0.
        pub(crate) expected_exit: Option<Vec<ExitStatus>>,
    } then ServiceDocument::validate, like ServiceDocument::rules
}

object! {
    /// How a supervised service is signalled.
    pub(crate) struct SignalsDocument {
        /// Who gets a signal.
        pub(crate) target: SignalTarget = SignalTarget::Child,
        /// Signals that are passed on as others, or with null not at all.
        pub(crate) rewrite: Rewrite = Rewrite::default(),
    }
}

object! {
    /// One file: its content from a source or from the manifest itself, and how it is locked.
    pub(crate) struct FileDocument {
        /// Where the content is: beside the manifest, or absolute.
        pub(crate) source: Option<SourcePath>,
        /// The content itself.
        pub(crate) content: Option<String>,
        /// Where it is installed.
        pub(crate) dest: Located<Destination>,
        /// Default: root.
        pub(crate) owner: Option<Account>,
        /// Default: the service's group.
        pub(crate) group: Option<Account>,
        /// Octal. Default: 0440.
        pub(crate) mode: Option<Located<Mode>>,
        /// Whether the source may be missing; then what is there is removed.
        pub(crate) optional: bool = false,
        /// The hash that the source must have.
        pub(crate) sha256: Option<Sha256>,
        /// Whether neither content nor hash is ever printed.
        pub(crate) secret: bool = false,
        /// Installed once, and then the service's own: not verified.
        pub(crate) mutable: bool = false,
    } then FileDocument::validate, like FileDocument::rules
}

object! {
    /// One directory: a copy of a source, or a place for the service to write.
    pub(crate) struct DirectoryDocument {
        /// Where it is.
        pub(crate) path: Located<Destination>,
        /// What is copied, with all that is below it: beside the manifest, or absolute.
        pub(crate) source: Option<SourcePath>,
        /// Default: root with a source, the service without.
        pub(crate) owner: Option<Account>,
        /// Default: the service's group.
        pub(crate) group: Option<Account>,
        /// Octal. Default: 0550 with a source, 0750 without.
        pub(crate) mode: Option<Located<Mode>>,
        /// Octal, of the files copied. Default: 0440.
        pub(crate) file_mode: Option<Located<Mode>>,
        /// Whether other names in it are removed at the first start, and are drift later.
        pub(crate) exact: bool = false,
        /// Whether all that is below is given to owner and group.
        pub(crate) recursive: bool = false,
    } then DirectoryDocument::validate, like DirectoryDocument::rules
}

object! {
    /// A command of the service's own that must succeed before the configuration is sealed.
    pub(crate) struct CheckDocument {
        /// Program and arguments; no shell.
        pub(crate) command: CommandDocument,
        /// When it is killed.
        pub(crate) timeout_seconds: u32 = 10,
    } then CheckDocument::validate, like CheckDocument::rules
}

/// Declares an enum of words, with the value that each stands for.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $( $(#[doc = $word_doc:literal])* $word:literal => $variant:ident ),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum $name { $( $(#[doc = $word_doc])* $variant ),* }

        impl FromStr for $name {
            type Err = String;

            fn from_str(word: &str) -> Result<Self, String> {
                match word {
                    $( $word => Ok(Self::$variant), )*
                    other => Err(unknown_word(other, &[$($word),*])),
                }
            }
        }

        impl FromJson for $name {
            fn from_json(value: Value<'_, '_>) -> Option<Self> {
                value.string()?.parse().map_or_else(|why: String| value.problem(why), Some)
            }

            fn schema(_: &mut Definitions) -> serde_json::Value {
                json!({"oneOf": [
                    $( {"const": $word, "description": sentence(concat!($($word_doc, "\n"),*))} ),*
                ]})
            }

            fn shown(&self) -> Option<serde_json::Value> {
                match self {
                    $( Self::$variant => Some($word.into()), )*
                }
            }
        }
    };
}

fn unknown_word(word: &str, known: &[&str]) -> String {
    let word_shown = escaped(word);
    match nearest(word, known) {
        Some(near) => format!("unknown value \"{word_shown}\"; did you mean \"{near}\"?"),
        None => format!(
            "unknown value \"{word_shown}\"; known here: {}",
            known.join(", ")
        ),
    }
}

words! {
    /// What a later start does when the disk differs from the seal.
    OnDrift {
        /// Does not run the service.
        "refuse" => Refuse,
        /// Runs it and says so.
        "warn" => Warn,
        /// Puts the sealed content back where the source still has it.
        "restore" => Restore,
    }
}

words! {
    /// What a later start does when the mounted manifest is not the sealed one.
    OnManifestChange {
        /// Runs what was sealed and says so.
        "keep" => Keep,
        /// Does not run the service.
        "refuse" => Refuse,
    }
}

words! {
    /// Who gets a signal that the init received.
    SignalTarget {
        /// The service's main process.
        "child" => Child,
        /// Its whole process group.
        "group" => Group,
    }
}

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

    fn schema(_: &mut Definitions) -> serde_json::Value {
        json!({"const": SUPPORTED_VERSION})
    }
}

/// A manifest of which nothing is looked at but whether its version is another one.
struct VersionAlone;

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

    fn schema(_: &mut Definitions) -> serde_json::Value {
        literal!({"type": "object"})
    }
}

/// A user or group: a JSON string is a name, a number is an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Account {
    Name(String),
    Id(u32),
}

impl FromJson for Account {
    fn from_json(value: Value<'_, '_>) -> Option<Self> {
        if value.is_number() {
            return match u32::from_json(value)? {
                // (uid_t) -1 means "leave as it is" to chown(2) and setresuid(2).
                u32::MAX => {
                    value.problem("4294967295 is no id: system calls take it for \"unchanged\"")
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

    fn schema(_: &mut Definitions) -> serde_json::Value {
        literal!({"anyOf": [
            {"description": "a name", "type": "string", "pattern": "[^0-9]"},
            {"description": "an id", "type": "integer", "minimum": 0, "maximum": 4294967294}
        ], "examples": ["nginx", 101]})
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
                "\"{}\" is no mode; write one to four octal digits, such as \"0640\"",
                escaped(&text)
            )),
        }
    }

    fn schema(_: &mut Definitions) -> serde_json::Value {
        literal!({"type": "string", "pattern": "^[0-7]{1,4}$", "examples": ["0440", "0750"]})
    }
}

/// Where something is installed: absolute, without `.`, `..`, or anything else that could be read in two ways.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Destination(pub(crate) PathBuf);

impl FromJson for Destination {
    fn from_json(value: Value<'_, '_>) -> Option<Self> {
        let text = value.string()?;
        match unfit_destination(&text) {
            None => Some(Self(text.into())),
            Some(why) => value.problem(format!("\"{}\" {why}", escaped(&text))),
        }
    }

    fn schema(_: &mut Definitions) -> serde_json::Value {
        json!({
            "type": "string",
            "pattern": format!("^(/(?!\\.\\.?(/|$)|{})[^/\\u0000]{{1,{MAX_NAME}}})+$", TEMPORARY_PREFIX.replace('.', "\\.")),
            "maxLength": MAX_PATH,
            "examples": ["/etc/nginx/nginx.conf"]
        })
    }
}

fn unfit_destination(text: &str) -> Option<String> {
    let Some(relative) = text.strip_prefix('/') else {
        return Some("is not absolute; begin it with /".into());
    };
    if relative.is_empty() {
        return Some("is the root directory; name something in it".into());
    }
    if text.contains('\0') {
        return Some("holds a NUL character; remove it".into());
    }
    if text.len() > MAX_PATH {
        return Some(format!("is longer than {MAX_PATH} bytes; shorten it"));
    }
    relative.split('/').find_map(|name| match name {
        "" => Some("has an empty component; write each / once and none at the end".into()),
        "." | ".." => Some(format!("contains \"{name}\"; write the path without it")),
        _ if name.len() > MAX_NAME => Some(format!(
            "has a name longer than {MAX_NAME} bytes; shorten it"
        )),
        _ if name.starts_with(TEMPORARY_PREFIX) => Some(format!(
            "uses the prefix {TEMPORARY_PREFIX} of sealinit's temporary files; choose another name"
        )),
        _ => None,
    })
}

/// Where something is read from: relative to the manifest's directory, or absolute.
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

    fn schema(_: &mut Definitions) -> serde_json::Value {
        literal!({"type": "string", "pattern": "^[^\\u0000]+$", "examples": ["nginx.conf", "/run/secrets/key.pem"]})
    }
}

/// The directory that the service starts in.
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

    fn schema(_: &mut Definitions) -> serde_json::Value {
        literal!({"type": "string", "pattern": "^/[^\\u0000]*$", "examples": ["/srv"]})
    }
}

/// A string that execve(2) can pass on: without a NUL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Argument(pub(crate) String);

impl FromJson for Argument {
    fn from_json(value: Value<'_, '_>) -> Option<Self> {
        let text = value.string()?;
        if text.contains('\0') {
            return value.problem("a NUL character cannot be passed to a program; remove it");
        }
        Some(Self(text))
    }

    fn schema(_: &mut Definitions) -> serde_json::Value {
        literal!({"type": "string", "pattern": "^[^\\u0000]*$"})
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

    fn schema(definitions: &mut Definitions) -> serde_json::Value {
        let word = Argument::schema(definitions);
        json!({"type": "array", "minItems": 1, "prefixItems": [{"minLength": 1}], "items": word, "examples": [["nginx", "-t"]]})
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

    fn schema(_: &mut Definitions) -> serde_json::Value {
        literal!({"type": "string", "pattern": "^[0-9a-fA-F]{64}$"})
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

    fn schema(_: &mut Definitions) -> serde_json::Value {
        literal!({"type": "integer", "minimum": 0, "maximum": 255})
    }
}

/// Which signal is passed on as which; `None` is not passed on at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rewrite(pub(crate) BTreeMap<Signal, Option<Signal>>);

impl FromJson for Rewrite {
    fn from_json(value: Value<'_, '_>) -> Option<Self> {
        let words: BTreeMap<String, RewriteTo> = BTreeMap::from_json(value)?;
        let mut rewrite = BTreeMap::new();
        let mut sound = true;
        for (name, RewriteTo(to)) in words {
            match Signal::parse(&name) {
                None => {
                    sound = false;
                    value.report(crate::sys::signal::no_such_signal(&name));
                }
                Some(from) if rewrite.insert(from, to).is_some() => {
                    sound = false;
                    value.report(format!("{from} is rewritten twice; remove one"));
                }
                Some(_) => {}
            }
        }
        sound.then_some(Self(rewrite))
    }

    fn schema(definitions: &mut Definitions) -> serde_json::Value {
        let signal = Signal::schema(definitions);
        let to = RewriteTo::schema(definitions);
        json!({
            "type": "object",
            "propertyNames": signal,
            "additionalProperties": to,
            "examples": [{"TERM": "QUIT", "HUP": null}]
        })
    }
}

/// What a signal is rewritten to: a name, or null for nothing.
struct RewriteTo(Option<Signal>);

impl FromJson for RewriteTo {
    fn from_json(value: Value<'_, '_>) -> Option<Self> {
        if value.is_null() {
            Some(Self(None))
        } else {
            Signal::from_json(value).map(|signal| Self(Some(signal)))
        }
    }

    fn schema(definitions: &mut Definitions) -> serde_json::Value {
        json!({"anyOf": [Signal::schema(definitions), {"type": "null"}]})
    }
}

/// Mode bits that a sealed entry may not have, each with its name.
const REFUSED_BITS: [(u32, &str); 4] = [
    (0o4000, "the set-user-ID bit"),
    (0o2000, "the set-group-ID bit"),
    (0o1000, "the sticky bit"),
    (0o0002, "write permission for everyone"),
];

/// Reports bits in `mode` that a sealed entry may not have.
fn check_mode(value: &Value<'_, '_>, key: &str, mode: Option<Located<Mode>>) {
    let Some(Located {
        value: Mode(mode),
        offset,
    }) = mode
    else {
        return;
    };
    for (bit, name) in REFUSED_BITS {
        if mode & bit != 0 {
            let fit = mode & !0o7002;
            value.report_in(
                key,
                offset,
                format!("mode {mode:04o} has {name}; write \"{fit:04o}\""),
            );
        }
    }
}

/// Modes that a sealed entry may have: neither set-id nor sticky, and not writable for everyone.
const LOCKED_MODE: &str = "^0?[0-7]{0,2}[0145]$";

/// A schema that says: where `key` is true, `then`.
fn where_true(key: &str, then: &serde_json::Value) -> serde_json::Value {
    json!({"if": {"properties": {key: {"const": true}}, "required": [key]}, "then": then})
}

impl FileDocument {
    fn rules() -> serde_json::Value {
        json!({
            "examples": [
                {"source": "tls/key.pem", "dest": "/etc/nginx/tls/key.pem", "secret": true},
                {"content": "server_tokens off;\n", "dest": "/etc/nginx/conf.d/tokens.conf"}
            ],
            "oneOf": [{"required": ["source"]}, {"required": ["content"]}],
            "dependentRequired": {"sha256": ["source"]},
            "allOf": [
                where_true("optional", &json!({"required": ["source"]})),
                {"properties": {"mode": {"pattern": LOCKED_MODE}}}
            ]
        })
    }

    fn validate(&self, value: &Value<'_, '_>) {
        match (&self.source, &self.content) {
            (Some(_), Some(_)) => value.report("has both source and content; keep one"),
            (None, None) => value.report("has neither source nor content; add one"),
            (None, Some(_)) if self.optional => {
                value.report("is optional but has its content here; remove optional");
            }
            (None, Some(_)) if self.sha256.is_some() => {
                value.report("sha256 is for a source, and the content is here; remove sha256");
            }
            _ => {}
        }
        check_mode(value, "mode", self.mode);
    }
}

impl DirectoryDocument {
    fn rules() -> serde_json::Value {
        json!({
            "examples": [
                {"path": "/srv/www", "source": "html", "exact": true},
                {"path": "/var/cache/nginx", "owner": "nginx", "mode": "0750"}
            ],
            "dependentRequired": {"file_mode": ["source"]},
            "allOf": [
                where_true("exact", &json!({"required": ["source"]})),
                where_true("recursive", &json!({"not": {"required": ["source"]}})),
                {"properties": {"mode": {"pattern": LOCKED_MODE}, "file_mode": {"pattern": LOCKED_MODE}}}
            ]
        })
    }

    fn validate(&self, value: &Value<'_, '_>) {
        if self.source.is_none() {
            for (given, key) in [
                (self.exact, "exact"),
                (self.file_mode.is_some(), "file_mode"),
            ] {
                if given {
                    value.report(format!("{key} needs a source; add one or remove {key}"));
                }
            }
        } else if self.recursive {
            value.report("recursive is for a directory without a source; remove one of the two");
        }
        check_mode(value, "mode", self.mode);
        check_mode(value, "file_mode", self.file_mode);
    }
}

impl CheckDocument {
    fn rules() -> serde_json::Value {
        literal!({
            "examples": [{"command": ["nginx", "-t"], "timeout_seconds": 10}],
            "allOf": [{"properties": {"timeout_seconds": {"minimum": 1}}}]
        })
    }

    fn validate(&self, value: &Value<'_, '_>) {
        if self.timeout_seconds == 0 {
            value.report("timeout_seconds is 0, in which nothing can succeed; write 1 or more");
        }
    }
}

impl ServiceDocument {
    fn rules() -> serde_json::Value {
        let supervised =
            literal!({"properties": {"supervise": {"const": true}}, "required": ["supervise"]});
        json!({
            "dependentSchemas": {
                "signals": supervised, "stop_grace_seconds": supervised, "expected_exit": supervised
            },
            "allOf": [{"properties": {
                "umask": {"pattern": "^0?[0-7]{1,3}$"},
                "env": {"propertyNames": {"pattern": "^(?!SEALINIT_)[^=\\u0000]+$"}}
            }}]
        })
    }

    fn validate(&self, value: &Value<'_, '_>) {
        for (given, key) in [
            (self.signals.is_some(), "signals"),
            (self.stop_grace_seconds.is_some(), "stop_grace_seconds"),
            (self.expected_exit.is_some(), "expected_exit"),
        ] {
            if given && !self.supervise {
                value.report(format!(
                    "{key} needs \"supervise\": true; add it or remove {key}"
                ));
            }
        }
        if let Some(Mode(umask)) = self.umask
            && umask > 0o777
        {
            value.report(format!(
                "umask {umask:04o} has bits other than permissions; write \"0027\" or the like"
            ));
        }
        for name in self.env.keys() {
            let shown = escaped(name);
            if name.is_empty() || name.contains(['=', '\0']) {
                value.report(format!(
                    "env: \"{shown}\" is no variable name; it is empty or holds = or NUL"
                ));
            } else if name.starts_with("SEALINIT_") {
                value.report(format!(
                    "env: {shown} never reaches the service; choose a name without SEALINIT_"
                ));
            }
        }
    }
}

impl ManifestDocument {
    /// Each destination once, and nothing below what is not a directory.
    fn validate(&self, value: &Value<'_, '_>) {
        let files = self.files.iter().map(|file| (&file.dest, false));
        let directories = self
            .directories
            .iter()
            .map(|directory| (&directory.path, true));
        let absent = self.absent.iter().map(|path| (path, false));
        let places = (0..)
            .map(|i| format!("$.files[{i}].dest"))
            .take(self.files.len());
        let places = places.chain(
            (0..)
                .map(|i| format!("$.directories[{i}].path"))
                .take(self.directories.len()),
        );
        let places = places.chain(
            (0..)
                .map(|i| format!("$.absent[{i}]"))
                .take(self.absent.len()),
        );
        let declared: Vec<_> = files.chain(directories).chain(absent).zip(places).collect();

        // By their bytes, which are in normal form: a path is hashed component by component.
        let mut by_path: HashMap<&OsStr, (bool, &str)> = HashMap::with_capacity(declared.len());
        for (
            (
                Located {
                    value: Destination(path),
                    offset,
                },
                directory,
            ),
            place,
        ) in &declared
        {
            if let Some((_, first)) = by_path.insert(path.as_os_str(), (*directory, place)) {
                let shown = escaped(path);
                value.report_as(
                    place,
                    *offset,
                    format!("{shown} is declared already at {first}; keep one"),
                );
            }
        }
        for (
            (
                Located {
                    value: Destination(path),
                    offset,
                },
                _,
            ),
            place,
        ) in &declared
        {
            for ancestor in path.ancestors().skip(1) {
                if let Some((false, above)) = by_path.get(ancestor.as_os_str()) {
                    let (shown, ancestor) = (escaped(path), escaped(ancestor));
                    let message = format!(
                        "{shown} is below {ancestor}, which {above} says is no directory; remove one"
                    );
                    value.report_as(place, *offset, message);
                }
            }
        }
    }
}
