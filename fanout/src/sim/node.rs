//! One node: how far it has read, its hot channels, its pulls that are behind, and what it remembers of the rule.

use std::{collections::HashMap, sync::Arc};

use broker::Watermarks;
use protocol::server::GapReason;
use schemas::Channel;
use state::ChannelState;
use tokio::{sync::oneshot, time::Instant};

use super::{log::Log, store::Store, world::Done};
use crate::{
    chunk::{Chunk, Gap, Pulled, Room},
    event::{Delivered, Framer},
    hub::Hot,
    place::Place,
    plan::{self, Extent, Source},
    pull::Reply,
    ring::Ring,
    tier::{Fetch, Folded, States, Sweep, Track, Warm, part, tell},
};

const TAIL: usize = 4;

#[derive(Default)]
pub(super) struct Node {
    pub(super) read_to: i64,
    pub(super) hot: HashMap<Channel, Hot>,
    waiting: Vec<Fetch>,
    states: States,
}

/// What a node stands on.
#[derive(Clone, Copy)]
pub(super) struct Ground<'a> {
    pub(super) log: &'a Log,
    pub(super) store: &'a Store,
    pub(super) framer: &'a Framer,
    pub(super) place: &'a Place,
}

impl Node {
    /// Reads on, at most so many records; gives the events to broadcast.
    pub(super) fn read(
        &mut self,
        ground: Ground<'_>,
        most: usize,
    ) -> Vec<(Channel, Arc<Delivered>)> {
        let mut events = Vec::new();
        for record in ground.log.records[ground.log.index(self.read_to)..]
            .iter()
            .take(most)
        {
            self.read_to = record.offset + 1;
            let channel = &record.event.channel;
            if let Some(hot) = self.hot.get_mut(channel) {
                let taken = hot.take(ground.framer, ground.place, &record.scanned());
                events.extend(taken.event.map(|event| (channel.clone(), event)));
            }
        }
        if ground.log.index(self.read_to) == ground.log.records.len() {
            self.read_to = ground.log.end;
        }
        events
    }

    /// Makes the channel hot as of what this node has read, from the store's checkpoint and the log after it.
    fn warm(&mut self, ground: Ground<'_>, channel: &Channel) {
        let Ground { log, store, .. } = ground;
        let mut tail: Vec<_> = store
            .rows(channel, (store.floor, store.next))
            .rev()
            .take(TAIL)
            .collect();
        tail.reverse();
        let from = match tail.first() {
            Some(first) if tail.len() == TAIL => first.offset,
            _ => store.floor,
        };
        let mut ring = Ring::new(from);
        for row in tail {
            ring.push(ground.framer.stored(ground.place, row));
        }
        let mut warm = Warm {
            state: store.checkpoint(channel),
            ring,
            next: store.next,
            floor: store.floor,
            folded: Folded::of(channel, false),
        };
        let from = log.index(store.next);
        for record in &log.records[from..log.index(self.read_to).max(from)] {
            if record.event.channel == *channel {
                warm.advance(ground.framer, ground.place, &record.scanned());
            }
        }
        warm.next = warm.next.max(self.read_to);
        let hot = Hot::new(warm, 1, Instant::now());
        self.hot.insert(channel.clone(), hot);
    }

    /// As a hub serves a pull with a definite position.
    pub(super) fn serve(
        &mut self,
        ground: Ground<'_>,
        channel: &Channel,
        next: i64,
        room: Room,
    ) -> oneshot::Receiver<Pulled> {
        let (reply, answer) = oneshot::channel();
        if !self.hot.contains_key(channel) {
            self.warm(ground, channel);
        }
        let warm = &self.hot[channel].warm;
        let mut chunk = Chunk::of(channel.clone(), next, None, Vec::new(), next);
        if next > self.read_to.max(warm.next) {
            chunk.gap = Some(Gap {
                from: next,
                to: self.read_to,
                reason: GapReason::Truncated,
            });
        } else if let Some(slice) = warm.ring.after(next, room.bytes) {
            chunk.live = slice.reached_end;
            chunk.reached_end = slice.reached_end;
            chunk.next = match slice.events.last() {
                Some(last) if !slice.reached_end => last.offset + 1,
                Some(last) => self.read_to.max(last.offset + 1),
                None => self.read_to.max(next),
            };
            chunk.events = slice.events;
        } else {
            self.waiting.push(Fetch {
                place: ground.place.clone(),
                channel: channel.clone(),
                next,
                until: warm.ring.from(),
                room,
                reply: Reply::Once(reply),
            });
            return answer;
        }
        drop(reply.send(Ok(chunk)));
        answer
    }

    pub(super) fn is_behind(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// One turn of the pulls that are behind: the first `take` of them, the log's reading cut off after `records`.
    pub(super) fn turn(
        &mut self,
        ground: Ground<'_>,
        take: usize,
        records: usize,
        done: &mut Done,
    ) {
        let Ground { log, store, .. } = ground;
        let extent = Extent {
            stored: Some(store.stored()),
            log: Watermarks {
                low: log.low,
                high: log.end,
            },
        };
        let take = take.min(self.waiting.len());
        let mut tracks: Vec<Track> = Vec::new();
        for fetch in self.waiting.drain(..take) {
            match plan::source(fetch.next, &extent) {
                Source::Store { until } => {
                    done.pages += 1;
                    let until = until.min(fetch.until);
                    let rows: Vec<_> = store
                        .rows(&fetch.channel, (fetch.next, until))
                        .take(5)
                        .collect();
                    let page: Vec<_> = rows
                        .iter()
                        .map(|row| ground.framer.stored(ground.place, row))
                        .collect();
                    let after = page.last().map_or(until, |last| last.offset + 1);
                    part(fetch, &page, after);
                }
                Source::Log {
                    judge_from,
                    checkpoint,
                } => tracks.push(
                    self.states
                        .track(fetch, judge_from, checkpoint.then_some(store)),
                ),
                Source::Gap { to } => tell(fetch, to),
            }
        }
        if tracks.is_empty() {
            return;
        }
        done.sweeps += 1;
        let mut sweep = Sweep::new(ground.framer, ground.place, tracks);
        let (from, to) = (sweep.from().unwrap_or(0), sweep.until());
        let mut reached = to;
        for (count, record) in log.records[log.index(from)..log.index(to)]
            .iter()
            .enumerate()
        {
            if count >= records {
                reached = record.offset;
                break;
            }
            if sweep.record(&record.scanned(), &mut self.states).is_break() {
                reached = record.offset + 1;
                break;
            }
        }
        let left = sweep.end(reached, &mut self.states);
        self.waiting.splice(0..0, left);
    }

    /// The oldest event of a ring is forgotten.
    pub(super) fn evict(&mut self, channel: &Channel) {
        let Some(hot) = self.hot.get_mut(channel) else {
            return;
        };
        let oldest = hot.warm.ring.iter().next().map(|event| event.offset);
        if let Some(oldest) = oldest {
            hot.warm.ring.evict(oldest);
        }
    }
}

impl States {
    /// The pull with the state it is judged from: what is remembered, else the store's checkpoint, else nothing before
    /// the log's beginning.
    fn track(&mut self, fetch: Fetch, judge_from: i64, store: Option<&Store>) -> Track {
        let known = self.before(&fetch.channel, fetch.next);
        let (from, state) = match (known.filter(|(at, _)| *at >= judge_from), store) {
            (Some(known), _) => known,
            (None, Some(store)) => (store.next, store.checkpoint(&fetch.channel)),
            (None, None) => (judge_from, ChannelState::new()),
        };
        Track {
            channel: fetch.channel.clone(),
            from,
            state,
            pulls: vec![fetch],
        }
    }
}
