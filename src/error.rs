//! The errors that refuse a start, each with its remedy and its exit code.
//!
//! A message is one line, and names the path, the action and the remedy.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use crate::digest::Digest;
use crate::drift::Drift;
use crate::escape::escaped;
use crate::exit_code;
use crate::fs::error::FsError;
use crate::fs::source::SourceError;
use crate::json::Problem;
use crate::sys::signal::Signal;

/// The remedy for drift. A stopped container's files cannot be repaired by hand.
pub(crate) const DRIFT_REMEDY: &str = "recreate the container (with \"on_drift\": \"restore\" in the manifest, a restart restores it)";

/// An error that ends a command. Variants are in the order of their exit codes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
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
        "the source {} of {} was not read: it is a path of the container, where it may be mounted; run check in the container, or put the source beside the manifest",
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
        "cannot install the source {}: names that begin with {prefix} are reserved for temporary files; rename it",
        escaped(path)
    )]
    SourceName { path: PathBuf, prefix: &'static str },

    #[error(
        "the source {} does not have the manifest's sha256{}; correct one of them",
        escaped(path),
        difference.map_or_else(String::new, |(expected, found)| format!(": expected {expected}, found {found}"))
    )]
    SourceHash {
        path: PathBuf,
        /// Expected and found; `None` for a secret, whose hash would disclose something.
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
        "--user: uid {uid} has no primary group, since it is not in /etc/passwd; write {uid}:GROUP"
    )]
    NoPrimaryGroup { uid: u32 },

    #[error("internal error: {what}: {why}; please report it")]
    Internal { what: &'static str, why: String },

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
        "cannot install {}: it is a directory, and the manifest declares a file; remove the directory from the image",
        escaped(path)
    )]
    DirectoryInPlace { path: PathBuf },

    #[error(
        "cannot change the owner below {}: {} has another hard link, which may be elsewhere; remove it or leave out \"recursive\"",
        escaped(path),
        escaped(found)
    )]
    HardLink { path: PathBuf, found: PathBuf },

    #[error("cannot keep state in {}: {source}", escaped(path))]
    State { path: PathBuf, source: FsError },

    #[error(
        "cannot read the seal in {}: {source}; run as the user that sealed (docker exec --user)",
        escaped(path)
    )]
    StateLook { path: PathBuf, source: FsError },

    #[error(
        "cannot read the root directory {}: {source}; correct --root",
        escaped(path)
    )]
    Root { path: PathBuf, source: FsError },

    #[error(
        "cannot keep state in {}: another sealinit process holds its lock; wait for it to end",
        escaped(path)
    )]
    StateBusy { path: PathBuf },

    #[error("cannot verify {}: {source}", escaped(path))]
    Measure { path: PathBuf, source: FsError },

    #[error(
        "the disk does not hold what was installed: {0}; nothing was sealed; check the disk or the volume driver"
    )]
    NotInstalled(Drift),

    #[error("cannot run the service's check: {step}: {source}; nothing was sealed")]
    Trial {
        step: &'static str,
        source: nix::Error,
    },

    #[error("cannot write to standard output: {source}")]
    Output { source: io::Error },

    #[error(
        "cannot run the service with {what} id {wanted}: sealinit runs with {what} id {is}, and cannot change it without root; start the container with the engine's --user, or as root"
    )]
    NotRoot {
        what: &'static str,
        wanted: u32,
        is: u32,
    },

    #[error(
        "cannot verify the seal of uid {sealer}: sealinit runs as uid {is}; start it as uid {sealer}, or recreate the container"
    )]
    OtherCaller { sealer: u32, is: u32 },

    #[error(
        "cannot give the service group {gid}: sealinit runs without root and is not a member; add it with the engine's --group-add, or start as root"
    )]
    NotInGroup { gid: u32 },

    #[error(
        "cannot give {} to uid {uid}, gid {gid}: sealinit runs without root, as uid {is}; leave out owner and group, or start as root",
        escaped(dest)
    )]
    NotOwner {
        dest: PathBuf,
        uid: u32,
        gid: u32,
        is: u32,
    },

    #[error(
        "missing capabilities {missing}; add them with docker run --cap-add, or use --user and a manifest without other owners"
    )]
    Capabilities { missing: String },

    #[error("cannot drop privileges: {step}: {source}; the service was not started")]
    Drop {
        step: &'static str,
        source: nix::Error,
    },

    #[error("cannot drop privileges: {what}; the service was not started")]
    NotDropped { what: String },

    #[error(
        "cannot drop the capabilities that only the service keeps: {why}; the service was ended"
    )]
    DropRest { why: String },

    #[error(
        "cannot use {what} {id}: it is not mapped in this user namespace (/proc/self/{map}); map it, or use a mapped id"
    )]
    NotMapped {
        what: &'static str,
        id: u32,
        map: &'static str,
    },

    #[error(
        "cannot drop root's groups: this user namespace denies setgroups (/proc/self/setgroups); create it with newgidmap, or as root"
    )]
    SetgroupsDenied,

    #[error(
        "cannot set {groups} groups: a process has at most {limit}; write user:group to leave out the memberships in /etc/group"
    )]
    TooManyGroups { groups: usize, limit: usize },

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
        "cannot install {}: {} above it is declared as a file or as absent; remove one of them",
        escaped(dest),
        escaped(above)
    )]
    BelowFile { dest: PathBuf, above: PathBuf },

    #[error(
        "cannot install {}: it would replace, remove or open {}, which sealinit itself needs; choose another destination or --state-dir",
        escaped(dest),
        escaped(path)
    )]
    OwnPath { path: PathBuf, dest: PathBuf },

    #[error("{0}")]
    Drift(Drift),

    #[error(
        "cannot restore {}: its source {} no longer has the sealed content; recreate the container to apply a new configuration",
        escaped(dest),
        escaped(source_path)
    )]
    NotRestorable { dest: PathBuf, source_path: PathBuf },

    #[error(
        "cannot restore {}: {} is mounted there, and a mount cannot be replaced or removed; recreate the container without it",
        escaped(dest),
        escaped(mounted)
    )]
    MountedOver { dest: PathBuf, mounted: PathBuf },

    #[error(
        "the manifest {} is not the sealed one, and on_manifest_change is \"refuse\"; recreate the container to apply it, or mount the sealed one again",
        escaped(path)
    )]
    ManifestChanged { path: PathBuf },

    #[error("the seal {} is invalid: {why}; recreate the container", escaped(path))]
    Seal { path: PathBuf, why: String },

    #[error(
        "the configuration is not the pinned one: expected {expected}, found {found}; correct --pin or the configuration"
    )]
    Pin { expected: Digest, found: Digest },

    #[error(
        "the first start of another configuration was interrupted here ({}): it was {found}, this one is {expected}; recreate the container, or mount the interrupted configuration again",
        escaped(path)
    )]
    Interrupted {
        path: PathBuf,
        expected: Digest,
        found: String,
    },

    #[error(
        "the service's check {} failed: {how}; nothing was sealed; correct the configuration",
        escaped(command)
    )]
    CheckFailed {
        command: OsString,
        how: String,
        /// The last lines that it printed.
        output: Vec<String>,
    },

    #[error("the service's check cannot be run: {0}")]
    CheckNotRunnable(Box<Error>),

    #[error("cannot execute the service's program {}: {why}", escaped(path))]
    ServiceNotExecutable { path: PathBuf, why: String },

    #[error(
        "cannot start the service in {}: {source}; create the directory, or correct working_dir",
        escaped(path)
    )]
    WorkingDir { path: PathBuf, source: io::Error },

    #[error(
        "cannot find the service's program {} in {}; install it in the image or correct the command",
        escaped(program),
        escaped(searched)
    )]
    ServiceNotFound {
        program: OsString,
        searched: OsString,
    },

    #[error("SIG{signal} arrived before the service was started; the next start continues")]
    Stopped { signal: Signal },
}

impl From<Error> for Vec<Error> {
    fn from(error: Error) -> Self {
        vec![error]
    }
}

impl Error {
    /// Returns [`Error::Pin`] if there is a pin and `found` is another digest.
    pub(crate) fn not_pinned(pin: Option<Digest>, found: Digest) -> Option<Self> {
        pin.filter(|expected| *expected != found)
            .map(|expected| Self::Pin { expected, found })
    }

    /// Returns [`Error::Internal`]: `what` failed because of `why`, which is a bug in sealinit.
    pub(crate) fn internal(what: &'static str, why: &dyn std::fmt::Display) -> Self {
        Self::Internal {
            what,
            why: why.to_string(),
        }
    }

    /// The exit code of a start that ends with this error.
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
            | Self::OtherCaller { .. }
            | Self::NotInGroup { .. }
            | Self::NotOwner { .. }
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

/// Returns the remedy for a source that cannot be read.
fn source_remedy(error: &SourceError) -> &'static str {
    match error {
        SourceError::Kind(_) => "name a regular file",
        error if error.is_missing() => "mount it, correct the path, or mark the entry \"optional\"",
        SourceError::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            "make it readable for this uid, or add CAP_DAC_READ_SEARCH"
        }
        SourceError::Io(_) => "repair it or mount another",
    }
}
