//! Who is there: a list of actors made from the seed, and starting them all.

mod publishers;
mod readers;

use std::future::Future;

use testbed::Random;
use tokio::task::JoinSet;

use super::Desk;
use super::probe::Paths;
use crate::evidence::Book;
use crate::workload::{Channels, any};

/// What there is of each kind.
#[derive(Debug, Clone)]
pub struct Cast {
    /// Events a second over all publishers.
    pub rate: f64,
    /// What the server does not serve yet is not asked for.
    pub durable: bool,
    /// Whether snapshots are served.
    pub snapshots: bool,
    /// Who takes part.
    pub parts: Vec<Part>,
}

/// A group of actors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// WebSocket readers of all manners.
    Sockets,
    /// Readers over server-sent events, NDJSON and polls.
    Streams,
    /// Pagers and those who come back with old cursors.
    Archive,
    /// Publishers with and without outbox, over WebSocket and HTTP.
    Gateways,
    /// Backends that write to Kafka themselves.
    Backends,
    /// Workers and readers of jobs.
    Jobs,
    /// The hostile.
    Hostile,
}

impl Part {
    /// All of them.
    pub const ALL: [Part; 7] = [
        Part::Sockets,
        Part::Streams,
        Part::Archive,
        Part::Gateways,
        Part::Backends,
        Part::Jobs,
        Part::Hostile,
    ];
}

/// Everybody at work.
#[derive(Debug)]
pub struct Troupe {
    /// Who publishes, strolls about in the past, or means harm. They end when it is calm.
    pub talkers: JoinSet<Book>,
    /// Who reads to the last event.
    pub listeners: JoinSet<Book>,
    /// What the probes see.
    pub paths: Paths,
}

struct Casting<'a> {
    desk: &'a Desk,
    cast: &'a Cast,
    channels: &'a Channels,
    random: Random,
    talkers: JoinSet<Book>,
    listeners: JoinSet<Book>,
}

/// Starts everybody.
pub fn start(desk: &Desk, cast: &Cast, channels: &Channels, random: Random) -> Troupe {
    let mut casting = Casting {
        desk,
        cast,
        channels,
        random,
        talkers: JoinSet::new(),
        listeners: JoinSet::new(),
    };
    for part in &cast.parts {
        match part {
            Part::Sockets => casting.sockets(),
            Part::Streams => casting.streams(),
            Part::Archive => casting.archive(),
            Part::Gateways => casting.gateways(),
            Part::Backends => casting.backends(),
            Part::Jobs => casting.jobs(),
            Part::Hostile => casting.hostile(),
        }
    }
    let paths = casting.probes();
    Troupe {
        talkers: casting.talkers,
        listeners: casting.listeners,
        paths,
    }
}

impl Casting<'_> {
    fn talk<F>(&mut self, act: impl FnOnce(Desk, Random) -> F)
    where
        F: Future<Output = Book> + Send + 'static,
    {
        let acting = act(self.desk.clone(), self.random.fork());
        self.talkers.spawn(acting);
    }

    fn listen<F>(&mut self, act: impl FnOnce(Desk, Random) -> F)
    where
        F: Future<Output = Book> + Send + 'static,
    {
        let acting = act(self.desk.clone(), self.random.fork());
        self.listeners.spawn(acting);
    }

    fn some(&mut self, count: usize) -> Vec<String> {
        let channels = self.channels;
        let all: Vec<&String> = channels
            .busy
            .iter()
            .chain(&channels.quiet)
            .chain(&channels.hot)
            .collect();
        let mut chosen = Vec::new();
        while chosen.len() < count {
            let one = (*any(&mut self.random, &all)).clone();
            if !chosen.contains(&one) {
                chosen.push(one);
            }
        }
        chosen
    }
}
