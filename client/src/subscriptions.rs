//! Subscriptions: what is asked for, what is given to the reader, and each one's state in the driver.

use std::collections::HashMap;
use std::time::Instant;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::acks::Acks;
use crate::chain::{Chain, Verdict};
use crate::error::Error;
use crate::message::{Event, Gap};

/// Where a reading begins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Since {
    /// With what comes from now on.
    #[default]
    Latest,
    /// With the oldest event that is still there.
    Earliest,
    /// After this cursor.
    Cursor(String),
    /// With the first event at or after this Unix millisecond.
    TimeMs(i64),
    /// With the last n events (1–1000).
    Last(u32),
}

impl Since {
    fn to_value(&self) -> Value {
        match self {
            Since::Latest => json!("latest"),
            Since::Earliest => json!("earliest"),
            Since::Cursor(cursor) => json!(cursor),
            Since::TimeMs(ms) => json!({ "time": ms }),
            Since::Last(count) => json!({ "last": count }),
        }
    }

    /// As the query parameter `since`.
    pub fn to_query(&self) -> String {
        match self {
            Since::Latest => "latest".into(),
            Since::Earliest => "earliest".into(),
            Since::Cursor(cursor) => cursor.clone(),
            Since::TimeMs(ms) => format!("time:{ms}"),
            Since::Last(count) => format!("last:{count}"),
        }
    }
}

/// What to subscribe to.
#[derive(Debug, Clone)]
pub struct Subscribe {
    /// The channel.
    pub channel: String,
    /// Where to begin.
    pub since: Since,
    /// Only these event names (1–64); empty means all.
    pub types: Vec<String>,
    /// The most events the server sends ahead of acknowledgements (1–10 000); acknowledged as the reader takes
    /// them. None: no limit but the connection's.
    pub window: Option<u32>,
    /// A name under which the server keeps the acknowledged cursor.
    pub durable: Option<String>,
    /// How many items may wait for the reader; beyond it the whole connection waits, and the server's
    /// backlog stays in the log.
    pub queue: usize,
}

impl Subscribe {
    /// A channel from `since`, everything else as usual.
    pub fn new(channel: impl Into<String>, since: Since) -> Subscribe {
        Subscribe {
            channel: channel.into(),
            since,
            types: Vec::new(),
            window: None,
            durable: None,
            queue: 1024,
        }
    }

    fn params(&self, position: Option<&str>) -> String {
        let since = position.map_or_else(|| self.since.to_value(), |cursor| json!(cursor));
        let mut params = json!({ "channel": self.channel, "since": since });
        if !self.types.is_empty() {
            params["types"] = json!(self.types);
        }
        if let Some(window) = self.window {
            params["window"] = json!(window);
        }
        if let Some(durable) = &self.durable {
            params["durable"] = json!(durable);
        }
        params.to_string()
    }
}

/// What a reader gets.
#[derive(Debug, Clone)]
pub enum Item {
    /// The subscription stands (again): first, and after every reconnect.
    Subscribed {
        /// The response's cursor.
        cursor: Option<String>,
        /// False when something after the asked position is missing; a [`Item::Gap`] follows.
        recovered: bool,
    },
    /// The next event.
    Event(Box<Event>),
    /// Everything up to this cursor has been given.
    CaughtUp {
        /// The position reached.
        cursor: String,
    },
    /// A part of the log is gone.
    Gap(Gap),
    /// This connection fell behind; the server now reads from the log.
    Lagging,
    /// The connection is lost and will be made again.
    Disconnected(String),
    /// The next event, before which something is missing although it was asked for again: a defect of the
    /// server.
    Broken {
        /// The cursor that the event's `prev` should have named.
        expected: Option<String>,
        /// The event.
        event: Box<Event>,
    },
    /// The last item: the server ended this subscription.
    Ended(Error),
}

#[derive(Deserialize)]
struct Response {
    cursor: Option<String>,
    #[serde(default)]
    recovered: bool,
}

/// One subscription in the driver.
#[derive(Debug)]
pub(crate) struct Sub {
    pub(crate) id: u64,
    request: Subscribe,
    chain: Chain,
    items: mpsc::Sender<Item>,
    /// The caller of `subscribe`, until it was answered.
    reply: Option<oneshot::Sender<Result<(), Error>>>,
    /// True between `subscribe` and its response: what comes meanwhile belongs to an older subscription.
    waiting: bool,
    /// True after a broken chain, until the next event that fits.
    refetched: bool,
    acks: Acks,
    /// A refused `subscribe` may be repeated from here on.
    pub(crate) not_before: Option<Instant>,
}

/// What the driver has to do after an event.
pub(crate) enum Judged {
    Deliver(Item),
    Drop,
    Refetch,
}

impl Sub {
    pub(crate) fn new(
        id: u64,
        request: Subscribe,
        items: mpsc::Sender<Item>,
        reply: oneshot::Sender<Result<(), Error>>,
    ) -> Sub {
        let filtered = !request.types.is_empty();
        let chain = match &request.since {
            Since::Cursor(cursor) => Chain::resumed(cursor.clone(), filtered),
            _ => Chain::new(filtered),
        };
        let reply = Some(reply);
        Sub {
            id,
            request,
            chain,
            items,
            reply,
            waiting: true,
            refetched: false,
            acks: Acks::default(),
            not_before: None,
        }
    }

    /// The parameters of the `subscribe` that goes on from where this one stands.
    pub(crate) fn params(&mut self) -> String {
        self.waiting = true;
        self.acks.begin();
        self.not_before = None;
        self.request.params(self.chain.position())
    }

    pub(crate) fn items(&self) -> &mpsc::Sender<Item> {
        &self.items
    }

    pub(crate) fn responded(&mut self, data: &str) -> Item {
        self.waiting = false;
        let response = serde_json::from_str(data).unwrap_or(Response {
            cursor: None,
            recovered: false,
        });
        if let (Since::Latest, Some(cursor)) = (&self.request.since, &response.cursor) {
            // A resume must not lose what was published before the first event came.
            self.chain.advance(cursor);
        }
        if let Some(cursor) = &response.cursor {
            self.acks.saw(cursor);
            let further = self.chain.position().is_none_or(|at| at < cursor.as_str());
            if self.request.durable.is_some() && further {
                // What was kept under the name is further than what was asked for.
                self.chain.advance(cursor);
                self.chain.forget_predecessor();
            }
        }
        if let Some(reply) = self.reply.take() {
            // A caller that went away is noticed by its dropped reader.
            let _ = reply.send(Ok(()));
        }
        Item::Subscribed {
            cursor: response.cursor,
            recovered: response.recovered,
        }
    }

    /// The server refused or ended this subscription.
    pub(crate) fn ended(mut self, error: Error) -> Option<(mpsc::Sender<Item>, Item)> {
        match self.reply.take() {
            Some(reply) => {
                let _ = reply.send(Err(error));
                None
            }
            None => Some((self.items, Item::Ended(error))),
        }
    }

    pub(crate) fn event(&mut self, event: Box<Event>) -> Judged {
        if self.waiting {
            return Judged::Drop;
        }
        if let Some(cursor) = &event.cursor {
            self.acks.saw(cursor);
        }
        match self.chain.judge(&event) {
            Verdict::New => {
                self.refetched = false;
                Judged::Deliver(Item::Event(event))
            }
            Verdict::Repeated => Judged::Drop,
            Verdict::Broken { .. } if !self.refetched => {
                self.refetched = true;
                Judged::Refetch
            }
            Verdict::Broken { expected, .. } => {
                // Asked twice and told the same: say so, and take the rest as it comes.
                self.refetched = false;
                self.chain.accept_broken(&event);
                Judged::Deliver(Item::Broken { expected, event })
            }
        }
    }

    pub(crate) fn caught_up(&mut self, cursor: String) -> Option<Item> {
        (!self.waiting).then(|| {
            self.chain.advance(&cursor);
            self.acks.saw(&cursor);
            Item::CaughtUp { cursor }
        })
    }

    pub(crate) fn gap(&mut self, gap: Gap) -> Option<Item> {
        (!self.waiting).then(|| {
            self.chain.forget_predecessor();
            Item::Gap(gap)
        })
    }

    pub(crate) fn acknowledge(&mut self, cursor: &str) {
        self.acks.handled(cursor);
    }

    /// The acknowledgement to send, once.
    pub(crate) fn take_ack(&mut self, now: Instant) -> Option<String> {
        if self.waiting {
            None
        } else {
            self.acks.next(now)
        }
    }

    /// The server has no room for the last acknowledgement until then.
    pub(crate) fn ack_refused(&mut self, at: Instant) {
        self.acks.refused(at);
    }

    /// When it has something to do without being told.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        self.not_before
            .into_iter()
            .chain(self.acks.not_before)
            .min()
    }
}

/// All subscriptions of a connection, by channel.
pub(crate) type Subs = HashMap<String, Sub>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resume_asks_from_the_position_and_not_from_the_beginning() {
        let (items, _reader) = mpsc::channel(1);
        let (reply, _) = oneshot::channel();
        let mut request = Subscribe::new("session.1", Since::Latest);
        request.types = vec!["draw".into()];
        let mut sub = Sub::new(1, request, items, reply);
        assert_eq!(
            sub.params(),
            r#"{"channel":"session.1","since":"latest","types":["draw"]}"#
        );
        sub.responded(r#"{"channel":"session.1","cursor":"c7","recovered":true}"#);
        assert_eq!(
            sub.params(),
            r#"{"channel":"session.1","since":"c7","types":["draw"]}"#
        );
    }

    #[test]
    fn a_kept_cursor_that_is_further_than_since_breaks_no_chain() {
        let (items, _reader) = mpsc::channel(1);
        let (reply, _) = oneshot::channel();
        let mut request = Subscribe::new("session.1", Since::Cursor("c1".into()));
        request.durable = Some("tab".into());
        let mut sub = Sub::new(1, request, items, reply);
        sub.params();
        sub.responded(r#"{"channel":"session.1","cursor":"c5","recovered":true}"#);
        let text = r#"{"type":"event","channel":"session.1","event":"draw","id":"i","userId":null,"data":1,"timestamp":7,"cursor":"c6","prev":"c5"}"#;
        let Ok(crate::ServerMessage::Event(event)) = crate::ServerMessage::parse(text) else {
            panic!("no event")
        };
        assert!(matches!(sub.event(event), Judged::Deliver(Item::Event(_))));
        assert_eq!(sub.take_ack(Instant::now()), None);
        sub.acknowledge("c6");
        assert_eq!(sub.take_ack(Instant::now()).as_deref(), Some("c6"));
    }

    #[test]
    fn since_is_written_as_the_protocol_has_it() {
        let written: Vec<(String, String)> = [
            Since::Latest,
            Since::Earliest,
            Since::Cursor("c".into()),
            Since::TimeMs(5),
            Since::Last(3),
        ]
        .iter()
        .map(|since| (since.to_value().to_string(), since.to_query()))
        .collect();
        let expected = [
            (r#""latest""#, "latest"),
            (r#""earliest""#, "earliest"),
            (r#""c""#, "c"),
            (r#"{"time":5}"#, "time:5"),
            (r#"{"last":3}"#, "last:3"),
        ];
        for (written, expected) in written.iter().zip(expected) {
            assert_eq!((written.0.as_str(), written.1.as_str()), expected);
        }
    }
}
