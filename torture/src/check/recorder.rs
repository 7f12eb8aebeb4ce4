//! Follows the log from its beginning while the run is on, and looks now and then at what can be had.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sqlx::PgPool;
use testbed::checker::Follower;

use super::log::{Log, LogBuilder};
use super::tables;
use crate::evidence::{Clock, Names};

/// Between two looks at the watermarks and at the tables.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// One look at one partition; brokers may be dead.
const LOOK: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(50);

/// A thread with a consumer of its own. It survives brokers that die, and must have read what anybody erases:
/// ask [`Recorder::read_to`] before deleting records.
#[derive(Debug)]
pub struct Recorder {
    shared: Arc<Shared>,
    thread: JoinHandle<Result<LogBuilder, String>>,
    looking: tokio::task::JoinHandle<Looks>,
}

#[derive(Debug, Default)]
struct Shared {
    read_to: Mutex<HashMap<(String, i32), i64>>,
    /// Reading goes on to the ends and stops there.
    finish: AtomicBool,
    /// When it must have got there.
    deadline: Mutex<Option<Instant>>,
}

/// When the tables were looked at, and how far each partition was stored.
type Looks = Vec<(u32, Vec<(String, i32, i64)>)>;

impl Recorder {
    /// Reads `<prefix>.events` and `<prefix>.jobs`, which must exist, from the beginning. `tables` is asked once
    /// a second how far they are; it may be away.
    pub fn start(
        bootstrap: &str,
        prefix: &str,
        tables: PgPool,
        clock: Clock,
        names: Arc<Names>,
    ) -> Recorder {
        let shared = Arc::new(Shared::default());
        let looking = tokio::spawn(look(tables, clock, Arc::clone(&shared)));
        let (bootstrap, prefix) = (bootstrap.to_owned(), prefix.to_owned());
        let also = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("recorder".to_owned())
            .spawn(move || follow(&bootstrap, &prefix, clock, names, &also))
            .expect("a thread can be started");
        Recorder {
            shared,
            thread,
            looking,
        }
    }

    /// Up to where a partition has been read: the next offset. Deleting below it is safe.
    pub fn read_to(&self, topic: &str, partition: i32) -> i64 {
        let read_to = lock(&self.shared.read_to);
        read_to
            .get(&(topic.to_owned(), partition))
            .copied()
            .unwrap_or(0)
    }

    /// Reads on to the present end, within `patience`, and gives what was seen.
    ///
    /// # Errors
    /// In words: the end was not reached, or something was erased before it was read.
    pub async fn finish(self, patience: Duration) -> Result<Log, String> {
        *lock(&self.shared.deadline) = Some(Instant::now() + patience);
        self.shared.finish.store(true, Ordering::Release);
        let thread = self.thread;
        let built = tokio::task::spawn_blocking(move || thread.join())
            .await
            .map_err(|error| error.to_string())?;
        let mut builder = built.map_err(|_| "the recorder panicked".to_owned())??;
        let looks = self.looking.await.map_err(|error| error.to_string())?;
        for (at, places) in looks {
            for (topic, partition, next) in places {
                let topic = builder.topic(&topic);
                builder.tide().stored((topic, partition), at, next);
            }
        }
        let ends = self.shared.ends(&builder);
        Ok(builder.finish(ends))
    }
}

impl Shared {
    fn ends(&self, builder: &LogBuilder) -> BTreeMap<(u8, i32), i64> {
        let read_to = lock(&self.read_to);
        read_to
            .iter()
            .map(|((topic, partition), next)| ((builder.topic(topic), *partition), *next))
            .collect()
    }

    fn overdue(&self) -> bool {
        lock(&self.deadline).is_some_and(|deadline| Instant::now() > deadline)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn follow(
    bootstrap: &str,
    prefix: &str,
    clock: Clock,
    names: Arc<Names>,
    shared: &Shared,
) -> Result<LogBuilder, String> {
    let topics = ["events", "jobs"].map(|name| format!("{prefix}.{name}"));
    let follower = Follower::start(bootstrap, &topics);
    let count = |topic: &str| {
        let partitions = follower.partitions().iter();
        let count = partitions.filter(|(of, _)| of == topic).count();
        i32::try_from(count).expect("a handful of partitions")
    };
    let sizes: Vec<(String, i32)> = topics
        .iter()
        .map(|topic| (topic.clone(), count(topic)))
        .collect();
    let mut builder = LogBuilder::new(prefix, &sizes, names);
    let mut looked = Instant::now();
    loop {
        if let Some(record) = follower.next(POLL)? {
            let place = (record.topic.clone(), record.partition);
            lock(&shared.read_to).insert(place, record.offset + 1);
            builder.take(&record);
            // While there is something to read, reading goes first, but looks stay in time.
            if looked.elapsed() < LOOK_EVERY {
                continue;
            }
        }
        let finishing = shared.finish.load(Ordering::Acquire);
        if looked.elapsed() < LOOK_EVERY && !finishing {
            continue;
        }
        looked = Instant::now();
        let lagging = look_at_log(&follower, &mut builder, clock, shared);
        if finishing && lagging.is_empty() {
            return Ok(builder);
        }
        if shared.overdue() {
            let places = lagging.join(", ");
            return Err(format!(
                "the end of the log was not reached in time: {places}"
            ));
        }
    }
}

/// Notes how far each partition is erased; gives those that are not read to their ends, in words.
fn look_at_log(
    follower: &Follower,
    builder: &mut LogBuilder,
    clock: Clock,
    shared: &Shared,
) -> Vec<String> {
    let mut lagging = Vec::new();
    for (topic, partition) in follower.partitions() {
        // The time before asking: what is in the log at the answer was in it then.
        let at = clock.now();
        let Some((low, high)) = follower.watermarks(topic, *partition, LOOK) else {
            lagging.push(format!("{topic}/{partition} does not answer"));
            continue;
        };
        let number = builder.topic(topic);
        builder.tide().low((number, *partition), at, low);
        // The position passes control records too, which a last offset would not.
        let read = follower.position(topic, *partition).unwrap_or(0);
        if read < high {
            lagging.push(format!("{topic}/{partition} at {read} of {high}"));
        }
        lock(&shared.read_to).insert((topic.clone(), *partition), read);
    }
    lagging
}

/// Looks at the tables until the run ends.
async fn look(tables: PgPool, clock: Clock, shared: Arc<Shared>) -> Looks {
    let mut looks = Looks::new();
    let mut tick = tokio::time::interval(LOOK_EVERY);
    while !shared.finish.load(Ordering::Acquire) {
        tick.tick().await;
        // The time after the answer: a look counts for what was asked later.
        if let Ok(Ok(stored)) = tokio::time::timeout(LOOK_EVERY, tables::stored_to(&tables)).await {
            looks.push((clock.now(), stored));
        }
    }
    looks
}
