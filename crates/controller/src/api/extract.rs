//! What handlers take from a request, with problem documents for what cannot be taken.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::problem::ApiError;
use super::{BODY_LIMIT, Naming};
use crate::control::Principal;

/// Whoever asks; put there by the gate.
pub(super) struct Who(pub(super) Principal);

impl<S: Send + Sync> FromRequestParts<S> for Who {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let missing =
            || ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "this route let somebody in without asking for a token");
        parts.extensions.get::<Principal>().cloned().map(Self).ok_or_else(missing)
    }
}

/// The parameters in the path, read when the handler asks for them: rights come first (ruling 3).
pub(super) struct PathIds(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for PathIds {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let params = RawPathParams::from_request_parts(parts, state).await.map_err(|e| ApiError::bad_request(e.to_string()))?;
        Ok(Self(params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
    }
}

impl PathIds {
    /// One as text.
    pub(super) fn text(&self, name: &str) -> Result<&str, ApiError> {
        let found = self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
        found.ok_or_else(|| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, format!("this route has no {name}")))
    }

    /// One as UUID.
    pub(super) fn uuid(&self, name: &str) -> Result<Uuid, ApiError> {
        let text = self.text(name)?;
        Uuid::parse_str(text).map_err(|_| ApiError::bad_request(format!("{name} is not a UUID: {text:?}")))
    }
}

/// The query, as `T`; unknown members are an error if `T` says so.
pub(super) struct Params<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let read = Query::try_from_uri(&parts.uri).map_err(|error| ApiError::bad_request(error.body_text()))?;
        let Query(value) = read;
        Ok(Self(value))
    }
}

/// A whole body, at most [`super::BODY_LIMIT`] bytes (or [`super::NAMING_LIMIT`]), read as JSON when the handler asks for it.
pub(super) struct Body {
    bytes: Bytes,
    is_json: bool,
}

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = ApiError;
    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let kind = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let is_json = kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json");
        let naming = request.extensions().get::<Naming>().copied();
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| {
            let text = match (rejection.status(), naming) {
                (StatusCode::PAYLOAD_TOO_LARGE, Some(Naming(limit))) => format!(
                    "a body may have at most {} KiB: name hosts by a label or a pattern (role=web, web*, '*') instead of one by one",
                    limit / 1024
                ),
                (StatusCode::PAYLOAD_TOO_LARGE, None) => format!("a body may have at most {} KiB", BODY_LIMIT / 1024),
                _ => rejection.body_text(),
            };
            ApiError::new(rejection.status(), text)
        })?;
        Ok(Self { bytes, is_json })
    }
}

impl Body {
    /// The body as a document.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        if !self.is_json {
            let text = "send a JSON document with `Content-Type: application/json`";
            return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
        }
        self.json_of_any_kind()
    }

    /// The same, whatever kind of body the sender says it is.
    pub(super) fn json_of_any_kind<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        // A list would be read as the members of a document in their order.
        if self.bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err(ApiError::bad_request("the body cannot be read: it is no JSON object"));
        }
        serde_json::from_slice(&self.bytes).map_err(|error| ApiError::bad_request(format!("the body cannot be read: {error}")))
    }

    /// The same, or the default when there is no body.
    pub(super) fn json_or_default<T: DeserializeOwned + Default>(&self) -> Result<T, ApiError> {
        if self.bytes.trim_ascii().is_empty() { Ok(T::default()) } else { self.json() }
    }
}
