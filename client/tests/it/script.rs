//! A server whose every word is written by the test.

use std::time::Duration;

use client::{Client, Endpoint, Options};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

/// Longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Script {
    listener: TcpListener,
}

impl Script {
    pub(crate) async fn new() -> Script {
        Script {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        }
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::parse(&format!("ws://{}", self.listener.local_addr().unwrap())).unwrap()
    }

    pub(crate) fn client(&self) -> Client {
        client_of(vec![self.endpoint()])
    }

    /// The next connection, after its handshake and `connected`.
    pub(crate) async fn accept(&self) -> Peer {
        let mut peer = self.accept_silently().await;
        peer.say(json!({"type":"event","event":"connected","data":{"connectionId":"x","userId":"u"},"timestamp":1})).await;
        peer
    }

    pub(crate) async fn accept_silently(&self) -> Peer {
        let (tcp, _) = timeout(PATIENCE, self.listener.accept())
            .await
            .expect("nobody connects")
            .unwrap();
        #[expect(
            clippy::result_large_err,
            reason = "the callback's type is the library's"
        )]
        let answer = |request: &Request, mut response: Response| {
            let offered = request.headers()["sec-websocket-protocol"]
                .to_str()
                .unwrap();
            assert!(offered.starts_with("rivermouth.v1, bearer."), "{offered}");
            response
                .headers_mut()
                .insert("sec-websocket-protocol", "rivermouth.v1".parse().unwrap());
            Ok(response)
        };
        let ws = tokio_tungstenite::accept_hdr_async(tcp, answer)
            .await
            .unwrap();
        Peer {
            ws,
            heard: Vec::new(),
        }
    }
}

pub(crate) fn client_of(endpoints: Vec<Endpoint>) -> Client {
    let mut options = Options::new(endpoints, "token");
    options.backoff_first = Duration::from_millis(5);
    options.backoff_most = Duration::from_millis(20);
    Client::start(options).unwrap()
}

pub(crate) struct Peer {
    ws: WebSocketStream<TcpStream>,
    heard: Vec<Value>,
}

impl Peer {
    pub(crate) async fn say(&mut self, message: Value) {
        self.ws
            .send(Message::text(message.to_string()))
            .await
            .unwrap();
    }

    /// The next message of the client.
    pub(crate) async fn hear(&mut self) -> Value {
        loop {
            if !self.heard.is_empty() {
                return self.heard.remove(0);
            }
            let frame = timeout(PATIENCE, self.ws.next())
                .await
                .expect("the client says nothing");
            if let Message::Text(text) = frame.expect("the client is gone").unwrap() {
                self.heard = text
                    .split('\n')
                    .map(|line| serde_json::from_str(line).unwrap())
                    .collect();
            }
        }
    }

    /// The next request, which must be `method`: its id and parameters.
    pub(crate) async fn request(&mut self, method: &str) -> (String, Value) {
        let message = self.hear().await;
        assert_eq!(message["method"], method, "{message}");
        (
            message["id"].as_str().unwrap().to_owned(),
            message["params"].clone(),
        )
    }

    pub(crate) async fn respond(&mut self, id: &str, data: Value) {
        self.say(json!({"type":"response","id":id,"data":data}))
            .await;
    }

    pub(crate) async fn refuse(&mut self, id: &str, error: Value) {
        self.say(json!({"type":"error","id":id,"error":error,"timestamp":1}))
            .await;
    }

    pub(crate) async fn event(&mut self, cursor: &str, prev: Option<&str>) {
        self.say(json!({"type":"event","channel":"session.1","event":"draw","id":cursor,"userId":"u","data":1,
            "timestamp":1,"cursor":cursor,"prev":prev}))
            .await;
    }

    pub(crate) async fn close(mut self, code: u16, reason: &'static str) {
        let frame = CloseFrame {
            code: code.into(),
            reason: reason.into(),
        };
        self.ws.close(Some(frame)).await.unwrap();
        while let Some(Ok(_)) = self.ws.next().await {}
    }
}
