//! One run from beginning to end.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use testbed::Random;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::actors::{self, Cast, Desk, Part, Phase};
use crate::check::{self, Recorder, Tables, Verdict};
use crate::evidence::{Clock, Evidence, Names};
use crate::faults::{Injected, Injector};
use crate::schedule::{self, Kind};
use crate::settle;
use crate::tally::{Tally, tally};
use crate::workload::Channels;
use crate::world::{PARTITIONS, Size, World};

/// What to do.
#[derive(Debug, Clone)]
pub struct Order {
    /// The world.
    pub size: Size,
    /// Decides the workload and the faults.
    pub seed: u64,
    /// How long the storm lasts. What follows takes a minute or two.
    pub duration: Duration,
    /// Between two faults.
    pub every: Duration,
    /// The faults; none for a run without.
    pub kinds: Vec<Kind>,
    /// Events a second.
    pub rate: f64,
    /// Who takes part.
    pub parts: Vec<Part>,
    /// How long healing, the last words, the readers and the tables may take, each.
    pub patience: Duration,
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    /// What was ordered.
    pub order: Order,
    /// How long the storm lasted.
    pub lasted: Duration,
    /// What came up.
    pub tally: Tally,
    /// Readings, and those that came to the last event.
    pub readings: (usize, usize),
    /// What did not come about in time, in words. It was judged all the same.
    pub troubles: Vec<String>,
    /// The faults.
    pub injected: Vec<Injected>,
    /// What the judge says.
    pub verdict: Verdict,
}

impl Report {
    /// Whether everything held: nothing is wrong, everything was checked, everybody came to the end.
    pub fn holds(&self) -> bool {
        let faults = !self.injected.is_empty();
        self.verdict.total() == 0
            && self.verdict.unmade(faults).is_empty()
            && self.troubles.is_empty()
    }
}

/// Runs until the time is over or `stop` says so, then lets everything heal, and judges.
///
/// # Errors
/// The world could not be built, an actor broke, or the log could not be read: nothing was judged.
pub async fn run(order: Order, stop: watch::Receiver<bool>) -> anyhow::Result<Report> {
    let mut random = Random::of(order.seed);
    let clock = Clock::start();
    println!("{:>7} s  building the world", "");
    let world = Arc::new(World::start(&order.size).await?);
    let names = Arc::new(Names::default());
    let (phase, seen) = watch::channel(Phase::Storm);
    let desk = Desk {
        clock,
        names: Arc::clone(&names),
        world: Arc::clone(&world),
        phase: seen,
    };
    let broker = world.bed.broker();
    let recorder = Arc::new(Recorder::start(
        broker.bootstrap(),
        broker.prefix(),
        world.tables()?,
        clock,
        Arc::clone(&names),
    ));
    let served = actors::served(&desk, &mut random).await?;
    let cast = Cast {
        rate: order.rate,
        durable: served.durable,
        snapshots: served.snapshots,
        parts: order.parts.clone(),
    };
    let channels = Channels::usual(world.ingest.len());
    let began = clock.now();
    println!("{:>7.1} s  the storm begins ({served:?})", seconds(began));
    let mut troupe = actors::start(&desk, &cast, &channels, random.fork());
    let injector = Injector::new(desk.clone(), troupe.paths.clone(), Arc::clone(&recorder));
    let kinds: Vec<Kind> = order
        .kinds
        .iter()
        .copied()
        .filter(|kind| kind.possible(order.size.brokers))
        .collect();
    let planned = schedule::plan(order.seed, order.duration, order.every, &kinds);
    let (over, ended) = watch::channel(false);
    let faults = tokio::spawn(Arc::new(injector).run(planned, ended));
    wait(order.duration, stop).await;

    // Faults that came late because others took long are not made up for.
    over.send_replace(true);
    let injected = faults.await.context("the injector")?;
    world.open_all_ways();
    let patience = order.patience;
    let mut troubles = Vec::new();
    let healed = troupe.paths.recovered(clock.now(), patience).await;
    if healed.is_none() {
        troubles.push(format!("the world did not heal within {patience:?}"));
    }
    let lasted = Duration::from_millis(u64::from(clock.now() - began));
    println!("{:>7.1} s  calm", seconds(clock.now()));
    phase.send_replace(Phase::Calm);
    let mut books = Vec::new();
    let left = settle::gather(&mut troupe.talkers, &mut books, patience).await?;
    if left > 0 {
        troubles.push(format!(
            "{left} publishers do not get rid of what they have"
        ));
    }
    let (closer, unsaid) = settle::last_words(&desk, &channels, &mut random, patience).await?;
    books.push(closer);
    troubles.extend(unsaid);
    println!(
        "{:>7.1} s  ebb: the last events are out",
        seconds(clock.now())
    );
    phase.send_replace(Phase::Ebb);
    let unfinished = settle::gather(&mut troupe.listeners, &mut books, patience).await?;
    if unfinished > 0 {
        troubles.push(format!("{unfinished} readers did not come to the end"));
    }
    phase.send_replace(Phase::Over);
    settle::gather(&mut troupe.listeners, &mut books, Duration::from_secs(20)).await?;

    println!(
        "{:>7.1} s  reading the log and the tables",
        seconds(clock.now())
    );
    let tables = world.tables()?;
    let stored =
        settle::tables_complete(&tables, &recorder, &world.topics(), PARTITIONS, patience).await;
    troubles.extend(stored.err());
    let recorder = Arc::try_unwrap(recorder).map_err(|_| anyhow!("the recorder is still used"))?;
    let log = recorder
        .finish(patience)
        .await
        .map_err(|error| anyhow!("the recorder: {error}"))?;
    let tables = Tables::read(&tables, &log, &names).await?;
    let evidence = Evidence {
        names,
        books,
        faults: injected.iter().map(|one| one.fault.clone()).collect(),
    };
    println!("{:>7.1} s  judging", seconds(clock.now()));
    let verdict = check::judge(&evidence, &log, &tables);
    Ok(report(
        order, lasted, troubles, injected, &evidence, verdict,
    ))
}

fn seconds(ms: u32) -> f64 {
    f64::from(ms) / 1000.0
}

async fn wait(duration: Duration, mut stop: watch::Receiver<bool>) {
    tokio::select! {
        () = sleep(duration) => {}
        // Nobody who could say so: the time alone ends it.
        Ok(_) = stop.wait_for(|stop| *stop) => {}
    }
}

fn report(
    order: Order,
    lasted: Duration,
    troubles: Vec<String>,
    injected: Vec<Injected>,
    evidence: &Evidence,
    verdict: Verdict,
) -> Report {
    let readings = || evidence.books.iter().flat_map(|book| &book.readings);
    Report {
        order,
        lasted,
        tally: tally(evidence),
        readings: (
            readings().count(),
            readings().filter(|reading| reading.finished).count(),
        ),
        troubles,
        injected,
        verdict,
    }
}
