//! The promises of a log, each as one case that knows nothing of the implementation.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use broker::{Append, AppendError, BrokerError, Fetched, PinError, Watermarks, pin};
use bytes::Bytes;

use crate::bed::{Bed, DEADLINE, next, read, read_to_end, record, text};

pub async fn records_come_back_whole_and_in_the_order_of_the_calls(bed: &Bed) {
    let topic = bed.topic(3).await;
    let mut deliveries = Vec::new();
    for n in 0..3000 {
        let headers = vec![
            ("rm-seq".into(), Bytes::from(n.to_string())),
            ("rm-seq".into(), Bytes::new()),
        ];
        let append = Append {
            headers,
            ..record(
                &topic,
                n % 3,
                &format!("key {}", n % 7),
                &format!("value {n}"),
            )
        };
        deliveries.push(bed.log.append(append).unwrap());
    }
    // The odd ones: no key, empty key, tombstone, empty value.
    for (key, value) in [
        (None, Some("v")),
        (Some(""), Some("v")),
        (Some("k"), None),
        (Some("k"), Some("")),
    ] {
        let append = Append {
            topic: topic.as_str().into(),
            partition: 0,
            key: key.map(Bytes::from),
            headers: Vec::new(),
            value: value.map(Bytes::from),
        };
        deliveries.push(bed.log.append(append).unwrap());
    }
    let mut acknowledged: HashMap<(i32, i64), i64> = HashMap::new();
    for (n, delivery) in deliveries.into_iter().enumerate() {
        let appended = delivery.await.unwrap();
        let (partition, offset) = if n < 3000 {
            (n % 3, n / 3)
        } else {
            (0, 1000 + n - 3000)
        };
        assert_eq!(appended.offset, offset as i64, "record {n}");
        acknowledged.insert((partition as i32, appended.offset), appended.timestamp_ms);
    }
    let mut reader = bed.log.reader().unwrap();
    for partition in 0..3 {
        reader.assign(&topic, partition, 0).unwrap();
    }
    let mut next_offset = [0; 3];
    let records = read(&mut reader, 3004).await;
    for record in &records {
        let partition = record.partition as usize;
        assert_eq!(record.offset, next_offset[partition]);
        next_offset[partition] += 1;
        assert_eq!(
            record.timestamp_ms,
            acknowledged[&(record.partition, record.offset)]
        );
        assert_eq!(&*record.topic, topic);
        if record.offset < 1000 {
            let n = record.offset * 3 + i64::from(record.partition);
            assert_eq!(text(&record.key), format!("key {}", n % 7));
            assert_eq!(text(&record.value), format!("value {n}"));
            let headers = [
                ("rm-seq".to_owned(), Bytes::from(n.to_string())),
                ("rm-seq".to_owned(), Bytes::new()),
            ];
            assert_eq!(record.headers, headers);
        }
    }
    let odd = records.iter().filter(|r| r.offset >= 1000);
    let odd: Vec<_> = odd
        .map(|r| {
            (
                r.key.as_ref().map(|_| text(&r.key)),
                r.value.as_ref().map(|_| text(&r.value)),
            )
        })
        .collect();
    assert_eq!(
        odd,
        [
            (None, Some("v")),
            (Some(""), Some("v")),
            (Some("k"), None),
            (Some("k"), Some(""))
        ]
    );
}

pub async fn watermarks_follow_the_appends(bed: &Bed) {
    let topic = bed.topic(2).await;
    assert_eq!(
        bed.log.watermarks(&topic, 0).await,
        Ok(Watermarks { low: 0, high: 0 })
    );
    for n in 0..3 {
        bed.put(&topic, 0, "k", &n.to_string()).await;
        assert_eq!(
            bed.log.watermarks(&topic, 0).await,
            Ok(Watermarks {
                low: 0,
                high: n + 1
            })
        );
    }
    assert_eq!(
        bed.log.watermarks(&topic, 1).await,
        Ok(Watermarks { low: 0, high: 0 })
    );
}

pub async fn watermarks_include_everything_acknowledged_before_they_were_asked(bed: &Bed) {
    let topic = bed.topic(1).await;
    let tasks = (0..20).map(|task| {
        let (log, topic) = (bed.log.clone(), topic.clone());
        tokio::spawn(async move {
            for n in 0..5 {
                let appended = log
                    .append(record(&topic, 0, "k", &format!("{task} {n}")))
                    .unwrap()
                    .await
                    .unwrap();
                let marks = log.watermarks(&topic, 0).await.unwrap();
                assert!(marks.high > appended.offset, "{marks:?} after {appended:?}");
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        tokio::time::timeout(DEADLINE, task).await.unwrap().unwrap();
    }
}

pub async fn offsets_are_found_by_time(bed: &Bed) {
    let topic = bed.topic(1).await;
    let now_ms = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_millis() as i64
    };
    let before_ms = now_ms();
    assert_eq!(
        bed.log.offset_at(&topic, 0, before_ms).await,
        Ok(0),
        "an empty partition"
    );
    let mut times = Vec::new();
    for n in 0..4 {
        let appended = bed.put(&topic, 0, "k", &n.to_string()).await;
        assert!(
            appended.timestamp_ms >= before_ms && appended.timestamp_ms <= now_ms(),
            "the log's own time"
        );
        times.push(appended.timestamp_ms);
        while now_ms() <= appended.timestamp_ms {
            tokio::task::yield_now().await;
        }
    }
    for (offset, time_ms) in times.iter().enumerate() {
        assert_eq!(
            bed.log.offset_at(&topic, 0, *time_ms).await,
            Ok(offset as i64)
        );
        assert_eq!(
            bed.log.offset_at(&topic, 0, *time_ms + 1).await,
            Ok(offset as i64 + 1)
        );
    }
    assert_eq!(bed.log.offset_at(&topic, 0, 0).await, Ok(0));
    assert_eq!(
        bed.log.offset_at(&topic, 0, now_ms() + 3_600_000).await,
        Ok(4)
    );
}

pub async fn any_offset_can_be_read_from(bed: &Bed) {
    let topic = bed.topic(1).await;
    // Enough that the oldest are no longer in memory.
    let deliveries: Vec<_> = (0..500)
        .map(|n| {
            bed.send(&topic, 0, "k", &format!("{n} {}", "x".repeat(200)))
                .unwrap()
        })
        .collect();
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    for from in [0, 1, 249, 498, 499, 500] {
        let (records, end) = read_to_end(&mut bed.reader(&topic, 0, from), 500).await;
        assert_eq!(
            records.iter().map(|r| r.offset).collect::<Vec<_>>(),
            (from..500).collect::<Vec<_>>()
        );
        assert!(
            records
                .iter()
                .all(|r| text(&r.value).starts_with(&format!("{} ", r.offset)))
        );
        assert_eq!(end, 500);
    }
}

pub async fn offsets_outside_the_log_are_answered_explicitly(bed: &Bed) {
    let topic = bed.trimmed_topic().await;
    let marks = bed.log.watermarks(&topic, 0).await.unwrap();
    assert!(marks.low > 0 && marks.low < marks.high, "{marks:?}");
    let mut reader = bed.reader(&topic, 1, 0);
    assert_eq!(read(&mut reader, 1).await[0].offset, 0);
    for outside in [0, marks.low - 1, marks.high + 1, marks.high + 1000, -1] {
        reader.assign(&topic, 0, outside).unwrap();
        let found = loop {
            let items = next(&mut reader, 10).await;
            if let Some(item) = items
                .into_iter()
                .find(|item| !matches!(item, Fetched::End { .. }))
            {
                break item;
            }
        };
        let Fetched::OutOfRange {
            partition: 0,
            asked,
            ..
        } = found
        else {
            panic!("{found:?}")
        };
        assert_eq!(asked, outside);
    }
    // It is unassigned then, and the reader is none the worse.
    bed.put(&topic, 1, "k", "still").await;
    assert_eq!(text(&read(&mut reader, 1).await[0].value), "still");
    reader.assign(&topic, 0, marks.low).unwrap();
    assert_eq!(read(&mut reader, 1).await[0].offset, marks.low);
}

pub async fn the_end_is_announced_after_every_burst(bed: &Bed) {
    let topic = bed.topic(1).await;
    let mut reader = bed.reader(&topic, 0, 0);
    for burst in 0..3 {
        let (records, end) = read_to_end(&mut reader, burst * 10).await;
        assert_eq!(records.len(), if burst == 0 { 0 } else { 10 });
        assert_eq!(end, burst * 10);
        let deliveries: Vec<_> = (0..10)
            .map(|n| bed.send(&topic, 0, "k", &n.to_string()).unwrap())
            .collect();
        for delivery in deliveries {
            delivery.await.unwrap();
        }
    }
    // Assigned at the end: announced although nothing was ever read.
    let (records, end) = read_to_end(&mut bed.reader(&topic, 0, 30), 30).await;
    assert_eq!((records.len(), end), (0, 30));
}

pub async fn assigning_a_partition_does_not_pause_another(bed: &Bed) {
    let topic = bed.topic(8).await;
    let (log, name) = (bed.log.clone(), topic.clone());
    let mut reader = bed.reader(&topic, 0, 0);
    let writer = tokio::spawn(async move {
        for n in 0..300 {
            log.append(record(&name, 0, "k", &n.to_string()))
                .unwrap()
                .await
                .unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let (mut expected, mut longest, mut last) = (0, Duration::ZERO, Instant::now());
    let mut churn = 1;
    while expected < 300 {
        for item in next(&mut reader, 100).await {
            if let Fetched::Record(record) = item {
                assert_eq!((record.partition, record.offset), (0, expected));
                expected += 1;
                longest = longest.max(last.elapsed());
                last = Instant::now();
            }
        }
        // Something comes and goes all the time, now beyond the end, too.
        reader.unassign(&topic, churn);
        churn = churn % 7 + 1;
        reader
            .assign(&topic, churn, if churn == 3 { 99 } else { 0 })
            .unwrap();
    }
    writer.await.unwrap();
    assert!(
        longest < Duration::from_secs(1),
        "partition 0 stood still for {longest:?}"
    );
}

pub async fn moving_a_reader_hands_out_nothing_of_the_old_place(bed: &Bed) {
    let topic = bed.topic(2).await;
    let deliveries: Vec<_> = (0..2000)
        .map(|n| bed.send(&topic, n % 2, "k", &"x".repeat(100)).unwrap())
        .collect();
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    let mut reader = bed.reader(&topic, 0, 0);
    for round in 0..20 {
        // Read a little, so that more is fetched ahead, then jump.
        let start = round * 40;
        reader.assign(&topic, 0, start).unwrap();
        let records = read(&mut reader, 5).await;
        assert_eq!(
            records.iter().map(|r| r.offset).collect::<Vec<_>>(),
            (start..start + 5).collect::<Vec<_>>()
        );
    }
    reader.unassign(&topic, 0);
    reader.assign(&topic, 1, 990).unwrap();
    let records = read(&mut reader, 10).await;
    assert!(records.iter().all(|r| r.partition == 1));
    // Leaving an out-of-range place before its answer was read must not condemn the new place.
    reader.assign(&topic, 0, 5000).unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    reader.assign(&topic, 0, 0).unwrap();
    let first = read(&mut reader, 1).await;
    assert_eq!((first[0].partition, first[0].offset), (0, 0));
}

pub async fn a_cancelled_next_loses_nothing(bed: &Bed) {
    let topic = bed.topic(1).await;
    let (log, name) = (bed.log.clone(), topic.clone());
    let writer = tokio::spawn(async move {
        for n in 0..400 {
            let delivery = log.append(record(&name, 0, "k", &"x".repeat(500))).unwrap();
            if n % 10 == 0 {
                delivery.await.unwrap();
            }
        }
    });
    let mut reader = bed.reader(&topic, 0, 0);
    let (mut offsets, deadline) = (Vec::new(), Instant::now() + DEADLINE);
    while offsets.len() < 400 {
        assert!(Instant::now() < deadline, "only {} records", offsets.len());
        let wait = Duration::from_micros(offsets.len() as u64 % 700);
        if let Ok(items) = tokio::time::timeout(wait, reader.next(3)).await {
            for item in items.unwrap() {
                if let Fetched::Record(record) = item {
                    offsets.push(record.offset);
                }
            }
        }
    }
    assert_eq!(offsets, (0..400).collect::<Vec<_>>());
    writer.await.unwrap();
}

pub async fn next_returns_batches_up_to_its_limit(bed: &Bed) {
    let topic = bed.topic(1).await;
    let deliveries: Vec<_> = (0..5000)
        .map(|_| bed.send(&topic, 0, "k", "v").unwrap())
        .collect();
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    let mut reader = bed.reader(&topic, 0, 0);
    let (mut calls, mut records) = (0, 0);
    while records < 5000 {
        let items = next(&mut reader, 700).await;
        assert!(!items.is_empty() && items.len() <= 700, "{}", items.len());
        records += items
            .iter()
            .filter(|item| matches!(item, Fetched::Record(_)))
            .count();
        calls += 1;
    }
    assert!(calls < 100, "{calls} calls for 5000 records");
    let mut one_by_one = bed.reader(&topic, 0, 0);
    for offset in 0..10 {
        let items = next(&mut one_by_one, 0).await;
        let [Fetched::Record(record)] = &items[..] else {
            panic!("{items:?}")
        };
        assert_eq!(record.offset, offset);
    }
}

pub async fn a_full_queue_is_said_at_once_and_keeps_order(bed: &Bed) {
    let bed = bed.with_queue(50).await;
    let topic = bed.topic(1).await;
    let (mut deliveries, mut full) = (Vec::new(), 0);
    for n in 0..20_000 {
        let asked = Instant::now();
        match bed.send(&topic, 0, "k", &n.to_string()) {
            Ok(delivery) => deliveries.push((n, delivery)),
            Err(AppendError::Full) => {
                full += 1;
                assert!(
                    asked.elapsed() < Duration::from_millis(200),
                    "Full took {:?}",
                    asked.elapsed()
                );
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(
        full > 0 && deliveries.len() >= 50,
        "{full} full, {} taken",
        deliveries.len()
    );
    let mut taken = Vec::new();
    for (n, delivery) in deliveries {
        delivery.await.unwrap();
        taken.push(n.to_string());
    }
    let records = read(&mut bed.reader(&topic, 0, 0), taken.len()).await;
    assert_eq!(
        records
            .iter()
            .map(|r| text(&r.value).to_owned())
            .collect::<Vec<_>>(),
        taken
    );
    // And it takes records again.
    bed.put(&topic, 0, "k", "after").await;
    bed.clean().await;
}

pub async fn a_record_too_large_is_refused_and_harms_nobody(bed: &Bed) {
    let topic = bed.topic(1).await;
    let large = "x".repeat(2 << 20);
    let answer = match bed.send(&topic, 0, "k", &large) {
        Ok(delivery) => delivery.await,
        Err(error) => Err(error),
    };
    assert_eq!(answer, Err(AppendError::TooLarge));
    assert_eq!(bed.put(&topic, 0, "k", "small").await.offset, 0);
}

pub async fn an_unknown_topic_is_called_unknown(bed: &Bed) {
    let topic = bed.topic(1).await;
    let missing = bed.spec(1).name;
    let unknown = |result| matches!(result, Err(BrokerError::Unknown { .. }));
    assert!(unknown(bed.log.watermarks(&missing, 0).await.map(|_| ())));
    assert!(unknown(bed.log.describe(&missing).await.map(|_| ())));
    assert!(unknown(bed.log.offset_at(&missing, 0, 0).await.map(|_| ())));
    assert!(unknown(bed.log.watermarks(&topic, 7).await.map(|_| ())));
    for (topic, partition) in [(&missing, 0), (&topic, 7), (&topic, -1)] {
        let answer = match bed.send(topic, partition, "k", "v") {
            Ok(delivery) => delivery.await,
            Err(error) => Err(error),
        };
        assert!(
            matches!(answer, Err(AppendError::Refused { .. })),
            "{topic}/{partition}: {answer:?}"
        );
    }
    let mut reader = bed.reader(&missing, 0, 0);
    let items = next(&mut reader, 1).await;
    let [
        Fetched::Failed {
            error: BrokerError::Unknown { .. },
            ..
        },
    ] = &items[..]
    else {
        panic!("{items:?}")
    };
}

pub async fn topics_are_checked_and_differences_named(bed: &Bed) {
    let mut spec = bed.spec(2);
    spec.retention_ms = Some(86_400_000);
    let missing = bed
        .log
        .ensure_topics(std::slice::from_ref(&spec), false)
        .await;
    assert!(
        matches!(missing, Err(BrokerError::Unknown { .. })),
        "{missing:?}"
    );
    // Two nodes that start together.
    let (one, two) = tokio::join!(
        bed.log.ensure_topics(std::slice::from_ref(&spec), true),
        bed.log.ensure_topics(std::slice::from_ref(&spec), true)
    );
    assert_eq!((one, two), (Ok(()), Ok(())));
    assert_eq!(
        bed.log
            .ensure_topics(std::slice::from_ref(&spec), false)
            .await,
        Ok(())
    );
    let other = broker::TopicSpec {
        partitions: 3,
        retention_ms: Some(90_000_000),
        ..spec.clone()
    };
    let Err(BrokerError::Differs { topic, differences }) =
        bed.log.ensure_topics(&[other], false).await
    else {
        panic!("a different topic was accepted")
    };
    assert_eq!(topic, spec.name);
    assert_eq!(differences.len(), 2, "{differences:?}");
    let compact = broker::TopicSpec {
        compact: true,
        ..spec.clone()
    };
    assert!(matches!(
        bed.log.ensure_topics(&[compact], true).await,
        Err(BrokerError::Differs { .. })
    ));
    assert_eq!(bed.log.describe(&spec.name).await.unwrap().partitions, 2);
}

pub async fn a_topic_keeps_its_identity(bed: &Bed) {
    let (one, two) = (bed.topic(1).await, bed.topic(5).await);
    let facts = bed.log.describe(&one).await.unwrap();
    assert!(facts.id.len() >= 16, "{facts:?}");
    assert_eq!(bed.log.describe(&one).await.unwrap(), facts);
    let other = bed.log.describe(&two).await.unwrap();
    assert_eq!((facts.partitions, other.partitions), (1, 5));
    assert_ne!(facts.id, other.id);
}

pub async fn nodes_that_start_together_agree_on_the_pins(bed: &Bed) {
    let (state, events) = (bed.topic(2).await, bed.topic(3).await);
    bed.put(&state, 0, "presence/somebody", "not a pin").await;
    let tasks: Vec<_> = (0..5)
        .map(|_| {
            let (log, state, events) = (bed.log.clone(), state.clone(), events.clone());
            tokio::spawn(async move { pin(&log, &state, &[&events, &state]).await.unwrap() })
        })
        .collect();
    let mut pins = Vec::new();
    for task in tasks {
        pins.push(tokio::time::timeout(DEADLINE, task).await.unwrap().unwrap());
    }
    assert!(pins.iter().all(|p| *p == pins[0]));
    assert_eq!(pins[0].topics[&events].partitions, 3);
    assert_eq!(pins[0].topics[&events].generation, 0);
    assert_ne!(pins[0].cursor_key, [0; 16]);
    bed.put(&state, 0, "presence/somebody", "later").await;
    assert_eq!(pin(&bed.log, &state, &[&events]).await.unwrap(), pins[0]);
}

pub async fn a_topic_that_was_not_pinned_is_refused(bed: &Bed) {
    let (state, events, other) = (bed.topic(1).await, bed.topic(1).await, bed.topic(1).await);
    pin(&bed.log, &state, &[&events]).await.unwrap();
    let refused = pin(&bed.log, &state, &[&events, &other]).await;
    let Err(PinError::Changed { topic, .. }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(topic, other);
}

pub async fn a_closed_log_takes_nothing_more(bed: &Bed) {
    let topic = bed.topic(1).await;
    let deliveries: Vec<_> = (0..100)
        .map(|_| bed.send(&topic, 0, "k", "v").unwrap())
        .collect();
    assert_eq!(bed.log.close(DEADLINE).await, Ok(()));
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    assert_eq!(
        bed.send(&topic, 0, "k", "v").map(|_| ()),
        Err(AppendError::Closed)
    );
    assert_eq!(bed.log.close(DEADLINE).await, Ok(()));
}

pub async fn two_readers_do_not_disturb_each_other(bed: &Bed) {
    let topic = bed.topic(1).await;
    let mut readers: Vec<_> = (0..3).map(|_| bed.reader(&topic, 0, 0)).collect();
    let gone = bed.reader(&topic, 0, 0);
    for n in 0..50 {
        bed.put(&topic, 0, "k", &n.to_string()).await;
    }
    drop(gone);
    for reader in &mut readers {
        let (records, end) = read_to_end(reader, 50).await;
        assert_eq!((records.len(), end), (50, 50));
    }
}
