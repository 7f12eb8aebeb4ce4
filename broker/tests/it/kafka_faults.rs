//! Brokers that die, stop and come back; each case has a cluster of its own.

use std::time::{Duration, Instant};

use broker::{AppendError, BrokerError, Delivery, Fetched, KafkaConfig};

use crate::bed::{Bed, DEADLINE, answer, read_to_end, record, text};
use crate::cluster::Cluster;

async fn bed(cluster: &Cluster) -> Bed {
    let mut config = KafkaConfig::new(&cluster.bootstrap);
    config.delivery_timeout = Duration::from_secs(3);
    config.request_timeout = Duration::from_secs(3);
    Bed::kafka_with(config).await
}

/// Appends until the log takes records again.
async fn until_appended(bed: &Bed, topic: &str, value: &str) {
    let appended = async {
        loop {
            match bed.send(topic, 0, "k", value) {
                Ok(delivery) => match delivery.await {
                    Ok(_) => return,
                    Err(AppendError::Unknown) => {}
                    Err(other) => panic!("{other}"),
                },
                Err(AppendError::Full) => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(other) => panic!("{other}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), appended)
        .await
        .expect("the log never took a record again");
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_the_only_broker_loses_nothing_acknowledged() {
    let cluster = Cluster::start(1).await;
    let bed = bed(&cluster).await;
    let topic = bed.topic(1).await;
    let mut reader = bed.reader(&topic, 0, 0);
    let mut acknowledged = Vec::new();
    for n in 0..200 {
        acknowledged.push((
            bed.put(&topic, 0, "k", &n.to_string()).await.offset,
            n.to_string(),
        ));
    }
    cluster.kill(1).await;
    let started = Instant::now();
    let lost = bed.send(&topic, 0, "k", "into the void").unwrap().await;
    assert_eq!(lost, Err(AppendError::Unknown));
    assert!(
        started.elapsed() < Duration::from_secs(6),
        "the answer took {:?}",
        started.elapsed()
    );
    let marks = bed.log.watermarks(&topic, 0).await;
    assert!(
        marks.as_ref().is_err_and(BrokerError::retryable),
        "{marks:?}"
    );
    cluster.restart(1).await;
    until_appended(&bed, &topic, "back").await;
    // The same reader goes on by itself, and what was acknowledged is where it was said to be.
    let high = wait_high(&bed, &topic, 0).await;
    let (records, _) = read_to_end(&mut reader, high).await;
    for (offset, value) in &acknowledged {
        let found = records
            .iter()
            .filter(|r| r.offset == *offset)
            .collect::<Vec<_>>();
        assert_eq!(found.len(), 1, "offset {offset}");
        assert_eq!(text(&found[0].value), value);
    }
    assert!(
        records
            .windows(2)
            .all(|pair| pair[0].offset < pair[1].offset),
        "handed out twice or out of order"
    );
    assert_eq!(text(&records.last().unwrap().value), "back");
}

/// A broker that hangs: the record may be stored later, so the answer must not be "failed".
#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_broker_makes_outcomes_unknown_and_the_queue_full() {
    let cluster = Cluster::start(1).await;
    let mut config = KafkaConfig::new(&cluster.bootstrap);
    config.delivery_timeout = Duration::from_secs(3);
    config.queue_records_max = 20;
    let bed = Bed::kafka_with(config).await;
    let topic = bed.topic(1).await;
    bed.put(&topic, 0, "k", "before").await;
    cluster.pause(1).await;
    let mut pending: Vec<Delivery> = Vec::new();
    let full = loop {
        match bed.send(&topic, 0, "k", "?") {
            Ok(delivery) => pending.push(delivery),
            Err(error) => break error,
        }
    };
    assert_eq!(full, AppendError::Full);
    // It was said while the log had not answered for the first of them: nobody waited for that.
    let first = tokio::time::timeout(Duration::ZERO, &mut pending[0]).await;
    assert!(first.is_err(), "{first:?}");
    let started = Instant::now();
    for delivery in pending {
        assert_eq!(delivery.await, Err(AppendError::Unknown));
    }
    assert!(
        started.elapsed() < Duration::from_secs(7),
        "the answers took {:?}",
        started.elapsed()
    );
    cluster.resume(1).await;
    until_appended(&bed, &topic, "after").await;
    let high = wait_high(&bed, &topic, 0).await;
    let (records, _) = read_to_end(&mut bed.reader(&topic, 0, 0), high).await;
    // Nothing was stored twice by the client itself: 20 unknown ones at most.
    assert!(records.iter().filter(|r| text(&r.value) == "?").count() <= 20);
    assert_eq!(text(&records.last().unwrap().value), "after");
}

/// Long enough for every client to be given up at least once.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_hung_for_long_is_back_for_questions_appends_and_reads_alike() {
    let cluster = Cluster::start(1).await;
    let bed = Bed::kafka_with(KafkaConfig::new(&cluster.bootstrap)).await;
    let topic = bed.topic(1).await;
    let first = bed.put(&topic, 0, "k", "before").await;
    let mut reader = bed.reader(&topic, 0, 0);
    read_to_end(&mut reader, 1).await;
    cluster.pause(1).await;
    let hung = Instant::now();
    while hung.elapsed() < Duration::from_secs(25) {
        let asked = Instant::now();
        // What two seconds are on this machine at this moment; on a thread of its own, so that a question that blocks
        // the one it runs on is seen.
        let two_seconds = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_secs(2));
            asked.elapsed()
        });
        let (appended, marks, at) = tokio::join!(
            bed.send(&topic, 0, "k", "?").unwrap(),
            async {
                let marks = bed.log.watermarks(&topic, 0).await;
                (marks, asked.elapsed())
            },
            async {
                let at = bed.log.offset_at(&topic, 0, first.timestamp_ms).await;
                (at, asked.elapsed())
            },
        );
        let two_seconds = two_seconds.join().unwrap();
        assert_eq!(appended, Err(AppendError::Unknown));
        for (error, took) in [(marks.0.map(|_| 0), marks.1), at] {
            assert!(error.is_err_and(|error| error.retryable()));
            let more = took.saturating_sub(two_seconds);
            assert!(more < Duration::from_millis(500), "it took {took:?}");
        }
    }
    cluster.resume(1).await;
    let back = Instant::now();
    let all = async {
        until_appended(&bed, &topic, "after").await;
        let appended = back.elapsed();
        let high = wait_high(&bed, &topic, 0).await;
        let at = answer(|| bed.log.offset_at(&topic, 0, 0)).await;
        assert_eq!(at, Ok(0));
        let asked = back.elapsed();
        let (records, _) = read_to_end(&mut reader, high).await;
        assert_eq!(text(&records.last().unwrap().value), "after");
        (appended, asked, back.elapsed())
    };
    let took = tokio::time::timeout(Duration::from_secs(10), all).await;
    assert!(took.is_ok(), "not all is back");
}

#[tokio::test(flavor = "multi_thread")]
async fn three_brokers_survive_the_loss_of_each_in_turn() {
    let cluster = Cluster::start(3).await;
    let bed = bed(&cluster).await;
    let topic = bed.topic(3).await;
    let mut reader = bed.log.reader().unwrap();
    for partition in 0..3 {
        reader.assign(&topic, partition, 0).unwrap();
    }
    let (log, name) = (bed.log.clone(), topic.clone());
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopping = std::sync::Arc::clone(&stop);
    // One record after the other in each partition; those acknowledged, with their offsets.
    let writer = tokio::spawn(async move {
        let (mut acknowledged, mut n) = (Vec::new(), 0);
        while !stopping.load(std::sync::atomic::Ordering::Relaxed) {
            let mut round = Vec::new();
            for partition in 0..3 {
                n += 1;
                if let Ok(delivery) = log.append(record(&name, partition, "k", &n.to_string())) {
                    round.push((partition, n, delivery));
                }
            }
            for (partition, n, delivery) in round {
                if let Ok(appended) = delivery.await {
                    acknowledged.push((partition, appended.offset, n.to_string()));
                }
            }
        }
        acknowledged
    });
    for broker in 1..=3 {
        cluster.kill(broker).await;
        // Appends go on without it.
        for partition in 0..3 {
            let high = wait_high(&bed, &topic, partition).await;
            let moved = async { while wait_high(&bed, &topic, partition).await <= high {} };
            tokio::time::timeout(Duration::from_secs(60), moved)
                .await
                .expect("appends stand still");
        }
        cluster.restart(broker).await;
        in_sync(&cluster, &topic).await;
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let acknowledged = writer.await.unwrap();
    assert!(acknowledged.len() > 100, "only {}", acknowledged.len());
    let mut found = std::collections::HashMap::new();
    let mut last = [-1; 3];
    let mut ends = [0; 3];
    let mut high = [0; 3];
    for partition in 0..3 {
        high[partition as usize] = wait_high(&bed, &topic, partition).await;
    }
    while (0..3).any(|p| ends[p] < high[p]) {
        for item in tokio::time::timeout(DEADLINE, reader.next(1000))
            .await
            .expect("the reader stands still")
            .unwrap()
        {
            match item {
                Fetched::Record(record) => {
                    let partition = record.partition as usize;
                    assert!(
                        record.offset > last[partition],
                        "handed out twice or out of order"
                    );
                    last[partition] = record.offset;
                    found.insert(
                        (record.partition, record.offset),
                        text(&record.value).to_owned(),
                    );
                }
                Fetched::End {
                    partition, next, ..
                } => ends[partition as usize] = next,
                other => panic!("{other:?}"),
            }
        }
    }
    for (partition, offset, value) in acknowledged {
        assert_eq!(
            found.get(&(partition, offset)),
            Some(&value),
            "{partition}/{offset}"
        );
    }
}

async fn wait_high(bed: &Bed, topic: &str, partition: i32) -> i64 {
    let asked = async {
        loop {
            match bed.log.watermarks(topic, partition).await {
                Ok(marks) => return marks.high,
                Err(error) => assert!(error.retryable(), "{error}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), asked)
        .await
        .expect("no watermarks")
}

/// Waits until all replicas are in sync again, so that the next broker may die.
async fn in_sync(cluster: &Cluster, topic: &str) {
    use rdkafka::consumer::{BaseConsumer, Consumer};
    let (bootstrap, topic) = (cluster.bootstrap.clone(), topic.to_owned());
    let synced = tokio::task::spawn_blocking(move || {
        let client: BaseConsumer = rdkafka::ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .create()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            let metadata = client.fetch_metadata(Some(&topic), DEADLINE);
            let full = |m: &rdkafka::metadata::Metadata| {
                m.topics()[0]
                    .partitions()
                    .iter()
                    .all(|p| p.isr().len() == 3 && p.leader() >= 0)
            };
            if metadata.is_ok_and(|m| full(&m)) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        false
    });
    assert!(synced.await.unwrap(), "the replicas never caught up");
}
