//! Whom the client trusts: exactly one CA, the one that the server made for itself at its first start.
//!
//! At login the CA is found in the server's own certificate chain and compared with a fingerprint that came by another
//! way; from then on it is pinned. No public or system CA is ever asked.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;

use crate::error::CliError;
use crate::exit::Exit;

/// How long connecting to show the certificate may take.
const LOOK_LIMIT: Duration = Duration::from_secs(15);

/// `sha256:` and the SHA-256 of a certificate, as the server shows it.
pub(crate) fn fingerprint(der: &[u8]) -> String {
    format!("sha256:{}", protocol::enrol::certificate_fingerprint(der))
}

/// Whether two ways of writing a fingerprint mean the same.
pub(crate) fn same_fingerprint(one: &str, other: &str) -> bool {
    let plain = |text: &str| text.trim().to_ascii_lowercase().trim_start_matches("sha256:").replace(':', "");
    let one = plain(one);
    one.len() == 64 && one == plain(other)
}

/// Host and port of `https://HOST:PORT`.
pub(crate) fn host_and_port(url: &str) -> Result<(String, u16), CliError> {
    let wrong = || CliError::usage(format!("{url:?} is not an address of a server")).hint("write it as https://HOST:PORT");
    let url = reqwest::Url::parse(url).map_err(|_| wrong())?;
    if url.scheme() != "https" || url.path() != "/" {
        return Err(wrong());
    }
    let host = url.host_str().ok_or_else(wrong)?.trim_matches(['[', ']']).to_owned();
    Ok((host, url.port_or_known_default().ok_or_else(wrong)?))
}

/// The CA that the server shows as the last certificate of its chain. Nothing is trusted by this, and nothing is said to
/// the server: whoever calls compares the fingerprint first.
pub(crate) async fn look_at_ca(url: &str) -> Result<CertificateDer<'static>, CliError> {
    let (host, port) = host_and_port(url)?;
    let unreachable = |reason: String| {
        CliError::new(Exit::Unavailable, format!("cannot reach {host}:{port}: {reason}"))
            .hint("check the address, and that the server is running")
    };
    let name = ServerName::try_from(host.clone()).map_err(|_| CliError::usage(format!("{host:?} is not a host name")))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unreachable(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(OnlyLook))
        .with_no_client_auth();
    let look = async {
        let tcp = TcpStream::connect((host.as_str(), port)).await?;
        tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await
    };
    let stream = match tokio::time::timeout(LOOK_LIMIT, look).await {
        Ok(result) => result.map_err(|error| unreachable(error.to_string()))?,
        Err(_) => return Err(unreachable(format!("no answer within {} s", LOOK_LIMIT.as_secs()))),
    };
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    match chain.last() {
        Some(ca) => Ok(ca.clone().into_owned()),
        None => Err(unreachable("it shows no certificate".to_owned())),
    }
}

/// The same certificate as PEM.
pub(crate) fn to_pem(der: &[u8]) -> String {
    use std::fmt::Write as _;
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut base64 = String::new();
    for chunk in der.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, byte| (word << 8) | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let index = (word >> (18 - 6 * place)) & 63;
            base64.push(if place > chunk.len() { '=' } else { char::from(ALPHABET[index as usize]) });
        }
    }
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for line in base64.as_bytes().chunks(64) {
        let _ = writeln!(pem, "{}", String::from_utf8_lossy(line));
    }
    pem + "-----END CERTIFICATE-----\n"
}

/// Lets every certificate pass: used for nothing but to see which one there is, on a connection that is then closed.
#[derive(Debug)]
struct OnlyLook;

impl ServerCertVerifier for OnlyLook {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_compared_whole() {
        let digest = "ab".repeat(32);
        assert!(same_fingerprint(&format!("sha256:{digest}"), &digest.to_uppercase()));
        assert!(!same_fingerprint(&digest[..32], &digest[..32]), "half a fingerprint proves nothing");
        assert!(!same_fingerprint("", ""));
        assert!(!same_fingerprint(&digest, &"ac".repeat(32)));
    }

    #[test]
    fn only_https_addresses_without_a_path_are_servers() {
        assert_eq!(host_and_port("https://c.example:8443").unwrap(), ("c.example".to_owned(), 8443));
        assert_eq!(host_and_port("https://[::1]:8443/").unwrap(), ("::1".to_owned(), 8443));
        for bad in ["http://c.example", "c.example:8443", "https://c.example/api", ""] {
            assert!(host_and_port(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn pem_is_base64_in_lines_of_64() {
        assert!(to_pem(b"Man").contains("\nTWFu\n"));
        assert!(to_pem(b"Ma").contains("\nTWE=\n"));
        assert!(to_pem(b"M").contains("\nTQ==\n"));
        assert_eq!(to_pem(&[0; 96]).lines().count(), 4);
    }
}
