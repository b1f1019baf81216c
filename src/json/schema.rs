//! JSON Schema (2020-12) out of the declarations that documents are read with, so that the two cannot differ.
//!
//! Never says less than the reader where it can be said: what an editor finds right, the reader takes, except for what no schema can
//! tell (a destination given twice, a name that is unknown).

use serde_json::{Map, Value, json};

use crate::json::FromJson;

/// A part of a schema that is known beforehand. It is kept as text: built piece by piece, it would take several times the space in the
/// program, for a command that few ever give.
macro_rules! literal {
    ($($json:tt)+) => {
        $crate::json::schema::parsed(stringify!($($json)+))
    };
}
pub(crate) use literal;

/// A text of ours that is JSON.
pub(crate) fn parsed(json: &'static str) -> Value {
    // Tests see to it that it is.
    serde_json::from_str(json).unwrap_or_default()
}

/// The schemas of objects, by name.
#[derive(Debug, Default)]
pub(crate) struct Definitions(Map<String, Value>);

impl Definitions {
    /// A reference to the definition `name`, which is made if it is not there.
    pub(crate) fn define(&mut self, name: &str, make: impl FnOnce(&mut Self) -> Value) -> Value {
        if !self.0.contains_key(name) {
            // Before it is made, so that it may refer to itself.
            self.0.insert(name.into(), Value::Null);
            let schema = make(self);
            self.0.insert(name.into(), schema);
        }
        json!({"$ref": format!("#/$defs/{name}")})
    }
}

/// The schema of an object in the making.
#[derive(Debug)]
pub(crate) struct ObjectSchema {
    schema: Map<String, Value>,
    properties: Map<String, Value>,
    required: Vec<Value>,
}

impl ObjectSchema {
    /// Of an object with this documentation, in which no key is known yet but extensions.
    pub(crate) fn new(doc: &str) -> Self {
        let mut schema = Map::new();
        schema.insert("type".into(), "object".into());
        schema.insert("description".into(), sentence(doc).into());
        schema.insert("patternProperties".into(), literal!({"^x-": {}}));
        schema.insert("additionalProperties".into(), false.into());
        Self {
            schema,
            properties: Map::new(),
            required: Vec::new(),
        }
    }

    /// A key, with what is known of it.
    pub(crate) fn property(
        &mut self,
        key: &'static str,
        doc: &str,
        mut schema: Value,
        required: bool,
        default: Option<Value>,
    ) {
        schema["description"] = sentence(doc).into();
        if let Some(default) = default {
            schema["default"] = default;
        }
        if required {
            self.required.push(key.into());
        }
        self.properties.insert(key.into(), schema);
    }

    /// What holds of the object as a whole.
    pub(crate) fn rules(&mut self, rules: Value) {
        if let Value::Object(rules) = rules {
            self.schema.extend(rules);
        }
    }

    pub(crate) fn finish(mut self) -> Value {
        self.schema
            .insert("properties".into(), self.properties.into());
        self.schema.insert("required".into(), self.required.into());
        self.schema.into()
    }
}

/// A documentation comment as one line.
pub(crate) fn sentence(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The schema of the document `T`, which may name its schema itself.
pub(crate) fn schema<T: FromJson>() -> Value {
    let mut definitions = Definitions::default();
    let reference = T::schema(&mut definitions);
    let root = reference["$ref"]
        .as_str()
        .and_then(|reference| reference.rsplit('/').next())
        .unwrap_or_default();
    let mut schema = definitions.0.remove(root).unwrap_or(reference);
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = "sealinit manifest".into();
    schema["properties"]["$schema"] =
        literal!({"type": "string", "description": "This schema, for editors."});
    schema["examples"] = literal!([{
        "version": 1,
        "service": {"user": "nginx", "command": ["nginx", "-g", "daemon off;"]},
        "files": [{"source": "nginx.conf", "dest": "/etc/nginx/nginx.conf"}]
    }]);
    schema["$defs"] = definitions.0.into();
    schema
}
