//! A fleet of real hosts: fronts behind a balancer, and workers in racks; and what it is like before and after.

pub mod local;
pub mod pulse;

use std::time::Duration;

use anyhow::{Context, ensure};

use crate::lab::{Host, Kind};
use crate::traffic::balancer::Balancer;
use crate::traffic::web;
use crate::world::World;

/// Deadline of the lab, not of the product.
const PATIENCE: Duration = Duration::from_mins(2);

/// Runs on workers; nothing but a drain's undo starts it again after a boot.
pub const WORK: &str = "work.service";

/// Stands still on workers, and is to stand still afterwards (G7).
pub const IDLE: &str = "idle.service";

/// While this is on a host's disk its web service does not come up.
const BROKEN: &str = "/etc/web-broken";

const STEADY: &str = "[Service]\nExecStart=/bin/sleep infinity\n";

/// What a member is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Behind the balancer.
    Front,
    /// With units that are drained.
    Worker,
}

/// One host of it.
#[derive(Debug, Clone)]
pub struct Member {
    /// The machine.
    pub host: Host,
    /// What it is for.
    pub role: Role,
    /// Its rack: a limit group.
    pub rack: &'static str,
}

/// All of them.
#[derive(Debug, Clone)]
pub struct Fleet {
    /// Fronts first.
    pub members: Vec<Member>,
}

impl Member {
    /// Its labels, as the product is told.
    #[must_use]
    pub fn labels(&self) -> [(&'static str, String); 3] {
        let role = if self.role == Role::Front { "front" } else { "worker" };
        [("role", role.to_owned()), ("rack", self.rack.to_owned()), ("ip", self.host.ip())]
    }

    /// From now on its web service does not start; the one that runs goes on.
    ///
    /// # Errors
    ///
    /// When the disk refuses.
    pub fn break_web(&self) -> anyhow::Result<()> {
        self.host.put_file(BROKEN, "", 0o644)
    }

    /// Ends [`Member::break_web`], as a person would.
    ///
    /// # Errors
    ///
    /// When the host refuses.
    pub fn repair_web(&self) -> anyhow::Result<()> {
        self.host.sh(&format!("rm {BROKEN}; systemctl reset-failed {0}; systemctl restart {0}", web::UNIT))?;
        web::wait_up(&self.host, PATIENCE)
    }

    /// Which of these units are active, asked at once.
    ///
    /// # Errors
    ///
    /// When it cannot be asked.
    pub fn active<const N: usize>(&self, units: [&str; N]) -> anyhow::Result<[bool; N]> {
        let said = self.host.ssh(&format!("systemctl is-active {}", units.join(" ")), PATIENCE)?;
        let active: Vec<bool> = said.out.lines().map(|line| line.trim() == "active").collect();
        active.try_into().map_err(|_| anyhow::anyhow!("{} says of {units:?}: {}{}", self.host.name(), said.out, said.err))
    }

    /// By which id systemd knows the present run of a unit: another once it was stopped and started.
    ///
    /// # Errors
    ///
    /// When it cannot be asked.
    pub fn run_of(&self, unit: &str) -> anyhow::Result<String> {
        Ok(self.host.sh(&format!("systemctl show --property InvocationID --value {unit}"))?.trim().to_owned())
    }

    /// How often it has rebooted, by its power supply.
    ///
    /// # Errors
    ///
    /// When it was never on.
    pub fn reboots(&self) -> anyhow::Result<usize> {
        Ok(self.host.power_log()?.iter().filter(|event| event.off.is_some()).count())
    }
}

impl Fleet {
    /// Makes two fronts and so many workers, on racks `a` and `b`. They are off: see [`Fleet::power_on`].
    ///
    /// # Errors
    ///
    /// When the lab refuses.
    pub fn make(world: &World, fronts: usize, workers: usize) -> anyhow::Result<Self> {
        let mut members = Vec::new();
        for number in 0..fronts + workers {
            let role = if number < fronts { Role::Front } else { Role::Worker };
            let host = world.host(if role == Role::Front { "front" } else { "work" }, Kind::Plain)?;
            web::install(&host)?;
            // A drop-in: what breaks it is not part of the service.
            let guard = format!("[Service]\nRestart=no\nExecStartPre=/bin/sh -c 'test ! -e {BROKEN}'\n");
            host.put_file(&format!("/etc/systemd/system/{}.d/guard.conf", web::UNIT), guard, 0o644)?;
            if role == Role::Worker {
                for unit in [WORK, IDLE] {
                    host.put_file(&format!("/etc/systemd/system/{unit}"), STEADY, 0o644)?;
                }
            }
            members.push(Member { host, role, rack: if number % 2 == 0 { "a" } else { "b" } });
        }
        Ok(Self { members })
    }

    /// Boots all of them at once, and starts the units that are to run.
    ///
    /// # Errors
    ///
    /// When one does not come up.
    pub fn power_on(&self) -> anyhow::Result<()> {
        self.members.iter().try_for_each(|member| member.host.power_on())?;
        for member in &self.members {
            member.host.wait_running(PATIENCE)?;
            web::wait_up(&member.host, PATIENCE)?;
            if member.role == Role::Worker {
                member.host.sh(&format!("systemctl start {WORK}"))?;
            }
        }
        Ok(())
    }

    /// Those of a role.
    pub fn of(&self, role: Role) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(move |member| member.role == role)
    }

    /// A balancer in front of its fronts.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn balancer(&self, world: &World) -> anyhow::Result<Balancer> {
        let fronts: Vec<&Host> = self.of(Role::Front).map(|member| &member.host).collect();
        Balancer::start(world, &fronts)
    }

    /// The limits, drains and checks of it, TOML of the engine's configuration. `prefix` is put before the name of each table.
    #[must_use]
    pub fn tables(balancer: Option<&Balancer>, prefix: &str) -> String {
        let drain = balancer.map(|balancer| {
            let admin = &balancer.admin;
            format!(
                "[{prefix}drain.balancer]\non = \"role=front\"\nkind = \"haproxy\"\naddress = \"{admin}\"\nservers = [\"web/{{name}}\"]\n"
            )
        });
        format!(
            "[[{prefix}limit_group]]\nname = \"fronts\"\non = \"role=front\"\nmax_unavailable = 1\n\
             [[{prefix}limit_group]]\nname = \"rack\"\nper = \"rack\"\nmax_unavailable = 1\n\
             {}[{prefix}drain.units]\non = \"role=worker\"\nkind = \"units\"\nunits = [\"{IDLE}\", \"{WORK}\"]\n\
             [{prefix}check.web]\non = \"*\"\nkind = \"http\"\nurl = \"http://{{label.ip}}:{}{}\"\nlimit = 5000\n",
            drain.unwrap_or_default(),
            web::LISTENS_ON,
            web::HEALTH
        )
    }

    /// Every member is as it was before: what ran runs, what stood still stands still; all but `without` of them.
    ///
    /// # Errors
    ///
    /// Names what is not.
    pub fn restored(&self, balancer: Option<&Balancer>, without: &[&str]) -> anyhow::Result<()> {
        for member in self.members.iter().filter(|member| !without.contains(&member.host.name())) {
            let name = member.host.name();
            let [web, work, idle] = member.active([web::UNIT, WORK, IDLE])?;
            ensure!(web, "the web service of {name} does not run");
            match (member.role, balancer) {
                (Role::Front, Some(balancer)) => {
                    let word = balancer.word(name)?;
                    ensure!(word == "UP", "the server {name} is {word}");
                }
                (Role::Front, None) => {}
                (Role::Worker, _) => {
                    ensure!(work, "{WORK} of {name} was not started again");
                    ensure!(!idle, "{IDLE} of {name} stood still before and runs now");
                }
            }
        }
        Ok(())
    }

    /// Each member has rebooted so many times: `expected` for all that `other` does not name. In words.
    ///
    /// # Errors
    ///
    /// Names one that has not.
    pub fn rebooted(&self, expected: usize, other: &[(&str, usize)]) -> anyhow::Result<String> {
        for member in &self.members {
            let name = member.host.name();
            let wanted = other.iter().find(|(other, _)| *other == name).map_or(expected, |(_, count)| *count);
            let reboots = member.reboots()?;
            ensure!(reboots == wanted, "{name} rebooted {reboots} times and not {wanted}");
        }
        let others: String = other.iter().map(|(name, count)| format!(", {name} {count}")).collect();
        Ok(format!("by their power supplies {} hosts rebooted {expected} times{others}", self.members.len() - other.len()))
    }

    /// A member by its name.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn member(&self, name: &str) -> anyhow::Result<&Member> {
        self.members.iter().find(|member| member.host.name() == name).with_context(|| format!("no member {name}"))
    }
}
