//! `rivermouth fanout`: everything that clients use. Publishes go to the ingest library in this process.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use clap::Args;
use fanout::{Fanout, FanoutConfig, Parts, PublishPort, PublishReply};
use ingest::Gateway;
use protocol::Identity;
use protocol::client::Publish;
use service::settings::duration;
use store::Store;

use crate::parts::{self, Ground, Reading};
use crate::run::footing::{self, Work};
use crate::run::process::Process;
use crate::run::{Door, gateway, log};
use crate::settings::auth::AuthArgs;
use crate::settings::kafka::KafkaArgs;
use crate::settings::postgres::PostgresArgs;
use crate::settings::process::ProcessArgs;
use crate::settings::public::PublicArgs;

#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Example:
  KAFKA_BOOTSTRAP=kafka:9092 DATABASE_URL=postgres://rm@db/rm JWT_SECRET_FILE=/run/secrets/jwt rivermouth fanout

Serves /ws, /sse, /api/realtime/stream, poll and history, and takes publishes over WebSocket and HTTP as
`rivermouth ingest` does. PostgreSQL is optional: without it there is no history older than what Kafka keeps.")]
pub(crate) struct FanoutArgs {
    #[command(flatten)]
    process: ProcessArgs,
    #[command(flatten)]
    public: PublicArgs,
    #[command(flatten)]
    auth: AuthArgs,
    #[command(flatten)]
    node: NodeArgs,
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    postgres: PostgresArgs,
}

/// What is only a fan-out node's.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Fan-out")]
pub(crate) struct NodeArgs {
    /// What clients are told this node is called; by default the host's name
    #[arg(long, env = "RIVERMOUTH_NODE", value_name = "NAME")]
    node: Option<String>,

    /// Threads that own connections; 0 takes one per core
    #[arg(
        long,
        env = "RIVERMOUTH_SHARDS",
        default_value_t = 0,
        value_parser = clap::value_parser!(u16).range(0..=1024),
        value_name = "COUNT"
    )]
    shards: u16,

    /// Memory for recent events over all channels, MiB; resuming inside it costs no I/O
    #[arg(
        long,
        env = "RIVERMOUTH_RING_MIB",
        default_value_t = 64,
        value_parser = clap::value_parser!(u32).range(1..=1_048_576),
        value_name = "MIB"
    )]
    ring_mib: u32,

    /// Over how long connections are closed when the node stops, so that they do not come back all at once
    #[arg(
        long,
        env = "RIVERMOUTH_DRAIN_SPREAD",
        default_value = "2s",
        value_parser = duration,
        value_name = "DURATION"
    )]
    drain_spread: Duration,
}

pub(crate) async fn fanout(args: FanoutArgs) -> anyhow::Result<()> {
    let door = Door::check(&args.public, &args.auth, &[])?;
    args.process.check()?;
    args.kafka.topics()?;
    args.kafka.registry()?;
    let kafka = args.kafka.required("rivermouth-fanout")?;
    let url = args.postgres.url()?;
    args.process.start_logs()?;
    let log = parts::kafka(kafka).await?;
    let store = match url {
        Some(url) => Some(parts::store(&url, args.postgres.options("fanout")).await?),
        None => None,
    };

    let process = Process::start("fanout", &args.process)?;
    let opened = process.health.latch("start");
    let Some(ground) = Ground::lay(log, &args.kafka, &process.stop).await? else {
        return process.abandon().await;
    };
    log::watch(&ground, &process);
    footing::watch(&ground, &args.kafka, store.as_ref(), Work::Reads, &process);
    let gateway = gateway(&ground, &door, store.clone(), &args.public, &process).await?;
    let reading = parts::decoder(&ground, &args.kafka)?;
    let node = Node {
        args: &args.node,
        public: &args.public,
        deadline: args.process.shutdown_deadline / 2,
    };
    let routes = node.routes(&ground, &door, &gateway, store.clone(), &reading, &process)?;
    let listener = service::bind(args.public.address())?;
    tracing::info!(address = %listener.local_addr()?, "listening");
    process.open_doors(
        listener,
        routes,
        args.public.serve_config(args.process.shutdown_deadline),
    );
    opened.open();
    process.until_stopped(&ground.log, store.as_ref()).await
}

/// The settings of one node; `dev` starts the same.
pub(crate) struct Node<'a> {
    pub(crate) args: &'a NodeArgs,
    pub(crate) public: &'a PublicArgs,
    /// How long saying goodbye may take.
    pub(crate) deadline: Duration,
}

impl Node<'_> {
    /// Starts a fan-out node among the doors of the process, and gives all routes of the public port.
    pub(crate) fn routes(
        &self,
        ground: &Ground,
        door: &Door,
        gateway: &Gateway,
        store: Option<Store>,
        reading: &Reading,
        process: &Process,
    ) -> anyhow::Result<Router> {
        let config = FanoutConfig {
            node: self.args.node.clone().unwrap_or_else(host_name),
            shards: usize::from(self.args.shards),
            ring_bytes_max: (self.args.ring_mib as usize) << 20,
            drain_spread: self.args.drain_spread,
            limits: self.public.limits(),
            ..FanoutConfig::default()
        };
        let parts = Parts {
            log: ground.log.clone(),
            store,
            topics: ground.topics.clone(),
            decoder: Arc::new(reading.decoder.clone()),
            schemas: reading.fetch_or_absent(),
            pins: ground.pins.clone(),
            watch: ground.watch.clone(),
            cursors: service::planted!("cursors_of_one_node", protocol::Cursors::new(*uuid::Uuid::new_v4().as_bytes()) => ground.cursors.clone()),
            namespaces: door.namespaces.clone(),
            verifier: door.verifier.clone(),
            origins: (*door.origins).clone(),
            publish: Some(publish_port(gateway.clone())),
            metrics: process.metrics.clone(),
            health: process.health.clone(),
        };
        let fanout = Fanout::start(config, parts, &process.doors)?;
        let routes = fanout
            .router()
            .merge(ingest::router(gateway.clone(), door.edge()))
            .merge(service::admin::public_health(process.health.clone()));
        say_goodbye(fanout, self.deadline, process);
        Ok(routes)
    }
}

/// When the doors close: every connection is told where it stands and sent elsewhere.
fn say_goodbye(fanout: Fanout, deadline: Duration, process: &Process) {
    let doors = process.doors.clone();
    process.doors.spawn("goodbye", async move {
        doors.started().await;
        if !fanout.drain(deadline).await {
            tracing::warn!("not every connection took the goodbye in time");
        }
    });
}

/// Hands a client's publish to the gateway; never blocks.
fn publish_port(gateway: Gateway) -> PublishPort {
    Arc::new(
        move |who: &Arc<Identity>, publish: Publish, reply: PublishReply| {
            gateway.submit(
                who,
                publish,
                Box::new(move |answer| reply(answer.map(|published| published.to_value()))),
            );
        },
    )
}

fn host_name() -> String {
    std::env::var("HOSTNAME")
        .ok()
        .or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "fanout".to_owned())
}
