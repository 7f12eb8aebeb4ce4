//! One transaction: rows, quarantine, jobs, what the acceptance rule must remember, and the offset that fences it all.

mod deliveries;
mod derive;
mod events;
mod jobs;
mod quarantine;
mod snapshots;

use sqlx::PgConnection;

use crate::connect::BEGIN;
use crate::days::day_of;
use crate::error::refuses_value;
use crate::offsets::advance;
use crate::{
    DeliveryRow, JobRow, JobStep, NewEvent, Place, QuarantineRow, SnapshotRow, Store, StoreError,
};
use derive::Derived;

/// What the records `start..end` of a partition came to. Void records leave no trace but the moved offset.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The offset this batch continues from: what must be stored now.
    pub start: i64,
    /// One past the last record dealt with (records, control records and void ones alike).
    pub end: i64,
    /// Every record with an earlier time in the log is stored once this batch is, Unix milliseconds, if known.
    pub complete_to_ms: Option<i64>,
    /// Accepted events, ascending by offset.
    pub events: Vec<NewEvent>,
    /// Records that could not be taken.
    pub quarantine: Vec<QuarantineRow>,
    /// Jobs as of `end`, each once.
    pub jobs: Vec<JobRow>,
    /// Their steps.
    pub job_history: Vec<JobStep>,
    /// States of channels after their last events of the days the batch touches, each channel and day once.
    pub snapshots: Vec<SnapshotRow>,
    /// Kept cursors as far as these records take them, each key once; of the state topic only.
    pub deliveries: Vec<DeliveryRow>,
}

/// How the exact text becomes jsonb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cast {
    /// By a plain cast: one refused value refuses the batch.
    Plain,
    /// Value by value: a refused one is stored without its jsonb form, and quarantine says so.
    Careful,
}

const DURING: &str = "storing a batch";

impl Store {
    /// Stores a batch and moves the offset from `batch.start` to `batch.end`, all or nothing.
    ///
    /// Not cancel safe in the sense that a cancelled call may or may not have stored the batch; the next call with
    /// the same batch then stores it or answers [`StoreError::Fenced`].
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when the stored offset is not `batch.start`; [`StoreError::Retry`] while PostgreSQL is
    /// away, the outcome being unknown; [`StoreError::Fatal`] for a defect, for example a row that is there already.
    pub async fn write(&self, place: &Place, batch: &Batch) -> Result<(), StoreError> {
        self.within(DURING, async {
        let topic_id = self.topic_id(place).await?;
        let mut derived = Derived::of(&batch.events);
        derived.delivery_topics = self.topics_of(&batch.deliveries).await?;
        self.days_for(derived.days.keys().copied()).await;

        match self.attempt(topic_id, place, batch, &derived, Cast::Plain).await {
            // The door and the decoder let in only what jsonb takes, so this is a defect of theirs. It must not stop
            // the partition.
            Err(error) if refuses_value(&error) => {
                tracing::error!(%place, %error, "a value cannot be stored as jsonb, storing the batch value by value");
                self.attempt(topic_id, place, batch, &derived, Cast::Careful).await
            }
            other => other,
        }
        .unwrap_or_else(|error| Err(StoreError::from_sqlx(DURING, error)))
    }).await
    }

    async fn attempt(
        &self,
        topic_id: i16,
        place: &Place,
        batch: &Batch,
        derived: &Derived<'_>,
        cast: Cast,
    ) -> Result<Result<(), StoreError>, sqlx::Error> {
        let mut tx = self.begin(BEGIN).await?;
        let offsets = (batch.start, batch.end);
        // First, so that of two writers one waits here and nothing is written in vain.
        let fenced = advance(&mut tx, topic_id, place, offsets, batch.complete_to_ms).await?;
        if fenced.is_err() {
            return Ok(fenced);
        }
        let mut writing = Writing {
            connection: &mut tx,
            topic_id,
            partition: place.partition,
        };
        if !batch.events.is_empty() {
            writing.events(&batch.events, cast).await?;
            writing.channels(&derived.channels).await?;
            writing.days(&derived.days).await?;
        }
        if !derived.producers.is_empty() {
            writing.producers(&derived.producers).await?;
        }
        if !batch.jobs.is_empty() {
            writing.jobs(&batch.jobs).await?;
        }
        if !batch.job_history.is_empty() {
            writing.job_history(&batch.job_history).await?;
        }
        if !batch.deliveries.is_empty() {
            writing
                .deliveries(&batch.deliveries, &derived.delivery_topics)
                .await?;
        }
        if !batch.snapshots.is_empty() {
            writing.snapshots(&batch.snapshots).await?;
        }
        if !batch.quarantine.is_empty() {
            writing.quarantine(&batch.quarantine).await?;
        }
        if cast == Cast::Careful {
            writing.quarantine_unstorable(offsets).await?;
        }
        tx.commit().await?;
        Ok(Ok(()))
    }
}

/// The open transaction of one batch.
struct Writing<'a> {
    connection: &'a mut PgConnection,
    topic_id: i16,
    partition: i32,
}

/// One column of a batch, in the order of its rows.
fn column<'a, R, T>(rows: &'a [R], value: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}

/// The day an event lies in.
fn day(event: &NewEvent) -> i64 {
    day_of(event.at_ms)
}
