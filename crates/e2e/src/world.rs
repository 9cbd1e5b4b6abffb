//! What a scenario is and what it finds: addresses, ports, hosts, the product's programs.

use std::cell::Cell;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::lab::{Host, HostSpec, Kind, Paths};

/// One scenario: a story on real machines.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// What it is called on the command line and in the documents.
    pub name: &'static str,
    /// One line for a reader.
    pub about: &'static str,
    /// How long it may take before it is killed and counts as failed.
    pub limit: Duration,
    /// How many machines run in it at once, running children counted.
    pub machines: u8,
    /// The story. Its error is the reason for the failure.
    pub run: fn(&World) -> anyhow::Result<()>,
}

/// What a scenario finds. Scenarios run beside each other: numbers and ports come from here, not from the scenario.
#[derive(Debug)]
pub struct World {
    /// The lab.
    pub paths: Paths,
    /// An empty directory for databases and logs; what is in it is lost when the lab goes down.
    pub dir: PathBuf,
    slot: u8,
    numbers: Cell<u8>,
    ports: Cell<u16>,
}

/// How many machines scenarios beside each other may have: all together have 128 inotify instances, an idle one uses five.
pub const MACHINES: u8 = 19;

/// How many scenarios can run beside each other.
pub const SLOTS: u8 = 6;

/// Addresses that each of them has for its hosts and children, from [`FIRST_NUMBER`] on.
pub(crate) const NUMBERS: u8 = 36;
const FIRST_NUMBER: u8 = 32;

/// How a line begins that tells what a scenario has shown; printed with its result.
pub(crate) const SHOWN: &str = "       - ";

/// Where a scenario's list of its own hosts lies in its directory.
pub(crate) const HOSTS: &str = "hosts";

impl World {
    pub(crate) fn new(paths: &Paths, scenario: &str, slot: u8) -> anyhow::Result<Self> {
        ensure!(slot < SLOTS, "there are {SLOTS} slots");
        let dir = dir_of(paths, scenario);
        if dir.exists() {
            std::fs::remove_dir_all(&dir)?;
        }
        std::fs::create_dir_all(&dir)?;
        Ok(Self { paths: paths.clone(), dir, slot, numbers: Cell::new(0), ports: Cell::new(0) })
    }

    /// The next free number for an address `10.77.0.NUMBER` of a host or child.
    ///
    /// # Errors
    ///
    /// When the scenario has used all of its numbers.
    pub fn number(&self) -> anyhow::Result<u8> {
        let used = self.numbers.get();
        ensure!(used < NUMBERS, "a scenario has {NUMBERS} addresses");
        self.numbers.set(used + 1);
        Ok(FIRST_NUMBER + self.slot * NUMBERS + used)
    }

    /// Tells what was shown, with figures; it is printed with the scenario's result.
    pub fn shown(&self, what: impl std::fmt::Display) {
        println!("{SHOWN}{what}");
    }

    /// The next free port on the sandbox's own address.
    pub fn port(&self) -> u16 {
        let used = self.ports.get();
        self.ports.set(used + 1);
        20_000 + u16::from(self.slot) * 1_000 + used
    }

    /// Makes a host that is still off, to put files on its disk first. Its name is `prefix` and its number.
    ///
    /// # Errors
    ///
    /// When the lab refuses it: see [`Host::create`].
    pub fn host(&self, prefix: &str, kind: Kind) -> anyhow::Result<Host> {
        let number = self.number()?;
        let spec = HostSpec { name: format!("{prefix}{number}"), number, kind };
        // Listed first: what is made only in part is thrown away, too.
        let mut list = File::options().create(true).append(true).open(self.dir.join(HOSTS))?;
        writeln!(list, "{}", spec.name)?;
        Host::create(&self.paths, spec)
    }

    /// Makes a host and boots it.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub fn boot(&self, prefix: &str, kind: Kind) -> anyhow::Result<Host> {
        let host = self.host(prefix, kind)?;
        host.boot()?;
        Ok(host)
    }

    /// [`Host::three_children`], with addresses of this scenario.
    ///
    /// # Errors
    ///
    /// When LXD refuses.
    pub fn three_children(&self, host: &Host) -> anyhow::Result<()> {
        host.three_children([self.number()?, self.number()?, self.number()?])
    }

    /// A program of the product, as it is built for the lab: `reveille`, `reveille-agent`.
    ///
    /// # Errors
    ///
    /// When it has not been built.
    pub fn program(&self, name: &str) -> anyhow::Result<PathBuf> {
        let place = programs()?.join("debug").join(name);
        ensure!(place.exists(), "{} is not there; `cargo xtask lab test` builds it", place.display());
        Ok(place)
    }
}

/// The target directory of the programs that scenarios put to work. One of their own: they have pause points, which no
/// program outside the lab has.
///
/// # Errors
///
/// When the place of the running program is not known.
pub fn programs() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    Ok(own.parent().and_then(Path::parent).context("no directory")?.join("lab"))
}

/// The directory of a scenario.
pub(crate) fn dir_of(paths: &Paths, scenario: &str) -> PathBuf {
    paths.run().join("scenarios").join(scenario)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn scenarios_beside_each_other_share_no_address() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths { root: dir.path().to_owned() };
        let mut seen = BTreeSet::new();
        for slot in 0..SLOTS {
            let world = World::new(&paths, &format!("s{slot}"), slot).unwrap();
            for _ in 0..NUMBERS {
                assert!(seen.insert(world.number().unwrap()));
            }
            assert!(world.number().is_err());
        }
        assert!(seen.iter().all(|number| (2..=254).contains(number)));
        assert!(World::new(&paths, "one too many", SLOTS).is_err());
    }
}
