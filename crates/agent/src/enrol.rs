//! Enrolment: the device's side.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use protocol::enrol::{EnrolAnswer, EnrolRequest, PATH, Token, TokenError, certificate_fingerprint};
use protocol::rest::Problem;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme, StreamOwned,
};

use crate::config::Config;
use crate::files;
use crate::identity::{self, IdentityError};

/// For connecting, and for each read and write.
const LIMIT: Duration = Duration::from_secs(30);
/// No answer is larger.
const MOST_ANSWERED: u64 = 256 * 1024;
/// A token file is one line.
const MOST_TOKEN: u64 = 16 * 1024;

/// Why enrolment failed. Nothing was changed then, except that the device may have made its key.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The token file.
    #[error("cannot read the token from {0}: {1}")]
    TokenFile(String, std::io::Error),
    /// What is in it.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The address in it.
    #[error("the address {0:?} in the token is not https://HOST:PORT: make a new token")]
    Address(String),
    /// The machine id.
    #[error("cannot read the machine id from {0}: {1}")]
    MachineId(String, std::io::Error),
    /// The key, or keeping the answer.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Keeping the answer.
    #[error(transparent)]
    File(#[from] files::FileError),
    /// The connection.
    #[error("cannot reach the controller at {0}: {1}")]
    Network(String, std::io::Error),
    /// Somebody else answered there.
    #[error("what answers at {0} is not the controller that the token is from: {1}")]
    NotTheController(String, String),
    /// The controller said no.
    #[error("the controller refused ({status}): {detail}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Its words.
        detail: String,
    },
    /// The answer.
    #[error("the controller's answer cannot be read: {0}")]
    Answer(String),
}

/// Enrols this host. The token comes from a file or, as `-`, from standard input, so that nothing secret stands in an argument.
///
/// # Errors
/// [`EnrolError`].
pub fn enrol(config: &Config, token_file: &Path, mut stdin: impl Read) -> Result<EnrolAnswer, EnrolError> {
    let mut text = String::new();
    let read = if token_file == Path::new("-") {
        (&mut stdin as &mut dyn Read).take(MOST_TOKEN).read_to_string(&mut text)
    } else {
        std::fs::File::open(token_file).and_then(|file| file.take(MOST_TOKEN).read_to_string(&mut text))
    };
    read.map_err(|e| EnrolError::TokenFile(token_file.display().to_string(), e))?;
    let token: Token = text.parse()?;
    let id_file = &config.machine_id_file;
    let machine_id =
        std::fs::read_to_string(id_file).map_err(|e| EnrolError::MachineId(id_file.display().to_string(), e))?.trim().to_owned();
    files::make_private(&config.state_dir)?;
    let key = identity::key_or_new(&config.state_dir)?;
    let request = EnrolRequest {
        secret: token.secret.clone(),
        name: token.name.clone(),
        machine_id,
        public_key: key.public(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let body = serde_json::to_vec(&request).map_err(|e| EnrolError::Answer(e.to_string()))?;
    let (status, answer) = post(&token, &body)?;
    if status != 200 && status != 201 {
        let problem: Option<Problem> = serde_json::from_slice(&answer).ok();
        let detail = problem.map_or_else(|| String::from_utf8_lossy(&answer).chars().take(300).collect(), |p| p.detail);
        return Err(EnrolError::Refused { status, detail });
    }
    let answer: EnrolAnswer = serde_json::from_slice(&answer).map_err(|e| EnrolError::Answer(e.to_string()))?;
    identity::keep_enrolment(&config.state_dir, &answer)?;
    Ok(answer)
}

/// One request on a connection of its own, to nobody but the holder of the CA that the token names.
fn post(token: &Token, body: &[u8]) -> Result<(u16, Vec<u8>), EnrolError> {
    let address = || EnrolError::Address(token.url.clone());
    let authority = token.url.strip_prefix("https://").ok_or_else(address)?.trim_end_matches('/');
    if authority.is_empty() || authority.contains(['/', '@', '?', '#', ' ']) || authority.chars().any(char::is_control) {
        return Err(address());
    }
    let bracketed = authority.ends_with(']');
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !bracketed => (host, port.parse::<u16>().map_err(|_| address())?),
        _ => (authority, 443),
    };
    let host = host.trim_matches(['[', ']']);
    let name = ServerName::try_from(host.to_owned()).map_err(|_| address())?;
    let network = |e: std::io::Error| {
        // The verifier's refusal comes wrapped in an error of the stream.
        match e.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(why) => EnrolError::NotTheController(authority.to_owned(), why.to_string()),
            None => EnrolError::Network(authority.to_owned(), e),
        }
    };
    let tls = |e: rustls::Error| EnrolError::NotTheController(authority.to_owned(), e.to_string());
    let mut stream = connect(host, port).map_err(network)?;
    stream.set_read_timeout(Some(LIMIT)).and_then(|()| stream.set_write_timeout(Some(LIMIT))).map_err(network)?;
    let mut connection = ClientConnection::new(Arc::new(pinned(&token.ca_fingerprint).map_err(tls)?), name).map_err(tls)?;
    connection.complete_io(&mut stream).map_err(network)?;
    let mut stream = StreamOwned::new(connection, stream);
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: reveille-agent/{}\r\nContent-Type: application/json\r\n\
         Accept: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        env!("CARGO_PKG_VERSION"),
        body.len()
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).and_then(|()| stream.flush()).map_err(network)?;
    let mut answer = Vec::new();
    match stream.take(MOST_ANSWERED).read_to_end(&mut answer) {
        // A server that closes without a word of TLS: whether all is there is judged by the length.
        Err(e) if e.kind() != std::io::ErrorKind::UnexpectedEof => return Err(network(e)),
        _ => {}
    }
    read_answer(&answer).map_err(EnrolError::Answer)
}

fn connect(host: &str, port: u16) -> std::io::Result<TcpStream> {
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, LIMIT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Status and body of an HTTP/1.1 answer with a length.
fn read_answer(answer: &[u8]) -> Result<(u16, Vec<u8>), String> {
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").ok_or("it ended before its body")?;
    let head = std::str::from_utf8(&answer[..end]).map_err(|_| "its head is not text")?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
    let status: u16 = status.ok_or("it is not HTTP/1.1")?;
    let header = |name: &str| {
        let mut found = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        found.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    };
    let body = &answer[end + 4..];
    let length: usize = header("content-length").and_then(|l| l.parse().ok()).ok_or("it names no length")?;
    let body = body.get(..length).ok_or_else(|| format!("{} of {length} bytes came", body.len()))?;
    Ok((status, body.to_vec()))
}

fn pinned(fingerprint: &str) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Pinned { fingerprint: fingerprint.to_owned(), provider: provider.clone() };
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}

/// Accepts a chain that ends in the CA of this fingerprint, for the right name and time, and no other.
#[derive(Debug)]
struct Pinned {
    fingerprint: String,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let ca = intermediates.iter().find(|der| certificate_fingerprint(der) == self.fingerprint);
        let ca = ca.ok_or(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone().into_owned())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone()).build();
        let verifier = verifier.map_err(|e| rustls::Error::General(e.to_string()))?;
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
