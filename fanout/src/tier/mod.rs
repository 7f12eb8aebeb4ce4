//! The tiers below the ring: the store and the log, behind one question — what follows this position?

mod catchup;
mod pass;
mod resolve;
mod scan;
mod warm;

use std::{sync::Arc, time::Duration};

use broker::Log;
use futures_util::future::BoxFuture;
use protocol::ProtocolError;
use schemas::Channel;
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

/// Fetches the Avro schema with an id from the registry: `Ok(None)` when the registry has none.
pub type SchemaPort =
    Arc<dyn Fn(u32) -> BoxFuture<'static, Result<Option<String>, String>> + Send + Sync>;

/// How long one question to the store or the broker may take before another tier, or a coded error, answers.
const STEP: Duration = Duration::from_secs(2);

/// The store and the log of this node.
#[derive(Debug)]
pub(crate) struct Tiers {
    pub(crate) log: Log,
    pub(crate) store: Option<Store>,
    pub(crate) scanner: Scanner,
    pub(crate) framer: Framer,
    /// Bounds the partitions whose channels are warmed at the same time.
    warmings: Semaphore,
}

impl Tiers {
    pub(crate) fn new(log: Log, store: Option<Store>, scanner: Scanner, framer: Framer) -> Self {
        Self {
            log,
            store,
            scanner,
            framer,
            warmings: Semaphore::new(warm::WARMINGS_MAX),
        }
    }

    /// What the tiers hold of a partition. The store's silence is not an error: the log then answers alone.
    pub(crate) async fn extent(&self, place: &Place) -> Result<Extent, ProtocolError> {
        let (low, stored) = tokio::join!(self.log_low(place), self.stored(place));
        Ok(Extent {
            stored,
            log_low: low?,
            last: None,
        })
    }

    async fn log_low(&self, place: &Place) -> Result<i64, ProtocolError> {
        match timeout(STEP, self.log.watermarks(&place.topic, place.partition)).await {
            Ok(Ok(watermarks)) => Ok(watermarks.low),
            Ok(Err(error)) => {
                tracing::warn!(topic = %place.topic, partition = place.partition, %error, "no watermarks");
                Err(away())
            }
            Err(_) => Err(away()),
        }
    }

    async fn stored(&self, place: &Place) -> Option<Stored> {
        let store = self.store.as_ref()?;
        let place = self.framer.directory.stored(place);
        match timeout(STEP, store.progress(&place)).await {
            Ok(Ok(progress)) => progress.map(|p| Stored {
                floor: p.floor,
                next: p.next,
            }),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the store does not answer; reading the log instead");
                None
            }
            Err(_) => None,
        }
    }
}

/// One channel in one place, with what the errors and logs call it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Spot {
    pub(crate) place: Place,
    pub(crate) channel: Channel,
}
