//! Environment variables over the file: `REVEILLE_SERVER_MQTT__MAX_CONNECTIONS=100` is `mqtt.max_connections`. A value is
//! read as TOML where that is possible (`["127.0.0.1:0"]`, `true`, `5000`), else as text.

use toml::{Table, Value};

use super::{ConfigError, ServerConfig};

/// What the names of all these variables begin with.
pub const PREFIX: &str = "REVEILLE_SERVER_";

pub(super) fn put_over(table: &mut Table, variables: impl IntoIterator<Item = (String, String)>) -> Result<(), ConfigError> {
    let mut variables: Vec<_> = variables.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
    variables.sort();
    for (name, text) in variables {
        let wrong = |detail: String| ConfigError::Variable { name: name.clone(), detail };
        let path = name[PREFIX.len()..].to_ascii_lowercase();
        let keys: Vec<&str> = path.split("__").collect();
        let (last, groups) = keys.split_last().ok_or_else(|| wrong("names no key".to_owned()))?;
        let mut place = &mut *table;
        for group in groups {
            let next = place.entry(*group).or_insert_with(|| Value::Table(Table::new()));
            place = next.as_table_mut().ok_or_else(|| wrong(format!("`{group}` is not a group of keys")))?;
        }
        place.insert((*last).to_owned(), value(&text));
        // Each by itself, so that the error names the variable.
        table.clone().try_into::<ServerConfig>().map_err(|error| wrong(error.message().to_owned()))?;
    }
    Ok(())
}

fn value(text: &str) -> Value {
    let parsed = toml::from_str::<Table>(&format!("value = {text}")).ok().and_then(|mut table| table.remove("value"));
    parsed.unwrap_or_else(|| Value::String(text.to_owned()))
}
