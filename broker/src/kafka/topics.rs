//! Topics: made with the configuration the promises rest on, or checked against it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::check::{self, Seen};
use super::config::KafkaConfig;
use super::context::Context;
use super::error::{broker_error, kafka_error};
use super::query::Query;
use crate::{BrokerError, Flaw, Needs, Retention, TopicSpec, Weight};

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
    let topics = Topics::open(config, query)?;
    let result = topics.ensure(specs, create).await;
    topics.close().await;
    result
}

/// See [`Log::examine`](crate::Log::examine).
pub(crate) async fn examine(
    config: &KafkaConfig,
    query: &Query,
    specs: &[TopicSpec],
    needs: &Needs,
) -> Result<Vec<Flaw>, BrokerError> {
    let topics = Topics::open(config, query)?;
    let result = topics.examine(specs, needs).await;
    topics.close().await;
    result
}

/// See [`Log::retention`](crate::Log::retention).
pub(crate) async fn retention(
    config: &KafkaConfig,
    query: &Query,
    topic: &str,
) -> Result<Retention, BrokerError> {
    let topics = Topics::open(config, query)?;
    let result = topics.config(topic).await;
    topics.close().await;
    result.map(|config| check::retention(&config))
}

struct Topics<'a> {
    admin: AdminClient<Context>,
    query: &'a Query,
    options: AdminOptions,
}

impl Topics<'_> {
    fn open<'a>(config: &KafkaConfig, query: &'a Query) -> Result<Topics<'a>, BrokerError> {
        let admin: AdminClient<Context> = config
            .admin()
            .create_with_context(Context)
            .map_err(|error| BrokerError::Config(error.to_string()))?;
        Ok(Topics {
            admin,
            query,
            options: AdminOptions::new()
                .request_timeout(Some(config.request_timeout))
                .operation_timeout(Some(config.request_timeout)),
        })
    }

    /// Dropping the client joins its thread.
    async fn close(self) {
        let admin = self.admin;
        let _ = tokio::task::spawn_blocking(move || drop(admin)).await;
    }

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
        let mut flaws = check::topic(spec, &self.seen(&spec.name, facts.partitions).await?);
        flaws.retain(|flaw| flaw.code.weight() == Weight::Refused);
        if flaws.is_empty() {
            return Ok(());
        }
        Err(BrokerError::Differs {
            topic: spec.name.clone(),
            flaws,
        })
    }

    async fn seen(&self, name: &str, partitions: u32) -> Result<Seen, BrokerError> {
        Ok(Seen {
            partitions,
            replicas: self.replicas(name).await?,
            config: self.config(name).await?,
        })
    }

    /// Everything that is wrong, of whatever weight. Makes nothing.
    async fn examine(&self, specs: &[TopicSpec], needs: &Needs) -> Result<Vec<Flaw>, BrokerError> {
        let brokers = self.brokers().await?;
        let mut flaws = Vec::new();
        for broker in &brokers {
            let config = self
                .describe_config(ResourceSpecifier::Broker(*broker), "broker")
                .await?;
            flaws.extend(check::broker(*broker, &config));
        }
        for spec in specs {
            match self.query.describe(&spec.name).await {
                Ok(facts) => {
                    let seen = self.seen(&spec.name, facts.partitions).await?;
                    flaws.extend(check::topic(spec, &seen));
                    flaws.extend(check::safety(spec, &seen, brokers.len(), needs));
                }
                Err(BrokerError::Unknown { .. }) => flaws.push(Flaw::missing(&spec.name)),
                Err(error) => return Err(error),
            }
        }
        Ok(flaws)
    }

    async fn create(&self, spec: &TopicSpec, replication: i32) -> Result<(), BrokerError> {
        let settings = check::settings(spec, replication);
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

    /// The brokers that are there, at least one.
    async fn brokers(&self) -> Result<Vec<i32>, BrokerError> {
        self.query
            .blocking("ask for the brokers", "", -1, |consumer, timeout| {
                let metadata = consumer.fetch_metadata(None, timeout)?;
                let brokers: Vec<i32> = metadata.brokers().iter().map(|b| b.id()).collect();
                if brokers.is_empty() {
                    return Err(KafkaError::MetadataFetch(RDKafkaErrorCode::AllBrokersDown));
                }
                Ok(brokers)
            })
            .await
    }

    async fn default_replication(&self) -> Result<i32, BrokerError> {
        let brokers = self.brokers().await?;
        let first = brokers.first().copied().unwrap_or_default();
        let config = self
            .describe_config(ResourceSpecifier::Broker(first), "broker")
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
