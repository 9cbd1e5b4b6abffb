//! Ssh servers on loopback ports.
//!
//! The bench listens itself and gives each connection to an `sshd -i` of its own: no port is guessed, nothing is left running,
//! and a test can cut the wire or close the door.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reach::ssh::{Access, ConfigFiles, Destination, Limits, Options, Sudo, Surroundings};

/// Far above what anything takes here.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// One person's machine: home folder, keys, configuration.
pub(crate) struct Person {
    pub(crate) home: tempfile::TempDir,
    pub(crate) config: String,
}

impl Person {
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".ssh")).unwrap();
        keygen(&home.path().join(".ssh/id_ed25519"), "");
        Self { home, config: String::new() }
    }

    pub(crate) fn ssh(&self, name: &str) -> PathBuf {
        self.home.path().join(".ssh").join(name)
    }

    pub(crate) fn public(&self) -> String {
        std::fs::read_to_string(self.ssh("id_ed25519.pub")).unwrap()
    }

    /// Believes this server's key.
    pub(crate) fn knows(&self, server: &Server) {
        let line = format!("[127.0.0.1]:{} {}", server.port(), server.host_key());
        let old = std::fs::read_to_string(self.ssh("known_hosts")).unwrap_or_default();
        std::fs::write(self.ssh("known_hosts"), old + &line).unwrap();
    }

    pub(crate) fn around(&self) -> Surroundings {
        let env = std::env::vars().filter(|(name, _)| name != "SSH_AUTH_SOCK").collect();
        Surroundings { home: self.home.path().to_owned(), user: user(), hostname: "here".to_owned(), env }
    }

    pub(crate) fn options(&self) -> Options {
        std::fs::write(self.ssh("config"), &self.config).unwrap();
        let limits = Limits { keepalive: Duration::from_millis(300), keepalive_max: 3, ..Limits::default() };
        Options {
            config: ConfigFiles::Only(self.ssh("config")),
            around: self.around(),
            identity_files: Vec::new(),
            identity_of: std::collections::BTreeMap::new(),
            sudo: Sudo::Never,
            accept_new: false,
            limits,
            places: recipe::far::Places::default(),
        }
    }

    pub(crate) fn access(&self) -> Arc<Access> {
        Access::new(self.options()).unwrap()
    }
}

/// The account that the tests run as: `sshd` without root lets nobody else in.
pub(crate) fn user() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

pub(crate) fn keygen(path: &Path, passphrase: &str) {
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-C", "test", "-N", passphrase, "-f"]).arg(path);
    assert!(keygen.status().expect("ssh-keygen is needed: install openssh-client").success());
}

/// An ssh server.
pub(crate) struct Server {
    pub(crate) folder: tempfile::TempDir,
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// New connections are closed at once.
    shut: AtomicBool,
    stop: AtomicBool,
    /// So many of the next connections are closed at once.
    busy: AtomicUsize,
    connections: AtomicUsize,
    /// Those of them that are over.
    over: AtomicUsize,
    wires: Mutex<Vec<TcpStream>>,
}

impl Server {
    /// Lets this person in.
    pub(crate) fn start(person: &Person) -> Self {
        Self::with(person, "", &[])
    }

    /// With more lines for `sshd_config`, and each `sshd` started by this program and arguments.
    pub(crate) fn with(person: &Person, more: &str, wrapped: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Where root's sshd wants to be at home; a package makes it at each boot.
        if user() == "root" {
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        keygen(&folder.path().join("host_key"), "");
        std::fs::write(folder.path().join("authorized_keys"), person.public()).unwrap();
        std::fs::create_dir(folder.path().join("bin")).unwrap();
        let path =
            format!("{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", folder.path().join("bin").display());
        // A home of its own: what the person's shell does there at each login is not part of the tests.
        let config = format!(
            "SetEnv HOME={0}\nHostKey {0}/host_key\nAuthorizedKeysFile {0}/authorized_keys\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n\
             PermitRootLogin yes\nForceCommand exec env PATH={path} FARM={0} /bin/sh -c \"$SSH_ORIGINAL_COMMAND\"\nLogLevel ERROR\nPidFile none\n{more}\n",
            folder.path().display()
        );
        std::fs::write(folder.path().join("sshd_config"), config).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let (kept, config) = (state.clone(), folder.path().join("sshd_config"));
        let wrapped: Vec<String> = wrapped.iter().map(|word| (*word).to_owned()).collect();
        std::thread::spawn(move || {
            for wire in listener.incoming() {
                let Ok(wire) = wire else { return };
                if kept.stop.load(Ordering::SeqCst) {
                    return;
                }
                if kept.shut.load(Ordering::SeqCst) {
                    continue;
                }
                if kept.busy.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
                    continue;
                }
                kept.connections.fetch_add(1, Ordering::SeqCst);
                let mut words = wrapped.clone();
                words.extend(["/usr/sbin/sshd", "-i", "-e", "-f"].map(str::to_owned));
                let mut sshd = Command::new(&words[0]);
                sshd.args(&words[1..]).arg(&config).stderr(Stdio::null());
                let end = || Stdio::from(std::os::fd::OwnedFd::from(wire.try_clone().unwrap()));
                let mut sshd = sshd.stdin(end()).stdout(end()).spawn().expect("sshd is needed: install openssh-server");
                kept.wires.lock().unwrap().push(wire);
                let kept = kept.clone();
                std::thread::spawn(move || {
                    drop(sshd.wait());
                    kept.over.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Self { folder, address, state }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn destination(&self) -> Destination {
        format!("{}@127.0.0.1:{}", user(), self.port()).parse().unwrap()
    }

    pub(crate) fn host_key(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("host_key.pub")).unwrap()
    }

    /// Puts a program of this name before the real ones.
    pub(crate) fn stub(&self, name: &str, script: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.folder.path().join("bin").join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Connections that were let to an sshd so far.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// Connections that stand.
    pub(crate) fn open(&self) -> usize {
        self.connections() - self.state.over.load(Ordering::SeqCst)
    }

    /// Cuts every wire.
    pub(crate) fn cut(&self) {
        for wire in self.state.wires.lock().unwrap().drain(..) {
            drop(wire.shutdown(std::net::Shutdown::Both));
        }
    }

    /// Closes so many of the next connections before it says a word, as a busy sshd does.
    pub(crate) fn busy(&self, times: usize) {
        self.state.busy.store(times, Ordering::SeqCst);
    }

    /// Closes or opens the door for new connections.
    pub(crate) fn shut(&self, shut: bool) {
        self.state.shut.store(shut, Ordering::SeqCst);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        self.cut();
        // Wakes the listener, so that it sees that it is over.
        drop(TcpStream::connect(self.address));
    }
}

/// An agent that holds one key.
pub(crate) struct Agent {
    socket: PathBuf,
    process: std::process::Child,
    _folder: tempfile::TempDir,
}

impl Agent {
    pub(crate) fn with(key: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("agent");
        let process = Command::new("ssh-agent").arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).spawn().unwrap();
        while !socket.exists() {
            std::thread::sleep(Duration::from_millis(10));
        }
        let mut add = Command::new("ssh-add");
        add.arg("-q").arg(key).env("SSH_AUTH_SOCK", &socket).stdin(Stdio::null()).stderr(Stdio::null());
        assert!(add.status().unwrap().success());
        Self { socket, process, _folder: folder }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.socket
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
