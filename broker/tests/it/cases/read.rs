//! Reading: any place, every end, no pauses, nothing twice.

use std::time::{Duration, Instant};

use broker::Fetched;

use crate::bed::{Bed, DEADLINE, Kind, next, read, read_to_end, record, text};

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
    let marks = bed.marks(&topic, 0).await;
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
    // A reader that is left alone: while it has not got a record either, nobody was paused. Not on an embedded log,
    // where readers share what could stand still.
    let (seen, mut seen_alone) = tokio::sync::mpsc::channel(300);
    let control = matches!(bed.kind, Kind::Kafka(_)).then(|| {
        let mut alone = bed.reader(&topic, 0, 0);
        tokio::spawn(async move {
            for _ in 0..300 {
                read(&mut alone, 1).await;
                seen.try_send(Instant::now()).unwrap();
            }
        })
    });
    let (told, mut acknowledged) = tokio::sync::mpsc::channel(300);
    let writer = tokio::spawn(async move {
        for n in 0..300 {
            log.append(record(&name, 0, "k", &n.to_string()))
                .unwrap()
                .await
                .unwrap();
            told.try_send(Instant::now()).unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let (mut expected, mut longest) = (0, Duration::ZERO);
    let mut churn = 1;
    while expected < 300 {
        for item in next(&mut reader, 100).await {
            if let Fetched::Record(record) = item {
                assert_eq!((record.partition, record.offset), (0, expected));
                expected += 1;
                let read = Instant::now();
                let mut there: Instant = acknowledged.recv().await.unwrap();
                if control.is_some() {
                    there = there.max(seen_alone.recv().await.unwrap());
                }
                longest = longest.max(read.saturating_duration_since(there));
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
    if let Some(control) = control {
        control.await.unwrap();
    }
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
    // A second reader hears it: the first one's answer, asked for before, waits to be read.
    let mut witness = bed.reader(&topic, 0, 5000);
    while !next(&mut witness, 10)
        .await
        .iter()
        .any(|item| matches!(item, Fetched::OutOfRange { .. }))
    {}
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
