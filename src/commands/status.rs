//! What `sealinit status` tells: what is sealed here, when and by which version.
//!
//! Never compares it with the disk; that is [`verification`](crate::commands::verify)'s.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::commands::verify::look;
use crate::error::{Error, exit_code};
use crate::plan::EntryKind;
use crate::plan::sources::{Kind, PathKey};
use crate::report::shown;
use crate::state::Recorded;
use crate::state::seal::Seal;

/// What is recorded. The order of the fields is that of the JSON.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Status {
    /// `sealed`, `unsealed`, `interrupted` or `unbelievable`.
    state: &'static str,
    /// Of what is sealed, or was being installed.
    digest: Option<String>,
    /// In UTC (RFC 3339).
    sealed_at: Option<String>,
    /// The version of sealinit.
    sealed_by: Option<String>,
    lock: Option<&'static str>,
    service: Option<Service>,
    entries: Vec<Entry>,
    /// Why a seal cannot be believed.
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Service {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    command: Vec<String>,
}

/// One sealed destination. Never a hash: of a secret it would tell something.
#[derive(Debug, Serialize)]
struct Entry {
    path: String,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<String>,
}

/// What is recorded below `root` in `state_dir`.
///
/// # Errors
/// That it cannot be looked at.
pub(crate) fn status(root: &Path, state_dir: &Path) -> Result<Status, Error> {
    match look(root, state_dir) {
        Ok((_, Recorded::Seal(seal))) => Ok(Status::of(&seal)),
        Ok((_, Recorded::Journal(interrupted))) => Ok(Status {
            state: "interrupted",
            digest: interrupted.digest.map(|digest| digest.to_string()),
            ..Status::default()
        }),
        Ok((_, Recorded::Nothing)) => Ok(Status {
            state: "unsealed",
            ..Status::default()
        }),
        Err(error @ Error::Seal { .. }) => Ok(Status::unbelievable(error.to_string())),
        Err(error) => Err(error),
    }
}

impl Status {
    fn unbelievable(error: String) -> Self {
        Self {
            state: "unbelievable",
            error: Some(error),
            ..Self::default()
        }
    }

    fn of(seal: &Seal) -> Self {
        let plan = match seal.plan() {
            Ok(plan) => plan,
            Err(errors) => {
                let why: Vec<String> = errors.iter().map(ToString::to_string).collect();
                return Self::unbelievable(why.join("; "));
            }
        };
        let entries = plan.entries.iter().map(|entry| Entry {
            path: shown(&entry.dest),
            kind: match (&entry.kind, seal.inventory.0.get(&PathKey::from(entry))) {
                (_, Some(Kind::Mutable(_))) => "mutable",
                (EntryKind::File(_), _) => "file",
                (EntryKind::Directory(_), _) => "directory",
                (EntryKind::Absent, _) => "absent",
            },
            owner: entry.kind.ownership().map(|found| found.uid),
            group: entry.kind.ownership().map(|found| found.gid),
            mode: entry
                .kind
                .ownership()
                .map(|found| format!("{:04o}", found.mode)),
        });
        Self {
            state: "sealed",
            digest: Some(seal.digest.to_string()),
            sealed_at: Some(utc(seal.made.at)),
            sealed_by: Some(seal.made.by.clone()),
            lock: Some(plan.lock.name()),
            service: Some(Service {
                uid: plan.service.uid,
                gid: plan.service.gid,
                groups: plan.service.groups.iter().copied().collect(),
                command: plan
                    .service
                    .command
                    .iter()
                    .map(|word| shown(Path::new(word)))
                    .collect(),
            }),
            entries: entries.collect(),
            error: None,
        }
    }

    /// The exit code of `status`.
    pub(crate) fn exit_code(&self) -> u8 {
        if self.error.is_some() {
            exit_code::STATE
        } else {
            0
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.state, &self.error, &self.digest) {
            ("unsealed", ..) => {
                return writeln!(
                    f,
                    "unsealed: nothing is sealed here; the first sealinit run seals"
                );
            }
            ("interrupted", _, digest) => {
                let digest = digest.as_deref().unwrap_or("unknown");
                return writeln!(
                    f,
                    "interrupted: a first start has not reached its end (digest {digest})"
                );
            }
            (state, Some(error), _) => return writeln!(f, "{state}: {error}"),
            _ => {}
        }
        let of = |value: &Option<String>| value.clone().unwrap_or_default();
        writeln!(
            f,
            "sealed {} by sealinit {}",
            of(&self.sealed_at),
            of(&self.sealed_by)
        )?;
        writeln!(
            f,
            "digest={} lock={} entries={}",
            of(&self.digest),
            self.lock.unwrap_or(""),
            self.entries.len()
        )?;
        if let Some(Service {
            uid,
            gid,
            groups,
            command,
        }) = &self.service
        {
            let groups: Vec<String> = groups.iter().map(ToString::to_string).collect();
            writeln!(
                f,
                "service uid={uid} gid={gid} groups={} command={}",
                groups.join(","),
                command.join(" ")
            )?;
        }
        for Entry {
            path,
            kind,
            owner,
            group,
            mode,
        } in &self.entries
        {
            match (owner, group, mode) {
                (Some(owner), Some(group), Some(mode)) => {
                    writeln!(f, "{kind} {mode} {owner}:{group} {path}")?;
                }
                _ => writeln!(f, "{kind} {path}")?,
            }
        }
        Ok(())
    }
}

/// Seconds since 1970 as `2026-01-31T23:59:59Z`.
fn utc(seconds: u64) -> String {
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (mut year, mut day) = (1970, days);
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    // Four hundred years are always as long, so that a nonsensical number does not take long.
    year += day / 146_097 * 400;
    day %= 146_097;
    loop {
        let length = if leap(year) { 366 } else { 365 };
        if day < length {
            break;
        }
        day -= length;
        year += 1;
    }
    let february = if leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!(
        "{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z",
        day + 1
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `date --utc --date @N` prints them.
    #[test]
    fn seconds_are_the_date_that_they_are() {
        for (seconds, date) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (978_307_199, "2000-12-31T23:59:59Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (1_795_164_813, "2026-11-20T08:53:33Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(utc(seconds), date);
        }
    }
}
