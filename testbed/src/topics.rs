//! What an operator does to topics behind our back.

use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::RDKafkaErrorCode;

use crate::kafka::Broker;
use crate::wait::until;

/// Settings with which a topic passes for one of ours on one broker.
const SETTINGS: [(&str, &str); 5] = [
    ("message.timestamp.type", "LogAppendTime"),
    ("cleanup.policy", "delete"),
    ("retention.ms", "-1"),
    ("flush.messages", "1"),
    ("min.insync.replicas", "1"),
];

impl Broker {
    fn admin(&self) -> AdminClient<DefaultClientContext> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.bootstrap());
        config.create().expect("an admin client can be made")
    }

    /// Deletes a topic.
    pub async fn delete_topic(&self, topic: &str) {
        let results = self.admin().delete_topics(&[topic], &options()).await;
        let results = results.expect("Kafka answers");
        assert!(matches!(results[..], [Ok(_)]), "{results:?}");
    }

    /// Makes a topic, with settings such as ours or those given instead of some of them; one that was just deleted
    /// may take a moment to be gone.
    pub async fn create_topic(&self, topic: &str, partitions: i32, changed: &[(&str, &str)]) {
        let admin = self.admin();
        until("a topic to be made", || async {
            let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
            for (key, value) in with(changed) {
                new = new.set(key, value);
            }
            let made = admin.create_topics([&new], &options()).await;
            match &made.expect("Kafka answers")[..] {
                [Ok(_)] => Some(()),
                [Err((_, RDKafkaErrorCode::TopicAlreadyExists))] => None,
                other => panic!("{other:?}"),
            }
        })
        .await;
    }

    /// Deletes a topic and makes it again at once.
    pub async fn recreate_topic(&self, topic: &str, partitions: i32) {
        self.delete_topic(topic).await;
        self.create_topic(topic, partitions, &[]).await;
    }

    /// Adds partitions until there are so many.
    pub async fn grow_topic(&self, topic: &str, partitions: usize) {
        let grown = NewPartitions::new(topic, partitions);
        let results = self.admin().create_partitions([&grown], &options()).await;
        let results = results.expect("Kafka answers");
        assert!(matches!(results[..], [Ok(_)]), "{results:?}");
    }

    /// Gives a topic settings such as ours, but for those given.
    pub async fn set_topic(&self, topic: &str, changed: &[(&str, &str)]) {
        let mut altered = AlterConfig::new(ResourceSpecifier::Topic(topic));
        for (key, value) in with(changed) {
            altered = altered.set(key, value);
        }
        let results = self.admin().alter_configs([&altered], &options()).await;
        let results = results.expect("Kafka answers");
        assert!(matches!(results[..], [Ok(_)]), "{results:?}");
    }
}

fn with<'a>(changed: &'a [(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let kept = SETTINGS
        .iter()
        .filter(|(key, _)| changed.iter().all(|(changed, _)| changed != key));
    kept.chain(changed).copied().collect()
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)))
}
