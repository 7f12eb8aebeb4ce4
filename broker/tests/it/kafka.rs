//! What only Kafka can be asked on a healthy cluster: transactions, identity, broken producers.

use std::time::Duration;

use broker::{AppendError, BrokerError, Fetched, KafkaConfig, Log};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

use crate::bed::{Bed, DEADLINE, admin, answer, next, read, read_to_end, record, text};

#[tokio::test(flavor = "multi_thread")]
async fn aborted_transactions_and_control_records_are_invisible() {
    let bed = Bed::kafka().await;
    let topic = bed.topic(1).await;
    let producer: ThreadedProducer<_> = ClientConfig::new()
        .set("bootstrap.servers", crate::bed::kafka_address())
        .set("transactional.id", &topic)
        .create_with_context(DefaultProducerContext)
        .unwrap();
    let name = topic.clone();
    let transactions = tokio::task::spawn_blocking(move || {
        producer.init_transactions(DEADLINE).unwrap();
        for (value, commit) in [
            ("aborted", false),
            ("committed", true),
            ("aborted too", false),
        ] {
            producer.begin_transaction().unwrap();
            producer
                .send(BaseRecord::to(&name).partition(0).key("k").payload(value))
                .unwrap();
            producer.flush(DEADLINE).unwrap();
            if commit {
                producer.commit_transaction(DEADLINE).unwrap();
            } else {
                producer.abort_transaction(DEADLINE).unwrap();
            }
        }
    });
    transactions.await.unwrap();
    bed.put(&topic, 0, "k", "plain").await;
    let marks = bed.marks(&topic, 0).await;
    let (records, end) = read_to_end(&mut bed.reader(&topic, 0, 0), marks.high).await;
    assert_eq!(
        records.iter().map(|r| text(&r.value)).collect::<Vec<_>>(),
        ["committed", "plain"]
    );
    // Three records with three markers, and the plain one: the end stands after all of them.
    assert_eq!((marks.high, end), (7, 7));
    bed.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_transaction_is_beyond_the_end() {
    let bed = Bed::kafka().await;
    let topic = bed.topic(1).await;
    bed.put(&topic, 0, "k", "before").await;
    let producer: ThreadedProducer<_> = ClientConfig::new()
        .set("bootstrap.servers", crate::bed::kafka_address())
        .set("transactional.id", &topic)
        .create_with_context(DefaultProducerContext)
        .unwrap();
    let name = topic.clone();
    let producer = tokio::task::spawn_blocking(move || {
        producer.init_transactions(DEADLINE).unwrap();
        producer.begin_transaction().unwrap();
        producer
            .send(BaseRecord::to(&name).partition(0).key("k").payload("open"))
            .unwrap();
        producer.flush(DEADLINE).unwrap();
        producer
    });
    let producer = producer.await.unwrap();
    assert_eq!(bed.marks(&topic, 0).await.high, 1);
    let mut reader = bed.reader(&topic, 0, 0);
    let (records, end) = read_to_end(&mut reader, 1).await;
    assert_eq!((records.len(), end), (1, 1));
    tokio::task::spawn_blocking(move || producer.commit_transaction(DEADLINE).unwrap())
        .await
        .unwrap();
    let (records, end) = read_to_end(&mut reader, 3).await;
    assert_eq!((text(&records[0].value), end), ("open", 3));
    bed.clean().await;
}

/// A reader must not go on in a topic that merely has the same name.
#[tokio::test(flavor = "multi_thread")]
async fn f33_a_topic_created_again_ends_its_readers() {
    let bed = Bed::kafka().await;
    let topic = bed.topic(1).await;
    for n in 0..3 {
        bed.put(&topic, 0, "k", &format!("old {n}")).await;
    }
    let facts = answer(|| bed.log.describe(&topic)).await.unwrap();
    let mut reader = bed.reader(&topic, 0, 0);
    read_to_end(&mut reader, 3).await;
    let admin = admin(&crate::bed::kafka_address());
    admin
        .delete_topics(&[&topic], &AdminOptions::new())
        .await
        .unwrap();
    let again = async {
        loop {
            let new = NewTopic::new(&topic, 1, TopicReplication::Fixed(1));
            if matches!(
                admin
                    .create_topics([&new], &AdminOptions::new())
                    .await
                    .unwrap()[..],
                [Ok(_)]
            ) {
                break;
            }
        }
    };
    tokio::time::timeout(DEADLINE, again).await.unwrap();
    let ended = async {
        loop {
            for item in reader.next(10).await.unwrap() {
                match item {
                    Fetched::Failed { error, .. } => return error,
                    Fetched::OutOfRange { .. } => return BrokerError::Closed,
                    Fetched::Record(record) => panic!("{record:?}"),
                    Fetched::End { .. } => {}
                }
            }
        }
    };
    // Whatever is noticed first: gone, another one, or too short.
    tokio::time::timeout(DEADLINE, ended)
        .await
        .expect("the reader never noticed");
    let now = answer(|| bed.log.describe(&topic)).await.unwrap();
    assert_ne!(now.id, facts.id);
    bed.clean().await;
}

/// What compresses well comes in fetches that are some times as large as they look.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_a_quiet_partition_does_not_wait_for_the_backlog_of_a_busy_one() {
    const BACKLOG: usize = 120_000;
    let bed = Bed::kafka().await;
    let topic = bed.topic(2).await;
    let value = || format!("{}{}", uuid::Uuid::new_v4(), "x".repeat(160));
    for _ in 0..BACKLOG / 10_000 {
        let sent: Vec<_> = (0..10_000)
            .map(|_| bed.send(&topic, 0, "k", &value()).unwrap())
            .collect();
        for delivery in sent {
            delivery.await.unwrap();
        }
    }
    let mut reader = bed.reader(&topic, 0, 0);
    reader.assign(&topic, 1, 0).unwrap();
    // By the first of them everything that fits is read ahead.
    let mut before = read(&mut reader, 1).await.len();
    bed.put(&topic, 1, "k", "quiet").await;
    while read(&mut reader, 1).await[0].partition == 0 {
        before += 1;
    }
    assert!(before < BACKLOG / 4, "{before} records came before it");
    bed.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_does_not_exist_fails_while_others_go_on() {
    let bed = Bed::kafka().await;
    let topic = bed.topic(1).await;
    let mut reader = bed.reader(&topic, 0, 0);
    reader.assign(&topic, 5, 0).unwrap();
    let failed = async {
        loop {
            for item in next(&mut reader, 10).await {
                if let Fetched::Failed {
                    partition, error, ..
                } = item
                {
                    return (partition, error);
                }
            }
        }
    };
    let (partition, error) = tokio::time::timeout(DEADLINE, failed).await.unwrap();
    assert_eq!(
        (partition, error),
        (
            5,
            BrokerError::Unknown {
                topic: topic.clone(),
                partition: 5
            }
        )
    );
    bed.put(&topic, 0, "k", "v").await;
    assert_eq!(read_to_end(&mut reader, 1).await.0.len(), 1);
    bed.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_come_in_time_when_there_is_no_broker() {
    // A port nobody listens on.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut config = KafkaConfig::new(format!("127.0.0.1:{port}"));
    config.delivery_timeout = Duration::from_millis(800);
    config.request_timeout = Duration::from_millis(800);
    let log = Log::kafka(config).await.unwrap();
    let answers = async {
        let appended = log.append(record("t", 0, "k", "v")).unwrap();
        let (appended, marks, facts, at) = tokio::join!(
            appended,
            log.watermarks("t", 0),
            log.describe("t"),
            log.offset_at("t", 0, 0)
        );
        assert_eq!(appended, Err(AppendError::Unknown));
        for error in [marks.map(|_| ()), facts.map(|_| ()), at.map(|_| ())] {
            assert!(
                error.as_ref().is_err_and(BrokerError::retryable),
                "{error:?}"
            );
        }
    };
    tokio::time::timeout(Duration::from_secs(6), answers)
        .await
        .expect("an answer came too late");
}
