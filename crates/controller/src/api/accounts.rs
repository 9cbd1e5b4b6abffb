//! Sessions, tokens, users, and the enrolment of devices.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use model::Millis;
use protocol::enrol::{EnrolAnswer, EnrolRequest};
use protocol::rest::Problem;
use protocol::rest::access::{
    EnrolmentTokenRequest, LoginRequest, NewEnrolmentToken, NewToken, NewUser, PasswordChange, Session, TokenInfo, TokenList,
    TokenRequest, UserInfo, UserList, UserRequest,
};

use super::extract::{Body, PathIds, Who};
use super::problem::ApiError;
use super::{Api, access};
use crate::control::{self, LoggedIn, Scope};

type Peer = Option<Extension<ConnectInfo<SocketAddr>>>;

fn address(peer: Peer) -> String {
    access::peer(peer.map(|Extension(info)| info).as_ref())
}

fn session(made: LoggedIn) -> Session {
    Session {
        token: made.token,
        user: made.user,
        role: made.role.to_string(),
        permissions: made.permissions.iter().map(ToString::to_string).collect(),
        expires_at: made.expires_at,
    }
}

fn scope(text: Option<&str>) -> Result<Option<Scope>, ApiError> {
    let parse = |text: &str| text.parse().map_err(|error: control::BadScope| ApiError::bad_request(error.to_string()));
    text.map(parse).transpose()
}

fn role(text: &str) -> Result<control::Role, ApiError> {
    text.parse().map_err(|error: control::UnknownRole| ApiError::bad_request(error.to_string()))
}

/// Log in with a password
///
/// A one-time password is replaced at its first use: without `new_password` the answer is 403
/// `password_change_required`.
#[utoipa::path(post, path = "/login", tag = "access", security(()), request_body = LoginRequest,
    responses((status = 200, body = Session),
        (status = 401, body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "A new password is needed", body = Problem, content_type = "application/problem+json"),
        (status = 429, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn login(State(api): State<Api>, peer: Peer, body: Body) -> Result<Json<Session>, ApiError> {
    let sent: LoginRequest = body.json()?;
    let made = api.control.login(&address(peer), &sent.user, &sent.password, sent.new_password.as_deref()).await?;
    Ok(Json(session(made)))
}

/// End the token that is shown
#[utoipa::path(post, path = "/logout", tag = "access", security(("bearer" = [])), responses((status = 204)))]
pub(super) async fn logout(State(api): State<Api>, Who(who): Who) -> Result<StatusCode, ApiError> {
    api.control.logout(&who).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Replace one's password
#[utoipa::path(post, path = "/password", tag = "access", security(("bearer" = [])), request_body = PasswordChange,
    responses((status = 200, body = Session),
        (status = 401, description = "The old password is wrong", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn password(State(api): State<Api>, peer: Peer, Who(who): Who, body: Body) -> Result<Json<Session>, ApiError> {
    let sent: PasswordChange = body.json()?;
    // A token acts as `user/token`; the password is the user's.
    let user = who.name.split('/').next().unwrap_or_default();
    let made = api.control.login(&address(peer), user, &sent.old_password, Some(&sent.new_password)).await?;
    Ok(Json(session(made)))
}

/// List tokens: one's own, or all for somebody who manages access
#[utoipa::path(get, path = "/tokens", tag = "access", security(("bearer" = [])), responses((status = 200, body = TokenList)))]
pub(super) async fn tokens(State(api): State<Api>, Who(who): Who) -> Result<Json<TokenList>, ApiError> {
    let tokens = api.control.tokens(&who).await?.into_iter().map(|token| TokenInfo {
        id: token.id,
        user: token.user,
        name: token.name,
        role: token.role.to_string(),
        may_force: token.may_force,
        scope: token.scope.to_string(),
        created_at: token.created_at,
        expires_at: token.expires_at,
        last_used_at: token.last_used_at,
    });
    Ok(Json(TokenList { tokens: tokens.collect() }))
}

/// Make a token that can do at most what its maker can
#[utoipa::path(post, path = "/tokens", tag = "access", security(("bearer" = [])), request_body = TokenRequest,
    responses((status = 200, body = NewToken), (status = 403, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn create_token(State(api): State<Api>, Who(who): Who, body: Body) -> Result<Json<NewToken>, ApiError> {
    let sent: TokenRequest = body.json()?;
    let new = control::NewToken {
        role: role(&sent.role)?,
        scope: scope(sent.scope.as_deref())?,
        name: sent.name,
        may_force: sent.may_force,
        valid_for: sent.expires_in_seconds.map(Millis::secs),
    };
    let made = api.control.create_token(&who, new).await?;
    Ok(Json(NewToken { id: made.id, token: made.token, expires_at: made.expires_at }))
}

/// End a token at once
#[utoipa::path(delete, path = "/tokens/{token_id}", tag = "access", security(("bearer" = [])),
    params(("token_id" = i64, Path)),
    responses((status = 204), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn revoke_token(State(api): State<Api>, Who(who): Who, path: PathIds) -> Result<StatusCode, ApiError> {
    let id = path.text("token_id")?;
    let id = id.parse().map_err(|_| ApiError::bad_request(format!("token_id is not a number: {id:?}")))?;
    api.control.revoke_token(&who, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List users
#[utoipa::path(get, path = "/users", tag = "access", security(("bearer" = ["MANAGE_ACCESS"])),
    responses((status = 200, body = UserList)))]
pub(super) async fn users(State(api): State<Api>, Who(who): Who) -> Result<Json<UserList>, ApiError> {
    let users = api.control.users(&who).await?.into_iter().map(|user| UserInfo {
        name: user.name,
        role: user.role.to_string(),
        may_force: user.may_force,
        scope: user.scope.to_string(),
        must_change_password: user.must_change_password,
        created_at: user.created_at,
    });
    Ok(Json(UserList { users: users.collect() }))
}

/// Make a user; the answer holds a one-time password
#[utoipa::path(post, path = "/users", tag = "access", security(("bearer" = ["MANAGE_ACCESS"])), request_body = UserRequest,
    responses((status = 200, body = NewUser), (status = 409, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn create_user(State(api): State<Api>, Who(who): Who, body: Body) -> Result<Json<NewUser>, ApiError> {
    let sent: UserRequest = body.json()?;
    let new = control::NewUser {
        role: role(&sent.role)?,
        scope: scope(sent.scope.as_deref())?.unwrap_or_default(),
        name: sent.name.clone(),
        may_force: sent.may_force,
    };
    let one_time_password = api.control.create_user(&who, new).await?;
    Ok(Json(NewUser { name: sent.name, one_time_password }))
}

/// Remove a user with all its tokens
#[utoipa::path(delete, path = "/users/{name}", tag = "access", security(("bearer" = ["MANAGE_ACCESS"])),
    params(("name" = String, Path)),
    responses((status = 204), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn delete_user(State(api): State<Api>, Who(who): Who, path: PathIds) -> Result<StatusCode, ApiError> {
    api.control.delete_user(&who, path.text("name")?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Make a token with which one device can enrol once
#[utoipa::path(post, path = "/enrolment-tokens", tag = "hosts", security(("bearer" = ["MANAGE_HOSTS"])),
    request_body = EnrolmentTokenRequest, responses((status = 200, body = NewEnrolmentToken)))]
pub(super) async fn enrolment_token(
    State(api): State<Api>,
    Who(who): Who,
    body: Body,
) -> Result<Json<NewEnrolmentToken>, ApiError> {
    let sent: EnrolmentTokenRequest = body.json()?;
    let valid_for = sent.expires_in_seconds.map(Millis::secs);
    let new = control::NewEnrolment { name: sent.name.clone(), labels: sent.labels, valid_for };
    let made = api.control.create_enrolment_token(&who, new).await?;
    Ok(Json(NewEnrolmentToken { token: made.token, name: sent.name, expires_at: made.expires_at }))
}

/// A device shows its enrolment token and its key
#[utoipa::path(post, path = "/enrol", tag = "hosts", security(()), request_body = EnrolRequest,
    responses((status = 200, body = EnrolAnswer),
        (status = 401, description = "Wrong, used or expired token", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn enrol(State(api): State<Api>, peer: Peer, body: Body) -> Result<Json<EnrolAnswer>, ApiError> {
    let sent: EnrolRequest = body.json()?;
    Ok(Json(api.control.enrol(&address(peer), sent).await?))
}
