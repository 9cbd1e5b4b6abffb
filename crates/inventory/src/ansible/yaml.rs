//! Ansible's YAML: groups with `hosts`, `children` and `vars`, at the top or below `all`.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::range::expand;
use super::{Groups, Value, Variables};
use crate::{HOSTS_MAX, InventoryError, Place, Source};

/// Groups in groups deeper than this are a slip of the pen.
const DEEPEST: usize = 32;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Group {
    hosts: Option<Table<Option<Table<Value>>>>,
    children: Option<Table<Option<Group>>>,
    vars: Option<Table<Value>>,
}

/// A mapping whose keys know their line.
#[derive(Debug)]
struct Table<T>(Vec<(Spanned<String>, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Table<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Rows<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Rows<T> {
            type Value = Table<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut rows = Vec::new();
                while let Some(row) = map.next_entry()? {
                    rows.push(row);
                }
                Ok(Table(rows))
            }
        }
        deserializer.deserialize_map(Rows(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Value;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a variable")
            }
            fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
                Ok(Value::Text(value.to_string()))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
                Ok(Value::Text(value.to_string()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
                Ok(Value::Text(value.to_string()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
                Ok(Value::Text(value.to_string()))
            }
            fn visit_str<E>(self, value: &str) -> Result<Value, E> {
                Ok(Value::Text(value.to_owned()))
            }
            fn visit_bytes<E>(self, _: &[u8]) -> Result<Value, E> {
                Ok(Value::Other("binary"))
            }
            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Other("empty"))
            }
            fn visit_none<E>(self) -> Result<Value, E> {
                Ok(Value::Other("empty"))
            }
            fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Value, D::Error> {
                Value::deserialize(inner)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Value::Other("a list"))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Value::Other("a mapping"))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

pub(crate) fn read(source: &Source) -> Result<Groups, InventoryError> {
    let nodes = HOSTS_MAX * 40;
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_nodes: nodes, max_events: 2 * nodes, max_depth: 2 * DEEPEST + 8 },
        with_snippet: false,
    };
    let table: Option<Table<Option<Group>>> = serde_saphyr::from_str_with_options(&source.text, options).map_err(|error| {
        let line = error.location().map_or(0, |location| location.line());
        let text = error.without_snippet().to_string();
        // The place stands in front already.
        let detail = text.lines().next().unwrap_or_default();
        let detail =
            [" at line ", ", set Duplicate"].iter().fold(detail, |detail, end| detail.split(end).next().unwrap_or(detail));
        let detail = detail.replace("expected mapping start", "expected a mapping, `name:` on each line");
        InventoryError::Syntax { place: Place { file: source.name.clone(), line }, detail }
    })?;
    let mut groups = Groups::default();
    for (name, group) in table.map(|table| table.0).unwrap_or_default() {
        take(&mut groups, &name, group, source, 0)?;
    }
    Ok(groups)
}

fn take(
    groups: &mut Groups,
    name: &Spanned<String>,
    group: Option<Group>,
    source: &Source,
    depth: usize,
) -> Result<(), InventoryError> {
    let place = |key: &Spanned<String>| Place { file: source.name.clone(), line: key.referenced.line() };
    if depth > DEEPEST {
        let detail = format!("groups stand more than {DEEPEST} deep in one another");
        return Err(InventoryError::Syntax { place: place(name), detail });
    }
    groups.group(&name.value, &place(name))?;
    let Some(group) = group else { return Ok(()) };
    for (pattern, variables) in group.hosts.map(|hosts| hosts.0).unwrap_or_default() {
        let place = place(&pattern);
        let variables = variables.map(|table| table.0).unwrap_or_default();
        let variables: Variables = variables.into_iter().map(|(name, value)| (name.value, value)).collect();
        let names = expand(&pattern.value).map_err(|detail| InventoryError::Syntax { place: place.clone(), detail })?;
        for host in names {
            groups.host(&name.value, &host, variables.clone(), &place)?;
        }
    }
    for (variable, value) in group.vars.map(|vars| vars.0).unwrap_or_default() {
        groups.variable(&name.value, variable.value, value);
    }
    for (child, inner) in group.children.map(|children| children.0).unwrap_or_default() {
        groups.child(&name.value, &child.value, &place(&child));
        take(groups, &child, inner, source, depth + 1)?;
    }
    Ok(())
}
