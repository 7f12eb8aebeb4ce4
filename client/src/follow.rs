//! Resuming reading without a WebSocket: the same items over server-sent events, NDJSON or polling.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tracing::debug;

use crate::backoff::Backoff;
use crate::chain::{Chain, Verdict};
use crate::client::TokenSource;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::http::Http;
use crate::message::{Event, ServerMessage};
use crate::outage::Outage;
use crate::reading::{Lines, SseStream};
use crate::subscriptions::{Item, Since};

/// How long one poll waits at the server, in seconds.
const POLL_WAIT_S: u32 = 25;

/// What carries the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// `/sse`, resumed by `Last-Event-ID`.
    Sse,
    /// `/api/realtime/stream`.
    Stream,
    /// `/api/realtime/poll`.
    Poll,
}

/// Settings of a [`Follower`].
#[derive(Clone)]
pub struct FollowOptions {
    /// The servers, in order of preference.
    pub endpoints: Vec<Endpoint>,
    /// Asked before every connection.
    pub token: TokenSource,
    /// What carries the events.
    pub transport: Transport,
    /// 1 to 64 channels.
    pub channels: Vec<String>,
    /// Where to begin. [`Since::Cursor`] takes a stream cursor too.
    pub since: Since,
    /// Only these event names; empty means all.
    pub types: Vec<String>,
    /// Ceiling of the first and of every reconnect delay.
    pub backoff: (Duration, Duration),
}

impl FollowOptions {
    /// The usual settings.
    pub fn new(
        endpoints: Vec<Endpoint>,
        token: impl Into<String>,
        transport: Transport,
        channels: Vec<String>,
        since: Since,
    ) -> FollowOptions {
        let token = token.into();
        FollowOptions {
            endpoints,
            token: Arc::new(move || token.clone()),
            transport,
            channels,
            since,
            types: Vec::new(),
            backoff: (Duration::from_millis(500), Duration::from_secs(30)),
        }
    }
}

impl fmt::Debug for FollowOptions {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("FollowOptions")
            .field("endpoints", &self.endpoints)
            .field("transport", &self.transport)
            .field("channels", &self.channels)
            .finish_non_exhaustive()
    }
}

/// What is open at the moment.
#[derive(Debug)]
enum Open {
    Nothing,
    Sse(SseStream),
    Stream(Lines),
    /// The rest of a page, and the cursor that holds once it is given out.
    Page(VecDeque<Event>, String),
}

/// Reads some channels over HTTP, reconnecting and resuming by itself; nothing twice, nothing left out unsaid.
#[derive(Debug)]
pub struct Follower {
    options: FollowOptions,
    http: Http,
    open: Open,
    outage: Outage,
    backoff: Backoff,
    attempt: usize,
    /// The last stream cursor that the server gave, and what was asked for before it gave one.
    position: Option<String>,
    chains: HashMap<String, Chain>,
    ready: VecDeque<(String, Item)>,
}

impl Follower {
    /// A reading that connects with the first [`Follower::next`].
    pub fn new(options: FollowOptions) -> Result<Follower, Error> {
        let first = options
            .endpoints
            .first()
            .ok_or_else(|| Error::Invalid("no endpoint".into()))?;
        let http = Http::new(first.clone(), None)?;
        let filtered = !options.types.is_empty();
        let chain = |channel: &String| {
            let chain = match &options.since {
                // Of several channels the position of each is the server's knowledge.
                Since::Cursor(cursor) if options.channels.len() == 1 => {
                    Chain::resumed(cursor.clone(), filtered)
                }
                _ => Chain::new(filtered),
            };
            (channel.clone(), chain)
        };
        let chains = options.channels.iter().map(chain).collect();
        let position = match &options.since {
            Since::Cursor(cursor) => Some(cursor.clone()),
            _ => None,
        };
        let backoff = Backoff::new(options.backoff.0, options.backoff.1);
        Ok(Follower {
            http,
            open: Open::Nothing,
            outage: Outage::new(),
            backoff,
            attempt: 0,
            position,
            chains,
            ready: VecDeque::new(),
            options,
        })
    }

    /// Where a later reading goes on: a stream cursor (for one channel its cursor). None before anything is known.
    pub fn position(&self) -> Option<&str> {
        match self.options.channels.as_slice() {
            // Both are cursors of the one channel, and those sort as their events do.
            [one] => self.cursor(one).max(self.position.as_deref()),
            _ => self.position.as_deref(),
        }
    }

    /// The cursor of the last event given out of one channel.
    pub fn cursor(&self, channel: &str) -> Option<&str> {
        self.chains.get(channel).and_then(Chain::position)
    }

    /// Why nothing is being read, while a connection is missing: changes once when an outage begins and once when it is
    /// over (for polls: with the first answer). The sender goes with the follower.
    pub fn outage(&self) -> watch::Receiver<Option<Error>> {
        self.outage.report()
    }

    /// The next item and its channel. Broken connections are made again; an error is final. Cancel safe.
    pub async fn next(&mut self) -> Result<(String, Item), Error> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Ok(ready);
            }
            match self.step().await {
                Ok(()) => {}
                Err(error) if error.is_retryable() => {
                    debug!(%error, "reading is interrupted");
                    self.outage.goes_on(&error);
                    self.open = Open::Nothing;
                    self.attempt += 1;
                    if self.backoff.attempts() > 0
                        || self.attempt.is_multiple_of(self.options.endpoints.len())
                    {
                        let asked = error.retry_after().unwrap_or_default();
                        sleep(asked + self.backoff.next_delay()).await;
                    }
                }
                Err(Error::Unexpected(what)) => debug!(what, "a message was skipped"),
                Err(error) => return Err(error),
            }
        }
    }

    async fn step(&mut self) -> Result<(), Error> {
        let message = match &mut self.open {
            Open::Nothing => {
                self.connect().await?;
                self.outage.is_over();
                return Ok(());
            }
            Open::Sse(stream) => {
                let message = stream.next().await?;
                let id = stream.last_event_id().map(str::to_owned);
                self.moved(id);
                message
            }
            Open::Stream(lines) => lines.next().await?,
            Open::Page(events, cursor) => match events.pop_front() {
                Some(event) => ServerMessage::Event(Box::new(event)),
                None => {
                    let cursor = std::mem::take(cursor);
                    self.open = Open::Nothing;
                    self.moved(Some(cursor));
                    return Ok(());
                }
            },
        };
        self.backoff.reset();
        self.message(message)
    }

    async fn connect(&mut self) -> Result<(), Error> {
        let endpoint = self.options.endpoints[self.attempt % self.options.endpoints.len()].clone();
        let http = self
            .http
            .at(endpoint)
            .with_token(Some(&(self.options.token)()));
        let FollowOptions {
            channels, types, ..
        } = &self.options;
        let position = self.position().map(str::to_owned);
        let since = position
            .clone()
            .unwrap_or_else(|| self.options.since.to_query());
        self.open = match self.options.transport {
            Transport::Sse => {
                let since = position.is_none().then_some(since);
                Open::Sse(
                    http.sse(channels, since.as_deref(), position.as_deref(), types)
                        .await?,
                )
            }
            Transport::Stream => Open::Stream(http.stream(channels, Some(&since), types).await?),
            Transport::Poll => {
                // A poll without `since` gives the present cursor, which is what `latest` means.
                let since = (since != "latest").then_some(since);
                let poll = http
                    .poll(channels, since.as_deref(), types, POLL_WAIT_S)
                    .await?;
                if poll.gap.is_some() {
                    self.chains.values_mut().for_each(Chain::forget_predecessor);
                    let gap = poll
                        .gap
                        .and_then(|gap| serde_json::from_value(gap).ok())
                        .unwrap_or_default();
                    let channel = self.options.channels.first().cloned().unwrap_or_default();
                    self.ready.push_back((channel, Item::Gap(gap)));
                }
                Open::Page(poll.events.into(), poll.cursor)
            }
        };
        Ok(())
    }

    /// The server named a position that covers all channels.
    fn moved(&mut self, cursor: Option<String>) {
        let Some(cursor) = cursor else { return };
        if let [one] = self.options.channels.as_slice()
            && let Some(chain) = self.chains.get_mut(one)
            && !matches!(self.open, Open::Sse(_))
        {
            chain.advance(&cursor);
        }
        self.position = Some(cursor);
    }

    fn message(&mut self, message: ServerMessage) -> Result<(), Error> {
        match message {
            ServerMessage::Event(event) => self.event(event),
            ServerMessage::CaughtUp { channel, cursor } => {
                if let Some(chain) = self.chains.get_mut(&channel) {
                    chain.advance(&cursor);
                }
                self.ready.push_back((channel, Item::CaughtUp { cursor }));
            }
            ServerMessage::Gap { channel, gap } => {
                if let Some(chain) = self.chains.get_mut(&channel) {
                    chain.forget_predecessor();
                }
                self.ready.push_back((channel, Item::Gap(gap)));
            }
            ServerMessage::Lagging {
                channel: Some(channel),
            } => self.ready.push_back((channel, Item::Lagging)),
            ServerMessage::Connected { cursor, .. } | ServerMessage::Heartbeat { cursor } => {
                self.moved(cursor)
            }
            ServerMessage::Error { refusal, .. } => return Err(Error::from(refusal)),
            other => debug!(?other, "nothing to do"),
        }
        Ok(())
    }

    fn event(&mut self, event: Box<Event>) {
        let channel = event.channel.clone();
        let Some(chain) = self.chains.get_mut(&channel) else {
            return;
        };
        let item = match chain.judge(&event) {
            Verdict::New => Item::Event(event),
            Verdict::Repeated => return,
            Verdict::Broken { expected, .. } => {
                chain.accept_broken(&event);
                Item::Broken { expected, event }
            }
        };
        self.ready.push_back((channel, item));
    }
}
