//! The lookout: asks the log where each partition ends, and from that tells the lag, confirms quiet partitions as
//! complete, and notices a reader that stands still before the end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use broker::Watermarks;
use service::Shutdown;
use store::Place;

use crate::instance::Shared;
use crate::lane::now_ms;
use crate::metrics::Numbers;
use crate::worker::Command;

/// The clocks of brokers and persisters are taken to agree within this: a quiet partition is called complete up to
/// this long ago only.
const CLOCKS_APART_MS: i64 = 5000;
/// A reader before the end of the log that brings nothing for this long is set again.
const STALL: Duration = Duration::from_secs(10);

/// Where each partition of this instance stands.
#[derive(Debug)]
pub(crate) struct Standings {
    /// The stored offset of each.
    places: Mutex<HashMap<Place, i64>>,
    numbers: Numbers,
}

impl Standings {
    pub(crate) fn new(numbers: Numbers) -> Standings {
        Standings {
            places: Mutex::default(),
            numbers,
        }
    }

    pub(crate) fn moved(&self, place: &Place, committed: i64) {
        self.lock().insert(place.clone(), committed);
    }

    pub(crate) fn left(&self, place: &Place) {
        self.lock().remove(place);
        self.numbers.forget(place);
    }

    /// Whether the partition still stands where it was seen.
    fn stands_at(&self, place: &Place, committed: i64) -> bool {
        self.lock().get(place) == Some(&committed)
    }

    fn all(&self) -> Vec<(Place, i64)> {
        let places = self.lock();
        places
            .iter()
            .map(|(place, committed)| (place.clone(), *committed))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Place, i64>> {
        // Every change is a single insert or remove, so a panic elsewhere leaves it whole.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was seen of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// Everything is stored, or it could not be told.
    Level,
    /// Records wait to be stored.
    Lagging,
    /// Somebody else has moved the offset, which a partition without new records would never notice.
    Moved,
}

/// Looks at every partition, again and again; `tell` hears which have to begin again.
pub(crate) async fn look_out(shared: Arc<Shared>, shutdown: Shutdown, tell: impl Fn(Command)) {
    // Where a partition was first seen to lag, and when.
    let mut lagging: HashMap<Place, (i64, Instant)> = HashMap::new();
    loop {
        tokio::select! {
            () = shutdown.started() => return,
            () = tokio::time::sleep(shared.config.observe_every) => {}
        }
        for (place, committed) in shared.standings.all() {
            if shutdown.is_started() {
                return;
            }
            match look(&shared, &place, committed).await {
                Seen::Lagging => {}
                seen => {
                    lagging.remove(&place);
                    if seen == Seen::Moved {
                        tell(Command::Reopen(place));
                    }
                    continue;
                }
            }
            let (seen_at, since) = *lagging
                .entry(place.clone())
                .or_insert((committed, Instant::now()));
            if seen_at != committed {
                lagging.insert(place, (committed, Instant::now()));
            } else if since.elapsed() > STALL {
                lagging.remove(&place);
                tell(Command::Reset(place));
            }
        }
    }
}

/// Looks at one partition; tells the numbers, and confirms it where no records wait.
async fn look(shared: &Shared, place: &Place, committed: i64) -> Seen {
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
            return Seen::Level;
        }
    };
    let lag = watermarks.high.saturating_sub(committed).max(0);
    shared
        .numbers
        .standing(place, lag, retention_used(watermarks, lag));
    if lag > 0 {
        return Seen::Lagging;
    }
    let complete_to_ms = asked_ms - CLOCKS_APART_MS;
    let store = &shared.ports.store;
    match store.confirm(place, committed, complete_to_ms).await {
        Ok(true) => Seen::Level,
        // Unless it was this instance that moved it meanwhile.
        Ok(false) if shared.standings.stands_at(place, committed) => Seen::Moved,
        Ok(false) => Seen::Level,
        Err(error) => {
            tracing::debug!(%place, %error, "a quiet partition could not be confirmed");
            Seen::Level
        }
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
