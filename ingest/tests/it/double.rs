//! The gateway before librdkafka's broker double, which answers with whatever it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ingest::{IngestConfig, Published};
use protocol::client::parse_publish;
use protocol::{ErrorName, ProtocolError};
use rdkafka::mocking::MockCluster;
use rdkafka::types::RDKafkaApiKey::{InitProducerId, Produce};
use rdkafka::types::RDKafkaRespErr as Code;
use serde_json::json;
use testbed::until;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::load::pipeline;
use crate::reading::numbers;
use crate::world::{DEADLINE, Node, World, backend, identity};

/// What a publisher is told when the broker answers with a code once.
fn expected() -> Vec<(Code, Result<(), ErrorName>)> {
    use Code::*;
    let unseen = [
        RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
        RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
        RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
        RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
        RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID,
        RD_KAFKA_RESP_ERR__TRANSPORT,
        // These cost the producer; what was in it is appended again.
        RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
        RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH,
    ];
    let mut expected: Vec<_> = unseen.map(|code| (code, Ok(()))).into();
    let seen = [
        (
            RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
            ErrorName::MessageTooLarge,
        ),
        (
            RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE,
            ErrorName::MessageTooLarge,
        ),
        (RD_KAFKA_RESP_ERR_INVALID_RECORD, ErrorName::InvalidMessage),
        (
            RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
            ErrorName::Unavailable,
        ),
        (
            RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED,
            ErrorName::Unavailable,
        ),
        (RD_KAFKA_RESP_ERR_POLICY_VIOLATION, ErrorName::Unavailable),
        (
            RD_KAFKA_RESP_ERR_THROTTLING_QUOTA_EXCEEDED,
            ErrorName::Unavailable,
        ),
    ];
    expected.extend(seen.map(|(code, name)| (code, Err(name))));
    expected
}

#[tokio::test(flavor = "multi_thread")]
async fn f27_publishers_see_no_code_that_passes_and_a_name_for_every_other() {
    let mock = MockCluster::new(1).unwrap();
    let world = World::double(&mock).await;
    // One at the time when the producer asks for its identity.
    mock.request_errors(
        InitProducerId,
        &[Code::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED],
    );
    let node = world.node().await;
    publish(&node, "first").await.unwrap();
    let expected = expected();
    for (n, (code, expected)) in expected.iter().enumerate() {
        mock.request_errors(Produce, &[*code]);
        let id = format!("i{n}");
        let told = publish(&node, &id).await;
        let named = told.as_ref().map(|_| ()).map_err(|error| error.name);
        assert_eq!(named, *expected, "{code:?}: {told:?}");
        if let Err(error) = &told
            && error.name == ErrorName::Unavailable
        {
            assert!(error.retry_after_ms.is_some(), "{error:?}");
        }
        // Whatever it was, it is over; the same publish again is the same event.
        until("the log to take it", || async {
            publish(&node, &id).await.ok()
        })
        .await;
    }
    let events = world.accepted("session.1").await;
    assert_eq!(events.len(), 1 + expected.len());
}

async fn publish(node: &Node, id: &str) -> Result<Published, ProtocolError> {
    let text = json!({"channel": "session.1", "event": "draw", "id": id}).to_string();
    let publish = parse_publish(text.as_bytes()).unwrap();
    node.gateway.publish(&identity(&backend()), publish).await
}

/// The producer breaks again and again under load, and nobody outside can tell.
#[tokio::test(flavor = "multi_thread")]
async fn f28_what_was_in_a_fatal_producer_is_appended_again_in_order_and_nobody_is_told() {
    const OUTBOXES: u64 = 6;
    const ROUNDS: u64 = 40;
    let mock = MockCluster::new(1).unwrap();
    let world = World::double(&mock).await;
    let node = Arc::new(world.node().await);
    let rounds: Arc<Vec<AtomicU64>> = Arc::new((0..OUTBOXES).map(|_| AtomicU64::new(0)).collect());
    let mut publishers = JoinSet::new();
    for outbox in 0..OUTBOXES {
        let (node, rounds) = (Arc::clone(&node), Arc::clone(&rounds));
        publishers.spawn(async move {
            let who = identity(&backend());
            let (channel, producer) = (format!("session.{}", outbox % 4), format!("p{outbox}"));
            let mut slowest = Duration::ZERO;
            for round in 0..ROUNDS {
                let started = Instant::now();
                let seqs = round * 25..(round + 1) * 25;
                let told = pipeline(&node, &who, &channel, &producer, 0, seqs.clone()).await;
                let order: Vec<u64> = told.iter().map(|(seq, _)| *seq).collect();
                assert_eq!(order, seqs.collect::<Vec<_>>(), "answers in order");
                for (seq, answer) in told {
                    answer.unwrap_or_else(|error| panic!("{channel} {seq}: {error:?}"));
                }
                slowest = slowest.max(started.elapsed());
                rounds[usize::try_from(outbox).unwrap()].fetch_add(1, Ordering::Relaxed);
            }
            slowest
        });
    }
    let ended = || -> Vec<u64> {
        let rounds = rounds.iter();
        rounds.map(|ended| ended.load(Ordering::Relaxed)).collect()
    };
    let broken = [Code::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER];
    let mut breaks = 0;
    let mut slowest = Duration::ZERO;
    while !publishers.is_empty() {
        let before = replayed(&node);
        mock.request_errors(Produce, &broken);
        // The next one only when this one was gone through, or everybody is done: a record is appended again once. What
        // was in the broken producer belongs to rounds that had begun when the first of it was appended again.
        let mut begun: Option<Vec<u64>> = None;
        loop {
            let is_replaced = replayed(&node) > before;
            let ended = ended();
            if is_replaced {
                let begun = begun.get_or_insert_with(|| ended.clone());
                let mut both = ended.iter().zip(begun.iter());
                if both.all(|(ended, begun)| ended > begun || *ended == ROUNDS) {
                    break;
                }
            }
            match tokio::time::timeout(Duration::from_millis(20), publishers.join_next()).await {
                Ok(Some(done)) => slowest = slowest.max(done.unwrap()),
                Ok(None) => break,
                Err(_) => {}
            }
        }
        breaks += u32::from(replayed(&node) > before);
    }
    println!("{breaks} fatal producers; the slowest 25 publishes of an outbox took {slowest:?}");
    assert!(breaks >= 3, "{breaks}");
    mock.clear_request_errors(Produce);
    for channel in 0..4 {
        let accepted = world.accepted(&format!("session.{channel}")).await;
        assert!(numbers(&accepted).values().all(|count| *count == 1));
        for outbox in (0..OUTBOXES).filter(|outbox| outbox % 4 == channel) {
            let name = format!("p{outbox}");
            let of = accepted
                .iter()
                .filter_map(|(_, event)| event.outbox.as_ref());
            let seqs: Vec<u64> = of.filter(|o| o.producer == name).map(|o| o.seq).collect();
            assert_eq!(seqs, (0..ROUNDS * 25).collect::<Vec<_>>(), "{name}");
        }
    }
}

fn replayed(node: &Node) -> u64 {
    node.number("rivermouth_ingest_replayed_total")
}

#[tokio::test(flavor = "multi_thread")]
async fn f20_a_slow_log_is_said_at_once_and_before_memory_grows() {
    const BYTES_MAX: usize = 256 << 10;
    const PUBLISHES: usize = 20_000;
    let mock = MockCluster::new(1).unwrap();
    let world = World::double(&mock).await;
    let config = IngestConfig {
        queue_bytes_max: BYTES_MAX,
        ..IngestConfig::default()
    };
    let node = world.node_with(config, world.pins.clone()).await;
    publish(&node, "before").await.unwrap();
    // What is taken waits for two of them at most, which is well below its deadline.
    mock.broker_round_trip_time(-1, Duration::from_secs(1))
        .unwrap();
    let who = identity(&backend());
    let text = json!({"channel": "session.1", "event": "draw", "data": "x".repeat(1_000)});
    let publish_one = parse_publish(text.to_string().as_bytes()).unwrap();
    let (told, mut answers) = mpsc::channel(PUBLISHES);
    let mut most = 0;
    let started = Instant::now();
    for n in 0..PUBLISHES {
        let told = told.clone();
        let reply = Box::new(move |answer: Result<Published, _>| {
            told.try_send((started.elapsed(), answer)).unwrap();
        });
        node.gateway.submit(&who, publish_one.clone(), reply);
        if n % 500 == 0 {
            most = most.max(node.number("rivermouth_ingest_queued_bytes"));
        }
    }
    let handed_over = started.elapsed();
    let (mut stored, mut refused) = (0, 0);
    for _ in 0..PUBLISHES {
        let answer = tokio::time::timeout(DEADLINE, answers.recv()).await;
        match answer.unwrap().unwrap() {
            (_, Ok(_)) => stored += 1,
            (after, Err(error)) => {
                assert_eq!(error.name, ErrorName::Unavailable, "{error:?}");
                assert!(error.retry_after_ms.is_some_and(|ms| ms > 0), "{error:?}");
                assert!(after <= handed_over, "a full queue is said at once");
                refused += 1;
            }
        }
    }
    println!("{stored} stored, {refused} refused, at most {most} bytes waited");
    assert!(most > 0 && most <= BYTES_MAX as u64, "{most}");
    assert!(stored > 0 && refused > stored, "{stored}, {refused}");
    mock.broker_round_trip_time(-1, Duration::ZERO).unwrap();
    until("publishing to go on", || async {
        publish(&node, "after").await.ok()
    })
    .await;
}
