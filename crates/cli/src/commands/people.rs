//! What people hold and let go: hosts, the whole fleet; and which hosts there are.

use std::path::PathBuf;

use inventory::Inventory;
use protocol::rest::rollouts::AdoptHost;

use crate::args::{Adopt, Output};
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::{again, fleet, render, terminal};

pub(super) async fn locks(client: &Client, output: Output) -> Result<Exit, CliError> {
    let list = client.locks().await?;
    terminal::answer(output, &list, || render::rollout::locks(&list))?;
    Ok(Exit::Done)
}

pub(super) async fn release_slot(client: &Client, output: Output, group: &str, holder: &str) -> Result<Exit, CliError> {
    client.release_slot(group, holder).await?;
    done(output, &format!("{holder} has no slot of {group} any more."))
}

pub(super) async fn disable(client: &Client, output: Output, selector: &str, reason: &str) -> Result<Exit, CliError> {
    let host = client.one_host(selector).await?;
    client.hold(host.id, reason).await?;
    done(
        output,
        &format!(
            "{} is out of use: rollouts leave it alone. {}",
            host.name,
            again::hint(&format!("enable {}", host.name), "takes that back.")
        ),
    )
}

pub(super) async fn enable(client: &Client, output: Output, selector: &str) -> Result<Exit, CliError> {
    let host = client.one_host(selector).await?;
    client.release(host.id).await?;
    done(output, &format!("{} is in use again.", host.name))
}

pub(super) async fn freeze(client: &Client, output: Output, reason: &str) -> Result<Exit, CliError> {
    client.freeze(reason).await?;
    done(
        output,
        &format!("Nothing starts any more, anywhere; what has begun is finished. {}", again::hint("thaw", "takes that back.")),
    )
}

pub(super) async fn thaw(client: &Client, output: Output) -> Result<Exit, CliError> {
    client.thaw().await?;
    done(output, "Things start again.")
}

pub(super) async fn adopt(client: &Client, output: Output, args: Adopt) -> Result<Exit, CliError> {
    let hosts = match args.name {
        Some(name) => {
            let address = args.address.unwrap_or_else(|| name.clone());
            vec![AdoptHost { name, address, labels: args.labels.into_iter().collect() }]
        }
        None => listed(&args.from)?,
    };
    let mut adopted = Vec::with_capacity(hosts.len());
    for host in &hosts {
        adopted.push(client.adopt(host).await?);
    }
    terminal::answer(output, &adopted, || match &adopted[..] {
        [one] => format!("{} is known; commands reach it over SSH. It has the id {}.\n", one.name, one.id),
        many => format!("{} hosts are known; commands reach them over SSH.\n", many.len()),
    })?;
    Ok(Exit::Done)
}

fn listed(files: &[PathBuf]) -> Result<Vec<AdoptHost>, CliError> {
    let inventory = fleet::load(files)?;
    for note in not_taken(&inventory) {
        eprintln!("note: {note}");
    }
    let hosts = inventory.hosts.into_iter();
    Ok(hosts.map(|(name, host)| AdoptHost { name, address: host.address.to_string(), labels: host.labels }).collect())
}

/// What an inventory says and a server is not told: it has its own keys and its own configuration.
fn not_taken(inventory: &Inventory) -> Vec<String> {
    let keys = inventory.hosts.iter().filter_map(|(name, host)| Some((name, host.identity.as_deref()?)));
    let keys = keys.map(|(name, key)| {
        format!(
            "host {name}: its key file {key} is not used by a server; name it in ssh.identity_files of the server's configuration"
        )
    });
    let configured = inventory.config != engine::Config::default() || inventory.deploy.is_some();
    let text = "only the hosts are taken: limit groups, drains, checks and the like of a server stand in its own configuration, under [engine]";
    keys.chain(configured.then(|| text.to_owned())).collect()
}

pub(super) async fn remove(client: &Client, output: Output, selector: &str, yes: bool) -> Result<Exit, CliError> {
    let host = client.one_host(selector).await?;
    if !yes {
        let question = format!("Forget {}? What is under way on it ends as removed.", host.name);
        tokio::task::block_in_place(|| terminal::confirm(&question, "give --yes if nobody is there to be asked"))?;
    }
    client.remove(host.id).await?;
    done(output, &format!("{} is forgotten.", host.name))
}

fn done(output: Output, text: &str) -> Result<Exit, CliError> {
    terminal::answer(output, &serde_json::json!({ "done": text }), || format!("{text}\n"))?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use inventory::Source;

    use super::*;

    #[test]
    fn what_a_server_is_not_told_of_an_inventory_is_noted() {
        let read = |name: &str, text: &str| {
            let source = Source { name: name.to_owned(), text: text.to_owned() };
            not_taken(&inventory::read(&[source]).unwrap())
        };
        let notes = read("hosts.ini", "[web]\nweb1 ansible_ssh_private_key_file=~/.ssh/web\nweb2\n");
        assert!(notes.len() == 1 && notes[0].contains("web1: its key file ~/.ssh/web"), "{notes:?}");
        assert!(read("fleet.toml", "heartbeat = 1000\n[host.a]\n")[0].contains("under [engine]"));
        assert!(read("fleet.toml", "[host.a]\n").is_empty());
    }
}
