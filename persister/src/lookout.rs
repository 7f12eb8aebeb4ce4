//! The lookout: asks the log where each partition ends, and from that tells the lag, confirms quiet partitions as
//! complete, and notices a reader that stands still before the end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use broker::Watermarks;
use service::Shutdown;
use store::Place;

use crate::instance::Shared;
use crate::lane::now_ms;
use crate::metrics::Numbers;

/// The clocks of brokers and persisters are taken to agree within this: a quiet partition is called complete up to
/// this long ago only.
const CLOCKS_APART_MS: i64 = 5000;
/// A reader before the end of the log that brings nothing for this long is set again.
const STALL: Duration = Duration::from_secs(10);

/// Where each partition of this instance stands.
#[derive(Debug)]
pub(crate) struct Standings {
    places: Mutex<HashMap<Place, Standing>>,
    numbers: Numbers,
}

#[derive(Clone, Copy, Debug)]
struct Standing {
    committed: i64,
    since: Instant,
}

impl Standings {
    pub(crate) fn new(numbers: Numbers) -> Standings {
        Standings {
            places: Mutex::default(),
            numbers,
        }
    }

    pub(crate) fn moved(&self, place: &Place, committed: i64) {
        let standing = Standing {
            committed,
            since: Instant::now(),
        };
        self.lock().insert(place.clone(), standing);
    }

    pub(crate) fn left(&self, place: &Place) {
        self.lock().remove(place);
        self.numbers.forget(place);
    }

    fn all(&self) -> Vec<(Place, Standing)> {
        self.lock()
            .iter()
            .map(|(place, standing)| (place.clone(), *standing))
            .collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Place, Standing>> {
        // Every change is a single insert or remove, so a panic elsewhere leaves it whole.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at every partition, again and again; `stalled` is told of those whose reader stands still.
pub(crate) async fn look_out(shared: Arc<Shared>, shutdown: Shutdown, stalled: impl Fn(Place)) {
    loop {
        tokio::select! {
            () = shutdown.started() => return,
            () = tokio::time::sleep(shared.config.observe_every) => {}
        }
        for (place, standing) in shared.standings.all() {
            if shutdown.is_started() {
                return;
            }
            look_at(&shared, &place, standing, &stalled).await;
        }
    }
}

async fn look_at(shared: &Shared, place: &Place, standing: Standing, stalled: &impl Fn(Place)) {
    let asked_ms = now_ms();
    let watermarks = match shared
        .ports
        .log
        .watermarks(&place.topic, place.partition)
        .await
    {
        Ok(watermarks) => watermarks,
        Err(error) => {
            tracing::debug!(%place, %error, "the end of a partition is not known");
            return;
        }
    };
    let lag = watermarks.high.saturating_sub(standing.committed).max(0);
    shared
        .numbers
        .standing(place, lag, retention_used(watermarks, lag));
    if lag == 0 {
        let confirmed = shared
            .ports
            .store
            .confirm(place, standing.committed, asked_ms - CLOCKS_APART_MS)
            .await;
        if let Err(error) = confirmed {
            tracing::debug!(%place, %error, "a quiet partition could not be confirmed");
        }
    } else if standing.since.elapsed() > STALL {
        shared.numbers.stalls.inc();
        tracing::warn!(%place, committed = standing.committed, end = watermarks.high, "a partition stands still before its end");
        stalled(place.clone());
    }
}

/// How much of what the log holds is not stored yet: what retention may take next.
fn retention_used(watermarks: Watermarks, lag: i64) -> f64 {
    let held = watermarks.high.saturating_sub(watermarks.low);
    if held <= 0 {
        return 0.0;
    }
    lag as f64 / held as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retention_is_used_up_when_the_oldest_record_is_the_next_to_store() {
        let watermarks = Watermarks {
            low: 100,
            high: 200,
        };
        assert_eq!(retention_used(watermarks, 0), 0.0);
        assert_eq!(retention_used(watermarks, 100), 1.0);
        assert_eq!(retention_used(Watermarks { low: 5, high: 5 }, 0), 0.0);
    }
}
