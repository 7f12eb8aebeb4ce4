//! What a test stands on: a database, a log with its topics, and instances that can be stopped or killed.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use broker::{
    Append, Appended, BrokerError, EmbeddedConfig, KafkaConfig, Log, Pin, PinWatch, Pins,
    Retention, TopicSpec, Watermarks,
};
use bytes::Bytes;
use persister::{PersisterConfig, PersisterError, Ports, SchemaFetch, run};
use protocol::Cursors;
use schemas::{Decoder, Topics};
use service::{Health, Metrics, Shutdown};
use store::testing::Database;
use store::{Store, StoreError, StoreOptions};
use tempfile::TempDir;
use testbed::until;
use tokio::runtime::Runtime;

/// No single thing a test waits for may take longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Bed {
    pub(crate) database: Database,
    pub(crate) store: Store,
    pub(crate) log: Log,
    pub(crate) topics: Topics,
    pub(crate) partitions: u32,
    pub(crate) pins: Pins,
    _dir: Option<TempDir>,
}

impl Bed {
    pub(crate) async fn embedded(partitions: u32) -> Bed {
        Bed::embedded_with(partitions, Retention::default()).await
    }

    /// With a log that erases its oldest records.
    pub(crate) async fn embedded_with(partitions: u32, retention: Retention) -> Bed {
        let dir = tempfile::tempdir().unwrap();
        let mut config = EmbeddedConfig::new(dir.path().join("log"));
        config.housekeeping = Duration::from_millis(50);
        let log = Log::embedded(config).await.unwrap();
        Bed::on(log, Topics::default(), partitions, retention, Some(dir)).await
    }

    pub(crate) async fn kafka(partitions: u32) -> Bed {
        let bootstrap = std::env::var("RIVERMOUTH_TEST_KAFKA").expect(
            "RIVERMOUTH_TEST_KAFKA is not set: run `make test`, or start one with scripts/kafka.sh",
        );
        let log = Log::kafka(KafkaConfig::new(bootstrap)).await.unwrap();
        let prefix = format!("persister-{}", uuid::Uuid::new_v4().simple());
        let retention = Retention::default();
        Bed::on(log, Topics::new(&prefix), partitions, retention, None).await
    }

    async fn on(
        log: Log,
        topics: Topics,
        partitions: u32,
        retention: Retention,
        dir: Option<TempDir>,
    ) -> Bed {
        let spec = |name: &str, partitions: u32| TopicSpec {
            name: name.to_owned(),
            partitions,
            replication: -1,
            retention_ms: retention.ms,
            retention_bytes: retention.bytes,
            compact: false,
        };
        let specs = [
            spec(topics.events(), partitions),
            spec(topics.jobs(), partitions),
            spec(topics.deadletter(), 1),
        ];
        answer(|| log.ensure_topics(&specs, true)).await;
        let mut pinned = BTreeMap::new();
        for topic in topics.durable() {
            let facts = answer(|| log.describe(topic)).await;
            let pin = Pin {
                id: facts.id,
                partitions,
                generation: 0,
            };
            pinned.insert(topic.to_owned(), pin);
        }
        let pins = Pins {
            cursor_key: [7; 16],
            topics: pinned,
        };
        let (database, store) = Database::migrated().await;
        Bed {
            database,
            store,
            log,
            topics,
            partitions,
            pins,
            _dir: dir,
        }
    }

    pub(crate) fn config(&self) -> PersisterConfig {
        PersisterConfig::new(&self.topics)
    }

    /// An instance as in production.
    pub(crate) fn start(&self) -> Instance {
        self.start_with(self.config(), self.database.url().to_owned(), None)
    }

    pub(crate) fn start_with(
        &self,
        config: PersisterConfig,
        url: String,
        schemas: Option<SchemaFetch>,
    ) -> Instance {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let shutdown = Shutdown::new();
        let metrics = Metrics::new();
        let (log, topics, pins) = (self.log.clone(), self.topics.clone(), self.pins.clone());
        let health = Health::new("persister");
        let (stop, numbers, told) = (shutdown.clone(), metrics.clone(), health.clone());
        let running = runtime.spawn(async move {
            let options = StoreOptions {
                acquire_timeout: Duration::from_secs(2),
                call_timeout: Duration::from_secs(3),
                ..StoreOptions::default()
            };
            let pinned = pins.topics.iter();
            let counts: Vec<_> = pinned
                .map(|(name, pin)| (name.clone(), pin.partitions))
                .collect();
            let ports = Ports {
                watch: PinWatch::new(log.clone(), &pins),
                log,
                store: Store::connect(&url, options).await.unwrap(),
                decoder: Decoder::new(topics).with_partitions(counts),
                cursors: Cursors::new(pins.cursor_key),
                pins,
                schemas,
                metrics: numbers,
                health: told,
            };
            run(config, ports, stop).await
        });
        Instance {
            runtime: Some(runtime),
            running: Some(running),
            shutdown,
            metrics,
            health,
        }
    }

    /// Appends to the durable topic of a channel's namespace, as its producers do.
    pub(crate) async fn append(&self, topic: &str, key: &str, value: &str) -> Appended {
        self.append_with(topic, Some(key), &[], Some(value.as_bytes()))
            .await
    }

    pub(crate) async fn append_with(
        &self,
        topic: &str,
        key: Option<&str>,
        headers: &[(&'static str, &str)],
        value: Option<&[u8]>,
    ) -> Appended {
        self.enqueue(topic, key, headers, value).await.unwrap()
    }

    /// Appends without waiting.
    pub(crate) fn enqueue(
        &self,
        topic: &str,
        key: Option<&str>,
        headers: &[(&'static str, &str)],
        value: Option<&[u8]>,
    ) -> broker::Delivery {
        let headers = headers
            .iter()
            .map(|(name, value)| ((*name).into(), Bytes::copy_from_slice(value.as_bytes())));
        self.log
            .append(Append {
                topic: Arc::from(topic),
                partition: key.map_or(0, |key| {
                    schemas::partition_of(key.as_bytes(), self.partitions)
                }),
                key: key.map(|key| Bytes::copy_from_slice(key.as_bytes())),
                headers: headers.collect(),
                value: value.map(Bytes::copy_from_slice),
            })
            .unwrap()
    }

    /// Waits until everything the log has is stored.
    pub(crate) async fn caught_up(&self) {
        for topic in self.topics.durable() {
            for partition in 0..i32::try_from(self.partitions).unwrap() {
                let high = self.marks(topic, partition).await.high;
                let place = store::Place::new(topic, 0, partition);
                eventually(&format!("{place} is stored up to {high}"), async || {
                    let progress = self.store.progress(&place).await;
                    // A busy PostgreSQL has said nothing yet.
                    if matches!(progress, Err(StoreError::Retry { .. })) {
                        return false;
                    }
                    let progress = progress.unwrap();
                    progress.is_some_and(|progress| progress.next >= high)
                })
                .await;
            }
        }
    }

    /// Where a partition begins and ends.
    pub(crate) async fn marks(&self, topic: &str, partition: i32) -> Watermarks {
        answer(|| self.log.watermarks(topic, partition)).await
    }

    pub(crate) async fn count(&self, of: &str) -> i64 {
        self.database
            .number(&format!("select count(*) from {of}"))
            .await
    }
}

/// A running persister.
pub(crate) struct Instance {
    runtime: Option<Runtime>,
    running: Option<tokio::task::JoinHandle<Result<(), PersisterError>>>,
    shutdown: Shutdown,
    pub(crate) metrics: Metrics,
    pub(crate) health: Health,
}

impl Instance {
    /// As SIGTERM does.
    pub(crate) async fn stop(mut self) {
        self.shutdown.start();
        let running = self.running.take().unwrap();
        tokio::time::timeout(PATIENCE, running)
            .await
            .expect("stops in time")
            .unwrap()
            .unwrap();
    }

    /// As kill -9 does: every task ends where it stands.
    pub(crate) fn kill(self) {
        drop(self);
    }

    /// The value of a number without labels.
    pub(crate) fn number(&self, name: &str) -> u64 {
        let text = self.metrics.encode();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("rivermouth_{name} ")));
        line.and_then(|value| value.parse().ok()).unwrap_or(0)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What the log answers in the end: a question has a few seconds only, and a busy broker is asked again.
async fn answer<T, F: Future<Output = Result<T, BrokerError>>>(ask: impl Fn() -> F) -> T {
    let answered = until("an answer of the log", || async {
        match ask().await {
            Err(error) if error.retryable() => None,
            answer => Some(answer),
        }
    });
    answered.await.unwrap()
}

/// Waits for a thing, not for a time.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    within(PATIENCE, what, holds).await;
}

pub(crate) async fn within<F: Future<Output = bool>>(
    patience: Duration,
    what: &str,
    holds: impl Fn() -> F,
) {
    let begun = Instant::now();
    while !holds().await {
        assert!(
            begun.elapsed() < patience,
            "not within {patience:?}: {what}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
