//! Two texts, side by side as a unified diff.
//!
//! Never shows what is no text, and nothing in it that a terminal would obey.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use similar::algorithms::{Capture, Replace, myers};
use similar::{ChangeTag, group_diff_ops};

/// After this long a diff need not be the shortest.
const EFFORT: Duration = Duration::from_millis(500);

const CONTEXT: usize = 3;

/// What leads from one content of `path` to another, each with a name; `None` for nothing there. No text, no diff.
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
    // One algorithm by name: a choice at run time would link all of them, an eighth of the program.
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

/// Lines in a hunk's header, as diff(1) writes them: the first, counted from 1, and how many unless it is one.
fn range(start: usize, end: usize) -> String {
    match end - start {
        0 => format!("{start},0"),
        1 => format!("{}", start + 1),
        length => format!("{},{length}", start + 1),
    }
}

/// What can be shown as lines.
fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes)
        .ok()
        .filter(|text| !text.contains('\0'))
}

/// A line fit to be printed: as [`escaped`](crate::escape::escaped), but with tabs, quotes and backslashes as they are.
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
    fn lines_are_shown_with_their_surroundings_and_nothing_drives_a_terminal() {
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
    fn what_is_no_text_is_not_shown() {
        for bytes in [&b"\xff"[..], b"a\0b"] {
            assert_eq!(unified("/a", ("old", Some(bytes)), ("new", None)), None);
            assert_eq!(
                unified("/a", ("old", Some(b"a")), ("new", Some(bytes))),
                None
            );
        }
    }
}
