//! The journal: the mark of a first start under way.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Journal {
    version: u32,
    digest: String,
}

/// The journal of a first start of the configuration `digest`, as the bytes of its file.
///
/// # Errors
///
/// An error of `serde_json`, which a number and a string do not cause.
pub(super) fn encode(digest: Digest) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&Journal {
        version: VERSION,
        digest: digest.to_string(),
    })
}

/// The digest in a journal; `None` if the bytes are not a journal of this version.
pub(super) fn decode(bytes: &[u8]) -> Option<Digest> {
    let journal: Journal = serde_json::from_slice(bytes).ok()?;
    (journal.version == VERSION).then(|| journal.digest.parse().ok())?
}
