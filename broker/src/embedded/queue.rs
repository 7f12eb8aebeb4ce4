//! The bounded queue between `append` and the writer.
//!
//! A record counts against the bounds until just before it is answered for, so that a slow disk shows as
//! `Full` and not as memory. Dropping a pending record resolves its delivery as unknown.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::partition::Partition;
use crate::delivery::Deliver;
use crate::{Append, AppendError};

pub(crate) struct Pending {
    pub(crate) partition: Arc<Partition>,
    pub(crate) record: Append,
    pub(crate) weight: usize,
    pub(crate) deliver: Deliver,
}

pub(crate) struct Queue {
    records_max: usize,
    bytes_max: usize,
    inner: Mutex<Inner>,
    filled: Condvar,
    /// How many records were ever answered for; never more than `Inner::accepted`.
    answered: watch::Sender<u64>,
}

struct Inner {
    pending: VecDeque<Pending>,
    /// Not answered yet, the writer's present batch included.
    records: usize,
    bytes: usize,
    accepted: u64,
    /// Why nothing more is taken.
    shut: Option<AppendError>,
    stop: bool,
}

pub(crate) enum Taken {
    Batch(Vec<Pending>),
    Idle,
    Stop,
}

impl Queue {
    pub(crate) fn new(records_max: usize, bytes_max: usize) -> Queue {
        let inner = Inner {
            pending: VecDeque::new(),
            records: 0,
            bytes: 0,
            accepted: 0,
            shut: None,
            stop: false,
        };
        Queue {
            records_max,
            bytes_max,
            inner: Mutex::new(inner),
            filled: Condvar::new(),
            answered: watch::Sender::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, pending: Pending) -> Result<(), AppendError> {
        let mut inner = self.lock();
        if let Some(why) = &inner.shut {
            return Err(why.clone());
        }
        if inner.records >= self.records_max || inner.bytes + pending.weight > self.bytes_max {
            return Err(AppendError::Full);
        }
        inner.records += 1;
        inner.bytes += pending.weight;
        inner.accepted += 1;
        inner.pending.push_back(pending);
        drop(inner);
        self.filled.notify_one();
        Ok(())
    }

    /// Waits for records, at most `wait` when given, and takes a batch of them.
    pub(crate) fn take(
        &self,
        records_max: usize,
        bytes_max: usize,
        wait: Option<Duration>,
    ) -> Taken {
        let mut inner = self.lock();
        while inner.pending.is_empty() && !inner.stop {
            let Some(wait) = wait else {
                inner = self
                    .filled
                    .wait(inner)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let (woken, timeout) = self
                .filled
                .wait_timeout(inner, wait)
                .unwrap_or_else(PoisonError::into_inner);
            inner = woken;
            if timeout.timed_out() && inner.pending.is_empty() {
                return Taken::Idle;
            }
        }
        if inner.stop {
            return Taken::Stop;
        }
        let mut bytes = 0;
        let count = inner.pending.iter().take(records_max).take_while(|p| {
            let first = bytes == 0;
            bytes += p.weight;
            first || bytes <= bytes_max
        });
        let count = count.count();
        Taken::Batch(inner.pending.drain(..count).collect())
    }

    /// Gives back the room of records that are about to be answered for.
    pub(crate) fn freed(&self, records: usize, bytes: usize) {
        let mut inner = self.lock();
        inner.records -= records;
        inner.bytes -= bytes;
    }

    /// So many more records have been answered for.
    pub(crate) fn answered(&self, records: usize) {
        self.answered.send_modify(|count| *count += records as u64);
    }

    /// Takes nothing more; `push` says `why` from now on, unless it already says something.
    pub(crate) fn shut(&self, why: AppendError) {
        self.lock().shut.get_or_insert(why);
    }

    /// Ends the writer after its present batch; what is still queued is dropped.
    pub(crate) fn stop(&self) {
        let mut inner = self.lock();
        inner.stop = true;
        inner.shut.get_or_insert(AppendError::Closed);
        let left = std::mem::take(&mut inner.pending);
        drop(inner);
        self.filled.notify_all();
        drop(left);
    }

    /// Waits until everything accepted so far has been answered for. Cancel safe.
    pub(crate) async fn flushed(&self) {
        let accepted = self.lock().accepted;
        let mut answered = self.answered.subscribe();
        // The sender is in self: it cannot go away while we wait.
        let _ = answered.wait_for(|count| *count >= accepted).await;
    }
}
