//! The JSON Schema of a services file, for editors.

use serde_json::{Map, Value, json};

use super::shape::{Bare, FILE, Holds, Key, Rule, Table};

/// JSON Schema, draft 2020-12, without references: every editor takes it as it is.
pub fn schema() -> Value {
    let mut schema = Map::from_iter([
        ("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema")),
        ("title".to_owned(), json!("reveille.toml")),
    ]);
    schema.extend(table(&FILE));
    Value::Object(schema)
}

fn table(table: &Table) -> Map<String, Value> {
    let mut schema = Map::from_iter([
        ("description".to_owned(), json!(table.text)),
        ("type".to_owned(), json!("object")),
        ("additionalProperties".to_owned(), json!(false)),
        ("properties".to_owned(), table.keys.iter().map(|known| (known.name.to_owned(), key(known))).collect()),
    ]);
    let one_of = |names: &[&str]| names.iter().map(|name| json!({ "required": [name] })).collect::<Vec<_>>();
    match table.rule {
        Rule::Free => {}
        Rule::Needs(names) => drop(schema.insert("required".to_owned(), json!(names))),
        Rule::OneOf(names) => drop(schema.insert("oneOf".to_owned(), json!(one_of(names)))),
        Rule::AtMostOneOf(names) => {
            let mut all = one_of(names);
            all.push(json!({ "not": { "anyOf": one_of(names) } }));
            schema.insert("oneOf".to_owned(), json!(all));
        }
    }
    let with: Map<String, Value> = table.keys.iter().filter_map(|key| Some((key.name.to_owned(), json!([key.with?])))).collect();
    if !with.is_empty() {
        schema.insert("dependentRequired".to_owned(), Value::Object(with));
    }
    schema
}

fn key(key: &Key) -> Value {
    let mut schema = holds(key.holds);
    schema.insert("description".to_owned(), json!(key.text));
    let written =
        |text: &str| toml::from_str::<Map<String, Value>>(&format!("x = {text}")).ok().and_then(|mut said| said.remove("x"));
    if let Some(default) = written(key.default) {
        schema.insert("default".to_owned(), default);
    }
    if let Some(example) = written(key.example) {
        schema.insert("examples".to_owned(), json!([example]));
    }
    Value::Object(schema)
}

/// One or several numbers with their units, the largest first.
const DURATION: &str = "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$";

/// A name of an environment variable.
const VARIABLE: &str = "^[A-Za-z_][A-Za-z0-9_]*$";

/// A name of a service.
const NAME: &str = "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$";

fn holds(holds: Holds) -> Map<String, Value> {
    let schema = match holds {
        Holds::Text | Holds::Lines => json!({ "type": "string", "minLength": 1 }),
        Holds::Word(words) => json!({ "enum": words }),
        Holds::Yes => json!({ "const": true }),
        Holds::Count(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Holds::Duration(Bare::Refused) => json!({ "type": "string", "minLength": 2, "pattern": DURATION }),
        Holds::Duration(_) => json!({ "type": ["string", "integer"], "minLength": 2, "pattern": DURATION, "minimum": 1 }),
        Holds::Texts => json!({ "type": "array", "items": { "type": "string", "minLength": 1 } }),
        Holds::Words => {
            json!({ "type": ["string", "array"], "minLength": 1, "minItems": 1, "items": { "type": "string" } })
        }
        Holds::Variables => {
            json!({ "type": "object", "propertyNames": { "pattern": VARIABLE }, "additionalProperties": { "type": "string" } })
        }
        Holds::Keys(keys) => Value::Object(table(keys)),
        Holds::Named(keys) => {
            json!({ "type": "object", "propertyNames": { "pattern": NAME }, "additionalProperties": table(keys) })
        }
    };
    match schema {
        Value::Object(schema) => schema,
        other => Map::from_iter([("const".to_owned(), other)]),
    }
}
