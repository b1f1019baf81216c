//! What `sealinit check` finds: whether a first start of this manifest would succeed here, and all that would stop it.
//!
//! Never writes, and does not stop at the first problem: where something cannot be resolved, what does not depend on it is looked at
//! all the same.

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::accounts::Caller;
use crate::error::{Error, exit_code};
use crate::fs::mounts::mount_points;
use crate::fs::root::Root;
use crate::preflight::permissions;
use crate::report::log::PinStatus;
use crate::report::{count, shown};
use crate::start::request::Request;
use crate::start::resolve::{View, resolve};
use crate::state::{Recorded, StateDir};
use crate::sys::capability::CapabilitySet;

/// What `check` is told.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// The container's root directory; `/` is our own, with all that is known of this process.
    pub(crate) root: PathBuf,
    /// Where the manifest is in the eyes of this process, whatever the root.
    pub(crate) request: Request,
    /// Whether warnings are problems.
    pub(crate) strict: bool,
}

/// What was found. The order of the fields is that of the JSON.
#[derive(Debug, Serialize)]
pub(crate) struct CheckReport {
    /// `ok`, `warnings` or `problems`.
    result: &'static str,
    /// `None` where not every source could be read.
    digest: Option<String>,
    pin: &'static str,
    lock: Option<&'static str>,
    entries: usize,
    errors: Vec<Finding>,
    warnings: Vec<Finding>,
    #[serde(skip)]
    strict: bool,
}

/// One problem.
#[derive(Debug, Serialize)]
struct Finding {
    area: Area,
    /// The exit code that it would give a start; `None` for a warning.
    code: Option<u8>,
    message: String,
}

/// What a problem is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Area {
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

    fn name(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Sources => "sources",
            Self::Pin => "pin",
            Self::Accounts => "accounts",
            Self::Privileges => "privileges",
            Self::State => "state",
            Self::Destinations => "destinations",
            Self::Service => "service",
        }
    }

    /// The part of a start that ends with this code.
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

/// Rehearses a first start.
///
/// # Errors
/// That the root cannot be looked at.
pub(crate) fn rehearsal(options: &Options) -> Result<CheckReport, Error> {
    let root = |source| Error::Root {
        path: options.root.clone(),
        source,
    };
    let tree = Root::open(&options.root).map_err(root)?;
    let mut rehearsal = CheckReport {
        result: "ok",
        digest: None,
        pin: PinStatus::None.name(),
        lock: None,
        entries: 0,
        errors: Vec::new(),
        warnings: Vec::new(),
        strict: options.strict,
    };
    rehearsal.rehearse(options, &tree)?;
    rehearsal.errors = by_area(rehearsal.errors);
    rehearsal.warnings = by_area(rehearsal.warnings);
    rehearsal.result = match (rehearsal.errors.as_slice(), rehearsal.warnings.as_slice()) {
        ([], []) => "ok",
        ([], _) if !options.strict => "warnings",
        _ => "problems",
    };
    Ok(rehearsal)
}

/// What was found of each area, in the order in which it was found.
fn by_area(mut findings: Vec<Finding>) -> Vec<Finding> {
    let mut sorted = Vec::with_capacity(findings.len());
    for area in Area::ALL {
        sorted.extend(findings.extract_if(.., |finding| finding.area == area));
    }
    sorted
}

impl CheckReport {
    fn rehearse(&mut self, options: &Options, root: &Root) -> Result<(), Error> {
        let inside = options.root == Path::new("/");
        let caller = if inside {
            Caller::of_this_process()?
        } else {
            container_root()
        };
        let view = if inside {
            View::Inside { caller: &caller }
        } else {
            View::Outside {
                caller: &caller,
                mount_points: mount_points_below(&options.root),
            }
        };
        let request = &options.request;
        let state = self.state(options, root, &caller);
        let resolution = resolve(request, root, state.as_ref(), &view);
        if let Some(digest) = resolution.digest {
            self.digest = Some(digest.to_string());
            self.pin = PinStatus::of(request.pin, digest).name();
            self.fail(Error::not_pinned(request.pin, digest));
        }
        self.entries = resolution.sources.map_or(0, |sources| sources.0.len());
        for problem in resolution.problems {
            match problem {
                Error::SourceElsewhere { .. } => self.warn(Area::Sources, problem.to_string()),
                problem => self.fail([problem]),
            }
        }
        if let Some(plan) = &resolution.plan {
            self.lock = Some(plan.lock.name());
            for unreadable in permissions::unreadable(root, plan) {
                self.warn(Area::Destinations, unreadable.to_string());
            }
        }
        Ok(())
    }

    /// The state directory, and what is unusual about it.
    fn state<'t>(
        &mut self,
        options: &Options,
        tree: &'t Root,
        caller: &Caller,
    ) -> Option<StateDir<'t>> {
        let state = match StateDir::open(tree, &options.request.state_dir, caller) {
            Ok(state) => state,
            Err(error) => {
                self.fail([error]);
                return None;
            }
        };
        let dir = shown(&options.request.state_dir);
        match state.recorded(&options.request.manifest) {
            Ok(Recorded::Nothing) => {}
            Ok(Recorded::Journal(_)) => {
                self.warn(
                    Area::State,
                    format!("a first start was interrupted here ({dir}); the next one resumes it"),
                );
            }
            Ok(Recorded::Seal(_)) => {
                self.warn(
                    Area::State,
                    format!(
                        "there is a seal in {dir}, so the next start is no first one; see plan"
                    ),
                );
            }
            Err(error) => self.fail([error]),
        }
        if state.is_volatile() {
            let message = format!(
                "the state directory {dir} is in memory: the seal goes with the container's stop"
            );
            self.warn(Area::State, message);
        }
        Some(state)
    }

    fn fail(&mut self, errors: impl IntoIterator<Item = Error>) {
        self.errors.extend(errors.into_iter().map(Finding::from));
    }

    fn warn(&mut self, area: Area, message: String) {
        self.warnings.push(Finding {
            area,
            code: None,
            message,
        });
    }

    /// The exit code of `check`.
    pub(crate) fn exit_code(&self) -> u8 {
        if self.result == "problems" {
            exit_code::FOUND
        } else {
            0
        }
    }

    /// As `JUnit` XML, which CI systems show: a test case for each area, with a failure for each error.
    pub(crate) fn junit(&self) -> String {
        let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        let failures: Vec<&Finding> = self
            .errors
            .iter()
            .chain(self.warnings.iter().filter(|_| self.strict))
            .collect();
        let failed = Area::ALL
            .iter()
            .filter(|area| failures.iter().any(|failure| failure.area == **area))
            .count();
        // Writing to a string does not fail.
        let _ = writeln!(
            xml,
            "<testsuite name=\"sealinit check\" tests=\"{}\" failures=\"{failed}\" errors=\"0\" skipped=\"0\">",
            Area::ALL.len()
        );
        for area in Area::ALL {
            let of_area = |finding: &&Finding| finding.area == area;
            let name = area.name();
            let _ = writeln!(
                xml,
                "  <testcase classname=\"sealinit.check\" name=\"{name}\">"
            );
            for Finding { code, message, .. } in failures.iter().copied().filter(of_area) {
                let kind = code.map_or_else(|| "warning".into(), |code| code.to_string());
                let message = xml_text(message);
                let _ = writeln!(xml, "    <failure type=\"{kind}\" message=\"{message}\"/>");
            }
            let warnings: Vec<String> = self
                .warnings
                .iter()
                .filter(of_area)
                .map(|found| xml_text(&found.message))
                .collect();
            if !warnings.is_empty() && !self.strict {
                let _ = writeln!(xml, "    <system-out>{}</system-out>", warnings.join("\n"));
            }
            let _ = writeln!(xml, "  </testcase>");
        }
        xml + "</testsuite>\n"
    }
}

/// `text` in an XML attribute or element. Control characters, of which XML knows most not at all, are escaped already.
fn xml_text(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&apos;")
}

/// Who starts a container that is only looked at: what it may do is known when it starts.
fn container_root() -> Caller {
    Caller {
        uid: 0,
        gid: 0,
        groups: vec![0],
        capabilities: CapabilitySet(u64::MAX),
    }
}

/// What is mounted below `root`, as it is seen from there.
fn mount_points_below(root: &Path) -> Vec<PathBuf> {
    let Ok(root) = root.canonicalize() else {
        return Vec::new();
    };
    let mounted = mount_points().into_iter();
    mounted
        .filter_map(|mounted| {
            mounted
                .strip_prefix(&root)
                .ok()
                .map(|below| Path::new("/").join(below))
        })
        .collect()
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors = count(self.errors.len(), "error", "errors");
        let warnings = count(self.warnings.len(), "warning", "warnings");
        match self.result {
            "problems" => writeln!(
                f,
                "problems: {errors} and {warnings}; a first start is not as it should be"
            )?,
            "warnings" => writeln!(f, "warnings: a first start would succeed, with {warnings}")?,
            _ => writeln!(f, "ok: a first start would succeed")?,
        }
        let digest = self.digest.as_deref().unwrap_or("unknown");
        writeln!(
            f,
            "digest={digest} pin={} lock={} entries={}",
            self.pin,
            self.lock.unwrap_or("unknown"),
            self.entries
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
