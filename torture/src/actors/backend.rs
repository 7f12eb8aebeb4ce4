//! Backends that write to Kafka past all of our code: librdkafka in this process, and kcat.

use std::process::Stdio;
use std::time::Duration;

use client::Publish;
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::types::RDKafkaErrorCode;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use super::gate::{Next, Outcome};
use crate::check::POISON_HEADER;
use crate::evidence::Told;
use crate::world::World;

/// After this librdkafka gives a record up, and nobody knows what became of it.
const MESSAGE_TIMEOUT_MS: &str = "6000";

/// A backend with librdkafka.
pub(super) struct Producer {
    inner: FutureProducer,
    prefix: String,
    /// As CloudEvents in binary mode instead of JSON.
    cloud: bool,
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer").finish_non_exhaustive()
    }
}

impl Producer {
    /// Through the brokers' proxies, so that what happens to the services happens to it.
    pub(super) fn new(world: &World, cloud: bool) -> Producer {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", world.bed.broker().entry())
            .set("partitioner", "murmur2_random")
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "5")
            .set("message.timeout.ms", MESSAGE_TIMEOUT_MS);
        Producer {
            inner: config.create().expect("a producer can be made"),
            prefix: world.bed.broker().prefix().to_owned(),
            cloud,
        }
    }

    pub(super) async fn offer(&self, events: &[Publish]) -> Vec<Outcome> {
        // Sent in order, awaited together.
        let mut deliveries = Vec::with_capacity(events.len());
        for event in events {
            deliveries.push(self.send(event));
        }
        futures_util::future::join_all(deliveries).await
    }

    async fn send(&self, event: &Publish) -> Outcome {
        let (topic, key) = place(&self.prefix, &event.channel);
        let mut headers = OwnedHeaders::new();
        let mut header = |name: &str, value: &str| {
            let taken = std::mem::take(&mut headers);
            headers = taken.insert(Header {
                key: name,
                value: Some(value),
            });
        };
        header("rm-channel", &event.channel);
        let value = if self.cloud {
            header("ce_specversion", "1.0");
            header("ce_type", &event.event);
            header("ce_id", event.id.as_deref().unwrap_or_default());
            header("ce_source", "/torture");
            event
                .data
                .as_deref()
                .map_or("null", |data| data.get())
                .to_owned()
        } else {
            value_of(event)
        };
        let record = FutureRecord::to(&topic)
            .key(&key)
            .payload(&value)
            .headers(headers);
        match self.inner.send(record, Duration::ZERO).await {
            Ok(delivery) => Outcome {
                told: Told::Stored {
                    partition: delivery.partition,
                    offset: delivery.offset,
                },
                next: Next::Done,
            },
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge), _)) => {
                Outcome {
                    told: Told::Unknown,
                    next: Next::Drop,
                }
            }
            Err(_) => Outcome::UNKNOWN,
        }
    }
}

impl Producer {
    /// A record that nobody may take, with a channel header that need not be true.
    pub(super) async fn poison(
        &self,
        topic: &str,
        key: &str,
        value: &str,
        channel: &str,
    ) -> Outcome {
        let topic = format!("{}.{topic}", self.prefix);
        let headers = OwnedHeaders::new()
            .insert(Header {
                key: "rm-channel",
                value: Some(channel),
            })
            .insert(Header {
                key: POISON_HEADER,
                value: Some("1"),
            });
        let record = FutureRecord::to(&topic)
            .key(key)
            .payload(value)
            .headers(headers);
        match self.inner.send(record, Duration::ZERO).await {
            Ok(delivery) => Outcome {
                told: Told::Stored {
                    partition: delivery.partition,
                    offset: delivery.offset,
                },
                next: Next::Done,
            },
            Err(_) => Outcome::UNKNOWN,
        }
    }
}

/// The record's value in its JSON form.
pub(super) fn value_of(event: &Publish) -> String {
    let data = event.data.as_deref().map_or("null", |data| data.get());
    let id = event.id.as_deref().unwrap_or_default();
    format!(r#"{{"event":"{}","id":"{id}","data":{data}}}"#, event.event)
}

/// Topic and key of a channel.
pub(super) fn place(prefix: &str, channel: &str) -> (String, String) {
    let (namespace, key) = channel.split_once('.').unwrap_or((channel, channel));
    let topic = if namespace == "jobs" {
        "jobs"
    } else {
        "events"
    };
    (format!("{prefix}.{topic}"), key.to_owned())
}

/// A backend with kcat: a process for each offer, which has to be of one channel.
#[derive(Debug)]
pub(super) struct Kcat {
    bootstrap: String,
    prefix: String,
}

/// When kcat is not done by then it is killed.
const KCAT: Duration = Duration::from_secs(20);

impl Kcat {
    /// Past the brokers' proxies.
    pub(super) fn new(world: &World) -> Kcat {
        Kcat {
            bootstrap: world.bed.broker().bootstrap().to_owned(),
            prefix: world.bed.broker().prefix().to_owned(),
        }
    }

    pub(super) async fn offer(&self, events: &[Publish]) -> Vec<Outcome> {
        let told = match timeout(KCAT, self.produce(events)).await {
            // kcat ends with 0 only when every record was delivered; where to, it does not say.
            Ok(Ok(true)) => Outcome {
                told: Told::Delivered,
                next: Next::Done,
            },
            _ => Outcome::UNKNOWN,
        };
        vec![told; events.len()]
    }

    async fn produce(&self, events: &[Publish]) -> std::io::Result<bool> {
        let Some(first) = events.first() else {
            return Ok(true);
        };
        let (topic, key) = place(&self.prefix, &first.channel);
        let mut child = Command::new("kcat")
            .args(["-q", "-P", "-b", &self.bootstrap, "-t", &topic, "-k", &key])
            .args(["-H", &format!("rm-channel={}", first.channel)])
            .args(["-X", "partitioner=murmur2_random", "-X", "acks=all"])
            .args(["-X", &format!("message.timeout.ms={MESSAGE_TIMEOUT_MS}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let lines: String = events.iter().map(|event| value_of(event) + "\n").collect();
        if let Some(mut input) = child.stdin.take() {
            input.write_all(lines.as_bytes()).await?;
            input.shutdown().await?;
        }
        Ok(child.wait().await?.success())
    }
}
