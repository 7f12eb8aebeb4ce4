//! What brokers answer with, one code at a time, on librdkafka's own broker double: a real broker cannot be made
//! to say these things at will. The producer is the product's own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use broker::{AppendError, Appended, KafkaConfig, Log};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::RDKafkaApiKey::{InitProducerId, Metadata, Produce};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr as Code};

use crate::bed::{DEADLINE, read_to_end, record, text};

type Mock = MockCluster<'static, DefaultProducerContext>;

fn mock(brokers: i32, partitions: i32) -> Mock {
    let mock = MockCluster::new(brokers).unwrap();
    mock.create_topic("t", partitions, brokers).unwrap();
    mock
}

async fn log(mock: &Mock, delivery: Duration) -> Log {
    let mut config = KafkaConfig::new(mock.bootstrap_servers());
    config.delivery_timeout = delivery;
    Log::kafka(config).await.unwrap()
}

async fn append(log: &Log, value: &str) -> Result<Appended, AppendError> {
    log.append(record("t", 0, "k", value))?.await
}

/// Appends until the log takes a record; how long that took.
async fn until_appended(log: &Log) -> Duration {
    let started = Instant::now();
    let appended = async {
        loop {
            match append(log, "after").await {
                Ok(_) => return,
                // Refused: a right that comes back is noticed with the next metadata.
                Err(
                    AppendError::Fatal
                    | AppendError::Unknown
                    | AppendError::Full
                    | AppendError::Refused { .. },
                ) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(other) => panic!("{other}"),
            }
        }
    };
    tokio::time::timeout(DEADLINE, appended)
        .await
        .expect("the log never took a record again");
    started.elapsed()
}

fn refused(code: &str) -> Result<(), AppendError> {
    Err(AppendError::Refused { code: code.into() })
}

/// What the first append is told when the brokers answer with a code once, for every code of interest.
fn expected() -> Vec<(RDKafkaApiKey, Code, Result<(), AppendError>)> {
    use Code::*;
    let passing = [
        RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
        RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
        RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
        RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
        RD_KAFKA_RESP_ERR__TRANSPORT,
        // Said of the producer, not of the record: it takes a new epoch and goes on.
        RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID,
    ];
    let mut expected: Vec<_> = passing.map(|code| (Produce, code, Ok(()))).into();
    expected.extend([
        (
            Produce,
            RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
            Err(AppendError::Fatal),
        ),
        (
            Produce,
            RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH,
            Err(AppendError::Fatal),
        ),
        (
            Produce,
            RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
            Err(AppendError::TooLarge),
        ),
        (
            Produce,
            RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE,
            Err(AppendError::TooLarge),
        ),
        (
            Produce,
            RD_KAFKA_RESP_ERR_INVALID_RECORD,
            refused("INVALID_RECORD"),
        ),
        (
            Produce,
            RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP,
            refused("INVALID_TIMESTAMP"),
        ),
        (
            Produce,
            RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
            refused("TOPIC_AUTHORIZATION_FAILED"),
        ),
        (
            Produce,
            RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED,
            refused("CLUSTER_AUTHORIZATION_FAILED"),
        ),
        (
            Produce,
            RD_KAFKA_RESP_ERR_POLICY_VIOLATION,
            refused("POLICY_VIOLATION"),
        ),
        (
            Produce,
            RD_KAFKA_RESP_ERR_THROTTLING_QUOTA_EXCEEDED,
            Err(AppendError::Full),
        ),
        (
            InitProducerId,
            RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
            Ok(()),
        ),
        (
            InitProducerId,
            RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
            Ok(()),
        ),
        (InitProducerId, RD_KAFKA_RESP_ERR__TRANSPORT, Ok(())),
        (
            InitProducerId,
            RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED,
            Err(AppendError::Fatal),
        ),
        (Metadata, RD_KAFKA_RESP_ERR__TRANSPORT, Ok(())),
    ]);
    expected
}

#[tokio::test(flavor = "multi_thread")]
async fn f27_every_code_of_a_broker_has_its_meaning_and_what_passes_is_not_seen() {
    let mut differing = Vec::new();
    for (api, code, expected) in expected() {
        let mock = mock(1, 1);
        mock.request_errors(api, &[code]);
        let log = log(&mock, Duration::from_secs(10)).await;
        let started = Instant::now();
        let told = append(&log, "v").await.map(|_| ());
        let took = started.elapsed();
        if told != expected {
            differing.push(format!("{api:?} {code:?}: {told:?}, not {expected:?}"));
        }
        let back = until_appended(&log).await;
        println!("{api:?} {code:?}: {told:?} after {took:?}, taken again after {back:?}");
    }
    assert!(differing.is_empty(), "{differing:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f21_leaders_that_move_all_the_time_cost_latency_and_nothing_else() {
    const MOVES: i32 = 60;
    const PARTITIONS: i32 = 4;
    let mock = mock(3, PARTITIONS);
    let log = log(&mock, Duration::from_millis(4500)).await;
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let writers: Vec<_> = (0..PARTITIONS)
        .map(|partition| {
            let (log, stop) = (log.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let (mut count, mut slowest) = (0, Duration::ZERO);
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let started = Instant::now();
                    // A few at a time, so that some are always on their way.
                    let pending: Vec<_> = (count..count + 5)
                        .map(|n| log.append(record("t", partition, "k", &n.to_string())))
                        .collect();
                    for delivery in pending {
                        delivery.unwrap().await.unwrap();
                    }
                    count += 5;
                    slowest = slowest.max(started.elapsed());
                }
                (count, slowest)
            })
        })
        .collect();
    let mut pause = tokio::time::interval(Duration::from_millis(200));
    for turn in 0..MOVES {
        pause.tick().await;
        mock.partition_leader(
            "t",
            turn % PARTITIONS,
            Some(1 + (turn / PARTITIONS + turn) % 3),
        )
        .unwrap();
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for (partition, writer) in (0..).zip(writers) {
        let (count, slowest) = writer.await.unwrap();
        println!("partition {partition}: {count} appended, the slowest five in {slowest:?}");
        let mut reader = log.reader().unwrap();
        reader.assign("t", partition, 0).unwrap();
        let high = log.watermarks("t", partition).await.unwrap().high;
        let (records, _) = read_to_end(&mut reader, high).await;
        let values: Vec<&str> = records.iter().map(|record| text(&record.value)).collect();
        let expected: Vec<String> = (0..count).map(|n| n.to_string()).collect();
        assert_eq!(values, expected, "partition {partition}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f25_an_acknowledgement_that_comes_too_late_leaves_the_outcome_unknown_and_the_record_stored()
 {
    let mock = mock(1, 1);
    let log = log(&mock, Duration::from_secs(2)).await;
    append(&log, "before").await.unwrap();
    mock.broker_round_trip_time(-1, Duration::from_secs(4))
        .unwrap();
    assert_eq!(append(&log, "late").await, Err(AppendError::Unknown));
    mock.broker_round_trip_time(-1, Duration::ZERO).unwrap();
    until_appended(&log).await;
    let mut reader = log.reader().unwrap();
    reader.assign("t", 0, 0).unwrap();
    let high = log.watermarks("t", 0).await.unwrap().high;
    let (records, _) = read_to_end(&mut reader, high).await;
    let late = records.iter().filter(|r| text(&r.value) == "late").count();
    assert_eq!(late, 1, "it is stored all the same");
}

/// All that is in a producer when it breaks is answered for at once, not when its time runs out.
#[tokio::test(flavor = "multi_thread")]
async fn f28_a_fatal_producer_is_replaced_and_the_log_goes_on() {
    let mock = mock(1, 2);
    let log = log(&mock, Duration::from_secs(30)).await;
    append(&log, "before").await.unwrap();
    // Out of sequence at the head of the line: librdkafka takes it for its own fault and gives up.
    let desynchronised = Code::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    mock.request_errors(Produce, &[desynchronised]);
    let started = Instant::now();
    let broken: Vec<_> = (0..200)
        .map(|n| log.append(record("t", n % 2, "k", "broken")))
        .collect();
    let mut fatal = 0;
    for delivery in broken {
        let answer = match delivery {
            Ok(delivery) => delivery.await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(_) => {}
            Err(AppendError::Fatal) => fatal += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(fatal > 0);
    until_appended(&log).await;
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
}

/// A producer that every broker turns away at once must not become a storm of producers.
#[tokio::test(flavor = "multi_thread")]
async fn f28_producers_that_break_one_after_the_other_are_made_with_pauses() {
    let mock = mock(1, 1);
    let denied = Code::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
    mock.request_errors(InitProducerId, &[denied; 5]);
    let log = log(&mock, Duration::from_secs(10)).await;
    let took = until_appended(&log).await;
    // 0, 250, 500, 1000 and 2000 ms before the producers that are turned away, or replaced, in turn.
    assert!(took > Duration::from_secs(3), "{took:?}");
}

/// Here a partition's leader answers questions and takes no records: to us that is a producer that has lost it.
#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_gets_nothing_through_to_a_leader_that_answers_is_replaced_soon() {
    // Where nobody knows that the leader answers, the first record fails after 2 s and the producer is kept for 15 s more.
    const SOON: Duration = Duration::from_secs(16);
    let mock = mock(1, 1);
    let log = log(&mock, Duration::from_secs(2)).await;
    append(&log, "before").await.unwrap();
    let refusals = [Code::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS; 10_000];
    mock.request_errors(Produce, &refusals);
    let started = Instant::now();
    let fatal = async {
        // Records follow each other, so that some are on their way whenever the producer is replaced: those are lost with it.
        let mut pause = tokio::time::interval(Duration::from_millis(100));
        let mut flying = FuturesUnordered::new();
        loop {
            tokio::select! {
                _ = pause.tick() => flying.push(log.append(record("t", 0, "k", "1")).unwrap()),
                Some(told) = flying.next() => match told {
                    Err(AppendError::Fatal) => return,
                    told => assert_eq!(told, Err(AppendError::Unknown)),
                },
            }
        }
    };
    tokio::time::timeout(SOON, fatal)
        .await
        .expect("the producer is not replaced");
    println!("replaced after {:?}", started.elapsed());
    mock.clear_request_errors(Produce);
    until_appended(&log).await;
}
