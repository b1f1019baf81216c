//! The native format: strict JSON.
//!
//! Every problem that shows without looking at the machine is reported at once.

mod document;
mod lower;
mod schema;
mod value;

use std::path::Path;

use crate::declaration::{Declaration, Origin};
use crate::error::Error;
use crate::fs::source;
use crate::json::{self, Problem};
use crate::manifest::document::ManifestDocument;
use crate::manifest::value::VersionAlone;

/// The size limit of a manifest, in bytes. Larger content belongs into source files.
const MAX_BYTES: u64 = 1024 * 1024;

/// Parses `bytes`, read from `path`, beside which relative sources are.
///
/// # Errors
///
/// [`Error::ManifestInvalid`] for each problem, in the order of the text.
pub(crate) fn parse(path: &Path, bytes: Vec<u8>) -> Result<Declaration, Vec<Error>> {
    let invalid = |problems: Vec<Problem>| -> Vec<Error> {
        let invalid = |problem| Error::ManifestInvalid {
            path: path.to_owned(),
            problem,
        };
        problems.into_iter().map(invalid).collect()
    };
    let document: ManifestDocument = json::parse(&bytes).map_err(|problems| {
        // The keys of another version are not known, so nothing is reported about them.
        let of_version = match json::parse::<VersionAlone>(&bytes) {
            Ok(VersionAlone) => Vec::new(),
            Err(mut problems) => {
                problems.retain(|problem| problem.path == "$.version");
                problems
            }
        };
        invalid(if of_version.is_empty() {
            problems
        } else {
            of_version
        })
    })?;
    let text = String::from_utf8(bytes)
        .map_err(|error| Error::internal("a manifest was read that is not UTF-8", &error))?;
    Ok(lower::lower(document, Origin::new(path.to_owned(), text))?)
}

/// Reads the bytes of the manifest at `path`, at most 1 MiB.
///
/// # Errors
///
/// [`Error::ManifestRead`] or [`Error::ManifestTooLarge`].
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::ManifestRead {
        path: path.to_owned(),
        source,
    };
    let (mut file, size) = source::open(path).map_err(failed)?;
    if size > MAX_BYTES {
        return Err(Error::ManifestTooLarge {
            path: path.to_owned(),
            size,
            limit: MAX_BYTES,
        });
    }
    source::read_to_end(&mut file, size, MAX_BYTES).map_err(|error| failed(error.into()))
}

/// The JSON Schema of the format.
pub(crate) fn schema() -> schemars::Schema {
    schema::schema()
}
