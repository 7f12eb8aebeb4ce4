//! Reading the tables, with nothing but SQL.

use std::collections::BTreeMap;

use sqlx::Row as _;
use sqlx::postgres::PgPool;

use super::{Accepted, Fact, assert_same, facts};
use crate::wait::until;

/// One row of the events table.
#[derive(Debug, Clone)]
pub struct Row {
    /// What it says; the data is the exact text.
    pub fact: Fact,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// The cursor that analysts see and clients may resume from.
    pub cursor: String,
    /// The offset of the event before that everybody may see.
    pub prev_offset: Option<i64>,
    /// Whether the exact text and its jsonb form say the same.
    pub jsonb_agrees: bool,
}

/// Waits until the tables are complete up to these ends.
pub(crate) async fn wait_complete(pool: &PgPool, ends: &BTreeMap<(String, i32), i64>) {
    until("the tables to be complete", || async {
        let rows =
            sqlx::query("select topic, partition, complete_to_offset from analytics.completeness")
                .fetch_all(pool)
                .await;
        let complete: BTreeMap<(String, i32), i64> = rows
            .ok()?
            .iter()
            .map(|row| ((row.get(0), row.get(1)), row.get(2)))
            .collect();
        let short = |(place, end): (&(String, i32), &i64)| {
            *end > 0 && complete.get(place).is_none_or(|next| next < end)
        };
        (!ends.iter().any(short)).then_some(())
    })
    .await;
}

/// Waits until a channel has so many rows.
pub(crate) async fn wait_count(pool: &PgPool, channel: &str, count: usize) {
    until("rows", || async {
        let rows = sqlx::query("select count(*) from analytics.events where channel = $1")
            .bind(channel)
            .fetch_one(pool)
            .await;
        let stored: i64 = rows.ok()?.get(0);
        usize::try_from(stored)
            .is_ok_and(|stored| stored >= count)
            .then_some(())
    })
    .await;
}

/// Kind, owner, status and progress of a job.
pub(crate) async fn job(
    pool: &PgPool,
    job: &str,
) -> Option<(Option<String>, Option<String>, String, Option<f64>)> {
    let row = sqlx::query(
        "select kind, owner_id, status::text, progress::float8 from analytics.jobs where job_id = $1",
    );
    let row = row
        .bind(job)
        .fetch_optional(pool)
        .await
        .expect("the jobs can be read")?;
    Some((row.get(0), row.get(1), row.get(2), row.get(3)))
}

/// Every row, by channel, in log order.
pub(crate) async fn read(pool: &PgPool) -> BTreeMap<String, Vec<Row>> {
    let rows = sqlx::query(
        r#"select e.channel, e.event, e.event_id, e.user_id, e.data_text, (extract(epoch from e.at) * 1000)::bigint as at_ms,
                  t.topic, e.partition, e."offset", e.cursor, e.prev_offset,
                  coalesce(e.data = e.data_text::jsonb, false) as jsonb_agrees
           from rivermouth.events e join rivermouth.topics t using (topic_id)
           order by e.channel, t.topic, t.generation, e.partition, e."offset""#,
    )
    .fetch_all(pool)
    .await
    .expect("the events table can be read");
    let mut channels: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for row in rows {
        let fact = Fact {
            id: row.get("event_id"),
            event: row.get("event"),
            user_id: row.get("user_id"),
            data: row.get("data_text"),
            timestamp_ms: row.get("at_ms"),
        };
        channels.entry(row.get("channel")).or_default().push(Row {
            fact,
            topic: row.get("topic"),
            partition: row.get("partition"),
            offset: row.get("offset"),
            cursor: row.get("cursor"),
            prev_offset: row.get("prev_offset"),
            jsonb_agrees: row.get("jsonb_agrees"),
        });
    }
    channels
}

/// The quarantine, in log order.
pub(crate) async fn quarantined(pool: &PgPool) -> Vec<(String, i32, i64, String)> {
    let rows = sqlx::query(
        r#"select topic, partition, "offset", reason from analytics.quarantine order by 1, 2, 3"#,
    );
    let rows = rows
        .fetch_all(pool)
        .await
        .expect("the quarantine can be read");
    rows.iter()
        .map(|row| (row.get(0), row.get(1), row.get(2), row.get(3)))
        .collect()
}

/// Asserts that the rows of a channel are its accepted events, in place.
pub(crate) fn assert_equal(channel: &str, rows: &[Row], accepted: &[Accepted]) {
    let found: Vec<Fact> = rows.iter().map(|row| row.fact.clone()).collect();
    assert_same(&format!("the rows of {channel}"), &found, &facts(accepted));
    for (row, accepted) in rows.iter().zip(accepted) {
        let place = (
            &accepted.topic,
            accepted.partition,
            accepted.offset,
            accepted.prev_offset,
        );
        assert_eq!(
            (&row.topic, row.partition, row.offset, row.prev_offset),
            place,
            "the place of {row:?}"
        );
        assert!(row.jsonb_agrees, "jsonb and text differ in {row:?}");
    }
}
