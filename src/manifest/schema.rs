//! Describes the native format as JSON Schema (2020-12).
//!
//! The schema accepts what the reader accepts, except rules that a schema cannot express: that each
//! destination is given once, and which names exist.

use std::borrow::Cow;

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use crate::declaration::destination::{MAX_NAME, MAX_PATH, TEMPORARY_PREFIX};
use crate::declaration::{Account, Argument};
use crate::json::Located;
use crate::manifest::document::ManifestDocument;
use crate::manifest::value::{
    CommandDocument, Destination, ExitStatus, Mode, RewriteDocument, RewriteTo, SUPPORTED_VERSION,
    Sha256, SourcePath, Version, WorkingDir,
};
use crate::sys::capability::{self, Capability};
use crate::sys::signal::{self, Signal};

/// The schema of a manifest, which may name its schema itself.
pub(super) fn schema() -> Schema {
    let settings = SchemaSettings::draft2020_12().with_transform(RecursiveTransform(strict));
    let mut schema = settings
        .into_generator()
        .into_root_schema_for::<ManifestDocument>();
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.insert(
            "$schema".into(),
            json!({"type": "string", "description": "This schema, for editors."}),
        );
    }
    schema
}

/// Describes what the reader does with every object: extensions are allowed, null is not an absent
/// key.
fn strict(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    if let Some(Value::String(description)) = object.get_mut("description") {
        *description = description.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    if object.get("format") == Some(&json!("uint32")) {
        object.remove("format");
        object.insert("maximum".into(), u32::MAX.into());
    }
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        for property in properties.values_mut().filter_map(Value::as_object_mut) {
            without_null(property);
        }
    }
    if object.get("additionalProperties") == Some(&Value::Bool(false)) {
        object.insert("patternProperties".into(), json!({"^x-": {}}));
    }
}

/// Removes null from the description of an optional key.
fn without_null(property: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = property.get_mut("type") {
        types.retain(|name| name != "null");
        if let [name] = &mut types[..] {
            let name = name.take();
            property.insert("type".into(), name);
        }
    }
    if let Some(Value::Array(options)) = property.get_mut("anyOf") {
        options.retain(|option| option.get("type") != Some(&json!("null")));
        if let [Value::Object(option)] = &mut options[..] {
            let option = std::mem::take(option);
            property.remove("anyOf");
            for (key, value) in option {
                property.entry(key).or_insert(value);
            }
        }
    }
}

/// Describes types that are written in place.
macro_rules! describe {
    ($($type:ty: $schema:expr;)+) => { $(
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                let describe: fn(&mut SchemaGenerator) -> Schema = $schema;
                describe(generator)
            }
        }
    )+ };
}

describe! {
    Version: |_| json_schema!({"const": SUPPORTED_VERSION});
    Account: |_| json_schema!({
        "anyOf": [
            {"description": "a name", "type": "string", "pattern": "[^0-9]"},
            {"description": "an id", "type": "integer", "minimum": 0, "maximum": u32::MAX - 1}
        ],
        "examples": ["nginx", 101]
    });
    Mode: |_| json_schema!({
        "type": "string",
        "pattern": "^[0-7]{1,4}$",
        "examples": ["0440", "0750"]
    });
    Destination: |_| json_schema!({
        "type": "string",
        "pattern": format!(
            "^(/(?!\\.\\.?(/|$)|{})[^/\\u0000]{{1,{MAX_NAME}}})+$",
            TEMPORARY_PREFIX.replace('.', "\\.")
        ),
        "maxLength": MAX_PATH,
        "examples": ["/etc/nginx/nginx.conf"]
    });
    SourcePath: |_| json_schema!({
        "type": "string",
        "pattern": "^[^\\u0000]+$",
        "examples": ["nginx.conf", "/run/secrets/key.pem"]
    });
    WorkingDir: |_| json_schema!({
        "type": "string",
        "pattern": "^/[^\\u0000]*$",
        "examples": ["/srv"]
    });
    Argument: |_| json_schema!({"type": "string", "pattern": "^[^\\u0000]*$"});
    CommandDocument: |generator| json_schema!({
        "type": "array",
        "minItems": 1,
        "prefixItems": [{"minLength": 1}],
        "items": generator.subschema_for::<Argument>(),
        "examples": [["nginx", "-t"]]
    });
    Sha256: |_| json_schema!({"type": "string", "pattern": "^[0-9a-fA-F]{64}$"});
    ExitStatus: |_| json_schema!({"type": "integer", "minimum": 0, "maximum": u8::MAX});
    Capability: |_| {
        let names = capability::NAMES.iter();
        let names = names.flat_map(|name| [(*name).to_owned(), format!("CAP_{name}")]);
        json_schema!({"enum": names.collect::<Vec<_>>()})
    };
    Signal: |_| {
        let names = signal::NAMES.join("|");
        json_schema!({
            "type": "string",
            "pattern": format!(r"^(SIG)?({names}|RTMIN(\+[0-9]+)?|RTMAX(-[0-9]+)?)$")
        })
    };
    RewriteDocument: |generator| json_schema!({
        "type": "object",
        "propertyNames": generator.subschema_for::<Signal>(),
        "additionalProperties": generator.subschema_for::<RewriteTo>(),
        "examples": [{"TERM": "QUIT", "HUP": null}]
    });
    RewriteTo: |generator| json_schema!({
        "anyOf": [generator.subschema_for::<Signal>(), {"type": "null"}]
    });
}

impl<T: JsonSchema> JsonSchema for Located<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}
