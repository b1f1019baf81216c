//! Reads a declaration with its sources, consistently at one moment.
//!
//! This is the only module behind the formats that depends on them.

use std::path::Path;

use crate::declaration::Declaration;
use crate::digest::Digest;
use crate::error::Error;
use crate::manifest;
use crate::plan::reading::{self, ContentCache, SourceScope};
use crate::plan::sources::SourceTable;

/// The configuration that the operator has mounted.
#[derive(Debug)]
pub(crate) struct Configuration {
    pub(crate) declaration: Declaration,
    pub(crate) sources: SourceTable,
    /// Small contents, as they were hashed.
    pub(crate) cache: ContentCache,
    /// `None` unless every source could be read.
    pub(crate) digest: Option<Digest>,
}

impl Configuration {
    /// Reads the manifest at `path` and those of its sources that are in `scope`, and returns every
    /// problem. There is a configuration if the manifest is valid.
    pub(crate) fn load(path: &Path, scope: SourceScope) -> (Option<Self>, Vec<Error>) {
        const ATTEMPTS: usize = 5;
        // Kubernetes swaps a whole directory by its link `..data`, and files read before and after
        // would make a configuration that does not exist anywhere.
        let data = || {
            let directory = path.parent()?;
            std::fs::read_link(directory.join("..data")).ok()
        };
        let mut attempt = 1;
        loop {
            let before = data();
            let read = Self::read(path, scope);
            if attempt == ATTEMPTS || data() == before {
                return read;
            }
            attempt += 1;
        }
    }

    fn read(path: &Path, scope: SourceScope) -> (Option<Self>, Vec<Error>) {
        let declaration = read(path)
            .map_err(Vec::from)
            .and_then(|bytes| parse(path, bytes));
        let declaration = match declaration {
            Ok(declaration) => declaration,
            Err(errors) => return (None, errors),
        };
        let (sources, cache, errors) = reading::read(&declaration, scope);
        let digest = errors
            .is_empty()
            .then(|| sources.digest(declaration.origin.text()));
        let configuration = Self {
            declaration,
            sources,
            cache,
            digest,
        };
        (Some(configuration), errors)
    }

    /// The digest of the configuration at `path`.
    ///
    /// # Errors
    ///
    /// Every problem with the manifest and its sources.
    pub(crate) fn digest(path: &Path) -> Result<Digest, Vec<Error>> {
        let (configuration, errors) = Self::load(path, SourceScope::All);
        match configuration.and_then(|configuration| configuration.digest) {
            Some(digest) => Ok(digest),
            None => Err(errors),
        }
    }
}

/// Reads the document at `path`.
///
/// # Errors
///
/// [`Error::ManifestRead`] or [`Error::ManifestTooLarge`].
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    manifest::read(path)
}

/// Parses the document `bytes`, read from `path`.
///
/// # Errors
///
/// [`Error::ManifestInvalid`] for each problem.
pub(crate) fn parse(path: &Path, bytes: Vec<u8>) -> Result<Declaration, Vec<Error>> {
    manifest::parse(path, bytes)
}
