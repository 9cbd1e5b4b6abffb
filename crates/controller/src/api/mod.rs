//! The HTTP API: S0's three endpoints, and our own under `/api/v1`.
//!
//! Router and OpenAPI document come from the same annotations, and so do the rights: each operation names what it needs in
//! its `security`, [`access::Table`] is read from the document, and what stands in no table is refused.

mod access;
mod accounts;
mod audit;
mod documents;
mod events;
mod extract;
mod fleetlock;
mod hosts;
mod inside;
mod locks;
mod orchestrations;
mod problem;
mod reboot;
mod rollout_documents;
mod rollouts;
mod runs;
mod service_documents;
mod service_events;
mod services;
mod system;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::{Extension, Router};
use utoipa::OpenApi;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use access::Need;
pub use inside::{Answer, Inside, Question};
pub use problem::ApiError;

use crate::control::Control;
use access::Table;

/// The largest body that is read, in bytes.
pub const BODY_LIMIT: usize = 64 * 1024;
/// The same where hosts are named one by one: ten thousand of them, with long names.
pub const NAMING_LIMIT: usize = 2 * 1024 * 1024;

/// How large the bodies may be that name hosts. It stands beside axum's own, which nobody can read, to be told.
#[derive(Clone, Copy)]
struct Naming(usize);

/// What handlers share.
#[derive(Clone)]
struct Api {
    control: Control,
    document: Arc<str>,
}

#[derive(OpenApi)]
#[openapi(info(
    title = "Reveille",
    description = "Takes things down safely, brings them back, and proves that they came back.",
    license(name = "Apache-2.0", identifier = "Apache-2.0")
))]
struct Head;

/// S0's three endpoints, which stand under `/api` and `/api/v1` alike (ruling 4).
fn s0() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(reboot::pre_check))
        .routes(routes!(reboot::orchestrated))
        .routes(routes!(reboot::orchestration))
}

fn native() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(reboot::plain_reboot))
        .routes(routes!(reboot::shutdown))
        .routes(routes!(hosts::list_hosts, locks::adopt_host))
        .routes(routes!(hosts::show_host, locks::remove_host))
        .routes(routes!(locks::hold_host))
        .routes(routes!(locks::release_host))
        .routes(routes!(hosts::approve_host))
        .routes(routes!(hosts::acknowledge_host))
        .routes(routes!(hosts::explain_host))
        .routes(routes!(orchestrations::list_orchestrations))
        .routes(routes!(orchestrations::show_orchestration))
        .routes(routes!(orchestrations::cancel_orchestration))
        .routes(routes!(events::events))
        .routes(routes!(service_events::list_service_events))
        .routes(routes!(service_events::follow_service_events))
        .routes(routes!(rollouts::list_tracks))
        .routes(routes!(rollouts::show_track))
        .routes(routes!(rollouts::show_rollout))
        .routes(routes!(rollouts::pause_rollout))
        .routes(routes!(rollouts::resume_rollout))
        .routes(routes!(rollouts::agree_rollout))
        .routes(routes!(rollouts::cancel_rollout))
        .routes(routes!(rollouts::retry_rollout))
        .routes(routes!(locks::freeze))
        .routes(routes!(locks::thaw))
        .routes(routes!(locks::list_locks))
        .routes(routes!(locks::release_slot))
        .routes(routes!(audit::list_audit))
        .routes(routes!(accounts::login))
        .routes(routes!(accounts::logout))
        .routes(routes!(accounts::password))
        .routes(routes!(accounts::tokens, accounts::create_token))
        .routes(routes!(accounts::revoke_token))
        .routes(routes!(accounts::users, accounts::create_user))
        .routes(routes!(accounts::delete_user))
        .routes(routes!(accounts::enrolment_token))
        .routes(routes!(accounts::enrol))
        .routes(routes!(system::version))
}

/// What names hosts, as many as somebody may type; bodies of this size.
fn naming(limit: usize) -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(rollouts::list_rollouts, rollouts::start_rollout))
        .routes(routes!(runs::start_run))
        .routes(routes!(runs::start_health_check))
        .routes(routes!(services::start_service_restart))
        .layer(DefaultBodyLimit::max(limit))
        .layer(Extension(Naming(limit)))
}

fn all(longest: usize) -> (Router<Api>, utoipa::openapi::OpenApi) {
    let (router, mut document) = OpenApiRouter::with_openapi(Head::openapi())
        .nest("/api", s0())
        .nest("/api/v1", s0().merge(native()).merge(naming(longest)))
        .routes(routes!(fleetlock::pre_reboot))
        .routes(routes!(fleetlock::steady_state))
        .routes(routes!(system::openapi))
        .routes(routes!(system::healthz))
        .routes(routes!(system::readyz))
        .split_for_parts();
    document.info.version = env!("CARGO_PKG_VERSION").to_owned();
    let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
    let basic = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Basic).build());
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("bearer", bearer);
    components.add_security_scheme("basic", basic);
    for (path, item) in &mut document.paths.paths {
        let all = [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
        for operation in all.into_iter().flatten() {
            // The same handlers stand under two prefixes, but an operation's id is to be unique.
            if path.starts_with("/api/host/") {
                operation.operation_id = operation.operation_id.take().map(|id| format!("s0_{id}"));
            }
            describe(operation);
        }
    }
    (router, document)
}

/// What every operation has: words for each answer, and the document of all errors that it does not name.
fn describe(operation: &mut Operation) {
    let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let error = ResponseBuilder::new().description("Any other error").content("application/problem+json", problem).build();
    operation.responses.responses.entry("default".to_owned()).or_insert(RefOr::T(error));
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response
            && response.description.is_empty()
            && let Ok(status) = status.parse::<StatusCode>()
        {
            response.description = status.canonical_reason().unwrap_or("Answer").to_owned();
        }
    }
}

/// The OpenAPI 3.1 document of everything that [`router`] serves.
pub fn document() -> utoipa::openapi::OpenApi {
    all(NAMING_LIMIT).1
}

/// The router. `GET /readyz` says whether `control` works; everything but a few public routes asks for a token.
/// Give peers to it as `ConnectInfo<SocketAddr>` (for the audit log).
pub fn router(control: Control) -> Router {
    let (router, document) = all(NAMING_LIMIT);
    let value = serde_json::to_value(&document).unwrap_or_default();
    let table = Arc::new(Table::read(&value));
    let api = Api { control: control.clone(), document: value.to_string().into() };
    router
        .fallback(system::no_such_route)
        .method_not_allowed_fallback(system::no_such_method)
        .with_state(api)
        .route_layer(from_fn_with_state(access::Gate { control, table }, access::gate))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(from_fn(system::within_limits))
}
