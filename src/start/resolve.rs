//! Resolves a request to a plan, and finds every problem. Nothing is written.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::accounts::{Accounts, Caller, Identities};
use crate::decide::first_start::Candidate;
use crate::declaration::Declaration;
use crate::digest::Digest;
use crate::error::Error;
use crate::fs::root::Root;
use crate::plan::Plan;
use crate::plan::configuration::Configuration;
use crate::plan::reading::{ContentCache, SourceScope};
use crate::plan::sources::SourceTable;
use crate::preflight::{self, Examination};
use crate::start::request::Request;
use crate::state::StateDir;

/// The place from which the container of a request is examined.
#[derive(Debug)]
pub(crate) enum View<'a> {
    /// From inside: this process would start it.
    Inside { caller: &'a Caller },
    /// From outside, below its root directory: root starts it, with these mounts.
    Outside {
        caller: &'a Caller,
        mount_points: Vec<PathBuf>,
    },
}

impl View<'_> {
    fn caller(&self) -> &Caller {
        match self {
            Self::Inside { caller } | Self::Outside { caller, .. } => caller,
        }
    }

    /// Returns the sources that can be read. Absolute ones are paths of the container, which may be
    /// mounts that are not visible from outside.
    fn source_scope(&self) -> SourceScope {
        match self {
            Self::Inside { .. } => SourceScope::All,
            Self::Outside { .. } => SourceScope::BesideManifest,
        }
    }
}

/// The resolved parts of a request, and all problems.
#[derive(Debug, Default)]
pub(crate) struct Resolution {
    pub(crate) declaration: Option<Declaration>,
    pub(crate) sources: Option<SourceTable>,
    pub(crate) identities: Option<Identities>,
    /// `None` if the manifest is not valid or the service's user is unknown.
    pub(crate) plan: Option<Plan>,
    /// `None` unless every source could be read.
    pub(crate) digest: Option<Digest>,
    /// Small contents, as they were hashed.
    pub(crate) cache: ContentCache,
    pub(crate) problems: Vec<Error>,
    /// Recursive directories that need no second look.
    pub(crate) settled: BTreeSet<PathBuf>,
}

/// Resolves `request` for the container below `root`.
pub(crate) fn resolve(
    request: &Request,
    root: &Root,
    state: Option<&StateDir<'_>>,
    view: &View<'_>,
) -> Resolution {
    let mut resolution = Resolution::default();
    resolution.read(request, view.source_scope());
    resolution.identify(root, view.caller());
    resolution.plan(request);
    let examination = resolution.preflight(request, root, state, view);
    resolution.problems.extend(examination.problems);
    resolution.settled = examination.settled;
    resolution
}

impl Resolution {
    fn read(&mut self, request: &Request, scope: SourceScope) {
        let (configuration, problems) = Configuration::load(&request.manifest, scope);
        self.problems.extend(problems);
        if let Some(configuration) = configuration {
            self.digest = configuration.digest;
            self.declaration = Some(configuration.declaration);
            self.sources = Some(configuration.sources);
            self.cache = configuration.cache;
        }
    }

    fn identify(&mut self, root: &Root, caller: &Caller) {
        let Some(declaration) = &self.declaration else {
            return;
        };
        match Accounts::load(root) {
            Ok(accounts) => {
                let (identities, unknown) = Identities::resolve(declaration, &accounts, caller);
                self.identities = identities;
                self.problems.extend(unknown);
            }
            Err(error) => self.problems.push(error),
        }
    }

    fn plan(&mut self, request: &Request) {
        if let (Some(declaration), Some(sources), Some(identities)) =
            (&self.declaration, &self.sources, &self.identities)
        {
            let (plan, contradictions) =
                Plan::build(declaration, sources, identities, &request.command);
            self.plan = plan;
            self.problems.extend(contradictions);
        }
    }

    /// Returns everything else that would stop the start, as far as its plan is known.
    fn preflight(
        &self,
        request: &Request,
        root: &Root,
        state: Option<&StateDir<'_>>,
        view: &View<'_>,
    ) -> Examination {
        // An unusable state directory was reported when it was opened.
        let Some(state) = state else {
            return Examination::default();
        };
        // A caller that cannot become the service owns none of the destinations either: reporting
        // each of them would bury the reason.
        let is_unreachable = match (&self.identities, view) {
            (Some(identities), View::Inside { caller }) => {
                !identities.service.unreachable(caller).is_empty()
            }
            _ => false,
        };
        match (&self.plan, &self.declaration, view) {
            (_, Some(declaration), _) if is_unreachable => {
                preflight::service_of_any_user(root, declaration, &request.command).into()
            }
            (Some(plan), _, View::Inside { caller }) => {
                preflight::first_start(root, plan, state, caller, &request.manifest)
            }
            (Some(plan), _, View::Outside { mount_points, .. }) => {
                preflight::first_start_elsewhere(root, plan, state, mount_points.clone()).into()
            }
            (None, Some(declaration), _) if self.identities.is_none() => {
                let arguments = &request.command;
                preflight::first_start_of_unknown_user(root, declaration, arguments, state).into()
            }
            (None, ..) => Vec::from_iter(state.obstacle()).into(),
        }
    }

    /// Returns the complete configuration, with the problems that would keep it from being
    /// installed.
    ///
    /// # Errors
    ///
    /// All problems, if a part of the configuration could not be resolved.
    pub(crate) fn candidate(
        self,
        request: &Request,
    ) -> Result<(Candidate, ContentCache, Vec<Error>), Vec<Error>> {
        let Self {
            declaration: Some(declaration),
            sources: Some(sources),
            identities: Some(identities),
            plan: Some(plan),
            digest: Some(digest),
            cache,
            problems,
            settled: _,
        } = self
        else {
            return Err(self.problems);
        };
        let arguments = request.command.clone();
        let candidate = Candidate {
            declaration,
            sources,
            identities,
            arguments,
            plan,
            digest,
        };
        Ok((candidate, cache, problems))
    }
}
