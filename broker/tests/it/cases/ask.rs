//! Asking: watermarks, offsets by time, topics.

use std::time::{SystemTime, UNIX_EPOCH};

use broker::{AppendError, BrokerError, Fetched, Watermarks};

use crate::bed::{Bed, DEADLINE, next, record};

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
    let Err(BrokerError::Differs { topic, flaws }) = bed.log.ensure_topics(&[other], false).await
    else {
        panic!("a different topic was accepted")
    };
    assert_eq!(topic, spec.name);
    assert_eq!(flaws.len(), 2, "{flaws:?}");
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
    bed.log.ensure_topics(&specs, true).await.unwrap();
    let said = bed.log.retention(&specs[0].name).await.unwrap();
    assert_eq!((said.ms, said.bytes), (Some(90_000_000), None));
    let said = bed.log.retention(&specs[1].name).await.unwrap();
    assert_eq!((said.ms, said.bytes), (None, None));
}
