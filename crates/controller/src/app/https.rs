//! HTTPS for the API: handshakes beside the accept loop, with limits, so that a silent client holds up nobody.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// How long a connection may take.
#[derive(Clone, Copy)]
struct Limits {
    /// One over which nothing moves for so long is closed. Streams of events say something every few seconds.
    idle: Duration,
    /// From the first byte of a request until its answer begins: the head, and what the API itself allows. Who sends a byte
    /// now and then would otherwise hold one of the connections for ever.
    asking: Duration,
}

const LIMITS: Limits = Limits { idle: Duration::from_secs(90), asking: Duration::from_secs(60) };

/// The certificate in use; replaced when it is renewed.
pub(super) type Certificate = Arc<RwLock<Arc<ServerConfig>>>;

/// A listener for `axum::serve`.
pub(super) struct HttpsListener {
    address: SocketAddr,
    ready: mpsc::Receiver<(Connection, SocketAddr)>,
    // Dropped with the listener: then nothing is accepted any more.
    _acceptor: JoinSet<()>,
}

impl HttpsListener {
    pub(super) async fn bind(address: SocketAddr, certificate: Certificate, slots: Arc<Semaphore>) -> io::Result<Self> {
        let socket = TcpListener::bind(address).await?;
        let address = socket.local_addr()?;
        let (sender, ready) = mpsc::channel(16);
        let mut acceptor = JoinSet::new();
        acceptor.spawn(accept(socket, certificate, slots, sender));
        Ok(Self { address, ready, _acceptor: acceptor })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl axum::serve::Listener for HttpsListener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        match self.ready.recv().await {
            Some(ready) => ready,
            // The accept loop never ends by itself; without it there is nothing to come.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

async fn accept(
    socket: TcpListener,
    certificate: Certificate,
    slots: Arc<Semaphore>,
    ready: mpsc::Sender<(Connection, SocketAddr)>,
) {
    let mut handshakes = JoinSet::new();
    loop {
        while handshakes.try_join_next().is_some() {}
        let (stream, peer) = match socket.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: trying again at once would only burn the processor.
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            tracing::warn!(%peer, "too many connections; one was turned away");
            continue;
        };
        let acceptor = TlsAcceptor::from(Arc::clone(&certificate.read().unwrap_or_else(PoisonError::into_inner)));
        let ready = ready.clone();
        handshakes.spawn(async move {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%peer, "cannot switch off the delay of small packets: {error}");
            }
            match tokio::time::timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await {
                // Nobody to take it: we are stopping.
                Ok(Ok(stream)) => drop(ready.send((Connection::new(stream, LIMITS, slot), peer)).await),
                Ok(Err(error)) => tracing::debug!(%peer, "no TLS handshake: {error}"),
                Err(_) => tracing::debug!(%peer, "no TLS handshake within the limit"),
            }
        });
    }
}

/// A connection that ends when nothing moves over it, or when its answer does not begin.
pub(super) struct Connection<S = TlsStream<TcpStream>> {
    stream: S,
    limits: Limits,
    idle: Pin<Box<Sleep>>,
    /// Runs from the first byte of a request to the first byte of its answer.
    asking: Option<Pin<Box<Sleep>>>,
    _slot: OwnedSemaphorePermit,
}

impl<S> Connection<S> {
    fn new(stream: S, limits: Limits, slot: OwnedSemaphorePermit) -> Self {
        Self { stream, limits, idle: Box::pin(tokio::time::sleep(limits.idle)), asking: None, _slot: slot }
    }

    fn check<T>(&mut self, context: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.idle.as_mut().reset(Instant::now() + self.limits.idle);
        } else if self.idle.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "nothing moved for too long")));
        }
        if self.asking.as_mut().is_some_and(|asking| asking.as_mut().poll(context).is_ready()) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the request did not come to its end")));
        }
        polled
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before && self.asking.is_none() {
            self.asking = Some(Box::pin(tokio::time::sleep(self.limits.asking)));
        }
        self.check(context, polled)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        if matches!(polled, Poll::Ready(Ok(1..))) {
            self.asking = None;
        }
        self.check(context, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    const NEVER: Duration = Duration::from_secs(3600);

    async fn connection(limits: Limits) -> (Connection<DuplexStream>, DuplexStream) {
        let (ours, theirs) = duplex(64);
        let slot = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        (Connection::new(ours, limits, slot), theirs)
    }

    async fn read_to_the_end(connection: &mut Connection<DuplexStream>) -> io::ErrorKind {
        let read = async {
            loop {
                if let Err(error) = connection.read_u8().await {
                    return error.kind();
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), read).await.expect("it is read without end")
    }

    /// A byte now and then keeps a connection from being idle, but not from its end.
    #[tokio::test]
    async fn a_request_that_trickles_in_is_cut() {
        let (mut connection, mut client) = connection(Limits { idle: NEVER, asking: Duration::from_millis(200) }).await;
        let trickle = async {
            while client.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let kind = tokio::select! { kind = read_to_the_end(&mut connection) => kind, () = trickle => panic!("nobody reads") };
        assert_eq!(kind, io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn an_answer_that_has_begun_ends_the_limit_of_its_request() {
        let (mut connection, mut client) = connection(LIMITS).await;
        for _ in 0..3 {
            assert!(connection.asking.is_none());
            client.write_all(b"x").await.unwrap();
            assert_eq!(connection.read_u8().await.unwrap(), b'x');
            assert!(connection.asking.is_some());
            connection.write_all(b"y").await.unwrap();
            assert_eq!(client.read_u8().await.unwrap(), b'y');
        }
    }

    #[tokio::test]
    async fn a_silent_connection_is_cut() {
        let (mut connection, _client) = connection(Limits { idle: Duration::from_millis(50), asking: NEVER }).await;
        assert_eq!(read_to_the_end(&mut connection).await, io::ErrorKind::TimedOut);
    }
}
