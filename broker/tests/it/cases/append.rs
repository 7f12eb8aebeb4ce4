//! Appending: order, bounds, refusals.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use broker::{Append, AppendError};
use bytes::Bytes;

use crate::bed::{Bed, DEADLINE, read, record, text};

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

pub async fn a_full_queue_is_said_at_once_and_keeps_order(bed: &Bed) {
    let bed = bed.with_queue(50).await;
    let topic = bed.topic(1).await;
    let (mut deliveries, mut full) = (Vec::new(), Vec::new());
    for n in 0..20_000 {
        let asked = Instant::now();
        match bed.send(&topic, 0, "k", &n.to_string()) {
            Ok(delivery) => deliveries.push((n, delivery)),
            Err(AppendError::Full) => {
                full.push(asked.elapsed());
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(
        !full.is_empty() && deliveries.len() >= 50,
        "{} full, {} taken",
        full.len(),
        deliveries.len()
    );
    // The machine may stand still in a few of them; a queue that waited would wait in many.
    let slow = |took: &&Duration| **took >= Duration::from_millis(200);
    let slow = full.iter().filter(slow).count();
    assert!(slow <= 5, "{slow} of {} Fulls were slow", full.len());
    full.sort_unstable();
    let took = full[full.len() / 2];
    assert!(took < Duration::from_millis(20), "Full took {took:?}");
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
