//! Asks the leaders of partitions that records do not get through to, over a client of its own.
//!
//! A leader that answers others while the producer gets nothing through is no outage: it is the producer.
//! librdkafka 2.12 can lose a partition so (see `stall` for readers), and what it loses it does not find again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::runtime::Handle;

use super::answers::Health;
use crate::kafka::query::Query;

/// Between two rounds of questions.
const PAUSE: Duration = Duration::from_millis(500);
/// A look ends after this; the next record that is lost begins another.
const LOOK: Duration = Duration::from_secs(60);
/// Leaders asked in one round.
const AT_ONCE: usize = 16;

pub(super) struct Witness {
    query: Query,
    /// One look at a time.
    looking: Arc<AtomicBool>,
}

impl Witness {
    pub(super) fn new(query: Query) -> Witness {
        Witness {
            query,
            looking: Arc::default(),
        }
    }

    /// Asks until every leader concerned has answered once, its partition has recovered, or the look's time
    /// is over. Returns at once; from any thread.
    pub(super) fn look(&self, runtime: &Handle, health: &Arc<Health>) {
        if self.looking.swap(true, Ordering::AcqRel) {
            return;
        }
        let (query, looking) = (self.query.clone(), Arc::clone(&self.looking));
        // Ends with the producers, or with the runtime.
        let health = Arc::downgrade(health);
        runtime.spawn(async move {
            let end = Instant::now() + LOOK;
            let mut turn = 0;
            while let Some(health) = health.upgrade()
                && Instant::now() < end
            {
                let mut silent = health.cure().silent();
                if silent.is_empty() {
                    break;
                }
                // Everybody's turn comes.
                let count = silent.len();
                silent.rotate_left(turn % count);
                silent.truncate(AT_ONCE);
                turn += AT_ONCE;
                let questions = silent.iter().map(async |(topic, partition)| {
                    query.watermarks(topic, *partition).await.is_ok()
                });
                let answers = join_all(questions).await;
                for ((topic, partition), answered) in silent.iter().zip(answers) {
                    if answered {
                        health.cure().answers(topic, *partition, Instant::now());
                    }
                }
                drop(health);
                tokio::time::sleep(PAUSE).await;
            }
            looking.store(false, Ordering::Release);
        });
    }
}
