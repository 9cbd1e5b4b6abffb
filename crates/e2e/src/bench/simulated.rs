//! A service that takes a known time to start, tells systemd when it is up, and is healthy from then on.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use anyhow::Context;

const BODY: &str = r#"{ "status": "healthy" }"#;

/// Until it is killed.
///
/// # Errors
///
/// When it cannot listen, or systemd cannot be told.
pub fn serve(port: u16, starts_in: Duration) -> anyhow::Result<()> {
    std::thread::sleep(starts_in);
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    let systemd = std::env::var_os("NOTIFY_SOCKET").context("systemd has not started it")?;
    UnixDatagram::unbound()?.send_to(b"READY=1", systemd)?;
    for stream in listener.incoming() {
        let mut stream = stream?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        // Whoever asks and leaves is no reason to end.
        let _ = (|| {
            let mut lines = BufReader::new(stream.try_clone()?).lines();
            while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
            write!(stream, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{BODY}", BODY.len())
        })();
    }
    Ok(())
}
