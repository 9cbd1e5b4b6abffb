//! Ssh servers on loopback ports, and one person with a home, keys and an inventory.
//!
//! The farm listens itself and gives each connection to an `sshd -i` of its own: no port is guessed, and nothing is left running.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const REVEILLE: &str = env!("CARGO_BIN_EXE_reveille");

pub(crate) struct Farm {
    home: tempfile::TempDir,
    hosts: Vec<Far>,
}

struct Far {
    name: String,
    port: u16,
    stop: Arc<AtomicBool>,
}

fn user() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn keygen(path: &Path) {
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-C", "test", "-N", "", "-f"]).arg(path);
    let made = keygen.status().unwrap_or_else(|error| panic!("ssh-keygen is needed, install openssh-client: {error}"));
    assert!(made.success());
}

impl Farm {
    /// Hosts of these names.
    pub(crate) fn new(names: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".ssh")).unwrap();
        keygen(&home.path().join(".ssh/id_ed25519"));
        if user() == "root" {
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        let mut farm = Self { home, hosts: Vec::new() };
        for name in names {
            let far = farm.start(name);
            farm.hosts.push(far);
        }
        farm
    }

    fn start(&self, name: &str) -> Far {
        let dir = self.at(name);
        std::fs::create_dir_all(dir.join("bin")).unwrap();
        keygen(&dir.join("host_key"));
        let path = format!("{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", dir.join("bin").display());
        let config = format!(
            "HostKey {0}/host_key\nAuthorizedKeysFile {1}/.ssh/id_ed25519.pub\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n\
             PermitRootLogin yes\nForceCommand exec env PATH={path} FARM={0} /bin/sh -c \"$SSH_ORIGINAL_COMMAND\"\nLogLevel ERROR\n\
             PidFile none\n",
            dir.display(),
            self.home.path().display()
        );
        let config_path = dir.join("sshd_config");
        std::fs::write(&config_path, config).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let key = std::fs::read_to_string(dir.join("host_key.pub")).unwrap();
        let known = self.home.path().join(".ssh/known_hosts");
        let old = std::fs::read_to_string(&known).unwrap_or_default();
        std::fs::write(known, format!("{old}[127.0.0.1]:{port} {key}")).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        std::thread::spawn(move || {
            for wire in listener.incoming() {
                let Ok(wire) = wire else { return };
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let end = || Stdio::from(std::os::fd::OwnedFd::from(wire.try_clone().unwrap()));
                let mut sshd = Command::new("/usr/sbin/sshd");
                sshd.args(["-i", "-e", "-f"]).arg(&config_path).stderr(Stdio::null());
                let sshd = sshd.stdin(end()).stdout(end()).spawn();
                let mut sshd = sshd.unwrap_or_else(|error| panic!("sshd is needed, install openssh-server: {error}"));
                std::thread::spawn(move || sshd.wait());
            }
        });
        Far { name: name.to_owned(), port, stop }
    }

    /// A path of the person's home; that of a host has its name.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Puts a program before the real ones on each host; `$FARM` is the host's own folder.
    pub(crate) fn stub(&self, program: &str, script: &str) {
        for host in &self.hosts {
            let path = self.at(&host.name).join("bin").join(program);
            std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    /// Writes `fleet.toml` with all hosts, labelled `n=1`, `n=2`, …, and these tables.
    pub(crate) fn fleet(&self, tables: &str) {
        let hosts = (1..).zip(&self.hosts).map(|(number, host)| {
            format!(
                "[host.{}]\naddress = \"{}@127.0.0.1:{}\"\nlabels = {{ n = {number}, role = \"web\" }}\n\n",
                host.name,
                user(),
                host.port
            )
        });
        std::fs::write(self.at("fleet.toml"), hosts.collect::<String>() + tables).unwrap();
    }

    /// The program, as this person starts it at home.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(REVEILLE);
        command.args(args).current_dir(self.home.path()).env("HOME", self.home.path()).stdin(Stdio::null());
        for name in ["XDG_CONFIG_HOME", "XDG_STATE_HOME", "REVEILLE_SERVER", "REVEILLE_CA", "REVEILLE_TOKEN", "SSH_AUTH_SOCK"] {
            command.env_remove(name);
        }
        command
    }

    /// Exit code, standard output, standard error.
    pub(crate) fn says(&self, args: &[&str]) -> (i32, String, String) {
        told(self.command(args).output().unwrap())
    }
}

pub(crate) fn told(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

impl Drop for Farm {
    fn drop(&mut self) {
        for host in &self.hosts {
            host.stop.store(true, Ordering::SeqCst);
            // Wakes the listener, so that it sees that it is over.
            drop(TcpStream::connect((Ipv4Addr::LOCALHOST, host.port)));
        }
    }
}
