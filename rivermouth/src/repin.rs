//! `rivermouth repin`: a person accepts that a topic was created again, so that the services start.

use anyhow::Context as _;
use broker::{BrokerError, Log, PinError, Pins, RepinError};
use clap::Args;
use schemas::Topics;
use service::telemetry::{self, LogFormat};
use std::time::Duration;

use crate::settings::SettingsError;
use crate::settings::kafka::KafkaArgs;
use crate::settings::postgres::PostgresArgs;
use crate::{checkup, parts, topics};

/// Letting go of the log takes no longer.
const CLOSE: Duration = Duration::from_secs(5);

#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Example:
  KAFKA_BOOTSTRAP=kafka:9092 rivermouth repin --topic rivermouth.events --yes

For a topic that was deleted and created again (TOPIC_RECREATED), or is gone (TOPIC_GONE; it is then made). It becomes
the next generation of itself: cursors of before are answered with a gap of reason `epoch`, rows of before stay in
PostgreSQL beside the new ones. Stop the services first and start them afterwards.

With the state topic, when its pins are lost (PINS_LOST): pins are made anew and every cursor of before becomes
invalid. Give DATABASE_URL then, so that rows of before keep their generation.")]
pub(crate) struct RepinArgs {
    /// The topic, by its whole name
    #[arg(long, value_name = "NAME")]
    topic: String,

    /// Yes, the records of before are gone for good
    #[arg(long)]
    yes: bool,

    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    postgres: PostgresArgs,
}

pub(crate) async fn run(args: RepinArgs) -> anyhow::Result<()> {
    let kafka = args.kafka.required("rivermouth-repin")?;
    let names = args.kafka.topics()?;
    if !args.yes {
        let reason = format!(
            "repinning {} gives up what its cursors name; say so with --yes",
            args.topic
        );
        return Err(SettingsError::value("yes", reason).into());
    }
    telemetry::init("error", LogFormat::Auto)?;
    let log = parts::kafka(kafka).await?;
    let said = match topics::pinned(&log, &names).await? {
        Some(pins) => next_generation(&args, &log, &names, &pins).await,
        None => anew(&args, &log, &names).await,
    };
    // Nothing is in flight: what was appended has been read back.
    let _ = log.close(CLOSE).await;
    println!("{}", said?);
    Ok(())
}

async fn next_generation(
    args: &RepinArgs,
    log: &Log,
    names: &Topics,
    pins: &Pins,
) -> anyhow::Result<String> {
    let specs = topics::as_pinned(&args.kafka.specs(names), pins);
    let known = specs
        .iter()
        .find(|spec| spec.name == args.topic && pins.topics.contains_key(&spec.name));
    if let Some(spec) = known
        && let Err(BrokerError::Unknown { .. }) = log.describe(&spec.name).await
    {
        log.ensure_topics(std::slice::from_ref(spec), true)
            .await
            .context("making the topic anew")?;
    }
    let pin = match broker::repin(log, names.state(), &args.topic).await {
        // Not one of ours, so it does not matter whether it is there.
        Err(RepinError::Pin(PinError::Broker(BrokerError::Unknown { topic, .. }))) => {
            anyhow::bail!("REPIN_UNKNOWN {topic}: there is no such topic in this installation")
        }
        repinned => repinned?,
    };
    Ok(format!(
        "{} is generation {} now, id {}; start the services again",
        args.topic, pin.generation, pin.id
    ))
}

/// There are no pins: the state topic is the one to make them anew in.
async fn anew(args: &RepinArgs, log: &Log, names: &Topics) -> anyhow::Result<String> {
    let Some(flaw) = topics::lost(log, names).await? else {
        anyhow::bail!(
            "REPIN_NOTHING {}: this installation has never been started; start a service",
            args.topic
        );
    };
    if args.topic != names.state() {
        return Err(PinError::Changed(flaw).into());
    }
    let generations = generations(args).await?;
    let specs = args.kafka.specs(names);
    log.ensure_topics(&specs, args.kafka.create_topics)
        .await
        .context("looking at the topics")?;
    let first: Vec<(&str, u16)> = topics::to_pin(names)
        .into_iter()
        .map(|topic| (topic, generations.get(topic).copied().unwrap_or(0)))
        .collect();
    let pins = broker::pin_as(log, names.state(), &first).await?;
    Ok(format!(
        "{} topics are pinned anew; every cursor of before is invalid; start the services again",
        pins.topics.len()
    ))
}

/// The newest generation of each topic that PostgreSQL has rows of.
async fn generations(args: &RepinArgs) -> anyhow::Result<std::collections::BTreeMap<String, u16>> {
    let Some(url) = args.postgres.url()? else {
        return Ok(std::collections::BTreeMap::new());
    };
    let store = parts::store(&url, args.postgres.options("repin")).await?;
    let generations = async {
        checkup::migrated(&store).await?;
        Ok(store.generations().await?)
    };
    let generations = generations.await;
    store.close().await;
    generations
}
