//! The client of a server: one CA, one token, one set of limits.

use std::time::Duration;

use model::{Operation, OrchestrationId, TargetId};
use protocol::rest::access::{
    AuditPage, EnrolmentTokenRequest, LoginRequest, NewEnrolmentToken, NewToken, Session as Opened, TokenList, TokenRequest,
};
use protocol::rest::hosts::{Acknowledge, Acknowledged, Approve, Explanation, Host, HostList};
use protocol::rest::orchestrations::{Orchestration, OrchestrationList, RebootOptions};
use protocol::rest::{OrchestratedRebootStarted, Problem, RebootPreCheck};
use reqwest::{Certificate, Method, RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::CliError;
use crate::exit::Exit;
use crate::session::Session;

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
const REQUEST_LIMIT: Duration = Duration::from_secs(60);
/// The server sends a keep-alive into an event stream every 15 s.
const SILENCE_LIMIT: Duration = Duration::from_secs(45);

/// A server, and who we are to it.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    server: String,
    token: Option<String>,
}

impl Client {
    /// With what a login left behind.
    pub(crate) fn new(session: &Session) -> Result<Self, CliError> {
        Self::build(&session.server, &session.ca_pem, Some(session.token.clone()))
    }

    /// Before a login.
    pub(crate) fn anonymous(server: &str, ca_pem: &str) -> Result<Self, CliError> {
        Self::build(server, ca_pem, None)
    }

    fn build(server: &str, ca_pem: &str, token: Option<String>) -> Result<Self, CliError> {
        crate::trust::host_and_port(server)?;
        let bad_ca = |error: reqwest::Error| {
            CliError::usage(format!("the CA is not a certificate in PEM: {error}")).hint("take ca-certificate.pem of the server")
        };
        let ca = Certificate::from_pem(ca_pem.as_bytes()).map_err(bad_ca)?;
        let http = reqwest::Client::builder()
            .tls_backend_rustls()
            .tls_certs_only([ca])
            .https_only(true)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_LIMIT)
            .read_timeout(SILENCE_LIMIT)
            .user_agent(concat!("reveille/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(bad_ca)?;
        Ok(Self { http, server: server.trim_end_matches('/').to_owned(), token })
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.server));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, CliError> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let problem = match response.bytes().await {
            Ok(body) => serde_json::from_slice::<Problem>(&body).ok(),
            Err(_) => None,
        };
        Err(CliError::from_problem(problem.unwrap_or_else(|| {
            Problem::new(status.as_u16(), status.canonical_reason().unwrap_or("Error"), format!("the server answered {status}"))
        })))
    }

    fn unreachable(&self, error: &reqwest::Error) -> CliError {
        let mut reason = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            reason = cause.to_string();
            source = cause.source();
        }
        let untrusted = reason.contains("certificate") || reason.contains("UnknownIssuer");
        let error = CliError::new(Exit::Unavailable, format!("cannot reach {}: {reason}", self.server));
        error.hint(if untrusted {
            "this is not the server that was trusted at login; if it was set up anew, log in again and compare its CA fingerprint"
        } else {
            "check that the server is running and can be reached from here"
        })
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, CliError> {
        let response = self.send(request.timeout(REQUEST_LIMIT)).await?;
        response.json().await.map_err(|error| {
            CliError::new(Exit::Unavailable, format!("the server's answer cannot be read: {error}"))
                .hint("compare `reveille --version` with the version of the server")
        })
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CliError> {
        self.json(self.request(Method::GET, path)).await
    }

    async fn post<B: Serialize, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T, CliError> {
        self.json(self.request(Method::POST, path).json(body)).await
    }

    /// Name and password for a token.
    pub(crate) async fn login(&self, request: &LoginRequest) -> Result<Opened, CliError> {
        self.post("/api/v1/login", request).await
    }

    /// Hosts that a selector names, or all.
    pub(crate) async fn hosts(&self, selector: Option<&str>) -> Result<HostList, CliError> {
        let request = self.request(Method::GET, "/api/v1/hosts");
        self.json(match selector {
            Some(selector) => request.query(&[("selector", selector)]),
            None => request,
        })
        .await
    }

    /// Exactly one host.
    pub(crate) async fn one_host(&self, selector: &str) -> Result<Host, CliError> {
        let hosts = self.hosts(Some(selector)).await?.hosts;
        exactly_one(selector, hosts)
    }

    /// S0's pre-check.
    pub(crate) async fn pre_check(&self, host: TargetId) -> Result<RebootPreCheck, CliError> {
        self.get(&format!("/api/v1/host/{host}/reboot/pre-check")).await
    }

    /// Why it would not start; without an operation, whichever reboot fits.
    pub(crate) async fn explain(
        &self,
        host: TargetId,
        operation: Option<Operation>,
        options: &RebootOptions,
    ) -> Result<Explanation, CliError> {
        let mut query = Vec::new();
        if let Some(Ok(serde_json::Value::String(word))) = operation.map(serde_json::to_value) {
            query.push(("operation", word));
        }
        query.push(("force", options.force.is_some().to_string()));
        query.extend(options.shutdown_timeout_seconds.map(|seconds| ("shutdown_timeout_seconds", seconds.to_string())));
        if let Some(Ok(serde_json::Value::String(word))) = options.on_timeout.map(serde_json::to_value) {
            query.push(("on_timeout", word));
        }
        self.json(self.request(Method::GET, &format!("/api/v1/hosts/{host}/explain")).query(&query)).await
    }

    /// Start it.
    pub(crate) async fn start(
        &self,
        host: TargetId,
        operation: Operation,
        options: &RebootOptions,
    ) -> Result<OrchestratedRebootStarted, CliError> {
        let place = match operation {
            Operation::OrchestratedReboot => "reboot/orchestrated",
            Operation::Reboot => "reboot",
            Operation::Shutdown => "shutdown",
        };
        self.post(&format!("/api/v1/host/{host}/{place}"), options).await
    }

    /// All orchestrations, or those of one host, or the active ones.
    pub(crate) async fn orchestrations(&self, host: Option<TargetId>, active: bool) -> Result<OrchestrationList, CliError> {
        let mut query = Vec::new();
        query.extend(host.map(|host| ("host", host.to_string())));
        query.extend(active.then(|| ("active", "true".to_owned())));
        self.json(self.request(Method::GET, "/api/v1/orchestrations").query(&query)).await
    }

    /// One orchestration with its journal.
    pub(crate) async fn orchestration(&self, id: OrchestrationId) -> Result<Orchestration, CliError> {
        self.get(&format!("/api/v1/orchestrations/{id}")).await
    }

    /// Cancel it.
    pub(crate) async fn cancel(&self, id: OrchestrationId) -> Result<Orchestration, CliError> {
        self.json(self.request(Method::POST, &format!("/api/v1/orchestrations/{id}/cancel"))).await
    }

    /// The event stream of an orchestration, after the event with this id.
    pub(crate) async fn events(&self, id: OrchestrationId, after: Option<&str>) -> Result<Response, CliError> {
        let request = self
            .request(Method::GET, &format!("/api/v1/orchestrations/{id}/events"))
            .header(reqwest::header::ACCEPT, "text/event-stream");
        self.send(match after {
            Some(after) => request.header("last-event-id", after),
            None => request,
        })
        .await
    }

    /// Approve a host with the key that has this fingerprint.
    pub(crate) async fn approve(&self, host: TargetId, fingerprint: &str) -> Result<Host, CliError> {
        let body = Approve { fingerprint: fingerprint.to_owned() };
        self.post(&format!("/api/v1/hosts/{host}/approve"), &body).await
    }

    /// A person's word that a stranded target is fine.
    pub(crate) async fn acknowledge(&self, host: TargetId, target: Option<TargetId>) -> Result<Acknowledged, CliError> {
        self.post(&format!("/api/v1/hosts/{host}/acknowledge"), &Acknowledge { target }).await
    }

    /// A page of the audit log.
    pub(crate) async fn audit(&self, query: &[(&str, String)]) -> Result<AuditPage, CliError> {
        self.json(self.request(Method::GET, "/api/v1/audit").query(query)).await
    }

    /// A token for one enrolment.
    pub(crate) async fn enrol_token(&self, request: &EnrolmentTokenRequest) -> Result<NewEnrolmentToken, CliError> {
        self.post("/api/v1/enrolment-tokens", request).await
    }

    /// End our own token.
    pub(crate) async fn logout(&self) -> Result<(), CliError> {
        self.send(self.request(Method::POST, "/api/v1/logout").timeout(REQUEST_LIMIT)).await.map(drop)
    }

    /// All API tokens that we may see.
    pub(crate) async fn tokens(&self) -> Result<TokenList, CliError> {
        self.get("/api/v1/tokens").await
    }

    /// Make one.
    pub(crate) async fn create_token(&self, request: &TokenRequest) -> Result<NewToken, CliError> {
        self.post("/api/v1/tokens", request).await
    }

    /// Make one useless.
    pub(crate) async fn revoke_token(&self, id: i64) -> Result<(), CliError> {
        self.send(self.request(Method::DELETE, &format!("/api/v1/tokens/{id}")).timeout(REQUEST_LIMIT)).await.map(drop)
    }
}

/// One host, or a refusal that names what was found.
pub(crate) fn exactly_one(selector: &str, mut hosts: Vec<Host>) -> Result<Host, CliError> {
    match (hosts.pop(), hosts.is_empty()) {
        (Some(host), true) => Ok(host),
        (None, _) => Err(CliError::new(Exit::NotFound, format!("no host matches {selector:?}")).hint("see `reveille hosts`")),
        (Some(last), false) => {
            let names: Vec<String> = hosts.into_iter().chain([last]).map(|host| host.name).collect();
            Err(CliError::usage(format!("{selector:?} matches {} hosts: {}", names.len(), names.join(", ")))
                .hint("rolling over several hosts is not available: name one of them"))
        }
    }
}
