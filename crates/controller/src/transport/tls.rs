//! The built-in CA and the server's certificate under it.
//!
//! Devices pin the CA at enrolment by its fingerprint, so it is made once and never replaced silently; the server
//! certificate is renewed as needed. Both are valid from 1970 on: a board without a battery clock must be able to connect
//! before it has learned the time.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Life of a server certificate: 397 days, the longest that common clients accept.
const SERVER_LIFE: Duration = Duration::from_secs(397 * 24 * 3600);
/// A server certificate with less than this left is renewed: 90 days.
const RENEW_BEFORE: Duration = Duration::from_secs(90 * 24 * 3600);

const CA_FILE: &str = "ca.pem";
const CA_CERTIFICATE_FILE: &str = "ca-certificate.pem";
const SERVER_FILE: &str = "server.pem";

/// Why there is no TLS identity.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file or directory could not be read or written.
    #[error("cannot {action} {}: {source}; check that the state directory exists, belongs to this user and has space left", path.display())]
    File {
        /// `read`, `write` or `create`.
        action: &'static str,
        /// The file in question.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody else could read a private key.
    #[error("{} can be read by others; run `chmod 600` on it (and consider a new CA if the host has other users)", .0.display())]
    Exposed(PathBuf),
    /// The CA file is not what we wrote.
    #[error("{} is damaged ({detail}); restore it from a backup, or move it away to start a new CA (then every device must enrol again)", path.display())]
    Damaged {
        /// The file in question.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// A name for the server certificate is unusable.
    #[error("`{0}` cannot be a name in the server certificate; give host names or IP addresses")]
    Name(String),
    /// No name for the server certificate.
    #[error("the server certificate needs at least one host name or IP address")]
    NoName,
    /// Making or using a certificate failed.
    #[error("cannot make the server's TLS identity: {0}")]
    Crypto(String),
}

/// Installs ring as the process's TLS provider; call first in `main` (and in tests). Calling it again does nothing.
pub fn install_crypto_provider() {
    // An error means that a provider is installed already, which is what we want.
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// The server's certificate and key, and the CA that signed it.
pub struct Identity {
    ca_pem: String,
    ca_fingerprint: String,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    not_after: SystemTime,
}

impl Identity {
    /// Loads the identity from `dir`, making what is missing: the directory (0700), the CA, the server certificate. The
    /// latter is renewed when fewer than 90 days are left, when `names` (host names and IP addresses) differ from those
    /// that it was made for, when the CA is another, or when it is damaged. Private files have mode 0600, are flushed to
    /// disk and appear whole or not at all; an existing CA is never overwritten.
    ///
    /// # Errors
    /// [`TlsError`]; in particular a damaged CA is an error and not a reason to make a new one.
    pub fn load_or_create(dir: &Path, names: &[String], now: SystemTime) -> Result<Self, TlsError> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| file_error("create", dir, e))?;
        let ca = Ca::load_or_create(dir)?;
        let public = dir.join(CA_CERTIFICATE_FILE);
        if fs::read_to_string(&public).ok().as_deref() != Some(&ca.pem) {
            write_whole(&public, &ca.pem, 0o644, Existing::Replace)?;
        }

        let path = dir.join(SERVER_FILE);
        let current = match fs::read_to_string(&path) {
            Ok(text) => Some(text),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(file_error("read", &path, e)),
        };
        if let Some(identity) = current.and_then(|text| ca.accept_server(&text, names))
            && identity.not_after > now + RENEW_BEFORE
        {
            refuse_exposed(&path)?;
            return Ok(identity);
        }
        let text = ca.make_server(names, now)?;
        write_whole(&path, &text, 0o600, Existing::Replace)?;
        ca.accept_server(&text, names).ok_or_else(|| TlsError::Crypto("the new certificate does not read back".into()))
    }

    /// The CA's certificate, which devices pin, in PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// `sha256:` and the SHA-256 of the CA certificate's DER in lower-case hex.
    pub fn ca_fingerprint(&self) -> &str {
        &self.ca_fingerprint
    }

    /// When to call [`Identity::load_or_create`] again to have the certificate renewed.
    pub fn renew_at(&self) -> SystemTime {
        self.not_after - RENEW_BEFORE
    }

    /// A server configuration with this identity; `alpn` names the protocols to offer, in order.
    ///
    /// # Errors
    /// [`TlsError::Crypto`] if key and certificate do not fit together.
    pub fn server_config(&self, alpn: &[&[u8]]) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(self.chain.clone(), self.key.clone_key()))
            .map_err(|e| TlsError::Crypto(e.to_string()))?;
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Ok(Arc::new(config))
    }
}

/// `sha256:` and the SHA-256 of a certificate's DER in lower-case hex.
pub fn fingerprint(der: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, der);
    digest.as_ref().iter().fold(String::from("sha256:"), |text, byte| format!("{text}{byte:02x}"))
}

struct Ca {
    pem: String,
    der: CertificateDer<'static>,
    fingerprint: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    fn load_or_create(dir: &Path) -> Result<Self, TlsError> {
        let path = dir.join(CA_FILE);
        if !path.try_exists().map_err(|e| file_error("read", &path, e))? {
            write_whole(&path, &Self::generate()?, 0o600, Existing::Keep)?;
        }
        refuse_exposed(&path)?;
        let text = fs::read_to_string(&path).map_err(|e| file_error("read", &path, e))?;
        let damaged = |detail: String| TlsError::Damaged { path: path.clone(), detail };
        let der = CertificateDer::from_pem_slice(text.as_bytes()).map_err(|e| damaged(format!("no certificate: {e}")))?;
        let key = KeyPair::from_pem(section(&text, "PRIVATE KEY").ok_or_else(|| damaged("no private key".into()))?)
            .map_err(|e| damaged(format!("private key: {e}")))?;
        let pem = section(&text, "CERTIFICATE").ok_or_else(|| damaged("no certificate".into()))?.to_owned();
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(|e| damaged(format!("certificate: {e}")))?;
        Ok(Self { pem, fingerprint: fingerprint(&der), der, issuer })
    }

    /// Certificate and key of a new CA. It has no well-defined end (RFC 5280, 4.1.2.5): when a pinned CA expires, every
    /// device is lost at once.
    fn generate() -> Result<String, TlsError> {
        let key = KeyPair::generate().map_err(crypto)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Reveille built-in CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.not_before = date_time_ymd(1970, 1, 1);
        params.not_after = date_time_ymd(9999, 12, 31);
        let certificate = params.self_signed(&key).map_err(crypto)?;
        Ok(format!("{}{}", certificate.pem(), key.serialize_pem()))
    }

    /// Certificate and key of the server under a header line that says what they were made for.
    fn make_server(&self, names: &[String], now: SystemTime) -> Result<String, TlsError> {
        if names.is_empty() {
            return Err(TlsError::NoName);
        }
        for name in names {
            if name.is_empty() || name.contains(|c: char| c == ',' || c.is_whitespace() || c.is_control()) {
                return Err(TlsError::Name(name.clone()));
            }
        }
        let end = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default() + SERVER_LIFE;
        let key = KeyPair::generate().map_err(crypto)?;
        let mut params = CertificateParams::new(names).map_err(|_| TlsError::Name(names.join(", ")))?;
        params.distinguished_name.push(DnType::CommonName, "Reveille controller");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.not_before = date_time_ymd(1970, 1, 1);
        params.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(end.as_secs());
        let certificate = params.signed_by(&key, &self.issuer).map_err(crypto)?;
        Ok(format!("{}{}\n{}{}", self.header(names), end.as_secs(), certificate.pem(), key.serialize_pem()))
    }

    /// The first line of the server file, without the end of validity (seconds since 1970) that closes it.
    fn header(&self, names: &[String]) -> String {
        format!("# reveille server certificate v1 ca={} names={} not-after=", self.fingerprint, names.join(","))
    }

    /// Reads a server file back; `None` if it was made for other names or another CA, or is damaged.
    fn accept_server(&self, text: &str, names: &[String]) -> Option<Identity> {
        let (end, rest) = text.strip_prefix(&self.header(names))?.split_once('\n')?;
        let certificate = CertificateDer::from_pem_slice(rest.as_bytes()).ok()?;
        Some(Identity {
            ca_pem: self.pem.clone(),
            ca_fingerprint: self.fingerprint.clone(),
            chain: vec![certificate, self.der.clone()],
            key: PrivateKeyDer::from_pem_slice(rest.as_bytes()).ok()?,
            not_after: SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(end.parse().ok()?))?,
        })
    }
}

fn crypto(error: rcgen::Error) -> TlsError {
    TlsError::Crypto(error.to_string())
}

fn file_error(action: &'static str, path: &Path, source: io::Error) -> TlsError {
    TlsError::File { action, path: path.to_owned(), source }
}

/// One PEM section of a text, its first and last line included.
fn section<'a>(text: &'a str, label: &str) -> Option<&'a str> {
    let start = text.find(&format!("-----BEGIN {label}-----"))?;
    let last = format!("-----END {label}-----");
    let mut end = start + text[start..].find(&last)? + last.len();
    // The line's own end, as the PEM writer leaves it.
    end += text[end..].bytes().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    Some(&text[start..end])
}

fn refuse_exposed(path: &Path) -> Result<(), TlsError> {
    let mode = fs::metadata(path).map_err(|e| file_error("read", path, e))?.permissions().mode();
    if mode & 0o077 == 0 { Ok(()) } else { Err(TlsError::Exposed(path.to_owned())) }
}

#[derive(PartialEq)]
enum Existing {
    Keep,
    Replace,
}

/// Writes a file so that it appears whole or not at all, flushed to disk. With [`Existing::Keep`] a file that is there
/// already, or that another process makes at the same time, stays as it is.
fn write_whole(path: &Path, text: &str, mode: u32, existing: Existing) -> Result<(), TlsError> {
    let write = || -> io::Result<()> {
        let draft = path.with_extension("new");
        match fs::remove_file(&draft) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        if existing == Existing::Replace {
            fs::rename(&draft, path)?;
        } else {
            // Unlike a rename, a link fails when the name is taken.
            match fs::hard_link(&draft, path) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
                _ => fs::remove_file(&draft)?,
            }
        }
        match path.parent() {
            Some(dir) => fs::File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(|e| file_error("write", path, e))
}

#[cfg(test)]
mod tests;
