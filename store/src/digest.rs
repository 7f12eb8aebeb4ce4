//! Digests: what the tables hold of a day, in 32 bytes for each partition, so that two databases, or one before and
//! after a rebuild, can be compared.

use std::time::Duration;

use sqlx::FromRow;

use crate::connect::BEGIN;
use crate::days::day_of;
use crate::{Store, StoreError};

/// A day of a large installation is read from disk once.
const PATIENCE: Duration = Duration::from_secs(600);

const DURING: &str = "working out digests";

/// What one table holds of one partition and day.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Digest {
    /// The topic; `None` for jobs, which belong to no partition.
    pub topic: Option<String>,
    /// How many times the topic was re-created.
    pub generation: Option<i32>,
    /// The partition.
    pub partition: Option<i32>,
    /// The day (UTC), `2026-11-21`.
    pub day: String,
    /// `events`, `job_history`, `quarantine` or `jobs`.
    pub content: String,
    /// How many rows.
    pub count: i64,
    /// SHA-256 in hex of the rows in log order, as `rivermouth.digests` in the migrations says.
    pub digest: String,
}

impl Store {
    /// The digests of one day, which any Unix time in ms within it names; one snapshot. Ordered by table, topic,
    /// generation and partition; without rows, empty.
    ///
    /// # Errors
    /// [`StoreError::Retry`] while PostgreSQL is away.
    pub async fn digests(&self, at_ms: i64) -> Result<Vec<Digest>, StoreError> {
        let sql = |error| StoreError::from_sqlx(DURING, error);
        let reading = async {
            let mut tx = self.begin(BEGIN).await.map_err(sql)?;
            sqlx::query("set local statement_timeout = '600s'")
                .execute(&mut *tx)
                .await
                .map_err(sql)?;
            let digests = sqlx::query_as(
                "select topic, generation, partition, day::text as day, content, count, digest
                 from rivermouth.digests(date '1970-01-01' + $1::integer, date '1970-01-01' + $1::integer)",
            )
            .bind(i32::try_from(day_of(at_ms)).unwrap_or(i32::MAX))
            .fetch_all(&mut *tx)
            .await
            .map_err(sql)?;
            tx.commit().await.map_err(sql)?;
            Ok(digests)
        };
        tokio::time::timeout(PATIENCE, reading)
            .await
            .unwrap_or_else(|_| Err(StoreError::retry(DURING, "took longer than ten minutes")))
    }

    /// The first and the last day that have events, as Unix times in ms within them; `None` while there are none.
    ///
    /// # Errors
    /// [`StoreError::Retry`] while PostgreSQL is away.
    pub async fn days_stored(&self) -> Result<Option<(i64, i64)>, StoreError> {
        self.within(DURING, async {
            let (first, last): (Option<i32>, Option<i32>) = sqlx::query_as(
                "select min(day) - date '1970-01-01', max(day) - date '1970-01-01' from rivermouth.days",
            )
            .fetch_one(&self.pool)
            .await
            .map_err(|error| StoreError::from_sqlx(DURING, error))?;
            let begin = |day: i32| i64::from(day) * crate::DAY_MS;
            Ok(first.zip(last).map(|(first, last)| (begin(first), begin(last))))
        })
        .await
    }
}
