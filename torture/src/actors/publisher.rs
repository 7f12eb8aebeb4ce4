//! A publisher: so many events a second, each offered again under the same identity until it is known to be in
//! the log, through whichever gateway answers.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use client::Publish;
use testbed::Random;
use tokio::time::Instant;
use uuid::Uuid;

use super::gate::{Gate, Next, Outcome};
use super::source::Source;
use super::{Desk, Phase, pause};
use crate::evidence::{self, Book, data_hash};

/// How a publisher's events are told apart when they come twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Identity {
    /// As numbered records of an outbox.
    Outbox,
    /// By their ids, of its own spelling or UUIDv7.
    Id,
    /// Not at all: an event whose fate is unknown is given up.
    Nothing,
}

/// The publisher.
#[derive(Debug)]
pub(super) struct Publisher {
    pub(super) actor: String,
    /// As whom its events are; none for a backend that names nobody.
    pub(super) user: Option<String>,
    pub(super) gate: Gate,
    pub(super) source: Source,
    pub(super) identity: Identity,
    /// Events a second.
    pub(super) rate: f64,
}

/// Where an outbox stands in one channel.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    epoch: u64,
    next: u64,
}

/// At work: what is on its way and what has been written down.
struct Work {
    publisher: Publisher,
    desk: Desk,
    random: Random,
    counts: HashMap<String, Count>,
    pending: VecDeque<Publish>,
    made: u64,
    book: Book,
}

impl Publisher {
    pub(super) async fn run(self, desk: Desk, random: Random) -> Book {
        let book = Book {
            actor: self.actor.as_str().into(),
            ..Book::default()
        };
        let mut work = Work {
            publisher: self,
            desk,
            random,
            counts: HashMap::new(),
            pending: VecDeque::new(),
            made: 0,
            book,
        };
        work.run().await;
        work.book
    }
}

impl Work {
    async fn run(&mut self) {
        let started = Instant::now();
        loop {
            let phase = self.desk.now();
            if phase == Phase::Storm {
                self.make_due(started.elapsed());
            }
            match (self.pending.is_empty(), phase) {
                (_, Phase::Ebb | Phase::Over) | (true, Phase::Calm) => return,
                (true, _) => {
                    let next =
                        Duration::from_secs_f64((1.0 / self.publisher.rate).clamp(0.02, 0.5));
                    self.desk.rest(next, Phase::Calm).await;
                }
                (false, _) => self.offer().await,
            }
        }
    }

    /// What should have been said by now, as far as one offer takes it.
    fn make_due(&mut self, elapsed: Duration) {
        let due = elapsed.as_secs_f64() * self.publisher.rate;
        while (self.made as f64) < due && self.pending.len() < self.publisher.gate.most() {
            let said =
                self.publisher
                    .source
                    .next(&mut self.random, &self.publisher.actor, self.made);
            let event =
                Publish::new(said.channel, said.event, said.data).expect("payloads are JSON");
            let event = match said.to {
                Some(users) => event.to(users),
                None => event,
            };
            let event = self.identified(event);
            self.pending.push_back(event);
            self.made += 1;
        }
    }

    fn identified(&mut self, event: Publish) -> Publish {
        match self.publisher.identity {
            Identity::Nothing => event,
            Identity::Id if self.made.is_multiple_of(2) => event.id(Uuid::now_v7().to_string()),
            Identity::Id => event.id(format!("{}-{}", self.publisher.actor, self.made)),
            Identity::Outbox => {
                let count = self.counts.entry(event.channel.clone()).or_default();
                let seq = count.next;
                count.next += 1;
                event.identity(format!("box-{}", self.publisher.actor), count.epoch, seq)
            }
        }
    }

    async fn offer(&mut self) {
        let most = self.publisher.gate.most();
        let first = self.pending[0].channel.clone();
        let alone = self.publisher.gate.one_channel();
        let chosen = |event: &Publish| !alone || event.channel == first;
        let (now, later): (Vec<Publish>, Vec<Publish>) = self.pending.drain(..).partition(chosen);
        let mut now = now;
        let rest = now.split_off(most.min(now.len()));
        let at = self.desk.clock.now();
        let outcomes = self
            .publisher
            .gate
            .offer(&self.desk, &mut self.random, &now)
            .await;
        let told_at = self.desk.clock.now();
        let mut again = Vec::new();
        let mut raise = Vec::new();
        for (event, outcome) in now.into_iter().zip(outcomes) {
            self.write_down(&event, at, told_at, outcome);
            match outcome.next {
                Next::Done => {}
                Next::Retry if self.publisher.identity == Identity::Nothing => {}
                Next::Drop if self.publisher.identity != Identity::Outbox => {}
                Next::RaiseEpoch | Next::Drop => {
                    raise.push(event.channel.clone());
                    again.push(event);
                }
                Next::RetryFrom(seq) => {
                    if self.forgotten(&event.channel, seq, &again) {
                        raise.push(event.channel.clone());
                    }
                    again.push(event);
                }
                Next::Retry => again.push(event),
            }
        }
        let stumbled = !again.is_empty();
        self.pending = again.into_iter().chain(rest).chain(later).collect();
        for channel in raise {
            self.raise(&channel);
        }
        if stumbled {
            pause(&mut self.random).await;
        } else if self.random.below(60) == 0 {
            self.move_elsewhere();
        }
    }

    /// The server asks for a number that has been acknowledged to us: there is nothing left to send. The judge
    /// finds the loss; the outbox goes on with a new epoch.
    fn forgotten(&self, channel: &str, wanted: u64, again: &[Publish]) -> bool {
        let held = |event: &Publish| {
            event.channel == channel
                && event
                    .identity
                    .as_ref()
                    .is_some_and(|identity| identity.seq <= wanted)
        };
        let next = self.counts.get(channel).map_or(0, |count| count.next);
        wanted < next && !again.iter().any(held)
    }

    /// All that waits of a channel gets new numbers in a higher epoch.
    fn raise(&mut self, channel: &str) {
        let count = self.counts.entry(channel.to_owned()).or_default();
        *count = Count {
            epoch: count.epoch + 1,
            next: 0,
        };
        for event in self
            .pending
            .iter_mut()
            .filter(|event| event.channel == channel)
        {
            if let Some(identity) = &mut event.identity {
                identity.epoch = count.epoch;
                identity.seq = count.next;
                count.next += 1;
            }
        }
    }

    fn move_elsewhere(&mut self) {
        if let Gate::Socket { open, .. } = &mut self.publisher.gate {
            *open = None;
        }
    }

    fn write_down(&mut self, event: &Publish, at: u32, told_at: u32, outcome: Outcome) {
        let user = self.publisher.user.as_deref();
        let noted = noted(&self.desk, event, user, (at, told_at), outcome);
        self.book.publishes.push(noted);
    }
}

/// One attempt as it is written down.
pub(crate) fn noted(
    desk: &Desk,
    event: &Publish,
    user: Option<&str>,
    (at, told_at): (u32, u32),
    outcome: Outcome,
) -> evidence::Publish {
    let number = |text: &str| desk.names.number(text);
    evidence::Publish {
        at,
        told_at,
        channel: number(&event.channel),
        event: number(&event.event),
        user: user.map(number),
        id: event.id.as_deref().map(Into::into),
        data: data_hash(event.data.as_deref().map_or("null", |data| data.get())),
        outbox: event.identity.as_ref().map(|identity| evidence::Outbox {
            producer: number(&identity.producer),
            epoch: identity.epoch,
            seq: identity.seq,
        }),
        addressed: event.to.is_some(),
        poison: false,
        told: outcome.told,
    }
}
