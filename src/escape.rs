//! Escapes names for messages: one line, without control characters that a terminal would obey.
//!
//! A backslash is escaped too, so that an escaped name can be read back.

use std::ffi::OsStr;
use std::fmt;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;

/// Displays a file name, an argument or other untrusted text with control characters escaped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Escaped<'a>(&'a OsStr);

/// Wraps `name` for display.
pub(crate) fn escaped<T: AsRef<OsStr> + ?Sized>(name: &T) -> Escaped<'_> {
    Escaped(name.as_ref())
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.as_bytes().utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    // `escape_debug` would escape quotes as well, which are harmless and common.
                    '"' | '\'' => f.write_char(c)?,
                    c => write!(f, "{}", c.escape_debug())?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_and_backslashes_are_escaped() {
        for (name, shown) in [
            (&b"/etc/app.conf"[..], "/etc/app.conf"),
            (b"it's \"so\"", "it's \"so\""),
            ("größe".as_bytes(), "größe"),
            (b"a\nb\x1b[31m", "a\\nb\\u{1b}[31m"),
            (b"\xff\\", "\\xff\\\\"),
            ("\u{202e}txt".as_bytes(), "\\u{202e}txt"),
        ] {
            assert_eq!(escaped(OsStr::from_bytes(name)).to_string(), shown);
        }
    }
}
