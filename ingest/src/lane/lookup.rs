//! Finds out where the outboxes of channels stand: the persister's checkpoint, and the end of the log.

use std::time::Duration;

use broker::{Log, Watermarks};
use schemas::Channel;
use state::{Acceptance, ProducerState};
use store::{Place, Store};

use super::ledger::Looked;

/// How long all of it may take; less than a publish may wait.
const DEADLINE: Duration = Duration::from_secs(4);
/// How long the store may take; after that it counts as away.
const STORE_DEADLINE: Duration = Duration::from_secs(2);
/// Most records that are read from the log's beginning when the store is away.
const RECORDS_MAX: i64 = 200_000;

/// Where to look.
#[derive(Clone, Debug)]
pub(crate) struct Lookup {
    pub(crate) log: Log,
    pub(crate) store: Option<Store>,
    pub(crate) place: Place,
}

impl Lookup {
    /// The end of the log, as of a moment after this call.
    pub(crate) async fn head(&self) -> Option<i64> {
        self.watermarks().await.map(|marks| marks.high)
    }

    /// The state of each channel, in the order asked; `None`: it cannot be known now.
    pub(crate) async fn channels(&self, channels: &[Channel]) -> Option<Vec<Looked>> {
        match tokio::time::timeout(DEADLINE, self.ask(channels)).await {
            Ok(looked) => looked,
            Err(_) => {
                tracing::warn!(place = %self.place, "looking up outboxes took too long");
                None
            }
        }
    }

    async fn ask(&self, channels: &[Channel]) -> Option<Vec<Looked>> {
        let (marks, checkpoint) = tokio::join!(self.watermarks(), self.checkpoint(channels));
        let marks = marks?;
        let empty = |from: i64| Looked {
            acceptance: Acceptance::new(),
            from,
            head: marks.high,
        };
        let Ok(checkpoint) = checkpoint else {
            // Without the store only a log that still has its beginning tells everything, and a long one
            // takes too long to read.
            let readable = marks.low == 0 && marks.high <= RECORDS_MAX;
            return readable.then(|| channels.iter().map(|_| empty(0)).collect());
        };
        let Some(mut checkpoint) = checkpoint else {
            return Some(channels.iter().map(|_| empty(marks.low)).collect());
        };
        if checkpoint.next < marks.low {
            tracing::error!(
                place = %self.place, persisted = checkpoint.next, low = marks.low,
                "the log has lost records that were never persisted"
            );
        }
        let from = checkpoint.next.max(marks.low);
        let looked = channels
            .iter()
            .map(|channel| match checkpoint.channels.remove(channel) {
                None => empty(from),
                Some(found) => Looked {
                    acceptance: restore(found.state),
                    from,
                    head: marks.high,
                },
            });
        Some(looked.collect())
    }

    async fn watermarks(&self) -> Option<Watermarks> {
        self.log
            .watermarks(&self.place.topic, self.place.partition)
            .await
            .inspect_err(|error| tracing::warn!(%error, place = %self.place, "the log does not say where it ends"))
            .ok()
    }

    async fn checkpoint(&self, channels: &[Channel]) -> Result<Option<store::Checkpoint>, ()> {
        match &self.store {
            None => Ok(None),
            Some(store) => {
                let asked = store.checkpoint(&self.place, channels, 0);
                match tokio::time::timeout(STORE_DEADLINE, asked).await {
                    Ok(answer) => answer.map_err(
                        |error| tracing::warn!(%error, place = %self.place, "no checkpoint"),
                    ),
                    Err(_) => {
                        tracing::warn!(place = %self.place, "the checkpoint took too long");
                        Err(())
                    }
                }
            }
        }
    }
}

/// Only the outboxes: ids are not judged here.
fn restore(state: store::ChannelState) -> Acceptance {
    let producers = state.producers.into_iter().map(|producer| ProducerState {
        user: producer.user,
        producer: producer.producer,
        epoch: producer.epoch,
        seq: producer.seq,
    });
    Acceptance::restore(producers, std::iter::empty(), state.log_time_ms)
}
