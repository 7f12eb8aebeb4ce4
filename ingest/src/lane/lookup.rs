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
        let nothing = |from: i64| {
            let mut acceptance = Acceptance::new();
            if from > 0 {
                // What the log began with is lost.
                acceptance.lose();
            }
            let looked = || Looked {
                acceptance: acceptance.clone(),
                from,
                head: marks.high,
            };
            channels.iter().map(|_| looked()).collect()
        };
        let Ok(checkpoint) = checkpoint else {
            // Without the store only a log that still has its beginning tells everything, and a long one
            // takes too long to read.
            let readable = marks.low == 0 && marks.high <= RECORDS_MAX;
            return readable.then(|| nothing(0));
        };
        let Some(mut checkpoint) = checkpoint else {
            return Some(nothing(marks.low));
        };
        let lost = checkpoint.next < marks.low;
        if lost {
            tracing::error!(
                place = %self.place, persisted = checkpoint.next, low = marks.low,
                "the log has lost records that were never persisted"
            );
        }
        let looked = channels.iter().map(|channel| {
            let mut acceptance = match checkpoint.channels.remove(channel) {
                Some(found) => restore(found.state),
                None => restore(checkpoint.unknown()),
            };
            if lost {
                acceptance.lose();
            }
            Looked {
                acceptance,
                from: checkpoint.next.max(marks.low),
                head: marks.high,
            }
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
                let asked = store.outboxes(&self.place, channels);
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
    let outboxes = |known: Vec<store::ProducerState>| {
        known.into_iter().map(|producer| ProducerState {
            user: producer.user,
            producer: producer.producer,
            epoch: producer.epoch,
            seq: producer.seq,
        })
    };
    let ids = std::iter::empty();
    let acceptance = Acceptance::restore(outboxes(state.producers), ids, state.log_time_ms);
    match state.unheard {
        Some(unheard) => acceptance.with_unheard(outboxes(unheard)),
        None => acceptance,
    }
}
