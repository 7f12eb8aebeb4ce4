//! A shard: one thread that owns its connections, their subscriptions and their queues; no locks, no task and no
//! timer per connection. It waits for sockets and its mailbox, does everything that is there, and then writes to
//! each touched connection once.

mod admit;
mod adopt;
mod chunk;
mod conn;
mod conns;
mod deliver;
mod due;
mod kept;
mod out;
mod request;
mod tick;
mod write;
mod ws;

use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use mio::{Events, Poll, Token, Waker};
use schemas::Channel;
use service::Component;

use crate::{
    mailbox::{Mailbox, Sugar, ToShard},
    node::Node,
    pull::Command,
    sub::{ConnKey, SubKey},
};
use conn::{Conn, Phase};
use conns::Conns;
use ws::READ_MAX;

/// The mailbox's token; connections have their place in the slab.
const MAILBOX: Token = Token(usize::MAX);
/// How long a closed connection may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(5);
/// How often time is looked at.
const TICK: Duration = Duration::from_millis(500);

/// A thread's worth of connections.
pub(crate) struct Shard {
    node: Arc<Node>,
    poll: Poll,
    mailbox: Arc<Mailbox>,
    /// Says that this thread lives: a shard that died fails the process's health.
    heartbeat: Component,
    conns: Conns,
    serials: u64,
    /// Live subscriptions by channel.
    live: HashMap<Channel, Vec<SubKey>>,
    /// Connections with something to write.
    dirty: Vec<usize>,
    /// Connections with more to read than one turn's worth.
    unread: Vec<usize>,
    /// Connections whose subscriptions may pull.
    hungry: Vec<ConnKey>,
    /// Commands that a full hub did not take; bounded by the subscriptions.
    unsent: VecDeque<(usize, Command)>,
    /// Subscriptions of paths whose connection has not said yet who it is.
    awaited: HashMap<u64, Sugar>,
    read_buffer: Box<[u8]>,
    write_buffer: Vec<u8>,
    now: Instant,
    now_ms: i64,
    ticked: Instant,
    /// Closing all connections: the next to close, and how many at a tick.
    drain: Option<tick::Drain>,
}

impl Shard {
    /// The poll and mailbox of a shard, made before the node so that others can reach it.
    pub(crate) fn open(index: usize) -> io::Result<(Poll, Arc<Mailbox>)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), MAILBOX)?;
        Ok((poll, Arc::new(Mailbox::new(index, waker))))
    }

    /// Runs the shard on a thread of its own until it was told to drain and the last connection is gone.
    pub(crate) fn start(
        node: Arc<Node>,
        poll: Poll,
        mailbox: Arc<Mailbox>,
        heartbeat: Component,
    ) -> io::Result<thread::JoinHandle<()>> {
        thread::Builder::new()
            .name(format!("shard-{}", mailbox.shard()))
            .spawn(move || {
                let now = Instant::now();
                let shard = Shard {
                    node,
                    poll,
                    mailbox,
                    heartbeat,
                    conns: Conns::new(),
                    serials: 0,
                    live: HashMap::new(),
                    dirty: Vec::new(),
                    unread: Vec::new(),
                    hungry: Vec::new(),
                    unsent: VecDeque::new(),
                    awaited: HashMap::new(),
                    read_buffer: vec![0; READ_MAX].into_boxed_slice(),
                    write_buffer: Vec::new(),
                    now,
                    now_ms: service::http::now_ms(),
                    ticked: now,
                    drain: None,
                };
                shard.run();
            })
    }

    fn run(mut self) {
        let mut events = Events::with_capacity(1024);
        let mut inbox = Vec::new();
        loop {
            let timeout = if self.unread.is_empty() && self.unsent.is_empty() {
                TICK
            } else {
                Duration::from_millis(1)
            };
            match self.poll.poll(&mut events, Some(timeout)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    tracing::error!(%error, shard = self.mailbox.shard(), "a shard cannot wait for its sockets");
                    return;
                }
            }
            self.now = Instant::now();
            self.now_ms = service::http::now_ms();
            for index in std::mem::take(&mut self.unread) {
                self.readable(index);
            }
            let mut rung = false;
            for event in &events {
                let Token(index) = event.token();
                if event.token() == MAILBOX {
                    rung = true;
                    continue;
                }
                if event.is_writable() {
                    self.mark(index);
                }
                if event.is_readable() || event.is_read_closed() || event.is_error() {
                    self.readable(index);
                }
            }
            if rung {
                self.mailbox.take(&mut inbox);
                for message in inbox.drain(..) {
                    self.told(message);
                }
            }
            if self.now.duration_since(self.ticked) >= TICK {
                self.ticked = self.now;
                self.heartbeat.ok();
                self.tick();
            }
            self.settle();
            if self.drain.is_some() && self.conns.is_empty() {
                return;
            }
        }
    }

    fn told(&mut self, message: ToShard) {
        match message {
            ToShard::Event { channel, event } => self.broadcast(&channel, &event),
            ToShard::Pulled { sub, pulled } => self.pulled(sub, pulled),
            ToShard::Cut { channel } => self.cut(&channel),
            ToShard::Stale { channels, since } => self.stale(&channels, since),
            ToShard::Kept { sub, found } => self.kept(sub, found),
            ToShard::Acked { sub, position } => self.acked(sub, position),
            ToShard::Adopt(new) => self.adopt(*new),
            ToShard::Stream(new) => self.adopt_stream(*new),
            ToShard::Answer {
                conn,
                counted,
                message,
            } => {
                if let Some(known) = self.conn(conn) {
                    known.waiting = known.waiting.saturating_sub(u16::from(counted));
                    if let Some(message) = message {
                        self.say(conn.index, message);
                    }
                }
            }
            ToShard::Drained(key) => {
                if self.conn(key).is_some() {
                    self.mark(key.index);
                }
            }
            ToShard::Gone(key) => {
                if self.conn(key).is_some() {
                    self.forget(key.index);
                }
            }
            ToShard::Dismiss => self.dismiss_all(),
            ToShard::Drain { spread_ms } => self.begin_drain(spread_ms),
        }
    }

    /// The end of a round: write what is queued, pull what there is room for, until neither brings anything new.
    fn settle(&mut self) {
        for _ in 0..2 {
            for index in std::mem::take(&mut self.dirty) {
                self.flush(index);
            }
            for key in std::mem::take(&mut self.hungry) {
                self.feed(key);
            }
        }
        while let Some((hub, command)) = self.unsent.pop_front() {
            if let Err(error) = self.node.hubs[hub].try_send(command) {
                self.unsent.push_front((hub, error.into_inner()));
                break;
            }
        }
    }

    /// The connection, if it is still the one that was meant.
    fn conn(&mut self, key: ConnKey) -> Option<&mut Conn> {
        self.conns
            .get_mut(key.index)
            .filter(|c| c.serial == key.serial)
    }
}
