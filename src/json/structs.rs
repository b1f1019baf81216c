//! Structs that are read from JSON objects.

/// Declares a struct together with the JSON object that it is read from, so that the two cannot
/// differ.
///
/// A field is required unless it has a default after `=`. After `then` stands a function that
/// reports problems of the object as a whole.
macro_rules! object {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $( $(#[$field_meta:meta])* $field_vis:vis $field:ident: $type:ty $(= $default:expr)? ),* $(,)?
        } $(then $validate:path)?
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        $vis struct $name {
            $( $(#[$field_meta])* $field_vis $field: $type ),*
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
        }
    };
    (@member $object:ident, $field:ident) => { $object.member(stringify!($field)) };
    (@member $object:ident, $field:ident, $default:expr) => {
        $object.member_or(stringify!($field), $default)
    };
}
pub(crate) use object;

#[cfg(test)]
mod tests {
    use crate::json::reader::parse;

    object! {
        /// A document to read.
        struct Sample {
            /// Required.
            pub name: String,
            /// Optional.
            pub count: Option<u32> = None,
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
