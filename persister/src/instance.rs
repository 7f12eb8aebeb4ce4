//! One persister process: its lease rounds, its workers, and its end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use service::{Component, Shutdown};
use store::{Leases, Place, Shares, StoreError, Weakness};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::config::{PersisterConfig, Ports};
use crate::dead::DeadLetters;
use crate::lookout::look_out;
use crate::metrics::Numbers;
use crate::pause::Pause;
use crate::standings::Standings;
use crate::upkeep::keep_up;
use crate::worker::{Command, Worker};

/// Commands waiting for a busy worker at most: more than the partitions one round moves.
const COMMANDS_MAX: usize = 256;
/// Rounds may fail for this long before the instance says that it is not ready.
const READY_DEADLINE: Duration = Duration::from_secs(15);

/// Why a persister ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum PersisterError {
    /// A topic to store is not among the pinned ones: the settings do not fit this installation.
    #[error("topic {topic} is not pinned")]
    Unpinned {
        /// The topic.
        topic: String,
    },
    /// The tables are not there, or of an earlier version: migrate first.
    #[error("{code} postgres: {0}; mend it: {mend}", code = .0.code(), mend = .0.mend())]
    NotMigrated(Weakness),
    /// PostgreSQL refuses for good, for example because a right is missing.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A task ended by a defect: start the process again.
    #[error("the task {0} ended by itself")]
    Broken(&'static str),
    /// Tasks did not end within the stop timeout; what they had read is not lost, it is stored by whoever is next.
    #[error("{0}")]
    Unfinished(#[from] service::Unfinished),
}

/// What all tasks of one instance share.
pub(crate) struct Shared {
    pub(crate) config: PersisterConfig,
    pub(crate) ports: Ports,
    pub(crate) numbers: Numbers,
    pub(crate) dead: DeadLetters,
    pub(crate) standings: Standings,
}

/// Stores this instance's share of the partitions until `shutdown`, then commits what was read, gives its leases back
/// and returns. Any number of instances may run; PostgreSQL and the log may come and go.
///
/// # Errors
/// See [`PersisterError`]; none of them loses anything.
pub async fn run(
    config: PersisterConfig,
    ports: Ports,
    shutdown: Shutdown,
) -> Result<(), PersisterError> {
    let places = places(&config, &ports)?;
    let numbers = Numbers::new(&ports.metrics);
    let ready = ports.health.component("persister", READY_DEADLINE);
    let shared = Arc::new(Shared {
        dead: DeadLetters::new(ports.log.clone(), &config.deadletter, numbers.clone()),
        standings: Standings::new(numbers.clone()),
        config,
        ports,
        numbers,
    });
    let Some(leases) = join(&shared, &places, &ready, &shutdown).await? else {
        return Ok(());
    };
    let mut instance = Instance::start(Arc::clone(&shared), leases, ready, &shutdown);
    let ended = instance.share(&shutdown).await;
    let stopped = instance.stop().await;
    ended.and(stopped)
}

/// Every partition of every topic to store.
pub(crate) fn places(
    config: &PersisterConfig,
    ports: &Ports,
) -> Result<Vec<Place>, PersisterError> {
    let mut places = Vec::new();
    let state = config.names.state().to_owned();
    let state = ports.pins.topics.contains_key(&state).then_some(&state);
    for topic in config.topics.iter().chain(state) {
        let pin = ports
            .pins
            .topics
            .get(topic)
            .ok_or_else(|| PersisterError::Unpinned {
                topic: topic.clone(),
            })?;
        let partitions = i32::try_from(pin.partitions).unwrap_or(i32::MAX);
        places.extend(
            (0..partitions).map(|partition| Place::new(topic.clone(), pin.generation, partition)),
        );
    }
    Ok(places)
}

/// Joins the other instances, however long PostgreSQL is away; `None` when told to stop before that.
async fn join(
    shared: &Shared,
    places: &[Place],
    ready: &Component,
    shutdown: &Shutdown,
) -> Result<Option<Leases>, PersisterError> {
    // A new name at each start: what an earlier life held has to run out, for it may be alive still.
    let owner = format!("persister-{}", uuid::Uuid::now_v7());
    let mut pause = Pause::new();
    loop {
        match join_once(shared, &owner, places).await {
            Ok(leases) => return Ok(Some(leases)),
            Err(PersisterError::Store(error @ StoreError::Retry { .. })) => {
                ready.failing(error.to_string());
                tracing::warn!(%error, "waiting for PostgreSQL");
            }
            Err(error) => return Err(error),
        }
        tokio::select! {
            () = shutdown.started() => return Ok(None),
            () = tokio::time::sleep(pause.longer()) => {}
        }
    }
}

/// Joins once, in tables that can be worked with.
async fn join_once(
    shared: &Shared,
    owner: &str,
    places: &[Place],
) -> Result<Leases, PersisterError> {
    let store = shared.ports.store.clone();
    if let Some(weakness) = store.not_migrated().await? {
        return Err(PersisterError::NotMigrated(weakness));
    }
    Ok(Leases::join(store, owner.to_owned(), shared.config.lease_ttl, places).await?)
}

struct Instance {
    shared: Arc<Shared>,
    leases: Leases,
    ready: Component,
    /// The end of this instance's own tasks.
    own: Shutdown,
    workers: Vec<mpsc::Sender<Command>>,
    tasks: Vec<(&'static str, JoinHandle<()>)>,
    /// Which worker has which partition.
    working: HashMap<Place, usize>,
    /// What the lookout wants done.
    seen: mpsc::Receiver<Command>,
}

impl Instance {
    fn start(
        shared: Arc<Shared>,
        leases: Leases,
        ready: Component,
        shutdown: &Shutdown,
    ) -> Instance {
        let own = shutdown.child();
        let mut workers = Vec::new();
        let mut tasks = Vec::new();
        for _ in 0..shared.config.workers.max(1) {
            let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
            workers.push(commands);
            let worker = Worker::new(Arc::clone(&shared), inbox);
            tasks.push((
                "persister worker",
                own.spawn("persister worker", worker.run(own.clone())),
            ));
        }
        let upkeep = keep_up(Arc::clone(&shared), own.clone());
        tasks.push(("persister upkeep", own.spawn("persister upkeep", upkeep)));
        let (tell, seen) = mpsc::channel(COMMANDS_MAX);
        let lookout = look_out(Arc::clone(&shared), own.clone(), move |command| {
            // Full means that many are told already; the next look tells again.
            let _ = tell.try_send(command);
        });
        tasks.push(("persister lookout", own.spawn("persister lookout", lookout)));
        Instance {
            shared,
            leases,
            ready,
            own,
            workers,
            tasks,
            working: HashMap::new(),
            seen,
        }
    }

    /// Lease rounds until the end.
    async fn share(&mut self, shutdown: &Shutdown) -> Result<(), PersisterError> {
        while !shutdown.is_started() {
            if let Some((name, _)) = self.tasks.iter().find(|(_, task)| task.is_finished())
                && !shutdown.is_started()
            {
                return Err(PersisterError::Broken(name));
            }
            match self.leases.round().await {
                Ok(shares) => {
                    self.ready.ok();
                    self.follow(shares).await;
                }
                // What is held is worked on all the same: the offsets fence.
                Err(error) => {
                    self.ready.failing(error.to_string());
                    tracing::warn!(%error, "the leases could not be renewed");
                }
            }
            let until = tokio::time::Instant::now() + self.shared.config.lease_every;
            loop {
                tokio::select! {
                    () = shutdown.started() => break,
                    () = tokio::time::sleep_until(until) => break,
                    Some(command) = self.seen.recv() => self.pass_on(command),
                }
            }
        }
        Ok(())
    }

    /// Takes what is new, stops what is lost, and gives back what is too much once it is committed.
    async fn follow(&mut self, shares: Shares) {
        let lost: Vec<Place> = self
            .working
            .keys()
            .filter(|place| !shares.held.contains(place))
            .cloned()
            .collect();
        for place in lost {
            tracing::info!(%place, "the lease of a partition is gone");
            // Not waited for: whatever it still writes is fenced or right.
            drop(self.give(place));
        }
        let (mut mine, new): (Vec<Place>, Vec<Place>) = shares
            .held
            .into_iter()
            .partition(|place| self.working.contains_key(place));
        mine.extend(new);
        let surplus = mine.split_off(shares.fair.min(mine.len()));
        for place in mine {
            if !self.working.contains_key(&place) {
                self.take(place);
            }
        }
        if !surplus.is_empty() {
            self.give_back(surplus).await;
        }
        self.shared
            .numbers
            .leased
            .set(i64::try_from(self.working.len()).unwrap_or(i64::MAX));
    }

    async fn give_back(&mut self, surplus: Vec<Place>) {
        let stopping: Vec<_> = surplus
            .iter()
            .filter_map(|place| self.give(place.clone()))
            .collect();
        let all_stopped = async {
            for stopped in stopping {
                // A worker that is gone has stopped too.
                let _ = stopped.await;
            }
        };
        // A worker that waits for PostgreSQL does not answer in time; the next round asks again, and the leases of
        // the surplus are given back all the same, for the offsets fence.
        if tokio::time::timeout(self.shared.config.lease_every, all_stopped)
            .await
            .is_err()
        {
            tracing::debug!("a worker is slow to give back its partitions");
        }
        if let Err(error) = self.leases.release(&surplus).await {
            tracing::warn!(%error, "leases could not be given back, they run out by themselves");
        }
    }

    fn take(&mut self, place: Place) {
        let load = |worker: usize| self.working.values().filter(|one| **one == worker).count();
        let Some(worker) = (0..self.workers.len()).min_by_key(|worker| load(*worker)) else {
            return;
        };
        // A full inbox: not taken now, offered again by the next round.
        if self.workers[worker]
            .try_send(Command::Take(place.clone()))
            .is_ok()
        {
            self.working.insert(place, worker);
        }
    }

    fn give(&mut self, place: Place) -> Option<oneshot::Receiver<()>> {
        let worker = self.working.get(&place)?;
        let (done, stopped) = oneshot::channel();
        let sent = self.workers[*worker].try_send(Command::Give {
            place: place.clone(),
            done,
        });
        // A full inbox: still worked on, stopped by the next round.
        sent.ok()?;
        self.working.remove(&place);
        Some(stopped)
    }

    fn pass_on(&self, command: Command) {
        if let Some(worker) = self.working.get(command.place()) {
            // A worker too busy to listen does not stand still.
            let _ = self.workers[*worker].try_send(command);
        }
    }

    /// Lets the tasks commit what they have, then gives everything back.
    async fn stop(self) -> Result<(), PersisterError> {
        self.own.start();
        let finished = self.own.finished(self.shared.config.stop_timeout).await;
        if let Err(error) = self.leases.leave().await {
            tracing::warn!(%error, "leases could not be given back, they run out by themselves");
        }
        Ok(finished?)
    }
}
