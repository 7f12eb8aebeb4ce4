//! Making a position definite: the earliest that is left, the first at a time, the last few before an offset.

use std::{collections::VecDeque, ops::ControlFlow, sync::Arc, time::Duration};

use broker::Watermarks;
use protocol::ProtocolError;
use state::{ChannelState, Judged};
use store::HistoryFilter;
use tokio::time::timeout;

use super::{STEP, Tiers, beginning, scan::Purpose};
use crate::{
    chunk::{Wanted, away},
    event::Delivered,
    place::Spot,
    plan,
};

/// How long the log may be searched for older events.
const SEARCH: Duration = Duration::from_secs(4);

/// The last events before an offset.
#[derive(Debug)]
pub(crate) struct Older {
    /// Ascending.
    pub(crate) events: Vec<Arc<Delivered>>,
    /// Everything that is left before them has been looked at: there are no more.
    pub(crate) exhausted: bool,
    /// What the log held when the search began.
    pub(crate) log: Watermarks,
}

impl Tiers {
    /// The first position from which anything is still there.
    pub(crate) async fn earliest(&self, spot: &Spot) -> Result<i64, ProtocolError> {
        Ok(plan::earliest(&self.extent(&spot.place).await?))
    }

    /// The position of the first event whose time is at least `time_ms`, or of a loss that may have held it; the end
    /// when there is none yet.
    pub(crate) async fn at_time(&self, spot: &Spot, time_ms: i64) -> Result<i64, ProtocolError> {
        let extent = self.extent(&spot.place).await?;
        let place = &spot.place;
        let in_log = match timeout(
            STEP,
            self.log.offset_at(&place.topic, place.partition, time_ms),
        )
        .await
        {
            Ok(Ok(offset)) => offset,
            _ => return Err(away()),
        };
        let earliest = plan::earliest(&extent);
        if in_log > extent.log.low || earliest >= extent.log.low {
            return Ok(in_log);
        }
        let Some(store) = &self.store else {
            return Ok(in_log);
        };
        let stored = self.framer.directory.stored(place);
        let first = match timeout(STEP, store.offset_at(&stored, &spot.channel, time_ms)).await {
            Ok(Ok(Some(offset))) => offset.min(in_log),
            Ok(Ok(None)) => in_log,
            _ => return Err(away()),
        };
        if plan::gone((earliest, first), &extent).is_empty() {
            return Ok(first);
        }
        // Events of that time or later may be among those that were lost just before the first that is left.
        let last = HistoryFilter {
            limit: 1,
            desc: true,
            ..HistoryFilter::between(earliest, first)
        };
        let before = match timeout(STEP, store.history(&stored, &spot.channel, last)).await {
            Ok(Ok(rows)) => rows.first().map_or(earliest, |row| row.offset + 1),
            _ => return Err(away()),
        };
        let gone = plan::gone((before, first), &extent);
        Ok(gone.first().map_or(first, |(from, _)| *from))
    }

    /// The last `n` events with offsets in `[lo, before)` that pass `wanted`: from the log as far back as the store
    /// does not reach, before that from the store.
    pub(crate) async fn older(
        &self,
        spot: &Spot,
        lo: i64,
        before: i64,
        n: usize,
        wanted: &Wanted,
        times: (Option<i64>, Option<i64>),
    ) -> Result<Older, ProtocolError> {
        let extent = self.extent(&spot.place).await?;
        let low = extent.log.low;
        let (next, mut state) = match &extent.stored {
            // There is nothing to judge.
            Some(stored) if stored.next >= before => (before, ChannelState::default()),
            Some(_) => {
                let channels = std::slice::from_ref(&spot.channel);
                let ground = self.ground(&spot.place, channels, extent.log, 0, STEP);
                let mut ground = ground.await?;
                (ground.next, ground.take(&spot.channel).0)
            }
            // The log alone, from its beginning: a checkpoint that came now would leave out what only rows hold.
            None => (low, beginning(low)),
        };
        let mut found: VecDeque<Arc<Delivered>> = VecDeque::new();
        let in_time = |e: &Delivered| {
            times.0.is_none_or(|t| e.at_ms >= t) && times.1.is_none_or(|t| e.at_ms < t)
        };
        let mut overflowed = false;
        let scanned = self
            .scanner
            .scan(
                Purpose::Search,
                &spot.place,
                (next.max(low), before),
                |key| key == spot.channel.id().as_bytes(),
                |record| {
                    if record.event.channel == spot.channel
                        && let Judged::Accepted { prev, .. } =
                            state.judge(&record.event, record.offset, record.at_ms)
                        && record.offset >= lo
                    {
                        let event = self.framer.accepted(
                            &spot.place,
                            &record.event,
                            record.offset,
                            record.at_ms,
                            prev,
                        );
                        if wanted.passes(&event) && in_time(&event) {
                            found.push_back(event);
                            if found.len() > n {
                                found.pop_front();
                                overflowed = true;
                            }
                        }
                    }
                    ControlFlow::Continue(())
                },
                SEARCH,
            )
            .await;
        if let Err(error) = scanned {
            tracing::warn!(topic = %spot.place.topic, partition = spot.place.partition, %error, "no older events");
            return Err(away());
        }
        if overflowed {
            return Ok(Older {
                events: found.into(),
                exhausted: false,
                log: extent.log,
            });
        }
        let mut hi = before.min(next);
        let store = match &self.store {
            Some(store) if extent.stored.is_some() => store,
            _ => {
                return Ok(Older {
                    events: found.into(),
                    exhausted: true,
                    log: extent.log,
                });
            }
        };
        let stored = self.framer.directory.stored(&spot.place);
        let mut exhausted = hi <= lo;
        while !exhausted && found.len() <= n {
            // One more than is missing tells whether that was all; what is addressed to others does not count.
            let limit = (n - found.len() + 1) as u32;
            let filter = HistoryFilter {
                lo,
                hi,
                from_ms: times.0,
                to_ms: times.1,
                types: wanted.types.as_ref().map(|t| t.to_vec()),
                limit,
                desc: true,
            };
            let rows = match timeout(STEP, store.history(&stored, &spot.channel, filter)).await {
                Ok(Ok(rows)) => rows,
                _ => return Err(away()),
            };
            exhausted = rows.len() < limit as usize;
            for row in rows {
                hi = row.offset;
                let event = self.framer.stored(&spot.place, &row);
                if wanted.passes(&event) {
                    found.push_front(event);
                }
            }
        }
        if found.len() > n {
            found.drain(..found.len() - n);
            exhausted = false;
        }
        Ok(Older {
            events: found.into(),
            exhausted,
            log: extent.log,
        })
    }
}
