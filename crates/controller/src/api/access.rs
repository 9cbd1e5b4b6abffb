//! The gate: nothing passes without the right that its operation names (G10).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use serde_json::{Value, json};

use super::problem::ApiError;
use crate::control::{Control, ControlError, Permission};

/// The only right that may be shown by Basic.
const SLOT: &str = Permission::TakeSlot.as_str();

/// What an operation asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing: anybody.
    Public,
    /// A valid token, whatever its role.
    Token,
    /// A token with this permission.
    Permission(Permission),
}

impl Need {
    /// From the `security` of an operation; `None` when it has none, or one that is not understood.
    ///
    /// `[{}]` is public, `[{"bearer": []}]` any token, `[{"bearer": ["REBOOT_HOST"]}]` a permission, and so is
    /// `[{"basic": ["TAKE_SLOT"]}]`.
    pub fn read(operation: &Value) -> Option<Self> {
        let [requirement] = operation.get("security")?.as_array()?.as_slice() else { return None };
        let requirement = requirement.as_object()?;
        if requirement.is_empty() {
            return Some(Self::Public);
        }
        // Clients of FleetLock know Basic only; a token is what they show all the same.
        let scheme = requirement.get("bearer").or_else(|| requirement.get("basic").filter(|needs| **needs == json!([SLOT])))?;
        match scheme.as_array()?.as_slice() {
            [] => Some(Self::Token),
            [word] => Permission::ALL.into_iter().find(|p| Some(p.as_str()) == word.as_str()).map(Self::Permission),
            _ => None,
        }
    }
}

/// What every operation asks for, by method and path template.
pub(super) struct Table(HashMap<(String, String), Need>);

impl Table {
    /// From the OpenAPI document. An operation without a readable need is left out, and so is refused to everybody.
    pub(super) fn read(document: &Value) -> Self {
        let mut table = HashMap::new();
        for (path, item) in document.get("paths").and_then(Value::as_object).into_iter().flatten() {
            for (method, operation) in item.as_object().into_iter().flatten() {
                if let Some(need) = Need::read(operation) {
                    table.insert((method.to_ascii_uppercase(), path.clone()), need);
                }
            }
        }
        Self(table)
    }

    fn need(&self, method: &Method, path: &str) -> Option<Need> {
        // HEAD is answered by the handler of GET.
        let method = if method == Method::HEAD { "GET" } else { method.as_str() };
        self.0.get(&(method.to_owned(), path.to_owned())).copied()
    }
}

#[derive(Clone)]
pub(super) struct Gate {
    pub(super) control: Control,
    pub(super) table: Arc<Table>,
}

/// Lets a request pass, with the [`Principal`](crate::control::Principal) that it comes from, or refuses it; refusals are
/// audited.
pub(super) async fn gate(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned()).unwrap_or_default();
    let action = format!("{} {path}", request.method());
    let permission = match gate.table.need(request.method(), &path) {
        Some(Need::Public) => return next.run(request).await,
        Some(Need::Token) => None,
        Some(Need::Permission(permission)) => Some(permission),
        // A method that the path does not have: the answer is 405, which tells nothing. Anything else is refused there too.
        None => return super::system::no_such_method(request.method().clone(), request.uri().clone()).await.into_response(),
    };
    let slot = permission == Some(Permission::TakeSlot);
    let answer = |error: ControlError| {
        let error = ApiError::from(error);
        if slot { error.for_fleet_lock() } else { error }.into_response()
    };
    let peer = peer(request.extensions().get::<ConnectInfo<SocketAddr>>());
    let shown = bearer(request.headers()).map(str::to_owned).or_else(|| basic(request.headers()).filter(|_| slot));
    let Some(token) = shown else {
        gate.control.refused(&peer, &action, None, "no token");
        let text = if slot {
            "this needs a token as the password of HTTP Basic"
        } else {
            "this needs a token: send `Authorization: Bearer TOKEN`"
        };
        return answer(ControlError::Unauthenticated(text.to_owned()));
    };
    let principal = match gate.control.verify(&token).await {
        Ok(principal) => principal,
        Err(error) => {
            if matches!(error, ControlError::Unauthenticated(_)) {
                gate.control.refused(&peer, &action, None, &error.to_string());
            }
            return answer(error);
        }
    };
    if let Some(permission) = permission
        && let Err(error) = gate.control.authorize(&principal, permission, None).await
    {
        return answer(error);
    }
    request.extensions_mut().insert(principal);
    next.run(request).await
}

/// The address of whoever asks, for the audit log.
pub(super) fn peer(info: Option<&ConnectInfo<SocketAddr>>) -> String {
    info.map_or_else(|| "unknown".to_owned(), |ConnectInfo(address)| address.ip().to_string())
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty()).then(|| token.trim())
}

/// The password of HTTP Basic; the user name is for people.
fn basic(headers: &HeaderMap) -> Option<String> {
    let (scheme, word) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let pair =
        base64::engine::general_purpose::STANDARD.decode(word.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let (_, password) = std::str::from_utf8(&pair).ok()?.split_once(':')?;
    (!password.is_empty()).then(|| password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_need_that_is_missing_or_not_understood_is_none() {
        assert_eq!(Need::read(&json!({"security": [{}]})), Some(Need::Public));
        assert_eq!(Need::read(&json!({"security": [{"bearer": []}]})), Some(Need::Token));
        let force = Need::read(&json!({"security": [{"bearer": ["FORCE"]}]}));
        assert_eq!(force, Some(Need::Permission(Permission::Force)));
        let slot = Need::read(&json!({"security": [{"basic": ["TAKE_SLOT"]}]}));
        assert_eq!(slot, Some(Need::Permission(Permission::TakeSlot)));
        for bad in [
            json!({}),
            json!({"security": []}),
            json!({"security": [{"bearer": ["NO_SUCH"]}]}),
            json!({"security": [{"bearer": []}, {}]}),
            json!({"security": [{"basic": []}]}),
            json!({"security": [{"basic": ["REBOOT_HOST"]}]}),
        ] {
            assert_eq!(Need::read(&bad), None, "{bad}");
        }
    }

    #[test]
    fn only_a_bearer_token_is_a_token() {
        let read = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(read("Bearer abc"), Some("abc".to_owned()));
        assert_eq!(read("bearer  abc "), Some("abc".to_owned()));
        for bad in ["Basic abc", "Bearer", "Bearer ", "abc"] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
        let read = |value: &'static str| basic(&HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]));
        assert_eq!(read("Basic bm9kZTpydmx0X2FiYw=="), Some("rvlt_abc".to_owned()));
        for bad in ["Basic bm9kZQ==", "Basic bm9kZTo=", "Basic %%", "Bearer bm9kZTpydmx0X2FiYw=="] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }
}
