//! A small ssh server inside the test, for what a real one only does with accounts of the machine: another user than the one who
//! runs the test, who needs `sudo`. What it is told to run, it runs.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use reach::ssh::Destination;
use russh::keys::PrivateKey;
use russh::server::{Auth, ChannelOpenHandle, Config, Handler, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId};
use tokio::io::AsyncWriteExt as _;
use tokio::process::ChildStdin;

use crate::bench::{Person, keygen};

pub(crate) struct Small {
    port: u16,
    task: tokio::task::JoinHandle<()>,
}

impl Small {
    /// Lets `alice` in, with any key; tools are looked for in `farm/bin` first.
    pub(crate) async fn start(person: &Person, farm: &Path) -> Self {
        let key = farm.join("small_key");
        keygen(&key, "");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
        let known = std::fs::read_to_string(person.ssh("known_hosts")).unwrap_or_default();
        std::fs::write(person.ssh("known_hosts"), format!("{known}[127.0.0.1]:{port} {public}")).unwrap();
        let keys = vec![PrivateKey::from_openssh(std::fs::read(&key).unwrap()).unwrap()];
        let auth_rejection_time = std::time::Duration::from_millis(1);
        let config = Arc::new(Config { keys, auth_rejection_time, ..Config::default() });
        let farm = farm.to_owned();
        let task = tokio::spawn(async move {
            while let Ok((wire, _)) = listener.accept().await {
                let end = End { farm: farm.clone(), stdin: None };
                let session = russh::server::run_stream(config.clone(), wire, end);
                tokio::spawn(async move { drop(session.await.unwrap().await) });
            }
        });
        Self { port, task }
    }

    pub(crate) fn destination(&self) -> Destination {
        format!("alice@127.0.0.1:{}", self.port).parse().unwrap()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct End {
    farm: PathBuf,
    stdin: Option<ChildStdin>,
}

fn judge(good: bool) -> Result<Auth, russh::Error> {
    Ok(if good { Auth::Accept } else { Auth::reject() })
}

impl Handler for End {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, user: &str, _: VerifiedPublicKey<'_>) -> Result<Auth, russh::Error> {
        judge(user == "alice")
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(&mut self, channel: ChannelId, line: &[u8], session: &mut Session) -> Result<(), russh::Error> {
        let mut sh = tokio::process::Command::new("sh");
        sh.arg("-c")
            .arg(String::from_utf8_lossy(line).as_ref())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        sh.env("PATH", format!("{}:/usr/bin:/bin", self.farm.join("bin").display())).env("FARM", &self.farm);
        let mut child = sh.spawn()?;
        self.stdin = child.stdin.take();
        let handle = session.handle();
        tokio::spawn(async move {
            let output = child.wait_with_output().await.unwrap();
            drop(handle.data(channel, output.stdout).await);
            drop(handle.extended_data(channel, 1, output.stderr).await);
            let code = output.status.code().unwrap_or(255).cast_unsigned();
            handle.exit_status_request(channel, code).await.ok();
            handle.close(channel).await.ok();
        });
        Ok(())
    }

    async fn data(&mut self, _: ChannelId, data: &[u8], _: &mut Session) -> Result<(), russh::Error> {
        if let Some(stdin) = &mut self.stdin {
            // It may have ended without reading.
            drop(stdin.write_all(data).await);
        }
        Ok(())
    }

    async fn channel_eof(&mut self, _: ChannelId, _: &mut Session) -> Result<(), russh::Error> {
        self.stdin = None;
        Ok(())
    }
}
