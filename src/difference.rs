//! Two texts, side by side as a unified diff.
//!
//! Never shows what is no text, and nothing in it that a terminal would obey.

use std::fmt::Write as _;
use std::time::Duration;

use similar::{ChangeTag, TextDiff};

/// After this long a diff need not be the shortest.
const EFFORT: Duration = Duration::from_millis(500);

const CONTEXT: usize = 3;

/// What leads from one content of `path` to another, each with a name; `None` for nothing there. No text, no diff.
pub(crate) fn unified(path: &str, old: (&str, Option<&[u8]>), new: (&str, Option<&[u8]>)) -> Option<String> {
    let (old_text, new_text) = (text(old.1.unwrap_or_default())?, text(new.1.unwrap_or_default())?);
    let mut configured = TextDiff::configure();
    let differ = configured.timeout(EFFORT).diff_lines(old_text, new_text);
    let mut shown = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(shown, "--- {path} ({})\n+++ {path} ({})", old.0, new.0);
    for hunk in differ.unified_diff().context_radius(CONTEXT).iter_hunks() {
        let _ = writeln!(shown, "{}", hunk.header());
        for change in hunk.iter_changes() {
            let sign = match change.tag() {
                ChangeTag::Equal => ' ',
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
            };
            let _ = writeln!(shown, "{sign}{}", line(change.value()));
            if change.missing_newline() {
                shown.push_str("\\ No newline at end of file\n");
            }
        }
    }
    Some(shown)
}

/// What can be shown as lines.
fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
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
            unified("/a", ("old", Some(old.as_bytes())), ("new", Some(new.as_bytes()))).as_deref(),
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
            assert_eq!(unified("/a", ("old", Some(b"a")), ("new", Some(bytes))), None);
        }
    }
}
