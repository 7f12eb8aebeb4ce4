//! What a worker does when a partition, or all of them, cannot go on.

use std::sync::Arc;
use std::time::Duration;

use broker::Code;
use tokio::time::Instant;

use super::{Slot, Worker};
use crate::gather::Key;
use crate::lane::Setback;
use crate::pause::Pause;

/// Between two steps of removing rows: the other partitions of the worker get their turn.
const BREATH: Duration = Duration::from_millis(5);
/// A partition with a defect is tried again this rarely; each time is an alarm.
const DEFECT_PAUSE: Duration = Duration::from_secs(30);

impl Worker {
    /// Closes every lane whose topic is not the pinned one any more.
    pub(super) fn close_moved(&mut self) {
        if self.shared.ports.watch.is_sound() {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let lost = |key: &Key| {
            shared
                .ports
                .watch
                .lost(&key.0)
                .map(|flaw| (key.clone(), flaw))
        };
        let open = self
            .slots
            .iter()
            .filter(|(_, slot)| matches!(slot, Slot::Open(_)));
        let moved: Vec<_> = open.filter_map(|(key, _)| lost(key)).collect();
        for (key, flaw) in moved {
            self.set_back(&key, Setback::Moved(flaw));
        }
    }

    /// Closes a lane for as long as its trouble deserves.
    pub(super) fn set_back(&mut self, key: &Key, setback: Setback) {
        let shared = Arc::clone(&self.shared);
        let (topic, partition) = key;
        match setback {
            Setback::Fenced => {
                shared.numbers.fenced.inc();
                tracing::warn!(%topic, partition, "fenced: another instance stores this partition, beginning again from its offset");
                let pause = self
                    .pauses
                    .entry(key.clone())
                    .or_insert_with(Pause::new)
                    .longer();
                self.close(key, pause);
            }
            Setback::StoreAway(reason) => {
                if self.store_away.is_none() {
                    shared.numbers.retries.inc();
                    let pause = self.store_pause.longer();
                    self.store_away = Some(Instant::now() + pause);
                    tracing::warn!(
                        reason,
                        ?pause,
                        "PostgreSQL is away, nothing is stored until it is back"
                    );
                }
                self.close(key, Duration::ZERO);
            }
            Setback::Waiting(reason) => {
                shared.numbers.retries.inc();
                let pause = self
                    .pauses
                    .entry(key.clone())
                    .or_insert_with(Pause::new)
                    .longer();
                tracing::warn!(%topic, partition, reason, ?pause, "a partition waits");
                self.close(key, pause);
            }
            Setback::Removing => self.close(key, BREATH),
            Setback::Moved(flaw) => {
                tracing::error!(
                    code = flaw.code.as_str(), %topic, partition, what = flaw.what, mend = flaw.mend,
                    "nothing more of this partition is stored: its topic is not the pinned one"
                );
                self.close(key, DEFECT_PAUSE);
            }
            Setback::Truncated { stored, end } => {
                shared.numbers.truncated(topic, *partition, true);
                tracing::error!(
                    code = Code::LogTruncated.as_str(), %topic, partition, stored, end,
                    mend = format!("save the rows from {end} on, then rivermouth rebuild --topic {topic} --lossy --yes"),
                    "the log ends before what is stored: nothing more of this partition is stored"
                );
                self.close(key, DEFECT_PAUSE);
            }
            Setback::Defect(reason) => {
                tracing::error!(%topic, partition, reason, "a partition cannot be stored");
                self.close(key, DEFECT_PAUSE);
            }
        }
    }

    pub(super) fn close(&mut self, key: &Key, pause: Duration) {
        self.unassign(key);
        if let Some(slot) = self.slots.get_mut(key) {
            let place = match slot {
                Slot::Open(lane) => lane.place().clone(),
                Slot::Closed { place, .. } => place.clone(),
            };
            *slot = Slot::Closed {
                place,
                until: Instant::now() + pause,
            };
        }
    }

    pub(super) fn reader_failed(&mut self, reason: &str) {
        self.reader = None;
        let open: Vec<Key> = self.slots.keys().cloned().collect();
        for key in open {
            if matches!(self.slots.get(&key), Some(Slot::Open(_))) {
                self.set_back(&key, Setback::Waiting(reason.to_owned()));
            }
        }
    }
}
