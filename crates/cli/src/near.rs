//! What a person needs to see of services that did not come back, read over the same way (S3-85, S3-95 to S3-98).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use inventory::Inventory;
use model::{ByHand, Readable, TargetId};
use reach::ssh::{Access, Destination, Far};

use crate::results::Help;

/// All of it about one service.
const LIMIT: Duration = Duration::from_secs(30);
/// A connection is tried again for so long.
const PATIENCE: Duration = Duration::from_secs(5);

/// The hosts that are reached from here.
pub(crate) struct Near {
    access: Arc<Access>,
    hosts: BTreeMap<TargetId, Destination>,
}

impl Near {
    /// Those of an inventory.
    pub(crate) fn new(access: Arc<Access>, inventory: &Inventory) -> Self {
        let at =
            |(name, host): (&String, &inventory::Host)| Some((TargetId::of_ssh(name), host.address.to_string().parse().ok()?));
        let hosts = inventory.hosts.iter().filter_map(at).collect();
        Self { access, hosts }
    }

    fn far(&self, host: TargetId) -> Option<Far> {
        self.hosts.get(&host).map(|at| self.access.far(at.clone()))
    }
}

/// What to look at, and, where the host is reached from here, what is to be seen there.
pub(crate) async fn help(near: Option<&Near>, host: TargetId, unit: &str, port: Option<u16>) -> Help {
    let mut help = Help { rollback: recipe::manual_rollback(&ByHand::of(unit)), ..Help::default() };
    let Some(mut far) = near.and_then(|near| near.far(host)) else {
        help.look = recipe::manual_look(unit, port);
        return help;
    };
    let asked = tokio::time::timeout(LIMIT, far.perform(recipe::service_help(unit, port), PATIENCE)).await;
    let found = match asked {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return unread(help, unit, port, error.to_string()),
        Err(_) => return unread(help, unit, port, format!("no answer within {} s", LIMIT.as_secs())),
    };
    let mut unread = Vec::new();
    let mut lines = |what: &str, read: Readable<Vec<String>>| match read {
        Readable::Known(lines) => lines,
        Readable::Unknown(why) => {
            unread.push(format!("{what}: {why}"));
            Vec::new()
        }
    };
    help.journal = lines("journal", found.journal);
    help.listening = found.listening.map(|read| lines("port", read));
    help.failed_dependencies = lines("dependencies", found.failed_dependencies);
    help.environment = lines("environment", found.environment);
    help.environment_files = lines("environment files", found.environment_files);
    match found.backup {
        Readable::Known(backup) => help.backup = backup,
        Readable::Unknown(why) => unread.push(format!("backup: {why}")),
    }
    help.unread = unread;
    help.port = port;
    help.read = true;
    help
}

fn unread(mut help: Help, unit: &str, port: Option<u16>, why: String) -> Help {
    help.look = recipe::manual_look(unit, port);
    help.unread.push(why);
    help
}
