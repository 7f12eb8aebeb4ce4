//! What a persister is told, and what it is given.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use broker::{Log, PinWatch, Pins};
use protocol::Cursors;
use schemas::Decoder;
use service::{Health, Metrics};
use store::Store;

/// How a persister works. The defaults are right for production.
#[derive(Clone, Debug)]
pub struct PersisterConfig {
    /// Topics to store; [`schemas::Topics::durable`] unless there is a reason. All must be pinned.
    pub topics: Vec<String>,
    /// The names of all topics. The state topic is stored too where it is pinned: kept cursors come from it.
    pub names: schemas::Topics,
    /// Where records go that cannot be taken.
    pub deadletter: String,
    /// Tasks that read and write, each with a reader and its share of the partitions; at least 1.
    pub workers: usize,
    /// Rows of one transaction at most.
    pub batch_rows_max: usize,
    /// Bytes of records read together at most, over all partitions of a worker. One record may exceed it.
    pub batch_bytes_max: usize,
    /// How long the first record of a batch waits for others.
    pub linger: Duration,
    /// How long after an instance died its partitions are free; at most 6 s, so that they move within 10 s.
    pub lease_ttl: Duration,
    /// How often leases are renewed; at most a third of their ttl.
    pub lease_every: Duration,
    /// How often a partition's end is asked for: for its lag, and to say that a quiet one is complete.
    pub observe_every: Duration,
    /// Bytes of channel state kept in memory at most, over all partitions.
    pub state_bytes_max: usize,
    /// Days whose partitions are made ahead, at most 7.
    pub days_ahead: u32,
    /// Whole days kept; `None` keeps everything.
    pub retention_days: Option<u32>,
    /// How long stopping may take.
    pub stop_timeout: Duration,
}

impl PersisterConfig {
    /// The defaults for these topics.
    #[must_use]
    pub fn new(topics: &schemas::Topics) -> PersisterConfig {
        PersisterConfig {
            topics: topics.durable().map(str::to_owned).to_vec(),
            names: topics.clone(),
            deadletter: topics.deadletter().to_owned(),
            workers: 2,
            batch_rows_max: 1000,
            batch_bytes_max: 8 << 20,
            linger: Duration::from_millis(50),
            lease_ttl: Duration::from_secs(5),
            lease_every: Duration::from_millis(1250),
            observe_every: Duration::from_secs(5),
            state_bytes_max: 256 << 20,
            days_ahead: 7,
            retention_days: None,
            stop_timeout: Duration::from_secs(10),
        }
    }
}

/// Asks the schema registry for a schema by id: its JSON, `None` when there is no such schema, a sentence when the
/// registry cannot be asked now (the partition then waits, for another answer could be another verdict).
pub type SchemaFetch = Arc<
    dyn Fn(u32) -> Pin<Box<dyn Future<Output = Result<Option<String>, String>> + Send>>
        + Send
        + Sync,
>;

/// What a persister works on.
#[derive(Clone)]
pub struct Ports {
    /// The log.
    pub log: Log,
    /// PostgreSQL, migrated.
    pub store: Store,
    /// Reads records; clones share the schemas they learn.
    pub decoder: Decoder,
    /// The installation's topics, as pinned.
    pub pins: Pins,
    /// Whether they are still what was pinned; somebody runs it.
    pub watch: PinWatch,
    /// Makes the cursors that rows carry.
    pub cursors: Cursors,
    /// The schema registry; without one, records that name an unknown schema are quarantined.
    pub schemas: Option<SchemaFetch>,
    /// Where numbers go.
    pub metrics: Metrics,
    /// Where readiness is told.
    pub health: Health,
}

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ports")
            .field("pins", &self.pins.topics)
            .finish_non_exhaustive()
    }
}
