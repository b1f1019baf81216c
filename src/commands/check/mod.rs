//! `sealinit check`: finds everything that would stop a first start of this manifest here.
//!
//! Writes nothing. A part that cannot be resolved does not keep the others from being checked.

mod report;

use std::path::Path;

use clap::{Args, ValueEnum};

use crate::accounts::Caller;
use crate::commands::check::report::{Area, CheckReport};
use crate::commands::options::{LogOptions, RequestOptions, RootOption};
use crate::commands::outside;
use crate::error::Error;
use crate::fs::root::Root;
use crate::preflight::permissions;
use crate::report::{ReportFormat, print, shown, write};
use crate::start::request::Request;
use crate::start::resolve::{View, resolve};
use crate::state::{Recorded, StateDir};

#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 if a first start would succeed, 1 if it would be refused (with --strict also for
warnings), 74 if the root directory cannot be read; 2 for wrong usage.

Example: docker run --rm -v \"$PWD/web:/etc/sealinit:ro\" IMAGE check")]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    root: RootOption,
    #[command(flatten)]
    request: RequestOptions,
    /// Treat warnings as errors
    #[arg(long)]
    strict: bool,
    /// The format of the report
    #[arg(long, default_value = "text")]
    format: CheckFormat,
    #[command(flatten)]
    pub(crate) log: LogOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CheckFormat {
    /// Lines for people
    Text,
    /// One JSON object on one line
    Json,
    /// `JUnit` XML, which CI systems show
    Junit,
}

impl CheckArgs {
    /// Prints the report; returns the exit code.
    ///
    /// # Errors
    /// [`Error::Root`] if the root directory cannot be read, or [`Error::Output`] if standard
    /// output is full or closed.
    pub(crate) fn run(self) -> Result<u8, Vec<Error>> {
        let report = check(&self.root.root, &self.request.into(), self.strict)?;
        match self.format {
            CheckFormat::Text => print(&report, ReportFormat::Text)?,
            CheckFormat::Json => print(&report, ReportFormat::Json)?,
            CheckFormat::Junit => write(&report.junit())?,
        }
        Ok(report.exit_code())
    }
}

/// Checks a first start below `root`. For `/`, privileges and mounts of this process count too.
///
/// # Errors
/// [`Error::Root`] if `root` cannot be read.
fn check(root: &Path, request: &Request, strict: bool) -> Result<CheckReport, Error> {
    let tree = Root::open(root).map_err(|source| Error::Root {
        path: root.to_owned(),
        source,
    })?;
    let mut report = CheckReport::new(strict);
    report.examine(root, request, &tree)?;
    Ok(report.finished())
}

impl CheckReport {
    fn examine(&mut self, path: &Path, request: &Request, root: &Root) -> Result<(), Error> {
        let caller = outside::caller_in(path)?;
        let view = outside::view_of(path, &caller);
        let state = self.state(request, root, &caller);
        let resolution = resolve(request, root, state.as_ref(), &view);
        if let Some(digest) = resolution.digest {
            self.set_digest(request.pin, digest);
        } else {
            self.skip(&[Area::Pin], "not every source could be read");
        }
        if request.pin.is_none() {
            self.skip(&[Area::Pin], "there is no pin");
        }
        if resolution.declaration.is_none() {
            let areas = [Area::Sources, Area::Accounts];
            self.skip(&areas, "the manifest could not be read");
        }
        if resolution.plan.is_none() || state.is_none() {
            self.skip(&Area::PLANNED, "the plan could not be made");
        }
        if matches!(view, View::Outside { .. }) {
            let why = "the privileges of a start are known in the container alone";
            self.skip(&[Area::Privileges], why);
        }
        self.entries = match (&resolution.plan, &resolution.sources) {
            (Some(plan), _) => plan.entries.len(),
            (None, Some(sources)) => sources.0.len(),
            (None, None) => 0,
        };
        for problem in resolution.problems {
            match problem {
                Error::SourceElsewhere { .. } => self.warn(Area::Sources, problem.to_string()),
                problem => self.fail([problem]),
            }
        }
        if let Some(plan) = &resolution.plan {
            self.lock = Some(plan.lock);
            for unreadable in permissions::unreadable(root, plan) {
                self.warn(Area::Destinations, unreadable.to_string());
            }
        }
        Ok(())
    }

    /// Returns the state directory, and reports problems of it.
    fn state<'t>(
        &mut self,
        request: &Request,
        tree: &'t Root,
        caller: &Caller,
    ) -> Option<StateDir<'t>> {
        let state = match StateDir::open(tree, &request.state_dir, caller) {
            Ok(state) => state,
            Err(error) => {
                self.fail([error]);
                return None;
            }
        };
        let dir = shown(&request.state_dir);
        match state.recorded(&request.manifest) {
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
                        "there is a seal in {dir}, so the next start is not a first start; see sealinit plan"
                    ),
                );
            }
            Err(error) => self.fail([error]),
        }
        if state.is_volatile() {
            let message = format!(
                "the state directory {dir} is on a tmpfs: the seal is lost when the container stops"
            );
            self.warn(Area::State, message);
        }
        Some(state)
    }
}
