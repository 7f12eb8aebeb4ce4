//! The five ways of reading a channel on from a cursor. Nothing in here hides what the server says: no client that
//! drops repeats or closes gaps.

use std::time::Duration;

use client::{
    Credential, Endpoint, Error, Event, Gap, History, Http, ServerMessage, Socket, SocketOptions,
};
use serde_json::json;
use testbed::{PATIENCE, within};
use tokio::time::{sleep, timeout};

/// One way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Socket,
    Sse,
    Lines,
    Poll,
    History,
}

pub(crate) const WAYS: [Way; 5] = [Way::Socket, Way::Sse, Way::Lines, Way::Poll, Way::History];

/// What a reading brought.
#[derive(Debug, Default)]
pub(crate) struct Read {
    pub(crate) events: Vec<Event>,
    /// Gaps, each with the number of events that came before it was told.
    pub(crate) gaps: Vec<(usize, Gap)>,
}

impl Read {
    fn take(&mut self, message: ServerMessage) {
        match message {
            ServerMessage::Event(event) => self.events.push(*event),
            ServerMessage::Gap { gap, .. } => self.gaps.push((self.events.len(), gap)),
            ServerMessage::Error { refusal, .. } => panic!("{refusal:?}"),
            _ => {}
        }
    }

    fn has(&self, last: &str) -> bool {
        self.events.last().is_some_and(|event| event.id == last)
    }

    fn cursor(&self) -> Option<String> {
        self.events.last().and_then(|event| event.cursor.clone())
    }
}

/// Who reads what, where.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub(crate) place: Endpoint,
    pub(crate) token: String,
    pub(crate) channel: String,
    pub(crate) way: Way,
}

impl Reading {
    /// Reads on from `since` to the event with the id `last`. Refusals that ask to come again are obeyed: from the
    /// last cursor, as a client would.
    pub(crate) async fn to(&self, since: &str, last: &str) -> Read {
        let mut read = Read::default();
        let what = format!("{:?} to read to {last}", self.way);
        within(&what, async {
            while !read.has(last) {
                let since = read.cursor().unwrap_or_else(|| since.to_owned());
                match self.on(&mut read, &since, last).await {
                    Ok(()) => {}
                    Err(error) if error.is_retryable() => sleep(Duration::from_millis(200)).await,
                    Err(error) => panic!("{:?}: {error}", self.way),
                }
            }
        })
        .await;
        read
    }

    async fn on(&self, read: &mut Read, since: &str, last: &str) -> Result<(), Error> {
        let http = Http::new(self.place.clone(), Some(&self.token))?;
        let channels = [self.channel.clone()];
        match self.way {
            Way::Socket => self.socket(read, since, last).await?,
            Way::Sse => {
                let mut sse = http.sse(&channels, None, Some(since), &[]).await?;
                while !read.has(last) {
                    read.take(sse.next().await?);
                }
            }
            Way::Lines => {
                let mut lines = http.stream(&channels, Some(since), &[]).await?;
                while !read.has(last) {
                    read.take(lines.next().await?);
                }
            }
            Way::Poll => {
                let mut since = since.to_owned();
                while !read.has(last) {
                    let poll = http.poll(&channels, Some(&since), &[], 5).await?;
                    read.gaps
                        .extend(poll.gap.map(|gap| (read.events.len(), gap_of(gap))));
                    read.events.extend(poll.events);
                    since = poll.cursor;
                }
            }
            Way::History => {
                let mut after = since.to_owned();
                while !read.has(last) {
                    let asked = History {
                        channel: self.channel.clone(),
                        after: Some(after.clone()),
                        limit: Some(200),
                        ..History::default()
                    };
                    let page = http.history(&asked).await?;
                    read.gaps
                        .extend(page.gap.map(|gap| (read.events.len(), gap)));
                    read.events.extend(page.events);
                    after = page.next.or(read.cursor()).unwrap_or(after);
                }
            }
        }
        Ok(())
    }

    async fn socket(&self, read: &mut Read, since: &str, last: &str) -> Result<(), Error> {
        let credential = Credential::Subprotocol(self.token.clone());
        let options = SocketOptions {
            connect_timeout: PATIENCE,
            ..SocketOptions::default()
        };
        let (mut socket, _) = Socket::open(&self.place, "/ws", &credential, &options).await?;
        let params = json!({"channel": self.channel, "since": since}).to_string();
        socket.request("s", "subscribe", &params).await?;
        while !read.has(last) {
            match timeout(PATIENCE, socket.next())
                .await
                .expect("a word of the server")?
            {
                ServerMessage::Error { refusal, .. } => return Err(Error::from(refusal)),
                message => read.take(message),
            }
        }
        Ok(())
    }
}

fn gap_of(json: serde_json::Value) -> Gap {
    serde_json::from_value(json).expect("a gap has the protocol's form")
}
