//! `rivermouth ingest`: the publish routes and nothing else.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use ingest::{Edge, Gateway, IngestConfig, Parts, Tokens};
use protocol::access::Namespaces;
use protocol::token::Verifier;
use service::origin::Origins;

use crate::parts::{self, Ground};
use crate::run::footing::{self, Work};
use crate::run::log;
use crate::run::process::Process;
use crate::settings::auth::AuthArgs;
use crate::settings::kafka::KafkaArgs;
use crate::settings::postgres::PostgresArgs;
use crate::settings::process::ProcessArgs;
use crate::settings::public::PublicArgs;

#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Example:
  KAFKA_BOOTSTRAP=kafka:9092 DATABASE_URL=postgres://rm@db/rm JWT_SECRET_FILE=/run/secrets/jwt rivermouth ingest

Serves POST /api/realtime/publish, /api/realtime/cursor and /api/realtime/draw. PostgreSQL is optional here: with
it the state of outboxes is looked up, without it the log is read back.")]
pub(crate) struct IngestArgs {
    #[command(flatten)]
    process: ProcessArgs,
    #[command(flatten)]
    public: PublicArgs,
    #[command(flatten)]
    auth: AuthArgs,
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    postgres: PostgresArgs,
}

pub(crate) async fn ingest(args: IngestArgs) -> anyhow::Result<()> {
    let door = Door::check(&args.public, &args.auth, &[])?;
    args.process.check()?;
    let kafka = args.kafka.required("rivermouth-ingest")?;
    args.kafka.topics()?;
    let url = args.postgres.url()?;
    args.process.start_logs()?;
    let log = parts::kafka(kafka).await?;
    let store = match url {
        Some(url) => Some(parts::store(&url, args.postgres.options("ingest")).await?),
        None => None,
    };

    let process = Process::start("ingest", &args.process)?;
    let opened = process.health.latch("start");
    let Some(ground) = Ground::lay(log, &args.kafka, &process.stop).await? else {
        return process.abandon().await;
    };
    log::watch(&ground, &process);
    footing::watch(
        &ground,
        &args.kafka,
        store.as_ref(),
        Work::Publishes,
        &process,
    );
    let gateway = gateway(&ground, &door, store.clone(), &args.public, &process).await?;
    let listener = service::bind(args.public.address())?;
    tracing::info!(address = %listener.local_addr()?, "listening");
    let router = ingest::alone(gateway, door.edge())
        .merge(service::admin::public_health(process.health.clone()));
    process.open_doors(
        listener,
        router,
        args.public.serve_config(args.process.shutdown_deadline),
    );
    opened.open();
    process.until_stopped(&ground.log, store.as_ref()).await
}

/// Who is let in, and from which pages.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) verifier: Verifier,
    pub(crate) origins: Arc<Origins>,
    pub(crate) namespaces: Namespaces,
}

impl Door {
    /// Checks the settings of the public port; `own_origins` are allowed besides the configured ones.
    pub(crate) fn check(
        public: &PublicArgs,
        auth: &AuthArgs,
        own_origins: &[String],
    ) -> anyhow::Result<Self> {
        Ok(Door {
            verifier: auth.verifier()?,
            origins: Arc::new(public.origins(own_origins)?),
            namespaces: public.namespaces()?,
        })
    }

    pub(crate) fn edge(&self) -> Edge {
        Edge {
            tokens: Arc::new(Tokens::new(self.verifier.clone())),
            origins: Arc::clone(&self.origins),
            body_deadline: Duration::from_secs(10),
        }
    }
}

/// The gateway as ingest and fanout both start it.
pub(crate) async fn gateway(
    ground: &Ground,
    door: &Door,
    store: Option<store::Store>,
    public: &PublicArgs,
    process: &Process,
) -> anyhow::Result<Gateway> {
    let config = IngestConfig {
        limits: public.limits(),
        ..IngestConfig::default()
    };
    let parts = Parts {
        log: ground.log.clone(),
        topics: ground.topics.clone(),
        pins: ground.pins.clone(),
        watch: ground.watch.clone(),
        cursors: ground.cursors.clone(),
        namespaces: door.namespaces.clone(),
        store,
        metrics: process.metrics.clone(),
        shutdown: process.workers.clone(),
    };
    Ok(Gateway::start(config, parts).await?)
}
