//! What is to be on disk and who is to run, fully resolved: a function of manifest, inventory and identities, and of nothing else.
//!
//! Never looks at the machine. The first start makes the plan from what it reads; a later start makes the very same plan from
//! what the seal recorded, so there is no second copy of it that could be forged or differ.

pub(crate) mod configuration;
pub(crate) mod sources;
pub(crate) mod supervision;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::accounts::Identities;
use crate::digest::{Digest, FileDigest};
use crate::error::Error;
use crate::escape::escaped;
use crate::fs::metadata::Ownership;
use crate::json::Located;
use crate::manifest::{
    self, Account, Argument, CheckDocument, CommandDocument, DirectoryDocument, FileDocument,
    Manifest, Mode, OnDrift, OnManifestChange,
};
use crate::plan::sources::{Kind, PathKey, SourceTable};
use crate::plan::supervision::SupervisionConfig;
use crate::sys::capability::CapabilitySet;

const DEFAULT_FILE_MODE: u32 = 0o440;
const DEFAULT_COPIED_DIRECTORY_MODE: u32 = 0o550;
const DEFAULT_OWN_DIRECTORY_MODE: u32 = 0o750;

/// `NGROUPS_MAX` of linux/limits.h; the primary group is one of them.
pub(crate) const MAX_GROUPS: usize = 65_536;

/// What a start is to reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// In byte order of destinations, so that a directory comes before what is in it.
    pub(crate) entries: Vec<Entry>,
    pub(crate) service: Service,
    /// What must succeed as the service before this is sealed, in the order of the manifest.
    pub(crate) checks: Vec<ConfigTest>,
    pub(crate) lock: Protection,
    /// The uid that installs the entries and owns what is locked.
    pub(crate) installer: u32,
    pub(crate) on_drift: OnDrift,
    pub(crate) on_manifest_change: OnManifestChange,
}

/// One destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) dest: PathBuf,
    pub(crate) kind: EntryKind,
    /// Whether the service must not be able to change it, nor a directory on the way.
    pub(crate) locked: bool,
}

/// What is to be at a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EntryKind {
    File(PlannedFile),
    Directory(PlannedDirectory),
    Absent,
}

impl EntryKind {
    /// The owner, group and mode that it is to have, if it is to be there.
    pub(crate) fn ownership(&self) -> Option<Ownership> {
        match self {
            Self::File(file) => Some(file.ownership),
            Self::Directory(directory) => Some(directory.ownership),
            Self::Absent => None,
        }
    }
}

/// A file to install.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlannedFile {
    pub(crate) content: FileDigest,
    pub(crate) origin: Origin,
    pub(crate) ownership: Ownership,
    /// Neither content nor hash may be printed.
    pub(crate) secret: bool,
    /// Installed once, never verified.
    pub(crate) mutable: bool,
}

/// Where a file's content comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    Manifest(String),
    Source(PathBuf),
}

/// A directory to make or take over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlannedDirectory {
    pub(crate) ownership: Ownership,
    /// The names that may be in it, where others are drift.
    pub(crate) exact: Option<BTreeSet<OsString>>,
    /// What is below belongs to the same owner and group.
    pub(crate) recursive: bool,
}

/// A command of the service's own that must succeed before the seal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConfigTest {
    pub(crate) command: Vec<OsString>,
    pub(crate) limit: Duration,
}

/// Program, environment and credentials of the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Service {
    pub(crate) command: Vec<OsString>,
    pub(crate) env: BTreeMap<String, Argument>,
    pub(crate) working_dir: Option<PathBuf>,
    pub(crate) umask: Option<u32>,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups. The primary group is among them: without it, a file's group permissions could be evaded
    /// (CVE-2022-36109).
    pub(crate) groups: BTreeSet<u32>,
    /// Whether it keeps whatever sealinit was started with, and the five fields about credentials here only describe that.
    pub(crate) credentials_unchanged: bool,
    /// Who the environment says that it is; `None` leaves the environment alone.
    pub(crate) login: Option<Login>,
    pub(crate) capabilities: CapabilitySet,
    pub(crate) no_new_privileges: bool,
    /// How it is supervised; `None` becomes the service.
    pub(crate) supervised: Option<SupervisionConfig>,
}

/// `USER`, `LOGNAME` and `HOME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) name: Option<String>,
    pub(crate) home: Option<String>,
    /// Whether they take the place of what the environment says already.
    pub(crate) replaces: bool,
}

/// How well the sealed files are locked against the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Protection {
    /// The service's uid cannot change them.
    Full,
    /// It holds a capability with which it could, or may execute its way to root.
    Partial,
    /// They belong to its own uid.
    None,
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl Plan {
    /// Resolves what is to be reached. `arguments` is the command given after `--`.
    ///
    /// # Errors
    /// Everything in the manifest that contradicts itself now that ids are known.
    pub(crate) fn new(
        manifest: &Manifest,
        inventory: &SourceTable,
        identities: &Identities,
        arguments: &[OsString],
    ) -> Result<Self, Vec<Error>> {
        match Self::draft(manifest, inventory, identities, arguments) {
            (Some(plan), errors) if errors.is_empty() => Ok(plan),
            (_, errors) => Err(errors),
        }
    }

    /// As [`Self::new`], and the plan in spite of contradictions: enough to find out what else would be wrong.
    pub(crate) fn draft(
        manifest: &Manifest,
        inventory: &SourceTable,
        identities: &Identities,
        arguments: &[OsString],
    ) -> (Option<Self>, Vec<Error>) {
        let mut groups = BTreeSet::from([identities.service.gid]);
        groups.extend(&identities.service.supplementary);
        let mut planning = Planning {
            manifest,
            identities,
            groups,
            errors: vec![],
        };
        let service = planning.service(arguments);
        let entries = planning.entries(inventory);
        let plan = service.map(|service| Self {
            entries,
            lock: service.lock(identities.installer),
            installer: identities.installer,
            service,
            checks: manifest
                .document
                .check
                .iter()
                .map(ConfigTest::from)
                .collect(),
            on_drift: manifest.document.on_drift,
            on_manifest_change: manifest.document.on_manifest_change,
        });
        (plan, planning.errors)
    }

    /// The planned directories.
    pub(crate) fn directories(&self) -> BTreeSet<&Path> {
        let is_directory = |entry: &&Entry| matches!(entry.kind, EntryKind::Directory(_));
        let mut paths = BTreeSet::new();
        paths.extend(
            self.entries
                .iter()
                .filter(is_directory)
                .map(|entry| entry.dest.as_path()),
        );
        paths
    }

    /// The planned directories that will belong to the installer and be closed to others, whatever they are now.
    pub(crate) fn locked_directories(&self, installer: u32) -> BTreeSet<&Path> {
        let locked = |entry: &Entry| match &entry.kind {
            EntryKind::Directory(directory) => {
                directory.ownership.uid == installer && directory.ownership.mode & 0o022 == 0
            }
            _ => false,
        };
        let mut paths = BTreeSet::new();
        paths.extend(
            self.entries
                .iter()
                .filter(|entry| locked(entry))
                .map(|entry| entry.dest.as_path()),
        );
        paths
    }
}

impl Entry {
    /// Whether a later start compares it with the disk.
    pub(crate) fn is_verified(&self) -> bool {
        !matches!(&self.kind, EntryKind::File(file) if file.mutable)
    }
}

impl Service {
    /// The same credentials and surroundings for another command, which is not supervised.
    pub(crate) fn with_command(&self, command: Vec<OsString>) -> Self {
        Self {
            command,
            supervised: None,
            ..self.clone()
        }
    }

    fn lock(&self, installer: u32) -> Protection {
        match self.uid {
            // What is installed belongs to the installer, and here the service is just that uid.
            uid if uid == installer => Protection::None,
            // A set-user-ID program would make it root, whose the files are.
            _ if self.capabilities.unlocks_files() || !self.no_new_privileges => {
                Protection::Partial
            }
            _ => Protection::Full,
        }
    }
}

/// A plan in the making, and what contradicts itself.
struct Planning<'a> {
    manifest: &'a Manifest,
    identities: &'a Identities,
    /// All groups of the service.
    groups: BTreeSet<u32>,
    errors: Vec<Error>,
}

/// A directory of the manifest, and where it stands there.
type Declared<'a> = (usize, &'a DirectoryDocument);

impl Planning<'_> {
    fn problem(&mut self, offset: usize, at: String, message: String) {
        self.errors.push(self.manifest.problem(offset, at, message));
    }

    fn service(&mut self, arguments: &[OsString]) -> Option<Service> {
        let Located {
            value: service,
            offset,
        } = &self.manifest.document.service;
        let identity = &self.identities.service;
        let command = match (arguments, &service.command) {
            ([], Some(command)) => words(command),
            ([], None) => {
                let message = "there is no command; add \"command\", or give one after -- (CMD in a Dockerfile)";
                self.problem(*offset, "$.service".into(), message.into());
                return None;
            }
            (arguments, _) => arguments.to_vec(),
        };
        if self.groups.len() > MAX_GROUPS {
            let message = format!(
                "{} groups are more than a process can have; name at most {MAX_GROUPS}",
                self.groups.len()
            );
            self.problem(*offset, "$.service.supplementary_groups".into(), message);
        }
        Some(Service {
            command,
            env: service.env.clone(),
            working_dir: service.working_dir.as_ref().map(|dir| dir.0.clone()),
            umask: service.umask.map(|umask| umask.0),
            uid: identity.uid,
            gid: identity.gid,
            groups: self.groups.clone(),
            credentials_unchanged: false,
            login: Some(Login {
                name: identity.name.clone(),
                home: identity.home.clone(),
                // Without root the engine has set the environment up for the user that it started.
                replaces: self.identities.installer == 0 || identity.name.is_some(),
            }),
            capabilities: service.capabilities.iter().copied().collect(),
            no_new_privileges: service.no_new_privileges,
            supervised: service.supervise.then(|| SupervisionConfig::of(service)),
        })
    }
    #[allow(clippy::too_many_lines)]
    fn entries(&mut self, inventory: &SourceTable) -> Vec<Entry> {
        let document = &self.manifest.document;
        let files: HashMap<&Path, (usize, &FileDocument)> = document
            .files
            .iter()
            .enumerate()
            .map(|(i, file)| (file.dest.value.0.as_path(), (i, file)))
            .collect();
        let directories: HashMap<&Path, Declared<'_>> = document
            .directories
            .iter()
            .enumerate()
            .map(|(i, directory)| (directory.path.value.0.as_path(), (i, directory)))
            .collect();

        let absent: HashMap<&Path, (usize, usize)> = document
            .absent
            .iter()
            .enumerate()
            .map(|(i, path)| (path.value.0.as_path(), (i, path.offset)))
            .collect();

        let mut entries = Vec::with_capacity(inventory.0.len());
        let any_exact = document.directories.iter().any(|directory| directory.exact);
        let mut present: HashMap<PathBuf, BTreeSet<OsString>> = HashMap::new();
        for (dest, kind) in &inventory.0 {
            let dest = dest.path();
            let declared = |path: &Path| directories.get(path).copied();
            // One way up to the root for all that is asked about it, and none where there is nothing to find.
            let around: Vec<Declared<'_>> = match directories.len() {
                0 => Vec::new(),
                _ => dest.ancestors().skip(1).filter_map(declared).collect(),
            };
            // The directory of the manifest in whose source it was found.
            let mut nearest = declared(dest).into_iter().chain(around.iter().copied());
            let above = nearest.find(|(_, directory)| directory.source.is_some());
            let (what, (offset, at)) = match (kind, files.get(dest), declared(dest).or(above)) {
                (Kind::Absent, Some(&(index, file)), _) => (
                    EntryKind::Absent,
                    (file.dest.offset, format!("$.files[{index}]")),
                ),
                (Kind::Absent, None, _) => {
                    let (index, offset) = absent.get(dest).copied().unwrap_or_default();
                    (EntryKind::Absent, (offset, format!("$.absent[{index}]")))
                }
                (Kind::File(content) | Kind::Mutable(Some(content)), Some(&(index, file)), _) => {
                    let place = (file.dest.offset, format!("$.files[{index}]"));
                    (self.declared_file(file, *content), place)
                }
                (Kind::File(content), None, Some((index, directory))) => {
                    let place = (directory.path.offset, format!("$.directories[{index}]"));
                    (self.copied_file(dest, *content, directory), place)
                }
                (Kind::Directory, _, Some((index, directory))) => {
                    let place = (directory.path.offset, format!("$.directories[{index}]"));
                    (self.directory(directory), place)
                }
                // An optional source that is missing; without a declaration, a seal that was tampered with.
                _ => continue,
            };
            let locked = match &what {
                EntryKind::File(file) => !file.mutable,
                EntryKind::Absent => true,
                // A place for the service to write is the service's.
                EntryKind::Directory(directory) => {
                    above.is_some() || !self.opens(directory.ownership)
                }
            };
            if locked {
                self.check_locked(offset, &at, dest, &what);
                for (index, directory) in around {
                    self.check_below(offset, &at, dest, index, directory);
                }
            }
            if any_exact && *kind != Kind::Absent {
                for (path, name) in dest
                    .ancestors()
                    .skip(1)
                    .zip(dest.ancestors().map(Path::file_name))
                {
                    let exact = directories
                        .get(path)
                        .is_some_and(|(_, directory)| directory.exact)
                        || above.is_some_and(|(_, above)| {
                            above.exact && path.starts_with(&above.path.value.0)
                        });
                    if exact && let Some(name) = name {
                        present
                            .entry(path.to_owned())
                            .or_default()
                            .insert(name.to_owned());
                    }
                }
            }
            entries.push(Entry {
                dest: dest.to_owned(),
                kind: what,
                locked,
            });
        }
        for entry in &mut entries {
            if let EntryKind::Directory(PlannedDirectory {
                exact: Some(names), ..
            }) = &mut entry.kind
            {
                *names = present.remove(&entry.dest).unwrap_or_default();
            }
        }
        entries
    }

    fn declared_file(&self, file: &FileDocument, content: FileDigest) -> EntryKind {
        let ownership = Ownership {
            uid: self.uid(file.owner.as_ref(), self.identities.installer),
            gid: self.gid(file.group.as_ref()),
            mode: mode(file.mode, DEFAULT_FILE_MODE),
        };
        let origin = match (&file.source, &file.content) {
            (Some(source), _) => Origin::Source(self.manifest.locate(&source.0)),
            (None, text) => Origin::Manifest(text.clone().unwrap_or_default()),
        };
        EntryKind::File(PlannedFile {
            content,
            origin,
            ownership,
            secret: file.secret,
            mutable: file.mutable,
        })
    }

    /// A file found in the source of `directory`.
    fn copied_file(
        &self,
        dest: &Path,
        content: FileDigest,
        directory: &DirectoryDocument,
    ) -> EntryKind {
        let ownership = Ownership {
            mode: mode(directory.file_mode, DEFAULT_FILE_MODE),
            ..self.directory_ownership(directory)
        };
        let source = directory.source.as_ref().map_or("", |source| &source.0);
        let below = dest.strip_prefix(&directory.path.value.0).unwrap_or(dest);
        let origin = Origin::Source(self.manifest.locate(source).join(below));
        EntryKind::File(PlannedFile {
            content,
            origin,
            ownership,
            secret: false,
            mutable: false,
        })
    }

    fn directory(&self, declared: &DirectoryDocument) -> EntryKind {
        let exact = declared.exact.then(BTreeSet::new);
        let ownership = self.directory_ownership(declared);
        EntryKind::Directory(PlannedDirectory {
            ownership,
            exact,
            recursive: declared.recursive,
        })
    }

    fn directory_ownership(&self, directory: &DirectoryDocument) -> Ownership {
        let copied = directory.source.is_some();
        let default_owner = if copied {
            self.identities.installer
        } else {
            self.identities.service.uid
        };
        let default_mode = if copied {
            DEFAULT_COPIED_DIRECTORY_MODE
        } else {
            DEFAULT_OWN_DIRECTORY_MODE
        };
        Ownership {
            uid: self.uid(directory.owner.as_ref(), default_owner),
            gid: self.gid(directory.group.as_ref()),
            mode: mode(directory.mode, default_mode),
        }
    }

    fn uid(&self, owner: Option<&Account>, default: u32) -> u32 {
        owner
            .and_then(|owner| self.identities.uid(owner))
            .unwrap_or(default)
    }

    fn gid(&self, group: Option<&Account>) -> u32 {
        group
            .and_then(|group| self.identities.gid(group))
            .unwrap_or(self.identities.service.gid)
    }

    /// Whether the service has another uid than what is installed for it.
    fn is_locking(&self) -> bool {
        self.identities.service.uid != self.identities.installer
    }

    /// Whether the service could change what has these attributes. Without root, and for root itself, there is no lock.
    fn opens(&self, ownership: Ownership) -> bool {
        let service = &self.identities.service;
        self.is_locking()
            && (ownership.uid == service.uid
                || (ownership.mode & 0o020 != 0 && self.groups.contains(&ownership.gid)))
    }

    /// A locked entry must not be the service's to change.
    fn check_locked(&mut self, offset: usize, at: &str, dest: &Path, what: &EntryKind) {
        let Some(ownership) = what.ownership().filter(|ownership| self.opens(*ownership)) else {
            return;
        };
        let dest = escaped(dest);
        let message = if ownership.uid == self.identities.service.uid {
            format!(
                "{dest} would belong to the service's user, who could change it; name another owner, or for a file that \
                 the service may change add \"mutable\": true"
            )
        } else {
            let (mode, fit) = (ownership.mode, ownership.mode & !0o020);
            format!(
                "{dest} would be writable for the service's group with mode {mode:04o}; write \"{fit:04o}\""
            )
        };
        self.problem(offset, at.to_owned(), message);
    }

    /// A locked entry must not be below a directory that is the service's to change, or is going to be given away as a whole.
    fn check_below(
        &mut self,
        offset: usize,
        at: &str,
        dest: &Path,
        index: usize,
        directory: &DirectoryDocument,
    ) {
        let (dest, above) = (escaped(dest), escaped(&directory.path.value.0));
        let ownership = self.directory_ownership(directory);
        let message = if self.opens(ownership) {
            format!(
                "{dest} is below {above}, which the service can change; install it elsewhere, add \"mutable\": true, or \
                 let $.directories[{index}] belong to root"
            )
        } else if self.is_locking()
            && (ownership.uid != self.identities.installer || ownership.mode & 0o022 != 0)
        {
            format!(
                "{dest} is below {above}, which others than root can change; let $.directories[{index}] belong to root, \
                 without write permission for group and others"
            )
        } else if directory.recursive {
            format!(
                "{dest} is below {above}, all of which is given to one owner; install it elsewhere, or remove \
                 \"recursive\" from $.directories[{index}]"
            )
        } else {
            return;
        };
        self.problem(offset, at.to_owned(), message);
    }
}

impl From<&CheckDocument> for ConfigTest {
    fn from(check: &CheckDocument) -> Self {
        Self {
            command: words(&check.command),
            limit: Duration::from_secs(check.timeout_seconds.into()),
        }
    }
}

fn words(command: &CommandDocument) -> Vec<OsString> {
    command.0.iter().map(|word| word.0.clone().into()).collect()
}

fn mode(mode: Option<Located<Mode>>, default: u32) -> u32 {
    mode.map_or(default, |mode| mode.value.0)
}

/// The key of an entry in an inventory.
impl From<&Entry> for PathKey {
    fn from(entry: &Entry) -> Self {
        Self::new(&entry.dest)
    }
}

/// The temporary name under which `dest` is written: the same at every start, so that a leftover is found again, and short
/// whatever the length of the name.
pub(crate) fn temporary_name(dest: &Path) -> OsString {
    use std::os::unix::ffi::OsStrExt;
    let hash = Digest::of(dest.as_os_str().as_bytes()).hex();
    let mut name = OsString::from(manifest::TEMPORARY_PREFIX);
    name.push(OsStr::new(&hash[..16]));
    name
}
