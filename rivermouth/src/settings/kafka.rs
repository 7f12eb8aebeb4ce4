//! Where the log is and what its topics look like.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use broker::{KafkaConfig, TopicSpec};
use clap::Args;
use schemas::Topics;
use service::settings::{duration, duration_above_zero};
use service::{SchemaRegistry, Secret};

use super::{SettingsError, secret_from_file};

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Kafka")]
pub(crate) struct KafkaArgs {
    /// Kafka's brokers, `host:port[,host:port]`; no default. `rivermouth dev` keeps its log on disk instead
    /// when this is not set
    #[arg(long, env = "KAFKA_BOOTSTRAP", value_name = "HOST:PORT")]
    pub(crate) kafka_bootstrap: Option<String>,

    /// Further settings of librdkafka, `name=value`, for example `security.protocol=SASL_SSL`; may be given
    /// several times; none by default
    #[arg(
        long,
        env = "RIVERMOUTH_KAFKA_CONFIG",
        hide_env_values = true,
        value_delimiter = ',',
        value_name = "NAME=VALUE"
    )]
    pub(crate) kafka_config: Vec<Secret>,

    /// File with such settings, one `name=value` a line, for passwords; none by default
    #[arg(long, env = "RIVERMOUTH_KAFKA_CONFIG_FILE", value_name = "FILE")]
    pub(crate) kafka_config_file: Option<PathBuf>,

    /// First part of the names of our topics
    #[arg(
        long,
        env = "RIVERMOUTH_TOPIC_PREFIX",
        default_value = "rivermouth",
        value_name = "NAME"
    )]
    pub(crate) topic_prefix: String,

    /// Make missing topics at start; when false they are only checked
    #[arg(
        long,
        env = "RIVERMOUTH_CREATE_TOPICS",
        default_value_t = true,
        action = clap::ArgAction::Set,
        value_name = "BOOL"
    )]
    pub(crate) create_topics: bool,

    /// Partitions of a topic when it is made, 1 to 1024; fixed from then on
    #[arg(
        long,
        env = "RIVERMOUTH_PARTITIONS",
        default_value_t = 12,
        value_parser = clap::value_parser!(u32).range(1..=1024),
        value_name = "COUNT"
    )]
    pub(crate) partitions: u32,

    /// Replicas of a topic when it is made; -1 takes the broker's default
    #[arg(
        long,
        env = "RIVERMOUTH_REPLICATION",
        default_value_t = -1,
        allow_negative_numbers = true,
        value_parser = replicas,
        value_name = "COUNT"
    )]
    pub(crate) replication: i16,

    /// How long durable events and jobs stay in the log when their topics are made
    #[arg(long, env = "RIVERMOUTH_EVENTS_RETENTION", default_value = "7d", value_parser = duration_above_zero, value_name = "DURATION")]
    pub(crate) events_retention: Duration,

    /// How long ephemeral events stay in the log when their topic is made
    #[arg(long, env = "RIVERMOUTH_SIGNALS_RETENTION", default_value = "10m", value_parser = duration_above_zero, value_name = "DURATION")]
    pub(crate) signals_retention: Duration,

    /// How long unreadable records stay in the dead-letter topic when it is made
    #[arg(long, env = "RIVERMOUTH_DEADLETTER_RETENTION", default_value = "30d", value_parser = duration_above_zero, value_name = "DURATION")]
    pub(crate) deadletter_retention: Duration,

    /// How often the topics are compared with what was pinned; a topic that was created again, or got more
    /// partitions, is noticed within this time
    #[arg(
        long,
        env = "RIVERMOUTH_TOPIC_CHECK_INTERVAL",
        default_value = "2s",
        value_parser = duration_above_zero,
        value_name = "DURATION"
    )]
    pub(crate) topic_check_interval: Duration,

    /// How often the settings of brokers, topics and PostgreSQL are looked at
    #[arg(
        long,
        env = "RIVERMOUTH_SETTINGS_CHECK_INTERVAL",
        default_value = "60s",
        value_parser = duration_above_zero,
        value_name = "DURATION"
    )]
    pub(crate) settings_check_interval: Duration,

    /// How long the persisters may be away without losing rows; topics that keep records for less are
    /// warned of, with 0s none are
    #[arg(
        long,
        env = "RIVERMOUTH_OUTAGE_BUDGET",
        default_value = "24h",
        value_parser = duration,
        value_name = "DURATION"
    )]
    pub(crate) outage_budget: Duration,

    /// Schema registry for records in Confluent's Avro framing, `http://host:8081`; without one such
    /// records are quarantined; no default
    #[arg(
        long,
        env = "SCHEMA_REGISTRY_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    pub(crate) schema_registry_url: Option<Secret>,
}

/// A number of replicas, or -1 for the broker's default.
fn replicas(text: &str) -> Result<i16, String> {
    match text.parse() {
        Ok(replicas @ (-1 | 1..=32)) => Ok(replicas),
        _ => Err("it is -1, or a number from 1 to 32".to_owned()),
    }
}

impl KafkaArgs {
    /// How to reach Kafka; `None` when no address is set. `client_id` is shown in the brokers' logs.
    pub(crate) fn config(&self, client_id: &str) -> Result<Option<KafkaConfig>, SettingsError> {
        let extra = self.extra()?;
        let Some(bootstrap) = &self.kafka_bootstrap else {
            return Ok(None);
        };
        for broker in bootstrap.split(',') {
            let port = broker
                .trim()
                .rsplit_once(':')
                .map(|(host, port)| (host, port.parse::<u16>()));
            if !matches!(port, Some((host, Ok(1..))) if !host.is_empty()) {
                return Err(SettingsError::value(
                    "kafka-bootstrap",
                    format!("\"{}\" is not host:port", broker.trim()),
                ));
            }
        }
        let mut config = KafkaConfig::new(bootstrap.clone());
        config.client_id = client_id.to_owned();
        config.extra = extra;
        Ok(Some(config))
    }

    /// As [`KafkaArgs::config`], for services that cannot do without.
    pub(crate) fn required(&self, client_id: &str) -> Result<KafkaConfig, SettingsError> {
        self.config(client_id)?.ok_or_else(|| {
            SettingsError::value(
                "kafka-bootstrap",
                "not set; give KAFKA_BOOTSTRAP=host:port (or use `rivermouth dev`, which needs no Kafka)",
            )
        })
    }

    fn extra(&self) -> Result<BTreeMap<String, String>, SettingsError> {
        let mut extra = BTreeMap::new();
        for pair in &self.kafka_config {
            // The pair itself may hold a password, so the message does not repeat it.
            let (name, value) = pair.expose().split_once('=').ok_or_else(|| {
                SettingsError::value("kafka-config", "an entry is not name=value")
            })?;
            extra.insert(name.trim().to_owned(), value.to_owned());
        }
        if let Some(path) = &self.kafka_config_file {
            let text = secret_from_file("kafka-config-file", path)?;
            for (number, line) in (1..).zip(text.expose().lines()) {
                let line = line.trim();
                if line.is_empty() || line.starts_with('#') {
                    continue;
                }
                let (name, value) = line.split_once('=').ok_or_else(|| {
                    SettingsError::value(
                        "kafka-config-file",
                        format!("line {number} is not name=value"),
                    )
                })?;
                extra.insert(name.trim().to_owned(), value.trim().to_owned());
            }
        }
        Ok(extra)
    }

    /// The names of our topics.
    pub(crate) fn topics(&self) -> Result<Topics, SettingsError> {
        let fits = (1..=200).contains(&self.topic_prefix.len())
            && self
                .topic_prefix
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if !fits {
            return Err(SettingsError::value(
                "topic-prefix",
                "topic names take letters, digits, `.`, `_` and `-`",
            ));
        }
        Ok(Topics::new(&self.topic_prefix))
    }

    /// The topics as they are made and checked (protocol section 10). Events and signals have the same
    /// number of partitions, so that both lanes of a channel are read by the same node.
    pub(crate) fn specs(&self, topics: &Topics) -> Vec<TopicSpec> {
        let topic = |name: &str, retention: Option<Duration>| TopicSpec {
            name: name.to_owned(),
            partitions: self.partitions,
            replication: self.replication,
            retention_ms: retention.map(|kept| i64::try_from(kept.as_millis()).unwrap_or(i64::MAX)),
            retention_bytes: None,
            compact: retention.is_none(),
        };
        vec![
            topic(topics.events(), Some(self.events_retention)),
            topic(topics.signals(), Some(self.signals_retention)),
            topic(topics.jobs(), Some(self.events_retention)),
            topic(topics.state(), None),
            topic(topics.deadletter(), Some(self.deadletter_retention)),
        ]
    }

    /// The schema registry, when one is set.
    pub(crate) fn registry(&self) -> Result<Option<SchemaRegistry>, SettingsError> {
        self.schema_registry_url
            .as_ref()
            .map(|url| SchemaRegistry::new(url.expose()))
            .transpose()
            .map_err(|error| SettingsError::value("schema-registry-url", error.to_string()))
    }
}
