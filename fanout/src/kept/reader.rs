//! Follows the state topic: from where the store stands to the head, and on.

use std::{sync::Arc, time::Duration};

use broker::{Fetched, Reader, Watermarks};
use schemas::Kept;
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Keeper, TAIL_MAX, Tail};

/// Records taken from the reader at once.
const BATCH: usize = 512;
/// How often it is looked what is to be opened, and how far the store is.
const TICK: Duration = Duration::from_secs(1);
/// How long one question to the store or the log may take.
const STEP: Duration = Duration::from_secs(2);

/// Whether a partition is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// To be opened at the next look.
    Closed,
    Opening,
    Reading,
    /// Reading failed: it goes on at this offset, at the next look.
    Broken(i64),
}

/// What a question brought.
enum Done {
    /// What the log holds, and that the store has everything below `stored`.
    Opened {
        partition: i32,
        log: Option<Watermarks>,
        stored: Option<i64>,
    },
    Stored {
        partition: i32,
        next: Option<i64>,
    },
}

struct Following {
    keeper: Arc<Keeper>,
    reader: Reader,
    phases: Vec<Phase>,
    work: JoinSet<Done>,
    asked_store: Option<Instant>,
}

/// Runs until `stop`.
pub(super) async fn run(keeper: Arc<Keeper>, reader: Reader, stop: CancellationToken) {
    let phases = vec![Phase::Closed; keeper.read_to.len()];
    let mut following = Following {
        keeper,
        reader,
        phases,
        work: JoinSet::new(),
        asked_store: None,
    };
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => following.look(),
            Some(done) = following.work.join_next(), if !following.work.is_empty() => match done {
                Ok(done) => following.done(done),
                Err(error) => tracing::error!(%error, "a question of the kept reader died"),
            },
            fetched = following.reader.next(BATCH), if following.phases.contains(&Phase::Reading) => {
                match fetched {
                    Ok(fetched) => following.fetched(fetched),
                    Err(error) => tracing::warn!(%error, "the reader of kept cursors failed"),
                }
            }
        }
    }
}

impl Following {
    /// Opens what is closed, and asks the store how far it is where something is kept for it.
    fn look(&mut self) {
        let stale = std::mem::take(&mut self.keeper.lock().stale);
        for partition in stale {
            self.close(partition);
        }
        for at in 0..self.phases.len() {
            let partition = at as i32;
            match self.phases[at] {
                Phase::Closed => {
                    self.phases[at] = Phase::Opening;
                    self.work.spawn(opened(Arc::clone(&self.keeper), partition));
                }
                Phase::Broken(next) => self.assign(partition, next),
                Phase::Opening | Phase::Reading => {}
            }
        }
        if self.asked_store.is_none_or(|asked| asked.elapsed() > STEP) {
            self.asked_store = Some(Instant::now());
            self.ask_store();
        }
    }

    fn ask_store(&mut self) {
        let lengths: Vec<usize> = {
            let state = self.keeper.lock();
            let lengths = state.tails.iter();
            lengths.map(|t| t.as_ref().map_or(0, Tail::len)).collect()
        };
        self.keeper
            .metrics
            .tail
            .set(lengths.iter().sum::<usize>() as i64);
        if self.keeper.tiers.store.is_none() {
            return;
        }
        for (at, length) in lengths.into_iter().enumerate() {
            if length > 0 && self.phases[at] == Phase::Reading {
                let (keeper, partition) = (Arc::clone(&self.keeper), at as i32);
                self.work.spawn(async move {
                    let next = stored(&keeper, partition).await;
                    Done::Stored { partition, next }
                });
            }
        }
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Opened {
                partition,
                log: None,
                ..
            } => self.phases[partition as usize] = Phase::Closed,
            Done::Opened {
                partition,
                log: Some(log),
                stored,
            } => {
                let base = stored.map_or(log.low, |next| next.clamp(log.low, log.high));
                let tail = Tail::new(base, base == log.low, TAIL_MAX);
                // In this order: who waits for the end must not take the old reading for the new tail's.
                self.keeper.read_to[partition as usize].send_replace(base);
                self.keeper.begin(partition, tail);
                self.assign(partition, base);
            }
            Done::Stored { partition, next } => {
                if let Some(next) = next
                    && let Some(tail) = &mut self.keeper.lock().tails[partition as usize]
                {
                    tail.stored(next);
                }
            }
        }
    }

    fn assign(&mut self, partition: i32, next: i64) {
        let place = self.keeper.tiers.framer.directory.state_place(partition);
        self.phases[partition as usize] = match self.reader.assign(&place.topic, partition, next) {
            Ok(()) => Phase::Reading,
            Err(error) => {
                tracing::warn!(?place, %error, "kept cursors cannot be read");
                Phase::Broken(next)
            }
        };
    }

    /// Begins again with a partition, from where the store is then.
    fn close(&mut self, partition: i32) {
        let place = self.keeper.tiers.framer.directory.state_place(partition);
        if self.phases[partition as usize] != Phase::Opening {
            self.reader.unassign(&place.topic, partition);
            self.phases[partition as usize] = Phase::Closed;
        }
    }

    fn fetched(&mut self, fetched: Vec<Fetched>) {
        for item in fetched {
            let partition = item.place().1;
            match item {
                Fetched::Record(record) => {
                    // What a reader repeats (L11) was dealt with.
                    if record.offset < self.read_to(partition) {
                        continue;
                    }
                    match Kept::decode(record.key.as_deref(), record.value.as_deref()) {
                        Ok(Some(kept)) => self.keeper.read(partition, record.offset, kept),
                        Ok(None) => {}
                        Err(error) => {
                            self.keeper.metrics.passed_over.inc();
                            tracing::warn!(partition, offset = record.offset, %error, "a record of the state topic is passed over");
                        }
                    }
                    self.progressed(partition, record.offset + 1);
                }
                Fetched::End { next, .. } => self.progressed(partition, next),
                Fetched::OutOfRange { asked, .. } => {
                    tracing::warn!(
                        partition,
                        asked,
                        "the state topic no longer holds the place it is read at"
                    );
                    self.phases[partition as usize] = Phase::Closed;
                }
                Fetched::Failed { error, .. } => {
                    tracing::warn!(partition, %error, "reading kept cursors failed");
                    self.phases[partition as usize] = Phase::Broken(self.read_to(partition));
                }
            }
        }
    }

    fn read_to(&self, partition: i32) -> i64 {
        *self.keeper.read_to[partition as usize].borrow()
    }

    fn progressed(&self, partition: i32, next: i64) {
        if let Some(tail) = &mut self.keeper.lock().tails[partition as usize] {
            tail.reached(next);
        }
        self.keeper.read_to[partition as usize].send_if_modified(|read_to| {
            let further = *read_to < next;
            *read_to = (*read_to).max(next);
            further
        });
    }
}

async fn opened(keeper: Arc<Keeper>, partition: i32) -> Done {
    let place = keeper.tiers.framer.directory.state_place(partition);
    let watermarks = keeper.tiers.log.watermarks(&place.topic, partition);
    let (log, stored) = tokio::join!(timeout(STEP, watermarks), stored(&keeper, partition));
    Done::Opened {
        partition,
        log: log.ok().and_then(Result::ok),
        stored,
    }
}

/// How far the store has the partition. `None` is always right to read from the beginning with.
async fn stored(keeper: &Keeper, partition: i32) -> Option<i64> {
    let store = keeper.tiers.store.as_ref()?;
    let directory = &keeper.tiers.framer.directory;
    let place = directory.stored(&directory.state_place(partition));
    match timeout(STEP, store.progress(&place)).await {
        Ok(Ok(progress)) => progress.map(|progress| progress.next),
        _ => None,
    }
}
