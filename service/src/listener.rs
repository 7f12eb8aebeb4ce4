//! The HTTP listener: accepts sockets, speaks HTTP/1.1 on each, and lets them finish when told to stop.
//!
//! Plain hyper per connection instead of `axum::serve`, for three reasons: the header timer and caps, the
//! rules of [`crate::request`], and upgrades whose socket can be taken out again (`OnUpgrade` in the
//! request's extensions resolves to a `TokioIo<TcpStream>`).

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus_client::metrics::counter::Counter;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connections::{Slot, Slots};
use crate::http::refuse;
use crate::metrics::Metrics;
use crate::request;
use crate::shutdown::Shutdown;

/// Limits of one listener.
#[derive(Clone, Debug)]
pub struct ServeConfig {
    /// Time for the whole head of a request; also how long an idle kept-alive connection may wait. 10 s.
    pub header_timeout: Duration,
    /// Most header fields of a request. 100.
    pub headers_max: usize,
    /// Most bytes of a request's head. 32 KiB: 64 channels and a stream cursor in a query, and a token.
    pub header_bytes_max: usize,
    /// Most sockets at once, upgraded ones included as long as their [`Slot`] is kept. 20 000.
    pub connections_max: usize,
    /// Time for requests in flight to finish after the signal to stop. 10 s.
    pub drain_deadline: Duration,
    /// Proxies that are believed when they name the client (`X-Forwarded-For`, its last entry). None.
    pub trusted_proxies: Vec<IpAddr>,
    /// Names this server answers to, without port; empty: any. Pinned in development mode, where a
    /// foreign page could otherwise reach it by pointing its own name at 127.0.0.1.
    pub hosts_allowed: Vec<String>,
}

impl Default for ServeConfig {
    fn default() -> Self {
        ServeConfig {
            header_timeout: Duration::from_secs(10),
            headers_max: 100,
            header_bytes_max: 32 * 1024,
            connections_max: 20_000,
            drain_deadline: Duration::from_secs(10),
            trusted_proxies: Vec::new(),
            hosts_allowed: Vec::new(),
        }
    }
}

/// Why a listener ended other than well.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be had; choose another or stop who holds it.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// These many connections were still busy at the drain deadline and were cut.
    #[error("{connections} connections were still busy at the drain deadline")]
    Drain {
        /// How many were cut.
        connections: usize,
    },
}

/// Opens a listening socket; port 0 takes a free one.
///
/// # Errors
/// [`ServeError::Bind`].
pub fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    let open = || {
        let domain = socket2::Domain::for_address(address);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        // A storm of reconnecting clients fits the backlog; the kernel caps it at net.core.somaxconn.
        socket.listen(4096)?;
        TcpListener::from_std(socket.into())
    };
    open().map_err(|source| ServeError::Bind { address, source })
}

/// Serves `app` on `listener` until `shutdown` starts, then stops accepting and lets requests in flight
/// finish. Handlers find the client's address (the peer's, or what a trusted proxy says) as
/// `Extension<SocketAddr>` and their place among the connections as `Extension<Slot>`.
///
/// # Errors
/// [`ServeError::Drain`] when connections had to be cut at the drain deadline.
pub async fn serve(
    listener: TcpListener,
    app: Router,
    config: ServeConfig,
    metrics: &Metrics,
    shutdown: Shutdown,
) -> Result<(), ServeError> {
    let server = Arc::new(Server {
        slots: Slots::new(config.connections_max),
        app: TowerToHyperService::new(app),
        config,
        accepted: metrics.counter("http_connections_accepted", "Sockets accepted"),
        turned_away: metrics.counter(
            "http_connections_turned_away",
            "Sockets closed at once because the listener was full",
        ),
        drain: shutdown.token().clone(),
        cut: CancellationToken::new(),
    });
    let open = metrics.gauge("http_connections", "Sockets open, upgraded ones included");
    let slots = server.slots.clone();
    metrics.before_scrape(move || {
        open.set(i64::try_from(slots.open()).unwrap_or(i64::MAX));
    });

    let connections = TaskTracker::new();
    accept(&listener, &server, &connections, &shutdown).await;
    drop(listener);
    connections.close();
    let drained = tokio::time::timeout(server.config.drain_deadline, connections.wait()).await;
    if drained.is_ok() {
        return Ok(());
    }
    let left = connections.len();
    server.cut.cancel();
    connections.wait().await;
    Err(ServeError::Drain { connections: left })
}

async fn accept(
    listener: &TcpListener,
    server: &Arc<Server>,
    connections: &TaskTracker,
    shutdown: &Shutdown,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.started() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => {
                server.accepted.inc();
                match server.slots.take() {
                    Some(slot) => {
                        connections.spawn(Arc::clone(server).connection(socket, peer, slot));
                    }
                    None => turn_away(socket, server),
                }
            }
            // Out of file descriptors or memory: the condition outlives the call, so wait a little
            // instead of spinning. Anything else concerns one peer only.
            Err(error) if is_exhaustion(&error) => {
                tracing::warn!(%error, "cannot accept connections");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(_) => {}
        }
    }
}

fn is_exhaustion(error: &std::io::Error) -> bool {
    use nix::errno::Errno;
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(
        errno,
        Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM)
    )
}

/// Says so and closes. The answer fits any socket buffer, so nothing waits for the peer.
fn turn_away(mut socket: TcpStream, server: &Server) {
    server.turned_away.inc();
    const ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n\
        connection: close\r\ncontent-length: 0\r\n\r\n";
    tokio::spawn(async move {
        let answer = async {
            socket.write_all(ANSWER).await?;
            socket.shutdown().await
        };
        // Whether the peer heard it is the peer's business.
        let _ = tokio::time::timeout(Duration::from_secs(1), answer).await;
    });
}

/// Bytes that the kernel may hold unsent for one connection.
#[cfg(target_os = "linux")]
const UNSENT_MAX: u32 = 32 * 1024;

struct Server {
    app: TowerToHyperService<Router>,
    config: ServeConfig,
    slots: Slots,
    accepted: Counter,
    turned_away: Counter,
    drain: CancellationToken,
    cut: CancellationToken,
}

impl Server {
    async fn connection(self: Arc<Self>, socket: TcpStream, peer: SocketAddr, slot: Slot) {
        // Frames are written whole; waiting for more bytes only delays them.
        let _ = socket.set_nodelay(true);
        // What a client does not read waits in bounded queues of ours, not by the megabyte in the kernel's; and who
        // reads a kilobyte a second is seen to make progress, because the kernel asks for more every few seconds.
        #[cfg(target_os = "linux")]
        let _ = socket2::SockRef::from(&socket).set_tcp_notsent_lowat(UNSENT_MAX);
        let service = service_fn(|request| self.handle(request, peer, &slot));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.config.header_timeout)
            .max_headers(self.config.headers_max)
            .max_header_size(self.config.header_bytes_max)
            .max_buf_size(self.config.header_bytes_max.max(64 * 1024))
            .serve_connection(TokioIo::new(socket), service)
            .with_upgrades();
        let mut connection = pin!(connection);
        let mut draining = false;
        loop {
            tokio::select! {
                // An error here is a peer that left, was too slow or broke HTTP; hyper has answered.
                _ = connection.as_mut() => return,
                () = self.drain.cancelled(), if !draining => {
                    draining = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = self.cut.cancelled() => return,
            }
        }
    }

    async fn handle(
        &self,
        mut request: Request<Incoming>,
        peer: SocketAddr,
        slot: &Slot,
    ) -> Result<Response, Infallible> {
        if let Err((refusal, message)) = request::check(&request, &self.config.hosts_allowed) {
            let mut response = refuse(refusal, message);
            // Whatever follows on this connection cannot be trusted to be framed as we think.
            response.headers_mut().insert(
                http::header::CONNECTION,
                http::HeaderValue::from_static("close"),
            );
            return Ok(response);
        }
        let client = request::client_address(peer, request.headers(), &self.config.trusted_proxies);
        request.extensions_mut().insert(client);
        request.extensions_mut().insert(slot.clone());
        self.app.call(request).await
    }
}
