//! Events as CloudEvents over HTTP, structured mode: one request each, in order.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use protocol::cloud::CONTENT_TYPE;
use reqwest::header::CONTENT_TYPE as HEADER;
use reqwest::{Certificate, Client, Url};

use super::{Sink, Taken, cloud};
use crate::store::StoredEvent;

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// So often is an event given to somebody who says that it is wrong; then it is passed over, and the next ones have their turn.
const REFUSALS: u32 = 5;
/// No token is longer.
const TOKEN_MOST: usize = 8 * 1024;

/// Where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    /// `https://…`, or `http://` to this machine.
    pub url: String,
    /// A file with a token for `Authorization: Bearer`; read each time.
    pub token_file: Option<PathBuf>,
    /// A file with certificates (PEM) that are trusted beside the system's.
    pub ca_file: Option<PathBuf>,
}

/// Why nothing can be sent there.
#[derive(Debug, thiserror::Error)]
pub enum HttpSinkError {
    /// It is no address for this.
    #[error("{0}")]
    Url(String),
    /// The certificates.
    #[error("the certificates in {} cannot be used: {reason}", path.display())]
    Ca {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The client.
    #[error("no client for HTTP can be made: {0}")]
    Client(String),
}

/// To one address.
pub struct HttpSink {
    settings: HttpSettings,
    url: Url,
    client: Client,
    refused: u32,
}

impl HttpSettings {
    /// The address, if it is one to which events can go.
    ///
    /// # Errors
    /// [`HttpSinkError::Url`].
    pub fn check(&self) -> Result<Url, HttpSinkError> {
        let wrong = |text: &str| HttpSinkError::Url(text.to_owned());
        let url = Url::parse(&self.url).map_err(|error| HttpSinkError::Url(format!("is no address: {error}")))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("must hold no user and no password: put a token into token_file"));
        }
        let own = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        match url.scheme() {
            "https" => Ok(url),
            "http" if own => Ok(url),
            _ => Err(wrong("must begin with https:// (http:// goes to localhost only)")),
        }
    }
}

impl HttpSink {
    /// Ready to send. A crypto provider must be installed.
    ///
    /// # Errors
    /// [`HttpSinkError`].
    pub fn new(settings: HttpSettings) -> Result<Self, HttpSinkError> {
        let url = settings.check()?;
        let mut builder = Client::builder()
            .tls_backend_rustls()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_LIMIT)
            .timeout(ANSWER_LIMIT)
            .user_agent(concat!("reveille/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = &settings.ca_file {
            let bad = |reason: String| HttpSinkError::Ca { path: path.clone(), reason };
            let pem = std::fs::read(path).map_err(|error| bad(error.to_string()))?;
            let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| bad(error.to_string()))?;
            if certificates.is_empty() {
                return Err(bad("there is none in it".to_owned()));
            }
            builder = builder.tls_certs_merge(certificates);
        }
        let client = builder.build().map_err(|error| HttpSinkError::Client(error.to_string()))?;
        Ok(Self { settings, url, client, refused: 0 })
    }

    fn token(&self) -> Result<Option<String>, String> {
        let Some(path) = &self.settings.token_file else { return Ok(None) };
        let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let token = text.lines().next().unwrap_or_default().trim().to_owned();
        match token.is_empty() || token.len() > TOKEN_MOST {
            true => Err(format!("the first line of {} is no token", path.display())),
            false => Ok(Some(token)),
        }
    }

    /// Says why it was not taken, and whether the event itself is what is wrong.
    async fn post(&self, event: &StoredEvent) -> Result<(), (String, bool)> {
        let later = |text: String| (text, false);
        let body = cloud::bytes(&event.event).map_err(later)?;
        let mut request = self.client.post(self.url.clone()).header(HEADER, CONTENT_TYPE).body(body);
        if let Some(token) = self.token().map_err(later)? {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.map_err(|error| later(in_words(&error)))?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err((format!("answered {status}"), matches!(status.as_u16(), 400 | 413 | 415 | 422))),
        }
    }
}

impl Sink for HttpSink {
    fn name(&self) -> String {
        format!("http {}", self.url)
    }

    fn take<'a>(&'a mut self, events: &'a [StoredEvent], _again: bool) -> Pin<Box<dyn Future<Output = Taken> + Send + 'a>> {
        Box::pin(async move {
            // Not its path and query, which may be secret.
            let host = self.url.host_str().unwrap_or_default().to_owned();
            for (count, event) in events.iter().enumerate() {
                match self.post(event).await {
                    Ok(()) => self.refused = 0,
                    Err((why, true)) if self.refused + 1 >= REFUSALS => {
                        self.refused = 0;
                        tracing::error!(event = event.event.metadata.event_id, "{host} {why}: it does not want this event");
                    }
                    Err((why, wrong)) => {
                        self.refused += u32::from(wrong);
                        return Taken::only(count, format!("{host}: {why}"));
                    }
                }
            }
            Taken::all(events.len())
        })
    }
}

/// The innermost cause: the outer ones repeat the address.
fn in_words(error: &reqwest::Error) -> String {
    let mut reason = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        reason = cause.to_string();
        source = cause.source();
    }
    reason
}
