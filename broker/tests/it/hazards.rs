//! What librdkafka does that we must not pass on: L1 and L2 of the failure model, shown to exist with plain
//! producers on a real broker. That they do no harm behind our gateway is shown in `ingest/tests/it/hazards.rs`.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use rdkafka::{Offset, TopicPartitionList};
use testbed::{Cluster, Proxy, Way, within};
use tokio::time::timeout;

use crate::bed::{Bed, DEADLINE};
use broker::KafkaConfig;

/// A topic on a broker behind a proxy, and an idempotent producer that may hold a record for a second or two.
struct Stage {
    cluster: Cluster,
    proxies: Vec<Proxy>,
    topic: String,
    producer: FutureProducer,
}

impl Stage {
    async fn new() -> Stage {
        let (cluster, proxies) = tokio::task::block_in_place(|| Cluster::behind_proxies(1));
        let bed = Bed::kafka_with(KafkaConfig::new(cluster.bootstrap())).await;
        let topic = bed.topic(1).await;
        let producer = ClientConfig::new()
            .set("bootstrap.servers", proxies[0].address())
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", "5000")
            .set("reconnect.backoff.max.ms", "200")
            .create()
            .unwrap();
        Stage {
            cluster,
            proxies,
            topic,
            producer,
        }
    }

    async fn send(&self, value: &str) -> Result<i64, RDKafkaErrorCode> {
        let record = FutureRecord::<(), _>::to(&self.topic)
            .partition(0)
            .payload(value);
        let sent = self.producer.send(record, Timeout::After(Duration::ZERO));
        match within("a delivery report", sent).await {
            Ok(delivery) => Ok(delivery.offset),
            Err((KafkaError::MessageProduction(code), _)) => Err(code),
            Err((error, _)) => panic!("{error}"),
        }
    }

    /// Everything in the topic, read past the proxy.
    async fn log(&self) -> Vec<String> {
        let (bootstrap, topic) = (self.cluster.bootstrap(), self.topic.clone());
        let reading = tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer = ClientConfig::new()
                .set("bootstrap.servers", bootstrap)
                .set("group.id", "reading back")
                .set("enable.partition.eof", "true")
                .create()
                .unwrap();
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(&topic, 0, Offset::Beginning)
                .unwrap();
            consumer.assign(&list).unwrap();
            let mut values = Vec::new();
            loop {
                match consumer.poll(DEADLINE).expect("an answer of the broker") {
                    Ok(record) => {
                        let value = record.payload().unwrap_or_default();
                        values.push(String::from_utf8(value.to_vec()).unwrap());
                    }
                    Err(KafkaError::PartitionEOF(_)) => return values,
                    Err(error) => panic!("{error}"),
                }
            }
        });
        reading.await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn l1_an_idempotent_producer_leaves_holes_when_records_time_out_in_its_queue() {
    let stage = Stage::new().await;
    assert_eq!(stage.send("0").await, Ok(0));
    stage.proxies[0].away();
    let lost = stage.send("1").await;
    assert_eq!(lost, Err(RDKafkaErrorCode::MessageTimedOut));
    stage.proxies[0].back();
    // Whoever goes on with the next one finds it stored without its predecessor.
    assert_eq!(stage.send("2").await, Ok(1));
    assert_eq!(stage.log().await, ["0", "2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn l2_a_record_that_timed_out_in_flight_is_reported_failed_and_stored() {
    let stage = Stage::new().await;
    assert_eq!(stage.send("0").await, Ok(0));
    stage.proxies[0].hold(Way::Down);
    let failed = stage.send("1").await;
    assert_eq!(failed, Err(RDKafkaErrorCode::MessageTimedOut));
    assert_eq!(stage.log().await, ["0", "1"], "it was stored all the same");
    stage.proxies[0].release(Way::Down);
    // Whoever believes the report and sends it again has it twice.
    let again = async { while stage.send("1").await.is_err() {} };
    within("the broker to be back", again).await;
    assert_eq!(stage.log().await, ["0", "1", "1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_producer_may_have_sent_twice_is_told_so() {
    let (_cluster, proxies) = tokio::task::block_in_place(|| Cluster::behind_proxies(1));
    let mut config = KafkaConfig::new(proxies[0].address());
    config.delivery_timeout = Duration::from_secs(4);
    let bed = Bed::kafka_with(config).await;
    let topic = bed.topic(1).await;
    assert!(!bed.put(&topic, 0, "k", "0").await.again);

    // Nothing is answered. The second is younger, and still held when the first is given up: librdkafka then numbers
    // anew, and nobody can say whether the broker takes it for what it has already.
    proxies[0].hold(Way::Down);
    let mut first = bed.send(&topic, 0, "k", "1").unwrap();
    let early = timeout(Duration::from_millis(3000), &mut first).await;
    assert!(early.is_err(), "{early:?}");
    let second = bed.send(&topic, 0, "k", "2").unwrap();
    let given_up = within("the first to be given up", first).await;
    assert!(given_up.is_err(), "{given_up:?}");
    proxies[0].release(Way::Down);
    let second = within("the second", second).await.unwrap();
    assert!(second.again, "{second:?}");
    // What comes after it is in the log once.
    assert!(!bed.put(&topic, 0, "k", "3").await.again);
    bed.clean().await;
}
