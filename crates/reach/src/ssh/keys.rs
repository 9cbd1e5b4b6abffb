//! What a user proves to be with: keys of the agent and key files to the host, a password to `sudo`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{PrivateKey, PublicKey};

use super::settings::{AgentSocket, Settings};

/// Longest password, in bytes.
const LONGEST: u64 = 4096;
/// An agent that does not answer is passed over.
const AGENT_LIMIT: std::time::Duration = std::time::Duration::from_secs(10);

/// A password. It is never shown, and never comes from a command line.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The first line of a file; `/dev/fd/3` for a file descriptor.
    ///
    /// # Errors
    /// The file cannot be read, or holds nothing.
    pub fn read(from: &Path) -> std::io::Result<Self> {
        let mut bytes = Vec::new();
        std::fs::File::open(from)?.take(LONGEST).read_to_end(&mut bytes)?;
        let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let text = String::from_utf8_lossy(line).trim_end_matches('\r').to_owned();
        if text.is_empty() {
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "there is no password in it"));
        }
        Ok(Self(text))
    }

    /// One that somebody has typed.
    pub fn typed(text: String) -> Self {
        Self(text)
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A key that can be tried.
#[derive(Clone)]
pub(crate) enum Candidate {
    File(PathBuf, Arc<PrivateKey>),
    Agent(PathBuf, PublicKey),
}

impl Candidate {
    pub(crate) fn public(&self) -> &PublicKey {
        match self {
            Self::File(_, key) => key.public_key(),
            Self::Agent(_, key) => key,
        }
    }
}

/// The keys to try with one host, in order, and what was passed over.
#[derive(Default)]
pub(crate) struct Candidates {
    pub(crate) keys: Vec<Candidate>,
    /// For people, each with a hint.
    pub(crate) passed_over: Vec<String>,
}

#[derive(Clone)]
enum KeyFile {
    Missing,
    Open(Arc<PrivateKey>),
    /// With a passphrase; its public half is known.
    Locked(Option<PublicKey>),
    Broken(String),
}

/// Key files as they were read, once for all hosts.
#[derive(Default)]
pub(crate) struct Keys {
    files: Mutex<BTreeMap<PathBuf, KeyFile>>,
    /// Agents and what they hold, asked once for all hosts.
    agents: tokio::sync::Mutex<BTreeMap<PathBuf, Result<Vec<PublicKey>, String>>>,
    /// Keys that some host has taken: tried first with the next one, so that each host verifies one signature.
    taken: Mutex<BTreeSet<String>>,
}

impl Keys {
    /// What can be tried: keys of the agent that are named, other keys of the agent, key files.
    pub(crate) async fn candidates(&self, settings: &Settings) -> Candidates {
        let mut out = Candidates::default();
        let files: Vec<(PathBuf, KeyFile)> = settings.identity_files.iter().map(|path| (path.clone(), self.file(path))).collect();
        let held = match &settings.agent {
            AgentSocket::None => Vec::new(),
            AgentSocket::At(socket) => match self.held(socket).await {
                Ok(keys) => keys.into_iter().map(|key| (socket.clone(), key)).collect(),
                Err(why) => {
                    out.passed_over.push(format!("the agent at {} does not answer: {why}", socket.display()));
                    Vec::new()
                }
            },
        };
        let same = |a: &PublicKey, b: &PublicKey| a.key_data() == b.key_data();
        let mut named = Vec::new();
        for (path, file) in &files {
            let public = match file {
                KeyFile::Open(key) => Some(key.public_key().clone()),
                KeyFile::Locked(public) => public.clone().or_else(|| public_half(path)),
                KeyFile::Missing | KeyFile::Broken(_) => public_half(path),
            };
            let in_agent = public.as_ref().and_then(|public| held.iter().find(|(_, key)| same(key, public)));
            if let Some((socket, key)) = in_agent {
                named.push(Candidate::Agent(socket.clone(), key.clone()));
                continue;
            }
            let path = path.display();
            match file {
                KeyFile::Locked(_) => {
                    out.passed_over.push(format!("{path} has a passphrase: load it into an agent (ssh-add {path})"))
                }
                KeyFile::Broken(why) => out.passed_over.push(format!("{path} cannot be used: {why}")),
                KeyFile::Missing if settings.identities_named => out.passed_over.push(format!("{path} is not there")),
                KeyFile::Missing | KeyFile::Open(_) => {}
            }
        }
        if !settings.identities_only {
            let others = held.iter().filter(|(_, key)| !named.iter().any(|known| same(known.public(), key)));
            let others: Vec<Candidate> = others.map(|(socket, key)| Candidate::Agent(socket.clone(), key.clone())).collect();
            named.extend(others);
        }
        for (path, file) in files {
            if let KeyFile::Open(key) = file
                && !named.iter().any(|known| same(known.public(), key.public_key()))
            {
                named.push(Candidate::File(path, key));
            }
        }
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        named.sort_by_key(|candidate| !taken.contains(&print(candidate.public())));
        out.keys = named;
        out
    }

    /// A host has taken this key.
    pub(crate) fn took(&self, key: &PublicKey) {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).insert(print(key));
    }

    /// Nobody was let in: files and agents are looked at anew the next time, since somebody may have mended them.
    pub(crate) async fn look_again(&self) {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.agents.lock().await.clear();
    }

    fn file(&self, path: &Path) -> KeyFile {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.entry(path.to_owned()).or_insert_with(|| read(path)).clone()
    }

    async fn held(&self, socket: &Path) -> Result<Vec<PublicKey>, String> {
        let mut agents = self.agents.lock().await;
        if let Some(known) = agents.get(socket) {
            return known.clone();
        }
        let ask = async {
            let mut agent = AgentClient::connect_uds(socket).await.map_err(|error| error.to_string())?;
            agent.request_identities().await.map_err(|error| error.to_string())
        };
        let answer = match tokio::time::timeout(AGENT_LIMIT, ask).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("nothing in {} s", AGENT_LIMIT.as_secs())),
        };
        let keys = answer.map(|all| {
            let plain = |identity| match identity {
                AgentIdentity::PublicKey { key, .. } => Some(key),
                AgentIdentity::Certificate { .. } => None,
            };
            all.into_iter().filter_map(plain).collect::<Vec<_>>()
        });
        agents.insert(socket.to_owned(), keys.clone());
        keys
    }
}

fn print(key: &PublicKey) -> String {
    key.fingerprint(russh::keys::HashAlg::Sha256).to_string()
}

fn public_half(path: &Path) -> Option<PublicKey> {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    PublicKey::from_openssh(std::fs::read_to_string(name).ok()?.trim()).ok()
}

fn read(path: &Path) -> KeyFile {
    use std::os::unix::fs::PermissionsExt as _;
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return KeyFile::Missing,
        Err(error) => return KeyFile::Broken(error.to_string()),
    };
    let open = |path: &Path| std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0);
    if open(path) {
        return KeyFile::Broken(format!("others can read it: chmod 600 {}", path.display()));
    }
    if let Ok(key) = PrivateKey::from_openssh(&text) {
        return if key.is_encrypted() { KeyFile::Locked(Some(key.public_key().clone())) } else { KeyFile::Open(Arc::new(key)) };
    }
    match russh::keys::decode_secret_key(&text, None) {
        Ok(key) => KeyFile::Open(Arc::new(key)),
        Err(russh::keys::Error::KeyIsEncrypted) => KeyFile::Locked(None),
        Err(error) => KeyFile::Broken(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_the_first_line_and_is_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, "hunter2 \r\nrest\n").unwrap();
        let secret = Secret::read(&path).unwrap();
        assert_eq!((secret.text(), format!("{secret:?}").as_str()), ("hunter2 ", "Secret"));
        std::fs::write(&path, "\nrest\n").unwrap();
        assert!(Secret::read(&path).is_err() && Secret::read(&folder.path().join("none")).is_err());
    }
}
