//! The tiers below the ring: the store and the log, behind one question — what follows this position?

mod catchup;
mod folded;
mod page;
mod readers;
mod resolve;
mod scan;
mod state;
mod states;
mod sweep;
mod turn;
mod warm;

use std::{sync::Arc, time::Duration};

use ::state::ChannelState;
use broker::{Log, Watermarks};
use futures_util::future::BoxFuture;
use protocol::ProtocolError;
use store::Store;
use tokio::{sync::Semaphore, time::timeout};

use crate::{
    chunk::away,
    event::Framer,
    place::Place,
    plan::{Extent, Stored},
};

pub(crate) use catchup::{CatchUp, Fetch};
pub(crate) use scan::{Scanned, Scanner};
pub(crate) use warm::Warm;
#[cfg(test)]
pub(crate) use {
    catchup::tell,
    folded::Folded,
    page::part,
    states::States,
    sweep::{Sweep, Track},
};

/// Fetches the Avro schema with an id from the registry: `Ok(None)` when the registry has none.
pub type SchemaPort =
    Arc<dyn Fn(u32) -> BoxFuture<'static, Result<Option<String>, String>> + Send + Sync>;

/// How long one question to the store or the broker may take before another tier, or a coded error, answers.
const STEP: Duration = Duration::from_secs(2);
/// Records that nobody waits for are read through rather than jumped over, up to so many.
const SKIP: i64 = 4_096;

/// The store and the log of this node.
#[derive(Debug)]
pub(crate) struct Tiers {
    pub(crate) log: Log,
    pub(crate) store: Option<Store>,
    pub(crate) scanner: Scanner,
    pub(crate) framer: Framer,
    /// Bounds the partitions whose channels are warmed at the same time.
    warmings: Semaphore,
    /// Bounds the states that are folded at the same time.
    foldings: Semaphore,
}

impl Tiers {
    pub(crate) fn new(log: Log, store: Option<Store>, scanner: Scanner, framer: Framer) -> Self {
        Self {
            log,
            store,
            scanner,
            framer,
            warmings: Semaphore::new(warm::WARMINGS_MAX),
            foldings: Semaphore::new(state::FOLDINGS_MAX),
        }
    }

    /// What the tiers hold of a partition. The store's silence is an error only when the log alone does not know
    /// what counts.
    pub(crate) async fn extent(&self, place: &Place) -> Result<Extent, ProtocolError> {
        let (marks, stored) = tokio::join!(self.marks(place), self.stored(place));
        self.joined(place, marks?, stored).await
    }

    /// The same, where the log was asked a moment ago: retention may have erased more of it since.
    pub(crate) async fn extent_above(
        &self,
        place: &Place,
        marks: Watermarks,
    ) -> Result<Extent, ProtocolError> {
        let stored = self.stored(place).await;
        self.joined(place, marks, stored).await
    }

    async fn joined(
        &self,
        place: &Place,
        marks: Watermarks,
        stored: Result<Option<Stored>, Silent>,
    ) -> Result<Extent, ProtocolError> {
        let mut stored = match stored {
            Ok(stored) => stored,
            Err(silent) => alone(silent, marks.low)?,
        };
        if let Some(known) = &mut stored {
            known.next = self.uncut(place, marks, known.next).await?;
        }
        Ok(Extent { stored, log: marks })
    }

    /// How far the store's word holds that it has everything below `next`. It may just have been faster than the
    /// question to the log; when it stays ahead, the log was cut (F32).
    async fn uncut(
        &self,
        place: &Place,
        marks: Watermarks,
        next: i64,
    ) -> Result<i64, ProtocolError> {
        if next <= marks.high {
            return Ok(next);
        }
        Ok(next.min(self.marks(place).await?.high))
    }

    /// One past the last offset of a partition, as of now.
    pub(crate) async fn log_end(&self, place: &Place) -> Result<i64, ProtocolError> {
        match timeout(STEP, self.log.watermarks(&place.topic, place.partition)).await {
            Ok(Ok(watermarks)) => Ok(watermarks.high),
            _ => Err(away()),
        }
    }

    /// Where the store knows the log to have been cut. Its silence is no answer: then the log's end stands for it.
    pub(crate) async fn cut(&self, place: &Place) -> Option<i64> {
        let place = self.framer.directory.stored(place);
        let progress = timeout(STEP, self.store.as_ref()?.progress(&place)).await;
        progress.ok()?.ok()??.truncated
    }

    async fn log_low(&self, place: &Place) -> Result<i64, ProtocolError> {
        Ok(self.marks(place).await?.low)
    }

    /// Where the log begins and ends, asked after whatever was known before.
    async fn marks(&self, place: &Place) -> Result<Watermarks, ProtocolError> {
        match timeout(STEP, self.log.watermarks(&place.topic, place.partition)).await {
            Ok(Ok(watermarks)) => Ok(watermarks),
            Ok(Err(error)) => {
                tracing::warn!(topic = %place.topic, partition = place.partition, %error, "no watermarks");
                Err(away())
            }
            Err(_) => Err(away()),
        }
    }

    async fn stored(&self, place: &Place) -> Result<Option<Stored>, Silent> {
        let Some(store) = &self.store else {
            return Ok(None);
        };
        let place = self.framer.directory.stored(place);
        match timeout(STEP, store.progress(&place)).await {
            Ok(Ok(progress)) => Ok(progress.map(|p| Stored {
                floor: p.floor,
                next: p.held(),
                lost: p.lost,
            })),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the store does not answer");
                Err(Silent)
            }
            Err(_) => Err(Silent),
        }
    }
}

/// The store did not answer.
struct Silent;

/// With its first record at hand the log answers for the store. Once retention has erased that, only the store knows
/// which records count and what came before them: better no answer for now than one that differs from other nodes'.
fn alone<T: Default>(_: Silent, log_low: i64) -> Result<T, ProtocolError> {
    if log_low > 0 {
        return Err(away());
    }
    Ok(T::default())
}

/// What is known of a channel where the log begins and no store goes further back.
fn beginning(low: i64) -> ChannelState {
    match low {
        0 => ChannelState::new(),
        _ => ChannelState::after_loss(),
    }
}
