//! Ansible inventories: groups of hosts, groups of groups, and variables.
//!
//! Read are `ansible_host`, `ansible_port`, `ansible_user` (also in their old spelling `ansible_ssh_…`),
//! `ansible_ssh_private_key_file` and `ansible_connection`. Each group is a label `group.NAME` with the value `true`. Another
//! variable becomes a label only when it is named in `[ansible] labels` of a fleet file, or is called `reveille_label_KEY`:
//! passwords stand among variables, and labels are shown to everybody.

mod groups;
mod ini;
mod range;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};

use model::Labels;

pub(crate) use groups::Groups;
pub(crate) use ini::read as ini;
pub(crate) use yaml::read as yaml;

use crate::{Address, Host, InventoryError, Place, Source, spelling};

/// Variables that change how Ansible connects, and that are not obeyed: with what to do instead.
const NOT_OBEYED: [(&str, &str); 8] = [
    ("ansible_password", "log in with a key"),
    ("ansible_ssh_pass", "log in with a key"),
    ("ansible_ssh_common_args", "say it in ssh_config"),
    ("ansible_ssh_extra_args", "say it in ssh_config"),
    ("ansible_become_user", "sudo always becomes root"),
    ("ansible_become_method", "sudo is used"),
    ("ansible_become_password", "give --ask-sudo-password or --sudo-password-file"),
    ("ansible_become_pass", "give --ask-sudo-password or --sudo-password-file"),
];

/// Prefix of variables that become labels.
const LABEL: &str = "reveille_label_";

/// A variable: a text, or something that is none (a list, a table, a secret of a vault).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// Also a number or a truth, as written.
    Text(String),
    /// Not a text; its kind in words.
    Other(&'static str),
}

pub(crate) type Variables = BTreeMap<String, Value>;

/// The hosts of all groups.
pub(crate) fn hosts(
    groups: Groups,
    wanted: &[String],
    source: &Source,
    notes: &mut Vec<String>,
) -> Result<Vec<(String, Host)>, InventoryError> {
    let wanted: BTreeSet<&str> = wanted.iter().map(String::as_str).collect();
    let resolved = groups.resolve(source)?;
    for (variable, instead) in NOT_OBEYED {
        if resolved.values().any(|(_, variables, _)| variables.contains_key(variable)) {
            notes.push(format!("{}: {variable} is not obeyed: {instead}", source.name));
        }
    }
    let mut hosts = Vec::new();
    for (name, (place, variables, of)) in resolved {
        let mut labels: Labels = of.into_iter().map(|group| (format!("group.{group}"), "true".to_owned())).collect();
        for (variable, value) in &variables {
            let key = match variable.strip_prefix(LABEL) {
                Some(key) => key,
                None if wanted.contains(variable.as_str()) => variable,
                None => continue,
            };
            labels.insert(key.to_owned(), text(&name, &place, variable, value)?.to_owned());
        }
        spelling::sound(&name, &labels, &place)?;
        if let Some(by) = without_ssh(&name, &place, &variables)? {
            notes.push(format!("{place}: host {name} is left out: Ansible reaches it by {by}, and only SSH is spoken here"));
            continue;
        }
        let (address, identity) = connection(&name, &place, &variables)?;
        hosts.push((name, Host { address, identity, labels, place }));
    }
    Ok(hosts)
}

/// Connections that go over SSH; `smart` is Ansible's default.
const OVER_SSH: [&str; 6] = ["ssh", "smart", "paramiko", "ansible.builtin.ssh", "ansible.netcommon.libssh", "paramiko_ssh"];

/// How Ansible reaches a host that it does not reach over SSH: itself, or something that knows no shell.
fn without_ssh(name: &str, place: &Place, variables: &Variables) -> Result<Option<String>, InventoryError> {
    let Some(value) = variables.get("ansible_connection") else { return Ok(None) };
    let by = text(name, place, "ansible_connection", value)?;
    Ok((!OVER_SSH.contains(&by)).then(|| by.to_owned()))
}

/// How a host is reached.
fn connection(name: &str, place: &Place, variables: &Variables) -> Result<(Address, Option<String>), InventoryError> {
    let one = |names: &[&str]| -> Result<Option<String>, InventoryError> {
        let found = names.iter().find_map(|variable| variables.get_key_value(*variable));
        found.map(|(variable, value)| text(name, place, variable, value).map(str::to_owned)).transpose()
    };
    let wrong = |detail: String| InventoryError::Syntax { place: place.clone(), detail: format!("host {name}: {detail}") };
    let port = match one(&["ansible_port", "ansible_ssh_port"])? {
        Some(port) => Some(port.parse().map_err(|_| wrong(format!("ansible_port is {port:?}: a port is 1 to 65535")))?),
        None => None,
    };
    let user = one(&["ansible_user", "ansible_ssh_user"])?;
    let host = one(&["ansible_host", "ansible_ssh_host"])?.unwrap_or_else(|| name.to_owned());
    let address = Address::new(user, host, port);
    let address = address.map_err(|error| InventoryError::Address { place: place.clone(), host: name.to_owned(), error })?;
    Ok((address, one(&["ansible_ssh_private_key_file", "ansible_private_key_file"])?))
}

/// A variable that is needed and must be a text as it stands.
fn text<'a>(host: &str, place: &Place, variable: &str, value: &'a Value) -> Result<&'a str, InventoryError> {
    let wrong =
        |detail: &str| InventoryError::Syntax { place: place.clone(), detail: format!("host {host}: {variable} {detail}") };
    match value {
        Value::Text(text) if text.contains("{{") || text.contains("{%") => {
            Err(wrong("is a template, which only Ansible can fill in; write the value itself"))
        }
        Value::Text(text) => Ok(text),
        Value::Other(kind) => Err(wrong(&format!("is {kind}; a text is needed"))),
    }
}
