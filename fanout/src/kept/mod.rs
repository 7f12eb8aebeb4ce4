//! Kept cursors: how far each (user, name, channel) is acknowledged, kept in the log's state topic.
//!
//! Acknowledgements enter through a [`Watch`], are put together per key ([`pending`]) and appended by the
//! [`writer`]. The [`reader`] follows the state topic: what the store may not have yet stays in memory ([`tail`]), and
//! the subscriptions of this node hear of what is kept for them, whichever node took it ([`audience`]). Where a
//! subscription begins is looked up in both ([`lookup`]).

mod audience;
mod lookup;
mod pending;
mod reader;
mod tail;
mod watch;
mod writer;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use broker::BrokerError;
use bytes::Bytes;
use protocol::{Position, ProtocolError, access::view_of, server};
use schemas::{Channel, Kept, KeptKey};
use service::Shutdown;
use tokio::{
    sync::{Notify, Semaphore, mpsc, oneshot, watch as progress},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    mailbox::{Mailbox, ToShard},
    metrics::KeptMetrics,
    place::Place,
    sub::{ConnKey, SubKey},
    tier::Tiers,
};
use audience::Audience;
use lookup::{QUESTIONS_MAX, Question};
use pending::{Pending, Taken};
use tail::{Read, Tail};

pub(crate) use watch::{Acked, Watch};

/// Keys that the tail of one partition holds at most.
const TAIL_MAX: usize = 65_536;

/// A kept cursor as a position, and when it was acknowledged (Unix milliseconds).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) position: Position,
    pub(crate) at_ms: i64,
}

/// What "further" means: a newer generation of the topic first, then the offset.
pub(crate) fn reach(position: Position) -> (u16, i64) {
    (position.generation, position.next)
}

/// The channel whose events are read for `asked`, which may be a view.
pub(crate) fn source_of(asked: &Channel) -> Channel {
    view_of(asked).map_or_else(|| asked.clone(), |(source, _)| source)
}

/// Who waits for an acknowledgement to be in the log.
#[derive(Debug)]
pub(crate) enum Asker {
    /// A request of a WebSocket.
    Request {
        mailbox: Arc<Mailbox>,
        conn: ConnKey,
        id: String,
        channel: Channel,
    },
    /// A task.
    Once(oneshot::Sender<Result<(), ProtocolError>>),
}

impl Asker {
    fn tell(self, answer: Result<(), ProtocolError>) {
        match self {
            Asker::Request {
                mailbox,
                conn,
                id,
                channel,
            } => {
                let mut line = match answer {
                    Ok(()) => server::response_raw(&id, b"{}"),
                    Err(error) => {
                        let now_ms = service::http::now_ms();
                        server::error(Some(&id), Some(channel.as_str()), &error, now_ms)
                    }
                };
                line.push(b'\n');
                mailbox.post(ToShard::Answer {
                    conn,
                    counted: true,
                    message: Some(Bytes::from(line)),
                });
            }
            // Whoever went away no longer wants to know.
            Asker::Once(sender) => drop(sender.send(answer)),
        }
    }
}

/// Where a subscription with a window hears of what is kept for it.
#[derive(Debug, Clone)]
struct Seat {
    mailbox: Arc<Mailbox>,
    sub: SubKey,
}

/// The kept cursors of one node.
#[derive(Debug)]
pub(crate) struct Keeper {
    tiers: Arc<Tiers>,
    request_timeout: Duration,
    state: Mutex<State>,
    /// Up to where each partition of the state topic is read.
    read_to: Vec<progress::Sender<i64>>,
    /// The writer has something to do sooner than it thought.
    bell: Notify,
    questions: mpsc::Sender<Question>,
    /// One permit for each question that is not answered yet.
    room: Arc<Semaphore>,
    metrics: KeptMetrics,
}

#[derive(Debug)]
struct State {
    pending: Pending<Asker>,
    audience: Audience<Seat>,
    /// By partition; `None` until it is opened.
    tails: Vec<Option<Tail>>,
    /// Partitions to be read from further back: the store knows less than it did, or is away.
    stale: BTreeSet<i32>,
}

impl Keeper {
    /// Starts the three tasks. They end when `stop` is cancelled, the writer once the log has everything, or after a
    /// few seconds; `shutdown` waits for them.
    pub(crate) fn start(
        tiers: Arc<Tiers>,
        request_timeout: Duration,
        metrics: KeptMetrics,
        stop: &CancellationToken,
        shutdown: &Shutdown,
    ) -> Result<Arc<Self>, BrokerError> {
        let partitions = tiers.framer.directory.state_partitions();
        let reader = tiers.log.steady_reader()?;
        let (questions, asked) = mpsc::channel(QUESTIONS_MAX);
        let keeper = Arc::new(Self {
            tiers,
            request_timeout,
            state: Mutex::new(State {
                pending: Pending::new(),
                audience: Audience::new(),
                tails: (0..partitions).map(|_| None).collect(),
                stale: BTreeSet::new(),
            }),
            read_to: (0..partitions)
                .map(|_| progress::Sender::new(i64::MIN))
                .collect(),
            bell: Notify::new(),
            questions,
            room: Arc::new(Semaphore::new(QUESTIONS_MAX)),
            metrics,
        });
        let reading = reader::run(Arc::clone(&keeper), reader, stop.clone());
        shutdown.spawn("fanout kept reader", reading);
        let writing = writer::run(Arc::clone(&keeper), stop.clone());
        shutdown.spawn("fanout kept writer", writing);
        let answering = lookup::run(Arc::clone(&keeper), asked, stop.clone());
        shutdown.spawn("fanout kept look-up", answering);
        Ok(keeper)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self, key: &KeptKey) -> Place {
        self.tiers.framer.directory.kept(key)
    }

    /// The position that a cursor names in the channel of a key.
    fn position(&self, key: &KeptKey, cursor: &str) -> Option<Position> {
        let cursors = &self.tiers.framer.cursors;
        cursors.decode(&source_of(&key.channel), cursor).ok()
    }

    fn record(&self, key: &KeptKey, mark: Mark) -> Kept {
        let cursors = &self.tiers.framer.cursors;
        Kept {
            key: key.clone(),
            cursor: cursors.encode(
                &source_of(&key.channel),
                service::planted!("kept_too_far", protocol::Position { next: mark.position.next + 1, ..mark.position } => mark.position),
            ),
            at_ms: mark.at_ms,
        }
    }

    /// Takes an acknowledgement; `who` hears of it unless the answer says that the log has it already.
    fn take(
        &self,
        key: &Arc<KeptKey>,
        mark: Mark,
        who: Option<Asker>,
    ) -> Result<Acked, ProtocolError> {
        let now = Instant::now();
        let mut state = self.lock();
        let known = state.audience.known(key);
        if known.is_some_and(|known| reach(mark.position) <= reach(known.position)) {
            return Ok(Acked::Already);
        }
        let who = who.map(|who| (now + self.request_timeout, who));
        match state.pending.take(key, mark, who, now) {
            Ok(Taken::Already(_)) => Ok(Acked::Already),
            Ok(Taken::Coming(sooner)) => {
                if sooner {
                    self.bell.notify_one();
                }
                Ok(Acked::Coming)
            }
            Err(pending::Full) => Err(ProtocolError::unavailable(
                "too many acknowledgements are on their way",
                1_000,
            )),
        }
    }

    /// A partition is read from another offset on.
    fn begin(&self, partition: i32, tail: Tail) {
        let mut state = self.lock();
        // Whatever was to be begun again before this has been.
        state.stale.remove(&partition);
        let slot = &mut state.tails[partition as usize];
        *slot = Some(tail.instead_of(slot.as_ref()));
    }

    /// A record of the state topic.
    fn read(&self, partition: i32, offset: i64, kept: Kept) {
        let Some(position) = self.position(&kept.key, &kept.cursor) else {
            self.metrics.passed_over.inc();
            return;
        };
        let mark = Mark {
            position,
            at_ms: kept.at_ms,
        };
        let key = Arc::new(kept.key);
        let mut state = self.lock();
        let Some(tail) = state
            .tails
            .get_mut(partition as usize)
            .and_then(Option::as_mut)
        else {
            return;
        };
        // What is read again was mended when it was read first.
        let news = tail.is_news(offset);
        if let Read::Late(known) = tail.read(offset, Arc::clone(&key), mark) {
            if news {
                self.mend(&mut state, &key, known);
            }
            return;
        }
        match state.audience.known(&key) {
            Some(known) if reach(mark.position) < reach(known.position) => {
                if news {
                    self.mend(&mut state, &key, known);
                }
            }
            _ => {
                for Seat { mailbox, sub } in state.audience.learn(&key, mark) {
                    mailbox.post(ToShard::Acked { sub, position });
                }
            }
        }
    }

    /// A record came to lie behind one that is further: compaction would leave the wrong one. Who has an interest in
    /// the key writes the right one again; twice is harmless.
    fn mend(&self, state: &mut State, key: &Arc<KeptKey>, known: Mark) {
        if !state.audience.watches(key) {
            return;
        }
        // A full room: whoever acknowledges next writes a record that is further still.
        if state.pending.again(key, known, Instant::now()) {
            self.bell.notify_one();
        }
    }
}
