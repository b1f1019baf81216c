//! SHA-256 digests as sealinit writes them: `sha256:` and 64 hexadecimal digits.

pub(crate) mod pin;
pub(crate) mod pool;
mod sha256;

pub(crate) use sha256::{Buffer, Digest, FileDigest, Hasher};
