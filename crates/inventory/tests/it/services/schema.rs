//! What editors are told, held against what is read.

use std::collections::BTreeSet;

use inventory::services::schema;
use serde_json::{Map, Value, json};

use super::{AGENTS, EXAMPLE, error, read};

/// Whether a document is as a schema says: the words that ours uses, and no others.
fn conforms(schema: &Value, document: &Value, at: &str) -> Result<(), String> {
    let sound = |holds: bool, word: &str| if holds { Ok(()) } else { Err(format!("{at}: {word}")) };
    for (word, said) in schema.as_object().unwrap() {
        let each = || said.as_array().unwrap().iter();
        let size = usize::try_from(said.as_u64().unwrap_or(0)).unwrap();
        match word.as_str() {
            "$schema" | "title" | "description" | "default" | "examples" => {}
            "type" => {
                let kind = match document {
                    Value::String(_) => "string",
                    Value::Number(_) => "integer",
                    Value::Array(_) => "array",
                    Value::Object(_) => "object",
                    Value::Bool(_) | Value::Null => "other",
                };
                sound(said == kind || said.as_array().is_some_and(|kinds| kinds.contains(&json!(kind))), word)?;
            }
            "properties" => {
                for (key, value) in document.as_object().into_iter().flatten() {
                    if let Some(schema) = said.get(key) {
                        conforms(schema, value, &format!("{at}.{key}"))?;
                    }
                }
            }
            "additionalProperties" => {
                for (key, value) in document.as_object().into_iter().flatten() {
                    if schema.get("properties").is_none_or(|known| known.get(key).is_none()) {
                        sound(*said != json!(false), &format!("unknown {key}"))?;
                        conforms(said, value, &format!("{at}.{key}"))?;
                    }
                }
            }
            "items" => document.as_array().into_iter().flatten().try_for_each(|item| conforms(said, item, at))?,
            "required" => sound(each().all(|key| document.get(key.as_str().unwrap()).is_some()), word)?,
            "dependentRequired" => {
                for (key, others) in said.as_object().unwrap().iter().filter(|(key, _)| document.get(key.as_str()).is_some()) {
                    let has = |other: &Value| document.get(other.as_str().unwrap()).is_some();
                    sound(others.as_array().unwrap().iter().all(has), &format!("{word} of {key}"))?;
                }
            }
            "oneOf" => sound(each().filter(|one| conforms(one, document, at).is_ok()).count() == 1, word)?,
            "anyOf" => sound(each().any(|one| conforms(one, document, at).is_ok()), word)?,
            "not" => sound(conforms(said, document, at).is_err(), word)?,
            "enum" => sound(each().any(|one| one == document), word)?,
            "const" => sound(said == document, word)?,
            "minLength" => sound(document.as_str().is_none_or(|text| text.chars().count() >= size), word)?,
            "minItems" => sound(document.as_array().is_none_or(|items| items.len() >= size), word)?,
            "minimum" => sound(document.as_i64().is_none_or(|number| number >= said.as_i64().unwrap()), word)?,
            "maximum" => sound(document.as_i64().is_none_or(|number| number <= said.as_i64().unwrap()), word)?,
            // Regular expressions are left to the editors.
            "pattern" | "propertyNames" => {}
            other => panic!("{at}: {other} is a word that this test does not know"),
        }
    }
    Ok(())
}

fn document(text: &str) -> Value {
    toml::from_str(text).unwrap()
}

/// Every table of the schema: its path from the top, and what stands in it.
fn tables(schema: &Value, path: &[String]) -> Vec<(Vec<String>, Value)> {
    let mut found = vec![(path.to_vec(), schema.clone())];
    for (key, inner) in schema["properties"].as_object().unwrap() {
        let mut path = path.to_vec();
        path.push(key.clone());
        if inner.get("properties").is_some() {
            found.extend(tables(inner, &path));
        } else if inner["additionalProperties"]["properties"].is_object() {
            path.push("x".to_owned());
            found.extend(tables(&inner["additionalProperties"], &path));
        }
    }
    found
}

/// The smallest file in which a table has these keys.
fn file(path: &[String], keys: Map<String, Value>) -> String {
    let whole = path.iter().rev().fold(Value::Object(keys), |inner, key| json!({ key: inner }));
    toml::to_string(&whole).unwrap()
}

/// A key with those that have to stand beside it, all as the schema's examples have them.
fn with_its_own(table: &Value, key: &str) -> Map<String, Value> {
    let mut keys = Map::new();
    let mut waiting = vec![key.to_owned()];
    let texts =
        |list: &Value| list.as_array().into_iter().flatten().map(|key| key.as_str().unwrap().to_owned()).collect::<Vec<_>>();
    waiting.extend(texts(&table["required"]));
    // A migration needs a folder, which a deploy would give it.
    if key == "command" && table["properties"].get("directory").is_some() {
        waiting.push("directory".to_owned());
    }
    while let Some(key) = waiting.pop() {
        waiting.extend(texts(&table["dependentRequired"][&key]));
        keys.insert(key.clone(), table["properties"][&key]["examples"][0].clone());
    }
    let groups: Vec<_> = table["oneOf"].as_array().into_iter().flatten().map(|one| texts(&one["required"])).collect();
    let chosen = groups.iter().any(|group| group.is_empty() || group.iter().any(|key| keys.contains_key(key)));
    if let Some(last) = groups.last().filter(|_| !chosen) {
        last.iter().for_each(|key| drop(keys.insert(key.clone(), table["properties"][key]["examples"][0].clone())));
    }
    keys
}

#[test]
fn every_key_of_the_schema_is_read_and_every_key_that_is_read_is_in_it() {
    let schema = schema();
    let tables = tables(&schema, &[]);
    let paths: Vec<String> = tables.iter().map(|(path, _)| path.join(".")).collect();
    assert_eq!(
        paths,
        [
            "",
            "service.x",
            "service.x.deploy",
            "service.x.health_check",
            "service.x.migrate",
            "service.x.run",
            "service.x.timings",
            "timings"
        ]
    );
    for (path, table) in tables {
        let known: BTreeSet<&str> = table["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        for key in &known {
            let property = &table["properties"][key];
            assert!(property["description"].as_str().is_some_and(|text| text.ends_with('.')), "{path:?} {key}: no description");
            if property.get("examples").is_none() {
                assert!(property.get("type").is_some_and(|kind| kind == "object"), "{path:?} {key}: no example");
                continue;
            }
            let text = file(&path, with_its_own(&table, key));
            assert_eq!(conforms(&schema, &document(&text), ""), Ok(()), "{text}");
            if let Err(error) = read(&text) {
                panic!("{error}:\n{text}");
            }
        }
        // What is read says itself what it knows.
        let told = error(&file(&path, Map::from_iter([("zzzzzzzz".to_owned(), json!(1))])));
        let told = told.lines().find_map(|line| line.split_once("known here: ")).unwrap().1;
        assert_eq!(told.split(", ").collect::<BTreeSet<_>>(), known);
    }
}

#[test]
fn the_defaults_that_the_schema_tells_are_those_that_hold() {
    for (path, table) in tables(&schema(), &[]).into_iter().filter(|(path, _)| !path.is_empty()) {
        for (key, property) in table["properties"].as_object().unwrap() {
            let Some(default) = property.get("default") else { continue };
            let mut keys = with_its_own(&table, key);
            keys.insert(key.clone(), default.clone());
            let with = format!("{}\n", file(&path, keys.clone()));
            keys.remove(key);
            let without = file(&path, keys);
            let header = if path[0] == "timings" { "[service.x]\n" } else { "" };
            let services = |text: &str| {
                let manifest = read(&format!("{text}\n{header}")).unwrap();
                (manifest.services, manifest.runs)
            };
            assert_eq!(services(&with), services(&without), "{path:?} {key}");
        }
    }
}

#[test]
fn the_examples_are_as_the_schema_says_and_slips_are_not() {
    let schema = schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    for text in [EXAMPLE, AGENTS] {
        assert_eq!(conforms(&schema, &document(text), ""), Ok(()));
    }
    for text in [
        "[sevice.a]",
        "[service.a]\nunit = 5",
        "[service.a]\nkind = \"databse\"",
        "[service.a]\nsoak = 30",
        "[service.a]\nhealth_check = { url = \"http://x/\", tcp = \"x:1\" }",
        "[service.a]\nhealth_check = { tcp = \"x:1\", status = 200 }",
        "[service.a]\nhealth_check = { tcp = \"x:1\", retries = 0 }",
        "[service.a]\nhealth_check = { command = [] }",
        "[service.a]\nhealth_check = { systemd = false }",
        "[service.a]\ndeploy = { source = \"/tmp/x\" }",
        "[service.a]\nmigrate = {}",
        "[service.a]\nmigrate = { named = \"x\", directory = \"/srv/x\" }",
        "[service.a]\nmigrate = { named = \"x\", command = \"y\", directory = \"/srv/x\" }",
        "[service.a]\ndependencies = \"b\"",
        "[service.a]\nrun = { user = \"web\" }",
        "[service.a]\nrun = { command = \"x\", restart = \"never\" }",
        "[service.a]\nrun = { command = \"x\", environment = { PORT = 3001 } }",
        "[service.a]\nrun = { command = \"x\", nice = 5 }",
    ] {
        assert!(conforms(&schema, &document(text), "").is_err(), "{text}");
        error(text);
    }
}
