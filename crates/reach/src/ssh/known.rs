//! Files of known hosts.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use russh::keys::{HashAlg, PublicKey};

use super::pattern::fits_list;
use super::settings::{Settings, Strictness};

/// What the files say about a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Another key is known.
    #[error(
        "{host} shows another key than the known one ({shown}; known from {file} line {line}): either it was rebuilt, or somebody \
         stands in between. Compare the fingerprint on the host's own console; if it is right: ssh-keygen -f {file} -R '{name}'"
    )]
    Changed {
        /// As it was named.
        host: String,
        /// Under which name it is known.
        name: String,
        /// The fingerprint of the key that it showed.
        shown: String,
        /// Where the known key is.
        file: String,
        /// From 1.
        line: usize,
    },
    /// Marked `@revoked`.
    #[error("the key that {host} shows ({shown}) is revoked in {file} line {line}")]
    Revoked {
        /// As it was named.
        host: String,
        /// The fingerprint.
        shown: String,
        /// Where.
        file: String,
        /// From 1.
        line: usize,
    },
    /// No key is known.
    #[error(
        "the key of {host} is not known ({shown}). Compare the fingerprint on the host's own console, then note it: \
         ssh-keyscan -p {port} {address} >> {file}; or allow new keys (accept-new){authority}"
    )]
    Unknown {
        /// As it was named.
        host: String,
        /// Where it was connected to.
        address: String,
        /// At which port.
        port: u16,
        /// The fingerprint.
        shown: String,
        /// Where it would be noted.
        file: String,
        /// A hint when there is a line of a certificate authority.
        authority: &'static str,
    },
    /// A new key that could not be noted.
    #[error("the new key of {host} cannot be noted in {file}: {why}")]
    NotNoted {
        /// As it was named.
        host: String,
        /// Where.
        file: String,
        /// Why.
        why: String,
    },
    /// A file that cannot be read.
    #[error("cannot read {file}: {why}; no key is believed without it")]
    File {
        /// Which.
        file: String,
        /// Why.
        why: String,
    },
}

const AUTHORITY: &str =
    "; a @cert-authority line is there for it, but certificates of hosts are not supported: note the plain key";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    None,
    Revoked,
    Authority,
}

#[derive(Debug)]
struct Entry {
    line: usize,
    mark: Mark,
    names: String,
    algorithm: String,
    key: Vec<u8>,
}

/// Files as they were read, kept until they change.
#[derive(Debug, Default)]
pub(crate) struct KnownHosts {
    files: Mutex<BTreeMap<PathBuf, (Stamp, Entries)>>,
}

type Stamp = Option<(SystemTime, u64)>;
type Entries = Arc<File>;

/// The lines of one file. Nearly all are of other hosts: plain names are looked up, only patterns and hashes are tried one by one.
#[derive(Debug, Default)]
struct File {
    lines: Vec<Entry>,
    by_name: HashMap<String, Vec<usize>>,
    others: Vec<usize>,
}

impl File {
    fn read(text: &str) -> Self {
        let mut file = Self::default();
        for entry in text.lines().enumerate().filter_map(|(at, line)| Entry::read(at + 1, line)) {
            let at = file.lines.len();
            if entry.names.contains(['*', '?', '!', '|']) {
                file.others.push(at);
            } else {
                for name in entry.names.split(',') {
                    file.by_name.entry(name.to_ascii_lowercase()).or_default().push(at);
                }
            }
            file.lines.push(entry);
        }
        file
    }

    /// In the order of the file.
    fn of(&self, names: &[String]) -> Vec<&Entry> {
        let plain = names.iter().filter_map(|name| self.by_name.get(name)).flatten().copied();
        let fits = |at: &usize| self.lines.get(*at).is_some_and(|entry| names.iter().any(|name| entry.is_of(name)));
        let places: BTreeSet<usize> = plain.chain(self.others.iter().copied().filter(fits)).collect();
        places.into_iter().filter_map(|at| self.lines.get(at)).collect()
    }
}

impl KnownHosts {
    /// Judges the key that a host shows; notes it when it is new and that is allowed.
    pub(crate) fn judge(&self, settings: &Settings, key: &PublicKey) -> Result<(), KeyError> {
        let names = names(settings);
        let shown = key.fingerprint(HashAlg::Sha256).to_string();
        let algorithm = plain(key.algorithm().as_str()).to_owned();
        let bytes = key.to_bytes().unwrap_or_default();
        let host = settings.name.clone();
        let (mut found, mut changed, mut authority) = (false, None, "");
        for file in settings.user_known_hosts.iter().chain(&settings.global_known_hosts) {
            let entries = self.entries(file)?;
            for entry in entries.of(&names) {
                let same = entry.key == bytes;
                let at = file.display().to_string();
                match entry.mark {
                    Mark::Revoked if same => return Err(KeyError::Revoked { host, shown, file: at, line: entry.line }),
                    Mark::Revoked => {}
                    Mark::Authority => authority = AUTHORITY,
                    Mark::None if same => found = true,
                    // Also another kind of key: it was asked for the known ones first, and somebody in between would show any.
                    Mark::None => {
                        let name = names.first().cloned().unwrap_or_default();
                        let other = entry.algorithm != algorithm;
                        let kind = if other { format!(", {algorithm} instead of {}", entry.algorithm) } else { String::new() };
                        changed.get_or_insert(KeyError::Changed {
                            host: host.clone(),
                            name,
                            shown: format!("{shown}{kind}"),
                            file: at,
                            line: entry.line,
                        });
                    }
                }
            }
        }
        let to = settings.user_known_hosts.first();
        match (found, changed, settings.strictness) {
            (true, ..) => Ok(()),
            (false, Some(changed), _) => Err(changed),
            (false, None, Strictness::AcceptNew) => to.map_or(Ok(()), |file| self.note(&host, file, &names, key)),
            (false, None, Strictness::KnownOnly) => Err(KeyError::Unknown {
                host,
                address: settings.host.clone(),
                port: settings.port,
                shown,
                file: to.map_or_else(|| "a file of known hosts".to_owned(), |file| file.display().to_string()),
                authority,
            }),
        }
    }

    /// The kinds of key that are known for a host, so that it is asked for one of these.
    pub(crate) fn algorithms(&self, settings: &Settings) -> Vec<String> {
        let names = names(settings);
        let files = settings.user_known_hosts.iter().chain(&settings.global_known_hosts);
        let mut known = Vec::new();
        for entries in files.filter_map(|file| self.entries(file).ok()) {
            let of = entries.of(&names).into_iter().filter(|entry| entry.mark == Mark::None);
            known.extend(of.map(|entry| entry.algorithm.clone()));
        }
        known
    }

    fn entries(&self, file: &Path) -> Result<Entries, KeyError> {
        let wrong = |why: std::io::Error| KeyError::File { file: file.display().to_string(), why: why.to_string() };
        let stamp: Stamp = match std::fs::metadata(file) {
            Ok(meta) => Some((meta.modified().map_err(wrong)?, meta.len())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(wrong(error)),
        };
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, entries)) = files.get(file).filter(|(known, _)| *known == stamp) {
            return Ok(entries.clone());
        }
        let text = match stamp {
            Some(_) => String::from_utf8_lossy(&std::fs::read(file).map_err(wrong)?).into_owned(),
            None => String::new(),
        };
        let entries = Arc::new(File::read(&text));
        files.insert(file.to_owned(), (stamp, entries.clone()));
        Ok(entries)
    }

    fn note(&self, host: &str, file: &Path, names: &[String], key: &PublicKey) -> Result<(), KeyError> {
        if file == Path::new("/dev/null") {
            return Ok(());
        }
        let wrong = |why: String| KeyError::NotNoted { host: host.to_owned(), file: file.display().to_string(), why };
        let name = names.first().ok_or_else(|| wrong("it has no name".to_owned()))?;
        let line =
            format!("{name} {} {}\n", plain(key.algorithm().as_str()), STANDARD.encode(key.to_bytes().unwrap_or_default()));
        // Held over the write, so that two hosts at once do not mix their lines.
        let _files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let write = || -> std::io::Result<()> {
            if let Some(folder) = file.parent() {
                std::fs::create_dir_all(folder)?;
            }
            let torn = std::fs::read(file).is_ok_and(|text| text.last().is_some_and(|last| *last != b'\n'));
            let mut to = std::fs::OpenOptions::new().append(true).create(true).open(file)?;
            to.write_all(format!("{}{line}", if torn { "\n" } else { "" }).as_bytes())?;
            to.sync_all()
        };
        write().map_err(|error| wrong(error.to_string()))
    }
}

/// Under which names a host's key is looked for, the one that is noted first.
fn names(settings: &Settings) -> Vec<String> {
    let name = settings.key_alias.as_ref().unwrap_or(&settings.host).to_ascii_lowercase();
    if settings.key_alias.is_some() || settings.port == 22 { vec![name] } else { vec![format!("[{name}]:{}", settings.port)] }
}

/// All RSA signatures are made with one kind of key.
fn plain(algorithm: &str) -> &str {
    if algorithm.starts_with("rsa-sha2") { "ssh-rsa" } else { algorithm }
}

impl Entry {
    /// Lines that cannot be read say nothing.
    fn read(line: usize, text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace().peekable();
        let mark = match *words.peek()? {
            comment if comment.starts_with('#') => return None,
            "@revoked" => Mark::Revoked,
            "@cert-authority" => Mark::Authority,
            other if other.starts_with('@') => return None,
            _ => Mark::None,
        };
        if mark != Mark::None {
            words.next();
        }
        let (names, algorithm, key) = (words.next()?.to_owned(), words.next()?.to_owned(), words.next()?);
        Some(Self { line, mark, names, algorithm, key: STANDARD.decode(key).ok()? })
    }

    fn is_of(&self, name: &str) -> bool {
        if let Some(hashed) = self.names.strip_prefix("|1|") {
            return hashed.split_once('|').is_some_and(|(salt, hash)| {
                let (Ok(salt), Ok(hash)) = (STANDARD.decode(salt), STANDARD.decode(hash)) else { return false };
                let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &salt);
                ring::hmac::verify(&key, name.as_bytes(), &hash).is_ok()
            });
        }
        fits_list(self.names.split(','), name)
    }
}

#[cfg(test)]
mod tests;
