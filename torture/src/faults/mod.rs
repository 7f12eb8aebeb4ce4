//! Faults: each is done, undone, and then waited for until events get through again.
//!
//! At most two are under way at once, and no two that touch the same [`Resource`], so that the world can always
//! recover. A fault ends healed: what was killed runs again, what was held flows.

mod broker;
mod process;
mod records;
mod store;
mod way;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use testbed::Random;
use tokio::sync::{Mutex, OwnedMutexGuard, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::actors::Desk;
use crate::actors::probe::Paths;
use crate::check::Recorder;
use crate::evidence::Fault;
use crate::schedule::{Kind, Planned, Resource};

/// Faults under way at once.
const AT_ONCE: usize = 2;

/// How long recovery is waited for; the promise is a sixth of it.
const RECOVERY_MAX: Duration = Duration::from_secs(60);

/// How long after a persister was taken away the log's end is what has to be stored.
const TAKEN_OVER_AFTER: Duration = Duration::from_secs(1);

/// What became of one fault.
#[derive(Debug, Clone)]
pub struct Injected {
    /// What it was.
    pub kind: Kind,
    /// From when to when, and what exactly.
    pub fault: Fault,
    /// How long after it began (or after what was away came back, when nothing could work without it) events
    /// got through everywhere; none when they did not in time. Milliseconds.
    pub recovery: Option<u32>,
}

/// What a fault did.
struct Done {
    what: String,
    /// From when on things have to work again: when it began, or when what was away came back.
    from: u32,
    /// What shows that they do.
    shows: Shows,
}

/// What shows that the world has recovered.
enum Shows {
    /// Probes arrive on every path.
    Delivery,
    /// What was in the log at that time is in the tables.
    Storage,
    /// Nothing: the fault could not be injected, for this reason, and does not count.
    Nothing,
}

/// Everything that faults need.
#[derive(Debug)]
pub struct Injector {
    desk: Desk,
    paths: Paths,
    recorder: Arc<Recorder>,
    locks: BTreeMap<Resource, Arc<Mutex<()>>>,
    room: Arc<Semaphore>,
}

impl Injector {
    /// For a world with its probes and its recorder.
    pub fn new(desk: Desk, paths: Paths, recorder: Arc<Recorder>) -> Injector {
        let locks = Resource::ALL.map(|resource| (resource, Arc::default()));
        Injector {
            desk,
            paths,
            recorder,
            locks: BTreeMap::from(locks),
            room: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Injects what is planned, until `stop` says so, and waits until all is healed.
    pub async fn run(
        self: Arc<Injector>,
        planned: Vec<Planned>,
        mut stop: watch::Receiver<bool>,
    ) -> Vec<Injected> {
        let started = Instant::now();
        let mut under_way = JoinSet::new();
        let mut injected = Vec::new();
        for one in planned {
            let ready = async {
                sleep_until(started + one.at).await;
                Arc::clone(&self.room).acquire_owned().await
            };
            let room = tokio::select! {
                room = ready => room.expect("nobody closes it"),
                Ok(_) = stop.wait_for(|stop| *stop) => break,
            };
            let injector = Arc::clone(&self);
            under_way.spawn(async move {
                let injected = injector.inject(&one).await;
                drop(room);
                injected
            });
            while let Some(done) = under_way.try_join_next() {
                injected.extend(done.expect("a fault does not panic"));
            }
        }
        while let Some(done) = under_way.join_next().await {
            injected.extend(done.expect("a fault does not panic"));
        }
        injected
    }

    /// None when it could not be done.
    async fn inject(&self, planned: &Planned) -> Option<Injected> {
        let _alone = self.take(planned.kind).await;
        let mut random = Random::of(planned.seed);
        let at = self.desk.clock.now();
        println!("{:>7.1} s  {}", f64::from(at) / 1000.0, planned.kind.name());
        // What was in the log when a persister was taken away has to be stored all the same, by another.
        let (done, taken_over) = if planned.kind.touches() == [Resource::Persister] {
            let storing = async {
                // Long enough for something to come that only another one can store.
                sleep(TAKEN_OVER_AFTER).await;
                records::stored_within(self, RECOVERY_MAX).await
            };
            tokio::join!(self.act(planned.kind, &mut random), storing)
        } else {
            (self.act(planned.kind, &mut random).await, None)
        };
        let recovered = match done.shows {
            Shows::Delivery => self.paths.recovered(done.from, RECOVERY_MAX).await,
            Shows::Storage if taken_over.is_some() => taken_over,
            Shows::Storage => records::stored_within(self, RECOVERY_MAX).await,
            Shows::Nothing => {
                println!("{:>7} s  {}: {}", "", planned.kind.name(), done.what);
                return None;
            }
        };
        let until = self.desk.clock.now();
        let recovery = recovered.map(|at| at.saturating_sub(done.from));
        match recovery {
            Some(ms) => println!("{:>9}  {}: recovered after {ms} ms", "", done.what),
            None => println!(
                "{:>9}  {}: NOT recovered after {RECOVERY_MAX:?}",
                "", done.what
            ),
        }
        Some(Injected {
            kind: planned.kind,
            fault: Fault {
                at,
                until,
                what: done.what.into(),
            },
            recovery,
        })
    }

    async fn take(&self, kind: Kind) -> Vec<OwnedMutexGuard<()>> {
        let mut taken = Vec::new();
        for resource in kind.touches() {
            taken.push(Arc::clone(&self.locks[resource]).lock_owned().await);
        }
        taken
    }

    async fn act(&self, kind: Kind, random: &mut Random) -> Done {
        let world = &self.desk.world;
        match kind {
            Kind::KillFanout => process::kill(self, &world.fanout, random).await,
            Kind::KillIngest => process::kill(self, &world.ingest, random).await,
            Kind::KillPersister => process::kill(self, &world.persister, random).await,
            Kind::StopFanout => process::stop(self, &world.fanout, random).await,
            Kind::StopIngest => process::stop(self, &world.ingest, random).await,
            Kind::StopPersister => process::stop(self, &world.persister, random).await,
            Kind::RollFanout => process::roll(self, &world.fanout).await,
            Kind::RollIngest => process::roll(self, &world.ingest).await,
            Kind::RollPersister => process::roll(self, &world.persister).await,
            Kind::KillBroker => broker::kill(self, random).await,
            Kind::StopBroker => broker::stop(self, random).await,
            Kind::RollBroker => broker::roll(self, random).await,
            Kind::MoveLeaders => broker::lead(self, random).await,
            Kind::SlowAcks => broker::slow(self, random).await,
            Kind::MuteBroker => broker::mute(self, random).await,
            Kind::CutBroker => {
                way::cut(self, "brokers", world.bed.broker().proxies(), random).await
            }
            Kind::RestartStore => store::restart(self, random).await,
            Kind::KillStore => store::kill(self, random).await,
            Kind::CutStore => store::cut(self, random).await,
            Kind::CutClients => way::cut_members(self, &world.fanout, random).await,
            Kind::CutPublishers => way::cut_members(self, &world.ingest, random).await,
            Kind::CutNode => way::cut_node(self, random).await,
            Kind::MuteNode => way::mute_node(self, random).await,
            Kind::Erase => records::erase(self, random).await,
            Kind::Expire => records::expire(self).await,
            Kind::Lose => records::lose(self, random).await,
        }
    }

    fn now(&self) -> u32 {
        self.desk.clock.now()
    }
}

/// Holds a state for some seconds, whatever the phase: what has been begun is done properly.
async fn hold(random: &mut Random, least_ms: u64, most_ms: u64) -> u64 {
    let ms = least_ms + random.below(most_ms - least_ms + 1);
    tokio::time::sleep(Duration::from_millis(ms)).await;
    ms
}
