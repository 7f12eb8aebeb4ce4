//! What only the embedded log can be asked: the disk under it, its housekeeping, a second process.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use broker::{Append, AppendError, BrokerError, EmbeddedConfig, Fetched, Fsync, Log, TopicSpec};
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
    for fsync in [Fsync::EachBatch, Fsync::Interval(50)] {
        let disk = Disk::new();
        for round in 1..=3 {
            let (mut child, mut offsets) = child::spawn(&disk.config.dir, fsync);
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
    let (mut child, mut offsets) = child::spawn(&disk.config.dir, Fsync::EachBatch);
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
async fn old_records_go_and_readers_are_told() {
    let disk = Disk::new();
    let log = disk.open().await;
    log.ensure_topics(
        &[TopicSpec {
            retention_ms: Some(50),
            ..spec("t")
        }],
        true,
    )
    .await
    .unwrap();
    let mut reader = log.reader().unwrap();
    for n in 0..20 {
        put(&log, "t", "k", &n.to_string()).await;
    }
    until(async || log.watermarks("t", 0).await.unwrap().low == 20).await;
    reader.assign("t", 0, 5).unwrap();
    let items = next(&mut reader, 10).await;
    assert!(
        matches!(items[..], [Fetched::OutOfRange { asked: 5, .. }]),
        "{items:?}"
    );
    // Offsets go on after everything is gone, also after a restart.
    log.close(DEADLINE).await.unwrap();
    let log = disk.open().await;
    assert_eq!(put(&log, "t", "k", "new").await, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_follows_the_settings_also_later() {
    let disk = Disk::new();
    let log = disk.open().await;
    log.ensure_topics(&[spec("t")], true).await.unwrap();
    put(&log, "t", "k", "v").await;
    log.ensure_topics(
        &[TopicSpec {
            retention_ms: Some(1),
            ..spec("t")
        }],
        true,
    )
    .await
    .unwrap();
    until(async || log.watermarks("t", 0).await.unwrap().low == 1).await;
    log.close(DEADLINE).await.unwrap();
    let log = disk.open().await;
    let longer = [TopicSpec {
        retention_ms: Some(1000),
        ..spec("t")
    }];
    assert!(matches!(
        log.ensure_topics(&longer, false).await,
        Err(BrokerError::Differs { .. })
    ));
    log.ensure_topics(&longer, true).await.unwrap();
    log.ensure_topics(&longer, false).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_keeps_about_its_bytes() {
    let disk = Disk::new();
    let log = disk.open().await;
    log.ensure_topics(
        &[TopicSpec {
            retention_bytes: Some(10_000),
            ..spec("t")
        }],
        true,
    )
    .await
    .unwrap();
    for n in 0..100 {
        put(&log, "t", "k", &format!("{n} {}", "x".repeat(960))).await;
    }
    until(async || log.watermarks("t", 0).await.unwrap().low >= 90).await;
    let marks = log.watermarks("t", 0).await.unwrap();
    assert!(
        (90..=91).contains(&marks.low) && marks.high == 100,
        "{marks:?}"
    );
    assert_eq!(
        read_all(&log, "t").await.len() as i64,
        marks.high - marks.low
    );
    // A partition that fits keeps all.
    log.append(record("t", 1, "k", "small"))
        .unwrap()
        .await
        .unwrap();
    log.close(DEADLINE).await.unwrap();
    let log = disk.open().await;
    assert_eq!(log.watermarks("t", 1).await.unwrap().low, 0);
    assert_eq!(log.watermarks("t", 0).await.unwrap(), marks);
}

#[tokio::test(flavor = "multi_thread")]
async fn compaction_keeps_the_newest_of_each_key() {
    let mut disk = Disk::new();
    disk.config.tombstone_retention_ms = 100;
    disk.config.tail_bytes_max = 0; // Readers see what is on disk.
    let log = disk.open().await;
    log.ensure_topics(
        &[TopicSpec {
            compact: true,
            ..spec("t")
        }],
        true,
    )
    .await
    .unwrap();
    for n in 0..500 {
        put(&log, "t", &format!("key {}", n % 5), &n.to_string()).await;
    }
    let dead = Append {
        value: None,
        ..record("t", 0, "key 0", "")
    };
    log.append(dead).unwrap().await.unwrap();
    let without_key = log.append(Append {
        key: None,
        ..record("t", 0, "", "v")
    });
    assert!(
        matches!(without_key, Err(AppendError::Refused { .. })),
        "{without_key:?}"
    );
    let newest = async || {
        let records = read_all(&log, "t").await;
        let mut newest = BTreeMap::new();
        for record in &records {
            newest.insert(
                text(&record.key).to_owned(),
                (record.offset, record.value.is_some()),
            );
        }
        (records.len(), newest)
    };
    // Compaction comes when half is new; what is superseded meanwhile may stay a while.
    let mut appended = 501;
    let deadline = Instant::now() + DEADLINE;
    let (count, newest) = loop {
        put(&log, "t", "key 1", "again").await;
        appended += 1;
        let (count, newest) = newest().await;
        if count < 20 && !newest.contains_key("key 0") {
            break (count, newest);
        }
        assert!(Instant::now() < deadline, "{count} records left");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert!(count >= 4);
    assert_eq!(newest["key 2"], (497, true));
    assert_eq!(newest["key 3"], (498, true));
    assert_eq!(newest["key 4"], (499, true));
    assert_eq!(newest["key 1"], (appended - 1, true));
    log.close(DEADLINE).await.unwrap();
    let log = disk.open().await;
    assert_eq!(put(&log, "t", "key 1", "after").await, appended);
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_never_takes_a_record_from_under_a_reader_in_silence() {
    let mut disk = Disk::new();
    disk.config.tail_bytes_max = 2000;
    let log = disk.open().await;
    log.ensure_topics(
        &[TopicSpec {
            retention_bytes: Some(20_000),
            ..spec("t")
        }],
        true,
    )
    .await
    .unwrap();
    let (writer, name) = (log.clone(), "t".to_owned());
    let writing = tokio::spawn(async move {
        for n in 0..3000 {
            writer
                .append(record(&name, 0, "k", &format!("{n} {}", "x".repeat(200))))
                .unwrap()
                .await
                .unwrap();
        }
    });
    let mut reader = log.reader().unwrap();
    reader.assign("t", 0, 0).unwrap();
    let mut expected = 0;
    while expected < 3000 {
        for item in next(&mut reader, 7).await {
            match item {
                Fetched::Record(record) => {
                    assert_eq!(record.offset, expected, "a hole nobody spoke of");
                    expected += 1;
                }
                Fetched::OutOfRange { asked, .. } => {
                    assert_eq!(asked, expected);
                    expected = log.watermarks("t", 0).await.unwrap().low;
                    reader.assign("t", 0, expected).unwrap();
                }
                Fetched::End { .. } => {}
                failed => panic!("{failed:?}"),
            }
        }
        // Slower than the writer, so that retention overtakes.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    writing.await.unwrap();
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
