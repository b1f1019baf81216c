//! Strict JSON: every key known and given once, every value of its type, and all that is wrong told at once with its place.
//!
//! Never stops at the first problem, and never guesses: what does not fit is a [`Problem`].
//! `serde_json` is the tokenizer; its borrowed [`RawValue`]s point into the text, which is where line and column come from.

pub(crate) mod schema;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::json;
use serde_json::value::RawValue;

use crate::escape::escaped;
use crate::json::schema::{Definitions, literal};

/// One thing that is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Line, counted from 1.
    pub(crate) line: usize,
    /// Column in characters, counted from 1.
    pub(crate) column: usize,
    /// Where in the document, as a JSON path (RFC 9535).
    pub(crate) path: String,
    /// What is wrong, and what to write instead.
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

/// A type that can be read from JSON.
pub(crate) trait FromJson: Sized {
    /// Reads the value; `None` after having reported why not.
    fn from_json(value: Value<'_, '_>) -> Option<Self>;

    /// What a missing key means; `None` where the key is required.
    fn missing() -> Option<Self> {
        None
    }

    /// The JSON Schema of such a value.
    fn schema(definitions: &mut Definitions) -> serde_json::Value;

    /// The value as a schema shows a default; `None` for one that is not worth showing.
    fn shown(&self) -> Option<serde_json::Value> {
        None
    }
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
            place: Place::Root,
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

/// Where in a text we are. It only moves on, so that any number of problems costs one pass.
#[derive(Debug, Default)]
struct Cursor {
    offset: usize,
    /// Both counted from 0 here.
    line: usize,
    column: usize,
}

impl Cursor {
    /// Line and column of `offset`, which is not before where we are.
    fn move_to(&mut self, text: &str, offset: usize) -> (usize, usize) {
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

/// The text being read, and what was found wrong with it so far.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    text: &'a str,
    /// By offset: path and message.
    problems: RefCell<Vec<(usize, (String, String))>>,
}

impl Reader<'_> {
    /// What was found wrong, in the order of the text.
    fn problems(self) -> Vec<Problem> {
        let mut cursor = Cursor::default();
        let located = self
            .problems
            .into_inner()
            .into_iter()
            .map(|(offset, (path, message))| {
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
        let mut problems = self.problems.borrow_mut();
        let place = problems.partition_point(|(before, _)| *before <= offset);
        problems.insert(place, (offset, (path, message)));
    }

    /// Turns a syntax error of `serde_json` into one of ours: its column counts bytes, ours characters.
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
        let said = error.to_string();
        let said = said.split(" at line ").next().unwrap_or_default();
        let after_comma = self.text[..offset].trim_end().ends_with(',')
            && self.text[offset..].starts_with(['}', ']']);
        let remedy = match said {
            _ if after_comma => "; remove the comma before this",
            "invalid number" => "; a mode is a string of octal digits, such as \"0640\"",
            "EOF while parsing a value" if self.text.trim().is_empty() => "; the file is empty",
            "key must be a string" => "; write the key in double quotes",
            _ if error.is_eof() => "; the file ends too early",
            _ if self.text.starts_with('\u{feff}') => "; remove the byte order mark",
            _ => "",
        };
        self.report(offset, "$".into(), format!("not JSON: {said}{remedy}"));
    }
}

/// Where a value stands, as a chain back to the root: nothing is allocated until there is a problem to tell.
#[derive(Debug, Clone, Copy)]
enum Place<'p> {
    Root,
    Key(&'p Place<'p>, &'p str),
    Index(&'p Place<'p>, usize),
}

impl fmt::Display for Place<'_> {
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
    place: Place<'p>,
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
        self.report_as(&Place::Key(&self.place, key).to_string(), offset, message);
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

    /// Reads each element of an array. One that could not be read is left out, its problem being reported: the
    /// document will be refused, and what is wrong with the others can still be told.
    pub(crate) fn array<T: FromJson>(&self) -> Option<Vec<T>> {
        if !self.raw.starts_with('[') {
            return self.unexpected("an array");
        }
        let Ok(elements) = serde_json::from_str::<Vec<&'a RawValue>>(self.raw) else {
            return self.unexpected("an array");
        };
        let read = elements.iter().enumerate().filter_map(|(index, raw)| {
            let place = Place::Index(&self.place, index);
            T::from_json(Value {
                raw: raw.get(),
                place,
                reader: self.reader,
            })
        });
        Some(read.collect())
    }

    /// Takes an object apart. A duplicate key is a problem; whether the keys are known is [`Object::only`]'s.
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

/// The characters of a JSON string; `None` for an escape that is no character (a lone surrogate).
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
    /// Reports each key that is neither in `known` nor an extension (`x-…` anywhere, `$schema` at the top).
    pub(crate) fn only(&self, known: &[&str]) {
        for (key, value) in &self.members {
            let extension = key.starts_with("x-")
                || (key == "$schema" && matches!(self.value.place, Place::Root));
            if !extension && !known.contains(&key.as_str()) {
                let place = Place::Key(&self.value.place, key);
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

    /// Reads the member `key`, or what its absence means.
    pub(crate) fn member<T: FromJson>(&self, key: &str) -> Option<T> {
        match self.members.get(key) {
            Some(raw) => self.read(key, raw),
            None => T::missing().or_else(|| self.value.problem(format!("missing key \"{key}\""))),
        }
    }

    /// Reads the member `key`, or takes `default` where there is none.
    pub(crate) fn member_or<T: FromJson>(&self, key: &str, default: T) -> Option<T> {
        self.members
            .get(key)
            .map_or(Some(default), |raw| self.read(key, raw))
    }

    fn read<T: FromJson>(&self, key: &str, raw: &str) -> Option<T> {
        let place = Place::Key(&self.value.place, key);
        T::from_json(Value {
            raw,
            place,
            reader: self.value.reader,
        })
    }

    fn keys(&self) -> impl Iterator<Item = &str> {
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

/// The known word that `word` was most likely meant to be.
pub(crate) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.chars().count() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

impl FromJson for String {
    fn from_json(value: Value<'_, '_>) -> Option<Self> {
        value.string()
    }

    fn schema(_: &mut Definitions) -> serde_json::Value {
        literal!({"type": "string"})
    }
}

impl FromJson for bool {
    fn from_json(value: Value<'_, '_>) -> Option<Self> {
        match value.raw() {
            "true" => Some(true),
            "false" => Some(false),
            _ => value.unexpected("true or false"),
        }
    }

    fn schema(_: &mut Definitions) -> serde_json::Value {
        literal!({"type": "boolean"})
    }

    fn shown(&self) -> Option<serde_json::Value> {
        Some((*self).into())
    }
}

impl FromJson for u32 {
    fn from_json(value: Value<'_, '_>) -> Option<Self> {
        if !value.is_number() {
            return value.unexpected("a number");
        }
        match value.raw().parse() {
            Ok(number) => Some(number),
            Err(_) => value.problem(format!("expected a whole number from 0 to {}", u32::MAX)),
        }
    }

    fn schema(_: &mut Definitions) -> serde_json::Value {
        json!({"type": "integer", "minimum": 0, "maximum": u32::MAX})
    }

    fn shown(&self) -> Option<serde_json::Value> {
        Some((*self).into())
    }
}

impl<T: FromJson> FromJson for Vec<T> {
    fn from_json(value: Value<'_, '_>) -> Option<Self> {
        value.array()
    }

    fn schema(definitions: &mut Definitions) -> serde_json::Value {
        json!({"type": "array", "items": T::schema(definitions)})
    }
}

impl<T: FromJson> FromJson for Option<T> {
    fn from_json(value: Value<'_, '_>) -> Option<Self> {
        T::from_json(value).map(Some)
    }

    fn missing() -> Option<Self> {
        Some(None)
    }

    fn schema(definitions: &mut Definitions) -> serde_json::Value {
        T::schema(definitions)
    }
}

impl<T: FromJson> FromJson for BTreeMap<String, T> {
    fn from_json(value: Value<'_, '_>) -> Option<Self> {
        let object = value.object()?;
        let mut read = Self::new();
        for key in object.keys() {
            if let Some(value) = object.member(key) {
                read.insert(key.to_owned(), value);
            }
        }
        // One that could not be read has been reported.
        (read.len() == object.members.len()).then_some(read)
    }

    fn schema(definitions: &mut Definitions) -> serde_json::Value {
        json!({"type": "object", "additionalProperties": T::schema(definitions)})
    }
}

/// A value that remembers where it stood, for what can only be checked later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Located<T> {
    /// The value itself.
    pub(crate) value: T,
    /// Bytes from the start of the document.
    pub(crate) offset: usize,
}

impl<T: FromJson> FromJson for Located<T> {
    fn from_json(value: Value<'_, '_>) -> Option<Self> {
        Some(Self {
            value: T::from_json(value)?,
            offset: value.offset(),
        })
    }

    fn schema(definitions: &mut Definitions) -> serde_json::Value {
        T::schema(definitions)
    }
}

/// Declares a struct together with the JSON object it is read from, so that the two cannot differ.
///
/// A field is required unless its type says what a missing key means (`Option`) or it has a default after `=`.
/// After `then` stands a function that reports what is wrong with the object as a whole, and after `like` one that says the same as
/// a JSON Schema, as far as that can be said there. The documentation of struct and fields is what the schema says of them.
macro_rules! object {
    (
        $(#[doc = $doc:literal])*
        $vis:vis struct $name:ident {
            $( $(#[doc = $field_doc:literal])* $field_vis:vis $field:ident: $type:ty $(= $default:expr)? ),* $(,)?
        } $(then $validate:path)? $(, like $rules:path)?
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        $vis struct $name {
            $( $(#[doc = $field_doc])* $field_vis $field: $type ),*
        }

        impl $crate::json::FromJson for $name {
            fn from_json(value: $crate::json::Value<'_, '_>) -> Option<Self> {
                let object = value.object()?;
                object.only(&[$(stringify!($field)),*]);
                // Every member is read before the first `?`, so that one bad member does not hide the next.
                $( let $field = $crate::json::object!(@member object, $field $(, $default)?); )*
                let read = Self { $( $field: $field? ),* };
                $( $validate(&read, &value); )?
                Some(read)
            }

            fn schema(definitions: &mut $crate::json::schema::Definitions) -> serde_json::Value {
                definitions.define(stringify!($name).trim_end_matches("Document"), |definitions| {
                    let mut object = $crate::json::schema::ObjectSchema::new(concat!($($doc, "\n"),*));
                    $( object.property(
                        stringify!($field),
                        concat!($($field_doc, "\n"),*),
                        <$type as $crate::json::FromJson>::schema(definitions),
                        $crate::json::object!(@required $type $(, $default)?),
                        $crate::json::object!(@shown $type $(, $default)?),
                    ); )*
                    $( object.rules($rules()); )?
                    object.finish()
                })
            }
        }
    };
    (@required $type:ty) => { <$type as $crate::json::FromJson>::missing().is_none() };
    (@required $type:ty, $default:expr) => { false };
    (@shown $type:ty) => { None };
    (@shown $type:ty, $default:expr) => { $crate::json::FromJson::shown(&{ let default: $type = $default; default }) };
    (@member $object:ident, $field:ident) => { $object.member(stringify!($field)) };
    (@member $object:ident, $field:ident, $default:expr) => {
        $object.member_or(stringify!($field), $default)
    };
}
pub(crate) use object;

#[cfg(test)]
mod tests {
    use super::*;

    object! {
        /// A document to read.
        struct Sample {
            /// Required.
            pub name: String,
            /// Optional.
            pub count: Option<u32>,
            /// Defaulted.
            pub flag: bool = true,
            /// Nested.
            pub parts: Vec<Sample> = Vec::new(),
        }
    }

    fn problems(text: &str) -> Vec<String> {
        match parse::<Sample>(text.as_bytes()) {
            Ok(sample) => vec![format!("{sample:?}")],
            Err(problems) => problems.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn all_problems_are_told_with_line_column_and_path() {
        let text = "{\n  \"nmae\": 1,\n  \"count\": 1.5, \"count\": 2,\n  \"flag\": \"no\",\n  \"parts\": [{\"name\": \"é\", \"x-note\": 1, \"$schema\": 2}, 7]\n}";
        assert_eq!(
            problems(text),
            [
                "1:1: $: missing key \"name\"",
                "2:11: $.nmae: unknown key \"nmae\"; did you mean \"name\"?",
                "3:12: $.count: expected a whole number from 0 to 4294967295",
                "3:17: $: duplicate key \"count\"; remove one",
                "4:11: $.flag: expected true or false, found a string",
                "5:51: $.parts[0]['$schema']: unknown key \"$schema\"; known here: name, count, flag, parts",
                "5:55: $.parts[1]: expected an object, found a number",
            ]
        );
    }

    #[test]
    fn a_sound_document_is_read() {
        let read = parse::<Sample>(br#"{"$schema": "x", "name": "a\u0041\n", "x-a": [[[1]]]}"#);
        assert_eq!(
            read.ok(),
            Some(Sample {
                name: "aA\n".into(),
                count: None,
                flag: true,
                parts: vec![]
            })
        );
    }

    #[test]
    fn what_is_not_json_is_told_where_it_stops_being_json() {
        for (text, problem) in [
            (
                "",
                "1:1: $: not JSON: EOF while parsing a value; the file is empty",
            ),
            (
                "{\"a\": 0640}",
                "1:8: $: not JSON: invalid number; a mode is a string of octal digits, such as \"0640\"",
            ),
            ("{\"é\": ]", "1:7: $: not JSON: expected value"),
            ("{} {}", "1:4: $: not JSON: trailing characters"),
            (
                "{\"name\": \"\\ud800\"}",
                "1:10: $.name: this string holds an escape that is not a character",
            ),
        ] {
            assert_eq!(problems(text), [problem], "{text}");
        }
        assert_eq!(
            parse::<Sample>(b"{\n\"\xff")
                .err()
                .map(|p| p[0].to_string()),
            Some("2:2: $: this byte is not UTF-8; save the file as UTF-8".into())
        );
    }
}
