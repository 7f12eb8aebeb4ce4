//! Reads the log back for the lanes that ask: one reader for all partitions of this gateway, there only
//! while somebody follows.
//!
//! A lane says `follow` from an offset under a session number, and gets batches of outbox records and
//! positions of that session through a bounded channel, until it leaves or follows anew.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use broker::{Fetched, Log, Reader, Record};
use service::Shutdown;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::metrics::IngestMetrics;

/// Most items taken from the reader at once.
const ITEMS_MAX: usize = 1_024;
/// Batches that may wait for one lane; a lane takes them as they come.
const BATCHES_MAX: usize = 8;
/// Commands that may wait; a lane has at most a few.
const COMMANDS_MAX: usize = 1_024;
/// How long to wait before reading again what could not be read.
const PAUSE: Duration = Duration::from_millis(200);

/// The handle lanes ask through.
#[derive(Clone, Debug)]
pub(crate) struct TailReader(mpsc::Sender<Command>);

/// Outbox records of one partition, and the offset read up to, if it can be read on.
type Heard = (Vec<Record>, Option<i64>);

/// What a lane hears of its partition.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) session: u64,
    /// Records with an outbox's headers, in order.
    pub(crate) records: Vec<Record>,
    /// Everything below has been read; `None`: the partition cannot be read on.
    pub(crate) next: Option<i64>,
}

#[derive(Debug)]
enum Command {
    Follow(Arc<str>, i32, Follower),
    Leave(Arc<str>, i32),
}

#[derive(Debug)]
struct Follower {
    session: u64,
    next: i64,
    batches: mpsc::Sender<Batch>,
    /// When to assign the partition again, if it is not.
    retry: Option<Instant>,
}

impl TailReader {
    /// Starts the task; it ends with `shutdown` after the lanes do, or when nobody holds a handle.
    pub(crate) fn start(log: Log, metrics: IngestMetrics, shutdown: &Shutdown) -> TailReader {
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let task = Task {
            log,
            metrics,
            reader: None,
            followers: HashMap::new(),
        };
        // Ends when the last lane has dropped its handle: lanes flush after the signal and may need it.
        shutdown.spawn("ingest read back", task.run(receiver));
        TailReader(commands)
    }

    /// Follows a partition from `from`; what was followed before under another session ends.
    /// `None`: it cannot be had now.
    pub(crate) fn follow(
        &self,
        topic: &Arc<str>,
        partition: i32,
        session: u64,
        from: i64,
    ) -> Option<mpsc::Receiver<Batch>> {
        let (batches, receiver) = mpsc::channel(BATCHES_MAX);
        let follower = Follower {
            session,
            next: from,
            batches,
            retry: Some(Instant::now()),
        };
        let command = Command::Follow(Arc::clone(topic), partition, follower);
        self.0.try_send(command).ok().map(|()| receiver)
    }

    /// Follows a partition no longer. A lane whose leave is lost is left behind by its closed channel.
    pub(crate) fn leave(&self, topic: &Arc<str>, partition: i32) {
        let _ = self
            .0
            .try_send(Command::Leave(Arc::clone(topic), partition));
    }
}

struct Task {
    log: Log,
    metrics: IngestMetrics,
    reader: Option<Reader>,
    followers: HashMap<(Arc<str>, i32), Follower>,
}

impl Task {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        loop {
            self.assign_due();
            let retry = self
                .followers
                .values()
                .filter_map(|follower| follower.retry)
                .min();
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return,
                },
                fetched = next(&mut self.reader) => match fetched {
                    Ok(items) => self.hand_out(items).await,
                    Err(error) => {
                        tracing::warn!(%error, "reading the log back failed, trying again");
                        self.reader = None;
                        for follower in self.followers.values_mut() {
                            follower.retry = Some(Instant::now() + PAUSE);
                        }
                    }
                },
                () = until(retry) => {}
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Follow(topic, partition, follower) => {
                self.unassign(&topic, partition);
                self.followers.insert((topic, partition), follower);
            }
            Command::Leave(topic, partition) => self.drop_follower(&topic, partition),
        }
    }

    fn drop_follower(&mut self, topic: &Arc<str>, partition: i32) {
        self.unassign(topic, partition);
        self.followers.remove(&(Arc::clone(topic), partition));
        if self.followers.is_empty() {
            // A Kafka reader has threads of its own.
            self.reader = None;
        }
    }

    fn unassign(&mut self, topic: &str, partition: i32) {
        if let Some(reader) = &mut self.reader {
            reader.unassign(topic, partition);
        }
    }

    fn assign_due(&mut self) {
        let now = Instant::now();
        for ((topic, partition), follower) in &mut self.followers {
            if follower.retry.is_none_or(|at| at > now) {
                continue;
            }
            follower.retry = Some(now + PAUSE);
            if self.reader.is_none() {
                self.reader = self
                    .log
                    .reader()
                    .inspect_err(
                        |error| tracing::warn!(%error, "no reader to read the log back with"),
                    )
                    .ok();
            }
            let Some(reader) = &mut self.reader else {
                return;
            };
            match reader.assign(topic, *partition, follower.next) {
                Ok(()) => follower.retry = None,
                Err(error) => tracing::warn!(%error, %topic, partition, "cannot read the log back"),
            }
        }
    }

    async fn hand_out(&mut self, items: Vec<Fetched>) {
        let mut batches: HashMap<(Arc<str>, i32), Heard> = HashMap::new();
        for item in items {
            match item {
                Fetched::Record(record) => {
                    self.metrics.read_back.inc();
                    let key = (Arc::clone(&record.topic), record.partition);
                    let batch = batches.entry(key).or_default();
                    batch.1 = Some(record.offset + 1);
                    if record.headers.iter().any(|(name, _)| name == "rm-producer") {
                        batch.0.push(record);
                    }
                }
                Fetched::End {
                    topic,
                    partition,
                    next,
                } => {
                    batches.entry((topic, partition)).or_default().1 = Some(next);
                }
                Fetched::Failed {
                    topic,
                    partition,
                    error,
                } if error.retryable() => {
                    tracing::debug!(%error, %topic, partition, "reading back pauses");
                    if let Some(follower) = self.followers.get_mut(&(topic, partition)) {
                        follower.retry = Some(Instant::now() + PAUSE);
                    }
                }
                Fetched::Failed {
                    topic,
                    partition,
                    error,
                } => {
                    tracing::error!(%error, %topic, partition, "the log cannot be read back");
                    batches.entry((topic, partition)).or_default().1 = None;
                }
                Fetched::OutOfRange {
                    topic,
                    partition,
                    asked,
                } => {
                    tracing::warn!(%topic, partition, asked, "the log no longer holds what was to be read back");
                    batches.entry((topic, partition)).or_default().1 = None;
                }
            }
        }
        for ((topic, partition), (records, next)) in batches {
            self.deliver(&topic, partition, records, next).await;
        }
    }

    async fn deliver(
        &mut self,
        topic: &Arc<str>,
        partition: i32,
        records: Vec<Record>,
        next: Option<i64>,
    ) {
        let Some(follower) = self.followers.get_mut(&(Arc::clone(topic), partition)) else {
            return;
        };
        if let Some(next) = next {
            follower.next = follower.next.max(next);
        }
        let batch = Batch {
            session: follower.session,
            records,
            next,
        };
        // A lane never waits for us, so this ends soon.
        let gone = follower.batches.send(batch).await.is_err();
        if gone || next.is_none() {
            self.drop_follower(topic, partition);
        }
    }
}

async fn next(reader: &mut Option<Reader>) -> Result<Vec<Fetched>, broker::BrokerError> {
    match reader {
        Some(reader) => reader.next(ITEMS_MAX).await,
        None => std::future::pending().await,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
