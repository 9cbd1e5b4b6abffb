//! Several files as one: what they say of one thing must agree.

use std::collections::{BTreeMap, HashMap};

use crate::fleet::Fleet;
use crate::{HOSTS_MAX, Host, Inventory, InventoryError, Source};

/// Which file said something that only one may say.
#[derive(Debug, Default)]
pub(crate) struct Origins {
    config: Option<String>,
    deploy: Option<String>,
}

/// Takes in a fleet file.
pub(crate) fn fleet(inventory: &mut Inventory, from: &mut Origins, fleet: Fleet, source: &Source) -> Result<(), InventoryError> {
    // Limits, drains, checks and windows belong together: half of them from elsewhere would be a policy that nobody wrote.
    if !fleet.keys.is_empty() {
        once("the configuration (limits, drains, checks, windows, rollout)", &mut from.config, &source.name)?;
        inventory.config = fleet.config;
    }
    if let Some((deploy, place)) = fleet.deploy {
        once("[deploy]", &mut from.deploy, &place.to_string())?;
        inventory.deploy = Some(deploy);
    }
    for (name, found) in fleet.hosts {
        host(&mut inventory.hosts, name, found)?;
    }
    Ok(())
}

fn once(what: &str, from: &mut Option<String>, here: &str) -> Result<(), InventoryError> {
    match from.replace(here.to_owned()) {
        None => Ok(()),
        Some(first) => Err(InventoryError::Contradiction { what: what.to_owned(), first, second: here.to_owned() }),
    }
}

/// Takes in a host. One that another file lists too gets the labels of both.
pub(crate) fn host(hosts: &mut BTreeMap<String, Host>, name: String, found: Host) -> Result<(), InventoryError> {
    let Some(known) = hosts.get_mut(&name) else {
        if hosts.len() >= HOSTS_MAX {
            return Err(InventoryError::TooMany { place: found.place });
        }
        hosts.insert(name, found);
        return Ok(());
    };
    let contradiction =
        |what: String| InventoryError::Contradiction { what, first: known.place.to_string(), second: found.place.to_string() };
    if known.address != found.address && found.address.host != name && known.address.host != name {
        return Err(contradiction(format!("the address of {name} ({})", found.address)));
    }
    for (key, value) in &found.labels {
        if known.labels.get(key).is_some_and(|other| other != value) {
            return Err(contradiction(format!("label {key} of {name} ({value})")));
        }
    }
    // A file that lists the host by its name alone says nothing of how to reach it.
    if known.address.host == name && found.address.host != name {
        known.address = found.address;
    }
    known.identity = known.identity.take().or(found.identity);
    known.labels.extend(found.labels);
    Ok(())
}

/// No two names for one address: it would be taken down twice, and counted as two.
pub(crate) fn apart(hosts: &BTreeMap<String, Host>) -> Result<(), InventoryError> {
    let mut reached: HashMap<(String, u16), (&String, &Host)> = HashMap::with_capacity(hosts.len());
    for (name, host) in hosts {
        if let Some((other, first)) = reached.insert(host.address.reached(), (name, host)) {
            return Err(InventoryError::Twice {
                one: other.as_str().into(),
                first: first.place.clone(),
                other: name.as_str().into(),
                second: host.place.clone(),
                address: host.address.to_string().into(),
            });
        }
    }
    Ok(())
}
