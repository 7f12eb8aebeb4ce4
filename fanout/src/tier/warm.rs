//! Making a cold channel hot: the acceptance rule's state and the last events, as of a named offset (D3, D8).

use std::{
    collections::{HashMap, HashSet},
    ops::ControlFlow,
    sync::Arc,
    time::Duration,
};

use broker::Watermarks;
use protocol::ProtocolError;
use schemas::Channel;
use state::{Acceptance, ChannelState, Entry, IdState, Judged, ProducerState};
use store::{ChannelCheckpoint, EventRow, SnapshotRow};
use tokio::time::timeout;

use super::{
    Silent, Tiers, alone,
    folded::Folded,
    scan::{Purpose, Scanned},
};
use crate::{
    chunk::away,
    event::{Delivered, Framer},
    place::Place,
    ring::Ring,
};

/// Rows of each channel that come with its checkpoint, so that most resumes find their place in the ring.
pub(super) const TAIL: usize = 128;
/// How long a scan from the checkpoint to the head may take. Longer than a request: with the store away it begins at the
/// log's beginning, and whoever comes again finds what the first one set going.
const SCAN: Duration = Duration::from_secs(60);
/// How long the store may take to tell what such a scan begins with: all ids of ten minutes, of every channel. Asked
/// again and again it would only be busier.
const CHECKPOINT: Duration = Duration::from_secs(8);
/// Bytes of the rings that one warming fills, shared by its channels: the oldest events go first, as when they are hot.
const RINGS_BYTES_MAX: usize = 16 << 20;
/// Bytes of a ring that each channel may fill at least.
const RING_BYTES_MIN: usize = 64 << 10;
/// Partitions whose channels are warmed at the same time.
pub(super) const WARMINGS_MAX: usize = 4;

/// A channel as of offset `next`.
#[derive(Debug)]
pub(crate) struct Warm {
    pub(crate) state: ChannelState,
    pub(crate) ring: Ring,
    pub(crate) next: i64,
    /// Nothing that could be had is older than this offset.
    pub(crate) floor: i64,
    pub(crate) folded: Folded,
}

/// The store's word on a partition: `next`, the channels it knows, and how far back their tails are complete.
pub(super) struct Ground {
    pub(super) next: i64,
    floor: i64,
    /// Where the last loss ends that is before `next`, or that begins there; 0 without one.
    lost_to: i64,
    /// What is known of a channel that is not in `channels`.
    unknown: store::ChannelState,
    pub(super) channels: HashMap<Channel, ChannelCheckpoint>,
    pub(super) snapshots: HashMap<Channel, SnapshotRow>,
    /// What is not in it had no event before `next`.
    pub(super) is_whole: bool,
}

impl Ground {
    /// What the channel's records below `next` add up to, and what is lost after them; with its last rows. Taken out: a
    /// busy channel has many ids.
    pub(super) fn take(&mut self, channel: &Channel) -> (ChannelState, Vec<EventRow>) {
        let (known, tail) = match self.channels.remove(channel) {
            Some(known) => (known.state, known.tail),
            None => (self.unknown.clone(), Vec::new()),
        };
        let mut state = restored(known);
        if self.lost_to > self.next {
            state.lose();
        }
        (state, tail)
    }
}

impl Tiers {
    /// The states of `channels` at `live_from` or later, by one question to the store and one scan of the log. A
    /// channel may bring what an earlier warming made of it: it goes on from there.
    pub(crate) async fn warm(
        &self,
        place: &Place,
        channels: Vec<(Channel, Option<Warm>)>,
        live_from: i64,
    ) -> Result<Vec<(Channel, Warm)>, ProtocolError> {
        let _permit = timeout(SCAN, self.warmings.acquire())
            .await
            .map_err(|_| away())?;
        let marks = self.marks(place).await?;
        let low = marks.low;
        let cold: Vec<Channel> = channels
            .iter()
            .filter(|(_, begun)| begun.is_none())
            .map(|(channel, _)| channel.clone())
            .collect();
        let mut ground = self.ground(place, &cold, marks, TAIL, CHECKPOINT).await?;
        let mut folds = self.folds(place, &cold, &ground, low).await?;
        let room = (RINGS_BYTES_MAX / channels.len().max(1)).max(RING_BYTES_MIN);
        let mut warm: HashMap<Channel, Warm> = channels
            .into_iter()
            .map(|(channel, begun)| {
                let folded = folds.remove(&channel);
                let folded = folded.unwrap_or_else(|| Folded::of(&channel, false));
                let warm =
                    begun.unwrap_or_else(|| self.begin(place, &channel, folded, &mut ground));
                (channel, warm)
            })
            .collect();
        let from = warm.values().map(|warm| warm.next).min().unwrap_or(low);
        let keys: HashSet<Vec<u8>> = warm.keys().map(|c| c.id().as_bytes().to_vec()).collect();
        let scanned = self
            .scanner
            .scan(
                Purpose::Warm,
                place,
                (from.max(low), live_from),
                |key| keys.contains(key),
                |record| {
                    if let Some(warm) = warm.get_mut(&record.event.channel) {
                        warm.advance(&self.framer, place, &record);
                        warm.ring.shorten(room);
                    }
                    ControlFlow::Continue(())
                },
                SCAN,
            )
            .await;
        if let Err(error) = scanned {
            tracing::warn!(topic = %place.topic, partition = place.partition, %error, "channels stay cold");
            return Err(away());
        }
        for warm in warm.values_mut() {
            warm.next = warm.next.max(live_from);
        }
        Ok(warm.into_iter().collect())
    }

    /// The store's word on some channels, with at most `tail` rows of each; the log's beginning where there is none, and
    /// where it does not answer within `patience`. The log was asked for its `marks` a moment ago.
    pub(super) async fn ground(
        &self,
        place: &Place,
        channels: &[Channel],
        marks: Watermarks,
        tail: usize,
        patience: Duration,
    ) -> Result<Ground, ProtocolError> {
        let low = marks.low;
        let from_log = Ground {
            next: low,
            floor: low,
            lost_to: low,
            unknown: store::ChannelState {
                unheard: (low > 0).then(Vec::new),
                ..store::ChannelState::default()
            },
            channels: HashMap::new(),
            snapshots: HashMap::new(),
            // A topic that was made anew begins with the states of the one before it, which the store alone has.
            is_whole: low == 0
                && (self.store.is_none() || self.framer.directory.generation(&place.topic) == 0),
        };
        let Some(store) = &self.store else {
            return Ok(from_log);
        };
        let stored = self.framer.directory.stored(place);
        let checkpoint = match timeout(patience, store.checkpoint(&stored, channels, tail)).await {
            Ok(Ok(checkpoint)) => checkpoint,
            Ok(Err(error)) => {
                tracing::warn!(%error, "no checkpoint from the store");
                alone(Silent, low)?
            }
            Err(_) => {
                tracing::warn!("the store gave no checkpoint in time");
                alone(Silent, low)?
            }
        };
        let checkpoint = match checkpoint {
            Some(checkpoint) => {
                let uncut = self.uncut(place, marks, checkpoint.next).await?;
                // The log was cut (F32): the store's state is that of events the log no longer has.
                (uncut == checkpoint.next).then_some(checkpoint)
            }
            None => None,
        };
        Ok(checkpoint.map_or(from_log, |checkpoint| Ground {
            next: checkpoint.next,
            floor: checkpoint.floor,
            lost_to: match checkpoint.next < low {
                true => low,
                false => checkpoint.lost_to,
            },
            unknown: checkpoint.unknown(),
            channels: checkpoint.channels,
            snapshots: checkpoint.snapshots,
            is_whole: true,
        }))
    }

    fn begin(&self, place: &Place, channel: &Channel, folded: Folded, ground: &mut Ground) -> Warm {
        let (state, tail) = ground.take(channel);
        let from = match tail.first() {
            Some(first) if tail.len() >= TAIL => first.offset,
            _ => ground.floor,
        };
        // No ring reaches over what was erased before it was stored: who reads from before is told of it.
        let from = from.max(ground.lost_to);
        let mut ring = Ring::new(from);
        for row in tail.iter().filter(|row| row.offset >= from) {
            ring.push(self.framer.stored(place, row));
        }
        Warm {
            state,
            ring,
            next: ground.next,
            floor: ground.floor,
            folded,
        }
    }
}

impl Warm {
    /// One more record of the channel, judged; accepted ones go to the ring.
    pub(crate) fn advance(
        &mut self,
        framer: &Framer,
        place: &Place,
        record: &Scanned,
    ) -> Option<Arc<Delivered>> {
        if record.offset < self.next {
            return None;
        }
        self.next = record.offset + 1;
        let judged = self.state.judge(&record.event, record.offset, record.at_ms);
        service::planted!("void_delivered", {
            if let Judged::Void(_) = judged {
                let (at_ms, prev) = (record.at_ms, self.state.last);
                let event = framer.accepted(place, &record.event, record.offset, at_ms, prev);
                self.ring.push(Arc::clone(&event));
                return Some(event);
            }
        });
        let Judged::Accepted { prev, .. } = judged else {
            return None;
        };
        self.folded
            .apply(&Entry::of(&record.event, record.offset, record.at_ms));
        let event = framer.accepted(place, &record.event, record.offset, record.at_ms, prev);
        self.ring.push(Arc::clone(&event));
        Some(event)
    }
}

/// The acceptance rule's state from the checkpoint's parts.
fn restored(state: store::ChannelState) -> ChannelState {
    let outboxes = |known: Vec<store::ProducerState>| {
        known.into_iter().map(|p| ProducerState {
            user: p.user,
            producer: p.producer,
            epoch: p.epoch,
            seq: p.seq,
        })
    };
    let ids = state.ids.into_iter().map(|id| IdState {
        id: id.id,
        log_time_ms: id.log_time_ms,
    });
    let ids = ids.filter(|_| service::planted!("rule_forgets", false => true));
    let acceptance = Acceptance::restore(outboxes(state.producers), ids, state.log_time_ms);
    ChannelState {
        acceptance: match state.unheard {
            Some(unheard) => acceptance.with_unheard(outboxes(unheard)),
            None => acceptance,
        },
        last: state.last,
    }
}
