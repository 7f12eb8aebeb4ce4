//! One WebSocket connection: opened, authenticated, read message by message. Nothing is retried here.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use http::HeaderValue;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use crate::endpoint::Endpoint;
use crate::error::{Error, Refusal, close_means_reconnect};
use crate::message::{Connected, ServerMessage};

/// The largest frame taken from a server: it packs what is queued for a connection (256 KiB) into one.
const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How a connection says who it is (protocol section 2).
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// `Authorization: Bearer …`.
    Header(String),
    /// `Sec-WebSocket-Protocol: rivermouth.v1, bearer.…`, what browsers do.
    Subprotocol(String),
    /// A first frame `connect`.
    FirstFrame(String),
    /// Nothing, for tests.
    None,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Credential::Header(_) => "Header(…)",
            Credential::Subprotocol(_) => "Subprotocol(…)",
            Credential::FirstFrame(_) => "FirstFrame(…)",
            Credential::None => "None",
        })
    }
}

/// Settings of one connection.
#[derive(Debug, Clone)]
pub struct SocketOptions {
    /// Most time for TCP, TLS, handshake and the `connected` message together.
    pub connect_timeout: Duration,
    /// Most time for one write.
    pub write_timeout: Duration,
    /// An `Origin` header to send, as a browser would.
    pub origin: Option<String>,
    /// Bytes of the read buffer; small ones keep thousands of idle connections cheap.
    pub read_buffer_bytes: usize,
}

impl Default for SocketOptions {
    fn default() -> SocketOptions {
        SocketOptions {
            connect_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(10),
            origin: None,
            read_buffer_bytes: 8 * 1024,
        }
    }
}

/// One live connection.
#[derive(Debug)]
pub struct Socket {
    ws: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Messages of frames already read; a frame may hold several.
    ready: VecDeque<Result<ServerMessage, Error>>,
    /// The last error message without an id: the reason of a close that follows.
    last_refusal: Option<Refusal>,
    last_read: Instant,
    close_frame: Option<(u16, String)>,
    write_timeout: Duration,
}

impl Socket {
    /// Connects to `path` (`/ws`, `/ws/session/42?since=earliest`), authenticates, and waits for `connected`.
    ///
    /// Errors: [`Error::Lost`] and [`Error::Timeout`] (try again), [`Error::Refused`] (handshake answered with an
    /// HTTP error) and [`Error::Ended`] (bad credential).
    pub async fn open(
        endpoint: &Endpoint,
        path: &str,
        credential: &Credential,
        options: &SocketOptions,
    ) -> Result<(Socket, Connected), Error> {
        let opening = async {
            let mut socket = Socket::handshake(endpoint, path, credential, options).await?;
            if let Credential::FirstFrame(token) = credential {
                let params = serde_json::json!({ "token": token });
                socket
                    .send(request("connect", "connect", &params.to_string()))
                    .await?;
            }
            let connected = loop {
                match socket.next().await? {
                    ServerMessage::Connected { connected, .. } => break connected,
                    ServerMessage::Error {
                        id: Some(_),
                        refusal,
                        ..
                    } => return Err(Error::from(refusal)),
                    // The close that follows says whether to come back.
                    ServerMessage::Error { .. } => {}
                    other => {
                        return Err(Error::Unexpected(format!("{other:?} before `connected`")));
                    }
                }
            };
            if matches!(credential, Credential::FirstFrame(_)) {
                // The response repeats what `connected` said.
                match socket.next().await? {
                    ServerMessage::Response { .. } => {}
                    other => {
                        return Err(Error::Unexpected(format!(
                            "{other:?} instead of the response of `connect`"
                        )));
                    }
                }
            }
            Ok((socket, connected))
        };
        timeout(options.connect_timeout, opening)
            .await
            .unwrap_or(Err(Error::Timeout(options.connect_timeout)))
    }

    /// Only the WebSocket handshake: the server's first message is still to be read.
    pub async fn handshake(
        endpoint: &Endpoint,
        path: &str,
        credential: &Credential,
        options: &SocketOptions,
    ) -> Result<Socket, Error> {
        let mut request = endpoint
            .ws_url(path)
            .into_client_request()
            .map_err(|error| Error::Invalid(format!("no WebSocket URL: {error}")))?;
        let headers = request.headers_mut();
        let header = |text: String| {
            HeaderValue::try_from(text)
                .map_err(|_| Error::Invalid("a token or origin that is no header value".into()))
        };
        match credential {
            Credential::Header(token) => {
                headers.insert("authorization", header(format!("Bearer {token}"))?);
                headers.insert(
                    "sec-websocket-protocol",
                    HeaderValue::from_static("rivermouth.v1"),
                );
            }
            Credential::Subprotocol(token) => {
                headers.insert(
                    "sec-websocket-protocol",
                    header(format!("rivermouth.v1, bearer.{token}"))?,
                );
            }
            Credential::FirstFrame(_) | Credential::None => {
                headers.insert(
                    "sec-websocket-protocol",
                    HeaderValue::from_static("rivermouth.v1"),
                );
            }
        }
        if let Some(origin) = &options.origin {
            headers.insert("origin", header(origin.clone())?);
        }
        let config = WebSocketConfig::default()
            .read_buffer_size(options.read_buffer_bytes)
            .write_buffer_size(0)
            .max_message_size(Some(FRAME_BYTES_MAX))
            .max_frame_size(Some(FRAME_BYTES_MAX));
        let connecting = connect_async_with_config(request, Some(config), true);
        let connected = timeout(options.connect_timeout, connecting).await;
        let (ws, _response) = match connected {
            Ok(connected) => connected.map_err(|error| handshake_error(&error))?,
            Err(_) => return Err(Error::Timeout(options.connect_timeout)),
        };
        Ok(Socket {
            ws,
            ready: VecDeque::new(),
            last_refusal: None,
            last_read: Instant::now(),
            close_frame: None,
            write_timeout: options.write_timeout,
        })
    }

    /// Sends one text frame: one message, or several separated by line feeds. Not cancel safe.
    pub async fn send(&mut self, text: String) -> Result<(), Error> {
        self.send_frame(Message::text(text)).await
    }

    /// Sends any frame, also one that the protocol forbids. Not cancel safe.
    pub async fn send_frame(&mut self, frame: Message) -> Result<(), Error> {
        match timeout(self.write_timeout, self.ws.send(frame)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Error::Lost(error.to_string())),
            Err(_) => Err(Error::Timeout(self.write_timeout)),
        }
    }

    /// Sends a request with `params` as JSON text. Not cancel safe.
    pub async fn request(&mut self, id: &str, method: &str, params: &str) -> Result<(), Error> {
        self.send(request(id, method, params)).await
    }

    /// The next message. Cancel safe. [`Error::Lost`] when the connection broke or the server invited to
    /// reconnect, [`Error::Ended`] when it did not; both are final. [`Error::Unexpected`] is not.
    pub async fn next(&mut self) -> Result<ServerMessage, Error> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                if let Ok(ServerMessage::Error {
                    id: None, refusal, ..
                }) = &message
                {
                    self.last_refusal = Some(refusal.clone());
                }
                return message;
            }
            match self.next_frame().await? {
                Message::Text(text) => {
                    let lines = text.split('\n').filter(|line| !line.is_empty());
                    self.ready.extend(lines.map(ServerMessage::parse));
                }
                Message::Binary(_) => {
                    return Err(Error::Unexpected(
                        "a binary frame that nobody asked for".into(),
                    ));
                }
                Message::Close(frame) => return Err(self.closed(frame)),
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }

    /// The next frame as it came, close frames included. Cancel safe. For callers that look at frames they
    /// must not mix it with [`Socket::next`].
    pub async fn next_frame(&mut self) -> Result<Message, Error> {
        match self.ws.next().await {
            Some(Ok(frame)) => {
                self.last_read = Instant::now();
                Ok(frame)
            }
            Some(Err(error)) => Err(Error::Lost(error.to_string())),
            None => Err(Error::Lost("the stream ended".into())),
        }
    }

    /// When the last frame came, pings included.
    pub fn last_read(&self) -> Instant {
        self.last_read
    }

    /// The code and reason with which the server closed, once [`Socket::next`] has told of the end.
    pub fn close_frame(&self) -> Option<(u16, &str)> {
        self.close_frame
            .as_ref()
            .map(|(code, reason)| (*code, reason.as_str()))
    }

    /// Closes with 1000 and waits for the server's answer, for at most `patience`.
    pub async fn close(mut self, patience: Duration) {
        let closing = async {
            if self.ws.close(None).await.is_ok() {
                while let Some(Ok(_)) = self.ws.next().await {}
            }
        };
        // A server that does not answer a close is not worth more time.
        let _ = timeout(patience, closing).await;
    }

    fn closed(&mut self, frame: Option<CloseFrame>) -> Error {
        let (code, reason) = frame.map_or((1005, String::new()), |frame| {
            (frame.code.into(), frame.reason.to_string())
        });
        self.close_frame = Some((code, reason.clone()));
        if close_means_reconnect(code) {
            return Error::Lost(format!("closed with {code} {reason}"));
        }
        let refusal = self.last_refusal.take();
        let reason = refusal.as_ref().map_or(reason, ToString::to_string);
        Error::Ended {
            code,
            reason,
            refusal: refusal.map(Box::new),
        }
    }
}

/// The text of a request.
pub(crate) fn request(id: &str, method: &str, params: &str) -> String {
    let id = serde_json::Value::from(id);
    format!(r#"{{"type":"request","id":{id},"method":"{method}","params":{params}}}"#)
}

/// A handshake that was answered with an HTTP error carries the coded error as body.
fn handshake_error(error: &tungstenite::Error) -> Error {
    if let tungstenite::Error::Http(response) = error {
        let body = response.body().as_deref().unwrap_or_default();
        if let Some(refusal) = crate::answer::refusal_of(body) {
            return Error::from(refusal);
        }
        let status = response.status();
        // A proxy in between, or a server that is going or coming: not for ever.
        if status.is_server_error() {
            return Error::Lost(format!("the handshake was answered with {status}"));
        }
        return Error::Unexpected(format!("the handshake was answered with {status}"));
    }
    Error::Lost(error.to_string())
}
