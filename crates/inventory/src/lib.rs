//! Files in which hosts are listed: our own `fleet.toml`, and Ansible's INI and YAML; and `reveille.toml`, which lists services. Texts
//! in, hosts and services out: nothing is read here.

mod address;
mod ansible;
mod error;
mod fleet;
mod lines;
mod merge;
pub mod services;
mod spelling;

use std::collections::BTreeMap;
use std::fmt;

use model::Labels;

pub use address::{Address, AddressError};
pub use error::InventoryError;
pub use fleet::Deploy;

/// More than this in one file is no inventory, in bytes.
pub const SIZE_MAX: usize = 64 << 20;
/// More hosts than this are refused.
pub const HOSTS_MAX: usize = 250_000;

/// A file in which hosts are listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its path, as people know it; its ending says what kind of file it is.
    pub name: String,
    /// What stands in it.
    pub text: String,
}

/// Where something was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Name of the file.
    pub file: String,
    /// Line, from 1; 0 where it is not known.
    pub line: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 { f.write_str(&self.file) } else { write!(f, "{}:{}", self.file, self.line) }
    }
}

/// A host that is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// How SSH reaches it.
    pub address: Address,
    /// A private key for it; without one, what `ssh_config` and the agent say.
    pub identity: Option<String>,
    /// Its labels. The groups of an Ansible inventory are labels `group.NAME` with the value `true`; a generation is the label
    /// `generation`.
    pub labels: Labels,
    /// Where it is listed.
    pub place: Place,
}

/// Everything that the files say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inventory {
    /// Hosts by name.
    pub hosts: BTreeMap<String, Host>,
    /// Limits, drains, checks, windows, and how a fleet is gone through when the command line does not say otherwise.
    pub config: engine::Config,
    /// What brings a new generation to a host.
    pub deploy: Option<Deploy>,
    /// What was seen and is not obeyed; to be shown.
    pub notes: Vec<String>,
}

/// What kind of file a source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Fleet,
    Ini,
    Yaml,
}

/// By its ending; without one that says it, a file that begins like YAML is YAML, and any other is an INI.
fn format(source: &Source) -> Result<Format, InventoryError> {
    let ending = source.name.rsplit('/').next().and_then(|name| name.rsplit_once('.')).map(|(_, ending)| ending);
    match ending {
        Some("toml") => return Ok(Format::Fleet),
        Some("yml" | "yaml" | "json") => return Ok(Format::Yaml),
        Some("ini" | "cfg") => return Ok(Format::Ini),
        _ => {}
    }
    if source.text.starts_with("#!") {
        return Err(InventoryError::Script { file: source.name.clone() });
    }
    let mut lines = source.text.lines().map(str::trim_end).filter(|line| !line.is_empty() && !line.starts_with(['#', ';']));
    let yaml = lines.next().is_some_and(|line| line.starts_with("---") || line.ends_with(':') || line.starts_with('{'));
    Ok(if yaml { Format::Yaml } else { Format::Ini })
}

/// Reads and joins them. What two files say of one host must agree.
///
/// # Errors
/// [`InventoryError`]: with file and line; nothing is half read.
pub fn read(sources: &[Source]) -> Result<Inventory, InventoryError> {
    if let Some(source) = sources.iter().find(|source| source.text.len() > SIZE_MAX) {
        return Err(InventoryError::TooLarge { file: source.name.clone() });
    }
    let mut inventory = Inventory::default();
    let mut from = merge::Origins::default();
    let mut later = Vec::new();
    let mut options = fleet::AnsibleOptions::default();
    for source in sources {
        match format(source)? {
            Format::Fleet => {
                let mut fleet = fleet::read(source)?;
                options.labels.append(&mut fleet.ansible.labels);
                merge::fleet(&mut inventory, &mut from, fleet, source)?;
            }
            kind => later.push((kind, source)),
        }
    }
    // Last, since a fleet file says which variables become labels.
    for (kind, source) in later {
        if source.text.trim_start().starts_with('{') && source.text.contains("\"hostvars\"") {
            return Err(InventoryError::List { file: source.name.clone() });
        }
        let groups = match kind {
            Format::Yaml => ansible::yaml(source)?,
            _ => ansible::ini(source)?,
        };
        for (name, host) in ansible::hosts(groups, &options.labels, source, &mut inventory.notes)? {
            merge::host(&mut inventory.hosts, name, host)?;
        }
    }
    merge::apart(&inventory.hosts)?;
    Ok(inventory)
}
