//! `reveille` without a server: a fleet file, a state directory, the person's own ssh.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use super::Fleet;
use crate::daemon::Daemon;
use crate::lab::{Host, NETWORK};
use crate::points::Points;
use crate::process::{Said, command, output};
use crate::world::World;

/// A person at a machine with a fleet file.
#[derive(Debug)]
pub struct Local {
    program: PathBuf,
    dir: PathBuf,
}

impl Local {
    /// Writes the files: `fleet.toml` with these hosts and tables, ssh's configuration, key and known hosts.
    ///
    /// # Errors
    ///
    /// When the program is not built or a file cannot be written.
    pub fn new(world: &World, fleet: &Fleet, tables: &str) -> anyhow::Result<Self> {
        let local = Self { program: world.program("reveille")?, dir: world.dir.join("local") };
        ssh_home(&local.home(), &fleet.members[0].host)?;
        local.write(fleet, tables)?;
        Ok(local)
    }

    /// Writes the fleet file anew.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn write(&self, fleet: &Fleet, tables: &str) -> anyhow::Result<()> {
        let host = |member: &super::Member| {
            let labels: Vec<String> = member.labels().iter().map(|(key, value)| format!("{key} = \"{value}\"")).collect();
            format!(
                "[host.{}]\naddress = \"root@{}\"\nlabels = {{ {} }}\n",
                member.host.name(),
                member.host.ip(),
                labels.join(", ")
            )
        };
        let hosts: String = fleet.members.iter().map(host).collect();
        // Keys of the top come before the first table.
        std::fs::write(self.file(), format!("{tables}{hosts}"))?;
        Ok(())
    }

    /// Points at which it stops.
    #[must_use]
    pub fn points(&self) -> Points {
        Points::of(&self.state())
    }

    fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    fn home(&self) -> PathBuf {
        self.dir.join("home")
    }

    /// The fleet file.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.dir.join("fleet.toml")
    }

    fn arguments(&self, words: &[&str]) -> Vec<OsString> {
        let mut all: Vec<OsString> = words.iter().map(OsString::from).collect();
        all.extend(["--inventory".into(), self.file().into(), "--state-dir".into(), self.state().into()]);
        all.extend(["--ssh-config".into(), self.home().join(".ssh/config").into()]);
        all
    }

    /// `reveille WORDS`, with where its files are.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Command {
        let mut reveille = command([&self.program]);
        reveille.args(self.arguments(words)).env("HOME", self.home()).current_dir(&self.dir);
        for name in ["REVEILLE_SERVER", "REVEILLE_CA", "SSH_AUTH_SOCK", "XDG_CONFIG_HOME", "XDG_STATE_HOME"] {
            reveille.env_remove(name);
        }
        reveille
    }

    /// Runs it to its end.
    ///
    /// # Errors
    ///
    /// When it does not end in time.
    pub fn run(&self, words: &[&str], limit: Duration) -> anyhow::Result<Said> {
        output(&mut self.command(words), limit)
    }

    /// Runs it and reads the JSON that it prints.
    ///
    /// # Errors
    ///
    /// When it does not end in time or prints something else.
    pub fn json(&self, words: &[&str], limit: Duration) -> anyhow::Result<Value> {
        let said = self.run(&[words, &["--output", "json"]].concat(), limit)?;
        serde_json::from_str(&said.out).with_context(|| format!("{words:?} said {} {}", said.out, said.err))
    }

    /// The same in the background, to be killed. What it writes is appended to `cli.log`.
    #[must_use]
    pub fn daemon(&self, words: &[&str]) -> Daemon {
        Daemon::new(&self.program, self.arguments(words), &self.dir.join("cli.log")).with_env("HOME", self.home())
    }
}

/// A home directory from which ssh reaches all hosts of the lab as root.
///
/// # Errors
///
/// When a file cannot be written.
pub fn ssh_home(home: &std::path::Path, host: &Host) -> anyhow::Result<()> {
    let ssh = home.join(".ssh");
    std::fs::create_dir_all(&ssh)?;
    let public = host.read_file("/etc/ssh/ssh_host_ed25519_key.pub")?;
    let key: Vec<&str> = public.split_whitespace().take(2).collect();
    std::fs::write(ssh.join("known_hosts"), format!("{NETWORK}.* {}\n", key.join(" ")))?;
    let config = format!(
        "Host *\n  User root\n  IdentityFile {}\n  UserKnownHostsFile {}\n  StrictHostKeyChecking yes\n",
        host.key().display(),
        ssh.join("known_hosts").display()
    );
    Ok(std::fs::write(ssh.join("config"), config)?)
}
