//! The end of a run: the world is well, the last event goes into every channel, everybody reads up to it, and
//! the tables are complete.

use std::collections::BTreeMap;
use std::time::Duration;

use client::{Http, Publish};
use sqlx::{PgPool, Row as _};
use testbed::Random;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, timeout_at};

use crate::actors::{Desk, Outcome, noted, pause};
use crate::check::Recorder;
use crate::evidence::Book;
use crate::workload::{Channels, END};

/// Awaits actors. The ones that do not end in time are left out and counted.
///
/// # Errors
/// An actor that panicked.
pub(crate) async fn gather(
    actors: &mut JoinSet<Book>,
    books: &mut Vec<Book>,
    patience: Duration,
) -> Result<usize, JoinError> {
    let deadline = Instant::now() + patience;
    while let Ok(Some(ended)) = timeout_at(deadline, actors.join_next()).await {
        books.push(ended?);
    }
    Ok(actors.len())
}

/// The last event of every channel, by a backend, until it is in the log; and where it did not get within
/// `patience`, in words.
///
/// # Errors
/// No client could be made.
pub(crate) async fn last_words(
    desk: &Desk,
    channels: &Channels,
    random: &mut Random,
    patience: Duration,
) -> anyhow::Result<(Book, Vec<String>)> {
    let mut unsaid = Vec::new();
    let mut book = Book {
        actor: "closer".into(),
        ..Book::default()
    };
    let deadline = Instant::now() + patience;
    let token = desk.world.backend();
    for channel in channels.all() {
        let event = Publish::new(channel, END, "null")?.id(format!("end-{channel}"));
        loop {
            let at = desk.clock.now();
            let http = Http::new(desk.http_door(random), Some(&token))?;
            let answer = http
                .with_deadline(Duration::from_secs(8))
                .publish(&event)
                .await;
            let said = format!("{answer:?}");
            let outcome = Outcome::of(desk, answer);
            let times = (at, desk.clock.now());
            book.publishes
                .push(noted(desk, &event, Some("backend"), times, outcome));
            if outcome.is_done() {
                break;
            }
            if Instant::now() > deadline {
                unsaid.push(format!(
                    "the last event of {channel} was not taken within {patience:?}: {said}"
                ));
                break;
            }
            pause(random).await;
        }
    }
    Ok((book, unsaid))
}

/// Waits until the tables are complete up to where the recorder has read.
///
/// # Errors
/// They were not within `patience`.
pub(crate) async fn tables_complete(
    tables: &PgPool,
    recorder: &Recorder,
    topics: &[String],
    partitions: i32,
    patience: Duration,
) -> Result<(), String> {
    let deadline = Instant::now() + patience;
    loop {
        let stored = complete_to(tables).await.unwrap_or_default();
        let lags = |(topic, partition): (&String, i32)| {
            let read = recorder.read_to(topic, partition);
            let stored = stored
                .get(&(topic.clone(), partition))
                .copied()
                .unwrap_or(0);
            (stored < read).then(|| format!("{topic}/{partition} at {stored} of {read}"))
        };
        let places = topics
            .iter()
            .flat_map(|topic| (0..partitions).map(move |partition| (topic, partition)));
        let lagging: Vec<String> = places.filter_map(lags).collect();
        if lagging.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!(
                "the tables are not complete after {patience:?}: {}",
                lagging.join(", ")
            ));
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// How far the tables say they are complete, by topic and partition.
///
/// # Errors
/// Those of SQL.
pub(crate) async fn complete_to(
    tables: &PgPool,
) -> Result<BTreeMap<(String, i32), i64>, sqlx::Error> {
    let rows =
        sqlx::query("select topic, partition, complete_to_offset from analytics.completeness")
            .fetch_all(tables)
            .await?;
    rows.iter()
        .map(|row| Ok(((row.try_get(0)?, row.try_get(1)?), row.try_get(2)?)))
        .collect()
}
