//! The hands of control where no agent runs: SSH to hosts, and the site on which the engine itself runs.

use std::sync::Arc;

use model::{Ack, Command, Millis, Report, TargetId};
use reach::own::OwnSite;
use reach::ssh::{self, Access, Destination, DestinationError};
use tokio::sync::mpsc;

use crate::control::{Performer, Reached};
use crate::transport::BoxFuture;

/// Reaches hosts with one set of keys and rights.
pub struct Hands {
    ssh: ssh::Performer,
    own: OwnSite,
}

impl Hands {
    /// With these rights, and this site.
    pub fn new(access: Arc<Access>, own: OwnSite) -> Self {
        Self { ssh: ssh::Performer::new(access), own }
    }
}

/// Addresses are checked when a host is adopted; one that is none all the same reaches nobody.
fn host(host: &Reached) -> Result<ssh::Host, DestinationError> {
    Ok(ssh::Host { id: host.id, at: host.address.parse::<Destination>()? })
}

impl Performer for Hands {
    fn perform<'a>(
        &'a self,
        reached: &'a Reached,
        command: &'a Command,
        left: Millis,
        say: mpsc::Sender<Ack>,
    ) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            match host(reached) {
                Ok(host) => self.ssh.perform_within(&host, command, left, say).await,
                Err(error) => tracing::error!(host = reached.name, "{error}"),
            }
        })
    }

    fn perform_here<'a>(&'a self, command: &'a Command, left: Millis, say: mpsc::Sender<Ack>) -> BoxFuture<'a, ()> {
        Box::pin(self.own.perform_within(command, left, say))
    }

    fn survey<'a>(&'a self, reached: &'a Reached) -> BoxFuture<'a, Result<Report, String>> {
        Box::pin(async move {
            let host = host(reached).map_err(|error| error.to_string())?;
            self.ssh.survey(&host).await.map_err(|error| error.message)
        })
    }

    fn forget(&self, host: TargetId) {
        self.ssh.forget(host);
    }
}
