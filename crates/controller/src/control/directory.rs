//! Which hosts there are, with name, labels and key, without asking the engine each time. Rebuilt whenever one of these can
//! have changed.

use std::collections::BTreeMap;

use engine::Engine;
use model::{Actor, Labels, TargetId, Timestamp};
use protocol::native::PublicKey;

use super::access::Scope;
use super::performer::Reached;

#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    pub(super) hosts: BTreeMap<TargetId, Known>,
}

#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) name: String,
    pub(super) labels: Labels,
    pub(super) approved: bool,
    pub(super) public_key: String,
    /// `None` if the text is no key: then nothing of this host is believed.
    pub(super) key: Option<PublicKey>,
    /// Who adopted it; `None` for a host with an agent.
    pub(super) adopted_by: Option<Actor>,
    /// Where it is reached; `None` for a host with an agent.
    pub(super) address: Option<String>,
}

impl Known {
    /// How it is reached, if it has no agent.
    pub(super) fn reached(&self, id: TargetId) -> Option<Reached> {
        self.address.clone().map(|address| Reached { id, name: self.name.clone(), address })
    }
}

impl Directory {
    pub(super) fn of(engine: &Engine, now: Timestamp) -> Self {
        let hosts = engine.hosts(now).into_iter().map(|host| {
            let key = host.public_key.parse().ok();
            let known = Known {
                name: host.name,
                labels: host.labels,
                approved: host.approved,
                public_key: host.public_key,
                key,
                address: host.address,
                adopted_by: host.adopted_by,
            };
            (host.id, known)
        });
        Self { hosts: hosts.collect() }
    }

    /// Whether a host is in scope; one that is not known is in the scope of all hosts only.
    pub(super) fn is_in(&self, scope: &Scope, host: TargetId) -> bool {
        scope.is_all() || self.hosts.get(&host).is_some_and(|known| scope.covers(&known.labels))
    }
}
