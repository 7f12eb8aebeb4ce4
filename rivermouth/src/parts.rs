//! What every service stands on: the log with its pinned topics, cursors, and PostgreSQL.

use std::pin::Pin;
use std::sync::Arc;

use anyhow::Context as _;
use broker::{BrokerError, KafkaConfig, Log, PinWatch, Pins};
use protocol::Cursors;
use schemas::{Decoder, Topics};
use service::settings::SettingsError;
use service::{SchemaRegistry, Secret, Shutdown};
use store::{Store, StoreOptions};

use crate::settings::kafka::KafkaArgs;
use crate::topics;

/// The ground of one process. Clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Ground {
    pub(crate) log: Log,
    pub(crate) topics: Topics,
    pub(crate) pins: Pins,
    /// One for all parts of the process; `run::footing` runs it.
    pub(crate) watch: PinWatch,
    pub(crate) cursors: Cursors,
}

impl Ground {
    /// Waits for the log, makes or checks the topics, reads the pins. `None`: told to stop first.
    pub(crate) async fn lay(
        log: Log,
        args: &KafkaArgs,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Option<Self>> {
        let names = args.topics()?;
        let specs = args.specs(&names);
        let pins = topics::ready(&log, &names, &specs, args.create_topics, shutdown).await?;
        Ok(pins.map(|pins| Ground {
            watch: PinWatch::new(log.clone(), &pins),
            log,
            cursors: Cursors::new(pins.cursor_key),
            topics: names,
            pins,
        }))
    }
}

/// Opens Kafka. Does not wait for the brokers; settings that librdkafka refuses are bad configuration.
pub(crate) async fn kafka(config: KafkaConfig) -> anyhow::Result<Log> {
    Log::kafka(config).await.map_err(|error| match error {
        BrokerError::Config(reason) => SettingsError::value("kafka-config", reason).into(),
        other => anyhow::Error::from(other).context("opening Kafka"),
    })
}

/// Prepares the pool. Does not wait for PostgreSQL; a URL that cannot be read is bad configuration.
pub(crate) async fn store(url: &Secret, options: StoreOptions) -> anyhow::Result<Store> {
    Store::connect(url.expose(), options)
        .await
        // The error of the URL parser could repeat a part of the URL.
        .map_err(|_| SettingsError::value("database-url", "it cannot be read as a URL"))
        .context("preparing PostgreSQL")
}

/// Reads records; fetches unknown Avro schemas from the registry, when one is set.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) decoder: Decoder,
    pub(crate) registry: Option<SchemaRegistry>,
}

/// Asks for an Avro schema by id: its JSON, `None` when there is none, a sentence when it cannot be asked now.
type Fetch = Arc<dyn Fn(u32) -> Pin<Box<dyn Future<Output = Fetched> + Send>> + Send + Sync>;
type Fetched = Result<Option<String>, String>;

impl Reading {
    /// The registry as the services ask it; `None` when none is set.
    pub(crate) fn fetch(&self) -> Option<Fetch> {
        let registry = self.registry.clone()?;
        Some(Arc::new(move |id| {
            let registry = registry.clone();
            Box::pin(async move { registry.fetch(id).await.map_err(|error| error.to_string()) })
        }))
    }

    /// The same, where no registry means that no schema is known.
    pub(crate) fn fetch_or_absent(&self) -> Fetch {
        self.fetch()
            .unwrap_or_else(|| Arc::new(|_| Box::pin(async { Ok(None) })))
    }
}

/// One decoder for all parts of a process.
pub(crate) fn decoder(ground: &Ground, args: &KafkaArgs) -> anyhow::Result<Reading> {
    let pinned = ground.pins.topics.iter();
    let counts = pinned.map(|(name, pin)| (name.clone(), pin.partitions));
    Ok(Reading {
        decoder: Decoder::new(ground.topics.clone()).with_partitions(counts),
        registry: args.registry()?,
    })
}
