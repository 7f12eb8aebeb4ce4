//! Jobs, as their events add up.

use sqlx::FromRow;

use crate::{Store, StoreError};

/// A job as of its last update that counted. Times are Unix milliseconds.
#[derive(Clone, Debug, PartialEq, FromRow)]
pub struct JobRow {
    /// The job: the id of its channel `jobs.<id>`.
    pub job_id: String,
    /// What kind of job it is.
    pub kind: Option<String>,
    /// The user it runs for, who may read it.
    pub owner_id: Option<String>,
    /// `queued`, `running`, `succeeded`, `failed` or `cancelled`.
    pub status: String,
    /// Percent done, 0 to 100.
    pub progress: Option<f64>,
    /// The last message for people.
    pub message: Option<String>,
    /// Code of the error of a failed job.
    pub error_code: Option<String>,
    /// Message of that error.
    pub error_message: Option<String>,
    /// Time of its first update.
    pub created_at_ms: i64,
    /// Time of its last update that counted.
    pub updated_at_ms: i64,
    /// Time of the update that ended it.
    pub finished_at_ms: Option<i64>,
    /// Cursor of its last update that counted.
    pub cursor: String,
}

/// One update of a job that counted.
#[derive(Clone, Debug, PartialEq)]
pub struct JobStep {
    /// The job.
    pub job_id: String,
    /// Offset of the update's record.
    pub offset: i64,
    /// The job's status after it.
    pub status: String,
    /// Its progress after it, percent.
    pub progress: Option<f64>,
    /// Its message after it.
    pub message: Option<String>,
    /// Code of its error after it.
    pub error_code: Option<String>,
    /// The record's time, Unix milliseconds.
    pub at_ms: i64,
    /// The step's cursor.
    pub cursor: String,
}

macro_rules! job_columns {
    () => {
        "job_id, kind, owner_id, status, progress, message, error_code, error_message,
         (extract(epoch from created_at) * 1000)::bigint as created_at_ms,
         (extract(epoch from updated_at) * 1000)::bigint as updated_at_ms,
         (extract(epoch from finished_at) * 1000)::bigint as finished_at_ms, cursor"
    };
}

pub(crate) const JOBS_BY_ID: &str = concat!(
    "select ",
    job_columns!(),
    " from rivermouth.jobs where job_id = any($1)"
);

impl Store {
    /// The job of this id, as far as it is stored.
    ///
    /// # Errors
    /// [`StoreError::Retry`] while PostgreSQL is away.
    pub async fn job(&self, id: &str) -> Result<Option<JobRow>, StoreError> {
        self.within("reading a job", async {
            sqlx::query_as(JOBS_BY_ID)
                .bind(vec![id])
                .fetch_optional(&self.pool)
                .await
                .map_err(|error| StoreError::from_sqlx("reading a job", error))
        })
        .await
    }
}
