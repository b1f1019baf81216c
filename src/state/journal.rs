//! The journal, which marks a first start that has not ended yet.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Journal {
    version: u32,
    digest: String,
}

/// Returns the bytes of the journal's file for a first start of the configuration `digest`.
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

/// Returns the digest in a journal, or `None` if the bytes are not a journal of this version.
pub(super) fn decode(bytes: &[u8]) -> Option<Digest> {
    let journal: Journal = serde_json::from_slice(bytes).ok()?;
    (journal.version == VERSION).then(|| journal.digest.parse().ok())?
}
