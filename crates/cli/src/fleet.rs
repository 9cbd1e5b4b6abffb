//! The hosts of an inventory file, for what is done without a server.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use inventory::{Address, Host, Inventory, Place, Source};
use model::{SelectionError, Selector, TargetId};

use crate::args::{Here, THIS_MACHINE};
use crate::error::CliError;
use crate::exit::Exit;

/// Looked for where nothing else is said.
const NAME: &str = "fleet.toml";
/// More names than this are not listed in an error.
const LISTED: usize = 12;

/// From where it is known which hosts there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hosts {
    /// There is this machine alone, and nothing is read.
    ThisMachine,
    /// They stand in these files.
    Listed(Vec<PathBuf>),
}

impl Hosts {
    /// The hosts, and what is configured for them.
    pub(crate) fn load(&self) -> Result<Inventory, CliError> {
        match self {
            Self::ThisMachine => Ok(this_machine()),
            Self::Listed(files) => load(files),
        }
    }
}

/// This machine, reached without SSH, with nothing configured.
pub(crate) fn this_machine() -> Inventory {
    let place = Place { file: String::new(), line: 0 };
    let host = Host { address: Address::this_machine(), identity: None, labels: model::Labels::new(), place };
    Inventory { hosts: [(THIS_MACHINE.to_owned(), host)].into(), ..Inventory::default() }
}

/// The inventory files that are meant: those given, else `./fleet.toml`, else the one below `$XDG_CONFIG_HOME/reveille`.
pub(crate) fn files(here: &Here) -> Vec<PathBuf> {
    if !here.inventory.is_empty() {
        return here.inventory.clone();
    }
    found()
}

/// The one that is found where nothing is said.
pub(crate) fn found() -> Vec<PathBuf> {
    let usual = crate::session::config_dir().ok().map(|dir| dir.join(NAME));
    [Some(PathBuf::from(NAME)), usual].into_iter().flatten().find(|path| path.is_file()).into_iter().collect()
}

/// What the files say. What is not obeyed is told on standard error.
pub(crate) fn load(files: &[PathBuf]) -> Result<Inventory, CliError> {
    let sources: Vec<Source> = files.iter().map(|path| source(path)).collect::<Result<_, _>>()?;
    let inventory = inventory::read(&sources).map_err(|error| CliError::usage(error.to_string()))?;
    for note in inventory.notes.iter().cloned().chain(beside(files)) {
        eprintln!("note: {note}");
    }
    Ok(inventory)
}

/// Variables that Ansible reads beside an inventory, and that are not read here: an address may stand among them.
fn beside(files: &[PathBuf]) -> Vec<String> {
    let ansible = files.iter().filter(|file| file.extension().is_none_or(|ending| ending != "toml"));
    let dirs = ansible.flat_map(|file| {
        let at = file.parent().unwrap_or(Path::new(""));
        ["group_vars", "host_vars"].map(|name| at.join(name))
    });
    let mut dirs: Vec<PathBuf> = dirs.filter(|dir| dir.is_dir()).collect();
    dirs.dedup();
    let told = |dir: PathBuf| {
        let text = "is not read: an ansible_host or ansible_port in it is not obeyed; `ansible-inventory --list --yaml` puts all into one file";
        format!("{} {text}", dir.display())
    };
    dirs.into_iter().map(told).collect()
}

fn source(path: &Path) -> Result<Source, CliError> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        let error = CliError::usage(format!("cannot read the inventory {name}: {error}"));
        if path.is_dir() { error.hint("give its files one by one, each with -i") } else { error }
    })?;
    Ok(Source { name, text })
}

/// Those that the words of a selector name.
pub(crate) fn select<'a>(inventory: &'a Inventory, words: &[String]) -> Result<Vec<(&'a str, &'a Host)>, CliError> {
    let selector = Selector::parse(words.iter().map(String::as_str)).map_err(|error| CliError::usage(error.to_string()))?;
    let hosts = inventory.hosts.iter().map(|(name, host)| (TargetId::of_ssh(name), name.as_str(), &host.labels));
    let meant = selector.select(hosts).map_err(|error| {
        let exit = if matches!(error, SelectionError::UnknownLabel { .. }) { Exit::Usage } else { Exit::NotFound };
        CliError::new(exit, error.to_string()).hint(listed(inventory))
    })?;
    let meant: BTreeSet<TargetId> = meant.into_iter().collect();
    let meant = |(name, _): &(&String, &Host)| meant.contains(&TargetId::of_ssh(name));
    Ok(inventory.hosts.iter().filter(meant).map(|(name, host)| (name.as_str(), host)).collect())
}

/// What could have been meant.
fn listed(inventory: &Inventory) -> String {
    let names: Vec<&str> = inventory.hosts.keys().take(LISTED).map(String::as_str).collect();
    let more = inventory.hosts.len().saturating_sub(names.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let mut keys: Vec<&str> = inventory.hosts.values().flat_map(|host| host.labels.keys().map(String::as_str)).collect();
    keys.sort_unstable();
    keys.dedup();
    let labels = if keys.is_empty() { String::new() } else { format!("; labels: {}", keys.join(", ")) };
    if names.is_empty() { "the inventory lists no host".to_owned() } else { format!("hosts: {}{more}{labels}", names.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet() -> Inventory {
        let text = "[host.web1]\nlabels = { role = \"web\" }\n[host.web2]\nlabels = { role = \"web\" }\n[host.db1]\n";
        inventory::read(&[Source { name: "fleet.toml".to_owned(), text: text.to_owned() }]).unwrap()
    }

    fn named(words: &[&str]) -> Result<Vec<String>, CliError> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let fleet = fleet();
        Ok(select(&fleet, &words)?.into_iter().map(|(name, _)| name.to_owned()).collect())
    }

    #[test]
    fn s2_19_targets_are_a_list_between_commas_or_a_selector() {
        assert_eq!(named(&["web1,db1"]).unwrap(), ["db1", "web1"]);
        assert_eq!(named(&["role=web"]).unwrap(), ["web1", "web2"]);
        assert_eq!(named(&["*"]).unwrap().len(), 3);
    }

    #[test]
    fn variables_beside_an_ansible_inventory_are_told_of() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["group_vars", "host_vars"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let told = beside(&[dir.path().join("hosts.yml"), dir.path().join("other.ini")]);
        assert!(told.len() >= 2 && told.iter().all(|note| note.contains("ansible-inventory --list --yaml")), "{told:?}");
        assert!(beside(&[dir.path().join("fleet.toml")]).is_empty());
    }

    #[test]
    fn an_empty_selection_and_an_unknown_label_list_what_there_is() {
        let error = named(&["web3"]).unwrap_err();
        assert_eq!((error.exit, error.hint.unwrap().as_str()), (Exit::NotFound, "hosts: db1, web1, web2; labels: role"));
        let error = named(&["rloe!=web"]).unwrap_err();
        assert!(error.exit == Exit::Usage && error.message.contains("role"), "{error}");
        assert_eq!(named(&[]).unwrap_err().exit, Exit::Usage);
    }
}
