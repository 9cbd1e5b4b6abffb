//! Whom commands ask: the same questions for a server and for the engine in this process.

use std::path::{Path, PathBuf};
use std::time::Duration;

use controller::api::{Inside, Question};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use model::{Operation, OrchestrationId, TargetId};
use protocol::rest::access::{
    AuditPage, EnrolmentTokenRequest, LoginRequest, NewEnrolmentToken, NewToken, Session as Opened, TokenList, TokenRequest,
};
use protocol::rest::events::ServiceEventList;
use protocol::rest::hosts::{Acknowledge, Acknowledged, Approve, Explanation, Host, HostList};
use protocol::rest::orchestrations::{Orchestration, OrchestrationList, RebootOptions};
use protocol::rest::rollouts::{
    AdoptHost, LockList, NewRollout, ReleaseSlot, Retry, RolloutPreview, RolloutStarted, Track, TrackDetails, TrackList,
    WithReason,
};
use protocol::rest::runs::{NewHealthCheck, NewRun};
use protocol::rest::services::{NewServiceRestart, ServiceRestartPreview};
use protocol::rest::{OrchestratedRebootStarted, Problem, RebootPreCheck};
use reqwest::Certificate;
use reqwest::header::CONTENT_TYPE;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::CliError;
use crate::exit::Exit;
use crate::runs::Runs;
use crate::session::Session;

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
const REQUEST_LIMIT: Duration = Duration::from_secs(60);
/// The server sends a keep-alive into an event stream every 15 s.
const SILENCE_LIMIT: Duration = Duration::from_secs(45);
/// No document of ours is larger, in bytes.
const ANSWER_MAX: usize = 256 << 20;

async fn whole(mut body: Pieces) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while let Some(piece) = body.next().await {
        bytes.extend(piece?);
        if bytes.len() > ANSWER_MAX {
            return Err("it is larger than 256 MiB".to_owned());
        }
    }
    Ok(bytes)
}

fn unreachable(server: &str, error: &reqwest::Error) -> CliError {
    let mut reason = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        reason = cause.to_string();
        source = cause.source();
    }
    let untrusted = reason.contains("certificate") || reason.contains("UnknownIssuer");
    let error = CliError::new(Exit::Unavailable, format!("cannot reach {server}: {reason}"));
    error.hint(if untrusted {
        "this is not the server that was trusted at login; if it was set up anew, log in again and compare its CA fingerprint"
    } else {
        "check that the server is running and can be reached from here"
    })
}

/// Whom commands ask: a server over HTTPS, or the engine in this process.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    way: Way,
}

#[derive(Clone, Debug)]
enum Way {
    Server { http: reqwest::Client, address: String, token: Option<String> },
    Here { inside: Inside, runs: Runs, only: Option<Vec<TargetId>> },
}

/// A question, for either.
#[derive(Debug)]
struct Ask {
    method: &'static str,
    path: String,
    query: Vec<(&'static str, String)>,
    body: Option<Vec<u8>>,
    last_event_id: Option<String>,
}

/// A good answer as it comes.
pub(crate) type Pieces = BoxStream<'static, Result<Vec<u8>, String>>;

impl Ask {
    fn get(path: impl Into<String>) -> Self {
        Self { method: "GET", path: path.into(), query: Vec::new(), body: None, last_event_id: None }
    }

    fn post(path: impl Into<String>) -> Self {
        Self { method: "POST", ..Self::get(path) }
    }

    fn delete(path: impl Into<String>) -> Self {
        Self { method: "DELETE", ..Self::get(path) }
    }

    fn body(mut self, body: &impl Serialize) -> Result<Self, CliError> {
        let json = serde_json::to_vec(body);
        self.body = Some(json.map_err(|e| CliError::new(Exit::Failed, format!("the question cannot be written as JSON: {e}")))?);
        Ok(self)
    }

    fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.query.push((name, value.to_string()));
        self
    }

    /// Path and query, escaped.
    fn target(&self, base: &str) -> Result<reqwest::Url, CliError> {
        let url = format!("{base}{}", self.path);
        let url = match self.query.is_empty() {
            true => reqwest::Url::parse(&url),
            false => reqwest::Url::parse_with_params(&url, &self.query),
        };
        url.map_err(|error| CliError::usage(format!("{base} is no address: {error}")))
    }
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

    /// The engine in this process; what it begins is noted.
    pub(crate) fn here(inside: Inside, runs: Runs) -> Self {
        Self { way: Way::Here { inside, runs, only: None } }
    }

    /// Whoever is rebooted from here is one of these, whatever else the words may mean to the engine.
    pub(crate) fn only(&mut self, targets: Vec<TargetId>) {
        if let Way::Here { only, .. } = &mut self.way {
            *only = Some(targets);
        }
    }

    /// The engine in another process of this user.
    pub(crate) fn beside(socket: &Path) -> Result<Self, CliError> {
        let http = reqwest::Client::builder().unix_socket(socket).no_proxy().build();
        let http = http.map_err(|error| CliError::new(Exit::Failed, format!("cannot ask {}: {error}", socket.display())))?;
        Ok(Self { way: Way::Server { http, address: "http://localhost".to_owned(), token: None } })
    }

    fn aimed(&self, request: &NewRollout) -> NewRollout {
        NewRollout { targets: self.meant(&request.targets), ..request.clone() }
    }

    /// Whom these words mean.
    fn meant(&self, words: &[String]) -> Vec<String> {
        match &self.way {
            Way::Here { only: Some(only), .. } => only.iter().map(ToString::to_string).collect(),
            _ => words.to_vec(),
        }
    }

    /// Where the services of a run are listed, if that is known here.
    pub(crate) fn manifest(&self, id: OrchestrationId) -> Option<PathBuf> {
        match &self.way {
            Way::Here { runs, .. } => runs.manifest(id),
            Way::Server { .. } => None,
        }
    }

    fn begun(&self, id: OrchestrationId) {
        if let Way::Here { runs, .. } = &self.way {
            runs.begun(id);
        }
    }

    /// Whether that is the engine in this process, which ends with it.
    pub(crate) fn is_here(&self) -> bool {
        matches!(self.way, Way::Here { .. })
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
        Ok(Self { way: Way::Server { http, address: server.trim_end_matches('/').to_owned(), token } })
    }

    /// Status and body; `limit` is for the whole answer.
    async fn ask(&self, ask: Ask, limit: Option<Duration>) -> Result<(u16, Pieces), CliError> {
        match &self.way {
            Way::Here { inside, .. } => {
                let url = ask.target("http://here")?;
                let path = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
                let last_event_id = ask.last_event_id.as_deref();
                let question = Question { method: ask.method, path: &path, body: ask.body, last_event_id };
                let answer = inside.ask(question).await.map_err(|error| CliError::new(Exit::Failed, error))?;
                Ok((answer.status, answer.body))
            }
            Way::Server { http, address, token } => {
                let method = reqwest::Method::from_bytes(ask.method.as_bytes()).unwrap_or_default();
                let mut request = http.request(method, ask.target(address)?);
                if let Some(token) = token {
                    request = request.bearer_auth(token);
                }
                if let Some(body) = ask.body {
                    request = request.header(CONTENT_TYPE, "application/json").body(body);
                }
                if let Some(event) = ask.last_event_id {
                    request = request.header("last-event-id", event);
                }
                if let Some(limit) = limit {
                    request = request.timeout(limit);
                }
                let response = request.send().await.map_err(|error| unreachable(address, &error))?;
                let status = response.status().as_u16();
                let body = response.bytes_stream();
                Ok((status, body.map(|piece| piece.map(|bytes| bytes.to_vec()).map_err(|error| error.to_string())).boxed()))
            }
        }
    }

    /// A good answer, or the problem as an error.
    async fn send(&self, ask: Ask, limit: Option<Duration>) -> Result<Pieces, CliError> {
        let (status, body) = self.ask(ask, limit).await?;
        if (200..300).contains(&status) {
            return Ok(body);
        }
        let problem = whole(body).await.ok().and_then(|body| serde_json::from_slice::<Problem>(&body).ok());
        Err(CliError::from_problem(
            problem.unwrap_or_else(|| Problem::new(status, "Error", format!("the server answered with status {status}"))),
        ))
    }

    async fn json<T: DeserializeOwned>(&self, ask: Ask) -> Result<T, CliError> {
        let unreadable = |error: String| {
            CliError::new(Exit::Unavailable, format!("the server's answer cannot be read: {error}"))
                .hint("compare `reveille --version` with the version of the server")
        };
        let body = whole(self.send(ask, Some(REQUEST_LIMIT)).await?).await.map_err(unreadable)?;
        serde_json::from_slice(&body).map_err(|error| unreadable(error.to_string()))
    }

    async fn done(&self, ask: Ask) -> Result<(), CliError> {
        self.send(ask, Some(REQUEST_LIMIT)).await.map(drop)
    }

    /// Name and password for a token.
    pub(crate) async fn login(&self, request: &LoginRequest) -> Result<Opened, CliError> {
        self.json(Ask::post("/api/v1/login").body(request)?).await
    }

    /// Hosts that a selector names, or all.
    pub(crate) async fn hosts(&self, selector: Option<&str>) -> Result<HostList, CliError> {
        let ask = Ask::get("/api/v1/hosts");
        self.json(match selector {
            Some(selector) => ask.with("selector", selector),
            None => ask,
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
        self.json(Ask::get(format!("/api/v1/host/{host}/reboot/pre-check"))).await
    }

    /// Why it would not start; without an operation, whichever reboot fits.
    pub(crate) async fn explain(
        &self,
        host: TargetId,
        operation: Option<Operation>,
        options: &RebootOptions,
    ) -> Result<Explanation, CliError> {
        let mut ask = Ask::get(format!("/api/v1/hosts/{host}/explain")).with("force", options.force.is_some());
        if let Some(Ok(serde_json::Value::String(word))) = operation.map(serde_json::to_value) {
            ask = ask.with("operation", word);
        }
        if let Some(seconds) = options.shutdown_timeout_seconds {
            ask = ask.with("shutdown_timeout_seconds", seconds);
        }
        if let Some(Ok(serde_json::Value::String(word))) = options.on_timeout.map(serde_json::to_value) {
            ask = ask.with("on_timeout", word);
        }
        self.json(ask).await
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
            Operation::RollingReboot | Operation::Run | Operation::HealthCheck | Operation::RestartServices => {
                return Err(CliError::usage(format!("a {operation} is asked for with its targets")));
            }
        };
        let started: OrchestratedRebootStarted =
            self.json(Ask::post(format!("/api/v1/host/{host}/{place}")).body(options)?).await?;
        self.begun(started.orchestration_id);
        Ok(started)
    }

    /// All orchestrations, or those of one host, or the active ones.
    pub(crate) async fn orchestrations(&self, host: Option<TargetId>, active: bool) -> Result<OrchestrationList, CliError> {
        let mut ask = Ask::get("/api/v1/orchestrations");
        if let Some(host) = host {
            ask = ask.with("host", host);
        }
        self.json(if active { ask.with("active", true) } else { ask }).await
    }

    /// One orchestration with its journal.
    pub(crate) async fn orchestration(&self, id: OrchestrationId) -> Result<Orchestration, CliError> {
        self.json(Ask::get(format!("/api/v1/orchestrations/{id}"))).await
    }

    /// Cancel it.
    pub(crate) async fn cancel(&self, id: OrchestrationId) -> Result<Orchestration, CliError> {
        self.json(Ask::post(format!("/api/v1/orchestrations/{id}/cancel"))).await
    }

    /// Start a rollout, or see what it would do.
    pub(crate) async fn rollout(&self, request: &NewRollout) -> Result<RolloutStarted, CliError> {
        let started: RolloutStarted = self.json(Ask::post("/api/v1/rollouts").body(&self.aimed(request))?).await?;
        self.begun(started.id);
        Ok(started)
    }

    /// Run a command.
    pub(crate) async fn run(&self, request: &NewRun) -> Result<RolloutStarted, CliError> {
        self.json(Ask::post("/api/v1/runs").body(request)?).await
    }

    /// Ask hosts whether they are well.
    pub(crate) async fn health_check(&self, request: &NewHealthCheck) -> Result<RolloutStarted, CliError> {
        self.json(Ask::post("/api/v1/health-checks").body(request)?).await
    }

    /// What a rollout would do.
    pub(crate) async fn preview(&self, request: &NewRollout) -> Result<RolloutPreview, CliError> {
        let request = NewRollout { dry_run: true, ..self.aimed(request) };
        self.json(Ask::post("/api/v1/rollouts").body(&request)?).await
    }

    /// Restart services.
    pub(crate) async fn restart_services(&self, request: &NewServiceRestart) -> Result<RolloutStarted, CliError> {
        let request = NewServiceRestart { targets: self.meant(&request.targets), dry_run: false, ..request.clone() };
        let started: RolloutStarted = self.json(Ask::post("/api/v1/service-restarts").body(&request)?).await?;
        self.begun(started.id);
        Ok(started)
    }

    /// What that would do.
    pub(crate) async fn preview_services(&self, request: &NewServiceRestart) -> Result<ServiceRestartPreview, CliError> {
        let request = NewServiceRestart { targets: self.meant(&request.targets), dry_run: true, ..request.clone() };
        self.json(Ask::post("/api/v1/service-restarts").body(&request)?).await
    }

    /// Let nothing new start in it.
    pub(crate) async fn pause(&self, id: OrchestrationId, reason: &str) -> Result<Orchestration, CliError> {
        let body = WithReason { reason: reason.to_owned() };
        self.json(Ask::post(format!("/api/v1/rollouts/{id}/pause")).body(&body)?).await
    }

    /// Let it go on.
    pub(crate) async fn resume(&self, id: OrchestrationId) -> Result<Orchestration, CliError> {
        self.json(Ask::post(format!("/api/v1/rollouts/{id}/resume"))).await
    }

    /// Agree to its waiting wave.
    pub(crate) async fn agree(&self, id: OrchestrationId) -> Result<Orchestration, CliError> {
        self.json(Ask::post(format!("/api/v1/rollouts/{id}/agree"))).await
    }

    /// Take up what it left undone.
    pub(crate) async fn retry(&self, id: OrchestrationId, retry: &Retry) -> Result<RolloutStarted, CliError> {
        let started: RolloutStarted = self.json(Ask::post(format!("/api/v1/rollouts/{id}/retry")).body(retry)?).await?;
        self.begun(started.id);
        Ok(started)
    }

    /// What that would do.
    pub(crate) async fn preview_retry(&self, id: OrchestrationId, retry: &Retry) -> Result<RolloutPreview, CliError> {
        let retry = Retry { dry_run: true, ..retry.clone() };
        self.json(Ask::post(format!("/api/v1/rollouts/{id}/retry")).body(&retry)?).await
    }

    /// All of its tracks.
    pub(crate) async fn all_tracks(&self, id: OrchestrationId) -> Result<Vec<Track>, CliError> {
        let (mut tracks, mut offset) = (Vec::new(), 0);
        loop {
            let ask = Ask::get(format!("/api/v1/orchestrations/{id}/tracks")).with("limit", 500).with("offset", offset);
            let page: TrackList = self.json(ask).await?;
            tracks.extend(page.tracks);
            match page.next {
                Some(next) => offset = next,
                None => return Ok(tracks),
            }
        }
    }

    /// Its tracks with this outcome, or `open` ones; at most so many, 500 at a time.
    pub(crate) async fn tracks(&self, id: OrchestrationId, outcome: &str, most: usize) -> Result<Vec<Track>, CliError> {
        let (mut tracks, mut offset) = (Vec::new(), 0);
        loop {
            let ask = Ask::get(format!("/api/v1/orchestrations/{id}/tracks")).with("outcome", outcome);
            let page: TrackList = self.json(ask.with("limit", 500).with("offset", offset)).await?;
            tracks.extend(page.tracks);
            match page.next {
                Some(next) if tracks.len() < most => offset = next,
                _ => break,
            }
        }
        tracks.truncate(most);
        Ok(tracks)
    }

    /// One of its tracks, with what keeps it from starting.
    pub(crate) async fn track(&self, id: OrchestrationId, track: u32) -> Result<TrackDetails, CliError> {
        self.json(Ask::get(format!("/api/v1/orchestrations/{id}/tracks/{track}"))).await
    }

    /// What keeps hosts from starting.
    pub(crate) async fn locks(&self) -> Result<LockList, CliError> {
        self.json(Ask::get("/api/v1/locks")).await
    }

    /// Take a slot away.
    pub(crate) async fn release_slot(&self, group: &str, holder: &str) -> Result<LockList, CliError> {
        let body = ReleaseSlot { group: group.to_owned(), holder: holder.to_owned() };
        self.json(Ask::post("/api/v1/slots/release").body(&body)?).await
    }

    /// Mark a host as out of use.
    pub(crate) async fn hold(&self, host: TargetId, reason: &str) -> Result<(), CliError> {
        let body = WithReason { reason: reason.to_owned() };
        self.done(Ask::post(format!("/api/v1/hosts/{host}/hold")).body(&body)?).await
    }

    /// Take that mark away.
    pub(crate) async fn release(&self, host: TargetId) -> Result<(), CliError> {
        self.done(Ask::post(format!("/api/v1/hosts/{host}/release"))).await
    }

    /// Let nothing start anywhere.
    pub(crate) async fn freeze(&self, reason: &str) -> Result<(), CliError> {
        self.done(Ask::post("/api/v1/freeze").body(&WithReason { reason: reason.to_owned() })?).await
    }

    /// Let things start again.
    pub(crate) async fn thaw(&self) -> Result<(), CliError> {
        self.done(Ask::post("/api/v1/thaw")).await
    }

    /// Make a host known that SSH reaches.
    pub(crate) async fn adopt(&self, host: &AdoptHost) -> Result<Host, CliError> {
        self.json(Ask::post("/api/v1/hosts").body(host)?).await
    }

    /// Forget a host.
    pub(crate) async fn remove(&self, host: TargetId) -> Result<(), CliError> {
        self.done(Ask::delete(format!("/api/v1/hosts/{host}"))).await
    }

    /// The event stream of an orchestration, after the event with this id.
    pub(crate) async fn events(&self, id: OrchestrationId, after: Option<&str>) -> Result<Pieces, CliError> {
        let ask = Ask::get(format!("/api/v1/orchestrations/{id}/events"));
        self.send(Ask { last_event_id: after.map(str::to_owned), ..ask }, None).await
    }

    /// The newest events of services, or of one.
    pub(crate) async fn service_events(&self, service: Option<&str>, most: u32) -> Result<ServiceEventList, CliError> {
        let ask = Ask::get("/api/v1/events/services").with("limit", most);
        self.json(service.into_iter().fold(ask, |ask, service| ask.with("service", service))).await
    }

    /// Their stream, after the event with this id.
    pub(crate) async fn live_service_events(&self, service: Option<&str>, after: &str) -> Result<Pieces, CliError> {
        let ask = Ask { last_event_id: Some(after.to_owned()), ..Ask::get("/api/v1/events/services/live") };
        self.send(service.into_iter().fold(ask, |ask, service| ask.with("service", service)), None).await
    }

    /// Approve a host with the key that has this fingerprint.
    pub(crate) async fn approve(&self, host: TargetId, fingerprint: &str) -> Result<Host, CliError> {
        let body = Approve { fingerprint: fingerprint.to_owned() };
        self.json(Ask::post(format!("/api/v1/hosts/{host}/approve")).body(&body)?).await
    }

    /// A person's word that a stranded target is fine.
    pub(crate) async fn acknowledge(&self, host: TargetId, target: Option<TargetId>) -> Result<Acknowledged, CliError> {
        self.json(Ask::post(format!("/api/v1/hosts/{host}/acknowledge")).body(&Acknowledge { target })?).await
    }

    /// A page of the audit log.
    pub(crate) async fn audit(&self, query: Vec<(&'static str, String)>) -> Result<AuditPage, CliError> {
        self.json(Ask { query, ..Ask::get("/api/v1/audit") }).await
    }

    /// A token for one enrolment.
    pub(crate) async fn enrol_token(&self, request: &EnrolmentTokenRequest) -> Result<NewEnrolmentToken, CliError> {
        self.json(Ask::post("/api/v1/enrolment-tokens").body(request)?).await
    }

    /// End our own token.
    pub(crate) async fn logout(&self) -> Result<(), CliError> {
        self.done(Ask::post("/api/v1/logout")).await
    }

    /// All API tokens that we may see.
    pub(crate) async fn tokens(&self) -> Result<TokenList, CliError> {
        self.json(Ask::get("/api/v1/tokens")).await
    }

    /// Make one.
    pub(crate) async fn create_token(&self, request: &TokenRequest) -> Result<NewToken, CliError> {
        self.json(Ask::post("/api/v1/tokens").body(request)?).await
    }

    /// Make one useless.
    pub(crate) async fn revoke_token(&self, id: i64) -> Result<(), CliError> {
        self.done(Ask::delete(format!("/api/v1/tokens/{id}"))).await
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
                .hint("this is done to one host at a time: name one of them"))
        }
    }
}
