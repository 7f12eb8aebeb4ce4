//! The hub's questions to the tiers, asked off its task, and its housekeeping.

use std::sync::Arc;

use broker::{BrokerError, Log, Reader, Standing};
use protocol::{ErrorName, ProtocolError};
use schemas::Channel;
use tokio::time::timeout;

use super::{Hub, RETRY, feed::Phase, fresh::Turn, hot::Slot};
use crate::{
    chunk::{State, away, moved},
    mailbox::ToShard,
    place::{Place, Spot},
    pull::Pull,
    sub::From,
    tier::{Tiers, Warm},
};

/// How long the broker may take to name a partition's end.
const END: std::time::Duration = std::time::Duration::from_secs(4);

/// Where a partition ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    /// Behind the last record.
    pub(super) all: i64,
    /// Before the first record of a transaction that is open: nothing behind it can be read as yet.
    pub(super) readable: i64,
}

/// What a question brought.
pub(super) enum Done {
    End {
        index: usize,
        end: Result<End, ProtocolError>,
        /// The topic was the pinned one after its end was known.
        verified: bool,
        /// The store knows that the log was cut here.
        cut: Option<i64>,
    },
    Warmed {
        index: usize,
        channels: Vec<Channel>,
        warmed: Result<Vec<(Channel, Warm)>, ProtocolError>,
    },
    Resolved {
        index: usize,
        pull: Pull,
        next: Result<i64, ProtocolError>,
    },
    /// The state that a pull at `next` wants.
    Stated {
        index: usize,
        pull: Pull,
        next: i64,
        state: Result<State, ProtocolError>,
    },
}

/// `verify`: reading is about to begin there, so the topic has to be the pinned one. `read_to`: how far it was read.
pub(super) async fn end_of(
    tiers: Arc<Tiers>,
    place: Place,
    index: usize,
    verify: bool,
    read_to: i64,
) -> Done {
    let mut end = match timeout(END, ends(&tiers.log, &place, read_to)).await {
        Ok(Ok(end)) => Ok(end),
        Ok(Err(error)) => {
            tracing::warn!(?place, %error, "the partition's end cannot be had");
            Err(away())
        }
        Err(_) => Err(away()),
    };
    let cut = match verify {
        true => tiers.cut(&place).await,
        false => None,
    };
    let watch = tiers.framer.directory.watch();
    if verify && end.is_ok() && watch.check(&place.topic).await == Standing::Unknown {
        end = Err(away());
    }
    if watch.lost(&place.topic).is_some() {
        end = Err(moved());
    }
    Done::End {
        index,
        end,
        verified: verify,
        cut,
    }
}

/// Where the log ends, and how far it can be read while somebody's transaction is open.
async fn ends(log: &Log, place: &Place, read_to: i64) -> Result<End, BrokerError> {
    let all = log.end(&place.topic, place.partition).await?;
    let readable = match all <= read_to {
        true => all,
        false => log.watermarks(&place.topic, place.partition).await?.high,
    };
    Ok(End { all, readable })
}

pub(super) async fn warm(
    tiers: Arc<Tiers>,
    place: Place,
    index: usize,
    channels: Vec<(Channel, Option<Warm>)>,
    live_from: i64,
) -> Done {
    let names = channels
        .iter()
        .map(|(channel, _)| channel.clone())
        .collect();
    let warmed = tiers.warm(&place, channels, live_from).await;
    Done::Warmed {
        index,
        channels: names,
        warmed,
    }
}

pub(super) async fn resolve(
    tiers: Arc<Tiers>,
    spot: Spot,
    index: usize,
    read_to: i64,
    pull: Pull,
) -> Done {
    let next = match pull.from {
        From::Earliest => tiers.earliest(&spot).await,
        From::Time(time_ms) => tiers.at_time(&spot, time_ms).await,
        From::Last(n) => tiers
            .older(&spot, 0, read_to, n as usize, &pull.wanted, (None, None))
            .await
            .map(|older| older.events.first().map_or(read_to, |e| e.offset)),
        From::Next(next) => Ok(next),
        From::Latest => Ok(read_to),
    };
    Done::Resolved {
        index,
        pull,
        next: next.map(|n| n.min(read_to.max(0))),
    }
}

impl Hub {
    pub(super) fn assign(&mut self, index: usize, reader: &mut Reader) {
        let feed = &mut self.feeds[index];
        match reader.assign(&feed.place.topic, feed.place.partition, feed.read_to) {
            Ok(()) => feed.phase = Phase::Reading,
            Err(error) => {
                tracing::warn!(place = ?feed.place, %error, "the partition cannot be assigned");
                feed.phase = Phase::Broken {
                    retry: self.now + RETRY,
                };
            }
        }
    }

    /// Reading stopped for now; nothing was lost, it goes on at `read_to`.
    pub(super) fn broken(&mut self, index: usize, reader: &mut Reader) {
        let feed = &mut self.feeds[index];
        reader.unassign(&feed.place.topic, feed.place.partition);
        feed.phase = Phase::Broken {
            retry: self.now + RETRY,
        };
    }

    /// Once a second: what waited too long is answered, what nobody needs is dropped, what broke is tried again.
    pub(super) fn sweep(&mut self, reader: &mut Reader) {
        let late = self.now.checked_sub(self.config.request_timeout);
        for index in 0..self.feeds.len() {
            if let Some(late) = late {
                for pull in self.overdue(index, late) {
                    let error = ProtocolError::new(
                        ErrorName::Timeout,
                        "this node could not read far enough in time",
                    );
                    self.answer(pull.reply, Err(error));
                }
            }
            self.forget_idle(index);
            if self.feeds[index].is_needed() {
                self.open_signals(index);
            }
            match self.feeds[index].phase {
                Phase::Broken { retry } if retry <= self.now => self.ask_end(index),
                Phase::Opening => self.ask_end(index),
                Phase::Reading => self.close_idle(index, reader),
                Phase::Closed | Phase::Broken { .. } => {}
            }
            self.warm(index);
            self.refresh(index);
        }
        self.trim();
        self.metrics.ring_bytes.set(self.ring_bytes as i64);
        let hot: usize = self.feeds.iter().map(|f| f.slots.len()).sum();
        self.metrics.hot_channels.set(hot as i64);
    }

    /// Asks whether the log went on without us, and tells who listens when that cannot be said any more (F47).
    fn refresh(&mut self, index: usize) {
        let feed = &mut self.feeds[index];
        if self.directory.is_signals(&feed.place.topic) {
            return;
        }
        if !feed.is_heard() {
            return feed.freshness.unheard(self.now);
        }
        if let Some(turn) = feed.freshness.turn(self.now) {
            tracing::warn!(place = ?feed.place, ?turn, "whether this node has everything");
            self.tell(index, turn);
        }
        self.ask_end(index);
    }

    fn tell(&mut self, index: usize, turn: Turn) {
        let since = match turn {
            Turn::Stale(behind) => Some(behind),
            Turn::Fresh => None,
        };
        for (shard, round) in self.rounds.iter_mut().enumerate() {
            let heard = |slot: &Slot| matches!(slot, Slot::Hot(hot) if hot.listeners[shard] > 0);
            let channels: Vec<Channel> = self.feeds[index]
                .slots
                .iter()
                .filter(|(_, slot)| heard(slot))
                .map(|(channel, _)| channel.clone())
                .collect();
            if !channels.is_empty() {
                round.push(ToShard::Stale { channels, since });
            }
        }
    }

    /// A partition without a hot channel is no longer read after a while, nor is the ephemeral one beside it, whose
    /// use goes on with that one's need (D11).
    fn close_idle(&mut self, index: usize, reader: &mut Reader) {
        let feed = &self.feeds[index];
        if !feed.is_needed() && self.now.duration_since(feed.used) > self.config.idle_after {
            self.broken(index, reader);
            self.feeds[index].phase = Phase::Closed;
        }
    }

    fn overdue(&mut self, index: usize, late: tokio::time::Instant) -> Vec<Pull> {
        let feed = &mut self.feeds[index];
        let mut overdue = Vec::new();
        if feed.barrier.waiting.iter().any(|(_, p)| p.asked < late) {
            let (old, young): (Vec<_>, Vec<_>) = feed
                .barrier
                .waiting
                .drain(..)
                .partition(|(_, p)| p.asked < late);
            feed.barrier.waiting = young;
            overdue.extend(old.into_iter().map(|(_, p)| p));
        }
        for slot in feed.slots.values_mut() {
            match slot {
                Slot::Warming(warming) if warming.pulls.iter().any(|p| p.asked < late) => {
                    let (old, young): (Vec<_>, Vec<_>) =
                        warming.pulls.drain(..).partition(|p| p.asked < late);
                    warming.pulls = young;
                    overdue.extend(old);
                }
                Slot::Hot(hot) => hot.parked.retain(|p| !p.reply.is_gone()),
                Slot::Warming(_) => {}
            }
        }
        overdue
    }

    fn forget_idle(&mut self, index: usize) {
        let idle_after = self.config.idle_after;
        let now = self.now;
        let idle: Vec<Channel> = self.feeds[index]
            .slots
            .iter()
            .filter(|(_, slot)| match slot {
                Slot::Hot(hot) => hot.is_idle() && now.duration_since(hot.used) > idle_after,
                Slot::Warming(_) => false,
            })
            .map(|(channel, _)| channel.clone())
            .collect();
        for channel in idle {
            if let Some(Slot::Hot(hot)) = self.feeds[index].remove(&channel) {
                self.ring_bytes = self.ring_bytes.saturating_sub(hot.weight());
            }
        }
    }
}
