//! The API for the process that it runs in: the same routes and documents, without a connection and without a token.

use axum::Router;
use axum::body::Body;
use axum::extract::DefaultBodyLimit;
use axum::http::{Request, StatusCode, header};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tower::ServiceExt as _;

use super::{Api, all, system};
use crate::control::{Control, Principal};

/// Asks the API in the name of one who is trusted already: the person who runs the engine in this process.
#[derive(Clone, Debug)]
pub struct Inside {
    router: Router,
}

/// A question.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// `GET`, `POST` or `DELETE`.
    pub method: &'a str,
    /// Path and query.
    pub path: &'a str,
    /// A JSON document.
    pub body: Option<Vec<u8>>,
    /// Continue an event stream after this event.
    pub last_event_id: Option<&'a str>,
}

/// An answer, as it would go over a connection.
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body in pieces; an event stream ends with what it tells of.
    pub body: BoxStream<'static, Result<Vec<u8>, String>>,
}

impl Inside {
    /// For `who`, whose rights the handlers judge as ever.
    pub fn new(control: Control, who: Principal) -> Self {
        // Whoever asks here fills only the memory of their own process.
        let (router, document) = all(usize::MAX);
        let document = serde_json::to_string(&document).unwrap_or_default();
        let router = router
            .fallback(system::no_such_route)
            .method_not_allowed_fallback(system::no_such_method)
            .with_state(Api { control, document: document.into() })
            .layer(axum::Extension(who))
            .layer(DefaultBodyLimit::disable());
        Self { router }
    }

    /// Answers over a socket of this machine, to whoever may open it, until it is stopped. Whoever asks is `who` of [`Inside::new`].
    pub async fn serve(self, listener: tokio::net::UnixListener, stop: impl Future<Output = ()> + Send + 'static) {
        if let Err(error) = axum::serve(listener, self.router).with_graceful_shutdown(stop).await {
            tracing::warn!("nobody else can ask the engine of this process any more: {error}");
        }
    }

    /// Asks.
    ///
    /// # Errors
    /// The question is no request, in words.
    pub async fn ask(&self, question: Question<'_>) -> Result<Answer, String> {
        let mut request = Request::builder().method(question.method).uri(question.path);
        if question.body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(event) = question.last_event_id {
            request = request.header("last-event-id", event);
        }
        let request = request.body(question.body.map_or_else(Body::empty, Body::from)).map_err(|error| error.to_string())?;
        let response = match self.router.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let status: StatusCode = response.status();
        let body = response.into_body().into_data_stream();
        let body = body.map(|piece| piece.map(|bytes| bytes.to_vec()).map_err(|error| error.to_string())).boxed();
        Ok(Answer { status: status.as_u16(), body })
    }
}
