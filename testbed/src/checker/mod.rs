//! What really happened, worked out from Kafka and PostgreSQL by code that the services do not share.
//!
//! [`Checker::accepted`] reads the log and applies the acceptance rule; [`Checker::stored`] reads the rows;
//! [`Received`] is what one subscriber got. All three are lists of [`Fact`]s by channel and have to be equal.

mod accept;
mod compact;
mod digest;
mod envelope;
mod jobs;
mod log;
mod partition;
mod received;
mod rows;

use std::collections::BTreeMap;

use sqlx::postgres::PgPool;

pub use accept::{Accepted, Acceptor, Taken};
pub use compact::compact;
pub use digest::Digests;
pub use envelope::Said;
pub use jobs::job_states;
pub use log::{Follower, LogRecord};
pub use partition::partition_of;
pub use received::Received;
pub use rows::Row;

/// One event as the log, a table and a subscriber must agree on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// The event's id.
    pub id: String,
    /// Its name.
    pub event: String,
    /// Who published it.
    pub user_id: Option<String>,
    /// The exact bytes of its data.
    pub data: String,
    /// The time the log gave it.
    pub timestamp_ms: i64,
}

/// Facts in order, by channel.
pub type Facts = BTreeMap<String, Vec<Fact>>;

/// Reads one world's log and tables.
#[derive(Debug)]
pub struct Checker {
    broker: Option<(String, String)>,
    pool: PgPool,
}

impl Checker {
    pub(crate) fn new(broker: Option<(String, String)>, pool: PgPool) -> Checker {
        Checker { broker, pool }
    }

    /// Every record of one topic (`deadletter`), up to its present end.
    pub async fn topic(&self, name: &str) -> Vec<LogRecord> {
        let (bootstrap, prefix) = self.broker.clone().expect("this world has a Kafka");
        let topics = [format!("{prefix}.{name}")];
        tokio::task::spawn_blocking(move || log::read(&bootstrap, &topics))
            .await
            .expect("reading the log does not panic")
    }

    /// Every record of the durable topics, in log order per partition, up to the present end.
    pub async fn log(&self) -> Vec<LogRecord> {
        let (bootstrap, prefix) = self.broker.clone().expect("this world has a Kafka");
        let topics = ["events", "jobs"].map(|name| format!("{prefix}.{name}"));
        tokio::task::spawn_blocking(move || log::read(&bootstrap, &topics))
            .await
            .expect("reading the log does not panic")
    }

    /// The events that count (D3), by channel, in order. Records that are no JSON or CloudEvents of the
    /// contract are left out: the callers know how many they wrote.
    pub async fn accepted(&self) -> BTreeMap<String, Vec<Accepted>> {
        let (_, prefix) = self.broker.clone().expect("this world has a Kafka");
        accept::accepted(&prefix, &self.log().await)
    }

    /// What the tables say could not be read, once they are complete: topic, partition, offset, reason.
    pub async fn quarantined(&self) -> Vec<(String, i32, i64, String)> {
        self.stored().await;
        rows::quarantined(&self.pool).await
    }

    /// The rows, once the tables are complete up to the log's present end.
    pub async fn stored(&self) -> BTreeMap<String, Vec<Row>> {
        if let Some((bootstrap, prefix)) = self.broker.clone() {
            let topics = ["events", "jobs"].map(|name| format!("{prefix}.{name}"));
            let ends = tokio::task::spawn_blocking(move || log::ends(&bootstrap, &topics)).await;
            rows::wait_complete(
                &self.pool,
                &ends.expect("asking for the log's end does not panic"),
            )
            .await;
        }
        rows::read(&self.pool).await
    }

    /// The rows of one channel, once there are at least `count`: for worlds whose log cannot be read from outside.
    pub async fn stored_at_least(&self, channel: &str, count: usize) -> Vec<Row> {
        rows::wait_count(&self.pool, channel, count).await;
        rows::read(&self.pool)
            .await
            .remove(channel)
            .unwrap_or_default()
    }

    /// A job as analysts see it: kind, owner, status, progress.
    pub async fn job(
        &self,
        job: &str,
    ) -> Option<(Option<String>, Option<String>, String, Option<f64>)> {
        rows::job(&self.pool, job).await
    }

    /// The digests of the events that the tables hold now, as they say themselves.
    pub async fn digests(&self) -> Digests {
        digest::stored(&self.pool).await
    }

    /// The same worked out from Kafka, as far as it still has them.
    pub async fn digests_of_log(&self) -> Digests {
        let key = digest::pinned_key(&self.topic("state").await);
        digest::expected(&self.pool, key, &self.accepted().await).await
    }

    /// The rows as they are now.
    pub async fn stored_now(&self) -> BTreeMap<String, Vec<Row>> {
        rows::read(&self.pool).await
    }

    /// Asserts that the tables hold exactly what the log accepts, byte for byte, in the log's places, and gives
    /// both as one: the accepted events by channel.
    pub async fn tables_equal_log(&self) -> BTreeMap<String, Vec<Accepted>> {
        let accepted = self.accepted().await;
        let stored = self.stored().await;
        let channels = |names: Vec<&String>| names.into_iter().cloned().collect::<Vec<_>>();
        assert_eq!(
            channels(stored.keys().collect()),
            channels(accepted.keys().collect()),
            "channels in the tables and in the log"
        );
        for (channel, rows) in &stored {
            rows::assert_equal(channel, rows, &accepted[channel]);
        }
        accepted
    }
}

/// The facts of accepted events.
pub fn facts(accepted: &[Accepted]) -> Vec<Fact> {
    accepted
        .iter()
        .map(|accepted| accepted.fact.clone())
        .collect()
}

/// Asserts that two lists are the same, and says what is lost, doubled or out of order when they are not.
pub fn assert_same(what: &str, found: &[Fact], expected: &[Fact]) {
    if found == expected {
        return;
    }
    let count = |facts: &[Fact]| {
        let mut counts = BTreeMap::new();
        for fact in facts {
            *counts.entry(fact.id.clone()).or_insert(0usize) += 1;
        }
        counts
    };
    let (has, wants) = (count(found), count(expected));
    let lost: Vec<_> = wants
        .keys()
        .filter(|id| !has.contains_key(*id))
        .take(5)
        .collect();
    let doubled: Vec<_> = has
        .iter()
        .filter(|(id, count)| **count > wants.get(*id).copied().unwrap_or(1))
        .take(5)
        .collect();
    let foreign: Vec<_> = has
        .keys()
        .filter(|id| !wants.contains_key(*id))
        .take(5)
        .collect();
    let first = found
        .iter()
        .zip(expected)
        .position(|(found, expected)| found != expected);
    let at = first.unwrap_or(found.len().min(expected.len()));
    panic!(
        "{what}: {} events, expected {}; lost {lost:?}, doubled {doubled:?}, foreign {foreign:?}; first difference at {at}:\n  found    {:?}\n  expected {:?}",
        found.len(),
        expected.len(),
        found.get(at),
        expected.get(at),
    );
}
