//! Removing rows from the newest down, a bounded number at a time.
//!
//! From the newest, because the log keeps those longest: if a rebuild is left half done for days, what retention
//! erases meanwhile is what the tables still have.

use sqlx::PgConnection;

use super::{Locked, Way};

/// Events removed in one transaction: some tenths of a second.
const STEP: i64 = 10_000;

/// One step. When no events are left to remove, removes the rest and opens the partition to writers.
pub(super) async fn remove_newest(
    row: &Locked,
    connection: &mut PgConnection,
) -> Result<Way, sqlx::Error> {
    let removed = sqlx::query(
        "with lowest as (
             select min(\"offset\") as lowest from (
                 select \"offset\" from rivermouth.events
                 where topic_id = $1 and partition = $2 and \"offset\" >= $3 order by \"offset\" desc limit $4
             ) newest
         )
         delete from rivermouth.events e using lowest l
         where e.topic_id = $1 and e.partition = $2 and e.\"offset\" >= l.lowest",
    )
    .bind(row.topic_id)
    .bind(row.partition)
    .bind(row.from)
    .bind(STEP)
    .execute(&mut *connection)
    .await?;
    if removed.rows_affected() > 0 {
        return Ok(Way::Blocked);
    }
    for statement in [
        "delete from rivermouth.job_history where topic_id = $1 and partition = $2 and \"offset\" >= $3",
        "delete from rivermouth.quarantine where topic_id = $1 and partition = $2 and \"offset\" >= $3",
        "update rivermouth.offsets set rebuild_from = null, truncated_offset = null, updated_at = now()
         where topic_id = $1 and partition = $2 and next_offset = $3",
    ] {
        sqlx::query(statement)
            .bind(row.topic_id)
            .bind(row.partition)
            .bind(row.from)
            .execute(&mut *connection)
            .await?;
    }
    Ok(Way::Clear)
}
