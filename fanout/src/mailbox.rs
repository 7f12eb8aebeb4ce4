//! What a shard is told by the rest of the node, in order, and the bell that wakes it.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use mio::Waker;
use protocol::{Identity, Position, ProtocolError};
use schemas::Channel;
use tokio::sync::Notify;

use crate::{
    chunk::Chunk,
    event::Delivered,
    guard::Guard,
    pipe::{Form, Pipe},
    sub::{ConnKey, Sub, SubKey},
};

/// Rounds of the hubs that a shard may have unread before the hubs wait for it.
const ROUNDS_MAX: usize = 64;

/// What a shard is told.
#[derive(Debug)]
pub(crate) enum ToShard {
    /// An event for everybody who listens to the channel.
    Event {
        channel: Channel,
        event: Arc<Delivered>,
    },
    /// The answer to a subscription's pull.
    Pulled {
        sub: SubKey,
        pulled: Result<Box<Chunk>, ProtocolError>,
    },
    /// The hub dropped the channel: listeners pull from where they are.
    Cut { channel: Channel },
    /// Whether the node still has everything of these channels: `since` says for how long not, `None` that it has again.
    Stale {
        channels: Vec<Channel>,
        since: Option<Duration>,
    },
    /// Where the cursor kept for a subscription stands: it may begin.
    Kept {
        sub: SubKey,
        found: Result<Option<Position>, ProtocolError>,
    },
    /// Everything up to this position is acknowledged for a subscription, on whichever way.
    Acked { sub: SubKey, position: Position },
    /// A WebSocket is handed over.
    Adopt(Box<NewConnection>),
    /// A streamed HTTP answer is handed over.
    Stream(Box<NewStream>),
    /// The answer to a request that was worked on elsewhere.
    Answer {
        conn: ConnKey,
        /// It was counted among the requests that the connection has waiting.
        counted: bool,
        message: Option<Bytes>,
    },
    /// The body of a streamed answer took what was queued.
    Drained(ConnKey),
    /// The body of a streamed answer was dropped.
    Gone(ConnKey),
    /// Close everything that is open, and go on.
    Dismiss,
    /// Close everything, spread over this many milliseconds.
    Drain { spread_ms: u64 },
}

/// The way into one shard.
#[derive(Debug)]
pub(crate) struct Mailbox {
    shard: usize,
    queue: Mutex<Vec<ToShard>>,
    rounds: AtomicUsize,
    room: Notify,
    rung: AtomicBool,
    waker: Waker,
}

impl Mailbox {
    pub(crate) fn new(shard: usize, waker: Waker) -> Self {
        Self {
            shard,
            queue: Mutex::new(Vec::new()),
            rounds: AtomicUsize::new(0),
            room: Notify::new(),
            rung: AtomicBool::new(false),
            waker,
        }
    }

    pub(crate) fn shard(&self) -> usize {
        self.shard
    }

    /// Never waits. What comes this way is bounded by what each connection may have under way.
    pub(crate) fn post(&self, message: ToShard) {
        self.lock().push(message);
        self.ring();
    }

    /// A hub's round: waits while the shard has too many unread.
    pub(crate) async fn post_round(&self, mut round: Vec<ToShard>) {
        loop {
            let room = self.room.notified();
            if self.rounds.load(Ordering::Acquire) < ROUNDS_MAX {
                break;
            }
            room.await;
        }
        self.rounds.fetch_add(1, Ordering::AcqRel);
        self.lock().append(&mut round);
        self.ring();
    }

    /// Everything that came since the last time, into `into`, which must be empty.
    pub(crate) fn take(&self, into: &mut Vec<ToShard>) {
        self.rung.store(false, Ordering::Release);
        std::mem::swap(&mut *self.lock(), into);
        if self.rounds.swap(0, Ordering::AcqRel) >= ROUNDS_MAX {
            self.room.notify_waiters();
        }
    }

    fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel)
            && let Err(error) = self.waker.wake()
            && error.kind() != io::ErrorKind::WouldBlock
        {
            tracing::error!(%error, shard = self.shard, "a shard cannot be woken");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<ToShard>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A WebSocket whose handshake is done.
#[derive(Debug)]
pub(crate) struct NewConnection {
    pub(crate) id: Box<str>,
    pub(crate) socket: std::net::TcpStream,
    pub(crate) early: Vec<u8>,
    /// Who it is, that it will say so, or why it must go at once.
    pub(crate) who: Admission,
    /// The subscription that the path makes.
    pub(crate) sugar: Option<Sugar>,
    pub(crate) guard: Guard,
}

/// The subscription that a path makes, or why it cannot.
#[derive(Debug)]
pub(crate) struct Sugar {
    /// The channel as the path names it.
    pub(crate) channel: String,
    pub(crate) subscribe: Result<Box<protocol::client::Subscribe>, ProtocolError>,
}

/// What the handshake knows of a client.
#[derive(Debug)]
pub(crate) enum Admission {
    Known(Arc<Identity>),
    /// A `connect` request must come first.
    Awaited,
    Refused(ProtocolError),
}

/// A streamed HTTP answer, its first chunks pulled.
#[derive(Debug)]
pub(crate) struct NewStream {
    pub(crate) id: Box<str>,
    pub(crate) who: Arc<Identity>,
    pub(crate) pipe: Arc<Pipe>,
    pub(crate) form: Form,
    pub(crate) subs: Vec<(Sub, Box<Chunk>)>,
    pub(crate) guard: Guard,
}
