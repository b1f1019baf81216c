//! Reads the types that every document has.

use std::collections::BTreeMap;

use crate::json::reader::{FromJson, Value};

impl FromJson for String {
    fn from_json(value: Value<'_, '_>) -> Option<Self> {
        value.string()
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
}

impl<T: FromJson> FromJson for Vec<T> {
    fn from_json(value: Value<'_, '_>) -> Option<Self> {
        value.array()
    }
}

impl<T: FromJson> FromJson for Option<T> {
    fn from_json(value: Value<'_, '_>) -> Option<Self> {
        T::from_json(value).map(Some)
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
        (read.len() == object.keys().count()).then_some(read)
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
}
