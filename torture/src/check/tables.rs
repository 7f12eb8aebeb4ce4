//! The tables as analysts and the contract see them, reduced to what is compared.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures_util::TryStreamExt as _;
use sqlx::{PgPool, Row as _};

use super::log::{Log, Place};
use crate::evidence::{Cursor, Name, Names, frame_fact};

/// What PostgreSQL holds at the end.
#[derive(Debug, Default)]
pub struct Tables {
    /// Every row of the events, by place.
    pub rows: BTreeMap<Place, Row>,
    /// The records that could not be taken.
    pub quarantine: BTreeSet<Place>,
    /// Jobs, by id.
    pub jobs: BTreeMap<String, Job>,
    /// Up to where each partition says that it is complete.
    pub complete_to: BTreeMap<(u8, i32), i64>,
    /// What was erased before it could be stored: from, to.
    pub lost: HashMap<(u8, i32), Vec<(i64, i64)>>,
    /// Kept cursors by user, channel and name; none when this version keeps none.
    pub kept: Option<BTreeMap<(Name, Name, Name), Cursor>>,
}

/// One event as it is stored.
#[derive(Debug, Clone)]
pub struct Row {
    /// The channel.
    pub channel: Name,
    /// The hash of what it says, as of a frame.
    pub fact: u64,
    /// Its cursor's text, when it is one.
    pub cursor: Option<Cursor>,
    /// The offset of the event before.
    pub prev: Option<i64>,
    /// Whether it names addressees.
    pub addressed: bool,
    /// Whether text and jsonb say the same.
    pub jsonb_agrees: bool,
}

/// One job as analysts see it; times in Unix ms.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Job {
    /// Its kind.
    pub kind: Option<String>,
    /// Its owner.
    pub owner: Option<String>,
    /// Its status.
    pub status: String,
    /// Its progress.
    pub progress: Option<f64>,
    /// Its message.
    pub message: Option<String>,
    /// Its error.
    pub error: (Option<String>, Option<String>),
    /// Created, updated, finished.
    pub times_ms: (i64, i64, Option<i64>),
}

impl Tables {
    /// Reads everything once. Streams: a run of an hour has millions of rows.
    ///
    /// # Errors
    /// Those of SQL.
    pub async fn read(pool: &PgPool, log: &Log, names: &Names) -> Result<Tables, sqlx::Error> {
        let topic = |name: &str| {
            let at = log.topics.iter().position(|topic| topic == name);
            at.and_then(|at| u8::try_from(at).ok())
        };
        let mut tables = Tables {
            rows: rows(pool, names, topic).await?,
            kept: kept(pool, names).await?,
            ..Tables::default()
        };
        let quarantined =
            sqlx::query(r#"select topic, partition, "offset" from analytics.quarantine"#)
                .fetch_all(pool)
                .await?;
        for row in quarantined {
            if let Some(topic) = topic(row.get(0)) {
                tables.quarantine.insert((topic, row.get(1), row.get(2)));
            }
        }
        let complete =
            sqlx::query("select topic, partition, complete_to_offset from analytics.completeness")
                .fetch_all(pool)
                .await?;
        for row in complete {
            if let Some(topic) = topic(row.get(0)) {
                tables.complete_to.insert((topic, row.get(1)), row.get(2));
            }
        }
        let lost = sqlx::query(
            "select t.topic, g.partition, g.from_offset, g.to_offset
             from rivermouth.gaps g join rivermouth.topics t using (topic_id)",
        )
        .fetch_all(pool)
        .await?;
        for row in lost {
            if let Some(topic) = topic(row.get(0)) {
                let ranges = tables.lost.entry((topic, row.get(1))).or_default();
                ranges.push((row.get(2), row.get(3)));
            }
        }
        tables.jobs = jobs(pool).await?;
        Ok(tables)
    }
}

/// How far each partition is stored, now.
pub(crate) async fn stored_to(pool: &PgPool) -> Result<Vec<(String, i32, i64)>, sqlx::Error> {
    let rows = sqlx::query(
        "select t.topic, o.partition, o.next_offset
         from rivermouth.offsets o join rivermouth.topics t using (topic_id)
         where t.topic like '%.events' or t.topic like '%.jobs'",
    )
    .fetch_all(pool)
    .await?;
    Ok(rows
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect())
}

async fn rows(
    pool: &PgPool,
    names: &Names,
    topic: impl Fn(&str) -> Option<u8>,
) -> Result<BTreeMap<Place, Row>, sqlx::Error> {
    let mut stream = sqlx::query(
        r#"select e.channel, e.event, e.event_id, e.user_id, e.data_text,
                  (extract(epoch from e.at) * 1000)::bigint as at_ms,
                  t.topic, e.partition, e."offset", e.cursor, e.prev_offset, e.to_users is not null as addressed,
                  coalesce(e.data = e.data_text::jsonb, false) as jsonb_agrees
           from rivermouth.events e join rivermouth.topics t using (topic_id)"#,
    )
    .fetch(pool);
    let mut rows = BTreeMap::new();
    while let Some(row) = stream.try_next().await? {
        let Some(topic) = topic(row.get("topic")) else {
            continue;
        };
        let stored = Row {
            channel: names.number(row.get("channel")),
            fact: frame_fact(
                row.get("event"),
                row.get("event_id"),
                row.get("user_id"),
                row.get("data_text"),
                row.get("at_ms"),
            ),
            cursor: Cursor::parse(row.get("cursor")),
            prev: row.get("prev_offset"),
            addressed: row.get("addressed"),
            jsonb_agrees: row.get("jsonb_agrees"),
        };
        rows.insert((topic, row.get("partition"), row.get("offset")), stored);
    }
    Ok(rows)
}

async fn jobs(pool: &PgPool) -> Result<BTreeMap<String, Job>, sqlx::Error> {
    let rows = sqlx::query(
        "select job_id, kind, owner_id, status::text, progress::float8, message, error_code, error_message,
                (extract(epoch from created_at) * 1000)::bigint, (extract(epoch from updated_at) * 1000)::bigint,
                (extract(epoch from finished_at) * 1000)::bigint
         from analytics.jobs",
    )
    .fetch_all(pool)
    .await?;
    let job = |row: &sqlx::postgres::PgRow| {
        let job = Job {
            kind: row.get(1),
            owner: row.get(2),
            status: row.get(3),
            progress: row.get(4),
            message: row.get(5),
            error: (row.get(6), row.get(7)),
            times_ms: (row.get(8), row.get(9), row.get(10)),
        };
        (row.get(0), job)
    };
    Ok(rows.iter().map(job).collect())
}

async fn kept(
    pool: &PgPool,
    names: &Names,
) -> Result<Option<BTreeMap<(Name, Name, Name), Cursor>>, sqlx::Error> {
    let there: bool =
        sqlx::query("select to_regclass('analytics.deliveries') is not null as there")
            .fetch_one(pool)
            .await?
            .get("there");
    if !there {
        return Ok(None);
    }
    let rows = sqlx::query("select user_id, channel, durable, cursor from analytics.deliveries")
        .fetch_all(pool)
        .await?;
    let mut kept = BTreeMap::new();
    for row in rows {
        if let Some(cursor) = Cursor::parse(row.get("cursor")) {
            let key = (
                names.number(row.get("user_id")),
                names.number(row.get("channel")),
                names.number(row.get("durable")),
            );
            kept.insert(key, cursor);
        }
    }
    Ok(Some(kept))
}
