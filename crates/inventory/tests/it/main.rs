//! Whole files: what they are read as, and what is said of bad ones.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod ansible;
mod fleet;
mod services;

use inventory::{Inventory, InventoryError, Source};

fn read(files: &[(&str, &str)]) -> Result<Inventory, InventoryError> {
    let source = |(name, text): &(&str, &str)| Source { name: (*name).to_owned(), text: (*text).to_owned() };
    inventory::read(&files.iter().map(source).collect::<Vec<_>>())
}

/// One line per host.
fn shown(files: &[(&str, &str)]) -> String {
    let inventory = read(files).unwrap();
    let rows = inventory.hosts.iter().map(|(name, host)| {
        let labels: Vec<String> = host.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        format!("{name}  {}  {}  {}", host.address, labels.join(","), host.place)
    });
    rows.collect::<Vec<_>>().join("\n")
}

fn error(files: &[(&str, &str)]) -> String {
    read(files).unwrap_err().to_string()
}
