//! One connection, spoken to word by word.

use std::collections::VecDeque;

use client::{Credential, Endpoint, Event, Refusal, ServerMessage, Socket, SocketOptions};
use serde_json::{Value, json};
use testbed::{Bed, Node, within};
use uuid::Uuid;

use crate::insisting::Tries;

/// A connection whose messages are looked at one by one.
pub(crate) struct Talk {
    socket: Socket,
    /// Messages that came while an answer was awaited.
    inbox: VecDeque<ServerMessage>,
    requests: u64,
}

impl Talk {
    pub(crate) async fn open(node: &Node, token: &str) -> Talk {
        Talk::open_at(node, "/ws", token).await
    }

    /// At a path with a subscription already made, or any other.
    pub(crate) async fn open_at(node: &Node, path: &str, token: &str) -> Talk {
        Talk::open_there(&node.endpoint(), path, token).await
    }

    pub(crate) async fn open_there(endpoint: &Endpoint, path: &str, token: &str) -> Talk {
        let credential = Credential::Subprotocol(token.to_owned());
        let opened = Socket::open(endpoint, path, &credential, &SocketOptions::default()).await;
        let (socket, connected) = opened.unwrap();
        let spoken = (connected.protocol.as_str(), connected.max_message_bytes);
        assert_eq!(spoken, ("rivermouth.v1", 65_536));
        Talk {
            socket,
            inbox: VecDeque::new(),
            requests: 0,
        }
    }

    pub(crate) fn socket(&mut self) -> &mut Socket {
        &mut self.socket
    }

    /// Makes a request and waits for its answer; what else comes is kept for [`Talk::next`].
    pub(crate) async fn call(&mut self, method: &str, params: Value) -> Result<Value, Refusal> {
        self.requests += 1;
        let id = format!("r{}", self.requests);
        self.socket
            .request(&id, method, &params.to_string())
            .await
            .unwrap();
        loop {
            match self.read().await {
                ServerMessage::Response { id: of, data } if of == id => {
                    return Ok(serde_json::from_str(&data).unwrap());
                }
                ServerMessage::Error {
                    id: Some(of),
                    refusal,
                    ..
                } if of == id => return Err(refusal),
                other => self.inbox.push_back(other),
            }
        }
    }

    /// Sends text as it stands and waits for the answer to `id`, or for an error without id.
    pub(crate) async fn raw(&mut self, text: &str) -> Result<String, Refusal> {
        self.socket.send(text.to_owned()).await.unwrap();
        loop {
            match self.read().await {
                ServerMessage::Response { data, .. } => return Ok(data),
                ServerMessage::Error { refusal, .. } => return Err(refusal),
                other => self.inbox.push_back(other),
            }
        }
    }

    /// The answer to a request that may be made again as it is.
    pub(crate) async fn surely(&mut self, method: &str, params: Value) -> Value {
        let mut tries = Tries::default();
        loop {
            match self.call(method, params.clone()).await {
                Ok(answer) => return answer,
                Err(refusal) => tries.again(method, &refusal.into()).await,
            }
        }
    }

    pub(crate) async fn subscribe(&mut self, params: Value) -> Value {
        self.surely("subscribe", params).await
    }

    /// With an id, as whoever publishes again has to.
    pub(crate) async fn publish(&mut self, channel: &str, event: &str, data: Value) -> Value {
        let id = Uuid::new_v4().simple().to_string();
        let params = json!({ "channel": channel, "event": event, "data": data, "id": id });
        self.surely("publish", params).await
    }

    /// The next message that is no heartbeat.
    pub(crate) async fn next(&mut self) -> ServerMessage {
        match self.inbox.pop_front() {
            Some(message) => message,
            None => self.read().await,
        }
    }

    /// As [`Talk::next`], without what is said of a log that stood still for some seconds: it may at any time.
    pub(crate) async fn next_of_channel(&mut self) -> ServerMessage {
        loop {
            match self.next().await {
                message if is_standing(&message) => {}
                message => return message,
            }
        }
    }

    async fn read(&mut self) -> ServerMessage {
        let socket = &mut self.socket;
        // One deadline for all of it: heartbeats come for ever.
        within("the server's next word", async {
            loop {
                match socket.next().await.unwrap() {
                    ServerMessage::Heartbeat { .. } => {}
                    message => return message,
                }
            }
        })
        .await
    }

    /// The next message, which must be an event.
    pub(crate) async fn event(&mut self) -> Event {
        match self.next_of_channel().await {
            ServerMessage::Event(event) => *event,
            other => panic!("an event was expected, not {other:?}"),
        }
    }

    pub(crate) async fn events(&mut self, count: usize) -> Vec<Event> {
        let mut events = Vec::new();
        while events.len() < count {
            events.push(self.event().await);
        }
        events
    }

    /// The next message, which must be `caught_up`: its cursor.
    pub(crate) async fn caught_up(&mut self, channel: &str) -> String {
        match self.next_of_channel().await {
            ServerMessage::CaughtUp {
                channel: of,
                cursor,
            } if of == channel => cursor,
            other => panic!("caught_up of {channel} was expected, not {other:?}"),
        }
    }

    /// Asserts that the connection is alive and that nothing was said but `pong`s, and how the log stands.
    pub(crate) async fn quiet(&mut self) {
        assert!(self.call("ping", json!({})).await.unwrap()["serverTime"].is_i64());
        assert!(self.inbox.iter().all(is_standing), "{:?}", self.inbox);
    }
}

/// Whether it is `stale` or `fresh`.
pub(crate) fn is_standing(message: &ServerMessage) -> bool {
    let said = |text: &str, name: &str| text.contains(&format!(r#""event":"{name}""#));
    matches!(message, ServerMessage::Other(text) if said(text, "stale") || said(text, "fresh"))
}

/// Whether the answer to a publish names the event's place. Published again, it may name that of a second, void record.
pub(crate) fn is_of(answer: &Value, event: &Event) -> bool {
    answer["duplicate"] == true || answer["cursor"].as_str() == event.cursor.as_deref()
}

/// Publishes `count` events in a channel and gives them as a subscriber saw them.
pub(crate) async fn fill(bed: &Bed, node: &Node, channel: &str, count: usize) -> Vec<Event> {
    let mut talk = Talk::open(node, &bed.gm("u1")).await;
    talk.subscribe(json!({ "channel": channel })).await;
    let mut events = Vec::new();
    for number in 0..count {
        talk.publish(channel, "draw", json!(number)).await;
        events.push(talk.event().await);
    }
    events
}
