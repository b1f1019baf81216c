//! Reads values, and collects all problems.
//!
//! `serde_json` is the tokenizer. Its borrowed [`RawValue`]s point into the text, which is where
//! line and column come from.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::escape::escaped;
use crate::json::problem::{Cursor, Problem};
use crate::json::suggest::nearest;

/// A type that can be read from JSON.
pub(crate) trait FromJson: Sized {
    /// Reads the value; `None` after having reported why not.
    fn from_json(value: Value<'_, '_>) -> Option<Self>;
}

/// Reads a whole document.
///
/// # Errors
/// Everything that is wrong with it, in the order of the text.
pub(crate) fn parse<T: FromJson>(bytes: &[u8]) -> Result<T, Vec<Problem>> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let sound = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        let message = "this byte is not UTF-8; save the file as UTF-8".into();
        vec![Problem::at(&sound, sound.len(), "$".into(), message)]
    })?;
    let reader = Reader {
        text,
        problems: RefCell::default(),
    };
    let read = match serde_json::from_str::<&RawValue>(text) {
        Ok(raw) => T::from_json(Value {
            raw: raw.get(),
            place: Path::Root,
            reader: &reader,
        }),
        Err(error) => {
            reader.report_syntax(&error);
            None
        }
    };
    let problems = reader.problems();
    match read {
        Some(value) if problems.is_empty() => Ok(value),
        _ => Err(problems),
    }
}

/// The text being read, and what was found wrong with it so far.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    text: &'a str,
    /// Offset, path and message, in the order in which they were found.
    problems: RefCell<Vec<(usize, String, String)>>,
}

impl Reader<'_> {
    /// The problems, in the order of the text.
    fn problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|(offset, _, _)| *offset);
        let mut cursor = Cursor::default();
        let located = problems.into_iter().map(|(offset, path, message)| {
            let (line, column) = cursor.move_to(self.text, offset);
            Problem {
                line,
                column,
                path,
                message,
            }
        });
        located.collect()
    }

    fn report(&self, offset: usize, path: String, message: String) {
        self.problems.borrow_mut().push((offset, path, message));
    }

    /// Reports a syntax error of `serde_json`, whose column counts bytes and not characters.
    fn report_syntax(&self, error: &serde_json::Error) {
        let line_start: usize = self
            .text
            .split_inclusive('\n')
            .take(error.line().saturating_sub(1))
            .map(str::len)
            .sum();
        let mut offset = (line_start + error.column().saturating_sub(1)).min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let message = error.to_string();
        let message = message
            .split_once(" at line ")
            .map_or(message.as_str(), |(message, _)| message);
        let after_comma = self.text[..offset].trim_end().ends_with(',')
            && self.text[offset..].starts_with(['}', ']']);
        let remedy = match message {
            _ if after_comma => "; remove the comma before this",
            "invalid number" => "; a mode is a string of octal digits, such as \"0640\"",
            "EOF while parsing a value" if self.text.trim().is_empty() => "; the file is empty",
            "key must be a string" => "; write the key in double quotes",
            _ if error.is_eof() => "; the file ends too early",
            _ if self.text.starts_with('\u{feff}') => "; remove the byte order mark",
            _ => "",
        };
        self.report(offset, "$".into(), format!("not JSON: {message}{remedy}"));
    }
}

/// The path of a value, as a chain back to the root: nothing is allocated until there is a problem.
#[derive(Debug, Clone, Copy)]
enum Path<'p> {
    Root,
    Key(&'p Path<'p>, &'p str),
    Index(&'p Path<'p>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("$"),
            Self::Key(parent, key)
                if key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                    && !key.is_empty() =>
            {
                write!(f, "{parent}.{key}")
            }
            Self::Key(parent, key) => write!(f, "{parent}['{}']", escaped(key)),
            Self::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// A value in the document: its text and its place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Value<'a, 'p> {
    raw: &'a str,
    place: Path<'p>,
    reader: &'p Reader<'a>,
}

impl<'a> Value<'a, '_> {
    /// Reports a problem with this value.
    pub(crate) fn report(&self, message: impl Into<String>) {
        self.report_at(self.offset(), message);
    }

    /// Reports a problem with something inside this value, by its offset in the document.
    fn report_at(&self, offset: usize, message: impl Into<String>) {
        self.report_as(&self.place.to_string(), offset, message);
    }

    /// Reports a problem with the member `key` of this value.
    pub(crate) fn report_in(&self, key: &str, offset: usize, message: impl Into<String>) {
        self.report_as(&Path::Key(&self.place, key).to_string(), offset, message);
    }

    /// Reports a problem somewhere in the document.
    pub(crate) fn report_as(&self, path: &str, offset: usize, message: impl Into<String>) {
        self.reader.report(offset, path.to_owned(), message.into());
    }

    /// Reports a problem with this value and gives `None`, so that reading it can end here.
    pub(crate) fn problem<T>(&self, message: impl Into<String>) -> Option<T> {
        self.report(message);
        None
    }

    /// Bytes from the start of the document to this value.
    pub(crate) fn offset(&self) -> usize {
        self.offset_of(self.raw)
    }

    fn offset_of(&self, part: &str) -> usize {
        part.as_ptr().addr() - self.reader.text.as_ptr().addr()
    }

    /// The text as it stands in the document.
    pub(crate) fn raw(&self) -> &'a str {
        self.raw
    }

    pub(crate) fn is_number(&self) -> bool {
        self.kind() == "a number"
    }

    pub(crate) fn is_null(&self) -> bool {
        self.kind() == "null"
    }

    /// Reports that the value is of another type than `wanted`.
    pub(crate) fn unexpected<T>(&self, wanted: &str) -> Option<T> {
        self.problem(format!("expected {wanted}, found {}", self.kind()))
    }

    fn kind(&self) -> &'static str {
        match self.raw.as_bytes().first() {
            Some(b'"') => "a string",
            Some(b'{') => "an object",
            Some(b'[') => "an array",
            Some(b't' | b'f') => "true or false",
            Some(b'n') => "null",
            _ => "a number",
        }
    }

    /// The value as a string.
    pub(crate) fn string(&self) -> Option<String> {
        if !self.raw.starts_with('"') {
            return self.unexpected("a string");
        }
        match unquote(self.raw) {
            Some(text) => Some(text),
            None => self.problem("this string holds an escape that is not a character"),
        }
    }

    /// Reads each element of an array. One that could not be read is reported and left out: the
    /// document will be refused, and the problems of the others can still be found.
    pub(crate) fn array<T: FromJson>(&self) -> Option<Vec<T>> {
        if !self.raw.starts_with('[') {
            return self.unexpected("an array");
        }
        let Ok(elements) = serde_json::from_str::<Vec<&'a RawValue>>(self.raw) else {
            return self.unexpected("an array");
        };
        let read = elements.iter().enumerate().filter_map(|(index, raw)| {
            let place = Path::Index(&self.place, index);
            T::from_json(Value {
                raw: raw.get(),
                place,
                reader: self.reader,
            })
        });
        Some(read.collect())
    }

    /// Takes an object apart, and reports duplicate keys. [`Object::only`] reports unknown ones.
    pub(crate) fn object(&self) -> Option<Object<'a, '_>> {
        if !self.raw.starts_with('{') {
            return self.unexpected("an object");
        }
        let Ok(Members(raw)) = serde_json::from_str::<Members<'a>>(self.raw) else {
            return self.unexpected("an object");
        };
        let mut members = BTreeMap::new();
        for (key, value) in raw {
            let offset = self.offset_of(key);
            let Some(name) = unquote(key) else {
                self.report_at(offset, "this key holds an escape that is not a character");
                continue;
            };
            match members.entry(name) {
                Entry::Vacant(entry) => {
                    entry.insert(value);
                }
                Entry::Occupied(entry) => {
                    let key = escaped(entry.key());
                    self.report_at(offset, format!("duplicate key \"{key}\"; remove one"));
                }
            }
        }
        Some(Object {
            value: *self,
            members,
        })
    }
}

/// The characters of a JSON string; `None` for an escape that is not a character (a lone
/// surrogate).
fn unquote(raw: &str) -> Option<String> {
    // Most strings hold no escape, and then the text between the quotes is the string.
    if raw.contains('\\') {
        serde_json::from_str(raw).ok()
    } else {
        Some(raw.get(1..raw.len().checked_sub(1)?)?.to_owned())
    }
}

/// An object taken apart: its members by their keys.
#[derive(Debug)]
pub(crate) struct Object<'a, 'p> {
    value: Value<'a, 'p>,
    members: BTreeMap<String, &'a str>,
}

impl Object<'_, '_> {
    /// Reports each key that is neither in `known` nor an extension: `x-…` anywhere, `$schema` at
    /// the top.
    pub(crate) fn only(&self, known: &[&str]) {
        for (key, value) in &self.members {
            let extension = key.starts_with("x-")
                || (key == "$schema" && matches!(self.value.place, Path::Root));
            if !extension && !known.contains(&key.as_str()) {
                let place = Path::Key(&self.value.place, key);
                let hint = match nearest(key, known) {
                    Some(near) => format!("did you mean \"{near}\"?"),
                    None => format!("known here: {}", known.join(", ")),
                };
                Value {
                    raw: value,
                    place,
                    reader: self.value.reader,
                }
                .report(format!("unknown key \"{}\"; {hint}", escaped(key)));
            }
        }
    }

    /// The member `key` as it stands in the document.
    pub(crate) fn raw(&self, key: &str) -> Option<&str> {
        self.members.get(key).copied()
    }

    /// Reads the required member `key`.
    pub(crate) fn member<T: FromJson>(&self, key: &str) -> Option<T> {
        match self.members.get(key) {
            Some(raw) => self.read(key, raw),
            None => self.value.problem(format!("missing key \"{key}\"")),
        }
    }

    /// Reads the member `key`, or takes `default` where there is none.
    pub(crate) fn member_or<T: FromJson>(&self, key: &str, default: T) -> Option<T> {
        self.members
            .get(key)
            .map_or(Some(default), |raw| self.read(key, raw))
    }

    fn read<T: FromJson>(&self, key: &str, raw: &str) -> Option<T> {
        let place = Path::Key(&self.value.place, key);
        T::from_json(Value {
            raw,
            place,
            reader: self.value.reader,
        })
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.members.keys().map(String::as_str)
    }
}

/// The members of an object as they stand in the text, duplicates included.
struct Members<'a>(Vec<(&'a str, &'a str)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((key, value)) = map.next_entry::<&'de RawValue, &'de RawValue>()? {
                    members.push((key.get(), value.get()));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}
