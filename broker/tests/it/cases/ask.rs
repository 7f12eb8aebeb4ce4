//! Asking: watermarks, offsets by time, topics.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use broker::{AppendError, BrokerError, Fetched, Watermarks};

use crate::bed::{Bed, DEADLINE, Kind, answer, next, record};

pub async fn watermarks_follow_the_appends(bed: &Bed) {
    let topic = bed.topic(2).await;
    assert_eq!(bed.marks(&topic, 0).await, Watermarks { low: 0, high: 0 });
    for n in 0..3 {
        bed.put(&topic, 0, "k", &n.to_string()).await;
        assert_eq!(
            bed.marks(&topic, 0).await,
            Watermarks {
                low: 0,
                high: n + 1
            }
        );
    }
    assert_eq!(bed.marks(&topic, 1).await, Watermarks { low: 0, high: 0 });
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
                let marks = answer(|| log.watermarks(&topic, 0)).await.unwrap();
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
    let found = async |time_ms| answer(|| bed.log.offset_at(&topic, 0, time_ms)).await;
    let before_ms = now_ms();
    assert_eq!(found(before_ms).await, Ok(0), "an empty partition");
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
        assert_eq!(found(*time_ms).await, Ok(offset as i64));
        assert_eq!(found(*time_ms + 1).await, Ok(offset as i64 + 1));
    }
    assert_eq!(found(0).await, Ok(0));
    assert_eq!(found(now_ms() + 3_600_000).await, Ok(4));
}

pub async fn an_unknown_topic_is_called_unknown(bed: &Bed) {
    let topic = bed.topic(1).await;
    let missing = bed.spec(1).name;
    let unknown = |result| matches!(result, Err(BrokerError::Unknown { .. }));
    let marks = async |topic: &str, partition| {
        let marks = answer(|| bed.log.watermarks(topic, partition)).await;
        marks.map(|_| ())
    };
    assert!(unknown(marks(&missing, 0).await));
    let facts = answer(|| bed.log.describe(&missing)).await;
    assert!(unknown(facts.map(|_| ())));
    let offset = answer(|| bed.log.offset_at(&missing, 0, 0)).await;
    assert!(unknown(offset.map(|_| ())));
    assert!(unknown(marks(&topic, 7).await));
    for (topic, partition) in [(&missing, 0), (&topic, 7), (&topic, -1)] {
        let told = async {
            loop {
                let told = match bed.send(topic, partition, "k", "v") {
                    Ok(delivery) => delivery.await,
                    Err(error) => Err(error),
                };
                // Nothing was heard of the topic before the record's time was over. An embedded log knows at once.
                let is_asked = matches!(bed.kind, Kind::Kafka(_));
                if !is_asked || told != Err(AppendError::Unknown) {
                    return told;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let told = tokio::time::timeout(DEADLINE, told).await.unwrap();
        assert!(
            matches!(told, Err(AppendError::Refused { .. })),
            "{topic}/{partition}: {told:?}"
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
    let ensure = async |spec: &broker::TopicSpec, create| {
        answer(|| bed.log.ensure_topics(std::slice::from_ref(spec), create)).await
    };
    let missing = ensure(&spec, false).await;
    assert!(
        matches!(missing, Err(BrokerError::Unknown { .. })),
        "{missing:?}"
    );
    // Two nodes that start together. Nobody asks again: neither may see the other's work as a failure.
    let specs = std::slice::from_ref(&spec);
    let (one, two) = tokio::join!(
        bed.log.ensure_topics(specs, true),
        bed.log.ensure_topics(specs, true)
    );
    assert_eq!((one, two), (Ok(()), Ok(())));
    assert_eq!(ensure(&spec, false).await, Ok(()));
    let other = broker::TopicSpec {
        partitions: 3,
        retention_ms: Some(90_000_000),
        ..spec.clone()
    };
    let Err(BrokerError::Differs { topic, flaws }) = ensure(&other, false).await else {
        panic!("a different topic was accepted")
    };
    assert_eq!(topic, spec.name);
    assert_eq!(flaws.len(), 2, "{flaws:?}");
    let compact = broker::TopicSpec {
        compact: true,
        ..spec.clone()
    };
    assert!(matches!(
        ensure(&compact, true).await,
        Err(BrokerError::Differs { .. })
    ));
    let facts = answer(|| bed.log.describe(&spec.name)).await.unwrap();
    assert_eq!(facts.partitions, 2);
}

pub async fn a_topic_keeps_its_identity(bed: &Bed) {
    let (one, two) = (bed.topic(1).await, bed.topic(5).await);
    let describe = async |topic: &str| answer(|| bed.log.describe(topic)).await.unwrap();
    let facts = describe(&one).await;
    assert!(facts.id.len() >= 16, "{facts:?}");
    assert_eq!(describe(&one).await, facts);
    let other = describe(&two).await;
    assert_eq!((facts.partitions, other.partitions), (1, 5));
    assert_ne!(facts.id, other.id);
}

pub async fn a_topic_says_when_its_oldest_records_may_go(bed: &Bed) {
    let spec = broker::TopicSpec {
        retention_ms: Some(90_000_000),
        ..bed.spec(1)
    };
    let compact = broker::TopicSpec {
        compact: true,
        ..bed.spec(1)
    };
    let specs = [spec, compact];
    let made = answer(|| bed.log.ensure_topics(&specs, true));
    made.await.unwrap();
    let retention = async |topic: &str| answer(|| bed.log.retention(topic)).await.unwrap();
    let said = retention(&specs[0].name).await;
    assert_eq!((said.ms, said.bytes), (Some(90_000_000), None));
    let said = retention(&specs[1].name).await;
    assert_eq!((said.ms, said.bytes), (None, None));
}
