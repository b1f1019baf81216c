//! The report of `sealinit check`.

use std::fmt;

use serde::Serialize;

use crate::digest::Digest;
use crate::digest::pin::PinStatus;
use crate::error::Error;
use crate::exit_code;
use crate::plan::Protection;
use crate::report::count;
use crate::report::junit::{self, Failure, TestCase};

/// The result in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum CheckResult {
    Ok,
    Warnings,
    Failed,
}

impl fmt::Display for CheckResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// The report of `check`. The order of the fields is that of the JSON.
#[derive(Debug, Serialize)]
pub(crate) struct CheckReport {
    result: CheckResult,
    /// `None` if a source could not be read.
    digest: Option<String>,
    pin: PinStatus,
    /// `None` if the service's user is not known.
    pub(crate) lock: Option<Protection>,
    pub(crate) entries: usize,
    errors: Vec<Finding>,
    warnings: Vec<Finding>,
    /// The areas that were not examined, with the reason.
    #[serde(skip)]
    skipped: Vec<(Area, &'static str)>,
    #[serde(skip)]
    strict: bool,
}

/// One problem.
#[derive(Debug, Serialize)]
struct Finding {
    area: Area,
    /// The exit code of a start with this problem; `None` for a warning.
    code: Option<u8>,
    message: String,
}

/// The subject of a problem, in the order of reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Area {
    Manifest,
    Sources,
    Pin,
    Accounts,
    Privileges,
    State,
    Destinations,
    Service,
}

impl Area {
    const ALL: [Self; 8] = [
        Self::Manifest,
        Self::Sources,
        Self::Pin,
        Self::Accounts,
        Self::Privileges,
        Self::State,
        Self::Destinations,
        Self::Service,
    ];

    /// The areas that need a plan.
    pub(crate) const PLANNED: [Self; 3] = [Self::Privileges, Self::Destinations, Self::Service];

    /// Returns the part of a start that ends with this exit code.
    fn of(code: u8) -> Self {
        match code {
            exit_code::SOURCE => Self::Sources,
            exit_code::ACCOUNT => Self::Accounts,
            exit_code::INSTALL => Self::Destinations,
            exit_code::PRIVILEGE => Self::Privileges,
            exit_code::MANIFEST => Self::Manifest,
            exit_code::PIN => Self::Pin,
            exit_code::CHECK | exit_code::NOT_EXECUTABLE | exit_code::NOT_FOUND => Self::Service,
            _ => Self::State,
        }
    }
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl From<Error> for Finding {
    fn from(error: Error) -> Self {
        let code = error.exit_code();
        Self {
            area: Area::of(code),
            code: Some(code),
            message: error.to_string(),
        }
    }
}

impl<'a> From<&'a Finding> for Failure<'a> {
    fn from(finding: &'a Finding) -> Self {
        Self {
            kind: finding
                .code
                .map_or_else(|| "warning".into(), |code| code.to_string()),
            message: &finding.message,
        }
    }
}

impl CheckReport {
    pub(crate) fn new(strict: bool) -> Self {
        Self {
            result: CheckResult::Ok,
            digest: None,
            pin: PinStatus::None,
            lock: None,
            entries: 0,
            errors: Vec::new(),
            warnings: Vec::new(),
            skipped: Vec::new(),
            strict,
        }
    }

    pub(crate) fn set_digest(&mut self, pin: Option<Digest>, digest: Digest) {
        self.digest = Some(digest.to_string());
        self.pin = PinStatus::of(pin, digest);
        self.fail(Error::not_pinned(pin, digest));
    }

    pub(crate) fn fail(&mut self, errors: impl IntoIterator<Item = Error>) {
        self.errors.extend(errors.into_iter().map(Finding::from));
    }

    pub(crate) fn warn(&mut self, area: Area, message: String) {
        self.warnings.push(Finding {
            area,
            code: None,
            message,
        });
    }

    /// Records that `areas` were not examined.
    pub(crate) fn skip(&mut self, areas: &[Area], why: &'static str) {
        self.skipped.extend(areas.iter().map(|area| (*area, why)));
    }

    /// Sorts the findings by area, each in the order in which they were found, and sets the result.
    pub(crate) fn finished(mut self) -> Self {
        self.errors.sort_by_key(|finding| finding.area);
        self.warnings.sort_by_key(|finding| finding.area);
        self.result = match (self.errors.as_slice(), self.warnings.as_slice()) {
            ([], []) => CheckResult::Ok,
            ([], _) if !self.strict => CheckResult::Warnings,
            _ => CheckResult::Failed,
        };
        self
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self.result {
            CheckResult::Failed => exit_code::FOUND,
            CheckResult::Ok | CheckResult::Warnings => 0,
        }
    }

    /// Renders `JUnit` XML: a test case for each area, with a failure for each error.
    pub(crate) fn junit(&self) -> String {
        let cases: Vec<TestCase<'_>> = Area::ALL.iter().map(|area| self.case(*area)).collect();
        junit::render("sealinit check", "sealinit.check", &cases)
    }

    fn case(&self, area: Area) -> TestCase<'_> {
        let of_area = |finding: &&Finding| finding.area == area;
        let errors = self.errors.iter().filter(of_area);
        let warnings = self.warnings.iter().filter(of_area);
        let mut case = TestCase {
            name: area.to_string(),
            failures: errors.map(Failure::from).collect(),
            skipped: self
                .skipped
                .iter()
                .find(|(skipped, _)| *skipped == area)
                .map(|(_, why)| *why),
            output: Vec::new(),
        };
        if self.strict {
            case.failures.extend(warnings.map(Failure::from));
        } else {
            case.output = warnings.map(|found| found.message.as_str()).collect();
        }
        case
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors = count(self.errors.len(), "error", "errors");
        let warnings = count(self.warnings.len(), "warning", "warnings");
        match self.result {
            CheckResult::Failed if self.errors.is_empty() => {
                writeln!(f, "failed: {warnings}; --strict treats warnings as errors")?;
            }
            CheckResult::Failed => writeln!(
                f,
                "failed: {errors}, {warnings}; a first start would be refused"
            )?,
            CheckResult::Warnings => {
                writeln!(f, "warnings: {warnings}; a first start would succeed")?;
            }
            CheckResult::Ok => writeln!(f, "ok: a first start would succeed")?,
        }
        let digest = self.digest.as_deref().unwrap_or("unknown");
        let lock = self
            .lock
            .map_or_else(|| "unknown".into(), |lock| lock.to_string());
        writeln!(
            f,
            "digest={digest} pin={} lock={lock} entries={}",
            self.pin, self.entries
        )?;
        for Finding { message, .. } in &self.errors {
            writeln!(f, "error {message}")?;
        }
        for Finding { message, .. } in &self.warnings {
            writeln!(f, "warning {message}")?;
        }
        Ok(())
    }
}
