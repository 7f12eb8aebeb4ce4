//! The world: what happens in it.

use std::collections::{HashMap, HashSet, VecDeque};

use broker::{AppendError, Appended};
use schemas::Channel;

use crate::lane::flight::Landed;
use crate::lane::job::{Claim, Entry, Fault, Identity, Job};
use crate::lane::ledger::{Act, Bounds, Ledger, Looked, Now, Question};
use crate::lane::replay::{Again, Replay};
use crate::lane::track::Seen;

pub(super) const DEADLINE_MS: u64 = 5_000;

pub(super) struct Record {
    pub(super) channel: Channel,
    pub(super) claim: Option<Claim>,
    pub(super) id: String,
}

/// A publish in the world: who sent it, and what it knew.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) gateway: usize,
    pub(super) number: u64,
    /// How many of the outbox's numbers of this epoch were acknowledged when it was sent.
    pub(super) acked: u64,
}

/// What will become of an appended record, decided when its turn at the log comes.
enum Flight {
    Appended(Entry<Sent>),
    NotEnqueued(Entry<Sent>),
    Settled(Entry<Sent>),
}

pub(super) struct Gateway {
    pub(super) ledger: Ledger<Sent>,
    /// Enqueued, not at the log yet.
    queue: VecDeque<Flight>,
    /// At the log or lost; the delivery is on its way back.
    back: VecDeque<(Flight, Option<Result<i64, AppendError>>)>,
    replay: Replay<Sent>,
    tail: Option<(u64, i64)>,
    asked: Vec<(Question, bool)>,
}

pub(super) struct Outbox {
    pub(super) channel: Channel,
    pub(super) claim: Claim,
    /// Everything below is acknowledged in this epoch.
    pub(super) acked: u64,
    gateway: usize,
}

pub(super) struct World {
    rng: u64,
    now_ms: u64,
    pub(super) log: Vec<Record>,
    pub(super) gateways: Vec<Gateway>,
    pub(super) outboxes: Vec<Outbox>,
    pub(super) sent: u64,
    pub(super) answered: u64,
    pub(super) last_number: HashMap<(usize, Channel, Identity), u64>,
    /// Per outbox at a gateway: everything up to this number was in flight when something failed.
    pub(super) tails: HashMap<(usize, Channel, Identity), u64>,
    pub(super) newest: HashMap<(usize, Channel, Identity), u64>,
    /// Publishes whose records the log did not confirm.
    pub(super) lost: HashSet<u64>,
    pub(super) stored: u64,
    pub(super) replayed: u64,
}

impl World {
    pub(super) fn new(seed: u64, gateways: usize) -> World {
        let bounds = Bounds {
            channels_max: 2,
            bytes_max: 1 << 20,
            ids_max: 100,
        };
        let gateway = || Gateway {
            ledger: Ledger::new(bounds),
            queue: VecDeque::new(),
            back: VecDeque::new(),
            replay: Replay::new(),
            tail: None,
            asked: Vec::new(),
        };
        let outbox = |channel: &str, user: &str, producer: &str| Outbox {
            channel: Channel::parse(channel).unwrap(),
            claim: Claim {
                identity: Identity {
                    user: Some(user.to_owned()),
                    producer: producer.to_owned(),
                },
                epoch: 1,
                seq: 0,
            },
            acked: 0,
            gateway: 0,
        };
        World {
            rng: seed | 1,
            now_ms: 0,
            log: Vec::new(),
            gateways: (0..gateways).map(|_| gateway()).collect(),
            outboxes: vec![
                outbox("session.1", "u1", "p"),
                outbox("session.1", "u1", "q"),
                outbox("session.1", "u2", "p"),
                outbox("session.2", "u1", "p"),
                outbox("session.3", "u3", "r"),
            ],
            sent: 0,
            answered: 0,
            last_number: HashMap::new(),
            tails: HashMap::new(),
            newest: HashMap::new(),
            lost: HashSet::new(),
            stored: 0,
            replayed: 0,
        }
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.rng ^= self.rng << 13;
        self.rng ^= self.rng >> 7;
        self.rng ^= self.rng << 17;
        (self.rng >> 11) % sides
    }

    pub(super) fn now(&self) -> Now {
        Now {
            ms: self.now_ms,
            wall_ms: i64::try_from(self.now_ms).unwrap(),
        }
    }

    fn put(&mut self, record: Record) -> i64 {
        self.log.push(record);
        i64::try_from(self.log.len() - 1).unwrap()
    }

    pub(super) fn head(&self) -> i64 {
        i64::try_from(self.log.len()).unwrap()
    }

    fn publish(&mut self, index: usize, gateway: usize, plain: bool) {
        self.sent += 1;
        let outbox = &mut self.outboxes[index];
        let claim = outbox.claim.clone();
        let number = self.sent;
        if !plain {
            outbox.claim.seq += 1;
        }
        let job = Job {
            channel: outbox.channel.clone(),
            id: format!("id-{number}"),
            claim: (!plain).then_some(claim),
            deadline_ms: self.now_ms + DEADLINE_MS,
            refreshed: false,
            load: Sent {
                gateway,
                number,
                acked: outbox.acked,
            },
        };
        self.gateways[gateway].ledger.arrive(job);
        self.drain(gateway);
    }

    /// Does what the ledger asks for, after what is to be appended again.
    fn drain(&mut self, at: usize) {
        let gateway = &mut self.gateways[at];
        if !gateway.replay.is_empty() {
            if !gateway.queue.is_empty() || !gateway.back.is_empty() {
                return;
            }
            while let Some((mut entry, again)) = gateway.replay.next() {
                gateway.queue.push_back(match again {
                    Again::Append => {
                        self.replayed += 1;
                        entry.replayed = true;
                        Flight::Appended(entry)
                    }
                    Again::Settle => Flight::Settled(entry),
                    Again::Lose(_) => Flight::NotEnqueued(entry),
                });
            }
        }
        let now = self.now();
        while let Some(act) = self.gateways[at].ledger.step(now) {
            if let Act::Append(entry) | Act::Settle(entry) = &act
                && let Some(claim) = &entry.job.claim
            {
                let key = (at, entry.job.channel.clone(), claim.identity.clone());
                self.newest.insert(key, entry.job.load.number);
            }
            match act {
                Act::Append(entry) if self.roll(40) == 0 => {
                    self.gateways[at].ledger.not_enqueued(&entry);
                    self.gateways[at]
                        .queue
                        .push_back(Flight::NotEnqueued(entry));
                }
                Act::Append(entry) => self.gateways[at].queue.push_back(Flight::Appended(entry)),
                Act::Settle(entry) => self.gateways[at].queue.push_back(Flight::Settled(entry)),
                Act::Answer(job, answer) => self.answer(&job, &answer),
                Act::Look(question) => self.gateways[at].asked.push((question, true)),
                Act::Head(question) => self.gateways[at].asked.push((question, false)),
                Act::Follow { session, from } => self.gateways[at].tail = Some((session, from)),
                Act::Leave => self.gateways[at].tail = None,
            }
        }
    }

    /// The log takes (or loses) the gateway's next record.
    fn reach_log(&mut self, at: usize) {
        let Some(flight) = self.gateways[at].queue.pop_front() else {
            return;
        };
        let fate = match &flight {
            Flight::Appended(entry) => {
                let record = Record {
                    channel: entry.job.channel.clone(),
                    claim: entry.job.claim.clone(),
                    id: entry.job.id.clone(),
                };
                Some(match self.roll(60) {
                    0 => Err(AppendError::Unknown),
                    1 => {
                        self.put(record);
                        Err(AppendError::Unknown)
                    }
                    2 => Err(AppendError::TooLarge),
                    3 => Err(AppendError::Fatal),
                    4 => {
                        self.put(record);
                        Err(AppendError::Fatal)
                    }
                    _ => Ok(self.put(record)),
                })
            }
            Flight::NotEnqueued(_) => Some(Err(AppendError::Full)),
            Flight::Settled(_) => None,
        };
        self.gateways[at].back.push_back((flight, fate));
    }

    /// The gateway hears of its next delivery.
    fn hear(&mut self, at: usize) {
        let Some((flight, fate)) = self.gateways[at].back.pop_front() else {
            return;
        };
        let (Flight::Appended(entry) | Flight::NotEnqueued(entry) | Flight::Settled(entry)) =
            flight;
        let now = self.now();
        let landed = match fate {
            Some(Ok(offset)) => Landed::At(Appended {
                offset,
                timestamp_ms: now.wall_ms,
                again: false,
            }),
            Some(Err(error)) => Landed::Lost(error),
            None => Landed::Settled,
        };
        if let Some((entry, landed)) = self.gateways[at].replay.keep(entry, landed) {
            self.land(at, entry, landed);
        }
        self.drain(at);
    }

    fn land(&mut self, at: usize, entry: Entry<Sent>, landed: Landed) {
        let now = self.now();
        let ledger = &mut self.gateways[at].ledger;
        match landed {
            Landed::At(appended) => {
                ledger.delivered(entry, appended.offset, appended.timestamp_ms, now);
            }
            Landed::Lost(error) => {
                self.lost.insert(entry.job.load.number);
                ledger.lost(entry, Fault::from(&error));
            }
            Landed::Settled => ledger.settle(entry),
        }
    }

    /// The gateway's tail reads a little, or breaks.
    fn read(&mut self, at: usize) {
        let Some((session, pos)) = self.gateways[at].tail else {
            return;
        };
        if self.roll(60) == 0 {
            self.gateways[at].tail = None;
            self.gateways[at].ledger.tail_failed(session);
            self.drain(at);
            return;
        }
        let steps = i64::try_from(self.roll(6)).unwrap();
        let until = (pos + steps).min(self.head());
        for offset in pos..until {
            let record = &self.log[usize::try_from(offset).unwrap()];
            if let Some(claim) = &record.claim {
                let seen = Seen {
                    claim: claim.clone(),
                    id: record.id.clone(),
                };
                self.gateways[at]
                    .ledger
                    .saw(session, &record.channel, &seen, offset, 0);
            }
        }
        self.gateways[at].tail = Some((session, until));
        self.gateways[at].ledger.advanced(session, until);
        self.drain(at);
    }

    /// A question of the gateway is answered: the head as of now, the state as of some time before.
    fn answer_question(&mut self, at: usize) {
        if self.gateways[at].asked.is_empty() {
            return;
        }
        let pick = self.roll(self.gateways[at].asked.len() as u64);
        let (question, look) = self.gateways[at]
            .asked
            .swap_remove(usize::try_from(pick).unwrap());
        if self.roll(30) == 0 {
            return; // nobody ever hears of it
        }
        let broken = self.roll(12) == 0;
        let head = self.head();
        if look {
            let lag = i64::try_from(self.roll(8)).unwrap();
            let from = (head - lag).max(0);
            let looked = Looked {
                acceptance: self.truth(&question.channel, from).0,
                from,
                head,
            };
            self.gateways[at]
                .ledger
                .looked(&question, (!broken).then_some(looked));
        } else {
            self.gateways[at]
                .ledger
                .headed(&question, (!broken).then_some(head));
        }
        self.drain(at);
    }

    pub(super) fn step(&mut self) {
        let at = usize::try_from(self.roll(self.gateways.len() as u64)).unwrap();
        match self.roll(100) {
            0..=17 => {
                let index = usize::try_from(self.roll(self.outboxes.len() as u64)).unwrap();
                if self.roll(15) == 0 {
                    self.outboxes[index].gateway = at;
                }
                let gateway = self.outboxes[index].gateway;
                let plain = self.roll(6) == 0;
                self.publish(index, gateway, plain);
            }
            18..=41 => self.reach_log(at),
            42..=65 => self.hear(at),
            66..=80 => self.read(at),
            81..=91 => self.answer_question(at),
            92..=93 => {
                // Somebody else's record, or a takeover from elsewhere.
                let index = usize::try_from(self.roll(self.outboxes.len() as u64)).unwrap();
                let mut claim = self.outboxes[index].claim.clone();
                claim.epoch += self.roll(2);
                claim.seq = 0;
                let record = Record {
                    channel: self.outboxes[index].channel.clone(),
                    claim: (self.roll(3) == 0).then_some(claim),
                    id: "foreign".to_owned(),
                };
                self.put(record);
            }
            94 => {
                // The client died with what it had in flight and comes back.
                let index = usize::try_from(self.roll(self.outboxes.len() as u64)).unwrap();
                self.outboxes[index].claim.seq = self.outboxes[index].acked;
            }
            _ => {
                self.now_ms += self.roll(400);
                let now = self.now();
                while let Some(entry) = self.gateways[at].replay.late(now.ms) {
                    self.land(at, entry, Landed::Lost(AppendError::Unknown));
                }
                self.gateways[at].ledger.tick(now);
                self.drain(at);
            }
        }
    }

    /// The faults end; everybody is heard out.
    pub(super) fn settle(&mut self) {
        for _ in 0..400 {
            self.now_ms += 200;
            for at in 0..self.gateways.len() {
                for _ in 0..30 {
                    self.reach_log(at);
                    self.hear(at);
                    self.read(at);
                    self.answer_question(at);
                }
                let now = self.now();
                self.gateways[at].ledger.tick(now);
                self.drain(at);
            }
        }
    }
}
