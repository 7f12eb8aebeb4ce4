//! What a WebSocket client asks, and how it is answered.

use std::sync::Arc;

use protocol::{
    Bucket, ErrorName, Identity, ProtocolError, Rate,
    access::{Read, lane_of, may_read_history},
    client::{self, Call, Message, Publish, Refused},
    close, server,
};
use schemas::Lane;
use serde_json::{Value, json};

use super::{Phase, Shard, conn::Wire, deliver::line_of, ws::Inbound, ws::Turn};
use crate::{chunk::Wanted, history, mailbox::ToShard, node::Node, snapshot, sub::ConnKey};

impl Shard {
    /// A socket has something to read.
    pub(super) fn readable(&mut self, index: usize) {
        let mut inbound = Vec::new();
        let mut control = Vec::new();
        let Some(conn) = self.conns.get_mut(index) else {
            return;
        };
        let Wire::Ws(ws) = &mut conn.wire else { return };
        let turn = ws.read(&mut self.read_buffer, &mut control, |message| {
            inbound.push(message)
        });
        if !inbound.is_empty() {
            conn.heard = self.now;
        }
        let key = conn.key(index);
        if conn.is_open() && !control.is_empty() {
            conn.out.push_control(&control);
            self.mark(index);
        }
        for message in inbound {
            let Some(conn) = self.conn(key) else { return };
            if conn.is_open() {
                self.inbound(key, message);
            } else if let Inbound::Close = message {
                // The answer to our own goodbye.
                conn.answered = true;
                self.mark(index);
            }
        }
        let Some(conn) = self.conn(key) else { return };
        match turn {
            Turn::Dry => {}
            Turn::More => self.unread.push(index),
            Turn::Eof => self.forget(index),
            Turn::Broken(..) if !conn.is_open() => self.forget(index),
            Turn::Broken(code, why) => {
                let error = match code {
                    close::TOO_LARGE => ProtocolError::too_large(self.node.limits.frame_bytes_max),
                    _ => ProtocolError::invalid(why),
                };
                self.dismiss(index, &error, code);
            }
        }
    }

    fn inbound(&mut self, key: ConnKey, message: Inbound) {
        match message {
            Inbound::Alive => {}
            Inbound::Close => {
                // The codec's echo is queued; the socket goes when it is written, or in 5 s.
                self.drop_subs(key.index);
                if let Some(conn) = self.conn(key) {
                    let echo_until = conn.heard + super::GOODBYE;
                    conn.out.clear();
                    conn.phase = Phase::Closing(echo_until);
                    conn.answered = true;
                }
                self.mark(key.index);
            }
            Inbound::Binary => {
                let error = ProtocolError::invalid("binary messages are not spoken here");
                self.dismiss(key.index, &error, close::UNSUPPORTED);
            }
            Inbound::Text(text) => {
                let authenticated = self.conns[key.index].who.is_some();
                if !authenticated && text.len() > self.node.limits.first_frame_bytes_max {
                    let error = ProtocolError::too_large(self.node.limits.first_frame_bytes_max);
                    return self.dismiss(key.index, &error, close::TOO_LARGE);
                }
                for line in text.as_str().split('\n') {
                    let line = line.trim_ascii();
                    if line.is_empty() {
                        continue;
                    }
                    if !self.conn(key).is_some_and(|c| c.is_open()) {
                        return;
                    }
                    self.line(key, line.as_bytes());
                }
            }
        }
    }

    fn line(&mut self, key: ConnKey, line: &[u8]) {
        let index = key.index;
        let message = match client::parse(line) {
            Ok(message) => message,
            Err(refused) => return self.misunderstood(index, &refused),
        };
        let Some(who) = self.conns[index].who.clone() else {
            return match message {
                Message::Request {
                    id,
                    call: Call::Connect { token, .. },
                } => self.connect(key, id, &token),
                _ => {
                    let error = ProtocolError::new(
                        ErrorName::AuthRequired,
                        "the first message must be connect",
                    );
                    self.dismiss(index, &error, close::AUTH);
                }
            };
        };
        match message {
            Message::Heartbeat => self.say_event(
                index,
                "heartbeat",
                server::heartbeat(self.now_ms, None),
                None,
            ),
            Message::Publish(publish) => self.publish(key, None, &who, publish),
            Message::Request { id, call } => self.call(key, id, call, &who),
        }
    }

    fn call(&mut self, key: ConnKey, id: Option<String>, call: Call, who: &Arc<Identity>) {
        let index = key.index;
        match call {
            Call::Connect { .. } => {
                self.refuse(
                    index,
                    id.as_deref(),
                    None,
                    &ProtocolError::invalid("this connection is connected already"),
                );
            }
            Call::Refresh { token } => self.refresh(index, id.as_deref(), &token),
            Call::Ping => self.respond(index, id.as_deref(), &json!({ "serverTime": self.now_ms })),
            Call::Subscribe(subscribe) => self.subscribe(index, id, subscribe),
            Call::Unsubscribe { channel } => {
                if let Some(serial) = self.conns[index].sub_of(&channel).map(|s| s.serial) {
                    self.remove_sub(index, serial);
                }
                self.respond(index, id.as_deref(), &json!({}));
            }
            Call::Publish(publish) => self.publish(key, id, who, publish),
            Call::Ack { channel, cursor } => self.ack(index, id.as_deref(), &channel, &cursor),
            Call::History(asked) => self.history(key, id, who, asked),
            Call::Snapshot(asked) => self.snapshot(key, id, who, asked),
            Call::Unserved(method) => {
                self.refuse(index, id.as_deref(), None, &ProtocolError::unserved(method));
            }
        }
    }

    /// A message that was not understood: the answer, and after too many of them the end.
    fn misunderstood(&mut self, index: usize, refused: &Refused) {
        let message = server::error(
            refused.id.as_deref(),
            refused.channel.as_deref(),
            &refused.error,
            self.now_ms,
        );
        self.say(index, line_of(message));
        if !refused.malformed {
            return;
        }
        let rate = Rate::per_minute(self.node.limits.malformed_per_minute.saturating_sub(1));
        let now_ms = self.now_ms;
        let bucket = self.conns[index]
            .malformed
            .get_or_insert_with(|| Box::new(Bucket::new(rate, now_ms)));
        if bucket.take(1, now_ms).is_err() {
            let error = ProtocolError::rate_limited(60_000);
            self.dismiss(index, &error, close::ABUSE);
        }
    }

    fn publish(&mut self, key: ConnKey, id: Option<String>, who: &Arc<Identity>, publish: Publish) {
        let index = key.index;
        let channel = publish.channel.to_string();
        let publish_id = publish.id.clone();
        let failed = move |error: ProtocolError, now_ms: i64, id: Option<&str>| {
            let error = match (&id, publish_id) {
                (None, Some(publish_id)) => error.with_details(json!({ "publishId": publish_id })),
                _ => error,
            };
            let channel = id.is_none().then_some(channel.as_str());
            line_of(server::error(id, channel, &error, now_ms))
        };
        let Some(port) = self.node.publish.clone() else {
            let error = ProtocolError::unavailable("this node takes no publishes", 1_000);
            let message = failed(error, self.now_ms, id.as_deref());
            return self.say(index, message);
        };
        // The newest ephemeral event wins: ingest conflates what is too much, here nothing waits for an answer.
        let lane = lane_of(&publish.event, publish.lane);
        let counted = id.is_some() || lane != Ok(Lane::Ephemeral);
        if counted && let Err(error) = self.may_wait(index) {
            let message = failed(error, self.now_ms, id.as_deref());
            return self.say(index, message);
        }
        let mailbox = Arc::clone(&self.mailbox);
        port(
            who,
            publish,
            Box::new(move |published| {
                let message = match (published, &id) {
                    (Ok(data), Some(id)) => Some(line_of(server::response(id, &data))),
                    (Ok(_), None) => None,
                    (Err(error), id) => Some(failed(error, service::http::now_ms(), id.as_deref())),
                };
                mailbox.post(ToShard::Answer {
                    conn: key,
                    counted,
                    message,
                });
            }),
        );
    }

    fn history(
        &mut self,
        key: ConnKey,
        id: Option<String>,
        who: &Arc<Identity>,
        asked: client::History,
    ) {
        let index = key.index;
        let read = match self.may_look_back(index, who, &asked.channel) {
            Ok(read) => read,
            Err(error) => return self.refuse(index, id.as_deref(), None, &error),
        };
        let (node, who) = (Arc::clone(&self.node), Arc::clone(who));
        self.answer_later(key, id, async move {
            history::answer(&node, &who, read, asked).await
        });
    }

    fn snapshot(
        &mut self,
        key: ConnKey,
        id: Option<String>,
        who: &Arc<Identity>,
        asked: client::Snapshot,
    ) {
        let index = key.index;
        let read = match self.may_look_back(index, who, &asked.channel) {
            Ok(read) => read,
            Err(error) => return self.refuse(index, id.as_deref(), None, &error),
        };
        let (node, who) = (Arc::clone(&self.node), Arc::clone(who));
        self.answer_later(key, id, async move {
            snapshot::answer(&node, &who, read, asked).await
        });
    }

    /// The right to the channel's past, once more within the limits of a connection.
    fn may_look_back(
        &mut self,
        index: usize,
        who: &Identity,
        channel: &schemas::Channel,
    ) -> Result<Read, ProtocolError> {
        self.metered(index)?;
        let read = may_read_history(&self.node.namespaces, who, channel)?;
        self.may_wait(index)?;
        Ok(read)
    }

    /// Answers with the data that is worked on elsewhere. Bounded by the requests a connection may have waiting, and
    /// by the request timeout inside.
    fn answer_later(
        &self,
        key: ConnKey,
        id: Option<String>,
        work: impl Future<Output = Result<Vec<u8>, ProtocolError>> + Send + 'static,
    ) {
        let mailbox = Arc::clone(&self.mailbox);
        self.node.runtime.spawn(async move {
            let id = id.unwrap_or_default();
            let message = match work.await {
                Ok(data) => server::response_raw(&id, &data),
                Err(error) => server::error(Some(&id), None, &error, service::http::now_ms()),
            };
            mailbox.post(ToShard::Answer {
                conn: key,
                counted: true,
                message: Some(line_of(message)),
            });
        });
    }

    /// One more request may be worked on.
    pub(super) fn may_wait(&mut self, index: usize) -> Result<(), ProtocolError> {
        let max = self.node.limits.requests_waiting_max;
        let conn = &mut self.conns[index];
        if usize::from(conn.waiting) >= max {
            return Err(ProtocolError::limit("requests", max));
        }
        conn.waiting += 1;
        Ok(())
    }

    /// Methods that cost something have a limit of their own.
    pub(super) fn metered(&mut self, index: usize) -> Result<(), ProtocolError> {
        let (rate, now_ms) = (self.node.limits.methods, self.now_ms);
        let bucket = self.conns[index]
            .methods
            .get_or_insert_with(|| Box::new(Bucket::new(rate, now_ms)));
        bucket.take(1, now_ms).map_err(ProtocolError::rate_limited)
    }

    pub(super) fn respond(&mut self, index: usize, id: Option<&str>, data: &Value) {
        if let Some(id) = id {
            self.say(index, line_of(server::response(id, data)));
        }
    }

    pub(super) fn refuse(
        &mut self,
        index: usize,
        id: Option<&str>,
        channel: Option<&str>,
        error: &ProtocolError,
    ) {
        self.say(
            index,
            line_of(server::error(id, channel, error, self.now_ms)),
        );
    }
}

impl Node {
    /// Which events a subscriber wants: names, and what is addressed to it.
    pub(crate) fn wanted(who: &Identity, types: Option<Vec<String>>) -> Wanted {
        Wanted {
            types: types.map(Into::into),
            user: who.sub.as_str().into(),
        }
    }
}
