//! Checks from where the engine runs, by TCP and HTTP.

use std::sync::Arc;
use std::time::Duration;

use model::{Action, Check, CheckKind, CheckResult, Millis, Observed};
use reach::own::{OwnSite, Settings};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::own::{LONG, boot, end, site};
use crate::proxy::head;

fn check(kind: CheckKind) -> Check {
    Check { name: "web".to_owned(), kind, limit: LONG }
}

fn http(url: &str, status: u16, contains: Option<&str>) -> Check {
    check(CheckKind::Http { url: url.to_owned(), status, contains: contains.map(str::to_owned) })
}

async fn one(check: Check) -> CheckResult {
    match end(&site(), Action::Check { checks: vec![check] }).await.observed {
        Some(Observed::Checks(mut results)) => results.pop().unwrap(),
        other => panic!("{other:?}"),
    }
}

/// A small web server; its paths are what the tests need.
async fn web() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(answer(stream));
        }
    });
    base
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let Some(request) = head(&mut stream).await else { return };
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    let said = match path.as_str() {
        "/good" => "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nall up\n".to_owned(),
        "/busy" => "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "/elsewhere" => "HTTP/1.1 302 Found\r\nlocation: /good\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "/cut" => "HTTP/1.1 200 OK\r\ncontent-length: 700\r\n\r\nhalf".to_owned(),
        "/late" => format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}needle", "x".repeat(64 * 1024 - 3)),
        "/early" => {
            format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}needle{}", "x".repeat(64 * 1024 - 6), "x".repeat(9999))
        }
        _ => String::new(),
    };
    drop(stream.write_all(said.as_bytes()).await);
    match path.as_str() {
        "/silent" => tokio::time::sleep(Duration::from_secs(600)).await,
        "/endless" => {
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await);
            while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
        }
        _ => drop(stream.shutdown().await),
    }
}

#[tokio::test]
async fn an_http_check_holds_when_status_and_body_are_as_they_should_be() {
    let base = web().await;
    let at = |path: &str| format!("{base}{path}");
    for good in [
        http(&at("/good"), 200, None),
        http(&at("/good"), 200, Some("all up")),
        http(&at("/busy"), 503, None),
        // Redirects are answers, not ways to go.
        http(&at("/elsewhere"), 302, None),
        // No more than is needed is read of a body that never ends.
        http(&at("/endless"), 200, None),
        http(&at("/early"), 200, Some("needle")),
    ] {
        let result = one(good.clone()).await;
        assert!(result.passed && result.name == "web", "{good:?}: {}", result.detail);
    }
    for (bad, says) in [
        (http(&at("/busy"), 200, None), "503 and not 200"),
        (http(&at("/elsewhere"), 200, None), "302"),
        (http(&at("/good"), 200, Some("all down")), "does not contain \"all down\""),
        (http(&at("/late"), 200, Some("needle")), "the first 65536 bytes"),
        (http(&at("/endless"), 200, Some("needle")), "the first 65536 bytes"),
        (http(&at("/cut"), 200, Some("half")), "/cut"),
        (http(&at("/nothing"), 200, None), "/nothing"),
        (http("http://127.0.0.1:1/", 200, None), "refused"),
        (http("ftp://127.0.0.1/", 200, None), "ftp"),
    ] {
        let result = one(bad.clone()).await;
        assert!(!result.passed && result.detail.contains(says), "{bad:?}: {}", result.detail);
    }
}

#[tokio::test]
async fn a_check_that_takes_too_long_fails_and_results_come_in_order() {
    let base = web().await;
    let silent = Check { limit: Millis(300), ..http(&format!("{base}/silent"), 200, None) };
    let unit = check(CheckKind::Unit { unit: "web.service".to_owned() });
    let checks = vec![silent, http(&format!("{base}/good"), 200, None), unit];
    let results = site().check(&checks).await;
    assert_eq!(results.iter().map(|result| result.passed).collect::<Vec<_>>(), [false, true, false]);
    assert!(results[0].detail.contains("no answer within 0.3 s"), "{}", results[0].detail);
    assert!(results[2].detail.contains("on the host"), "{}", results[2].detail);
    assert!(site().check(&[]).await.is_empty());
}

#[tokio::test]
async fn a_tcp_check_holds_when_a_connection_opens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let tcp = |address: &str| check(CheckKind::Tcp { address: address.to_owned() });
    assert!(one(tcp(&address)).await.passed);
    drop(listener);
    for (bad, says) in [(address.as_str(), "refused"), ("no port", "no port"), ("nowhere.invalid:80", "nowhere.invalid")] {
        let result = one(tcp(bad)).await;
        assert!(!result.passed && result.detail.contains(says), "{bad}: {}", result.detail);
    }
}

#[tokio::test]
async fn https_is_trusted_with_a_configured_root_and_not_without() {
    drop(rustls::crypto::ring::default_provider().install_default());
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config =
        rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}/good", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(stream) = acceptor.accept(stream).await {
                answer(stream).await;
            }
        }
    });
    let settings = |roots_pem: &str| Settings { boot: boot(), roots_pem: roots_pem.as_bytes().to_vec() };
    let checks = [http(&url, 200, Some("all up"))];
    let trusting = OwnSite::new(settings(&made.cert.pem()));
    let result = trusting.check(&checks).await.pop().unwrap();
    assert!(result.passed, "{}", result.detail);
    let result = site().check(&checks).await.pop().unwrap();
    assert!(!result.passed && result.detail.contains("certificate"), "{}", result.detail);
    let broken = OwnSite::new(settings("-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n"));
    let result = broken.check(&checks).await.pop().unwrap();
    assert!(!result.passed && result.detail.contains("root certificates"), "{}", result.detail);
}
