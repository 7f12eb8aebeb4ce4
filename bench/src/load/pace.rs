//! When the next event is due, and who sends it.

use std::collections::HashMap;
use std::time::Duration;

use super::kafka::Kafka;
use super::{Id, Load};
use crate::payload::Mark;

/// How fast events come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// So many a second over all senders, each due at its own time, whatever became of those before.
    Rate(f64),
    /// As fast as they get through: so many may be on their way for each group or, when answers are asked for, for each
    /// sender.
    Window(u64),
}

/// Who publishes.
#[derive(Debug, Clone, Copy)]
pub struct Sender {
    /// Its number in the payloads.
    pub number: u32,
    /// The group that gets its events; several when a channel's members are checked apart.
    pub group: usize,
    /// Its channel.
    pub channel: u32,
    /// The client that publishes; with Kafka there is none.
    pub id: Option<Id>,
}

/// By what way events get to the server.
#[derive(Debug)]
pub enum Way<'a> {
    /// By the senders' own connections.
    Sockets,
    /// Into Kafka, past the server.
    Kafka(&'a mut Kafka),
}

/// What to do.
#[derive(Debug, Clone)]
pub struct Traffic {
    /// Who publishes.
    pub senders: Vec<Sender>,
    /// Groups of a channel besides the one its senders name.
    pub also: Vec<(u32, usize)>,
    /// How fast.
    pub pace: Pace,
    /// Bytes of a payload.
    pub bytes: usize,
    /// Before anything is measured.
    pub warm_up: Duration,
    /// What is measured.
    pub time: Duration,
}

/// The senders' turns.
#[derive(Debug)]
pub(super) struct Schedule {
    senders: Vec<(Sender, u32)>,
    pace: Pace,
    bytes: usize,
    start_ns: u64,
    sent: u64,
    /// Turns in which a sender had to wait.
    skipped: u64,
    /// Groups that are told of each publish besides the sender's own.
    also: Vec<(u32, usize)>,
}

impl Schedule {
    /// `numbers` are those that senders have come to before.
    pub(super) fn new(traffic: &Traffic, numbers: &HashMap<u32, u32>, start_ns: u64) -> Schedule {
        let next = |sender: &Sender| numbers.get(&sender.number).copied().unwrap_or_default();
        let senders = traffic.senders.iter();
        Schedule {
            senders: senders.map(|sender| (*sender, next(sender))).collect(),
            pace: traffic.pace,
            bytes: traffic.bytes,
            start_ns,
            sent: 0,
            skipped: 0,
            also: traffic.also.clone(),
        }
    }

    /// What every sender has come to.
    pub(super) fn numbers(&self) -> HashMap<u32, u32> {
        let senders = self.senders.iter();
        senders
            .map(|(sender, next)| (sender.number, *next))
            .collect()
    }

    /// When the next is due, on the load's clock.
    pub(super) fn next_ns(&self) -> u64 {
        match self.pace {
            Pace::Rate(rate) => self.start_ns + (self.sent as f64 / rate * 1e9) as u64,
            Pace::Window(_) => u64::MAX,
        }
    }

    /// Publishes what is due, at most so many. How many.
    pub(super) fn publish(
        &mut self,
        load: &mut Load,
        way: &mut Way<'_>,
        most: u64,
    ) -> anyhow::Result<u64> {
        let before = self.sent;
        match self.pace {
            Pace::Rate(_) => {
                // So many at a time that the sockets are read in between.
                for _ in 0..most.min(256) {
                    let due = self.next_ns();
                    if due > load.now_ns() {
                        break;
                    }
                    let turn = self.turn();
                    self.one(turn, due, load, way)?;
                }
            }
            Pace::Window(window) => {
                let mut idle = 0;
                while idle < self.senders.len() {
                    let turn = self.turn();
                    if on_their_way(load, &self.senders[turn].0) < window {
                        idle = 0;
                        let now = load.now_ns();
                        self.one(turn, now, load, way)?;
                    } else {
                        idle += 1;
                        self.skipped += 1;
                    }
                }
            }
        }
        Ok(self.sent - before)
    }

    /// Whose turn it is.
    fn turn(&self) -> usize {
        ((self.sent + self.skipped) % self.senders.len() as u64) as usize
    }

    fn one(
        &mut self,
        turn: usize,
        due_ns: u64,
        load: &mut Load,
        way: &mut Way<'_>,
    ) -> anyhow::Result<()> {
        let (sender, number) = &mut self.senders[turn];
        let mark = Mark {
            sender: sender.number,
            number: *number,
            due_ns,
        };
        *number += 1;
        self.sent += 1;
        let mut payload = Vec::with_capacity(self.bytes + 8);
        mark.write(self.bytes, &mut payload);
        load.groups[sender.group].published += 1;
        for (_, group) in self.also.iter().filter(|also| also.0 == sender.channel) {
            load.groups[*group].published += 1;
        }
        match way {
            Way::Kafka(kafka) => kafka.publish(sender.channel, &payload)?,
            Way::Sockets => {
                let Some(id) = sender.id else {
                    anyhow::bail!("a sender without a connection");
                };
                if let Some(conn) = load.conns.get_mut(id) {
                    load.dialect.publish(&conn.who, &payload, &mut conn.out);
                    if load.asks {
                        conn.waiting.push_back(due_ns);
                    }
                    load.mark(id);
                }
            }
        }
        Ok(())
    }
}

fn on_their_way(load: &Load, sender: &Sender) -> u64 {
    if load.asks {
        let conn = sender.id.and_then(|id| load.conns.get(id));
        return conn.map_or(u64::MAX, |conn| conn.waiting.len() as u64);
    }
    let group = &load.groups[sender.group];
    group.published - group.order.complete()
}
