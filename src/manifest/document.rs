//! The documents of the native format, and the rules that hold between their members.

use std::collections::BTreeMap;

use serde_json::json;

use crate::declaration::destination::{self, Claim};
use crate::declaration::{Account, Argument, OnDrift, OnManifestChange, Place, SignalTarget};
use crate::escape::escaped;
use crate::json::schema::literal;
use crate::json::{Located, Value, object};
use crate::manifest::value::{
    CommandDocument, Destination, ExitStatus, Mode, RewriteDocument, Sha256, SourcePath, Version,
    WorkingDir,
};
use crate::sys::capability::Capability;

object! {
    /// What is to be in a container, and what is to run in it.
    pub(super) struct ManifestDocument {
        /// The version of this format: 1.
        pub(super) version: Version,
        /// What is run, and as whom.
        pub(super) service: Located<ServiceDocument>,
        /// Files to install.
        pub(super) files: Vec<FileDocument> = Vec::new(),
        /// Directories to copy, or to make for the service.
        pub(super) directories: Vec<DirectoryDocument> = Vec::new(),
        /// What is removed at the first start, with all that is in it, and must stay away.
        pub(super) absent: Vec<Located<Destination>> = Vec::new(),
        /// Commands that must succeed, as the service and without a shell, before the configuration is sealed.
        pub(super) check: Vec<CheckDocument> = Vec::new(),
        /// What a later start does when the disk differs from the seal.
        pub(super) on_drift: OnDrift = OnDrift::Refuse,
        /// What a later start does when the mounted manifest is not the sealed one.
        pub(super) on_manifest_change: OnManifestChange = OnManifestChange::Keep,
    } then ManifestDocument::validate
}

object! {
    /// What is run, and as whom.
    pub(super) struct ServiceDocument {
        /// Program and arguments; no shell. A command after -- takes its place.
        pub(super) command: Option<CommandDocument>,
        /// The service's uid. Required where sealinit is started as root.
        pub(super) user: Option<Located<Account>>,
        /// The service's gid. Default: the primary group of the user.
        pub(super) group: Option<Account>,
        /// These and the primary group, and no others.
        pub(super) supplementary_groups: Vec<Account> = Vec::new(),
        /// Variables, added to what the container was given.
        pub(super) env: BTreeMap<String, Argument> = BTreeMap::new(),
        /// The directory that it starts in. Default: as sealinit was started.
        pub(super) working_dir: Option<WorkingDir>,
        /// Its umask. Default: as sealinit was started.
        pub(super) umask: Option<Mode>,
        /// All that it has, as ambient capabilities.
        pub(super) capabilities: Vec<Capability> = Vec::new(),
        /// False only for a service that needs a set-id program.
        pub(super) no_new_privileges: bool = true,
        /// Lets it run as uid 0; then nothing can be locked against it.
        pub(super) allow_root: bool = false,
        /// Whether sealinit stays as PID 1, passes signals on and reaps.
        pub(super) supervise: bool = false,
        /// How a supervised service is signalled.
        pub(super) signals: Option<SignalsDocument>,
        /// How long what a supervised service leaves behind may take to end. Default: 8.
        pub(super) stop_grace_seconds: Option<u32>,
        /// Exit codes of a supervised service that count as 0.
        pub(super) expected_exit: Option<Vec<ExitStatus>>,
    } then ServiceDocument::validate, like ServiceDocument::rules
}

object! {
    /// How a supervised service is signalled.
    pub(super) struct SignalsDocument {
        /// Who gets a signal.
        pub(super) target: SignalTarget = SignalTarget::Child,
        /// Signals that are passed on as others, or with null not at all.
        pub(super) rewrite: RewriteDocument = RewriteDocument::default(),
    }
}

object! {
    /// One file: its content from a source or from the manifest itself, and how it is locked.
    pub(super) struct FileDocument {
        /// Where the content is: beside the manifest, or absolute.
        pub(super) source: Option<SourcePath>,
        /// The content itself.
        pub(super) content: Option<String>,
        /// Where it is installed.
        pub(super) dest: Located<Destination>,
        /// Default: root.
        pub(super) owner: Option<Account>,
        /// Default: the service's group.
        pub(super) group: Option<Account>,
        /// Octal. Default: 0440.
        pub(super) mode: Option<Located<Mode>>,
        /// Whether the source may be missing; then what is there is removed.
        pub(super) optional: bool = false,
        /// The hash that the source must have.
        pub(super) sha256: Option<Sha256>,
        /// Whether neither content nor hash is ever printed.
        pub(super) secret: bool = false,
        /// Installed once, and then the service's own: not verified.
        pub(super) mutable: bool = false,
    } then FileDocument::validate, like FileDocument::rules
}

object! {
    /// One directory: a copy of a source, or a place for the service to write.
    pub(super) struct DirectoryDocument {
        /// Where it is.
        pub(super) path: Located<Destination>,
        /// What is copied, with all that is below it: beside the manifest, or absolute.
        pub(super) source: Option<SourcePath>,
        /// Default: root with a source, the service without.
        pub(super) owner: Option<Account>,
        /// Default: the service's group.
        pub(super) group: Option<Account>,
        /// Octal. Default: 0550 with a source, 0750 without.
        pub(super) mode: Option<Located<Mode>>,
        /// Octal, of the files copied. Default: 0440.
        pub(super) file_mode: Option<Located<Mode>>,
        /// Whether other names in it are removed at the first start, and are drift later.
        pub(super) exact: bool = false,
        /// Whether all that is below is given to owner and group.
        pub(super) recursive: bool = false,
    } then DirectoryDocument::validate, like DirectoryDocument::rules
}

object! {
    /// A command of the service's own that must succeed before the configuration is sealed.
    pub(super) struct CheckDocument {
        /// Program and arguments; no shell.
        pub(super) command: CommandDocument,
        /// When it is killed.
        pub(super) timeout_seconds: u32 = 10,
    } then CheckDocument::validate, like CheckDocument::rules
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
    /// Checks that each destination is declared once, and none below what is not a directory.
    fn validate(&self, value: &Value<'_, '_>) {
        let files = self.files.iter().enumerate().map(|(index, file)| {
            let place = Place::key("files", file.dest.offset).index(index);
            claim(&file.dest, place.member("dest"), false)
        });
        let directories = self
            .directories
            .iter()
            .enumerate()
            .map(|(index, directory)| {
                let place = Place::key("directories", directory.path.offset).index(index);
                claim(&directory.path, place.member("path"), true)
            });
        let absent = self.absent.iter().enumerate().map(|(index, dest)| {
            claim(dest, Place::key("absent", dest.offset).index(index), false)
        });
        let claims = files.chain(directories).chain(absent).collect();
        for (place, message) in destination::conflicts(claims) {
            value.report_as(&place.to_string(), place.offset(), message);
        }
    }
}

fn claim(dest: &Located<Destination>, place: Place, is_directory: bool) -> Claim<'_> {
    Claim {
        dest: &dest.value.0,
        is_directory,
        place,
    }
}
