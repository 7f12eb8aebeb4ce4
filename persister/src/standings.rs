//! Where each partition of this instance stands: told by the lanes, read by the lookout.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use store::Place;

use crate::metrics::Numbers;

/// How far a partition is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The stored offset.
    pub(crate) committed: i64,
    /// Everything the log took before this is stored, Unix ms; `None` when nothing ever was.
    pub(crate) stored_to_ms: Option<i64>,
}

#[derive(Debug)]
pub(crate) struct Standings {
    places: Mutex<HashMap<Place, Standing>>,
    numbers: Numbers,
}

impl Standings {
    pub(crate) fn new(numbers: Numbers) -> Standings {
        Standings {
            places: Mutex::default(),
            numbers,
        }
    }

    /// A partition is stored up to `committed`, and up to a time if that is known.
    pub(crate) fn moved(&self, place: &Place, committed: i64, stored_to_ms: Option<i64>) {
        let mut places = self.lock();
        let before = places.get(place).and_then(|standing| standing.stored_to_ms);
        let standing = Standing {
            committed,
            stored_to_ms: stored_to_ms.or(before),
        };
        places.insert(place.clone(), standing);
    }

    /// Another instance stores the partition from now on.
    pub(crate) fn left(&self, place: &Place) {
        self.lock().remove(place);
        self.numbers.forget(place);
    }

    /// Whether the partition still stands where it was seen.
    pub(crate) fn stands_at(&self, place: &Place, committed: i64) -> bool {
        let places = self.lock();
        places.get(place).map(|standing| standing.committed) == Some(committed)
    }

    pub(crate) fn has(&self, place: &Place) -> bool {
        self.lock().contains_key(place)
    }

    pub(crate) fn all(&self) -> Vec<(Place, Standing)> {
        let places = self.lock();
        places
            .iter()
            .map(|(place, standing)| (place.clone(), *standing))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Place, Standing>> {
        // Every change is a single insert or remove, so a panic elsewhere leaves it whole.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
