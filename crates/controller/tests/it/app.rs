//! The whole controller, started and stopped.

#![expect(clippy::unwrap_used, reason = "helpers of tests stop the test, like the tests themselves")]

use std::io::Write as _;
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

/// The list takes out what it has put in, and not the whole fleet by a slip.
#[tokio::test]
async fn a_list_of_hosts_removes_only_its_own_and_not_many_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("fleet.toml");
    let write = |names: &[&str]| {
        let port = |name: &str| name.bytes().map(u32::from).sum::<u32>();
        let hosts: String = names.iter().map(|name| format!("[host.{name}]\naddress = \"127.0.0.1:{}\"\n", port(name))).collect();
        std::fs::write(&list, hosts).unwrap();
    };
    let start = async |may_shrink: bool| {
        let config = ServerConfig { fleet: Some(list.clone()), fleet_may_shrink: may_shrink, ..config(dir.path()) };
        let running = Running::start(config).await.unwrap();
        let look = |engine: &engine::Engine, now| engine.hosts(now).into_iter().map(|host| host.name).collect::<Vec<_>>();
        (running.control().query(look).await.unwrap().join(" "), running)
    };
    write(&["a", "b", "c"]);
    let (names, running) = start(false).await;
    assert_eq!(names, "a b c");
    let person = controller::control::Principal::local("ann");
    let own = controller::control::Adopt { name: "own".into(), address: "127.0.0.1:9".into(), labels: Default::default() };
    running.control().adopt(&person, &[own]).await.unwrap();
    running.stop().await.unwrap();

    write(&["a"]);
    let (names, running) = start(false).await;
    assert_eq!(names, "a b c own", "two of three at once are a slip");
    running.stop().await.unwrap();
    let (names, running) = start(true).await;
    assert_eq!(names, "a own", "what a person has adopted stays");
    running.stop().await.unwrap();

    write(&["b"]);
    let (names, running) = start(false).await;
    assert_eq!(names, "b own", "one may go");
    running.stop().await.unwrap();
}

/// A full disk is no error at the start, with a list of hosts either: they are adopted when there is room. A file system that is
/// really full needs root.
#[tokio::test]
async fn hosts_of_a_list_are_adopted_when_the_disk_has_room_again() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("fleet.toml");
    std::fs::write(&list, "[host.a]\naddress = \"127.0.0.1:9\"\n").unwrap();
    let state = dir.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let mut mount = std::process::Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=2M,mode=0700", "tmpfs"]).arg(&state);
    assert!(mount.status().unwrap().success());
    let _mounted = Unmount(state.clone());
    Running::start(config(dir.path())).await.unwrap().stop().await.unwrap();

    let stuff = state.join("stuff");
    let mut size = 0;
    while std::fs::OpenOptions::new().create(true).append(true).open(&stuff).and_then(|mut f| f.write_all(&[0; 4096])).is_ok() {
        size += 4096;
    }
    // Room for what SQLite needs to look at its file, and none for an entry.
    std::fs::OpenOptions::new().write(true).open(&stuff).unwrap().set_len(size - 40 * 1024).unwrap();
    let running = Running::start(ServerConfig { fleet: Some(list), ..config(dir.path()) }).await.unwrap();
    assert!(!running.control().ready().ready, "the disk is full");
    std::fs::remove_file(&stuff).unwrap();
    let adopted = async {
        let look = |engine: &engine::Engine, now| engine.hosts(now).len();
        while running.control().query(look).await.unwrap_or_default() == 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), adopted).await.unwrap();
    running.stop().await.unwrap();
}

struct Unmount(std::path::PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
