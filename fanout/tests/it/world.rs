//! A node on a fresh embedded log, and clients that speak to it over real sockets.

use std::{collections::VecDeque, net::SocketAddr, sync::Arc, time::Duration};

use broker::{Append, EmbeddedConfig, Log, PinWatch, Pins, TopicSpec};
use bytes::Bytes;
use fanout::{Fanout, FanoutConfig, Parts};
use futures_util::{FutureExt, SinkExt, StreamExt};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use protocol::{
    Cursors,
    access::Namespaces,
    token::{Claims, Verifier, VerifierConfig, mint},
};
use schemas::{
    Channel, Decoder, Event, EventName, Lane, Outbox, Topics, encode_json, partition_of,
};
use serde_json::{Value, json};
use service::{Health, Metrics, ServeConfig, Shutdown, origin::Origins};
use tempfile::TempDir;
use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest},
};

pub(crate) const SECRET: &[u8] = b"a secret of the tests, long enough for HS256";
pub(crate) const PARTITIONS: u32 = 4;
/// How long any wait may take before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct World {
    pub(crate) log: Log,
    pub(crate) topics: Topics,
    pub(crate) pins: Pins,
    pub(crate) address: SocketAddr,
    pub(crate) fanout: Arc<Fanout>,
    pub(crate) shutdown: Shutdown,
    metrics: Metrics,
    _dir: TempDir,
}

impl World {
    pub(crate) async fn new() -> World {
        Self::with(FanoutConfig::default()).await
    }

    pub(crate) async fn with(config: FanoutConfig) -> World {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::embedded(EmbeddedConfig::new(dir.path()))
            .await
            .unwrap();
        let topics = Topics::new("rivermouth");
        let spec = |name: &str| TopicSpec {
            name: name.to_owned(),
            partitions: PARTITIONS,
            replication: -1,
            retention_ms: None,
            retention_bytes: None,
            compact: name == topics.state(),
        };
        let names = [
            topics.events(),
            topics.signals(),
            topics.jobs(),
            topics.state(),
        ];
        log.ensure_topics(&names.map(spec), true).await.unwrap();
        let pins = broker::pin(&log, topics.state(), &names).await.unwrap();
        let mut world = World {
            fanout: Arc::new(start(
                &log,
                &topics,
                &pins,
                config.clone(),
                &Shutdown::new(),
                &Metrics::new(),
            )),
            log,
            topics,
            pins,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            shutdown: Shutdown::new(),
            metrics: Metrics::new(),
            _dir: dir,
        };
        world.another(config).await;
        world
    }

    /// A second node over the same log takes the place of the first.
    pub(crate) async fn another(&mut self, config: FanoutConfig) {
        self.shutdown = Shutdown::new();
        self.metrics = Metrics::new();
        self.fanout = Arc::new(start(
            &self.log,
            &self.topics,
            &self.pins,
            config,
            &self.shutdown,
            &self.metrics,
        ));
        let listener = service::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        self.address = listener.local_addr().unwrap();
        let (app, shutdown) = (self.fanout.router(), self.shutdown.clone());
        tokio::spawn(async move {
            service::serve(
                listener,
                app,
                ServeConfig::default(),
                &Metrics::new(),
                shutdown,
            )
            .await
        });
    }

    pub(crate) fn event(&self, channel: &str, name: &str, data: &Value) -> Event {
        Event {
            channel: Channel::parse(channel).unwrap(),
            name: EventName::parse(name).unwrap(),
            id: String::new(),
            id_given: false,
            user_id: None,
            data: Bytes::from(data.to_string()),
            to: None,
            lane: Lane::Durable,
            outbox: None,
            traceparent: None,
        }
    }

    /// Appends as a backend would and says at which offset the record is.
    pub(crate) async fn append(&self, event: &Event) -> i64 {
        let encoded = encode_json(event);
        let topic = self.topics.of(&event.channel, event.lane);
        let delivery = self
            .log
            .append(Append {
                topic: topic.into(),
                partition: partition_of(event.channel.id().as_bytes(), PARTITIONS),
                key: Some(encoded.key),
                headers: encoded
                    .headers
                    .into_iter()
                    .map(|(n, v)| (n.into(), v))
                    .collect(),
                value: Some(encoded.value),
            })
            .unwrap();
        delivery.await.unwrap().offset
    }

    pub(crate) async fn publish(&self, channel: &str, n: i64) -> i64 {
        self.append(&self.event(channel, "chat.message", &json!({ "n": n })))
            .await
    }

    pub(crate) fn outbox(&self, channel: &str, n: i64, outbox: (u64, u64)) -> Event {
        Event {
            outbox: Some(Outbox {
                producer: "p".to_owned(),
                epoch: outbox.0,
                seq: outbox.1,
            }),
            ..self.event(channel, "chat.message", &json!({ "n": n }))
        }
    }

    pub(crate) async fn ws(&self, user: &str) -> Ws {
        self.ws_at("/ws", &token(user)).await
    }

    pub(crate) async fn ws_at(&self, path: &str, token: &str) -> Ws {
        self.handshake(path, Some(format!("rivermouth.v1, bearer.{token}")))
            .await
    }

    pub(crate) async fn ws_without_token(&self, path: &str) -> Ws {
        self.handshake(path, None).await
    }

    /// A client whose side takes hardly anything that it does not read.
    pub(crate) async fn narrow_ws(&self, path: &str, user: &str) -> Ws {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        let socket = socket.connect(self.address).await.unwrap();
        let offered = format!("rivermouth.v1, bearer.{}", token(user));
        self.handshake_over(socket, path, Some(offered)).await
    }

    async fn handshake(&self, path: &str, offered: Option<String>) -> Ws {
        let socket = TcpStream::connect(self.address).await.unwrap();
        self.handshake_over(socket, path, offered).await
    }

    async fn handshake_over(&self, socket: TcpStream, path: &str, offered: Option<String>) -> Ws {
        let mut request = format!("ws://{}{path}", self.address)
            .into_client_request()
            .unwrap();
        if let Some(offered) = offered {
            let name = "sec-websocket-protocol";
            request.headers_mut().insert(name, offered.parse().unwrap());
        }
        let (socket, _) = client_async(request, socket).await.unwrap();
        Ws {
            socket,
            lines: VecDeque::new(),
            reason: String::new(),
        }
    }

    /// One of the node's figures, by the name it is scraped under.
    pub(crate) fn figure(&self, name: &str) -> f64 {
        let text = self.metrics.encode();
        let line = text.lines().find(|l| l.starts_with(name));
        line.and_then(|l| l.rsplit(' ').next())
            .unwrap()
            .parse()
            .unwrap()
    }

    /// A GET with a token: status and body.
    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        let response = self.request(path, None).await;
        let status = response.status().as_u16();
        let body = timeout(PATIENCE, response.into_body().collect())
            .await
            .unwrap()
            .unwrap();
        let body = body.to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    pub(crate) async fn stream(&self, path: &str, last_event_id: Option<&str>) -> Text {
        let response = self.request(path, last_event_id).await;
        assert_eq!(response.status(), 200, "{path}");
        Text {
            body: response.into_body(),
            text: String::new(),
        }
    }

    async fn request(
        &self,
        path: &str,
        last_event_id: Option<&str>,
    ) -> http::Response<hyper::body::Incoming> {
        let socket = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket))
            .await
            .unwrap();
        tokio::spawn(connection);
        let mut request = http::Request::get(path)
            .header("host", self.address.to_string())
            .header("authorization", format!("Bearer {}", token("u1")));
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        timeout(PATIENCE, sender.send_request(request))
            .await
            .unwrap()
            .unwrap()
    }
}

fn start(
    log: &Log,
    topics: &Topics,
    pins: &Pins,
    config: FanoutConfig,
    shutdown: &Shutdown,
    metrics: &Metrics,
) -> Fanout {
    Fanout::start(
        config,
        Parts {
            log: log.clone(),
            store: None,
            topics: topics.clone(),
            decoder: Arc::new(Decoder::new(topics.clone())),
            schemas: Arc::new(|_| async { Ok(None) }.boxed()),
            watch: PinWatch::new(log.clone(), pins),
            pins: pins.clone(),
            cursors: Cursors::new(pins.cursor_key),
            namespaces: Namespaces::default(),
            verifier: Verifier::new(VerifierConfig::hs256(SECRET).unwrap()).unwrap(),
            origins: Origins::default(),
            publish: None,
            metrics: metrics.clone(),
            health: Health::new("fanout"),
        },
        shutdown,
    )
    .unwrap()
}

pub(crate) fn token(user: &str) -> String {
    let exp = service::http::now_ms() / 1000 + 3600;
    let claims = Claims::new(user, exp)
        .role("session.*", "player")
        .role("docs.*", "viewer");
    mint(SECRET, &claims).unwrap()
}

/// A WebSocket client that reads line by line.
pub(crate) struct Ws {
    pub(crate) socket: WebSocketStream<TcpStream>,
    lines: VecDeque<String>,
    /// Why the server closed it.
    pub(crate) reason: String,
}

impl Ws {
    pub(crate) async fn send(&mut self, message: &Value) {
        self.socket
            .send(Message::text(message.to_string()))
            .await
            .unwrap();
    }

    /// The next message, as text; `Err` with the close code at the end.
    pub(crate) async fn line(&mut self) -> Result<String, Option<u16>> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Ok(line);
            }
            match timeout(PATIENCE, self.socket.next())
                .await
                .expect("nothing came in time")
            {
                Some(Ok(Message::Text(text))) => {
                    self.lines.extend(
                        text.as_str()
                            .split('\n')
                            .filter(|l| !l.is_empty())
                            .map(str::to_owned),
                    );
                }
                Some(Ok(Message::Close(frame))) => {
                    return Err(frame.map(|frame| {
                        self.reason = frame.reason.to_string();
                        frame.code.into()
                    }));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }

    pub(crate) async fn next(&mut self) -> Value {
        let line = self.line().await.expect("the connection was closed");
        serde_json::from_str(&line).unwrap()
    }

    /// Reads on to the first message that fits, heartbeats and others left out.
    pub(crate) async fn until(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        loop {
            let message = self.next().await;
            if fits(&message) {
                return message;
            }
        }
    }

    pub(crate) async fn subscribe(&mut self, channel: &str, since: Value) -> Value {
        self.send(&json!({"type":"request","id":"s","method":"subscribe","params":{"channel":channel,"since":since}}))
            .await;
        self.until(|m| m["id"] == "s").await
    }

    /// The next `count` delivered events of any channel.
    pub(crate) async fn events(&mut self, count: usize) -> Vec<Value> {
        let mut events = Vec::new();
        while events.len() < count {
            let message = self.next().await;
            if is_event(&message) {
                events.push(message);
            }
        }
        events
    }
}

/// A delivered durable event, not one of the server's own.
pub(crate) fn is_event(message: &Value) -> bool {
    message["type"] == "event" && message.get("prev").is_some()
}

pub(crate) fn numbers(events: &[Value]) -> Vec<i64> {
    events
        .iter()
        .map(|e| e["data"]["n"].as_i64().unwrap())
        .collect()
}

/// Checks that each event names the one before it.
pub(crate) fn assert_chained(events: &[Value]) {
    for pair in events.windows(2) {
        assert_eq!(pair[1]["prev"], pair[0]["cursor"]);
        assert!(pair[0]["cursor"].as_str() < pair[1]["cursor"].as_str());
    }
}

/// A streamed body, read piece by piece.
pub(crate) struct Text {
    body: hyper::body::Incoming,
    pub(crate) text: String,
}

impl Text {
    /// The text up to and including the next `end`.
    pub(crate) async fn piece(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self.text.find(end) {
                let rest = self.text.split_off(at + end.len());
                return std::mem::replace(&mut self.text, rest);
            }
            let frame = timeout(PATIENCE, self.body.frame())
                .await
                .expect("nothing came in time");
            let data = frame
                .expect("the stream ended")
                .unwrap()
                .into_data()
                .unwrap();
            self.text.push_str(std::str::from_utf8(&data).unwrap());
        }
    }

    /// The next server-sent event: id, name, data.
    pub(crate) async fn sse(&mut self) -> (Option<String>, String, Value) {
        loop {
            let block = self.piece("\n\n").await;
            let field = |name: &str| {
                block
                    .lines()
                    .find_map(|l| l.strip_prefix(name).map(str::to_owned))
            };
            if let Some(data) = field("data: ") {
                return (
                    field("id: "),
                    field("event: ").unwrap(),
                    serde_json::from_str(&data).unwrap(),
                );
            }
        }
    }
}
