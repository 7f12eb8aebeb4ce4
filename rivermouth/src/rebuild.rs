//! `rivermouth rebuild`: drops what the log can give again from the tables, and stores it anew.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use persister::rebuild::{self, Part, Scope};
use persister::{PersisterConfig, Ports};
use service::settings::{SettingsError, duration};
use service::telemetry::{self, LogFormat};
use service::{Health, Metrics, Shutdown};
use store::{Order, Rebuild, Store};

use crate::checkup;
use crate::parts::{self, Ground};
use crate::settings::kafka::KafkaArgs;
use crate::settings::postgres::PostgresArgs;

/// Between two lines that say how far it is.
const TOLD_EVERY: Duration = Duration::from_secs(5);
/// How long this process' own share of the work may take to stop.
const STOP: Duration = Duration::from_secs(15);

#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Example:
  KAFKA_BOOTSTRAP=kafka:9092 DATABASE_URL=postgres://rm@db/rm rivermouth rebuild --yes

Without --yes it only says what it would do. Persisters may run meanwhile: they take part. Killed in the middle, it
leaves the rest to them, or to the next `rivermouth rebuild`. Clients notice nothing: what is not stored is in Kafka.
Rows that Kafka no longer holds are never touched. Compare before and after with `rivermouth digest`.")]
pub(crate) struct RebuildArgs {
    /// Really do it
    #[arg(long)]
    yes: bool,

    /// Only this topic, by its full name; all that are stored without it
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,

    /// Leave rows alone that Kafka's retention takes within this time
    #[arg(long, default_value = "1h", value_parser = duration, value_name = "DURATION")]
    margin: Duration,

    /// Remove rows too whose events a truncated Kafka lost (LOG_TRUNCATED): nobody can give them again
    #[arg(long)]
    lossy: bool,

    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    postgres: PostgresArgs,
}

pub(crate) async fn run(mut args: RebuildArgs) -> anyhow::Result<()> {
    // What is missing is not to be made by a rebuild.
    args.kafka.create_topics = false;
    let names = args.kafka.topics()?;
    if let Some(topic) = &args.topic
        && !names.durable().contains(&topic.as_str())
        && topic != names.state()
    {
        let reason = format!("{topic} is no topic whose records are stored");
        return Err(SettingsError::value("topic", reason).into());
    }
    let kafka = args.kafka.required("rivermouth-rebuild")?;
    let url = args.postgres.required()?;
    telemetry::init("warn", LogFormat::Auto)?;
    let log = parts::kafka(kafka).await?;
    let store = parts::store(&url, args.postgres.options("rebuild")).await?;
    checkup::migrated(&store).await?;
    let stop = Shutdown::new();
    stop.on_signals().context("listening for signals")?;
    let Some(ground) = Ground::lay(log, &args.kafka, &stop).await? else {
        return Ok(());
    };
    let (config, ports) = ports(&ground, &store, &args)?;
    if let Some(line) = order(&args, &config, &ports).await? {
        work(&config, &ports, line, &stop).await?;
    }
    store.close().await;
    Ok(())
}

fn ports(
    ground: &Ground,
    store: &Store,
    args: &RebuildArgs,
) -> anyhow::Result<(PersisterConfig, Ports)> {
    let reading = parts::decoder(ground, &args.kafka)?;
    let ports = Ports {
        log: ground.log.clone(),
        store: store.clone(),
        decoder: reading.decoder.clone(),
        pins: ground.pins.clone(),
        watch: ground.watch.clone(),
        cursors: ground.cursors.clone(),
        schemas: reading.fetch(),
        metrics: Metrics::new(),
        health: Health::new("rebuild"),
    };
    Ok((PersisterConfig::new(&ground.topics), ports))
}

/// Orders what is to be rebuilt, unless an earlier order is not done yet. `None`: there is nothing to do, or nobody
/// said that it is to be done.
async fn order(
    args: &RebuildArgs,
    config: &PersisterConfig,
    ports: &Ports,
) -> anyhow::Result<Option<Line>> {
    if !ports.store.rebuilds().await?.is_empty() {
        println!("an earlier rebuild is not complete: going on with it");
        return Ok(Some(Line::new(None)));
    }
    let scope = Scope {
        topic: args.topic.as_deref(),
        margin: args.margin,
        lossy: args.lossy,
    };
    let plan = rebuild::plan(config, ports, &scope).await?;
    for line in told(&plan) {
        println!("{line}");
    }
    let orders: Vec<Order> = plan.iter().filter_map(Part::order).collect();
    if orders.is_empty() {
        println!("nothing to rebuild");
        return Ok(None);
    }
    if !args.yes {
        println!("nothing was done; say --yes to do it");
        return Ok(None);
    }
    ports.store.order_rebuilds(&orders).await?;
    let all = orders.iter().map(|order| order.to - order.from).sum();
    Ok(Some(Line::new(Some(all))))
}

/// Records of a topic, by what becomes of their rows.
#[derive(Default)]
struct Fate {
    partitions: usize,
    again: i64,
    kept: i64,
    lost: i64,
}

/// The plan, a line for each topic.
fn told(plan: &[Part]) -> Vec<String> {
    let mut topics: BTreeMap<&str, Fate> = BTreeMap::new();
    for part in plan {
        let fate = topics.entry(&part.place.topic).or_default();
        fate.partitions += 1;
        fate.again += part.to - part.from;
        fate.kept += part.from - part.floor.min(part.from);
        fate.lost += part.next - part.to;
    }
    let line = |(topic, fate): (&str, Fate)| {
        let mut line = format!(
            "{topic}: {} partitions, {} records to store again",
            fate.partitions, fate.again
        );
        if fate.kept > 0 {
            let kept = fate.kept;
            line += &format!("; {kept} older ones that Kafka may no longer hold stay as they are");
        }
        if fate.lost > 0 {
            line += &format!("; {} that Kafka lost go for good", fate.lost);
        }
        line
    };
    topics.into_iter().map(line).collect()
}

/// Takes part as a persister until everything is back.
async fn work(
    config: &PersisterConfig,
    ports: &Ports,
    mut line: Line,
    stop: &Shutdown,
) -> anyhow::Result<()> {
    let own = stop.child();
    let storing = own.spawn(
        "persister",
        persister::run(config.clone(), ports.clone(), own.clone()),
    );
    let finished = async {
        tokio::select! {
            finished = rebuild::finish(config, ports, stop, |rebuilds| line.tell(rebuilds)) => Ok(finished?),
            ended = storing => match ended {
                Ok(Ok(())) => Ok(false),
                Ok(Err(error)) => Err(anyhow::Error::from(error)),
                Err(_) => Err(anyhow::anyhow!("the persister ended by a defect")),
            },
        }
    }
    .await;
    own.start();
    let _ = own.finished(STOP).await;
    if finished? {
        println!("complete");
        return Ok(());
    }
    anyhow::bail!(
        "stopped before it was complete; persisters go on with it, and so does `rivermouth rebuild`"
    )
}

/// How far it is, said now and then.
struct Line {
    begun: Instant,
    told: Option<Instant>,
    /// Records to store. Of an earlier order's only what was left when this began can be known.
    all: Option<i64>,
}

impl Line {
    fn new(all: Option<i64>) -> Line {
        Line {
            begun: Instant::now(),
            told: None,
            all,
        }
    }

    fn tell(&mut self, rebuilds: &[Rebuild]) {
        let complete = rebuilds.iter().all(Rebuild::is_complete);
        if self.told.is_some_and(|told| told.elapsed() < TOLD_EVERY) && !complete {
            return;
        }
        self.told = Some(Instant::now());
        let removing = rebuilds.iter().filter(|rebuild| rebuild.removing).count();
        if removing > 0 {
            println!("removing rows of {removing} partitions");
            return;
        }
        let left: i64 = rebuilds.iter().map(|one| (one.to - one.next).max(0)).sum();
        let seconds = self.begun.elapsed().as_secs_f64();
        println!("{} after {seconds:.0} s", self.far(left));
    }

    fn far(&mut self, left: i64) -> String {
        self.all = self.all.or((left > 0).then_some(left));
        match self.all {
            Some(all) => format!("{} of {all} records are back", all - left),
            None => "all records are back".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use store::Place;

    use super::*;

    #[test]
    fn how_many_records_are_back_is_told_of_all_that_were_ordered_however_fast_it_was() {
        let mut ordered = Line::new(Some(378));
        assert_eq!(ordered.far(0), "378 of 378 records are back");
        let mut earlier = Line::new(None);
        assert_eq!(earlier.far(100), "0 of 100 records are back");
        assert_eq!(earlier.far(40), "60 of 100 records are back");
        assert_eq!(Line::new(None).far(0), "all records are back");
    }

    #[test]
    fn the_plan_says_what_stays() {
        let part = |partition, floor, from, next| Part {
            place: Place::new("rivermouth.events", 0, partition),
            from,
            next,
            to: next,
            floor,
        };
        assert_eq!(
            told(&[part(0, 0, 0, 100), part(1, 0, 0, 50)]),
            ["rivermouth.events: 2 partitions, 150 records to store again"]
        );
        assert_eq!(
            told(&[part(0, 10, 40, 100)]),
            [
                "rivermouth.events: 1 partitions, 60 records to store again; 30 older ones that Kafka may no longer hold stay as they are"
            ]
        );
    }
}
