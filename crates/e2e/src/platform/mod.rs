//! S3's example platform on real hosts: PostgreSQL and Redis below, four small services above, one with a real migration.

pub mod plan;
pub mod service;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::lab::{Host, Kind};
use crate::process::Said;
use crate::wait;
use crate::world::World;

/// Deadline of the lab, not of the product.
pub const PATIENCE: Duration = Duration::from_mins(3);

/// The program of the small services on the host.
pub const PROGRAM: &str = "/usr/local/bin/lab-service";
/// Where `reveille` is on the host.
pub const REVEILLE: &str = "/usr/local/bin/reveille";
/// Where the manifest is.
pub const MANIFEST: &str = "/etc/reveille/reveille.toml";
/// Where events are written (S3-71).
pub const EVENTS: &str = "/var/log/reveille/orchestrator-events.jsonl";

/// One of the small services.
#[derive(Debug, Clone, Copy)]
pub struct Small {
    /// Its name in the manifest.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// Where it answers.
    pub port: u16,
    /// What a reload takes in: a deployed tree, or nothing.
    pub reloads: bool,
    /// What must be restarted before it.
    pub after: &'static [&'static str],
}

impl Small {
    /// Where it runs from.
    #[must_use]
    pub fn tree(&self) -> String {
        format!("/srv/{}", self.name)
    }
}

/// All of them, in the order of S3's example (S3-60), with `profile.api`, which S3 names among the dependencies of the last one.
pub const SMALL: [Small; 4] = [
    Small {
        name: "sso.api",
        unit: "lilith-sso-api.service",
        port: 3001,
        reloads: false,
        after: &["sso.postgresql", "sso.redis"],
    },
    Small { name: "merchant.api", unit: "lilith-merchant-api.service", port: 3002, reloads: true, after: &["sso.api"] },
    Small { name: "profile.api", unit: "lilith-profile-api.service", port: 3003, reloads: true, after: &["sso.api"] },
    Small {
        name: "marketplace.api",
        unit: "lilith-marketplace-api.service",
        port: 3004,
        reloads: false,
        after: &["network.target", "lilith-sso-api.service", "lilith-merchant-api.service", "lilith-profile-api.service"],
    },
];

/// Runs on both hosts of a platform that is spread, and is migrated by the named command `shared-migrate`.
pub const SHARED: &str = "shared.service";

/// All of it, on one host or on two.
#[derive(Debug, Clone)]
pub struct Platform {
    /// Where PostgreSQL, Redis and `sso.api` are.
    pub host: Host,
    /// Where the others are: the same one, or another.
    pub other: Host,
    /// `postgresql@VERSION-main.service`.
    pub postgresql: String,
}

/// How the lab's manifest differs from S3's defaults: what is waited for on purpose is short, what limits a slow machine is long.
#[derive(Debug, Clone)]
pub struct Pace {
    /// The soak.
    pub soak: &'static str,
    /// One answer to a health check.
    pub timeout: &'static str,
    /// What systemd may take.
    pub grace: &'static str,
    /// Between two attempts.
    pub retry_delay: &'static str,
}

impl Default for Pace {
    fn default() -> Self {
        Self { soak: "3s", timeout: "20s", grace: "30s", retry_delay: "500ms" }
    }
}

impl Platform {
    /// Makes one host with `reveille` on it, boots it, and starts everything in version 1.
    ///
    /// # Errors
    ///
    /// When the lab or a service refuses.
    pub fn start(world: &World, pace: &Pace) -> anyhow::Result<Self> {
        let host = world.host("app", Kind::Platform)?;
        host.put_program(&world.program("reveille")?, REVEILLE)?;
        let platform = Self::on(host.clone(), host)?;
        platform.put_manifest(pace, "")?;
        platform.power_on()?;
        Ok(platform)
    }

    /// Makes two hosts that are still off, with the services in version 1 and without the product.
    ///
    /// # Errors
    ///
    /// When the lab refuses.
    pub fn spread(world: &World) -> anyhow::Result<Self> {
        let platform = Self::on(world.host("data", Kind::Platform)?, world.host("app", Kind::Platform)?)?;
        // What an agent runs, root has put on its host.
        let named = [
            ("hooks/postgresql", "exec pg_isready -q -h localhost -p 5432".to_owned()),
            ("hooks/redis", "redis-cli -h localhost -p 6379 ping | grep -q PONG".to_owned()),
            ("commands.d/sso-migrate", format!("cd {} && exec ./migrate", SMALL[0].tree())),
        ];
        for (name, text) in named {
            put_script(&platform.host, name, &text)?;
        }
        for host in platform.hosts() {
            host.put_unit(SHARED, "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n")?;
            put_script(host, "commands.d/shared-migrate", "echo migrated >> /root/shared && test ! -e /root/shared-fails")?;
        }
        Ok(platform)
    }

    fn on(host: Host, other: Host) -> anyhow::Result<Self> {
        let cluster = version_of_postgresql(&host)?;
        let platform = Self { host, other, postgresql: format!("postgresql@{cluster}-main.service") };
        for host in platform.hosts() {
            host.put_program(&std::env::current_exe()?, PROGRAM)?;
        }
        for small in SMALL {
            platform.put_tree_of(&small, &small.tree(), "1", "")?;
            platform.of(&small).put_unit(small.unit, &unit(&small))?;
        }
        Ok(platform)
    }

    /// Boots its hosts and starts everything.
    ///
    /// # Errors
    ///
    /// When a host or a service refuses.
    pub fn power_on(&self) -> anyhow::Result<()> {
        self.hosts().into_iter().try_for_each(Host::boot)?;
        self.host.sh(&format!("systemctl start {} redis-server.service", self.postgresql))?;
        self.sql("postgres", "CREATE DATABASE sso")?;
        self.wait_up()
    }

    fn is_spread(&self) -> bool {
        self.host.name() != self.other.name()
    }

    /// Its hosts: one or two.
    #[must_use]
    pub fn hosts(&self) -> Vec<&Host> {
        if self.is_spread() { vec![&self.host, &self.other] } else { vec![&self.host] }
    }

    /// Where a service is.
    #[must_use]
    pub fn of(&self, small: &Small) -> &Host {
        self.at(small.unit)
    }

    fn at(&self, unit: &str) -> &Host {
        let is_other = SMALL.iter().skip(1).any(|small| small.unit == unit);
        if is_other { &self.other } else { &self.host }
    }

    /// Writes the manifest; `more` comes at its end.
    ///
    /// # Errors
    ///
    /// When the disk refuses.
    pub fn put_manifest(&self, pace: &Pace, more: &str) -> anyhow::Result<()> {
        self.host.put_file(MANIFEST, format!("{}{more}", self.manifest(pace)), 0o644)
    }

    /// The manifest. That of two hosts names no commands, so that agents can run it, too.
    #[must_use]
    pub fn manifest(&self, pace: &Pace) -> String {
        let Pace { soak, timeout, grace, retry_delay } = pace;
        let spread = self.is_spread();
        let on = |host: &Host| if spread { format!("host = {:?}\n", host.name()) } else { String::new() };
        let [postgresql, redis, migrate] = if spread {
            ["hook = \"postgresql\"", "hook = \"redis\"", "named = \"sso-migrate\""]
        } else {
            [
                "command = \"pg_isready -h localhost -p 5432\"",
                "command = \"redis-cli -h localhost -p 6379 ping\"",
                "command = \"./migrate\"",
            ]
        };
        let mut text = format!(
            "unit_prefix = \"lilith-\"\n\
             [timings]\nhealth_check_timeout = \"{timeout}\"\nhealth_check_interval = \"500ms\"\nstabilization_period = \"{soak}\"\n\
             systemd_grace_period = \"{grace}\"\nretry_delay = \"{retry_delay}\"\n\
             [service.\"sso.postgresql\"]\nunit = \"{}\"\nkind = \"infrastructure\"\n{here}health_check = {{ {postgresql} }}\n\
             [service.\"sso.redis\"]\nunit = \"redis-server.service\"\nkind = \"infrastructure\"\n{here}health_check = {{ {redis} }}\n",
            self.postgresql,
            here = on(&self.host)
        );
        for small in SMALL {
            let after: Vec<String> = small.after.iter().map(|name| format!("{name:?}")).collect();
            let reload = if small.reloads { "reload = \"code\"\n" } else { "" };
            let migrate = if small.name == "sso.api" { format!("migrate = {{ {migrate} }}\n") } else { String::new() };
            let host = on(self.of(&small));
            // Two take their units from the prefix, as S3's function does (S3-63).
            let unit = if small.name.starts_with("sso") { format!("unit = {:?}\n", small.unit) } else { String::new() };
            text.push_str(&format!(
                "[service.{:?}]\n{unit}{host}kind = \"api\"\ndependencies = [{}]\n{reload}{migrate}\
                 health_check = {{ url = \"http://localhost:{}/health\", body = '{{ \"status\": \"healthy\" }}' }}\n\
                 deploy = {{ destination = {:?}, exclude = [\"cache\"], keep = [\".env\"] }}\n",
                small.name,
                after.join(", "),
                small.port,
                small.tree()
            ));
        }
        text
    }

    /// Puts a tree of this version on the disk; `behaviour` as [`service`] reads it.
    ///
    /// # Errors
    ///
    /// When the disk refuses.
    pub fn put_tree(&self, place: &str, version: &str, behaviour: &str) -> anyhow::Result<()> {
        put_tree(&self.host, place, version, behaviour)
    }

    /// The same on the host of a service.
    ///
    /// # Errors
    ///
    /// When the disk refuses.
    pub fn put_tree_of(&self, small: &Small, place: &str, version: &str, behaviour: &str) -> anyhow::Result<()> {
        put_tree(self.of(small), place, version, behaviour)
    }

    /// Waits until everything answers.
    ///
    /// # Errors
    ///
    /// When something does not.
    pub fn wait_up(&self) -> anyhow::Result<()> {
        for small in SMALL {
            wait::until_true(&format!("{} to answer", small.name), PATIENCE, || Ok(self.version(&small).is_ok()))?;
        }
        Ok(())
    }

    /// Runs `reveille WORDS` on the host itself, as root.
    ///
    /// # Errors
    ///
    /// When it does not end in time.
    pub fn reveille(&self, words: &str) -> anyhow::Result<Said> {
        self.host.ssh(&format!("cd / && {REVEILLE} {words}"), PATIENCE)
    }

    /// The same, and reads the JSON that it prints.
    ///
    /// # Errors
    ///
    /// When it does not end in time or prints something else.
    pub fn json(&self, words: &str) -> anyhow::Result<(Value, Option<i32>)> {
        let said = self.reveille(&format!("{words} --output json"))?;
        let value = serde_json::from_str(&said.out).with_context(|| format!("`{words}` said {}\n{}", said.out, said.err))?;
        Ok((value, said.status.code()))
    }

    /// What it answers with: its version.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub fn version(&self, small: &Small) -> anyhow::Result<String> {
        self.of(small).sh(&format!("curl -sf --max-time 5 http://localhost:{}/", small.port))
    }

    /// The invocation ids of these units, in their order: by systemd itself.
    ///
    /// # Errors
    ///
    /// When it cannot be asked.
    pub fn invocations(&self, units: &[&str]) -> anyhow::Result<Vec<String>> {
        let mut ids = Vec::new();
        for unit in units {
            let said = self.at(unit).sh(&format!("systemctl show --property InvocationID --value {unit}"))?;
            ensure!(said.trim().len() == 32, "{unit}: {said}");
            ids.push(said.trim().to_owned());
        }
        Ok(ids)
    }

    /// All units, infrastructure first.
    #[must_use]
    pub fn units(&self) -> Vec<&str> {
        [self.postgresql.as_str(), "redis-server.service"].into_iter().chain(SMALL.iter().map(|small| small.unit)).collect()
    }

    /// The hash of a tree: names, modes and contents, without what is kept from one to the next.
    ///
    /// # Errors
    ///
    /// When it is not there.
    pub fn hash(&self, tree: &str) -> anyhow::Result<String> {
        hash(&self.host, tree)
    }

    /// [`Platform::hash`] of a tree on the host of a service.
    ///
    /// # Errors
    ///
    /// When it is not there.
    pub fn hash_of(&self, small: &Small, tree: &str) -> anyhow::Result<String> {
        hash(self.of(small), tree)
    }

    /// Asks PostgreSQL.
    ///
    /// # Errors
    ///
    /// When it says no.
    pub fn sql(&self, database: &str, text: &str) -> anyhow::Result<String> {
        self.host.sh(&format!("runuser -u postgres -- psql -qtA -v ON_ERROR_STOP=1 -d {database} -c {text:?}"))
    }

    /// How often the migration of this version was run, by itself.
    ///
    /// # Errors
    ///
    /// When the host cannot be asked.
    pub fn migrated(&self, version: &str) -> anyhow::Result<usize> {
        Ok(self.host.sh(&format!("grep -cx {version} /root/migrated || true"))?.trim().parse()?)
    }

    /// The events that were written, one object for each line.
    ///
    /// # Errors
    ///
    /// When a line is no JSON.
    pub fn events(&self) -> anyhow::Result<Vec<Value>> {
        let text = self.host.read_file(EVENTS).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).with_context(|| format!("torn: {line}"))).collect()
    }
}

/// Beside the manifest.
fn put_script(host: &Host, name: &str, text: &str) -> anyhow::Result<()> {
    let place = Path::new(MANIFEST).with_file_name(name).display().to_string();
    host.put_file(&place, format!("#!/bin/sh\n{text}\n"), 0o755)
}

fn put_tree(host: &Host, place: &str, version: &str, behaviour: &str) -> anyhow::Result<()> {
    host.put_file(&format!("{place}/version"), version, 0o644)?;
    host.put_file(&format!("{place}/behaviour"), behaviour, 0o644)?;
    // Enough of them that a copy has a middle.
    for number in 0..40 {
        host.put_file(&format!("{place}/lib/part{number}"), format!("{version} {number}\n").repeat(50), 0o644)?;
    }
    host.put_file(&format!("{place}/migrations/{version}.sql"), migration(version), 0o644)?;
    host.put_file(&format!("{place}/migrate"), MIGRATE, 0o755)
}

fn hash(host: &Host, tree: &str) -> anyhow::Result<String> {
    host.sh(&format!(
        "cd {tree} && find . \\( -name cache -o -name .env \\) -prune -o -printf '%P %m %y\\n' | sort > /tmp/names && \
         find . \\( -name cache -o -name .env \\) -prune -o -type f -print0 | sort -z | xargs -0 sha256sum >> /tmp/names && \
         sha256sum < /tmp/names"
    ))
}

/// Runs what was not run yet, each file in a transaction, and writes down that it did.
const MIGRATE: &str = "#!/bin/sh\nset -e\ncd \"$(dirname \"$0\")\"\ncat version >> /root/migrated\necho >> /root/migrated\n\
    sql() { runuser -u postgres -- psql -qtA -v ON_ERROR_STOP=1 -d sso \"$@\"; }\n\
    sql -c 'CREATE TABLE IF NOT EXISTS migrations (name text PRIMARY KEY, at timestamptz DEFAULT now())' 2>/dev/null\n\
    for file in migrations/*.sql; do\n\
    [ \"$(sql -c \"SELECT 1 FROM migrations WHERE name = '$file'\")\" = 1 ] && continue\n\
    { echo 'BEGIN;'; cat \"$file\"; echo \"INSERT INTO migrations (name) VALUES ('$file'); COMMIT;\"; } | sql\n\
    done\n";

fn migration(version: &str) -> String {
    format!("CREATE TABLE users_{version} (id serial PRIMARY KEY, name text);\n")
}

fn unit(small: &Small) -> String {
    let Small { port, .. } = small;
    let reload = if small.reloads { format!("ExecReload={PROGRAM} lab-inner reload {port}\n") } else { String::new() };
    format!(
        "[Unit]\nAfter=network.target\nWants=network.target\n[Service]\nType=exec\nExecStart={PROGRAM} lab-inner service {port} {}\n{reload}\
         Restart=on-failure\nRestartSec=1\n[Install]\nWantedBy=multi-user.target\n",
        small.tree()
    )
}

/// As Debian names the cluster: `17`.
fn version_of_postgresql(host: &Host) -> anyhow::Result<String> {
    let dir = host.disk().join("etc/postgresql");
    let first = std::fs::read_dir(&dir).with_context(|| dir.display().to_string())?.next().context("no cluster")??;
    Ok(first.file_name().to_string_lossy().into_owned())
}
