//! Topics: made with the configuration the promises rest on, or checked against it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::config::KafkaConfig;
use super::context::Context;
use super::error::{broker_error, kafka_error};
use super::query::Query;
use crate::{BrokerError, TopicSpec};

/// How long a new topic may take to be known to all brokers.
const SPREADING: Duration = Duration::from_secs(5);
/// Between two looks at it.
const PAUSE: Duration = Duration::from_millis(200);

pub(crate) async fn ensure(
    config: &KafkaConfig,
    query: &Query,
    specs: &[TopicSpec],
    create: bool,
) -> Result<(), BrokerError> {
    let admin: AdminClient<Context> = config
        .admin()
        .create_with_context(Context)
        .map_err(|error| BrokerError::Config(error.to_string()))?;
    let topics = Topics {
        admin,
        query,
        options: AdminOptions::new()
            .request_timeout(Some(config.request_timeout))
            .operation_timeout(Some(config.request_timeout)),
    };
    let result = topics.ensure(specs, create).await;
    // Dropping the client joins its thread.
    let admin = topics.admin;
    let _ = tokio::task::spawn_blocking(move || drop(admin)).await;
    result
}

struct Topics<'a> {
    admin: AdminClient<Context>,
    query: &'a Query,
    options: AdminOptions,
}

impl Topics<'_> {
    async fn ensure(&self, specs: &[TopicSpec], create: bool) -> Result<(), BrokerError> {
        let mut default_replication = None;
        for spec in specs {
            let patience = Instant::now() + SPREADING;
            loop {
                match self.one(spec, create, &mut default_replication).await {
                    // A topic that another node has just made is known to some brokers only.
                    Err(BrokerError::Unknown { .. } | BrokerError::Differs { .. })
                        if Instant::now() < patience =>
                    {
                        tokio::time::sleep(PAUSE).await;
                    }
                    other => break other?,
                }
            }
        }
        Ok(())
    }

    async fn one(
        &self,
        spec: &TopicSpec,
        create: bool,
        default_replication: &mut Option<i32>,
    ) -> Result<(), BrokerError> {
        let facts = match self.query.describe(&spec.name).await {
            Err(BrokerError::Unknown { .. }) if create => {
                let replication = match (spec.replication, &default_replication) {
                    (-1, Some(known)) => *known,
                    (-1, None) => *default_replication.insert(self.default_replication().await?),
                    (given, _) => i32::from(given),
                };
                self.create(spec, replication).await?;
                self.query.describe(&spec.name).await?
            }
            facts => facts?,
        };
        let config = self.config(&spec.name).await?;
        let replicas = self.replicas(&spec.name).await?;
        let differences = differences(spec, facts.partitions, replicas, &config);
        if differences.is_empty() {
            return Ok(());
        }
        Err(BrokerError::Differs {
            topic: spec.name.clone(),
            differences,
        })
    }

    async fn create(&self, spec: &TopicSpec, replication: i32) -> Result<(), BrokerError> {
        let settings = settings(spec, replication);
        let partitions = i32::try_from(spec.partitions).unwrap_or(i32::MAX);
        let mut topic = NewTopic::new(&spec.name, partitions, TopicReplication::Fixed(replication));
        for (key, value) in &settings {
            topic = topic.set(key, value);
        }
        let results = self.admin.create_topics([&topic], &self.options).await;
        let results = results.map_err(|error| kafka_error("create", &spec.name, -1, &error))?;
        match results.into_iter().next() {
            // Another node of ours was faster; the check that follows looks at what it made.
            Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => {}
            Some(Err((_, code))) => return Err(broker_error("create", &spec.name, -1, code)),
            None => {
                return Err(broker_error(
                    "create",
                    &spec.name,
                    -1,
                    RDKafkaErrorCode::Fail,
                ));
            }
        }
        self.await_visible(spec).await
    }

    /// A new topic spreads over the brokers; until then some of them do not know it.
    async fn await_visible(&self, spec: &TopicSpec) -> Result<(), BrokerError> {
        let (name, partitions) = (spec.name.clone(), spec.partitions as usize);
        self.query
            .blocking("wait for", &spec.name, -1, move |consumer, timeout| {
                let metadata = consumer.fetch_metadata(Some(&name), timeout)?;
                let known = metadata.topics().iter().find(|topic| topic.name() == name);
                let led = known.map_or(0, |topic| {
                    topic
                        .partitions()
                        .iter()
                        .filter(|p| p.leader() >= 0)
                        .count()
                });
                if led == partitions {
                    Ok(())
                } else {
                    Err(KafkaError::MetadataFetch(
                        RDKafkaErrorCode::LeaderNotAvailable,
                    ))
                }
            })
            .await
    }

    async fn replicas(&self, name: &str) -> Result<usize, BrokerError> {
        let topic = name.to_owned();
        self.query
            .blocking(
                "ask for the replicas of",
                name,
                -1,
                move |consumer, timeout| {
                    let metadata = consumer.fetch_metadata(Some(&topic), timeout)?;
                    let known = metadata.topics().iter().find(|t| t.name() == topic);
                    Ok(known
                        .and_then(|t| t.partitions().iter().map(|p| p.replicas().len()).min())
                        .unwrap_or(0))
                },
            )
            .await
    }

    async fn default_replication(&self) -> Result<i32, BrokerError> {
        let broker = self
            .query
            .blocking("ask for the brokers", "", -1, |consumer, timeout| {
                let metadata = consumer.fetch_metadata(None, timeout)?;
                metadata
                    .brokers()
                    .first()
                    .map(|b| b.id())
                    .ok_or(KafkaError::MetadataFetch(RDKafkaErrorCode::AllBrokersDown))
            })
            .await?;
        let config = self
            .describe_config(ResourceSpecifier::Broker(broker), "broker")
            .await?;
        Ok(config
            .get("default.replication.factor")
            .and_then(|value| value.parse().ok())
            .unwrap_or(1))
    }

    async fn config(&self, topic: &str) -> Result<HashMap<String, String>, BrokerError> {
        self.describe_config(ResourceSpecifier::Topic(topic), topic)
            .await
    }

    async fn describe_config(
        &self,
        of: ResourceSpecifier<'_>,
        name: &str,
    ) -> Result<HashMap<String, String>, BrokerError> {
        const WHAT: &str = "ask for the configuration of";
        let results = self.admin.describe_configs([&of], &self.options).await;
        let results = results.map_err(|error| kafka_error(WHAT, name, -1, &error))?;
        match results.into_iter().next() {
            Some(Ok(resource)) => Ok(resource
                .entries
                .into_iter()
                .filter_map(|entry| Some((entry.name, entry.value?)))
                .collect()),
            Some(Err(code)) => Err(broker_error(WHAT, name, -1, code)),
            None => Err(broker_error(WHAT, name, -1, RDKafkaErrorCode::Fail)),
        }
    }
}

/// The configuration a new topic gets.
fn settings(spec: &TopicSpec, replication: i32) -> Vec<(&'static str, String)> {
    let mut settings = vec![
        // The log's time is the event's time, on every node the same.
        ("message.timestamp.type", "LogAppendTime".to_owned()),
        (
            "cleanup.policy",
            if spec.compact { "compact" } else { "delete" }.to_owned(),
        ),
        // A replica that missed acknowledged records never becomes the leader.
        ("unclean.leader.election.enable", "false".to_owned()),
        // With acks=all: acknowledged means on so many disks.
        (
            "min.insync.replicas",
            if replication >= 2 { "2" } else { "1" }.to_owned(),
        ),
    ];
    if replication < 2 {
        // Without a second copy, acknowledged has to mean "on this disk", not "in this page cache".
        settings.push(("flush.messages", "1".to_owned()));
    }
    if !spec.compact {
        settings.push(("retention.ms", spec.retention_ms.unwrap_or(-1).to_string()));
        settings.push((
            "retention.bytes",
            spec.retention_bytes.unwrap_or(-1).to_string(),
        ));
    }
    settings
}

/// Everything about an existing topic that would break a promise. Kinder settings are fine.
fn differences(
    spec: &TopicSpec,
    partitions: u32,
    replicas: usize,
    config: &HashMap<String, String>,
) -> Vec<String> {
    let value = |key: &str| config.get(key).map_or("", String::as_str);
    let number = |key: &str| value(key).parse::<i64>().unwrap_or(-1);
    let mut differences = Vec::new();
    if partitions != spec.partitions {
        differences.push(format!(
            "it has {partitions} partitions, not {}",
            spec.partitions
        ));
    }
    if spec.replication > 0 && replicas < usize::from(spec.replication.unsigned_abs()) {
        differences.push(format!(
            "it has {replicas} replicas, not {}",
            spec.replication
        ));
    }
    if value("message.timestamp.type") != "LogAppendTime" {
        differences.push(format!(
            "message.timestamp.type is {}, not LogAppendTime",
            value("message.timestamp.type")
        ));
    }
    if value("unclean.leader.election.enable") != "false" {
        differences
            .push("unclean.leader.election.enable is on: acknowledged records may be lost".into());
    }
    if replicas >= 2 && number("min.insync.replicas") < 2 {
        differences.push(format!(
            "min.insync.replicas is {} with {replicas} replicas, not 2",
            number("min.insync.replicas")
        ));
    }
    let compact = value("cleanup.policy").contains("compact");
    if compact != spec.compact {
        let wanted = if spec.compact { "compact" } else { "delete" };
        differences.push(format!(
            "cleanup.policy is {}, not {wanted}",
            value("cleanup.policy")
        ));
    }
    if !compact {
        for (key, wanted) in [
            ("retention.ms", spec.retention_ms),
            ("retention.bytes", spec.retention_bytes),
        ] {
            let (is, wanted) = (number(key), wanted.unwrap_or(-1));
            // Shorter than promised loses events early; longer hurts nobody's promise.
            if is >= 0 && (wanted < 0 || is < wanted) {
                differences.push(
                    format!("{key} is {is}, less than {wanted}")
                        .replace("less than -1", "not unlimited"),
                );
            }
        }
    }
    differences
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> TopicSpec {
        TopicSpec {
            name: "t".into(),
            partitions: 3,
            replication: -1,
            retention_ms: Some(1000),
            retention_bytes: None,
            compact: false,
        }
    }

    fn as_created(spec: &TopicSpec, replication: i32) -> HashMap<String, String> {
        settings(spec, replication)
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    }

    #[test]
    fn what_we_create_passes_the_check() {
        for replication in [1, 3] {
            let config = as_created(&spec(), replication);
            assert_eq!(
                differences(&spec(), 3, usize::try_from(replication).unwrap(), &config),
                Vec::<String>::new()
            );
        }
    }

    #[test]
    fn every_dangerous_setting_is_named() {
        for (key, value) in [
            ("message.timestamp.type", "CreateTime"),
            ("unclean.leader.election.enable", "true"),
            ("min.insync.replicas", "1"),
            ("cleanup.policy", "compact"),
            ("retention.ms", "999"),
            ("retention.bytes", "5"),
        ] {
            let mut config = as_created(&spec(), 3);
            config.insert(key.into(), value.into());
            let found = differences(&spec(), 3, 3, &config);
            assert!(
                found.len() == 1 && found[0].contains(key),
                "{key}: {found:?}"
            );
        }
        assert_eq!(
            differences(&spec(), 4, 3, &as_created(&spec(), 3)),
            ["it has 4 partitions, not 3"]
        );
    }

    #[test]
    fn longer_retention_is_no_difference() {
        let mut config = as_created(&spec(), 1);
        config.insert("retention.ms".into(), "-1".into());
        assert_eq!(differences(&spec(), 3, 1, &config), Vec::<String>::new());
    }
}
