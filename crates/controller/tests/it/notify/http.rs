//! CloudEvents over HTTP, to a small server of our own.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use controller::notify::{HttpSettings, HttpSink, Sink as _, cloud_event};
use controller::transport::install_crypto_provider;
use protocol::cloud::CloudEvent;

use super::{event, events, expected};

/// What was sent, and what is answered next; 200 when nothing is left to say.
#[derive(Clone, Default)]
struct Ears(Arc<Mutex<Said>>);

type Said = (Vec<(HeaderMap, CloudEvent)>, Vec<u16>);

impl Ears {
    async fn listen(answers: &[u16]) -> (Self, String) {
        install_crypto_provider();
        let ears = Self::default();
        ears.0.lock().unwrap().1 = answers.iter().rev().copied().collect();
        let own = ears.clone();
        let take = async move |headers: HeaderMap, body: Bytes| {
            let mut state = own.0.lock().unwrap();
            state.0.push((headers, serde_json::from_slice(&body).unwrap()));
            StatusCode::from_u16(state.1.pop().unwrap_or(200)).unwrap()
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/events", listener.local_addr().unwrap());
        let router = Router::new().route("/events", post(take));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (ears, url)
    }

    fn ids(&self) -> Vec<String> {
        self.0.lock().unwrap().0.iter().map(|(_, event)| event.id.clone()).collect()
    }
}

fn sink(url: &str) -> HttpSink {
    HttpSink::new(HttpSettings { url: url.to_owned(), token_file: None, ca_file: None }).unwrap()
}

#[tokio::test]
async fn s3_73_an_event_is_sent_as_a_cloudevent_with_the_token_of_the_file() {
    let (ears, url) = Ears::listen(&[]).await;
    let dir = tempfile::tempdir().unwrap();
    let token_file = dir.path().join("token");
    std::fs::write(&token_file, "secret-1\n").unwrap();
    let mut sink = HttpSink::new(HttpSettings { url, token_file: Some(token_file.clone()), ca_file: None }).unwrap();
    assert_eq!(sink.take(&[event(1)], true).await.count, 1);
    std::fs::write(&token_file, "secret-2\n").unwrap();
    assert_eq!(sink.take(&[event(2)], false).await.count, 1);
    let heard = ears.0.lock().unwrap().0.clone();
    let (headers, first) = &heard[0];
    assert_eq!(headers["content-type"], "application/cloudevents+json");
    assert_eq!(
        (&headers["authorization"], &heard[1].0["authorization"]),
        (&"Bearer secret-1".parse().unwrap(), &"Bearer secret-2".parse().unwrap())
    );
    assert_eq!(*first, cloud_event(&event(1).event));
    let json = serde_json::to_value(first).unwrap();
    assert_eq!(json["specversion"], "1.0");
    assert_eq!(json["type"], "orchestrator.service.restart");
    assert_eq!(json["source"], "/reveille/orchestrations/00000000-0000-0000-0000-000000000001");
    assert_eq!((&json["subject"], &json["time"]), (&"sso.api".into(), &"2026-01-19T12:00:00.000Z".into()));
    assert_eq!(json["datacontenttype"], "application/json");
    assert_eq!((&json["data"]["serviceId"], &json["data"]["status"]), (&"sso.api".into(), &"SERVICE_RESTART_START".into()));
    assert_eq!((&json["data"]["timestamp"], &json["data"]["metadata"]["unit"]), (&json["time"], &"sso.api.service".into()));
    assert_eq!(json["id"], json["data"]["metadata"]["eventId"]);
}

#[tokio::test]
async fn s3_73_what_is_not_taken_is_sent_again_and_nothing_overtakes_it() {
    let (ears, url) = Ears::listen(&[200, 503, 401]).await;
    let mut sink = sink(&url);
    let all = events(1..4);
    let taken = sink.take(&all, false).await;
    assert!(taken.count == 1 && taken.trouble.as_deref().is_some_and(|why| why.contains("503")), "{taken:?}");
    assert_eq!(sink.take(&all[1..], true).await.count, 0, "a wrong token is no reason to drop it");
    assert_eq!(sink.take(&all[1..], true).await.count, 2);
    let [first, second, third] = &expected(1..4)[..] else { panic!() };
    assert_eq!(ears.ids(), [first, second, second, second, third].map(String::as_str), "in order, the same ids again");
}

#[tokio::test]
async fn s3_73_an_event_that_nobody_wants_does_not_stand_in_the_way_for_ever() {
    let (ears, url) = Ears::listen(&[400; 5]).await;
    let mut sink = sink(&url);
    let all = events(1..3);
    for _ in 0..4 {
        assert_eq!(sink.take(&all, true).await.count, 0);
    }
    assert_eq!(sink.take(&all, true).await.count, 2);
    assert_eq!(ears.ids().last(), expected(2..3).last());
}

#[tokio::test]
async fn s3_73_nobody_there_and_addresses_that_are_none() {
    install_crypto_provider();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let taken = sink(&format!("http://{address}/secret-path")).take(&[event(1)], true).await;
    assert_eq!(taken.count, 0);
    let why = taken.trouble.unwrap();
    assert!(why.contains("127.0.0.1") && !why.contains("secret-path"), "{why}");
    for url in ["http://example.org", "ftp://example.org", "https://user@example.org", "here"] {
        assert!(HttpSettings { url: url.to_owned(), token_file: None, ca_file: None }.check().is_err(), "{url}");
    }
}
