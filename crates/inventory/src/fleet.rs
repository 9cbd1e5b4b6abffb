//! `fleet.toml`: hosts, and with them the engine's own configuration: limits, drains, checks, windows, habits.

use std::collections::BTreeMap;

use model::{Labels, Millis};
use serde::Deserialize;
use toml::Spanned;
use toml::de::DeTable;

use crate::lines::Lines;
use crate::{Address, Host, InventoryError, Place, Source, spelling};

/// Keys of a fleet file that are not the engine's.
const OWN: [&str; 3] = ["host", "ansible", "deploy"];

/// What brings a new generation to a host (S2-37); runs where `reveille` runs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deploy {
    /// Program and arguments; `{name}`, `{address}` and `{label.KEY}` stand for those of the host.
    pub command: Vec<String>,
    /// It may take so long.
    #[serde(default = "deploy_limit")]
    pub limit: Millis,
}

fn deploy_limit() -> Millis {
    Millis::secs(600)
}

/// How Ansible inventories beside it are read.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AnsibleOptions {
    /// Variables that become labels. The others do not: passwords stand among them.
    pub(crate) labels: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Own {
    host: BTreeMap<Spanned<String>, Entry>,
    ansible: AnsibleOptions,
    deploy: Option<Spanned<Deploy>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Entry {
    address: Option<String>,
    labels: BTreeMap<String, Scalar>,
    generation: Option<Scalar>,
}

/// A text, or a number or truth that is written without quotes.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Number(i64),
    Truth(bool),
}

impl Scalar {
    fn text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number.to_string(),
            Self::Truth(truth) => truth.to_string(),
        }
    }
}

/// What one fleet file says.
pub(crate) struct Fleet {
    pub(crate) hosts: Vec<(String, Host)>,
    pub(crate) ansible: AnsibleOptions,
    pub(crate) deploy: Option<(Deploy, Place)>,
    /// The rest, which is the engine's; with the keys that stand in it.
    pub(crate) config: engine::Config,
    pub(crate) keys: Vec<String>,
}

pub(crate) fn read(source: &Source) -> Result<Fleet, InventoryError> {
    let lines = Lines::of(source);
    let wrong = |mut error: toml::de::Error| {
        let line = error.span().map_or(0, |span| lines.at(span.start));
        error.set_input(None);
        let detail = error.to_string().trim().replace('\n', " ");
        InventoryError::Syntax { place: lines.place_of(line), detail }
    };
    let table = DeTable::parse(&source.text).map_err(wrong)?;
    let span = table.span();
    let (mut own, mut rest) = (DeTable::new(), DeTable::new());
    for (key, value) in table.into_inner() {
        let part = if OWN.contains(&key.get_ref().as_ref()) { &mut own } else { &mut rest };
        part.insert(key, value);
    }
    let keys = rest.keys().map(|key| key.get_ref().clone().into_owned()).collect();
    let of = |table| toml::Deserializer::from(Spanned::new(span.clone(), table));
    let own = Own::deserialize(of(own)).map_err(wrong)?;
    let config = engine::Config::deserialize(of(rest)).map_err(|error| known(wrong(error)))?;
    config.check().map_err(|error| InventoryError::Syntax { place: lines.place_of(0), detail: error.to_string() })?;
    let mut hosts = Vec::with_capacity(own.host.len());
    for (name, entry) in own.host {
        let place = lines.place_of(lines.at(name.span().start));
        let name = name.into_inner();
        hosts.push((name.clone(), host(name, entry, place)?));
    }
    let placed = |span: std::ops::Range<usize>| lines.place_of(lines.at(span.start));
    let deploy = own.deploy.map(|deploy| (placed(deploy.span()), deploy.into_inner())).map(|(place, d)| (d, place));
    if let Some((deploy, place)) = &deploy
        && deploy.command.is_empty()
    {
        let detail = "deploy.command is empty: it holds a program and its arguments".to_owned();
        return Err(InventoryError::Syntax { place: place.clone(), detail });
    }
    Ok(Fleet { hosts, ansible: own.ansible, deploy, config, keys })
}

/// An unknown key at the top could also be one of ours.
fn known(error: InventoryError) -> InventoryError {
    match error {
        InventoryError::Syntax { place, detail } if detail.starts_with("unknown field") && !detail.contains(" in `") => {
            let detail = detail.replacen("expected one of ", "expected one of `host`, `deploy`, `ansible`, ", 1);
            InventoryError::Syntax { place, detail }
        }
        other => other,
    }
}

fn host(name: String, entry: Entry, place: Place) -> Result<Host, InventoryError> {
    spelling::sound(&name, &Labels::new(), &place)?;
    let wrong = |error| InventoryError::Address { place: place.clone(), host: name.clone(), error };
    let address: Address = entry.address.as_deref().unwrap_or(&name).parse().map_err(wrong)?;
    let mut labels: Labels = entry.labels.into_iter().map(|(key, value)| (key, value.text())).collect();
    if let Some(generation) = entry.generation
        && let Some(other) = labels.insert("generation".to_owned(), generation.text())
    {
        let detail = format!("host {name} has a generation and a label `generation` = {other:?}; keep one of them");
        return Err(InventoryError::Syntax { place, detail });
    }
    spelling::sound(&name, &labels, &place)?;
    Ok(Host { address, identity: None, labels, place })
}
