//! The documents of the native format, and the rules that hold between their members.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::json;

use crate::declaration::destination::{self, Claim};
use crate::declaration::{Account, Argument, OnDrift, OnManifestChange, Place, SignalTarget};
use crate::escape::escaped;
use crate::json::{Located, Value, object};
use crate::manifest::value::{
    CommandDocument, Destination, ExitStatus, Mode, RewriteDocument, Sha256, SourcePath, Version,
    WorkingDir,
};
use crate::sys::capability::Capability;

object! {
    /// The state of a container, and the service to run in it.
    #[derive(JsonSchema)]
    #[schemars(deny_unknown_fields, title = "sealinit manifest", extend("examples" = [{
        "version": 1,
        "service": {"user": "nginx", "command": ["nginx", "-g", "daemon off;"]},
        "files": [{"source": "nginx.conf", "dest": "/etc/nginx/nginx.conf"}]
    }]))]
    pub(super) struct ManifestDocument {
        /// The version of this format: 1.
        pub(super) version: Version,
        /// The service: its command and the user that it runs as.
        pub(super) service: Located<ServiceDocument>,
        /// Files to install.
        #[schemars(default)]
        pub(super) files: Vec<FileDocument> = Vec::new(),
        /// Directories to copy, or to create for the service.
        #[schemars(default)]
        pub(super) directories: Vec<DirectoryDocument> = Vec::new(),
        /// Paths that the first start removes with everything below, and that must stay absent.
        #[schemars(default)]
        pub(super) absent: Vec<Located<Destination>> = Vec::new(),
        /// Commands that must succeed before the configuration is sealed. They run as the service,
        /// without a shell.
        #[schemars(default)]
        pub(super) check: Vec<CheckDocument> = Vec::new(),
        /// The policy of a later start for differences between the disk and the seal.
        #[schemars(default)]
        pub(super) on_drift: OnDrift = OnDrift::default(),
        /// The policy of a later start for a mounted manifest that is not the sealed one.
        #[schemars(default)]
        pub(super) on_manifest_change: OnManifestChange = OnManifestChange::default(),
    } then ManifestDocument::validate
}

object! {
    /// The service: its command and the user that it runs as.
    #[derive(JsonSchema)]
    #[schemars(
        rename = "Service",
        deny_unknown_fields,
        extend(
            "dependentSchemas" = {
                "signals": {"properties": {"supervise": {"const": true}}, "required": ["supervise"]},
                "stop_grace_seconds": {"properties": {"supervise": {"const": true}}, "required": ["supervise"]},
                "expected_exit": {"properties": {"supervise": {"const": true}}, "required": ["supervise"]}
            },
            "allOf" = [{"properties": {
                "umask": {"pattern": "^0?[0-7]{1,3}$"},
                "env": {"propertyNames": {"pattern": "^(?!SEALINIT_)[^=\\u0000]+$"}}
            }}]
        )
    )]
    pub(super) struct ServiceDocument {
        /// Program and arguments, without a shell. A command after -- replaces it.
        pub(super) command: Option<CommandDocument> = None,
        /// The user that the service runs as. Required if sealinit is started as root.
        pub(super) user: Option<Located<Account>> = None,
        /// The group that the service runs as. Default: the primary group of the user.
        pub(super) group: Option<Account> = None,
        /// The supplementary groups, besides the primary group.
        #[schemars(default)]
        pub(super) supplementary_groups: Vec<Account> = Vec::new(),
        /// Variables that are added to the environment of the container.
        #[schemars(default)]
        pub(super) env: BTreeMap<String, Argument> = BTreeMap::new(),
        /// The directory that the service starts in. Default: that of sealinit.
        pub(super) working_dir: Option<WorkingDir> = None,
        /// The umask of the service. Default: that of sealinit.
        pub(super) umask: Option<Mode> = None,
        /// The capabilities that the service keeps, as ambient capabilities.
        #[schemars(default)]
        pub(super) capabilities: Vec<Capability> = Vec::new(),
        /// Set the no-new-privileges flag. Only a service that needs a set-user-ID program runs
        /// without it.
        #[schemars(default, extend("default" = true))]
        pub(super) no_new_privileges: bool = true,
        /// Allow the service to run as uid 0, against which nothing can be locked.
        #[schemars(default)]
        pub(super) allow_root: bool = false,
        /// Keep sealinit as PID 1, to forward signals and to reap processes.
        #[schemars(default)]
        pub(super) supervise: bool = false,
        /// The forwarding of signals to a supervised service.
        pub(super) signals: Option<SignalsDocument> = None,
        /// Seconds between SIGTERM and SIGKILL for processes left over when the service has ended.
        /// Default: 8.
        pub(super) stop_grace_seconds: Option<u32> = None,
        /// Exit codes of a supervised service that sealinit turns into 0.
        pub(super) expected_exit: Option<Vec<ExitStatus>> = None,
    } then ServiceDocument::validate
}

object! {
    /// The forwarding of signals to a supervised service.
    #[derive(JsonSchema)]
    #[schemars(rename = "Signals", deny_unknown_fields)]
    pub(super) struct SignalsDocument {
        /// The receiver of signals.
        #[schemars(default)]
        pub(super) target: SignalTarget = SignalTarget::default(),
        /// Signals that are forwarded as others, or with null not at all.
        #[schemars(default)]
        pub(super) rewrite: RewriteDocument = RewriteDocument::default(),
    }
}

object! {
    /// A file, with its content from a source or from the manifest itself.
    #[derive(JsonSchema)]
    #[schemars(
        rename = "File",
        deny_unknown_fields,
        extend(
            "examples" = [
                {"source": "tls/key.pem", "dest": "/etc/nginx/tls/key.pem", "secret": true},
                {"content": "server_tokens off;\n", "dest": "/etc/nginx/conf.d/tokens.conf"}
            ],
            "oneOf" = [{"required": ["source"]}, {"required": ["content"]}],
            "dependentRequired" = {"sha256": ["source"]},
            "allOf" = [
                where_true("optional", &json!({"required": ["source"]})),
                {"properties": {"mode": {"pattern": LOCKED_MODE}}}
            ]
        )
    )]
    pub(super) struct FileDocument {
        /// The path of the content, absolute or relative to the manifest.
        pub(super) source: Option<SourcePath> = None,
        /// The content itself.
        pub(super) content: Option<String> = None,
        /// The path that the file is installed at.
        pub(super) dest: Located<Destination>,
        /// The owner. Default: root.
        pub(super) owner: Option<Account> = None,
        /// The group. Default: the service's.
        pub(super) group: Option<Account> = None,
        /// The mode, in octal. Default: 0440.
        pub(super) mode: Option<Located<Mode>> = None,
        /// Allow the source to be missing; then the destination is removed.
        #[schemars(default)]
        pub(super) optional: bool = false,
        /// The hash that the source must have.
        pub(super) sha256: Option<Sha256> = None,
        /// Print neither content nor hash.
        #[schemars(default)]
        pub(super) secret: bool = false,
        /// Install the file once, for the service to change; it is not verified.
        #[schemars(default)]
        pub(super) mutable: bool = false,
    } then FileDocument::validate
}

object! {
    /// A directory: a copy of a source, or a place for the service to write.
    #[derive(JsonSchema)]
    #[schemars(
        rename = "Directory",
        deny_unknown_fields,
        extend(
            "examples" = [
                {"path": "/srv/www", "source": "html", "exact": true},
                {"path": "/var/cache/nginx", "owner": "nginx", "mode": "0750"}
            ],
            "dependentRequired" = {"file_mode": ["source"]},
            "allOf" = [
                where_true("exact", &json!({"required": ["source"]})),
                where_true("recursive", &json!({"not": {"required": ["source"]}})),
                {"properties": {"mode": {"pattern": LOCKED_MODE}, "file_mode": {"pattern": LOCKED_MODE}}}
            ]
        )
    )]
    pub(super) struct DirectoryDocument {
        /// The path of the directory.
        pub(super) path: Located<Destination>,
        /// The directory to copy with everything below, absolute or relative to the manifest.
        pub(super) source: Option<SourcePath> = None,
        /// The owner. Default: root with a source, the service's user without.
        pub(super) owner: Option<Account> = None,
        /// The group. Default: the service's.
        pub(super) group: Option<Account> = None,
        /// The mode, in octal. Default: 0550 with a source, 0750 without.
        pub(super) mode: Option<Located<Mode>> = None,
        /// The mode of the copied files, in octal. Default: 0440.
        pub(super) file_mode: Option<Located<Mode>> = None,
        /// Remove other names in it at the first start, and treat them as drift later.
        #[schemars(default)]
        pub(super) exact: bool = false,
        /// Give everything below to the owner and the group.
        #[schemars(default)]
        pub(super) recursive: bool = false,
    } then DirectoryDocument::validate
}

object! {
    /// A command that must succeed before the configuration is sealed.
    #[derive(JsonSchema)]
    #[schemars(
        rename = "Check",
        deny_unknown_fields,
        extend(
            "examples" = [{"command": ["nginx", "-t"], "timeout_seconds": 10}],
            "allOf" = [{"properties": {"timeout_seconds": {"minimum": 1}}}]
        )
    )]
    pub(super) struct CheckDocument {
        /// Program and arguments, without a shell.
        pub(super) command: CommandDocument,
        /// Seconds until the command is killed.
        #[schemars(default, extend("default" = 10))]
        pub(super) timeout_seconds: u32 = 10,
    } then CheckDocument::validate
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
    fn validate(&self, value: &Value<'_, '_>) {
        if self.timeout_seconds == 0 {
            value.report("timeout_seconds is 0, in which nothing can succeed; write 1 or more");
        }
    }
}

impl ServiceDocument {
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
                    "env: \"{shown}\" is not a variable name; it is empty or holds = or NUL"
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
