//! A real `haproxy` in front of small real web servers, all on loopback.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Deadlines of tests, not of the product.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) async fn patient<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// Answers every request with its name; a request for `/held` only once it is released.
pub(crate) struct Backend {
    pub(crate) port: u16,
    served: Arc<AtomicUsize>,
    release: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Backend {
    pub(crate) async fn start(name: &'static str) -> Self {
        Self::at(name, TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub(crate) fn at(name: &'static str, listener: TcpListener) -> Self {
        let port = listener.local_addr().unwrap().port();
        let served = Arc::new(AtomicUsize::new(0));
        let (release, released) = watch::channel(false);
        let count = Arc::clone(&served);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, name, Arc::clone(&count), released.clone()));
            }
        });
        Self { port, served, release, task }
    }

    pub(crate) fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }

    pub(crate) fn release(&self) {
        self.release.send_replace(true);
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, name: &str, served: Arc<AtomicUsize>, mut released: watch::Receiver<bool>) {
    let Some(request) = head(&mut stream).await else { return };
    served.fetch_add(1, Ordering::SeqCst);
    if request.contains("/held") {
        drop(released.wait_for(|released| *released).await);
    }
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{name}", name.len());
    drop(stream.write_all(answer.as_bytes()).await);
}

/// The head of a request or an answer; `None` when the other side went without one.
pub(crate) async fn head(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => bytes.push(byte),
            Err(_) => return None,
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A real `haproxy`, with its runtime API at a socket for administrators, one for operators, and on TCP.
pub(crate) struct Proxy {
    child: Child,
    dir: tempfile::TempDir,
    pub(crate) tcp: String,
}

impl Proxy {
    /// With one backend `web`; each of `servers` is a line of it: `web1 127.0.0.1:80 check`.
    pub(crate) async fn start(servers: &[String]) -> Self {
        assert!(Path::new("/usr/sbin/haproxy").exists(), "these tests need the package haproxy; `cargo xtask test` installs it");
        for _ in 0..10 {
            // Another process may take the port before haproxy does; then it ends, and another one is tried.
            let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let dir = tempfile::tempdir().unwrap();
            let place = dir.path().display();
            let servers: String = servers.iter().map(|line| format!("  server {line}\n")).collect();
            let config = format!(
                "global\n  stats socket {place}/admin.sock level admin\n  stats socket {place}/operator.sock level operator\n  \
                 stats socket ipv4@127.0.0.1:{port} level admin\n\
                 defaults\n  mode http\n  retries 0\n  timeout connect 60s\n  timeout client 600s\n  timeout server 600s\n\
                 frontend front\n  bind unix@{place}/front.sock\n  default_backend web\n\
                 backend web\n  balance roundrobin\n  default-server inter 50ms rise 1 fall 1\n{servers}"
            );
            std::fs::write(dir.path().join("cfg"), config).unwrap();
            let mut start = Command::new("/usr/sbin/haproxy");
            start.args(["-db", "-q", "-f"]).arg(dir.path().join("cfg"));
            let child = start.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let mut proxy = Self { child, dir, tcp: format!("127.0.0.1:{port}") };
            while proxy.child.try_wait().unwrap().is_none() {
                if UnixStream::connect(proxy.socket("admin.sock")).await.is_ok() {
                    return proxy;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        panic!("haproxy does not start");
    }

    pub(crate) fn socket(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn admin(&self) -> String {
        self.socket("admin.sock").display().to_string()
    }

    /// What a person at the socket would type.
    pub(crate) async fn say(&self, line: &str) -> String {
        let mut stream = UnixStream::connect(self.socket("admin.sock")).await.unwrap();
        stream.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        said
    }

    /// Asks the frontend; gives the status and who answered.
    pub(crate) async fn get(&self, path: &str) -> (String, String) {
        let mut stream = UnixStream::connect(self.socket("front.sock")).await.unwrap();
        ask(&mut stream, path).await
    }

    /// Waits until `show servers state` says this of a server: operational and administrative state.
    pub(crate) async fn wait_for(&self, server: &str, operational: &str, administrative: &str) {
        patient(&format!("{server} to be {operational}/{administrative}"), async {
            loop {
                let said = self.say("show servers state").await;
                let line = said.lines().find(|line| line.split(' ').nth(3) == Some(server)).unwrap_or_default().to_owned();
                let words: Vec<&str> = line.split(' ').collect();
                if words.get(5) == Some(&operational) && words.get(6) == Some(&administrative) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }
}

pub(crate) async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), path: &str) -> (String, String) {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut said = String::new();
    drop(stream.read_to_string(&mut said).await);
    let status = said.split(' ').nth(1).unwrap_or_default().to_owned();
    let body = said.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    (status, body)
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
