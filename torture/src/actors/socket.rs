//! A reader on a WebSocket: one connection for several channels, over and over again.

use std::time::Duration;

use client::{Credential, Error, ServerMessage, Socket, SocketOptions};
use serde_json::json;
use testbed::Random;
use tokio::time::{Instant, sleep_until, timeout};

use super::manner::Manner;
use super::notebook::{Notebook, Want};
use super::{Desk, Phase, pause};
use crate::evidence::{Book, Cursor, Note, Since, Started, Transport};

/// A server that says nothing for so long, while it should have sent heartbeats, is left.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(6);

/// The reader.
#[derive(Debug)]
pub(super) struct SocketReader {
    pub(super) actor: String,
    pub(super) user: String,
    pub(super) token: String,
    pub(super) wants: Vec<Want>,
    pub(super) manner: Manner,
}

/// How a connection ended for the reader.
enum End {
    /// Every channel has come to its end.
    Done,
    /// Go on with another connection.
    Again,
}

impl SocketReader {
    pub(super) async fn run(self, desk: Desk, mut random: Random) -> Book {
        let mut notes = Notebook::new(&desk, &self.actor, &self.user, Transport::Socket);
        for want in &self.wants {
            notes.begin(want);
        }
        while desk.now() < Phase::Over {
            let door = desk.reader_door(&mut random);
            let credential = Credential::Header(self.token.clone());
            let options = SocketOptions {
                connect_timeout: Duration::from_secs(5),
                ..SocketOptions::default()
            };
            let opening = Socket::open(&door, "/ws", &credential, &options);
            let Ok((mut socket, _)) = opening.await else {
                pause(&mut random).await;
                continue;
            };
            let mut session = Session {
                reader: &self,
                desk: &desk,
                notes: &mut notes,
                random: &mut random,
                unacked: 0,
                owed: None,
            };
            if let End::Done = session.run(&mut socket).await {
                break;
            }
            pause(&mut random).await;
        }
        notes.close()
    }
}

struct Session<'a> {
    reader: &'a SocketReader,
    desk: &'a Desk,
    notes: &'a mut Notebook,
    random: &'a mut Random,
    unacked: u32,
    /// When the next acknowledgement is due, of which channel, up to where.
    owed: Option<(Instant, String, String)>,
}

impl Session<'_> {
    async fn run(&mut self, socket: &mut Socket) -> End {
        for at in 0..self.reader.wants.len() {
            if !self.notes.ended(&self.reader.wants[at].channel)
                && self.subscribe(socket, at).await.is_err()
            {
                self.notes.session_over(&Note::Cut);
                return End::Again;
            }
        }
        let leave = self.reader.manner.time_to_leave(self.random);
        loop {
            if self.notes.all_ended() {
                return End::Done;
            }
            let due = self.owed.as_ref().map_or(leave, |(due, ..)| *due);
            let message = tokio::select! {
                message = timeout(SILENCE_MAX, socket.next()) => message,
                () = sleep_until(due), if self.owed.is_some() => {
                    if let Some((_, channel, cursor)) = self.owed.take() {
                        // A connection that is gone says so to whoever reads from it.
                        let _ = self.send_ack(socket, &channel, &cursor).await;
                    }
                    continue;
                }
                () = sleep_until(leave), if self.desk.now() == Phase::Storm => {
                    self.notes.session_over(&Note::Cut);
                    return End::Again;
                }
                () = self.desk.reached(Phase::Over) => {
                    self.notes.session_over(&Note::Cut);
                    return End::Done;
                }
            };
            let message = match message {
                Ok(Ok(message)) => message,
                Ok(Err(error @ Error::Unexpected(_))) => {
                    self.notes
                        .stray("a message that cannot be read", &error.to_string());
                    continue;
                }
                Ok(Err(error)) => {
                    let end = self.notes.end_of(&error, socket.close_frame());
                    self.notes.session_over(&end);
                    return End::Again;
                }
                Err(_) => {
                    self.notes.session_over(&Note::Cut);
                    return End::Again;
                }
            };
            if self.take(socket, &message).await.is_err() {
                self.notes.session_over(&Note::Cut);
                return End::Again;
            }
            self.reader.manner.dawdle(self.desk, self.random).await;
        }
    }

    async fn take(&mut self, socket: &mut Socket, message: &ServerMessage) -> Result<(), Error> {
        match message {
            ServerMessage::Response { id, data } => self.answered(id, data),
            ServerMessage::Error {
                id,
                channel,
                refusal,
            } => {
                let about = id
                    .as_deref()
                    .and_then(|id| self.channel_of(id))
                    .or(channel.clone());
                let note = Note::Closed {
                    code: 0,
                    reason: self.desk.names.number(&refusal.name),
                    cursor: None,
                };
                match about {
                    // A refusal now is tried again with the next connection.
                    Some(channel) => {
                        self.notes.channel_over(&channel, note);
                        return Err(Error::Lost("a subscription was refused".into()));
                    }
                    None if id.is_some() => {}
                    None => self.notes.session_over(&note),
                }
            }
            ServerMessage::Event(event) => {
                self.notes.event(event);
                self.acknowledge(socket, &event.channel, event.cursor.as_deref())
                    .await?;
            }
            other => {
                self.notes.take(other);
            }
        }
        Ok(())
    }

    /// `s3` is the subscribe of the third channel, `a…` an acknowledgement.
    fn channel_of(&self, id: &str) -> Option<String> {
        let at: usize = id.strip_prefix('s')?.parse().ok()?;
        Some(self.reader.wants.get(at)?.channel.clone())
    }

    fn answered(&mut self, id: &str, data: &str) {
        if let Some(kept) = id.strip_prefix("a:") {
            if let Some((channel, cursor)) = kept.rsplit_once(':')
                && let Some(cursor) = Cursor::parse(cursor)
            {
                self.notes.note(channel, Note::AckKept(cursor));
            }
            return;
        }
        let Some(channel) = self.channel_of(id) else {
            return self.notes.stray("an answer to nothing", data);
        };
        match started(data) {
            Some(started) => self.notes.started(&channel, started),
            None => self.notes.stray("an answer that cannot be read", data),
        }
    }

    async fn subscribe(&mut self, socket: &mut Socket, at: usize) -> Result<(), Error> {
        let want = &self.reader.wants[at];
        let position = self.notes.position(&want.channel).map(str::to_owned);
        let (since, value) = since_of(want, position.as_deref());
        let mut params = json!({ "channel": want.channel, "since": value });
        if !want.types.is_empty() {
            params["types"] = json!(want.types);
        }
        if let Some(window) = want.window {
            params["window"] = json!(window);
        }
        if let Some(durable) = &want.durable {
            params["durable"] = json!(durable);
        }
        if want.snapshot {
            params["snapshot"] = json!(true);
        }
        self.notes.asked(&want.channel, since);
        let id = format!("s{at}");
        socket.request(&id, "subscribe", &params.to_string()).await
    }

    async fn acknowledge(
        &mut self,
        socket: &mut Socket,
        channel: &str,
        cursor: Option<&str>,
    ) -> Result<(), Error> {
        if let (Some(after), Some(cursor)) = (self.reader.manner.ack_after, cursor) {
            let due = self
                .owed
                .take()
                .map_or(Instant::now() + after, |owed| owed.0);
            self.owed = Some((due, channel.to_owned(), cursor.to_owned()));
        }
        let (Some(every), Some(cursor)) = (self.reader.manner.ack_every, cursor) else {
            return Ok(());
        };
        let Some(want) = self
            .reader
            .wants
            .iter()
            .find(|want| want.channel == channel)
        else {
            return Ok(());
        };
        self.unacked += 1;
        if self.unacked < every && want.window.is_none_or(|window| window > every) {
            return Ok(());
        }
        self.unacked = 0;
        self.send_ack(socket, channel, cursor).await
    }

    async fn send_ack(
        &mut self,
        socket: &mut Socket,
        channel: &str,
        cursor: &str,
    ) -> Result<(), Error> {
        let wants = &self.reader.wants;
        let durable = wants
            .iter()
            .any(|want| want.channel == channel && want.durable.is_some());
        if let Some(parsed) = Cursor::parse(cursor) {
            self.notes.note(channel, Note::AckSent(parsed));
        }
        let params = json!({ "channel": channel, "cursor": cursor }).to_string();
        if durable {
            return socket
                .request(&format!("a:{channel}:{cursor}"), "ack", &params)
                .await;
        }
        let message = format!(r#"{{"type":"request","method":"ack","params":{params}}}"#);
        socket.send(message).await
    }
}

/// What is asked for and how it is written: after the last cursor when there is one.
fn since_of(want: &Want, position: Option<&str>) -> (Since, serde_json::Value) {
    if want.durable.is_some() {
        return (Since::Kept, json!("earliest"));
    }
    let value = |since: &Since| match since {
        Since::Latest | Since::Continue => json!("latest"),
        Since::Earliest | Since::Kept => json!("earliest"),
        Since::Cursor(cursor) => json!(cursor.to_string()),
        Since::Time(ms) => json!({ "time": ms }),
        Since::Last(count) => json!({ "last": count }),
    };
    match position.map(|text| (text, Cursor::parse(text))) {
        Some((text, Some(cursor))) => (Since::Cursor(cursor), json!(text)),
        Some((text, None)) => (Since::Continue, json!(text)),
        None => (want.since, value(&want.since)),
    }
}

fn started(data: &str) -> Option<Started> {
    let value: serde_json::Value = serde_json::from_str(data).ok()?;
    let snapshot = value
        .get("snapshot")
        .map(|state| state.to_string().into_boxed_str());
    Some(Started {
        cursor: Some(Cursor::parse(value.get("cursor")?.as_str()?)?),
        recovered: value.get("recovered")?.as_bool(),
        was_recovering: value.get("wasRecovering")?.as_bool(),
        snapshot,
    })
}
