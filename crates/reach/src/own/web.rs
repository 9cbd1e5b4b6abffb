//! HTTP and HTTPS with limits: no redirects, no proxies, and no more of a body than is asked for.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::{Client, Method, redirect};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// A client that is made when it is first needed: the system's certificates take a while to read.
#[derive(Debug)]
pub(super) struct Web {
    roots_pem: Vec<u8>,
    client: OnceLock<Result<Client, String>>,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// As much of the body as was asked for; bytes that are not UTF-8 are replaced.
    pub(super) body: String,
    /// There was more.
    pub(super) cut: bool,
}

/// One request.
#[derive(Debug)]
pub(super) struct Question<'a> {
    pub(super) method: Method,
    pub(super) url: &'a str,
    pub(super) headers: &'a [(&'static str, String)],
    pub(super) body: String,
    /// From the look-up of the name to the last byte that is read.
    pub(super) limit: Duration,
    /// In bytes.
    pub(super) most: usize,
}

impl Web {
    pub(super) fn new(roots_pem: Vec<u8>) -> Self {
        Self { roots_pem, client: OnceLock::new() }
    }

    /// Asks once.
    pub(super) async fn ask(&self, question: Question<'_>) -> Result<Answer, String> {
        let client = self.client.get_or_init(|| client(&self.roots_pem)).as_ref().map_err(Clone::clone)?;
        let mut request = client.request(question.method, question.url).timeout(question.limit);
        for (name, value) in question.headers {
            request = request.header(*name, value);
        }
        if !question.body.is_empty() {
            request = request.body(question.body);
        }
        let mut response = request.send().await.map_err(|error| in_words(&error, question.limit))?;
        let status = response.status().as_u16();
        let mut bytes = Vec::new();
        let mut cut = false;
        while let Some(chunk) = response.chunk().await.map_err(|error| in_words(&error, question.limit))? {
            let room = question.most - bytes.len();
            bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() > room {
                cut = true;
                break;
            }
        }
        Ok(Answer { status, body: String::from_utf8_lossy(&bytes).into_owned(), cut })
    }
}

fn client(roots_pem: &[u8]) -> Result<Client, String> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    // A machine without certificates, or with a damaged one, still makes every other check.
    let (_, unreadable) = roots.add_parsable_certificates(system.certs);
    if unreadable > 0 || !system.errors.is_empty() {
        tracing::warn!(unreadable, errors = ?system.errors, "some of the system's certificates cannot be read");
    }
    for root in CertificateDer::pem_slice_iter(roots_pem) {
        let added = root.map_err(|error| error.to_string()).and_then(|root| roots.add(root).map_err(|error| error.to_string()));
        added.map_err(|error| format!("the configured root certificates cannot be read: {error}"))?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = Client::builder()
        .tls_backend_preconfigured(config)
        // It is the host that is asked, nobody on the way to it.
        .no_proxy()
        .redirect(redirect::Policy::none())
        // A connection that was there before a reboot says nothing about what is there after it.
        .pool_max_idle_per_host(0)
        .user_agent(concat!("reveille/", env!("CARGO_PKG_VERSION")));
    client.build().map_err(|error| error.to_string())
}

/// The innermost cause: the outer ones repeat the address.
fn in_words(error: &reqwest::Error, limit: Duration) -> String {
    if error.is_timeout() {
        return format!("no answer within {} s", limit.as_secs_f32());
    }
    let mut reason = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        reason = cause.to_string();
        source = cause.source();
    }
    reason
}
