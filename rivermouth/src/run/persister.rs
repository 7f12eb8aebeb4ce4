//! `rivermouth persister`: writes what Kafka holds into PostgreSQL.

use clap::Args;
use persister::{PersisterConfig, Ports};
use store::Store;

use crate::parts::{self, Ground, Reading};
use crate::run::footing::{self, Work};
use crate::run::log;
use crate::run::process::Process;
use crate::settings::kafka::KafkaArgs;
use crate::settings::postgres::PostgresArgs;
use crate::settings::process::ProcessArgs;

#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Example:
  KAFKA_BOOTSTRAP=kafka:9092 DATABASE_URL=postgres://rm@db/rm rivermouth persister

Any number of them share the work: each partition is written by one at a time, and those of a dead one move to the
others within 10 s. The tables must be there: run `rivermouth migrate` first.")]
pub(crate) struct PersisterArgs {
    /// Whole days of events kept in PostgreSQL; without it everything is kept
    #[arg(
        long,
        env = "RIVERMOUTH_DATABASE_RETENTION_DAYS",
        value_parser = clap::value_parser!(u32).range(1..=36_500),
        value_name = "DAYS"
    )]
    database_retention_days: Option<u32>,

    #[command(flatten)]
    process: ProcessArgs,
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    postgres: PostgresArgs,
}

pub(crate) async fn persister(args: PersisterArgs) -> anyhow::Result<()> {
    args.process.check()?;
    args.kafka.topics()?;
    args.kafka.registry()?;
    let kafka = args.kafka.required("rivermouth-persister")?;
    let url = args.postgres.required()?;
    args.process.start_logs()?;
    let log = parts::kafka(kafka).await?;
    let store = parts::store(&url, args.postgres.options("persister")).await?;

    let process = Process::start("persister", &args.process)?;
    let opened = process.health.latch("start");
    let Some(ground) = Ground::lay(log, &args.kafka, &process.stop).await? else {
        return process.abandon().await;
    };
    log::watch(&ground, &process);
    footing::watch(&ground, &args.kafka, Some(&store), Work::Reads, &process);
    let reading = parts::decoder(&ground, &args.kafka)?;
    work(
        &ground,
        &store,
        &reading,
        args.database_retention_days,
        &process,
    );
    opened.open();
    process.until_stopped(&ground.log, Some(&store)).await
}

/// Starts the persister as a worker of the process; `dev` does the same.
pub(crate) fn work(
    ground: &Ground,
    store: &Store,
    reading: &Reading,
    retention_days: Option<u32>,
    process: &Process,
) {
    let config = PersisterConfig {
        retention_days,
        ..PersisterConfig::new(&ground.topics)
    };
    let ports = Ports {
        log: ground.log.clone(),
        store: store.clone(),
        decoder: reading.decoder.clone(),
        pins: ground.pins.clone(),
        watch: ground.watch.clone(),
        cursors: ground.cursors.clone(),
        schemas: reading.fetch(),
        metrics: process.metrics.clone(),
        health: process.health.clone(),
    };
    let shutdown = process.workers.clone();
    process.run_worker("persister", async move {
        Ok(persister::run(config, ports, shutdown).await?)
    });
}
