//! `sealinit status`: shows the seal, its time and its version, without reading the entries.

use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use clap::Args;
use serde::Serialize;

use crate::accounts::Accounts;
use crate::commands::options::{FormatOption, LogOptions, RootOption, StateOption};
use crate::commands::verify::read_record;
use crate::error::Error;
use crate::exit_code;
use crate::ids::{IdNames, id};
use crate::plan::sources::SourceEntry;
use crate::plan::{EntryKind, Protection};
use crate::report::{print, shown};
use crate::state::Recorded;
use crate::state::seal::Seal;

#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0, also if nothing is sealed; 74 if the seal is invalid or cannot be read; 2 for wrong
usage.

Example: sealinit status --root /proc/$(docker inspect -f '{{.State.Pid}}' web)/root")]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    root: RootOption,
    #[command(flatten)]
    state: StateOption,
    #[command(flatten)]
    format: FormatOption,
    #[command(flatten)]
    pub(crate) log: LogOptions,
}

impl StatusArgs {
    /// Prints the report; returns the exit code.
    ///
    /// # Errors
    /// [`Error::Root`] or [`Error::StateLook`] if the record cannot be read, or [`Error::Output`]
    /// if standard output is full or closed.
    pub(crate) fn run(&self) -> Result<u8, Vec<Error>> {
        let report = status(&self.root.root, &self.state.state_dir)?;
        print(&report, self.format.report_format())?;
        Ok(report.exit_code())
    }
}

/// The state of the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum SealState {
    Sealed,
    Unsealed,
    /// A first start was interrupted, or is running.
    Interrupted,
    /// There is a seal, and it is damaged or not to be trusted.
    Invalid,
}

impl fmt::Display for SealState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// The report of `status`. The order of the fields is that of the JSON.
#[derive(Debug, Serialize)]
pub(crate) struct StatusReport {
    state: SealState,
    /// The sealed digest, or that of the interrupted first start.
    digest: Option<String>,
    /// In UTC (RFC 3339).
    sealed_at: Option<String>,
    /// The version of sealinit.
    sealed_by: Option<String>,
    lock: Option<Protection>,
    service: Option<SealedService>,
    entries: Vec<SealedEntry>,
    /// The reason why a seal is invalid.
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct SealedService {
    uid: u32,
    user: Option<String>,
    gid: u32,
    group: Option<String>,
    groups: Vec<u32>,
    command: Vec<String>,
    #[serde(skip)]
    groups_with_names: String,
}

/// One sealed destination, without its hash, which would disclose information about a secret.
#[derive(Debug, Serialize)]
struct SealedEntry {
    path: String,
    kind: SealedKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum SealedKind {
    File,
    Directory,
    Mutable,
    Absent,
}

impl fmt::Display for SealedKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// Reads the record below `root` in `state_dir`.
///
/// # Errors
/// [`Error::Root`] or [`Error::StateLook`] if it cannot be read.
fn status(root: &Path, state_dir: &Path) -> Result<StatusReport, Error> {
    match read_record(root, state_dir) {
        Ok((_, Recorded::Seal(seal))) => Ok(StatusReport::of(&seal, &Accounts::id_names(root))),
        Ok((_, Recorded::Journal(interrupted))) => Ok(StatusReport {
            digest: interrupted.digest.map(|digest| digest.to_string()),
            ..StatusReport::without_seal(SealState::Interrupted)
        }),
        Ok((_, Recorded::Nothing)) => Ok(StatusReport::without_seal(SealState::Unsealed)),
        Err(error @ Error::Seal { .. }) => Ok(StatusReport::invalid(error.to_string())),
        Err(error) => Err(error),
    }
}

impl StatusReport {
    fn without_seal(state: SealState) -> Self {
        Self {
            state,
            digest: None,
            sealed_at: None,
            sealed_by: None,
            lock: None,
            service: None,
            entries: Vec::new(),
            error: None,
        }
    }

    fn invalid(error: String) -> Self {
        Self {
            error: Some(error),
            ..Self::without_seal(SealState::Invalid)
        }
    }

    fn of(seal: &Seal, names: &IdNames) -> Self {
        let plan = match seal.plan() {
            Ok(plan) => plan,
            Err(errors) => {
                let why: Vec<String> = errors.iter().map(ToString::to_string).collect();
                return Self::invalid(why.join("; "));
            }
        };
        let Some(sealed_at) = utc(seal.made.at) else {
            return Self::invalid(format!(
                "the seal's time, {} seconds, is not a date",
                seal.made.at
            ));
        };
        let entries = plan.entries.iter().map(|entry| {
            let ownership = entry.kind.ownership();
            SealedEntry {
                path: shown(&entry.dest),
                kind: match (&entry.kind, seal.sources.get(&entry.dest)) {
                    (_, Some(SourceEntry::Mutable(_))) => SealedKind::Mutable,
                    (EntryKind::File(_), _) => SealedKind::File,
                    (EntryKind::Directory(_), _) => SealedKind::Directory,
                    (EntryKind::Absent, _) => SealedKind::Absent,
                },
                owner: ownership.map(|wanted| wanted.uid),
                owner_name: ownership.and_then(|wanted| names.user(wanted.uid)),
                group: ownership.map(|wanted| wanted.gid),
                group_name: ownership.and_then(|wanted| names.group(wanted.gid)),
                mode: ownership.map(|wanted| format!("{:04o}", wanted.mode)),
            }
        });
        let service = &plan.service;
        let groups = service.groups.iter();
        let groups_with_names: Vec<String> = groups
            .map(|gid| id(gid, names.group(*gid).as_deref()))
            .collect();
        Self {
            digest: Some(seal.digest.to_string()),
            sealed_at: Some(sealed_at),
            sealed_by: Some(seal.made.by.clone()),
            lock: Some(plan.lock),
            service: Some(SealedService {
                uid: service.uid,
                user: names.user(service.uid),
                gid: service.gid,
                group: names.group(service.gid),
                groups: service.groups.iter().copied().collect(),
                command: service
                    .command
                    .iter()
                    .map(|word| shown(Path::new(word)))
                    .collect(),
                groups_with_names: groups_with_names.join(","),
            }),
            entries: entries.collect(),
            ..Self::without_seal(SealState::Sealed)
        }
    }

    fn exit_code(&self) -> u8 {
        if self.error.is_some() {
            exit_code::STATE
        } else {
            0
        }
    }
}

impl fmt::Display for StatusReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state;
        match (state, &self.error) {
            (_, Some(error)) => writeln!(f, "{state}: {error}")?,
            (SealState::Unsealed, _) => {
                writeln!(
                    f,
                    "{state}: nothing is sealed here; the first sealinit run seals"
                )?;
            }
            (SealState::Interrupted, _) => {
                let digest = self.digest.as_deref().unwrap_or("unknown");
                writeln!(
                    f,
                    "{state}: a first start was interrupted, or is running (digest {digest})"
                )?;
            }
            (SealState::Sealed | SealState::Invalid, None) => {}
        }
        if let (Some(at), Some(by)) = (&self.sealed_at, &self.sealed_by) {
            writeln!(f, "{state} {at} by sealinit {by}")?;
        }
        if let (Some(digest), Some(lock)) = (&self.digest, self.lock) {
            writeln!(
                f,
                "digest={digest} lock={lock} entries={}",
                self.entries.len()
            )?;
        }
        if let Some(service) = &self.service {
            writeln!(
                f,
                "service uid={} gid={} groups={} command={}",
                id(service.uid, service.user.as_deref()),
                id(service.gid, service.group.as_deref()),
                service.groups_with_names,
                service.command.join(" ")
            )?;
        }
        for entry in &self.entries {
            entry.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for SealedEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, kind, .. } = self;
        let (Some(owner), Some(group), Some(mode)) = (self.owner, self.group, &self.mode) else {
            return writeln!(f, "{kind} {path}");
        };
        let owner = id(owner, self.owner_name.as_deref());
        let group = id(group, self.group_name.as_deref());
        writeln!(f, "{kind} {mode} {owner}:{group} {path}")
    }
}

/// Formats seconds since 1970 as `2026-01-31T23:59:59Z`. Returns `None` after the year 9999.
fn utc(seconds: u64) -> Option<String> {
    const END: u64 = 253_402_300_800; // 10000-01-01
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?;
    (seconds < END).then(|| humantime::format_rfc3339_seconds(time).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The dates are those of `date --utc --date @N`.
    #[test]
    fn seconds_are_shown_as_a_date() {
        for (seconds, date) in [
            (0, Some("1970-01-01T00:00:00Z")),
            (951_782_399, Some("2000-02-28T23:59:59Z")),
            (951_782_400, Some("2000-02-29T00:00:00Z")),
            (978_307_199, Some("2000-12-31T23:59:59Z")),
            (1_709_251_199, Some("2024-02-29T23:59:59Z")),
            (4_107_542_400, Some("2100-03-01T00:00:00Z")),
            (1_795_164_813, Some("2026-11-20T08:53:33Z")),
            (253_402_300_799, Some("9999-12-31T23:59:59Z")),
            (253_402_300_800, None),
            (u64::MAX, None),
        ] {
            assert_eq!(utc(seconds).as_deref(), date);
        }
    }
}
