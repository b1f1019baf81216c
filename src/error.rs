//! Everything that stops a start, what to do about it, and the exit code that it gives.
//!
//! Never printed anywhere but at the end of `main`'s work; each message is one line and names the path, the act and the remedy.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use crate::digest::Digest;
use crate::drift::Drift;
use crate::escape::escaped;
use crate::fs::error::FsError;
use crate::fs::source::SourceError;
use crate::json::Problem;
use crate::sys::signal::Signal;

/// The exit codes, as documented in the README.
pub(crate) mod exit_code {
    /// `verify` or `check` found a problem.
    pub(crate) const FOUND: u8 = 1;
    /// Wrong usage.
    pub(crate) const USAGE: u8 = 2;
    /// A source is missing or unreadable (`EX_NOINPUT` of sysexits.h).
    pub(crate) const SOURCE: u8 = 66;
    /// A user or group is unknown (`EX_NOUSER`).
    pub(crate) const ACCOUNT: u8 = 67;
    /// A bug in sealinit (`EX_SOFTWARE`).
    pub(crate) const BUG: u8 = 70;
    /// Something cannot be installed (`EX_CANTCREAT`).
    pub(crate) const INSTALL: u8 = 73;
    /// An I/O error in state or seal (`EX_IOERR`).
    pub(crate) const STATE: u8 = 74;
    /// A privilege is lacking (`EX_NOPERM`).
    pub(crate) const PRIVILEGE: u8 = 77;
    /// The manifest is missing or invalid (`EX_CONFIG`).
    pub(crate) const MANIFEST: u8 = 78;
    /// The disk differs from the seal.
    pub(crate) const DRIFT: u8 = 80;
    /// The seal cannot be read or believed.
    pub(crate) const SEAL: u8 = 81;
    /// The digest is not the pinned one.
    pub(crate) const PIN: u8 = 82;
    /// The first start of another configuration was interrupted.
    pub(crate) const INTERRUPTED: u8 = 83;
    /// The service's own check failed.
    pub(crate) const CHECK: u8 = 84;
    /// The service cannot be executed (env(1), sh).
    pub(crate) const NOT_EXECUTABLE: u8 = 126;
    /// The service was not found.
    pub(crate) const NOT_FOUND: u8 = 127;
}

/// What stops a start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(
        "cannot read the manifest {}: {source}; mount it there, or name it with --manifest",
        escaped(path)
    )]
    ManifestRead { path: PathBuf, source: SourceError },

    #[error(
        "cannot read the manifest {}: {size} bytes are more than the {limit} allowed; move content into source files",
        escaped(path)
    )]
    ManifestTooLarge {
        path: PathBuf,
        size: u64,
        limit: u64,
    },

    #[error("{}:{problem}", escaped(path))]
    ManifestInvalid { path: PathBuf, problem: Problem },

    #[error(
        "cannot read the source {} of {}: {source}; {}",
        escaped(path),
        escaped(dest),
        source_remedy(source)
    )]
    SourceRead {
        path: PathBuf,
        dest: PathBuf,
        source: SourceError,
    },

    #[error(
        "the source {} of {} is a path of the container, which may be mounted only when it runs: it was not looked at; run check in the container, or put the source beside the manifest",
        escaped(path),
        escaped(dest)
    )]
    SourceElsewhere { path: PathBuf, dest: PathBuf },

    #[error(
        "cannot read the source {} as a directory: it is {kind}; declare it in \"files\"",
        escaped(path)
    )]
    SourceNotDirectory { path: PathBuf, kind: &'static str },

    #[error(
        "cannot install the source {}: names beginning {prefix} are sealinit's temporary files; rename it",
        escaped(path)
    )]
    SourceName { path: PathBuf, prefix: &'static str },

    #[error(
        "cannot install the source {}: {} is declared in the manifest as well; remove one",
        escaped(path),
        escaped(dest)
    )]
    SourceCollides { path: PathBuf, dest: PathBuf },

    #[error(
        "cannot install the source {}: its destination would be longer than {limit} bytes; shorten the names",
        escaped(path)
    )]
    DestinationTooLong { path: PathBuf, limit: usize },

    #[error(
        "cannot install {}: {} above it is to be a file, or absent; remove one of them",
        escaped(dest),
        escaped(above)
    )]
    BelowFile { dest: PathBuf, above: PathBuf },

    #[error(
        "the source {} does not have the hash that the manifest says{}; correct one of them",
        escaped(path),
        difference.map_or_else(String::new, |(expected, found)| format!(": expected {expected}, found {found}"))
    )]
    SourceHash {
        path: PathBuf,
        /// Expected and found; not told of a secret, about which a hash tells something.
        difference: Option<(Digest, Digest)>,
    },

    #[error(
        "the source {} of {} changed while it was being installed; start again when it is complete",
        escaped(path),
        escaped(dest)
    )]
    SourceChanged { path: PathBuf, dest: PathBuf },

    #[error(
        "cannot read {}: {source}; it must be a readable regular file",
        escaped(path)
    )]
    AccountsRead { path: PathBuf, source: FsError },

    #[error("{at}: {what} \"{}\" is not in {file}; {hint}", escaped(name))]
    UnknownAccount {
        at: String,
        what: &'static str,
        name: String,
        file: &'static str,
        hint: String,
    },

    #[error(
        "--user: uid {uid} is not in /etc/passwd and so has no primary group; write {uid}:group"
    )]
    NoPrimaryGroup { uid: u32 },

    #[error(
        "cannot run the service with {what} id {wanted}: sealinit was started with {what} id {is} and without root it stays so; start it with the engine's --user, or as root"
    )]
    NotRoot {
        what: &'static str,
        wanted: u32,
        is: u32,
    },

    #[error(
        "cannot verify what uid {sealer} sealed: sealinit was started as uid {is}; start it with the user that it was first started with, or recreate the container"
    )]
    OtherStarter { sealer: u32, is: u32 },

    #[error(
        "cannot give the service group {gid}: sealinit was started without root and is not in it; add it with the engine's --group-add, or start as root"
    )]
    NotInGroup { gid: u32 },

    #[error(
        "cannot give {} to uid {uid}, gid {gid}: sealinit was started without root, as uid {is}, and gives nothing away; leave out owner and group, or start as root",
        escaped(dest)
    )]
    NotOurs {
        dest: PathBuf,
        uid: u32,
        gid: u32,
        is: u32,
    },

    #[error(
        "cannot start: sealinit lacks {why}; add what lacks (docker run --cap-add), or use --user and a manifest without other owners"
    )]
    Capabilities { why: String },

    #[error("cannot drop privileges: {step}: {source}; the service was not started")]
    Drop {
        step: &'static str,
        source: nix::Error,
    },

    #[error("cannot prove that root is gone: {what}; the service was not started")]
    NotDropped { what: String },

    #[error("cannot give up the capabilities that the service keeps: {why}; the service was ended")]
    DropRest { why: String },

    #[error("cannot install {}: {source}", escaped(path))]
    Install { path: PathBuf, source: FsError },

    #[error(
        "cannot install {}: it is the same file as {}; declare it once",
        escaped(path),
        escaped(other)
    )]
    SameFile { path: PathBuf, other: PathBuf },

    #[error(
        "cannot install {}: {} is a mount point, which cannot be replaced or removed; mount the file elsewhere and name it as source, or leave the entry out",
        escaped(path),
        escaped(mounted)
    )]
    MountPoint { path: PathBuf, mounted: PathBuf },

    #[error(
        "cannot install {}: it is a directory, and the manifest says file; remove the directory from the image",
        escaped(path)
    )]
    DirectoryInPlace { path: PathBuf },

    #[error(
        "cannot take over what is below {}: {} has another hard link, which may be anywhere; remove it or leave out \"recursive\"",
        escaped(path),
        escaped(found)
    )]
    HardLink { path: PathBuf, found: PathBuf },

    #[error("cannot keep state in {}: {source}", escaped(path))]
    State { path: PathBuf, source: FsError },

    #[error(
        "cannot look at the seal in {}: {source}; ask as the user that sealed (docker exec --user)",
        escaped(path)
    )]
    StateLook { path: PathBuf, source: FsError },

    #[error("cannot look below {}: {source}; correct --root", escaped(path))]
    Root { path: PathBuf, source: FsError },

    #[error(
        "cannot keep state in {}: another sealinit is at work there; wait for it to end",
        escaped(path)
    )]
    StateBusy { path: PathBuf },

    #[error(
        "cannot use {what} {id}: it is not mapped in this user namespace (/proc/self/{map}); map it, or use an id that is"
    )]
    NotMapped {
        what: &'static str,
        id: u32,
        map: &'static str,
    },

    #[error(
        "cannot give up root's groups: this user namespace denies setgroups (/proc/self/setgroups); make it with newgidmap, or as root"
    )]
    SetgroupsDenied,

    #[error(
        "cannot have {groups} groups: a process has at most {limit}; name the group, user:group, to have no memberships"
    )]
    TooManyGroups { groups: usize, limit: usize },

    #[error(
        "cannot install {}: {} is sealinit's own, and would be replaced or removed; choose another destination or --state-dir",
        escaped(dest),
        escaped(path)
    )]
    OwnPath { path: PathBuf, dest: PathBuf },

    #[error("cannot verify {}: {source}", escaped(path))]
    Measure { path: PathBuf, source: FsError },

    #[error(
        "what is on disk is not what was installed: {0}; the disk or a volume driver is at fault, and nothing was sealed"
    )]
    NotInstalled(Drift),

    #[error(
        "cannot believe the seal {}: {why}; recreate the container",
        escaped(path)
    )]
    Seal { path: PathBuf, why: String },

    #[error("{0}")]
    Drift(Drift),

    #[error(
        "cannot restore {}: its source {} no longer has the sealed content; recreate the container to apply a new configuration",
        escaped(dest),
        escaped(source_path)
    )]
    NotRestorable { dest: PathBuf, source_path: PathBuf },

    #[error(
        "cannot restore {}: {} is mounted there now, and a mount is not replaced or removed; start without it, or recreate the container",
        escaped(dest),
        escaped(mounted)
    )]
    MountedOver { dest: PathBuf, mounted: PathBuf },

    #[error(
        "the manifest {} is not the sealed one, and on_manifest_change is \"refuse\"; recreate the container to apply it, or put the old one back",
        escaped(path)
    )]
    ManifestChanged { path: PathBuf },

    #[error(
        "the configuration is not the pinned one: expected {expected}, found {found}; correct --pin or the configuration"
    )]
    Pin { expected: Digest, found: Digest },

    #[error(
        "the first start of another configuration was interrupted here ({}): it was {found}, this one is {expected}; recreate the container, or start with the interrupted one again",
        escaped(path)
    )]
    Interrupted {
        path: PathBuf,
        expected: Digest,
        found: String,
    },

    #[error(
        "cannot find the service's program {} in {}; install it in the image or correct the command",
        escaped(program),
        escaped(searched)
    )]
    ServiceNotFound {
        program: OsString,
        searched: OsString,
    },

    #[error("cannot execute the service's program {}: {why}", escaped(path))]
    ServiceNotExecutable { path: PathBuf, why: String },

    #[error(
        "cannot start the service in {}: {source}; create the directory, or correct working_dir",
        escaped(path)
    )]
    WorkingDir { path: PathBuf, source: io::Error },

    #[error("SIG{signal} came before the service was started; the next start goes on from here")]
    Stopped { signal: Signal },

    #[error(
        "the service's check {} failed: {how}; nothing was sealed, correct the configuration",
        escaped(command)
    )]
    CheckFailed {
        command: OsString,
        how: String,
        /// The end of what it printed, a line each.
        output: Vec<String>,
    },

    #[error("the service's check cannot be run: {0}")]
    CheckNotRunnable(Box<Error>),

    #[error("cannot run the service's check: {step}: {source}; nothing was sealed")]
    Trial {
        step: &'static str,
        source: nix::Error,
    },

    #[error("internal error: {what}: {why}; please report it")]
    Internal { what: &'static str, why: String },

    #[error("cannot write to standard output: {source}")]
    Output { source: io::Error },
}

impl From<Error> for Vec<Error> {
    fn from(error: Error) -> Self {
        vec![error]
    }
}

impl Error {
    /// That a configuration is not the pinned one, if there is a pin.
    pub(crate) fn not_pinned(pin: Option<Digest>, found: Digest) -> Option<Self> {
        pin.filter(|expected| *expected != found)
            .map(|expected| Self::Pin { expected, found })
    }

    /// A bug in sealinit: `what` cannot be, and `why` says more.
    pub(crate) fn internal(what: &'static str, why: &dyn std::fmt::Display) -> Self {
        Self::Internal {
            what,
            why: why.to_string(),
        }
    }

    /// The exit code that this error gives.
    #[must_use]
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::SourceRead { .. }
            | Self::SourceElsewhere { .. }
            | Self::SourceNotDirectory { .. }
            | Self::SourceName { .. }
            | Self::SourceHash { .. }
            | Self::SourceChanged { .. } => exit_code::SOURCE,
            Self::AccountsRead { .. }
            | Self::UnknownAccount { .. }
            | Self::NoPrimaryGroup { .. } => exit_code::ACCOUNT,
            Self::Install { .. }
            | Self::SameFile { .. }
            | Self::MountPoint { .. }
            | Self::DirectoryInPlace { .. }
            | Self::HardLink { .. } => exit_code::INSTALL,
            Self::State { .. }
            | Self::StateBusy { .. }
            | Self::StateLook { .. }
            | Self::Root { .. }
            | Self::Measure { .. }
            | Self::NotInstalled(_)
            | Self::Trial { .. }
            | Self::Output { .. } => exit_code::STATE,
            Self::NotRoot { .. }
            | Self::OtherStarter { .. }
            | Self::NotInGroup { .. }
            | Self::NotOurs { .. }
            | Self::Capabilities { .. }
            | Self::NotMapped { .. }
            | Self::SetgroupsDenied
            | Self::TooManyGroups { .. }
            | Self::Drop { .. }
            | Self::DropRest { .. }
            | Self::NotDropped { .. } => exit_code::PRIVILEGE,
            Self::ManifestRead { .. }
            | Self::ManifestTooLarge { .. }
            | Self::ManifestInvalid { .. }
            | Self::SourceCollides { .. }
            | Self::DestinationTooLong { .. }
            | Self::BelowFile { .. }
            | Self::OwnPath { .. } => exit_code::MANIFEST,
            Self::Drift(_)
            | Self::NotRestorable { .. }
            | Self::MountedOver { .. }
            | Self::ManifestChanged { .. } => exit_code::DRIFT,
            Self::Seal { .. } => exit_code::SEAL,
            Self::Pin { .. } => exit_code::PIN,
            Self::Interrupted { .. } => exit_code::INTERRUPTED,
            Self::CheckFailed { .. } | Self::CheckNotRunnable(_) => exit_code::CHECK,
            Self::ServiceNotExecutable { .. } | Self::WorkingDir { .. } => {
                exit_code::NOT_EXECUTABLE
            }
            Self::ServiceNotFound { .. } => exit_code::NOT_FOUND,
            Self::Internal { .. } => exit_code::BUG,
            Self::Stopped { signal } => 128 + signal.0,
        }
    }
}

/// What helps against a source that cannot be read.
fn source_remedy(error: &SourceError) -> &'static str {
    match error {
        SourceError::Kind(_) => "name a regular file",
        error if error.is_missing() => "mount it, correct the path, or mark the entry \"optional\"",
        SourceError::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            "make it readable for this uid, or add CAP_DAC_READ_SEARCH"
        }
        SourceError::Io(_) => "mend it or mount another",
    }
}
