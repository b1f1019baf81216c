//! Problems of a document, with line and column.

use std::fmt;

/// One problem of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Line, counted from 1.
    pub(crate) line: usize,
    /// Column in characters, counted from 1.
    pub(crate) column: usize,
    /// The place in the document, as a JSON path (RFC 9535).
    pub(crate) path: String,
    /// The problem, and what to write instead.
    pub(crate) message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}: {}: {}",
            self.line, self.column, self.path, self.message
        )
    }
}

impl Problem {
    /// A problem `offset` bytes into `text`.
    pub(crate) fn at(text: &str, offset: usize, path: String, message: String) -> Self {
        let (line, column) = Cursor::default().move_to(text, offset);
        Self {
            line,
            column,
            path,
            message,
        }
    }
}

/// A position in a text. It only moves on, so that any number of problems costs one pass.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    offset: usize,
    /// Both counted from 0 here.
    line: usize,
    column: usize,
}

impl Cursor {
    /// Line and column of `offset`, which is not before the current position.
    pub(super) fn move_to(&mut self, text: &str, offset: usize) -> (usize, usize) {
        let passed = &text[self.offset..offset];
        self.line += passed.matches('\n').count();
        self.column = match passed.rsplit_once('\n') {
            Some((_, last)) => last.chars().count(),
            None => self.column + passed.chars().count(),
        };
        self.offset = offset;
        (self.line + 1, self.column + 1)
    }
}
