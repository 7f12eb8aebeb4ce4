//! The world and its steps. Every step is possible at any time; one that means nothing now does nothing.

use std::{collections::BTreeMap, ops::AddAssign, sync::Arc};

use broker::{EmbeddedConfig, Log as BrokerLog, Pin, PinWatch, Pins};
use protocol::Cursors;
use schemas::{Channel, Topics};

use super::{
    Random,
    log::{CHANNELS, Draft, Log},
    node::{Ground, Node},
    store::Store,
    subscriber::Subscriber,
};
use crate::{
    chunk::Room,
    event::Framer,
    place::{Directory, Place},
    sub::Mode,
};

const NODES: usize = 2;
const SUBSCRIBERS: usize = 6;
/// Of a pull: often one or two events fill it.
const ROOM: Room = Room {
    events: 3,
    bytes: 300,
};

/// One step.
#[derive(Debug, Clone, Copy)]
pub(super) enum Op {
    Append(Draft),
    Read {
        node: usize,
        most: usize,
    },
    Pull {
        subscriber: usize,
    },
    Receive {
        subscriber: usize,
        most: usize,
    },
    Turn {
        node: usize,
        take: usize,
        records: usize,
    },
    Persist {
        most: usize,
    },
    Ack {
        subscriber: usize,
    },
    Reconnect {
        subscriber: usize,
        node: usize,
    },
    Evict {
        node: usize,
        channel: usize,
        most: usize,
    },
    /// The node drops the channel: idle, or because its log had to be opened again.
    Drop {
        node: usize,
        channel: usize,
    },
    LogRetention {
        most: i64,
    },
    StoreRetention {
        most: i64,
    },
}

impl Op {
    pub(super) fn random(random: &mut Random) -> Op {
        let bits = random.next();
        let (kind, mut rest) = (bits % 100, bits / 100);
        let mut pick = |bound: u64| {
            let picked = rest % bound;
            rest /= bound;
            picked as usize
        };
        match kind {
            0..15 => Op::Append(Draft(random.next())),
            15..35 => Op::Read {
                node: pick(NODES as u64),
                most: 1 + pick(6),
            },
            35..52 => Op::Pull {
                subscriber: pick(SUBSCRIBERS as u64),
            },
            52..64 => Op::Receive {
                subscriber: pick(SUBSCRIBERS as u64),
                most: 1 + pick(6),
            },
            64..80 => Op::Turn {
                node: pick(NODES as u64),
                take: 1 + pick(4),
                records: 1 + pick(30),
            },
            80..82 => Op::Persist { most: 1 + pick(12) },
            82..87 => Op::Ack {
                subscriber: pick(SUBSCRIBERS as u64),
            },
            87..89 => Op::Reconnect {
                subscriber: pick(SUBSCRIBERS as u64),
                node: pick(NODES as u64),
            },
            89..95 => Op::Evict {
                node: pick(NODES as u64),
                channel: pick(3),
                most: 1 + pick(4),
            },
            95..97 => Op::Drop {
                node: pick(NODES as u64),
                channel: pick(3),
            },
            97..99 => Op::LogRetention {
                most: 1 + pick(40) as i64,
            },
            _ => Op::StoreRetention {
                most: 1 + pick(10) as i64,
            },
        }
    }
}

/// What went on.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Done {
    pub(super) delivered: usize,
    pub(super) void: usize,
    pub(super) gaps: usize,
    pub(super) lagged: usize,
    pub(super) paused: usize,
    pub(super) pages: usize,
    pub(super) sweeps: usize,
    pub(super) reconnects: usize,
}

impl AddAssign for Done {
    fn add_assign(&mut self, more: Done) {
        self.delivered += more.delivered;
        self.void += more.void;
        self.gaps += more.gaps;
        self.lagged += more.lagged;
        self.paused += more.paused;
        self.pages += more.pages;
        self.sweeps += more.sweeps;
        self.reconnects += more.reconnects;
    }
}

pub(super) struct World<'a> {
    framer: &'a Framer,
    place: Place,
    log: Log,
    store: Store,
    nodes: [Node; NODES],
    subscribers: Vec<Subscriber>,
    done: Done,
}

/// The framer of a partition that exists nowhere else.
pub(super) fn framer() -> Framer {
    let topics = Topics::new("sim");
    let pin = Pin {
        id: "sim".to_owned(),
        partitions: 1,
        generation: 0,
    };
    let pins = Pins {
        cursor_key: [7; 16],
        topics: BTreeMap::from([(topics.events().to_owned(), pin)]),
    };
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let log = runtime
        .block_on(BrokerLog::embedded(EmbeddedConfig::new(dir.path())))
        .unwrap();
    let watch = PinWatch::new(log, &pins);
    let cursors = Cursors::new(pins.cursor_key);
    Framer {
        cursors,
        directory: Arc::new(Directory::new(topics, pins, watch)),
    }
}

fn channel(number: usize) -> Channel {
    Channel::parse(CHANNELS[number]).unwrap()
}

impl<'a> World<'a> {
    pub(super) fn new(framer: &'a Framer) -> World<'a> {
        let subscribers = (0..SUBSCRIBERS).map(|n| Subscriber::new(channel(n % 3), n));
        World {
            framer,
            place: framer.directory.durable(&channel(0)),
            log: Log::default(),
            store: Store::default(),
            nodes: Default::default(),
            subscribers: subscribers.collect(),
            done: Done::default(),
        }
    }

    fn ground(&mut self) -> (Ground<'_>, &mut [Node; NODES], &mut [Subscriber], &mut Done) {
        let ground = Ground {
            log: &self.log,
            store: &self.store,
            framer: self.framer,
            place: &self.place,
        };
        (
            ground,
            &mut self.nodes,
            &mut self.subscribers,
            &mut self.done,
        )
    }

    pub(super) fn step(&mut self, op: Op) -> Result<(), String> {
        match op {
            Op::Append(draft) => self.log.append(draft, self.framer, &self.place),
            Op::Read { node, most } => self.read(node, most),
            Op::Pull { subscriber } => self.pull(subscriber),
            Op::Receive { subscriber, most } => self.receive(subscriber, most)?,
            Op::Turn {
                node,
                take,
                records,
            } => {
                let (ground, nodes, _, done) = self.ground();
                nodes[node].turn(ground, take, records, done);
                self.answers();
            }
            Op::Persist { most } => self.store.persist(&self.log, most),
            Op::Ack { subscriber } => {
                let subscriber = &mut self.subscribers[subscriber];
                let position = subscriber.position;
                if position <= subscriber.sub.next {
                    subscriber
                        .sub
                        .ack(position)
                        .map_err(|ahead| format!("{ahead:?}"))?;
                }
            }
            Op::Reconnect { subscriber, node } => {
                self.done.reconnects += 1;
                self.subscribers[subscriber].reconnect(node, Some(3));
            }
            Op::Evict {
                node,
                channel: number,
                most,
            } => {
                for _ in 0..most {
                    self.nodes[node].evict(&channel(number));
                }
            }
            Op::Drop {
                node,
                channel: number,
            } => self.cut(node, &channel(number)),
            Op::LogRetention { most } => {
                // Retention that overtakes the store loses what nobody can tell of any more.
                self.log.low = (self.log.low + most).min(self.store.next);
            }
            Op::StoreRetention { most } => self.store.forget(self.store.floor + most),
        }
        Ok(())
    }

    fn read(&mut self, node: usize, most: usize) {
        let (ground, nodes, subscribers, done) = self.ground();
        if nodes[node].read_to < ground.log.low {
            // Its reader is told so: the partition is opened again at its end.
            nodes[node].read_to = ground.log.end;
            for number in 0..CHANNELS.len() {
                self.cut(node, &channel(number));
            }
            return;
        }
        for (channel, event) in nodes[node].read(ground, most) {
            let here = subscribers
                .iter_mut()
                .filter(|s| s.node == node && s.sub.channel == channel);
            here.for_each(|subscriber| subscriber.offered(&event, done));
        }
    }

    fn cut(&mut self, node: usize, channel: &Channel) {
        self.nodes[node].hot.remove(channel);
        let here = self.subscribers.iter_mut();
        for subscriber in here.filter(|s| s.node == node && s.sub.channel == *channel) {
            if subscriber.sub.mode == Mode::Live {
                subscriber.sub.mode = Mode::Ready;
            }
        }
    }

    fn pull(&mut self, number: usize) {
        let Some((from, opening)) = self.subscribers[number].wants() else {
            return;
        };
        let node = self.subscribers[number].node;
        if opening {
            // Who comes reads their own writes: the node has read what the log holds now.
            self.read(node, usize::MAX);
        }
        let (ground, nodes, subscribers, _) = self.ground();
        let subscriber = &mut subscribers[number];
        let answer = nodes[node].serve(ground, &subscriber.sub.channel, from, ROOM);
        subscriber.pulls(answer);
        self.answers();
    }

    /// Answers reach their subscriptions before what the nodes read next.
    fn answers(&mut self) {
        for subscriber in &mut self.subscribers {
            subscriber.answered(&self.log, &self.store, &mut self.done);
        }
    }

    fn receive(&mut self, number: usize, most: usize) -> Result<(), String> {
        for _ in 0..most {
            let (ground, _, subscribers, done) = self.ground();
            subscribers[number].receive(ground.log, ground.store, done)?;
        }
        Ok(())
    }

    /// Everything comes to rest: everybody reads to the end, and nothing is left owing.
    pub(super) fn settle(mut self) -> Result<Done, String> {
        for _ in 0..10_000 {
            for node in 0..NODES {
                self.read(node, usize::MAX);
                while self.nodes[node].is_behind() {
                    self.step(Op::Turn {
                        node,
                        take: usize::MAX,
                        records: usize::MAX,
                    })?;
                }
            }
            for subscriber in 0..SUBSCRIBERS {
                self.pull(subscriber);
                self.receive(subscriber, 100)?;
                self.step(Op::Ack { subscriber })?;
            }
            if self.subscribers.iter().all(Subscriber::is_idle) {
                for subscriber in &self.subscribers {
                    subscriber.missing(&self.log, self.log.end)?;
                }
                self.done.void = self.log.void;
                return Ok(self.done);
            }
        }
        Err("somebody never gets to the end".to_owned())
    }
}
