//! Writes `/dev/termination-log`, which Kubernetes shows as the reason why a container ended.
//!
//! The file is not created, and errors are ignored. See `kubectl describe pod`.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::libc;

use crate::accounts::Accounts;
use crate::error::{DRIFT_REMEDY, Error};
use crate::report::reason::reason;

const PATH: &str = "/dev/termination-log";

/// The number of bytes that Kubernetes reads.
const MAX_BYTES: usize = 4096;

/// Writes the reasons of a refusal, one a line.
pub(crate) fn write(errors: &[Error]) {
    // O_NONBLOCK: opening a FIFO must not wait. O_NOFOLLOW: Kubernetes does not put a link there.
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
    let names = Accounts::id_names(Path::new("/"));
    for error in errors {
        // Writing to a string does not fail.
        let _ = writeln!(message, "{}", reason(error, &names));
    }
    if errors.iter().any(|error| matches!(error, Error::Drift(_))) {
        let _ = writeln!(message, "{DRIFT_REMEDY}");
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
