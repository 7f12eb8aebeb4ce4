//! The embedded log alone: what an acknowledged append costs, and what a start with so many records costs.
//!
//! One lane per partition appends as the ingest gateway does: in order, many in flight, answers awaited first in,
//! first out. Every record says how many-th it is, so reading back shows loss, duplicates and order without a list.

mod disk;
mod record;
mod run;

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use broker::{Delivery, EmbeddedConfig, Fetched, Log, Record, TopicSpec};
use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::task::JoinSet;

use self::disk::{disk_bytes, forget, peak_bytes, written_bytes};
use self::record::{TOPIC, record, record_bytes};
use crate::machine::{cpu_of, private_kib};
pub use run::alone;
pub(super) use run::take;

/// As many as a topic has unless somebody says otherwise.
const PARTITIONS: i32 = 12;
/// Records in flight per lane; all lanes together stay below what the log lets wait.
const WINDOW: usize = 800;
/// Appends made one at a time, each awaited before the next.
const SINGLE: u64 = 1_000;
/// The run is cut into so many parts of equal length, to show whether appending slows down.
const PARTS: usize = 10;
/// Longest wait for anything; whatever takes longer is broken.
const DEADLINE: Duration = Duration::from_secs(60);

/// What was measured; units are at the ends of the names.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Embedded {
    /// Records on disk when the log was opened again.
    pub records: u64,
    /// Key, headers and value of one record.
    pub record_bytes: u64,
    /// Acknowledged appends a second, many in flight.
    pub appends_per_s: f64,
    /// The same in the slowest tenth of the run.
    pub appends_per_s_slowest: f64,
    /// And in its last tenth.
    pub appends_per_s_last: f64,
    /// From the append to its acknowledgement in that run, the middle.
    pub ack_p50_ms: f64,
    /// The same, all but one in a hundred.
    pub ack_p99_ms: f64,
    /// The longest.
    pub ack_max_ms: f64,
    /// CPU of the whole process per append: the log's own threads and the load.
    pub append_cpu_us: f64,
    /// What was written to the disk per record, journal and rewriting included.
    pub written_bytes_per_record: f64,
    /// Acknowledged appends a second, one at a time.
    pub single_per_s: f64,
    /// Room on the disk per record after closing.
    pub disk_bytes_per_record: f64,
    /// Opening with nothing of it in the page cache.
    pub open_cold_s: f64,
    /// Opening again, with what was read just before in the page cache.
    pub open_warm_s: f64,
    /// From asking for the record in the middle of a partition to having it.
    pub middle_ms: f64,
    /// Reading everything back, from the first record to the last.
    pub read_all_s: f64,
    /// The same per second.
    pub reads_per_s: f64,
    /// CPU of the whole process per record read, checking it included.
    pub read_cpu_us: f64,
    /// Memory of this process before.
    pub memory_before_bytes: u64,
    /// At the end of the appends.
    pub memory_appended_bytes: u64,
    /// After opening.
    pub memory_opened_bytes: u64,
    /// The most there ever was.
    pub memory_peak_bytes: u64,
}

/// Appends `records` to a new log in `dir`, opens it again and reads everything back.
///
/// `dir` is made when missing; what is in it afterwards is for the caller to remove. Errors: the log cannot be
/// worked with, or an acknowledged record does not come back exactly once and in order; the figures are then void.
pub(super) async fn measure(dir: &Path, records: u64) -> anyhow::Result<Embedded> {
    let memory_before_bytes = memory_bytes()?;
    let log = open(dir).await?;
    let each = records.div_ceil(PARTITIONS as u64);
    let batched = append_all(&log, each).await?;
    let memory_appended_bytes = memory_bytes()?;
    let single_per_s = append_singly(&log, each).await?;
    log.close(DEADLINE).await?;
    drop(log);
    let records = each * PARTITIONS as u64 + SINGLE;
    let disk_bytes = disk_bytes(dir)?;

    forget(dir)?;
    let (open_cold_s, log) = timed(open(dir)).await?;
    log.close(DEADLINE).await?;
    drop(log);
    let (open_warm_s, log) = timed(open(dir)).await?;
    let memory_opened_bytes = memory_bytes()?;

    let (middle_s, ()) = timed(read_middle(&log, each)).await?;
    let cpu = cpu_s()?;
    let (read_all_s, ()) = timed(read_all(&log, each)).await?;
    let read_cpu_us = (cpu_s()? - cpu) * 1e6 / records as f64;
    log.close(DEADLINE).await?;
    Ok(Embedded {
        records,
        record_bytes: record_bytes(),
        appends_per_s: batched.per_s,
        appends_per_s_slowest: batched.parts.iter().copied().fold(f64::MAX, f64::min),
        appends_per_s_last: batched.parts.last().copied().unwrap_or_default(),
        ack_p50_ms: batched.acks.value_at_quantile(0.5) as f64 / 1e3,
        ack_p99_ms: batched.acks.value_at_quantile(0.99) as f64 / 1e3,
        ack_max_ms: batched.acks.max() as f64 / 1e3,
        append_cpu_us: batched.cpu_us,
        written_bytes_per_record: batched.written_bytes,
        single_per_s,
        disk_bytes_per_record: disk_bytes as f64 / records as f64,
        open_cold_s,
        open_warm_s,
        middle_ms: middle_s * 1e3,
        read_all_s,
        reads_per_s: records as f64 / read_all_s,
        read_cpu_us,
        memory_before_bytes,
        memory_appended_bytes,
        memory_opened_bytes,
        memory_peak_bytes: peak_bytes()?,
    })
}

async fn open(dir: &Path) -> anyhow::Result<Log> {
    let log = Log::embedded(EmbeddedConfig::new(dir)).await?;
    let spec = TopicSpec {
        name: TOPIC.into(),
        partitions: PARTITIONS as u32,
        replication: -1,
        retention_ms: None,
        retention_bytes: None,
        compact: false,
    };
    log.ensure_topics(&[spec], true).await?;
    Ok(log)
}

/// Figures of the appends with many in flight; `cpu_us` and `written_bytes` are per record.
struct Batched {
    per_s: f64,
    parts: Vec<f64>,
    acks: Histogram<u64>,
    cpu_us: f64,
    written_bytes: f64,
}

async fn append_all(log: &Log, each: u64) -> anyhow::Result<Batched> {
    let (began, cpu, written) = (Instant::now(), cpu_s()?, written_bytes()?);
    let mut lanes = JoinSet::new();
    for partition in 0..PARTITIONS {
        lanes.spawn(lane(log.clone(), partition, each));
    }
    let mut acks = Histogram::new(3)?;
    let mut ends = [Duration::ZERO; PARTS];
    while let Some(lane) = lanes.join_next().await {
        let (lane_acks, lane_ends) = lane??;
        acks.add(lane_acks)?;
        // The slowest lane says when a part was over.
        for (end, lane_end) in ends.iter_mut().zip(lane_ends) {
            *end = lane_end.duration_since(began).max(*end);
        }
    }
    let all = (each * PARTITIONS as u64) as f64;
    let starts = std::iter::once(Duration::ZERO).chain(ends.iter().copied());
    let parts = ends.iter().zip(starts);
    Ok(Batched {
        per_s: all / began.elapsed().as_secs_f64(),
        parts: parts
            .map(|(end, start)| all / PARTS as f64 / (*end - start).as_secs_f64())
            .collect(),
        acks,
        cpu_us: (cpu_s()? - cpu) * 1e6 / all,
        written_bytes: (written_bytes()? - written) as f64 / all,
    })
}

/// Appends to one partition with [`WINDOW`] in flight: how long each took, µs, and when each part was over.
async fn lane(
    log: Log,
    partition: i32,
    each: u64,
) -> anyhow::Result<(Histogram<u64>, Vec<Instant>)> {
    let mut acks = Histogram::new(3)?;
    let mut ends = Vec::with_capacity(PARTS);
    let mut flying: VecDeque<(Instant, Delivery)> = VecDeque::with_capacity(WINDOW);
    let (mut sent, mut landed) = (0, 0);
    while landed < each {
        while sent < each && flying.len() < WINDOW {
            flying.push_back((Instant::now(), log.append(record(partition, sent))?));
            sent += 1;
        }
        if let Some((since, delivery)) = flying.pop_front() {
            acknowledged(delivery, landed).await?;
            acks.record(u64::try_from(since.elapsed().as_micros())?)?;
            landed += 1;
        }
        while ends.len() < PARTS && landed * PARTS as u64 >= each * (ends.len() as u64 + 1) {
            ends.push(Instant::now());
        }
    }
    Ok((acks, ends))
}

/// A lane is alone on its partition, so its n-th record stands at offset n.
async fn acknowledged(delivery: Delivery, number: u64) -> anyhow::Result<()> {
    let appended = tokio::time::timeout(DEADLINE, delivery)
        .await
        .context("an append was not answered in time")??;
    ensure!(
        u64::try_from(appended.offset) == Ok(number),
        "record {number} was acknowledged at offset {}",
        appended.offset
    );
    Ok(())
}

async fn append_singly(log: &Log, from: u64) -> anyhow::Result<f64> {
    let began = Instant::now();
    for number in from..from + SINGLE {
        acknowledged(log.append(record(0, number))?, number).await?;
    }
    Ok(SINGLE as f64 / began.elapsed().as_secs_f64())
}

async fn read_middle(log: &Log, each: u64) -> anyhow::Result<()> {
    let (partition, middle) = (PARTITIONS / 2, each / 2);
    let mut reader = log.reader()?;
    reader.assign(TOPIC, partition, i64::try_from(middle)?)?;
    let items = tokio::time::timeout(DEADLINE, reader.next(1)).await??;
    match items.first() {
        Some(Fetched::Record(found)) => check(found, partition, middle),
        other => bail!("instead of the record in the middle: {other:?}"),
    }
}

/// Reads every partition to its end, and checks each record.
async fn read_all(log: &Log, each: u64) -> anyhow::Result<()> {
    let mut reader = log.reader()?;
    for partition in 0..PARTITIONS {
        reader.assign(TOPIC, partition, 0)?;
    }
    let mut read = vec![0; PARTITIONS as usize];
    let mut open = PARTITIONS;
    while open > 0 {
        for item in tokio::time::timeout(DEADLINE, reader.next(1_000)).await?? {
            match item {
                Fetched::Record(found) => {
                    let next = &mut read[usize::try_from(found.partition)?];
                    check(&found, found.partition, *next)?;
                    *next += 1;
                }
                Fetched::End { .. } => open -= 1,
                other => bail!("the log cannot be read: {other:?}"),
            }
        }
    }
    for (partition, read) in read.into_iter().enumerate() {
        let wanted = each + if partition == 0 { SINGLE } else { 0 };
        ensure!(
            read == wanted,
            "partition {partition} has {read} records instead of {wanted}"
        );
    }
    Ok(())
}

fn check(found: &Record, partition: i32, number: u64) -> anyhow::Result<()> {
    let wanted = record(partition, number);
    ensure!(
        u64::try_from(found.offset) == Ok(number) && found.partition == partition,
        "partition {partition} offset {} where {number} should be",
        found.offset
    );
    ensure!(
        found.value == wanted.value && found.key == wanted.key,
        "record {number} of partition {partition} is not what was appended: {found:?}"
    );
    Ok(())
}

async fn timed<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<(f64, T)> {
    let began = Instant::now();
    let done = work.await?;
    Ok((began.elapsed().as_secs_f64(), done))
}

/// CPU of this process so far, all threads.
fn cpu_s() -> anyhow::Result<f64> {
    Ok(cpu_of(own_pid()?)?.as_secs_f64())
}

fn memory_bytes() -> anyhow::Result<u64> {
    Ok(private_kib(own_pid()?)? * 1024)
}

fn own_pid() -> anyhow::Result<i32> {
    Ok(i32::try_from(std::process::id())?)
}
