//! The hub reads partitions, judges what it reads, keeps the hot channels' rings, and broadcasts to the shards.
//!
//! One task owns all of it: records, pulls and detachments are handled one after the other, and each shard hears
//! of them in that order. So the join of backlog and live has no seam, and nothing here needs a lock.

mod cold;
mod feed;
mod footing;
mod fresh;
mod hot;
mod serve;
mod state;
mod work;

#[cfg(test)]
pub(crate) use hot::Hot;

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use broker::{Fetched, Reader, Record};
use service::Component;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::{
    mailbox::{Mailbox, ToShard},
    metrics::FanoutMetrics,
    place::{Directory, Place},
    pull::Command,
    tier::{CatchUp, Scanned, Tiers},
};
use feed::{Feed, Phase};
use hot::{Aged, Slot};
use work::Done;

/// Records taken from the reader at once: a round.
const BATCH: usize = 512;
/// Commands handled before the reader gets its turn.
const COMMANDS: usize = 256;
/// How long after a failure a partition is read again.
const RETRY: Duration = Duration::from_secs(1);

/// Bounds of one hub.
#[derive(Debug, Clone)]
pub(crate) struct HubConfig {
    /// Bytes of all rings together, and of the states beside them.
    pub(crate) ring_bytes_max: usize,
    /// Events older than this leave the ring.
    pub(crate) ring_age_max: Duration,
    /// A channel without listeners is dropped after this.
    pub(crate) idle_after: Duration,
    /// A pull is answered within this.
    pub(crate) request_timeout: Duration,
}

/// The owner of some partitions' feeds.
pub(crate) struct Hub {
    config: HubConfig,
    tiers: Arc<Tiers>,
    directory: Arc<Directory>,
    catch_up: CatchUp,
    shards: Vec<Arc<Mailbox>>,
    feeds: Vec<Feed>,
    by_place: HashMap<Place, usize>,
    /// What this round brings to each shard.
    rounds: Vec<Vec<ToShard>>,
    aged: VecDeque<Aged>,
    ring_bytes: usize,
    work: JoinSet<Done>,
    metrics: FanoutMetrics,
    now: Instant,
}

impl Hub {
    pub(crate) fn new(
        config: HubConfig,
        tiers: Arc<Tiers>,
        catch_up: CatchUp,
        shards: Vec<Arc<Mailbox>>,
        metrics: FanoutMetrics,
    ) -> Self {
        Self {
            config,
            directory: Arc::clone(&tiers.framer.directory),
            tiers,
            catch_up,
            rounds: shards.iter().map(|_| Vec::new()).collect(),
            shards,
            feeds: Vec::new(),
            by_place: HashMap::new(),
            aged: VecDeque::new(),
            ring_bytes: 0,
            work: JoinSet::new(),
            metrics,
            now: Instant::now(),
        }
    }

    /// Runs until `stop`. The reader is lent to it so that reading and handling can wait side by side.
    pub(crate) async fn run(
        mut self,
        mut reader: Reader,
        mut commands: mpsc::Receiver<Command>,
        heartbeat: Component,
        stop: CancellationToken,
    ) {
        let mut topics = self.directory.watch().subscribe();
        let mut tick = interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(done) = self.work.join_next(), if !self.work.is_empty() => {
                    self.now = Instant::now();
                    match done {
                        Ok(done) => self.done(done, &mut reader),
                        Err(error) => tracing::error!(%error, "a question of the hub died"),
                    }
                }
                Some(command) = commands.recv() => {
                    self.now = Instant::now();
                    self.command(command);
                    for _ in 1..COMMANDS {
                        match commands.try_recv() {
                            Ok(command) => self.command(command),
                            Err(_) => break,
                        }
                    }
                }
                fetched = reader.next(BATCH), if !self.feeds.is_empty() => {
                    self.now = Instant::now();
                    match fetched {
                        Ok(fetched) => self.fetched(fetched, &mut reader).await,
                        Err(error) => tracing::warn!(%error, "the log's reader failed"),
                    }
                }
                Ok(()) = topics.changed() => {
                    self.now = Instant::now();
                    self.topics_changed(&mut reader);
                }
                _ = tick.tick() => {
                    self.now = Instant::now();
                    heartbeat.ok();
                    self.sweep(&mut reader);
                }
            }
            self.flush().await;
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Pull(pull) => self.pull(pull),
            Command::Detach { channel, shard } => {
                let place = self.directory.durable(&channel);
                let now = self.now;
                if let Some(&index) = self.by_place.get(&place)
                    && let Some(Slot::Hot(hot)) = self.feeds[index].slots.get_mut(&channel)
                {
                    hot.listeners[shard] = hot.listeners[shard].saturating_sub(1);
                    hot.used = now;
                }
            }
        }
    }

    async fn fetched(&mut self, fetched: Vec<Fetched>, reader: &mut Reader) {
        let mut touched: Option<usize> = None;
        for item in fetched {
            let index = match &item {
                Fetched::Record(r) => self.index_of(&r.topic, r.partition, touched),
                Fetched::End {
                    topic, partition, ..
                }
                | Fetched::OutOfRange {
                    topic, partition, ..
                }
                | Fetched::Failed {
                    topic, partition, ..
                } => self.index_of(topic, *partition, touched),
            };
            let Some(index) = index else { continue };
            if touched.is_some_and(|t| t != index) {
                self.progressed(touched);
            }
            touched = Some(index);
            match item {
                Fetched::Record(record) => self.record(index, record, reader).await,
                Fetched::End { next, .. } => {
                    let feed = &mut self.feeds[index];
                    feed.read_to = feed.read_to.max(next);
                }
                Fetched::OutOfRange { asked, .. } => {
                    tracing::warn!(place = ?self.feeds[index].place, asked, "the log no longer holds the place this node reads at");
                    self.reopen(index, reader);
                }
                Fetched::Failed { error, .. } => {
                    tracing::warn!(place = ?self.feeds[index].place, %error, "reading failed");
                    self.broken(index, reader);
                }
            }
        }
        self.progressed(touched);
    }

    fn index_of(&self, topic: &str, partition: i32, guess: Option<usize>) -> Option<usize> {
        if let Some(index) = guess
            && let place = &self.feeds[index].place
            && place.partition == partition
            && *place.topic == *topic
        {
            return guess;
        }
        self.feeds
            .iter()
            .position(|f| f.place.partition == partition && *f.place.topic == *topic)
    }

    async fn record(&mut self, index: usize, record: Record, reader: &mut Reader) {
        let feed = &mut self.feeds[index];
        // Redelivered after a reassignment (L11): already handled.
        if record.offset < feed.read_to || !matches!(feed.phase, Phase::Reading) {
            return;
        }
        let signals = self.directory.is_signals(&feed.place.topic);
        let wanted = match (signals, record.key.as_deref()) {
            (_, None) => false,
            (false, Some(key)) => feed.wants(key),
            (true, Some(key)) => {
                let beside = self.directory.durable_beside(&feed.place);
                self.by_place
                    .get(&beside)
                    .is_some_and(|&i| self.feeds[i].wants(key))
            }
        };
        if !wanted {
            self.feeds[index].read_to = record.offset + 1;
            return;
        }
        let event = match self.tiers.scanner.decode(&record).await {
            Ok(event) => event,
            Err(error) => {
                tracing::warn!(%error, "a record's schema cannot be had; the partition waits for it");
                return self.broken(index, reader);
            }
        };
        self.feeds[index].read_to = record.offset + 1;
        let Some(event) = event else { return };
        let scanned = Scanned {
            event,
            offset: record.offset,
            at_ms: record.timestamp_ms,
        };
        if signals {
            self.relay(index, &scanned);
        } else {
            self.accept(index, scanned);
        }
    }

    /// An ephemeral event goes to whoever listens to the channel, and nowhere else.
    fn relay(&mut self, index: usize, record: &Scanned) {
        let beside = self.directory.durable_beside(&self.feeds[index].place);
        let Some(&durable) = self.by_place.get(&beside) else {
            return;
        };
        if let Some(Slot::Hot(hot)) = self.feeds[durable].slots.get(&record.event.channel) {
            let event = self.tiers.framer.ephemeral(&record.event, record.at_ms);
            for (shard, round) in self.rounds.iter_mut().enumerate() {
                if hot.listeners[shard] > 0 {
                    round.push(ToShard::Event {
                        channel: record.event.channel.clone(),
                        event: Arc::clone(&event),
                    });
                }
            }
        }
    }

    fn accept(&mut self, index: usize, record: Scanned) {
        let feed = &mut self.feeds[index];
        let hot = match feed.slots.get_mut(&record.event.channel) {
            Some(Slot::Hot(hot)) => hot,
            Some(Slot::Warming(warming)) => {
                if record.offset >= warming.live_from {
                    warming.buffer(record.event, record.offset, record.at_ms);
                }
                return;
            }
            None => return,
        };
        let before = hot.warm.folded.weight();
        let taken = hot.take(&self.tiers.framer, &feed.place, &record);
        self.ring_bytes = (self.ring_bytes + hot.warm.folded.weight()).saturating_sub(before);
        let Some(event) = taken.event else { return };
        if taken.new {
            self.ring_bytes += event.weight();
            self.aged.push_back(Aged {
                place: index,
                channel: record.event.channel.clone(),
                offset: event.offset,
                at: self.now,
            });
        }
        for (shard, round) in self.rounds.iter_mut().enumerate() {
            if hot.listeners[shard] > 0 {
                round.push(ToShard::Event {
                    channel: record.event.channel.clone(),
                    event: Arc::clone(&event),
                });
            }
        }
        self.metrics.accepted.inc();
        let parked = std::mem::take(&mut hot.parked);
        for pull in parked {
            self.serve(index, pull);
        }
        self.trim();
    }

    /// Forgets the oldest events of the node while the rings are over their bound.
    fn trim(&mut self) {
        while self.ring_bytes > self.config.ring_bytes_max
            || self
                .aged
                .front()
                .is_some_and(|a| self.now.duration_since(a.at) > self.config.ring_age_max)
        {
            // States are not forgotten while their channels are hot.
            let Some(aged) = self.aged.pop_front() else {
                return;
            };
            if let Some(Slot::Hot(hot)) = self.feeds[aged.place].slots.get_mut(&aged.channel) {
                self.ring_bytes = self
                    .ring_bytes
                    .saturating_sub(hot.warm.ring.evict(aged.offset));
            }
        }
    }

    /// Hands each shard its round, waiting for room: a shard that is behind slows the reading, never loses a round.
    async fn flush(&mut self) {
        for (shard, round) in self.rounds.iter_mut().enumerate() {
            if !round.is_empty() {
                self.shards[shard].post_round(std::mem::take(round)).await;
            }
        }
    }
}
