//! A host: a systemd machine with a power supply, a disk, a network card and an address. Used inside the sandbox.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rustix::process::Signal;

use super::image::Image;
use super::power::{PLUG, SCRAP};
use super::{NETWORK, Paths, lock};
use crate::process::{self, Said, check, command, output};
use crate::wait;

/// What a host is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Debian, systemd, sshd.
    Plain,
    /// The same with LXD, a bridge, and the rights that containers inside a container need.
    Parent,
    /// Plain with PostgreSQL, Redis, rsync and curl; none of them started.
    Platform,
}

impl Kind {
    /// As the lab writes it down.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Parent => "parent",
            Self::Platform => "platform",
        }
    }
}

/// A host to be.
#[derive(Debug, Clone)]
pub struct HostSpec {
    /// Its name, at most [`NAME_MAX`] characters.
    pub name: String,
    /// The last number of its address in the lab's network, 2 to 254.
    pub number: u8,
    /// What it is made of.
    pub kind: Kind,
}

/// A longer name does not fit in the name of the host's network device (15, of which `vb-` takes three).
pub const NAME_MAX: usize = 12;

/// All hosts together have 128 inotify instances, an idle one uses five.
pub const HOSTS_MAX: usize = 20;

/// Most commands on a host take milliseconds.
pub const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// What happened to a host's power.
#[derive(Debug, Clone, PartialEq)]
pub struct PowerEvent {
    /// Unix time, seconds.
    pub at: f64,
    /// `None`: switched on. Otherwise how the machine ended: 133 rebooted, 0 powered off, 1 power cut.
    pub off: Option<i32>,
}

/// A host of the lab. The value is a handle: dropping it leaves the host as it is.
#[derive(Debug, Clone)]
pub struct Host {
    spec: HostSpec,
    dir: PathBuf,
    image: Image,
}

impl HostSpec {
    /// A host without children.
    #[must_use]
    pub fn plain(name: &str, number: u8) -> Self {
        Self { name: name.to_owned(), number, kind: Kind::Plain }
    }

    /// A host with LXD.
    #[must_use]
    pub fn parent(name: &str, number: u8) -> Self {
        Self { name: name.to_owned(), number, kind: Kind::Parent }
    }
}

impl Host {
    /// Makes a host with an empty disk on top of the image. It is off: see [`Host::power_on`].
    ///
    /// # Errors
    ///
    /// When it exists, the name is too long, or there are [`HOSTS_MAX`] already.
    pub fn create(paths: &Paths, spec: HostSpec) -> anyhow::Result<Self> {
        ensure!(spec.name.len() <= NAME_MAX, "the name {} has more than {NAME_MAX} characters", spec.name);
        ensure!(names(paths)?.len() < HOSTS_MAX, "the lab has {HOSTS_MAX} hosts already: more exhaust inotify");
        let host = Self { dir: paths.host(&spec.name), image: image_in_use(paths)?, spec };
        fs::create_dir(&host.dir).with_context(|| format!("cannot make {}", host.dir.display()))?;
        for part in ["up", "work", "disk", "lxd"] {
            fs::create_dir(host.dir.join(part))?;
        }
        fs::write(host.dir.join("spec"), format!("{} {}", host.spec.number, host.spec.kind.word()))?;
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            host.image.layers(host.spec.kind),
            host.dir.join("up").display(),
            host.dir.join("work").display()
        );
        let mut mount = command(["mount", "-t", "overlay", "overlay", "-o", &options]);
        check(mount.arg(host.disk()), COMMAND_LIMIT)?;
        host.put_file("/etc/hostname", host.name(), 0o644)?;
        host.put_file("/etc/lab/ip", host.ip(), 0o644)?;
        if host.is_parent() {
            host.put_file("/etc/lab/bridge", "", 0o644)?;
        }
        Ok(host)
    }

    /// A host that exists.
    ///
    /// # Errors
    ///
    /// When there is none of this name.
    pub fn open(paths: &Paths, name: &str) -> anyhow::Result<Self> {
        let dir = paths.host(name);
        let text = fs::read_to_string(dir.join("spec")).with_context(|| {
            let known = names(paths).unwrap_or_default().join(", ");
            format!("no host {name}; there are: {known}")
        })?;
        let (number, kind) = text.split_once(' ').context("damaged host directory")?;
        let known = [Kind::Plain, Kind::Parent, Kind::Platform];
        let kind = known.into_iter().find(|known| known.word() == kind).context("damaged host directory")?;
        let spec = HostSpec { name: name.to_owned(), number: number.parse()?, kind };
        Ok(Self { spec, dir, image: image_in_use(paths)? })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Its address, e.g. `10.77.0.11`.
    #[must_use]
    pub fn ip(&self) -> String {
        format!("{NETWORK}.{}", self.spec.number)
    }

    /// Whether LXD is on it.
    #[must_use]
    pub fn is_parent(&self) -> bool {
        self.spec.kind == Kind::Parent
    }

    /// The lab's files about it: disk, console, power.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.dir.clone()
    }

    /// The private key that opens it.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.image.key()
    }

    /// The root of its file system, on or off.
    #[must_use]
    pub fn disk(&self) -> PathBuf {
        self.dir.join("disk")
    }

    /// Its cgroup, as seen inside the sandbox.
    #[must_use]
    pub fn cgroup(&self) -> PathBuf {
        Path::new("/sys/fs/cgroup").join(self.name())
    }

    /// What nspawn needs beyond the usual for a parent of containers.
    pub(crate) fn extra_arguments(&self) -> Vec<String> {
        if !self.is_parent() {
            return Vec::new();
        }
        vec![
            "--capability=all".to_owned(),
            "--drop-capability=CAP_SYS_TIME,CAP_SYS_MODULE,CAP_SYS_RAWIO,CAP_WAKE_ALARM".to_owned(),
            "--system-call-filter=@known".to_owned(),
            format!("--bind={}:/var/lib/lxd", self.dir.join("lxd").display()),
            format!("--bind-ro={}:/srv/lab", self.image.dir.display()),
        ]
    }

    /// Writes a file on its disk, on or off; directories are made.
    ///
    /// # Errors
    ///
    /// When the disk refuses.
    pub fn put_file(&self, path: &str, content: impl AsRef<[u8]>, mode: u32) -> anyhow::Result<()> {
        let place = self.on_disk(path);
        if let Some(dir) = place.parent() {
            fs::create_dir_all(dir)?;
        }
        // Beside and renamed: a program that runs from the old file keeps it.
        let fresh = place.with_extension("lab-new");
        fs::write(&fresh, content).with_context(|| fresh.display().to_string())?;
        fs::set_permissions(&fresh, fs::Permissions::from_mode(mode))?;
        fs::rename(&fresh, &place).with_context(|| place.display().to_string())
    }

    /// Copies a program of this machine onto its disk, executable. Same Debian: dynamic binaries run.
    ///
    /// # Errors
    ///
    /// When the program cannot be read or the disk refuses.
    pub fn put_program(&self, from: &Path, path: &str) -> anyhow::Result<()> {
        let content = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        self.put_file(path, content, 0o755)
    }

    /// Puts a systemd unit on its disk and enables it for the next boot; `name` is e.g. `reveille-agent.service`.
    ///
    /// # Errors
    ///
    /// When the disk refuses.
    pub fn put_unit(&self, name: &str, text: &str) -> anyhow::Result<()> {
        self.put_file(&format!("/etc/systemd/system/{name}"), text, 0o644)?;
        let wants = self.on_disk("/etc/systemd/system/multi-user.target.wants");
        fs::create_dir_all(&wants)?;
        let link = wants.join(name);
        if link.symlink_metadata().is_err() {
            std::os::unix::fs::symlink(format!("../{name}"), link)?;
        }
        Ok(())
    }

    /// Puts `script` in the place of a program on its disk; the program itself stays beside it as `PATH.real`.
    ///
    /// # Errors
    ///
    /// When there is no such program or the disk refuses.
    pub fn shadow_program(&self, path: &str, script: &str) -> anyhow::Result<()> {
        let (place, real) = (self.on_disk(path), self.on_disk(&format!("{path}.real")));
        if !real.exists() {
            // A link, so that there is a program under this name at every moment.
            fs::hard_link(&place, &real).with_context(|| place.display().to_string())?;
        }
        self.put_file(path, script, 0o755)
    }

    /// Ends [`Host::shadow_program`].
    ///
    /// # Errors
    ///
    /// When the program was not shadowed.
    pub fn unshadow_program(&self, path: &str) -> anyhow::Result<()> {
        let real = self.on_disk(&format!("{path}.real"));
        fs::rename(&real, self.on_disk(path)).with_context(|| format!("{path} was not shadowed"))
    }

    /// Reads a file from its disk, on or off.
    ///
    /// # Errors
    ///
    /// When it is not there.
    pub fn read_file(&self, path: &str) -> anyhow::Result<String> {
        let place = self.on_disk(path);
        fs::read_to_string(&place).with_context(|| place.display().to_string())
    }

    fn on_disk(&self, path: &str) -> PathBuf {
        self.disk().join(path.trim_start_matches('/'))
    }

    /// Switches it on and returns at once.
    ///
    /// # Errors
    ///
    /// When the power supply cannot be started.
    pub fn power_on(&self) -> anyhow::Result<()> {
        Command::new(std::env::current_exe()?)
            .args(["lab-inner", "power", self.name()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::options().create(true).append(true).open(self.dir.join("console.log"))?)
            .current_dir("/")
            .spawn()
            .context("cannot start the power supply")?;
        Ok(())
    }

    /// Switches it on and waits until systemd says that the boot is over.
    ///
    /// # Errors
    ///
    /// When it is not over in time; with the end of the console.
    pub fn boot(&self) -> anyhow::Result<()> {
        self.power_on()?;
        self.wait_running(Duration::from_mins(1))
    }

    /// Cuts the power. It comes back at once, unless the host is held ([`Host::hold`]).
    ///
    /// # Errors
    ///
    /// When it is off.
    pub fn power_cut(&self) -> anyhow::Result<()> {
        let leader = self.leader().context("the host is off")?;
        fs::write(self.dir.join("cut"), "")?;
        process::signal(leader, Signal::KILL)
    }

    /// Keeps it from starting again, until [`Host::release`]. Does not switch it off.
    ///
    /// # Errors
    ///
    /// When its directory is gone.
    pub fn hold(&self) -> anyhow::Result<()> {
        Ok(fs::write(self.dir.join("hold"), "")?)
    }

    /// Ends [`Host::hold`].
    ///
    /// # Errors
    ///
    /// When it was not held.
    pub fn release(&self) -> anyhow::Result<()> {
        fs::remove_file(self.dir.join("hold")).context("the host was not held")
    }

    /// Stops all its processes where they are (`true`), or lets them go on. A frozen host accepts connections and says
    /// nothing.
    ///
    /// # Errors
    ///
    /// When it is off.
    pub fn freeze(&self, frozen: bool) -> anyhow::Result<()> {
        let file = self.cgroup().join("payload/cgroup.freeze");
        fs::write(file, if frozen { "1" } else { "0" }).context("the host is off")
    }

    /// Pulls its network cable (`false`) or puts it back. A reboot puts it back, too.
    ///
    /// # Errors
    ///
    /// When it is off.
    pub fn cable(&self, plugged: bool) -> anyhow::Result<()> {
        let device = format!("vb-{}", self.name());
        let state = if plugged { "up" } else { "down" };
        check(&mut command(["ip", "link", "set", &device, state]), COMMAND_LIMIT).map(drop)
    }

    /// Runs a shell command line on it, by ssh.
    ///
    /// # Errors
    ///
    /// When it does not end within `limit`. A failing command, and a host that refuses ssh (exit status 255), are not errors here.
    pub fn ssh(&self, line: &str, limit: Duration) -> anyhow::Result<Said> {
        let mut ssh = self.ssh_command();
        output(ssh.args(["-o", "BatchMode=yes", "-o", "ConnectTimeout=5"]).arg(line), limit)
    }

    /// The ssh client, ready to go to this host; words may be added. Without words: a shell.
    #[must_use]
    pub fn ssh_command(&self) -> Command {
        let mut ssh = command(["ssh", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]);
        ssh.args(["-o", "LogLevel=ERROR", "-i"]).arg(self.image.key()).arg(format!("root@{}", self.ip()));
        ssh
    }

    /// Runs a shell command line on it and returns its standard output.
    ///
    /// # Errors
    ///
    /// When it fails or takes longer than [`COMMAND_LIMIT`].
    pub fn sh(&self, line: &str) -> anyhow::Result<String> {
        let said = self.ssh(line, COMMAND_LIMIT)?;
        if !said.ok() {
            bail!("on {}: `{line}` failed ({}): {}{}", self.name(), said.status, said.err.trim(), said.out.trim());
        }
        Ok(said.out)
    }

    /// Its power supply's own record.
    ///
    /// # Errors
    ///
    /// When it was never on.
    pub fn power_log(&self) -> anyhow::Result<Vec<PowerEvent>> {
        let text = fs::read_to_string(self.dir.join("power.log")).context("the host was never on")?;
        Ok(parse_power_log(&text))
    }

    /// Waits until systemd says `running` or `degraded`.
    ///
    /// # Errors
    ///
    /// When the limit passes; with the end of the console.
    pub fn wait_running(&self, limit: Duration) -> anyhow::Result<()> {
        wait::until_true(&format!("{} to run", self.name()), limit, || {
            Ok(matches!(self.state()?.as_str(), "running" | "degraded"))
        })
        .with_context(|| format!("its console ends with:\n{}", self.console_tail()))
    }

    /// Waits until it runs with another boot id than `old`, and returns that.
    ///
    /// # Errors
    ///
    /// When the limit passes.
    pub fn wait_new_boot(&self, old: &str, limit: Duration) -> anyhow::Result<String> {
        let what = format!("a new boot of {}", self.name());
        let boot = wait::until(&what, limit, || Ok(self.boot_id().filter(|boot| boot != old)))
            .with_context(|| format!("its console ends with:\n{}", self.console_tail()))?;
        self.wait_running(limit)?;
        Ok(boot)
    }

    /// Waits until nothing of it runs any more.
    ///
    /// # Errors
    ///
    /// When the limit passes.
    pub fn wait_down(&self, limit: Duration) -> anyhow::Result<()> {
        wait::until_true(&format!("{} to go down", self.name()), limit, || {
            Ok(self.power_log()?.last().is_some_and(|event| event.off.is_some()))
        })
    }

    /// The last lines of its console.
    #[must_use]
    pub fn console_tail(&self) -> String {
        let bytes = fs::read(self.dir.join("console.log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    /// Ends it for good: power off without shutdown, disk thrown away.
    ///
    /// # Errors
    ///
    /// When its processes do not end in time.
    pub fn destroy(&self) -> anyhow::Result<()> {
        fs::write(self.dir.join(SCRAP), "")?;
        let what = format!("the end of {}", self.name());
        let _plug = wait::until(&what, Duration::from_secs(30), || {
            // Again and again: it may be just about to start.
            if let Some(leader) = self.leader() {
                process::signal(leader, Signal::KILL)?;
            }
            Ok(lock(&self.dir.join(PLUG), Duration::ZERO, "its power supply").ok())
        })?;
        check(command(["umount"]).arg(self.disk()), COMMAND_LIMIT)?;
        fs::remove_dir_all(&self.dir).with_context(|| self.dir.display().to_string())
    }
}

fn parse_power_log(text: &str) -> Vec<PowerEvent> {
    text.lines()
        .filter_map(|line| {
            let (at, event) = line.split_once(' ')?;
            let off = match event.strip_prefix("off ") {
                Some(code) => Some(code.parse().ok()?),
                None => None,
            };
            Some(PowerEvent { at: at.parse().ok()?, off })
        })
        .collect()
}

/// The names of all hosts, sorted.
///
/// # Errors
///
/// When the lab is down.
pub fn names(paths: &Paths) -> anyhow::Result<Vec<String>> {
    let mut names = fs::read_dir(paths.run().join("hosts"))
        .context("the lab is down: `cargo xtask lab up`")?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<anyhow::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

fn image_in_use(paths: &Paths) -> anyhow::Result<Image> {
    let dir = fs::read_to_string(paths.run().join("image")).context("the lab is down: `cargo xtask lab up`")?;
    Ok(Image { dir: dir.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_log_is_read() {
        let events = parse_power_log("10.500 on\n12.250 off 133\n12.300 on\n");
        assert_eq!(
            events,
            [PowerEvent { at: 10.5, off: None }, PowerEvent { at: 12.25, off: Some(133) }, PowerEvent { at: 12.3, off: None }]
        );
    }
}
