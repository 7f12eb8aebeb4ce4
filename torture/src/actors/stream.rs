//! Readers over HTTP: server-sent events for several channels, NDJSON and polling for one each.
//!
//! An NDJSON stream and a poll are resumed with the last cursor, server-sent events with the last `id:`, as a
//! browser does. Nothing of what comes is dropped here.

use std::time::Duration;

use client::{Error, Event, Gap, Http, ServerMessage, SseStream};
use testbed::Random;
use tokio::time::{sleep_until, timeout};

use super::manner::Manner;
use super::notebook::{Notebook, Want};
use super::socket::SILENCE_MAX;
use super::{Desk, Phase, pause};
use crate::evidence::{Book, Cursor, Note, Since, Started, Transport};

/// How long one poll waits.
const POLL_S: u32 = 2;

/// The reader.
#[derive(Debug)]
pub(super) struct StreamReader {
    pub(super) actor: String,
    pub(super) user: String,
    pub(super) token: String,
    pub(super) transport: Transport,
    pub(super) wants: Vec<Want>,
    pub(super) manner: Manner,
}

impl StreamReader {
    pub(super) async fn run(self, desk: Desk, mut random: Random) -> Book {
        let mut notes = Notebook::new(&desk, &self.actor, &self.user, self.transport);
        for want in &self.wants {
            notes.begin(want);
        }
        // What was given last as a position of the whole stream.
        let mut place = None;
        while desk.now() < Phase::Over && !notes.all_ended() {
            let door = desk.reader_door(&mut random);
            let Ok(http) = Http::new(door, Some(&self.token)) else {
                break;
            };
            let http = http.with_deadline(Duration::from_secs(7));
            let mut session = Session {
                reader: &self,
                desk: &desk,
                notes: &mut notes,
                random: &mut random,
                place: &mut place,
                unacked: 0,
            };
            let ended = match self.transport {
                Transport::Poll => session.poll(&http).await,
                Transport::Sse => session.sse(&http).await,
                _ => session.lines(&http).await,
            };
            if let Err(error) = ended {
                let end = notes.end_of(&error, None);
                notes.session_over(&end);
                pause(&mut random).await;
            } else {
                notes.session_over(&Note::Cut);
            }
        }
        notes.close()
    }
}

struct Session<'a> {
    reader: &'a StreamReader,
    desk: &'a Desk,
    notes: &'a mut Notebook,
    random: &'a mut Random,
    place: &'a mut Option<String>,
    unacked: u32,
}

impl Session<'_> {
    /// Until everything has come, or it is time to go elsewhere.
    async fn sse(&mut self, http: &Http) -> Result<(), Error> {
        let mut stream = self.open_sse(http).await?;
        let leave = self.reader.manner.time_to_leave(self.random);
        loop {
            let block = tokio::select! {
                block = timeout(SILENCE_MAX, stream.next_block()) => block.unwrap_or_else(silent)?,
                () = sleep_until(leave), if self.desk.now() == Phase::Storm => return Ok(()),
                () = self.desk.reached(Phase::Over) => return Ok(()),
            };
            if block.data.is_empty() {
                continue;
            }
            let message = ServerMessage::parse(&block.data)?;
            self.take(&message)?;
            // Only now is it ours.
            if let Some(id) = block.id {
                *self.place = Some(id);
            }
            if let ServerMessage::Event(event) = &message {
                self.acknowledge(http, event).await;
            }
            if self.notes.all_ended() {
                return Ok(());
            }
            self.reader.manner.dawdle(self.desk, self.random).await;
        }
    }

    /// With its last id; a reader that has a name leaves it to the server where it was.
    async fn open_sse(&mut self, http: &Http) -> Result<SseStream, Error> {
        let want = &self.reader.wants[0];
        if let (Some(durable), Some(window)) = (&want.durable, want.window) {
            let channel = &want.channel;
            let path =
                format!("/sse?channel={channel}&since=earliest&durable={durable}&window={window}");
            self.each(|_| Since::Kept);
            return http.sse_at(&path).await;
        }
        let (channels, types) = self.selection();
        let since = self.ask(self.place.is_some());
        let last_id = self.place.clone();
        http.sse(&channels, since.as_deref(), last_id.as_deref(), &types)
            .await
    }

    /// Every so many events, when the reader has a name.
    async fn acknowledge(&mut self, http: &Http, event: &Event) {
        let (Some(every), Some(cursor)) = (self.reader.manner.ack_every, &event.cursor) else {
            return;
        };
        let (Some(durable), Some(parsed)) = (&self.reader.wants[0].durable, Cursor::parse(cursor))
        else {
            return;
        };
        self.unacked += 1;
        // The last one is acknowledged, too: nobody comes after it.
        if self.unacked < every && !self.notes.ended(&event.channel) {
            return;
        }
        self.unacked = 0;
        self.notes.note(&event.channel, Note::AckSent(parsed));
        if http.ack(&event.channel, cursor, durable).await.is_ok() {
            self.notes.note(&event.channel, Note::AckKept(parsed));
        }
    }

    async fn lines(&mut self, http: &Http) -> Result<(), Error> {
        let (channels, types) = self.selection();
        let position = self.notes.position(&channels[0]).map(str::to_owned);
        let since = self.ask_from(position);
        let mut stream = http.stream(&channels, since.as_deref(), &types).await?;
        let leave = self.reader.manner.time_to_leave(self.random);
        loop {
            let message = tokio::select! {
                message = timeout(SILENCE_MAX, stream.next()) => message.unwrap_or_else(silent)?,
                () = sleep_until(leave), if self.desk.now() == Phase::Storm => return Ok(()),
                () = self.desk.reached(Phase::Over) => return Ok(()),
            };
            self.take(&message)?;
            if self.notes.all_ended() {
                return Ok(());
            }
            self.reader.manner.dawdle(self.desk, self.random).await;
        }
    }

    /// One poll after the other; each is a session of its own.
    async fn poll(&mut self, http: &Http) -> Result<(), Error> {
        let (channels, types) = self.selection();
        let since = self.ask(self.place.is_some());
        let since = self.place.clone().or(since);
        let asking = http.poll(&channels, since.as_deref(), &types, POLL_S);
        let page = tokio::select! {
            page = asking => page?,
            () = self.desk.reached(Phase::Over) => return Ok(()),
        };
        let channel = &channels[0];
        self.notes.started(channel, Started::default());
        if let Some(gap) = page.gap {
            let gap: Gap = serde_json::from_value(gap).map_err(|error| {
                Error::Unexpected(format!("a gap that cannot be read: {error}"))
            })?;
            self.notes.gap(channel, &gap);
        }
        for event in &page.events {
            self.notes.event(event);
        }
        *self.place = Some(page.cursor);
        self.reader.manner.dawdle(self.desk, self.random).await;
        Ok(())
    }

    fn take(&mut self, message: &ServerMessage) -> Result<(), Error> {
        match message {
            ServerMessage::Connected { .. } => {
                for want in &self.reader.wants {
                    if !self.notes.ended(&want.channel) {
                        self.notes.started(&want.channel, Started::default());
                    }
                }
            }
            // The stream's end follows.
            ServerMessage::Error { refusal, .. } => return Err(Error::from(refusal.clone())),
            other => {
                self.notes.take(other);
            }
        }
        Ok(())
    }

    fn selection(&self) -> (Vec<String>, Vec<String>) {
        let open = |want: &&Want| !self.notes.ended(&want.channel);
        let wants = self.reader.wants.iter().filter(open);
        let channels = wants.map(|want| want.channel.clone()).collect();
        (channels, self.reader.wants[0].types.clone())
    }

    /// Notes the asking and gives `since`: none when a position of the whole stream goes with it.
    fn ask(&mut self, resumes: bool) -> Option<String> {
        if resumes {
            self.each(|_| Since::Continue);
            return None;
        }
        self.each(|want| want.since);
        Some(query(self.reader.wants[0].since))
    }

    fn ask_from(&mut self, position: Option<String>) -> Option<String> {
        let Some(position) = position else {
            return self.ask(false);
        };
        let cursor = Cursor::parse(&position);
        self.each(|_| cursor.map_or(Since::Continue, Since::Cursor));
        Some(position)
    }

    fn each(&mut self, since: impl Fn(&Want) -> Since) {
        for want in &self.reader.wants {
            if !self.notes.ended(&want.channel) {
                self.notes.asked(&want.channel, since(want));
            }
        }
    }
}

fn query(since: Since) -> String {
    match since {
        Since::Latest | Since::Continue => "latest".into(),
        Since::Earliest | Since::Kept => "earliest".into(),
        Since::Cursor(cursor) => cursor.to_string(),
        Since::Time(ms) => format!("time:{ms}"),
        Since::Last(count) => format!("last:{count}"),
    }
}

fn silent<T>(_: tokio::time::error::Elapsed) -> Result<T, Error> {
    Err(Error::Timeout(SILENCE_MAX))
}
