//! A backlog becomes rows: how fast, beside COPY of the very same rows into the very same table.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use sqlx::postgres::{PgConnection, PgPoolCopyExt as _};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
use testbed::Bed;

use super::catch_up::pour;
use super::engine::Engine;
use super::traffic::micros;
use super::{Sitting, node};
use crate::machine::{Pinned, SERVER_CPU, cpu_of, cpu_of_family};
use crate::results::Point;

const EVENTS: u32 = 300_000;
const CHANNELS: u32 = 200;
/// Rows of one transaction of the yardstick.
const COPIED: usize = 1000;
/// Longest wait for the backlog.
const PATIENCE: Duration = Duration::from_secs(180);

/// Takes it.
pub(super) async fn take(sitting: &mut Sitting) -> anyhow::Result<()> {
    if sitting.engines(&[Engine::Rivermouth]).is_empty() {
        return Ok(());
    }
    let persisted = sitting.begin("persist", Engine::Rivermouth.name());
    let events = u64::from(sitting.clients(EVENTS));
    let bed = sitting.bed().await?;
    let postgres = sitting.postgres();
    pour(&bed, CHANNELS, events).await?;
    let persisted = persist(persisted, &bed, postgres, events).await?;
    let copied = sitting.begin("persist", "copy-1000");
    let copied = copy(copied, &bed, postgres, events).await?;
    let ratio = persisted.figures["rows_per_s"] / copied.figures["rows_per_s"];
    sitting.keep(persisted.with("ratio_to_copy", ratio))?;
    sitting.keep(copied)
}

async fn persist(point: Point, bed: &Bed, postgres: i32, events: u64) -> anyhow::Result<Point> {
    let mut database = PgConnection::connect(bed.database().url()).await?;
    let mut node = node::start(bed, "persister").await?;
    let pid = node.process().pid();
    // The beginning is not counted: leases, connections, the first plans.
    let first = stored(&mut database, events / 10).await?;
    let (started, before) = (Instant::now(), (cpu_of(pid)?, cpu_of_family(postgres)?));
    let last = stored(&mut database, events).await?;
    let took = started.elapsed();
    let (ours, theirs) = (
        cpu_of(pid)? - before.0,
        cpu_of_family(postgres)?.saturating_sub(before.1),
    );
    node.terminate().await;
    let rows = (last - first) as f64;
    let mut point = point
        .with("rows_per_s", rows / took.as_secs_f64())
        .with("persister_us_per_row", micros(ours) / rows)
        .with("postgres_us_per_row", micros(theirs) / rows);
    let counted: (i64, i64) = sqlx::query_as(
        "select count(*), count(distinct (data->'s', data->'n')) from rivermouth.events",
    )
    .fetch_one(&mut database)
    .await?;
    point.wrong.lost = events.saturating_sub(counted.1 as u64);
    point.wrong.doubled = (counted.0 - counted.1) as u64;
    Ok(point)
}

/// Waits until so many records are dealt with; how many are.
async fn stored(database: &mut PgConnection, wanted: u64) -> anyhow::Result<u64> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let stored: Option<i64> = sqlx::query_scalar(
            "select sum(next_offset)::bigint from rivermouth.offsets join rivermouth.topics using (topic_id) \
             where topic like '%.events'",
        )
        .fetch_one(&mut *database)
        .await?;
        let stored = stored.unwrap_or_default().unsigned_abs();
        if stored >= wanted {
            return Ok(stored);
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "only {stored} of {wanted} stored"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The stored rows once more, by COPY in transactions of 1000 rows, into a table with the same columns and indexes.
async fn copy(point: Point, bed: &Bed, postgres: i32, events: u64) -> anyhow::Result<Point> {
    let pool = bed.database().pool().await;
    let mut out = pool
        .copy_out_raw(
            "copy (select * from rivermouth.events order by topic_id, partition, \"offset\") to stdout",
        )
        .await?;
    let mut text = Vec::new();
    while let Some(piece) = futures_util::StreamExt::next(&mut out).await {
        text.extend_from_slice(&piece?);
    }
    drop(out);
    let mut database = PgConnection::connect(bed.database().url()).await?;
    let table = "create table rivermouth.yardstick (like rivermouth.events_default including all)";
    database.execute(AssertSqlSafe(table)).await?;
    database.execute("checkpoint").await?;
    let pinned = Pinned::to(SERVER_CPU)?;
    let (started, before) = (Instant::now(), cpu_of_family(postgres)?);
    let mut rest = text.as_slice();
    while !rest.is_empty() {
        let end = memchr::memchr_iter(b'\n', rest).nth(COPIED - 1);
        let (chunk, after) = rest.split_at(end.map_or(rest.len(), |end| end + 1));
        rest = after;
        let mut copying = database
            .copy_in_raw("copy rivermouth.yardstick from stdin")
            .await?;
        copying.send(chunk).await?;
        copying.finish().await?;
    }
    let took = started.elapsed();
    drop(pinned);
    let theirs = cpu_of_family(postgres)?.saturating_sub(before);
    let copied: i64 = sqlx::query_scalar("select count(*) from rivermouth.yardstick")
        .fetch_one(&mut database)
        .await
        .context("counting")?;
    let mut point = point
        .with("rows_per_s", copied as f64 / took.as_secs_f64())
        .with("postgres_us_per_row", micros(theirs) / copied as f64);
    point.wrong.lost = events.saturating_sub(copied.unsigned_abs());
    Ok(point)
}
