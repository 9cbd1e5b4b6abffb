//! MQTT 5 by hand over a TLS socket, for what no honest client does.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::stage::{LIMIT, Stage, secret};

pub(crate) const CONNACK: u8 = 0x20;
pub(crate) const PUBLISH: u8 = 0x30;
pub(crate) const PUBACK: u8 = 0x40;
pub(crate) const SUBACK: u8 = 0x90;
pub(crate) const DISCONNECT: u8 = 0xe0;

pub(crate) fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    let mut length = body.len();
    loop {
        let low = u8::try_from(length % 128).unwrap();
        length /= 128;
        bytes.push(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

fn field(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

#[derive(Default)]
pub(crate) struct Connect<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) user: Option<&'a str>,
    pub(crate) password: Option<Vec<u8>>,
    /// Topic and whether it is retained.
    pub(crate) will: Option<(&'a str, bool)>,
}

impl<'a> Connect<'a> {
    pub(crate) fn of(device: &'a str) -> Self {
        Self { client_id: device, user: Some(device), password: Some(secret(device)), will: None }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut flags = 0x02;
        let mut rest = field(self.client_id.as_bytes());
        if let Some((topic, retain)) = self.will {
            flags |= 0x04 | 0x08 | if retain { 0x20 } else { 0 };
            rest.push(0);
            rest.extend(field(topic.as_bytes()));
            rest.extend(field(b"will"));
        }
        if let Some(user) = self.user {
            flags |= 0x80;
            rest.extend(field(user.as_bytes()));
        }
        if let Some(password) = &self.password {
            flags |= 0x40;
            rest.extend(field(password));
        }
        packet(0x10, &[field(b"MQTT"), vec![5, flags, 0, 60, 0], rest].concat())
    }
}

/// A publish; QoS 1 if it has a packet id.
pub(crate) fn publish(topic: &str, payload: &str, id: Option<u16>, retain: bool) -> Vec<u8> {
    let id_bytes = id.map(u16::to_be_bytes);
    let id_bytes = id_bytes.as_ref().map_or(&[][..], |bytes| &bytes[..]);
    let body = [&field(topic.as_bytes())[..], id_bytes, &[0], payload.as_bytes()].concat();
    packet(PUBLISH | if id.is_some() { 2 } else { 0 } | u8::from(retain), &body)
}

pub(crate) struct Wire(TlsStream<TcpStream>);

impl Wire {
    /// A TLS connection on which nothing was said.
    pub(crate) async fn open(stage: &Stage) -> Self {
        Self::to(stage.address(), stage.identity.ca_pem()).await
    }

    pub(crate) async fn to(address: SocketAddr, ca_pem: &str) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap()).unwrap();
        let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let stream = TcpStream::connect(address).await.unwrap();
        let connect = TlsConnector::from(Arc::new(config)).connect(ServerName::from(address.ip()), stream);
        Self(timeout(LIMIT, connect).await.expect("a handshake in time").unwrap())
    }

    /// Connects and gives the reason code of the answer.
    pub(crate) async fn connect(stage: &Stage, connect: &Connect<'_>) -> (Self, u8) {
        let mut wire = Self::open(stage).await;
        wire.send(&connect.bytes()).await;
        let (kind, body) = wire.receive().await.expect("an answer to the login");
        assert_eq!(kind, CONNACK);
        (wire, body[1])
    }

    /// Connects as the device, which must succeed.
    pub(crate) async fn login(stage: &Stage, device: &str) -> Self {
        let (wire, reason) = Self::connect(stage, &Connect::of(device)).await;
        assert_eq!(reason, 0);
        wire
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
        self.0.flush().await.unwrap();
    }

    /// Sends although the other end may have closed.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) {
        drop(self.0.write_all(bytes).await);
        drop(self.0.flush().await);
    }

    /// The next packet; `None` when the connection has ended.
    pub(crate) async fn receive(&mut self) -> Option<(u8, Vec<u8>)> {
        timeout(LIMIT, self.read()).await.expect("a packet or an end in time").ok()
    }

    async fn read(&mut self) -> std::io::Result<(u8, Vec<u8>)> {
        let kind = self.0.read_u8().await?;
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = self.0.read_u8().await?;
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await?;
        Ok((kind & 0xf0, body))
    }

    /// Publishes with QoS 1 and gives the reason code of the acknowledgement.
    pub(crate) async fn publish(&mut self, topic: &str, payload: &str) -> u8 {
        self.send(&publish(topic, payload, Some(7), false)).await;
        let (kind, body) = self.receive().await.expect("an acknowledgement");
        assert_eq!((kind, &body[..2]), (PUBACK, &[0, 7][..]));
        body.get(2).copied().unwrap_or(0)
    }

    /// Subscribes and gives the reason code.
    pub(crate) async fn subscribe(&mut self, filter: &str) -> u8 {
        self.send(&packet(0x82, &[&[0, 9, 0][..], &field(filter.as_bytes()), &[1]].concat())).await;
        let (kind, body) = self.receive().await.expect("an answer to the subscription");
        assert_eq!(kind, SUBACK);
        *body.last().unwrap()
    }

    /// Packets up to the end of the connection.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut kinds = Vec::new();
        while let Some((kind, _)) = self.receive().await {
            kinds.push(kind);
        }
        kinds
    }
}
