//! `/dev/termination-log`, where Kubernetes looks for the reason why a container ended (`kubectl describe pod` shows it).
//!
//! Never creates it and never fails: who has no such file did not ask.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;

use nix::libc;

use crate::error::Error;

const PATH: &str = "/dev/termination-log";

/// What Kubernetes reads of it.
const MAX_BYTES: usize = 4096;

/// Writes why a start was refused, a reason a line.
pub(crate) fn write(errors: &[Error]) {
    // O_NONBLOCK: a FIFO must not make us wait. O_NOFOLLOW: a link was not put there by Kubernetes.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_NOFOLLOW;
    let Ok(mut file) = OpenOptions::new()
        .write(true)
        .custom_flags(flags)
        .open(PATH)
    else {
        return;
    };
    if file.metadata().is_ok_and(|found| found.is_file()) {
        let _ = file
            .set_len(0)
            .and_then(|()| file.write_all(message(errors).as_bytes()));
    }
}

fn message(errors: &[Error]) -> String {
    let mut message = String::new();
    for error in errors {
        // Writing to a string does not fail.
        let _ = writeln!(message, "{error}");
    }
    message.truncate(message.floor_char_boundary(MAX_BYTES));
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_cut_between_characters() {
        let long = |length| Error::Seal {
            path: "/".into(),
            why: "é".repeat(length),
        };
        assert_eq!(message(&[]), "");
        assert_eq!(message(&[long(1), long(2)]).lines().count(), 2);
        for length in 4000..4004 {
            let cut = message(&[long(length)]);
            assert!((MAX_BYTES - 1..=MAX_BYTES).contains(&cut.len()));
        }
    }
}
