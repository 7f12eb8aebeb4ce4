//! Retention and compaction: what goes, what stays, and what readers are told.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use broker::{Append, AppendError, BrokerError, Fetched, TopicSpec};

use super::{Disk, put, read_all, spec, until};
use crate::bed::{DEADLINE, next, record, text};

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
async fn what_retention_takes_leaves_the_disk() {
    let disk = Disk::new();
    let log = disk.open().await;
    let spec = TopicSpec {
        retention_bytes: Some(1 << 20),
        ..spec("t")
    };
    log.ensure_topics(&[spec], true).await.unwrap();
    // Noise: nothing makes it smaller on the way.
    let mut noise = 1_u64;
    let mut value = || {
        let values = std::iter::repeat_with(|| {
            noise = noise
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (noise >> 56) as u8
        });
        bytes::Bytes::from_iter(values.take(100_000))
    };
    let mut appended = 0;
    let deadline = Instant::now() + DEADLINE;
    loop {
        let several = (0..10).map(|_| Append {
            value: Some(value()),
            ..record("t", 0, "k", "")
        });
        let deliveries: Vec<_> = several.map(|one| log.append(one).unwrap()).collect();
        for delivery in deliveries {
            delivery.await.unwrap();
            appended += 100_000;
        }
        let kept = size(&disk.config.dir.join("keyspaces"));
        if appended > 40 << 20 && kept < 16 << 20 {
            break;
        }
        assert!(Instant::now() < deadline, "{kept} of {appended} bytes left");
    }
    // Ten of them fit; after that nothing moves any more.
    let marks = async || log.watermarks("t", 0).await.unwrap();
    until(async || marks().await.low == marks().await.high - 10).await;
    let marks = marks().await;
    let records = read_all(&log, "t").await;
    assert_eq!(records.first().map(|r| r.offset), Some(marks.low));
    log.close(DEADLINE).await.unwrap();
    let log = disk.open().await;
    assert_eq!(log.watermarks("t", 0).await.unwrap(), marks);
    assert_eq!(read_all(&log, "t").await, records);
}

fn size(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    files
        .map(|entry| match entry.file_type().unwrap().is_dir() {
            true => size(&entry.path()),
            // It may be gone by now.
            false => entry.metadata().map_or(0, |metadata| metadata.len()),
        })
        .sum()
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
