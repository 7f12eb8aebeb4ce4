//! The ways to publish. One offer is made once; what came of each event is told, and nothing is repeated here.

use std::time::Duration;

use client::{
    Credential, Error, Http, Publish, Published, Refusal, ServerMessage, Socket, SocketOptions,
};
use testbed::Random;
use tokio::time::{Instant, timeout_at};

use super::Desk;
use super::backend::{Kcat, Producer};
use crate::evidence::{Cursor, Told};

/// Longer than the server's request timeout, so that it is the server who gives up.
const ANSWER: Duration = Duration::from_secs(8);

/// What came of one event.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    pub(super) told: Told,
    pub(super) next: Next,
}

/// What the publisher does about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// It is in the log.
    Done,
    /// The same again.
    Retry,
    /// The server expects this number of the outbox.
    RetryFrom(u64),
    /// A newer epoch is there: with a higher one.
    RaiseEpoch,
    /// Never.
    Drop,
}

impl Outcome {
    pub(super) const UNKNOWN: Outcome = Outcome {
        told: Told::Unknown,
        next: Next::Retry,
    };

    /// From Rivermouth's answer, or from its absence.
    pub(crate) fn of(desk: &Desk, answer: Result<Published, Error>) -> Outcome {
        match answer {
            Ok(published) => Outcome {
                told: Told::Acked {
                    cursor: published.cursor.as_deref().and_then(Cursor::parse),
                    duplicate: published.duplicate,
                },
                next: Next::Done,
            },
            Err(Error::Refused(refusal)) => refused(desk, &refusal),
            Err(_) => Outcome::UNKNOWN,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.next == Next::Done
    }
}

/// A way to publish.
#[derive(Debug)]
pub(super) enum Gate {
    /// A WebSocket, several requests in one frame.
    Socket {
        token: String,
        open: Option<Box<Socket>>,
    },
    /// One HTTP request per event.
    Single { token: String },
    /// One HTTP request for many.
    Batch { token: String },
    /// A backend with librdkafka.
    Producer(Producer),
    /// A backend with kcat.
    Kcat(Kcat),
}

impl Gate {
    /// Offers events in order, and gives as many outcomes.
    pub(super) async fn offer(
        &mut self,
        desk: &Desk,
        random: &mut Random,
        events: &[Publish],
    ) -> Vec<Outcome> {
        let outcomes = match self {
            Gate::Socket { token, open } => socket(desk, random, token, open, events).await,
            Gate::Single { token } => single(&http(desk, random, token), desk, events).await,
            Gate::Batch { token } => batch(&http(desk, random, token), desk, events).await,
            Gate::Producer(producer) => producer.offer(events).await,
            Gate::Kcat(kcat) => kcat.offer(events).await,
        };
        assert_eq!(outcomes.len(), events.len(), "an outcome for each event");
        outcomes
    }

    /// Most events of one offer.
    pub(super) fn most(&self) -> usize {
        match self {
            Gate::Socket { .. } => 16,
            Gate::Single { .. } => 1,
            Gate::Batch { .. } => 100,
            Gate::Producer(_) | Gate::Kcat(_) => 500,
        }
    }

    /// Whether all events of an offer have to be of one channel.
    pub(super) fn one_channel(&self) -> bool {
        matches!(self, Gate::Kcat(_))
    }
}

fn http(desk: &Desk, random: &mut Random, token: &str) -> Http {
    let http =
        Http::new(desk.http_door(random), Some(token)).expect("a bare HTTP client can be made");
    http.with_deadline(ANSWER)
}

async fn single(http: &Http, desk: &Desk, events: &[Publish]) -> Vec<Outcome> {
    let mut outcomes = Vec::with_capacity(events.len());
    for event in events {
        outcomes.push(Outcome::of(desk, http.publish(event).await));
    }
    outcomes
}

async fn batch(http: &Http, desk: &Desk, events: &[Publish]) -> Vec<Outcome> {
    match http.publish_batch(events).await {
        Ok(answers) => answers
            .into_iter()
            .map(|answer| Outcome::of(desk, answer.map_err(Error::from)))
            .collect(),
        Err(error) => vec![Outcome::of(desk, Err(error)); events.len()],
    }
}

async fn socket(
    desk: &Desk,
    random: &mut Random,
    token: &str,
    open: &mut Option<Box<Socket>>,
    events: &[Publish],
) -> Vec<Outcome> {
    let mut outcomes = vec![Outcome::UNKNOWN; events.len()];
    if open.is_none() {
        let options = SocketOptions {
            connect_timeout: Duration::from_secs(5),
            ..SocketOptions::default()
        };
        let door = desk.reader_door(random);
        let credential = Credential::Subprotocol(token.to_owned());
        match Socket::open(&door, "/ws", &credential, &options).await {
            Ok((socket, _)) => *open = Some(Box::new(socket)),
            Err(_) => return not_sent(desk, events.len()),
        }
    }
    let Some(socket) = open.as_mut() else {
        return outcomes;
    };
    if answers(desk, socket, events, &mut outcomes).await.is_none() {
        // What is still to come on this connection must not be taken for an answer to the next offer.
        *open = None;
    }
    outcomes
}

/// Nothing of it has left.
fn not_sent(desk: &Desk, count: usize) -> Vec<Outcome> {
    let told = Told::Refused(desk.names.number("not sent"));
    let next = Next::Retry;
    vec![Outcome { told, next }; count]
}

/// None when the connection is not to be used any more.
async fn answers(
    desk: &Desk,
    socket: &mut Socket,
    events: &[Publish],
    outcomes: &mut [Outcome],
) -> Option<()> {
    let request = |(at, event): (usize, &Publish)| {
        let params = event.to_json();
        format!(r#"{{"type":"request","id":"p{at}","method":"publish","params":{params}}}"#)
    };
    let requests: Vec<String> = events.iter().enumerate().map(request).collect();
    let deadline = Instant::now() + ANSWER;
    socket.send(requests.join("\n")).await.ok()?;
    let mut missing = events.len();
    while missing > 0 {
        let message = timeout_at(deadline, socket.next()).await.ok()?.ok()?;
        let (id, outcome) = match message {
            ServerMessage::Response { id, data } => {
                let published = serde_json::from_str::<Published>(&data).ok()?;
                (Some(id), Outcome::of(desk, Ok(published)))
            }
            ServerMessage::Error { id, refusal, .. } => {
                (id, Outcome::of(desk, Err(Error::from(refusal))))
            }
            _ => continue,
        };
        let at: usize = id?.strip_prefix('p')?.parse().ok()?;
        *outcomes.get_mut(at)? = outcome;
        missing -= 1;
    }
    Some(())
}

fn refused(desk: &Desk, refusal: &Refusal) -> Outcome {
    if matches!(refusal.name.as_str(), "TIMEOUT" | "INTERNAL") {
        return Outcome::UNKNOWN;
    }
    let next = match (refusal.name.as_str(), refusal.detail_u64("seq")) {
        ("STALE_PRODUCER", _) => Next::RaiseEpoch,
        (_, Some(seq)) => Next::RetryFrom(seq),
        _ if refusal.retryable => Next::Retry,
        _ => Next::Drop,
    };
    Outcome {
        told: Told::Refused(desk.names.number(&refusal.name)),
        next,
    }
}
