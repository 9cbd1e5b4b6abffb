//! G8: whatever stands in the journals gives the same decisions again.

use engine::{Engine, Entry, Fact, FleetEntry, Record};

use super::Guarantee;
use crate::backend::Commit;
use crate::sim::Sim;

impl Sim {
    /// Records are read back as they were written.
    pub(super) fn check_samples(&mut self, commit: &Commit) {
        if !self.rng.per_mille(60) {
            return;
        }
        let same = commit.facts.iter().all(|fact| match fact {
            Fact::Fleet(record) => survives::<Record<FleetEntry>>(record),
            Fact::Orchestration(_, record) => survives::<Record<Entry>>(record),
        });
        if !same {
            self.fail(Guarantee::G8, "a record is not read back as it was written");
        }
    }

    /// A second engine, restored from the journals, decides as the live one.
    pub(super) fn check_replay(&mut self, by: usize) {
        if !self.rng.per_mille(25) {
            return;
        }
        let Some(driver) = &self.controllers[by].driver else { return };
        let (fleet, open, full) = {
            let backend = self.backend.lock();
            let loaded = backend.db.load();
            (loaded.fleet, loaded.open, backend.db.unreadable.is_some())
        };
        if full {
            return;
        }
        self.counts.replays += 1;
        let live = driver.engine();
        let words = match Engine::restore(self.scenario.config.clone(), fleet, open) {
            Err(error) => Some(format!("the journals do not load: {error}")),
            Ok(restored) => {
                let differs = live.open().find(|id| live.view(*id) != restored.view(*id));
                if live.wanted() != restored.wanted() {
                    Some("a restored engine wants other commands than the live one".to_owned())
                } else if let Some(id) = differs {
                    Some(format!("a restored engine shows {id} differently"))
                } else if live.open().count() != restored.open().count() {
                    Some("a restored engine knows other open orchestrations".to_owned())
                } else {
                    None
                }
            }
        };
        if let Some(words) = words {
            self.fail(Guarantee::G8, words);
        }
    }
}

fn survives<T: serde::Serialize + serde::de::DeserializeOwned + PartialEq>(record: &T) -> bool {
    let read = serde_json::to_string(record).and_then(|text| serde_json::from_str::<T>(&text));
    read.is_ok_and(|read| read == *record)
}
