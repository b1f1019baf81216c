//! Unified diffs of text files, with control characters escaped.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use similar::algorithms::{Capture, Replace, myers};
use similar::{ChangeTag, group_diff_ops};

/// The time after which the search for the shortest diff stops.
const EFFORT: Duration = Duration::from_millis(500);

const CONTEXT: usize = 3;

/// Compares two contents of `path`, each with a name; a content is `None` if there is no file.
/// Returns `None` unless both are text.
pub(crate) fn unified(
    path: &str,
    old: (&str, Option<&[u8]>),
    new: (&str, Option<&[u8]>),
) -> Option<String> {
    let (old_text, new_text) = (
        text(old.1.unwrap_or_default())?,
        text(new.1.unwrap_or_default())?,
    );
    let old_lines: Vec<&str> = old_text.split_inclusive('\n').collect();
    let new_lines: Vec<&str> = new_text.split_inclusive('\n').collect();
    // One algorithm by name: a choice at run time would link all of them.
    let mut found = Replace::new(Capture::new());
    let (all_old, all_new) = (0..old_lines.len(), 0..new_lines.len());
    let deadline = Instant::now().checked_add(EFFORT);
    // Capturing cannot fail.
    let _ = myers::diff_deadline(
        &mut found,
        &old_lines[..],
        all_old,
        &new_lines[..],
        all_new,
        deadline,
    );

    let mut shown = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(shown, "--- {path} ({})\n+++ {path} ({})", old.0, new.0);
    for hunk in group_diff_ops(found.into_inner().into_ops(), CONTEXT) {
        let (Some(first), Some(last)) = (hunk.first(), hunk.last()) else {
            continue;
        };
        let before = range(first.old_range().start, last.old_range().end);
        let after = range(first.new_range().start, last.new_range().end);
        let _ = writeln!(shown, "@@ -{before} +{after} @@");
        for change in hunk
            .iter()
            .flat_map(|part| part.iter_changes(&old_lines[..], &new_lines[..]))
        {
            let sign = match change.tag() {
                ChangeTag::Equal => ' ',
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
            };
            let _ = writeln!(shown, "{sign}{}", line(change.value()));
            if !change.value().ends_with('\n') {
                shown.push_str("\\ No newline at end of file\n");
            }
        }
    }
    Some(shown)
}

/// A range of lines in a hunk's header, as diff(1) writes it: the first, counted from 1, and the
/// number of lines unless it is 1.
fn range(start: usize, end: usize) -> String {
    match end - start {
        0 => format!("{start},0"),
        1 => format!("{}", start + 1),
        length => format!("{},{length}", start + 1),
    }
}

/// Decodes text; `None` for binary content.
fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes)
        .ok()
        .filter(|text| !text.contains('\0'))
}

/// Escapes a line as [`escaped`](crate::escape::escaped) does, but keeps tabs, quotes and
/// backslashes.
fn line(value: &str) -> String {
    let mut line = String::with_capacity(value.len());
    for c in value.strip_suffix('\n').unwrap_or(value).chars() {
        match c {
            '\t' | '\\' | '"' | '\'' => line.push(c),
            c => line.extend(c.escape_debug()),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_shown_with_context_and_control_characters_are_escaped() {
        let old = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
        let new = "1\n2\n3\n4\nfive\t\"\\\u{1b}[31m\r\n6\n7\n8\n9";
        assert_eq!(
            unified(
                "/a",
                ("old", Some(old.as_bytes())),
                ("new", Some(new.as_bytes()))
            )
            .as_deref(),
            Some(
                "--- /a (old)\n+++ /a (new)\n@@ -2,8 +2,8 @@\n 2\n 3\n 4\n-5\n+five\t\"\\\\u{1b}[31m\\r\n 6\n 7\n 8\n-9\n+9\n\
                 \\ No newline at end of file\n"
            )
        );
        assert_eq!(
            unified("/a", ("old", None), ("new", Some(b"x\n"))).as_deref(),
            Some("--- /a (old)\n+++ /a (new)\n@@ -0,0 +1 @@\n+x\n")
        );
    }

    #[test]
    fn binary_content_is_not_shown() {
        for bytes in [&b"\xff"[..], b"a\0b"] {
            assert_eq!(unified("/a", ("old", Some(bytes)), ("new", None)), None);
            assert_eq!(
                unified("/a", ("old", Some(b"a")), ("new", Some(bytes))),
                None
            );
        }
    }
}
