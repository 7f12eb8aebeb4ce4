//! Catch-up: pulls older than the ring, answered a chunk at a time. All that wait for one partition share the
//! questions and the scan; partitions wait for one of a few workers. A slow reader holds nothing between chunks.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    num::NonZeroUsize,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{StreamExt, stream};
use lru::LruCache;
use protocol::{ProtocolError, server::GapReason};
use schemas::Channel;
use state::ChannelState;
use tokio::{sync::mpsc, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{STEP, Tiers};
use crate::{
    chunk::{Chunk, Gap, away},
    event::Delivered,
    place::Place,
    plan::{self, Extent, Source},
    pull::Reply,
};

/// Partitions served at the same time.
const WORKERS: usize = 4;
/// Pulls that may wait on this node; one more is told to come back.
const WAITING_MAX: usize = 65_536;
/// Rows in one chunk from the store.
const ROWS: u32 = 512;
/// Questions to the store at the same time, of one partition.
const QUESTIONS: usize = 4;
/// How long one pass over the log may take; what is not filled by then goes on with the next pull.
pub(super) const PASS: Duration = Duration::from_secs(3);
/// Acceptance states kept where chunks ended, so that the next chunk is judged from there.
const STATES: usize = 512;

/// One pull that the ring could not answer.
#[derive(Debug)]
pub(crate) struct Fetch {
    pub(crate) place: Place,
    pub(crate) channel: Channel,
    pub(crate) next: i64,
    /// Where the ring takes over.
    pub(crate) until: i64,
    pub(crate) bytes_max: usize,
    pub(crate) reply: Reply,
}

/// The door to the workers.
#[derive(Debug, Clone)]
pub(crate) struct CatchUp {
    queue: mpsc::Sender<Fetch>,
}

impl CatchUp {
    /// Starts the task that owns the workers; it ends with `stop`.
    pub(crate) fn start(
        tiers: Arc<Tiers>,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (queue, incoming) = mpsc::channel(WAITING_MAX);
        let dispatcher = Dispatcher {
            tiers,
            waiting: HashMap::new(),
            order: Vec::new(),
            running: HashSet::new(),
            states: Arc::new(Mutex::new(LruCache::new(
                NonZeroUsize::new(STATES).unwrap_or(NonZeroUsize::MIN),
            ))),
        };
        (Self { queue }, dispatcher.run(incoming, stop))
    }

    /// Takes a pull; a full queue answers it at once with `UNAVAILABLE`.
    pub(crate) fn fetch(&self, fetch: Fetch) {
        if let Err(error) = self.queue.try_send(fetch) {
            let busy = ProtocolError::unavailable("too many readers are catching up", 1_000);
            error.into_inner().reply.send(Err(busy));
        }
    }
}

pub(super) type States = Arc<Mutex<LruCache<(Channel, i64), ChannelState>>>;

struct Dispatcher {
    tiers: Arc<Tiers>,
    waiting: HashMap<Place, Vec<Fetch>>,
    order: Vec<Place>,
    running: HashSet<Place>,
    states: States,
}

impl Dispatcher {
    async fn run(mut self, mut incoming: mpsc::Receiver<Fetch>, stop: CancellationToken) {
        let mut workers = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(done) = workers.join_next(), if !workers.is_empty() => match done {
                    Ok(place) => { self.running.remove(&place); }
                    Err(error) => {
                        // A worker that panicked never answers its place again: forget who runs, replies are dropped.
                        tracing::error!(%error, "a catch-up worker died");
                        self.running.clear();
                    }
                },
                fetch = incoming.recv() => match fetch {
                    Some(fetch) => {
                        self.take(fetch);
                        while let Ok(fetch) = incoming.try_recv() {
                            self.take(fetch);
                        }
                    }
                    None => return,
                },
            }
            self.begin(&mut workers);
        }
    }

    fn take(&mut self, fetch: Fetch) {
        let place = fetch.place.clone();
        let waiting = self.waiting.entry(place.clone()).or_default();
        if waiting.is_empty() {
            self.order.push(place);
        }
        waiting.push(fetch);
    }

    fn begin(&mut self, workers: &mut JoinSet<Place>) {
        let mut left = Vec::new();
        for place in std::mem::take(&mut self.order) {
            if workers.len() >= WORKERS || self.running.contains(&place) {
                left.push(place);
                continue;
            }
            let Some(fetches) = self.waiting.remove(&place) else {
                continue;
            };
            self.running.insert(place.clone());
            let (tiers, states) = (Arc::clone(&self.tiers), Arc::clone(&self.states));
            workers.spawn(async move {
                tiers.serve(&place, fetches, &states).await;
                place
            });
        }
        self.order = left;
    }
}

impl Tiers {
    async fn serve(&self, place: &Place, fetches: Vec<Fetch>, states: &States) {
        let extent = match self.extent(place).await {
            Ok(extent) => extent,
            Err(error) => {
                for fetch in fetches {
                    fetch.reply.send(Err(error.clone()));
                }
                return;
            }
        };
        let mut stored: BTreeMap<(Channel, i64), (i64, Vec<Fetch>)> = BTreeMap::new();
        let mut logged = Vec::new();
        for fetch in fetches {
            if fetch.reply.is_gone() {
                continue;
            }
            match plan::source(fetch.next, &extent) {
                Source::Store { until } => {
                    let until = until.min(fetch.until);
                    let asked = stored
                        .entry((fetch.channel.clone(), fetch.next))
                        .or_insert((until, Vec::new()));
                    asked.0 = asked.0.min(until);
                    asked.1.push(fetch);
                }
                Source::Log {
                    judge_from,
                    checkpoint,
                } => {
                    if let Some(pass) = self
                        .prepare(fetch, judge_from, checkpoint, &extent, states)
                        .await
                    {
                        logged.push(pass);
                    }
                }
                Source::Gap { to } => self.erased(fetch, to, &extent).await,
                Source::Skip { to } => answer(fetch, to, None, Vec::new(), to),
            }
        }
        stream::iter(stored)
            .for_each_concurrent(QUESTIONS, |((channel, next), (until, fetches))| {
                self.serve_stored(place, channel, next, until, fetches)
            })
            .await;
        self.serve_logged(place, logged, states).await;
    }

    /// Tells of an erased range, unless the store knows that the channel had nothing in it.
    async fn erased(&self, fetch: Fetch, to: i64, extent: &Extent) {
        let last = match &self.store {
            Some(_) => self.last_known(&fetch).await,
            None => None,
        };
        let to = to.min(fetch.until.max(fetch.next + 1));
        if let Source::Skip { to } = plan::source(fetch.next, &Extent { last, ..*extent }) {
            return answer(fetch, to, None, Vec::new(), to);
        }
        let gap = Gap {
            from: fetch.next,
            to,
            reason: GapReason::Retention,
        };
        answer(fetch, to, Some(gap), Vec::new(), to);
    }

    async fn last_known(&self, fetch: &Fetch) -> Option<i64> {
        let (_, state) = self.checkpoint(&fetch.place, &fetch.channel, 0).await;
        state.last
    }

    async fn serve_stored(
        &self,
        place: &Place,
        channel: Channel,
        next: i64,
        until: i64,
        fetches: Vec<Fetch>,
    ) {
        let Some(store) = &self.store else { return };
        let bytes_max = fetches.iter().map(|f| f.bytes_max).min().unwrap_or(0);
        let stored = self.framer.directory.stored(place);
        let rows = match timeout(
            STEP,
            store.events_after(&stored, &channel, next, until, ROWS, bytes_max),
        )
        .await
        {
            Ok(Ok(rows)) => rows,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the store gave no rows");
                return fetches.into_iter().for_each(|f| f.reply.send(Err(away())));
            }
            Err(_) => return fetches.into_iter().for_each(|f| f.reply.send(Err(away()))),
        };
        let events: Vec<_> = rows
            .iter()
            .map(|row| self.framer.stored(place, row))
            .collect();
        // Only an empty page proves that there are no more rows below `until`.
        let after = events.last().map_or(until, |last| last.offset + 1);
        for fetch in fetches {
            answer(fetch, next, None, events.clone(), after);
        }
    }
}

pub(super) fn answer(
    fetch: Fetch,
    start: i64,
    gap: Option<Gap>,
    events: Vec<Arc<Delivered>>,
    next: i64,
) {
    fetch.reply.send(Ok(Chunk {
        channel: fetch.channel,
        start: gap.map_or(start, |g| g.from),
        gap,
        events,
        next,
        live: false,
        reached_end: false,
    }));
}
