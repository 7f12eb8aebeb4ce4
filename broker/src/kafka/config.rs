//! Every setting of librdkafka that matters here, each with its reason.
//!
//! Defaults of librdkafka are made for throughput of pipelines that may lose or skip; those that
//! would break a promise of ours are set even where today's default happens to agree.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rdkafka::ClientConfig;

use crate::BrokerError;

/// Most bytes of one batch: less than the default of the broker's message.max.bytes, with room for its header.
pub(super) const BATCH_BYTES_MAX: i64 = 1_000_000;

/// Most bytes of one fetch, of all partitions. Not less: those that come last in it would get nothing.
const FETCH_BYTES_MAX: u32 = 8 << 20;
/// Most bytes of an answer of a broker: room for a batch of some megabytes.
const RESPONSE_BYTES_MAX: u32 = 9 << 20;

/// How to reach Kafka, and the few limits worth choosing.
#[derive(Clone)]
pub struct KafkaConfig {
    /// `host:port[,host:port]`.
    pub bootstrap: String,
    /// Shown in the broker's logs and quotas.
    pub client_id: String,
    /// Passed on to librdkafka: `security.*`, `sasl.*`, `ssl.*` and the like. Settings this crate
    /// relies on are refused.
    pub extra: BTreeMap<String, String>,
    /// An append is answered for within about this time.
    pub delivery_timeout: Duration,
    /// A question (watermarks, metadata) is answered within this time.
    pub request_timeout: Duration,
    /// Most records waiting to be sent; beyond it `append` says `Full`.
    pub queue_records_max: u32,
    /// Most bytes waiting to be sent.
    pub queue_bytes_max: u32,
    /// Most bytes a reader holds ready, and one fetch more. All its partitions share one queue: what comes to a quiet one
    /// waits until so much of the busy ones has been taken.
    pub read_ahead_bytes_max: u32,
    /// What a consumer sees of transactions of the users' backends.
    isolation: &'static str,
    /// How long a broker that has nothing new holds a fetch.
    fetch_wait: Duration,
}

impl KafkaConfig {
    /// Defaults for one address.
    pub fn new(bootstrap: impl Into<String>) -> KafkaConfig {
        KafkaConfig {
            bootstrap: bootstrap.into(),
            client_id: "rivermouth".into(),
            extra: BTreeMap::new(),
            delivery_timeout: Duration::from_millis(4500),
            request_timeout: Duration::from_secs(5),
            queue_records_max: 20_000,
            queue_bytes_max: 32 << 20,
            read_ahead_bytes_max: 2 << 20,
            // Aborted ones are never shown, and open ones are waited for.
            isolation: "read_committed",
            // A newly assigned partition and the first `End` wait for it at most once.
            fetch_wait: Duration::from_millis(50),
        }
    }

    /// The same for a reader whose partitions seldom change: an idle broker is asked four times a second, not twenty.
    pub(crate) fn steady(&self) -> KafkaConfig {
        KafkaConfig {
            fetch_wait: Duration::from_millis(250),
            ..self.clone()
        }
    }

    /// The same for asking how far the log goes, whatever is open.
    pub(crate) fn with_open_transactions(&self) -> KafkaConfig {
        KafkaConfig {
            isolation: "read_uncommitted",
            ..self.clone()
        }
    }

    /// Refuses extra settings that would undo what this crate promises.
    pub(crate) fn check(&self) -> Result<(), BrokerError> {
        const OPEN: [&str; 10] = [
            "security.",
            "sasl.",
            "ssl.",
            "enable.ssl.",
            "enable.sasl.",
            "socket.",
            "broker.address.",
            "client.rack",
            "client.dns.lookup",
            "debug",
        ];
        if self.bootstrap.trim().is_empty() {
            return Err(BrokerError::Config("the bootstrap address is empty".into()));
        }
        match self
            .extra
            .keys()
            .find(|key| !OPEN.iter().any(|open| key.starts_with(open)))
        {
            Some(key) => Err(BrokerError::Config(format!(
                "the Kafka setting '{key}' is not open to change"
            ))),
            None => Ok(()),
        }
    }

    fn common(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap)
            .set("client.id", &self.client_id)
            // Dead peers behind NAT and firewalls are noticed by the kernel too.
            .set("socket.keepalive.enable", "true")
            // A broker that does not even accept must not cost the default 30 s.
            .set("socket.connection.setup.timeout.ms", "3000")
            // After an outage we are back within a second, not within the default ten.
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("retry.backoff.ms", "50")
            .set("retry.backoff.max.ms", "500")
            // A changed partition count or topic identity shows within this time (pins).
            .set("topic.metadata.refresh.interval.ms", "10000")
            .set("metadata.max.age.ms", "30000")
            // How long a topic that metadata does not know is taken for merely new.
            .set("topic.metadata.propagation.max.ms", "3000")
            // Topics are made by us with their configuration, or not at all.
            .set("allow.auto.create.topics", "false")
            // Idle connections that brokers close after ten minutes are no news.
            .set("log.connection.close", "false")
            // Nobody asked to send our measurements to the brokers (KIP-714).
            .set("enable.metrics.push", "false");
        for (key, value) in &self.extra {
            config.set(key, value);
        }
        config
    }

    /// Appending: never reordered, never doubled by the client itself, bounded in time and memory.
    pub(crate) fn producer(&self) -> ClientConfig {
        let delivery_ms = self.delivery_timeout.as_millis().to_string();
        let mut config = self.common();
        config
            // Sequence numbers on each batch: retries neither reorder nor duplicate within a session
            // of the producer. What it cannot cover (restart, timeout) is covered by acceptance.
            .set("enable.idempotence", "true")
            // Acknowledged means: every in-sync replica has it.
            .set("acks", "all")
            .set("max.in.flight.requests.per.connection", "5")
            .set("retries", "2147483647")
            // The end of every append, queueing and retries included. The default is five minutes.
            .set("message.timeout.ms", &delivery_ms)
            .set("request.timeout.ms", &delivery_ms)
            // A hole after a timeout is not fatal here: acceptance voids what follows it.
            .set("enable.gapless.guarantee", "false")
            // Partitions are given, never chosen; should that ever fail, then as the Java client does.
            .set("partitioner", "murmur2_random")
            // Fills batches under load, costs a quiet publisher one millisecond.
            .set("linger.ms", "1")
            .set("batch.num.messages", "10000")
            .set("batch.size", BATCH_BYTES_MAX.to_string())
            .set("compression.type", "lz4")
            // The bound of the queue: beyond it `append` says Full before memory grows.
            .set(
                "queue.buffering.max.messages",
                self.queue_records_max.to_string(),
            )
            .set(
                "queue.buffering.max.kbytes",
                (self.queue_bytes_max / 1024).max(1).to_string(),
            )
            .set("queue.buffering.backpressure.threshold", "1")
            .set("message.max.bytes", BATCH_BYTES_MAX.to_string())
            // Every record reports its offset.
            .set("delivery.report.only.error", "false");
        config
    }

    /// Creating topics and reading configurations.
    pub(crate) fn admin(&self) -> ClientConfig {
        self.common()
    }

    /// Asking and reading.
    pub(crate) fn consumer(&self) -> ClientConfig {
        let mut config = self.common();
        config
            // No group.id: without one there is no coordinator, no group rights, no commit.
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // An offset the log does not hold is an answer, not a reason to skip somewhere else.
            .set("auto.offset.reset", "error")
            .set("isolation.level", self.isolation)
            // Altered bytes stop the reader instead of reaching anybody. Off by default.
            .set("check.crcs", "true")
            // Makes `End` items.
            .set("enable.partition.eof", "true")
            .set("fetch.wait.max.ms", self.fetch_wait.as_millis().to_string())
            .set("fetch.min.bytes", "1")
            // When the reader was slow, resume at once (default: after one second).
            .set("fetch.queue.backoff.ms", "5")
            .set("fetch.error.backoff.ms", "100")
            // What a reader holds ready is bounded in bytes, and in records should they be tiny.
            .set(
                "queued.max.messages.kbytes",
                (self.read_ahead_bytes_max / 1024).max(64).to_string(),
            )
            .set("queued.min.messages", "10000")
            // Of one partition, and of all of them, compressed: records that compress well come out ten times as large. A
            // batch that is larger comes nevertheless.
            .set("fetch.message.max.bytes", (256 << 10).to_string())
            .set("fetch.max.bytes", FETCH_BYTES_MAX.to_string())
            .set("receive.message.max.bytes", RESPONSE_BYTES_MAX.to_string())
            .set("socket.timeout.ms", "10000");
        config
    }
}

// Extra settings carry passwords.
impl fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaConfig")
            .field("bootstrap", &self.bootstrap)
            .field("client_id", &self.client_id)
            .field("extra", &self.extra.keys())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_the_promises_rest_on_cannot_be_overridden() {
        for key in [
            "acks",
            "enable.idempotence",
            "isolation.level",
            "group.id",
            "auto.offset.reset",
            "check.crcs",
        ] {
            let mut config = KafkaConfig::new("127.0.0.1:1");
            config.extra.insert(key.into(), "x".into());
            assert!(
                matches!(config.check(), Err(BrokerError::Config(_))),
                "{key}"
            );
        }
    }

    #[test]
    fn security_settings_pass_and_are_not_printed() {
        let mut config = KafkaConfig::new("127.0.0.1:1");
        config
            .extra
            .insert("sasl.password".into(), "hunter2".into());
        assert_eq!(config.check(), Ok(()));
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
