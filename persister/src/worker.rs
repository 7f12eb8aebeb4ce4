//! A worker: one reader, some of the leased partitions, one thing at a time.
//!
//! Work comes as [`Command`]s from the instance, records from the log; both leave as committed batches. Whatever goes
//! wrong with a partition closes its lane, and a closed lane is opened again after a pause.

mod trouble;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use broker::Reader;
use service::Shutdown;
use store::Place;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::gather::{Gathered, Key, Part, Trouble};
use crate::instance::Shared;
use crate::lane::{Lane, Setback, sound};
use crate::pause::Pause;

/// Items asked of the reader at once: small, so that the bound on bytes is looked at often.
const FETCH_ITEMS: usize = 256;
/// How long a worker with nothing to do sleeps before it looks around.
const IDLE: Duration = Duration::from_secs(1);

/// What the instance wants of a worker.
#[derive(Debug)]
pub(crate) enum Command {
    /// Work on a partition.
    Take(Place),
    /// Stop working on it; `done` is told once everything read of it is committed or forgotten.
    Give {
        place: Place,
        done: oneshot::Sender<()>,
    },
    /// Somebody else has moved its offset: begin again from there.
    Reopen(Place),
}

impl Command {
    /// The partition it is about.
    pub(crate) fn place(&self) -> &Place {
        match self {
            Command::Take(place) | Command::Give { place, .. } | Command::Reopen(place) => place,
        }
    }
}

enum Slot {
    Open(Lane),
    Closed { place: Place, until: Instant },
}

pub(crate) struct Worker {
    shared: Arc<Shared>,
    commands: mpsc::Receiver<Command>,
    inbox: VecDeque<Command>,
    /// `None` after it failed as a whole, until it is made anew.
    reader: Option<Reader>,
    slots: HashMap<Key, Slot>,
    /// How long each partition pauses next; one that commits starts anew.
    pauses: HashMap<Key, Pause>,
    /// Nothing is opened or written before this moment: PostgreSQL is away.
    store_away: Option<Instant>,
    store_pause: Pause,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>, commands: mpsc::Receiver<Command>) -> Worker {
        Worker {
            shared,
            commands,
            inbox: VecDeque::new(),
            reader: None,
            slots: HashMap::new(),
            pauses: HashMap::new(),
            store_away: None,
            store_pause: Pause::new(),
        }
    }

    /// Works until told to stop; what was gathered by then is stored.
    pub(crate) async fn run(mut self, shutdown: Shutdown) {
        while !shutdown.is_started() {
            while let Some(command) = self.inbox.pop_front() {
                self.obey(command);
            }
            self.close_moved();
            self.open_due(&shutdown).await;
            let gathered = self.gather(&shutdown).await;
            self.store(gathered).await;
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Take(place) => {
                let key = key(&place);
                self.slots.entry(key).or_insert(Slot::Closed {
                    place,
                    until: Instant::now(),
                });
            }
            Command::Give { place, done } => {
                self.slots.remove(&key(&place));
                self.pauses.remove(&key(&place));
                self.unassign(&key(&place));
                self.shared.standings.left(&place);
                // Whoever asked may be gone; then nobody waits.
                let _ = done.send(());
            }
            Command::Reopen(place) => {
                let key = key(&place);
                if matches!(self.slots.get(&key), Some(Slot::Open(_))) {
                    self.close(&key, Duration::ZERO);
                }
            }
        }
    }

    /// Opens every lane whose pause is over.
    async fn open_due(&mut self, shutdown: &Shutdown) {
        let now = Instant::now();
        if self.store_away.is_some_and(|until| until > now) {
            return;
        }
        self.store_away = None;
        let due: Vec<(Key, Place)> = self
            .slots
            .iter()
            .filter_map(|(key, slot)| match slot {
                Slot::Closed { place, until } if *until <= now => {
                    Some((key.clone(), place.clone()))
                }
                _ => None,
            })
            .collect();
        for (key, place) in due {
            if shutdown.is_started() || self.store_away.is_some() {
                return;
            }
            let opened = match Lane::open(&self.shared, place).await {
                Ok(lane) => self.assign(&key, &lane).map(|()| lane),
                Err(setback) => Err(setback),
            };
            match opened {
                Ok(lane) => {
                    self.shared.numbers.truncated(&key.0, key.1, false);
                    self.slots.insert(key, Slot::Open(lane));
                }
                Err(setback) => self.set_back(&key, setback),
            }
        }
    }

    fn assign(&mut self, key: &Key, lane: &Lane) -> Result<(), Setback> {
        let reader = match &mut self.reader {
            Some(reader) => reader,
            none => none.insert(self.shared.ports.log.reader()?),
        };
        reader.assign(&key.0, key.1, lane.committed())?;
        Ok(())
    }

    fn unassign(&mut self, key: &Key) {
        if let Some(reader) = &mut self.reader {
            reader.unassign(&key.0, key.1);
        }
    }

    /// Reads until there is a batch, a command, or nothing for a while.
    async fn gather(&mut self, shutdown: &Shutdown) -> Gathered {
        let config = &self.shared.config;
        let open = self
            .slots
            .values()
            .filter(|slot| matches!(slot, Slot::Open(_)))
            .count();
        // Each partition may fill a batch of its own; bytes bound the whole.
        let rows_max = config.batch_rows_max * open.max(1);
        let mut gathered = Gathered::default();
        let mut until = self.next_due();
        while gathered.rows < rows_max && gathered.bytes < config.batch_bytes_max {
            let first = gathered.is_empty();
            let wanted = FETCH_ITEMS.min(rows_max - gathered.rows);
            let fetched = tokio::select! {
                biased;
                () = shutdown.started() => break,
                command = self.commands.recv() => {
                    match command {
                        Some(command) => self.inbox.push_back(command),
                        // The instance is gone, and the shutdown is about to say so.
                        None => sleep_until(Instant::now() + IDLE).await,
                    }
                    break;
                }
                () = sleep_until(until) => break,
                fetched = next(self.reader.as_mut(), wanted) => fetched,
            };
            match fetched {
                Ok(fetched) => gathered.absorb(fetched),
                Err(error) => {
                    self.reader_failed(&error.to_string());
                    break;
                }
            }
            if first && !gathered.is_empty() {
                until = Instant::now() + config.linger;
            }
        }
        gathered
    }

    /// When the next closed lane may be opened.
    fn next_due(&self) -> Instant {
        let idle = Instant::now() + IDLE;
        let due = self.slots.values().filter_map(|slot| match slot {
            Slot::Closed { until, .. } => Some(*until),
            Slot::Open(_) => None,
        });
        let due = due.min().map_or(idle, |due| due.min(idle));
        self.store_away.map_or(due, |away| due.max(away.min(idle)))
    }

    async fn store(&mut self, gathered: Gathered) {
        let open = self.slots.len().max(1);
        let state_bytes_max =
            self.shared.config.state_bytes_max / self.shared.config.workers.max(1) / open;
        // Each topic is asked once what it is, after all of this was read of it.
        let mut standings: HashMap<Arc<str>, broker::Standing> = HashMap::new();
        for (key, part) in gathered.parts {
            let standing = match standings.get(&key.0) {
                Some(standing) => standing.clone(),
                None => {
                    let standing = self.shared.ports.watch.check(&key.0).await;
                    standings.insert(Arc::clone(&key.0), standing.clone());
                    standing
                }
            };
            let Some(Slot::Open(lane)) = self.slots.get_mut(&key) else {
                continue;
            };
            // Once PostgreSQL is found away, every further try would cost its own timeout.
            let stored = if self.store_away.is_some() {
                Err(Setback::StoreAway("PostgreSQL is away".to_owned()))
            } else if let Err(setback) = sound(standing) {
                Err(setback)
            } else {
                store_part(&self.shared, lane, part, state_bytes_max).await
            };
            match stored {
                Ok(Standing::Reading) => {
                    self.pauses.remove(&key);
                    self.store_pause = Pause::new();
                }
                Ok(Standing::Unread) => self.close(&key, Duration::ZERO),
                Err(setback) => self.set_back(&key, setback),
            }
        }
    }
}

/// Whether the log still hands out a partition's records.
enum Standing {
    Reading,
    Unread,
}

async fn store_part(
    shared: &Arc<Shared>,
    lane: &mut Lane,
    part: Part,
    state_bytes_max: usize,
) -> Result<Standing, Setback> {
    lane.advance(shared, part.records, part.end, state_bytes_max)
        .await?;
    match part.trouble {
        None => Ok(Standing::Reading),
        Some(Trouble::OutOfRange(asked)) => {
            lane.out_of_range(shared, asked).await?;
            Ok(Standing::Unread)
        }
        Some(Trouble::Failed(error)) => Err(Setback::from(error)),
    }
}

/// The reader's next items; without a reader, never. Cancel safe.
async fn next(
    reader: Option<&mut Reader>,
    max: usize,
) -> Result<Vec<broker::Fetched>, broker::BrokerError> {
    match reader {
        Some(reader) => reader.next(max).await,
        None => std::future::pending().await,
    }
}

fn key(place: &Place) -> Key {
    (Arc::from(place.topic.as_str()), place.partition)
}
