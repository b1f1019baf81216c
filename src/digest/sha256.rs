//! SHA-256 values of bytes and files.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

/// Bytes read at a time: enough to hash at full speed, few enough to stay in the cache.
const CHUNK: usize = 64 * 1024;

/// Bytes read at first: most files are shorter, and memory that is not touched costs nothing.
const FIRST_CHUNK: usize = 8 * 1024;

/// A buffer to read into, made once for many files.
#[derive(Debug)]
pub(crate) struct Buffer(Vec<u8>);

impl Buffer {
    pub(crate) fn new() -> Self {
        Self(vec![0; FIRST_CHUNK])
    }

    /// Reads the next bytes; none at the end. An interrupted call is repeated.
    ///
    /// # Errors
    /// The error of the reader.
    pub(crate) fn fill(&mut self, reader: &mut impl Read) -> io::Result<&[u8]> {
        loop {
            match reader.read(&mut self.0) {
                Ok(length) => {
                    if length == FIRST_CHUNK && self.0.len() == FIRST_CHUNK {
                        self.0.resize(CHUNK, 0);
                    }
                    return Ok(&self.0[..length]);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// A SHA-256 value, compared as bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Digest([u8; 32]);

impl Digest {
    /// Returns the hash of `bytes`.
    #[must_use]
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Parses 64 hexadecimal digits, without the `sha256:` before them.
    #[must_use]
    pub(crate) fn from_hex(hex: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        let decoded = base16ct::mixed::decode(hex, &mut bytes).ok()?.len();
        (decoded == bytes.len()).then_some(Self(bytes))
    }

    /// The value as 64 lower-case hexadecimal digits.
    #[must_use]
    pub(crate) fn hex(&self) -> String {
        base16ct::lower::encode_string(&self.0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

/// The error for a text that is not a digest.
#[derive(Debug, thiserror::Error)]
#[error("a digest is written sha256:<64 hexadecimal digits>")]
pub(crate) struct ParseDigestError;

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, ParseDigestError> {
        text.strip_prefix("sha256:")
            .and_then(Self::from_hex)
            .ok_or(ParseDigestError)
    }
}

/// A file's content, by hash and length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileDigest {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

impl FileDigest {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self {
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
        }
    }

    /// Hashes the rest of `reader`.
    ///
    /// # Errors
    /// The error of the reader.
    pub(crate) fn of_reader(reader: &mut impl Read, buffer: &mut Buffer) -> io::Result<Self> {
        let mut hasher = Hasher::default();
        loop {
            match buffer.fill(reader)? {
                [] => return Ok(hasher.finish()),
                bytes => hasher.update(bytes),
            }
        }
    }
}

/// A hash that is being computed.
#[derive(Debug, Default)]
pub(crate) struct Hasher {
    state: Sha256,
    length: u64,
}

impl Hasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.state.update(bytes);
        self.length += bytes.len() as u64;
    }

    /// Returns the hash, and the number of bytes in it.
    pub(crate) fn finish(self) -> FileDigest {
        FileDigest {
            digest: Digest(self.state.finalize().into()),
            size: self.length,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-4, the vector for "abc".
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_digest_is_read_as_it_is_written() {
        let digest = Digest::of(b"abc");
        assert_eq!(digest.hex(), ABC);
        assert_eq!(
            digest.to_string().parse::<Digest>().ok().map(|d| d.hex()),
            Some(ABC.into())
        );
        let content = FileDigest::of_reader(&mut &b"abc"[..], &mut Buffer::new());
        assert_eq!(
            content.ok(),
            Some(FileDigest { digest, size: 3 }),
            "read in pieces"
        );
    }

    #[test]
    fn what_is_not_a_digest_is_refused() {
        for text in [
            "",
            ABC,
            "sha256:",
            &format!("sha256:{ABC}0"),
            &format!("sha512:{ABC}"),
            &format!("sha256:{}", &ABC[1..]),
            &format!("sha256:+{}", &ABC[1..]),
            &format!("sha256:é{}", &ABC[2..]),
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }
}
