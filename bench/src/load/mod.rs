//! The load: many clients on one thread and one processor, each as cheap as can be, all of them checked.

mod conn;
mod connect;
mod hammer;
mod kafka;
mod pace;
mod round;
mod run;

use std::collections::HashMap;
use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use slab::Slab;

use crate::dialect::{Dialect, Who};
use crate::order::{Channel, Position, Wrong};
use conn::Conn;

pub use connect::Storm;
pub use hammer::Hammer;
pub use kafka::Kafka;
pub use pace::{Pace, Sender, Traffic, Way};
pub use run::{Run, Spent, Watched};

/// The clock's token; connections have their place in the slab.
const TIMER: Token = Token(usize::MAX);
/// Read at once from one socket, at most.
const READ_MAX: usize = 256 << 10;

/// A client's number in the load.
pub type Id = usize;

/// Clients that should all get the same events: the reading members of one channel.
#[derive(Debug)]
pub struct Group {
    order: Channel,
    /// Published for it.
    published: u64,
    /// The newest event that all of its members have, when it is wanted.
    newest: Option<Vec<u8>>,
}

/// All clients against one server.
pub struct Load {
    dialect: Rc<dyn Dialect>,
    poll: Poll,
    events: Events,
    timer: TimerFd,
    clock: Instant,
    conns: Slab<Conn>,
    groups: Vec<Group>,
    dirty: Vec<Id>,
    scratch: Box<[u8]>,
    counts: Counts,
    /// When the measurement began.
    since_ns: u64,
    complaints: Vec<String>,
    /// Whether the newest complete event of each group is kept.
    keep_newest: bool,
    /// Whether publishes are answered.
    asks: bool,
    /// The next number of every sender that has published before.
    numbers: HashMap<u32, u32>,
}

/// What is counted while a measurement runs.
#[derive(Debug)]
pub struct Counts {
    /// What is wrong.
    pub wrong: Wrong,
    /// Events received by somebody.
    pub deliveries: u64,
    /// Events published.
    pub published: u64,
    /// Publishes answered, when answers are asked for.
    pub acknowledged: u64,
    /// Bytes received.
    pub bytes: u64,
    /// Reads of sockets that had something.
    pub reads: u64,
    /// From due to received.
    pub latency: Histogram<u64>,
    /// From due to received by the last member; when answers are asked for, from due to answered.
    pub last: Histogram<u64>,
    joined: u64,
}

impl Counts {
    fn new() -> Counts {
        Counts {
            wrong: Wrong::default(),
            deliveries: 0,
            published: 0,
            acknowledged: 0,
            bytes: 0,
            reads: 0,
            latency: histogram(),
            last: histogram(),
            joined: 0,
        }
    }

    /// Begins anew, but for what is wrong; what there was.
    fn renew(&mut self) -> Counts {
        let fresh = Counts {
            wrong: self.wrong,
            ..Counts::new()
        };
        std::mem::replace(self, fresh)
    }
}

/// Nanoseconds up to two minutes, with three digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 120_000_000_000, 3).expect("the bounds are in order")
}

impl std::fmt::Debug for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Load")
            .field("dialect", &self.dialect)
            .field("clients", &self.conns.len())
            .finish_non_exhaustive()
    }
}

impl Load {
    /// A load without clients.
    pub fn new(dialect: Rc<dyn Dialect>) -> anyhow::Result<Load> {
        let poll = Poll::new()?;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK)?;
        let fd = std::os::fd::AsFd::as_fd(&timer).as_raw_fd();
        poll.registry()
            .register(&mut SourceFd(&fd), TIMER, Interest::READABLE)?;
        Ok(Load {
            dialect,
            poll,
            events: Events::with_capacity(1024),
            timer,
            clock: Instant::now(),
            conns: Slab::new(),
            groups: Vec::new(),
            dirty: Vec::new(),
            scratch: vec![0; READ_MAX].into_boxed_slice(),
            counts: Counts::new(),
            since_ns: 0,
            complaints: Vec::new(),
            keep_newest: false,
            asks: false,
            numbers: HashMap::new(),
        })
    }

    /// Clients to come that belong together; so many of them.
    pub fn group(&mut self, members: u32) -> usize {
        self.groups.push(Group {
            order: Channel::new(members),
            published: 0,
            newest: None,
        });
        self.groups.len() - 1
    }

    /// So many events of a group have been published by somebody else.
    pub fn expect(&mut self, group: usize, events: u64) {
        self.groups[group].published += events;
    }

    /// When the measurement began, in nanoseconds of [`Load::clock`].
    pub fn since_ns(&self) -> u64 {
        self.since_ns
    }

    /// What the times in payloads are counted from.
    pub fn clock(&self) -> Instant {
        self.clock
    }

    /// From now on the newest event that all members of a group have is kept, for [`Load::newest`].
    pub fn keep_newest(&mut self) {
        self.keep_newest = true;
    }

    /// From now on every publish over a socket is expected to be answered.
    pub fn expect_answers(&mut self) {
        self.asks = true;
    }

    /// The cursor of the newest event that all members of a group have.
    pub fn newest(&self, group: usize) -> Option<String> {
        let message = self.groups.get(group)?.newest.as_deref()?;
        self.dialect.cursor(message)
    }

    /// Lets clients stop reading, or read again.
    pub fn set_reading(&mut self, ids: &[Id], reading: bool) {
        for &id in ids {
            let Some(conn) = self.conns.get_mut(id) else {
                continue;
            };
            conn.reading = reading;
            if reading {
                self.read(id);
            }
        }
    }

    /// Gives clients' sockets so much room.
    pub fn set_room(&mut self, ids: &[Id], bytes: usize) -> anyhow::Result<()> {
        for &id in ids {
            if let Some(conn) = self.conns.get(id) {
                setsockopt(&conn.socket, sockopt::RcvBuf, &bytes)?;
            }
        }
        Ok(())
    }

    /// Cuts connections, without a word.
    pub fn cut(&mut self, ids: &[Id]) {
        for &id in ids {
            self.drop_conn(id);
        }
    }

    fn drop_conn(&mut self, id: Id) {
        if let Some(mut conn) = self.conns.try_remove(id) {
            let _ = self.poll.registry().deregister(&mut conn.socket);
        }
    }

    /// What is wrong so far, and the first complaints in words.
    pub fn wrong(&self) -> (Wrong, &[String]) {
        (self.counts.wrong, &self.complaints)
    }

    fn now_ns(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }

    fn complain(&mut self, text: String) {
        self.counts.wrong.complaints += 1;
        if self.complaints.len() < 5 {
            self.complaints.push(text);
        }
    }

    /// Waits for sockets, at most until `at_ns` of the load's clock: exactly, not by the milliseconds of epoll.
    fn wait(&mut self, at_ns: u64) -> io::Result<()> {
        let now = self.now_ns();
        let timeout = if at_ns <= now {
            Duration::ZERO
        } else {
            let left = Duration::from_nanos(at_ns - now);
            let once = Expiration::OneShot(TimeSpec::from(left));
            self.timer.set(once, TimerSetTimeFlags::empty())?;
            left + Duration::from_millis(50)
        };
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            other => other,
        }
    }

    /// Opens a connection that will be `who`, in `group` when it is a member.
    fn open(&mut self, who: Who, group: usize, position: Position) -> anyhow::Result<Id> {
        let entry = self.conns.vacant_entry();
        let id = entry.key();
        let mut conn = Conn::open(self.dialect.as_ref(), who, group, position)?;
        self.poll.registry().register(
            &mut conn.socket,
            Token(id),
            Interest::READABLE | Interest::WRITABLE,
        )?;
        entry.insert(conn);
        Ok(id)
    }
}
