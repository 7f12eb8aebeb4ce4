//! What only the embedded log can be asked: the disk under it, its housekeeping, a second process.

mod housekeeping;

use std::time::{Duration, Instant};

use broker::{BrokerError, EmbeddedConfig, Fetched, Fsync, Log, TopicSpec};
use tempfile::TempDir;

use crate::bed::{DEADLINE, next, read_to_end, record, text};
use crate::child;

struct Disk {
    dir: TempDir,
    config: EmbeddedConfig,
}

impl Disk {
    fn new() -> Disk {
        let dir = tempfile::tempdir().unwrap();
        let mut config = EmbeddedConfig::new(dir.path().join("log"));
        config.housekeeping = Duration::from_millis(10);
        Disk { dir, config }
    }

    async fn open(&self) -> Log {
        Log::embedded(self.config.clone()).await.unwrap()
    }
}

fn spec(name: &str) -> TopicSpec {
    TopicSpec {
        name: name.into(),
        partitions: 2,
        replication: -1,
        retention_ms: None,
        retention_bytes: None,
        compact: false,
    }
}

async fn put(log: &Log, topic: &str, key: &str, value: &str) -> i64 {
    log.append(record(topic, 0, key, value))
        .unwrap()
        .await
        .unwrap()
        .offset
}

async fn read_all(log: &Log, topic: &str) -> Vec<broker::Record> {
    let marks = log.watermarks(topic, 0).await.unwrap();
    let mut reader = log.reader().unwrap();
    reader.assign(topic, 0, marks.low).unwrap();
    read_to_end(&mut reader, marks.high).await.0
}

/// Waits until `done` says so.
async fn until<F: Future<Output = bool>>(done: impl Fn() -> F) {
    let deadline = Instant::now() + DEADLINE;
    while !done().await {
        assert!(Instant::now() < deadline, "it never came");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reopened_log_goes_on_where_it_was() {
    let disk = Disk::new();
    let mut facts = None;
    for round in 0..3 {
        let log = disk.open().await;
        log.ensure_topics(&[spec("t")], true).await.unwrap();
        let now = log.describe("t").await.unwrap();
        assert_eq!(
            *facts.get_or_insert_with(|| now.clone()),
            now,
            "the identity stays"
        );
        for n in 0..10 {
            assert_eq!(
                put(&log, "t", "k", &format!("{round} {n}")).await,
                round * 10 + n
            );
        }
        let records = read_all(&log, "t").await;
        assert_eq!(records.len() as i64, round * 10 + 10);
        assert!(
            records
                .iter()
                .all(|r| text(&r.value) == format!("{} {}", r.offset / 10, r.offset % 10))
        );
        if round == 1 {
            // Not closed, only dropped: nothing acknowledged is lost either.
            drop(log);
        } else {
            log.close(DEADLINE).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_loses_no_acknowledged_record() {
    // Large ones make it write files and begin new journals on the way.
    for (fsync, bytes) in [
        (Fsync::EachBatch, 300),
        (Fsync::Interval(50), 300),
        (Fsync::EachBatch, 60_000),
    ] {
        let disk = Disk::new();
        for round in 1..=3 {
            let (mut child, mut offsets) = child::spawn(&disk.config.dir, fsync, bytes);
            let mut last = offsets
                .by_ref()
                .take(300 * round)
                .last()
                .expect("the child appended nothing");
            child.kill().unwrap();
            // What was still in the pipe had been acknowledged, too.
            last = offsets.last().unwrap_or(last);
            child.wait().unwrap();
            let log = disk.open().await;
            let marks = log.watermarks(child::TOPIC, 0).await.unwrap();
            assert!(
                marks.high > last,
                "{fsync:?}: {last} was acknowledged, the log ends at {}",
                marks.high
            );
            let records = read_all(&log, child::TOPIC).await;
            assert_eq!(
                records.iter().map(|r| r.offset).collect::<Vec<_>>(),
                (0..marks.high).collect::<Vec<_>>()
            );
            log.close(DEADLINE).await.unwrap();
        }
        drop(disk.dir);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_in_use_is_refused_by_name_until_its_owner_dies() {
    let disk = Disk::new();
    let (mut child, mut offsets) = child::spawn(&disk.config.dir, Fsync::EachBatch, 300);
    offsets.next().expect("the child appended nothing");
    let refused = Log::embedded(disk.config.clone()).await;
    let Err(error @ BrokerError::Locked { .. }) = refused else {
        panic!("{refused:?}")
    };
    assert!(
        error
            .to_string()
            .contains(disk.config.dir.to_str().unwrap()),
        "{error}"
    );
    child.kill().unwrap();
    child.wait().unwrap();
    disk.open().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_heard_is_room_for_the_next() {
    let mut disk = Disk::new();
    disk.config.queue_records_max = 1;
    let log = disk.open().await;
    log.ensure_topics(&[spec("t")], true).await.unwrap();
    for n in 0..200 {
        assert_eq!(put(&log, "t", "k", "v").await, n);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_an_earlier_build_is_refused_and_left_as_it_is() {
    let disk = Disk::new();
    let old = || {
        let db = fjall::Database::builder(&disk.config.dir).open().unwrap();
        db.keyspace("records", Default::default).unwrap()
    };
    old().insert("key", "value").unwrap();
    let refused = Log::embedded(disk.config.clone()).await;
    let Err(error @ BrokerError::Config(_)) = refused else {
        panic!("{refused:?}")
    };
    assert!(
        error
            .to_string()
            .contains(disk.config.dir.to_str().unwrap()),
        "{error}"
    );
    assert!(old().get("key").unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_ends_waiting_readers() {
    let disk = Disk::new();
    let log = disk.open().await;
    log.ensure_topics(&[spec("t")], true).await.unwrap();
    let mut reader = log.reader().unwrap();
    reader.assign("t", 0, 0).unwrap();
    assert!(matches!(
        next(&mut reader, 1).await[..],
        [Fetched::End { next: 0, .. }]
    ));
    let waiting = tokio::spawn(async move { reader.next(1).await.map(|_| ()) });
    log.close(DEADLINE).await.unwrap();
    assert_eq!(
        tokio::time::timeout(DEADLINE, waiting)
            .await
            .unwrap()
            .unwrap(),
        Err(BrokerError::Closed)
    );
}
