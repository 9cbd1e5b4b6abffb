//! The whole controller, started and stopped.

#![expect(clippy::unwrap_used, reason = "helpers of tests stop the test, like the tests themselves")]

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use controller::app::{AppError, Running, reset_administrator};
use controller::config::ServerConfig;
use controller::control::{ADMINISTRATOR, ControlError};
use controller::store::OpenError;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const PASSWORD: &str = "a long new password";

fn config(dir: &Path) -> ServerConfig {
    let mut config = ServerConfig { state_dir: dir.join("state"), ..ServerConfig::default() };
    config.api.listen = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
    config.mqtt.listen = config.api.listen.clone();
    config.tls.names = vec!["localhost".to_owned()];
    config
}

/// The status line of an answer over HTTPS under the controller's CA.
async fn get(running: &Running, path: &str) -> String {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(running.ca_certificate()).unwrap()).unwrap();
    let client = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let exchange = async {
        let stream = tokio::net::TcpStream::connect(running.api_addresses()[0]).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
        let mut stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
    };
    tokio::time::timeout(Duration::from_secs(30), exchange).await.unwrap()
}

#[tokio::test]
async fn it_starts_serves_refuses_a_second_one_and_starts_again() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(config(dir.path())).await.unwrap();
    assert_eq!(get(&running, "/readyz").await, "HTTP/1.1 200 OK");
    let file = running.one_time_password_file().unwrap().to_owned();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let password = std::fs::read_to_string(&file).unwrap();

    let second = Running::start(config(dir.path())).await;
    assert!(matches!(second, Err(AppError::Database(OpenError::InUse { .. }))));
    assert!(matches!(reset_administrator(&config(dir.path())).await, Err(AppError::Database(OpenError::InUse { .. }))));

    let control = running.control().clone();
    control.login("10.0.0.1", ADMINISTRATOR, password.trim(), Some(PASSWORD)).await.unwrap();
    assert!(!file.exists());
    drop(control);
    running.stop().await.unwrap();

    let running = Running::start(config(dir.path())).await.unwrap();
    assert_eq!(running.one_time_password_file(), None);
    running.control().login("10.0.0.1", ADMINISTRATOR, PASSWORD, None).await.unwrap();
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_lost_administrator_password_is_replaced_on_the_controllers_host() {
    let dir = tempfile::tempdir().unwrap();
    Running::start(config(dir.path())).await.unwrap().stop().await.unwrap();
    let first = std::fs::read_to_string(config(dir.path()).state_dir.join("admin-password")).unwrap();
    let file = reset_administrator(&config(dir.path())).await.unwrap();
    let second = std::fs::read_to_string(file).unwrap();
    assert_ne!(first, second);
    let running = Running::start(config(dir.path())).await.unwrap();
    let login = |password: String| {
        let control = running.control().clone();
        async move { control.login("10.0.0.1", ADMINISTRATOR, password.trim(), None).await }
    };
    assert!(matches!(login(first).await, Err(ControlError::Unauthenticated(_))));
    assert!(matches!(login(second).await, Err(ControlError::PasswordChangeRequired)));
    running.stop().await.unwrap();
}

/// A turn waits where the file says, and goes on when it is gone.
#[cfg(feature = "pause-points")]
#[tokio::test]
async fn a_pause_point_holds_a_turn_before_it_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let (pause, paused) = (config.state_dir.join("pause-before_append"), config.state_dir.join("paused-before_append"));
    std::fs::create_dir_all(&config.state_dir).unwrap();
    std::fs::write(&pause, "controller_started\n").unwrap();
    let starting = tokio::spawn(Running::start(config));
    let held = async {
        while !paused.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), held).await.unwrap();
    assert!(!starting.is_finished());
    std::fs::remove_file(&pause).unwrap();
    let running = tokio::time::timeout(Duration::from_secs(30), starting).await.unwrap().unwrap().unwrap();
    running.stop().await.unwrap();
}
