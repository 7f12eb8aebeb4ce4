//! Catch-up: pulls older than the ring, answered a chunk at a time. All that wait for one partition share its
//! questions and its readings of the log; partitions take turns at a few workers, and within a partition who has
//! waited longest decides where a turn begins. A slow reader holds nothing between chunks.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
};

use protocol::{ProtocolError, server::GapReason};
use schemas::Channel;
use tokio::{
    sync::mpsc,
    task::{Id, JoinError, JoinSet},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{Tiers, readers::PARKED, states::States};
use crate::{
    chunk::{Chunk, Gap, Room},
    event::Delivered,
    metrics::CatchUpMetrics,
    place::Place,
    pull::Reply,
};

/// Partitions served at the same time.
const WORKERS: usize = 4;
/// Pulls that may wait on this node; one more is told to come back.
const WAITING_MAX: usize = 65_536;

/// One pull that the ring could not answer.
#[derive(Debug)]
pub(crate) struct Fetch {
    pub(crate) place: Place,
    pub(crate) channel: Channel,
    pub(crate) next: i64,
    /// Where the ring takes over.
    pub(crate) until: i64,
    pub(crate) room: Room,
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
        metrics: CatchUpMetrics,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (queue, incoming) = mpsc::channel(WAITING_MAX);
        let dispatcher = Dispatcher {
            tiers,
            metrics,
            waiting: HashMap::new(),
            count: 0,
            order: VecDeque::new(),
            running: HashMap::new(),
            states: Arc::default(),
        };
        (Self { queue }, dispatcher.run(incoming, stop))
    }

    /// Takes a pull; a full queue answers it at once with `UNAVAILABLE`.
    pub(crate) fn fetch(&self, fetch: Fetch) {
        if let Err(error) = self.queue.try_send(fetch) {
            refuse(error.into_inner());
        }
    }
}

fn refuse(fetch: Fetch) {
    let busy = ProtocolError::unavailable("too many readers are catching up", 1_000);
    fetch.reply.send(Err(busy));
}

/// Shared by the workers; never held across a wait.
pub(super) type Remembered = Arc<Mutex<States>>;

/// What became of a worker's turn: the place, and the pulls that it did not come to, oldest first.
type Turned = (Place, Vec<Fetch>);

struct Dispatcher {
    tiers: Arc<Tiers>,
    metrics: CatchUpMetrics,
    /// By partition, oldest first.
    waiting: HashMap<Place, VecDeque<Fetch>>,
    count: usize,
    /// Partitions that wait for a worker, in turn; each of them stands here once, and never while it is served.
    order: VecDeque<Place>,
    running: HashMap<Id, Place>,
    states: Remembered,
}

impl Dispatcher {
    async fn run(mut self, mut incoming: mpsc::Receiver<Fetch>, stop: CancellationToken) {
        let mut workers = JoinSet::new();
        loop {
            let parked = self.tiers.scanner.readers.any_parked();
            tokio::select! {
                () = stop.cancelled() => return,
                Some(turned) = workers.join_next_with_id(), if !workers.is_empty() => {
                    self.turned(turned);
                }
                fetch = incoming.recv() => match fetch {
                    Some(fetch) => {
                        self.take(fetch);
                        while let Ok(fetch) = incoming.try_recv() {
                            self.take(fetch);
                        }
                    }
                    None => return,
                },
                () = sleep(PARKED), if parked && workers.is_empty() => self.tiers.scanner.readers.unpark(),
            }
            self.begin(&mut workers);
        }
    }

    fn take(&mut self, fetch: Fetch) {
        self.metrics.pulls.inc();
        if self.count >= WAITING_MAX {
            return refuse(fetch);
        }
        self.count += 1;
        let waiting = self.waiting.entry(fetch.place.clone()).or_default();
        let idle = waiting.is_empty() && !self.running.values().any(|p| *p == fetch.place);
        if idle {
            self.order.push_back(fetch.place.clone());
        }
        waiting.push_back(fetch);
    }

    fn turned(&mut self, turned: Result<(Id, Turned), JoinError>) {
        let (id, left) = match turned {
            Ok((id, (_, left))) => (id, left),
            Err(error) => {
                // Its pulls were dropped with it, which their askers see.
                tracing::error!(%error, "a catch-up worker died");
                (error.id(), Vec::new())
            }
        };
        let Some(place) = self.running.remove(&id) else {
            return;
        };
        self.count += left.len();
        let waiting = self.waiting.entry(place.clone()).or_default();
        for fetch in left.into_iter().rev() {
            waiting.push_front(fetch);
        }
        match waiting.is_empty() {
            true => drop(self.waiting.remove(&place)),
            false => self.order.push_back(place),
        }
    }

    fn begin(&mut self, workers: &mut JoinSet<Turned>) {
        while workers.len() < WORKERS
            && let Some(place) = self.order.pop_front()
        {
            let fetches = self.waiting.remove(&place).unwrap_or_default();
            self.count -= fetches.len();
            let (tiers, states) = (Arc::clone(&self.tiers), Arc::clone(&self.states));
            let (metrics, served) = (self.metrics.clone(), place.clone());
            let worker = workers.spawn(async move {
                let left = tiers.turn(&served, fetches.into(), &states, &metrics).await;
                (served, left)
            });
            self.running.insert(worker.id(), place);
        }
    }
}

pub(crate) fn answer(
    fetch: Fetch,
    start: i64,
    gap: Option<Gap>,
    events: Vec<Arc<Delivered>>,
    next: i64,
) {
    let events =
        service::planted!("handover_skips", events.into_iter().skip(1).collect() => events);
    let start = gap.map_or(start, |g| g.from);
    let chunk = Chunk::of(fetch.channel, start, gap, events, next);
    fetch.reply.send(Ok(chunk));
}

/// Tells of a range that is erased up to `to`.
pub(crate) fn tell(fetch: Fetch, to: i64) {
    let to = to.min(fetch.until.max(fetch.next + 1));
    let gap = Gap {
        from: fetch.next,
        to,
        reason: GapReason::Retention,
    };
    answer(fetch, to, Some(gap), Vec::new(), to);
}
