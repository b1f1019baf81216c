//! The mount points of this process.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// Returns the mount points of this process, read from `/proc/self/mountinfo`.
///
/// Returns none without /proc; a mount point then shows itself by EBUSY when it is to be replaced.
pub(crate) fn mount_points() -> Vec<PathBuf> {
    let Ok(bytes) = std::fs::read("/proc/self/mountinfo") else {
        return Vec::new();
    };
    bytes
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .map(|field| OsString::from_vec(unescape(field)).into())
        .collect()
}

/// Resolves the octal escapes of `proc_pid_mountinfo(5)`.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let octal = (byte == b'\\').then(|| after.get(..3)).flatten();
        let octal =
            octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(octal.unwrap_or(byte));
        rest = if octal.is_some() { &after[3..] } else { after };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_unescaped() {
        for (field, path) in [
            (&b"/a\\040b"[..], &b"/a b"[..]),
            (b"/a\\134", b"/a\\"),
            (b"\\9", b"\\9"),
            (b"/\\012", b"/\n"),
        ] {
            assert_eq!(unescape(field), path);
        }
    }
}
