//! [`Gateway`]: the one way in for publishes, whatever they came over.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use protocol::access::Namespaces;
use protocol::client::Publish;
use protocol::{Identity, ProtocolError};
use schemas::{Event, Topics, partition_of};
use service::Shutdown;
use tokio::time::Instant;

use crate::admit::{Admitted, admit};
use crate::allowance::{Allowances, Payer};
use crate::lane::{Claim, Identity as OutboxIdentity, Letter, TailReader, leaving};
use crate::metrics::IngestMetrics;
use crate::parts::Parts;
use crate::pins::PinGuard;
use crate::signals::Signals;
use crate::topic::Topic;
use crate::{IngestConfig, Published};

/// Called exactly once with what became of a publish. Must not block: it runs where the log's answers are
/// taken in.
pub type Reply = Box<dyn FnOnce(Result<Published, ProtocolError>) + Send>;

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A topic that publishes go to was not pinned; pin all of them first.
    #[error("topic {0} is not pinned")]
    NotPinned(String),
}

/// Takes publishes and answers them. Clones are the same gateway.
#[derive(Clone)]
pub struct Gateway(Arc<Inner>);

struct Inner {
    config: IngestConfig,
    namespaces: Namespaces,
    topics: HashMap<String, Topic>,
    names: Topics,
    allowances: Mutex<Allowances>,
    signals: Signals,
    guard: PinGuard,
    metrics: IngestMetrics,
    shutdown: Shutdown,
    started: Instant,
}

impl Gateway {
    /// Starts one sender per partition of the durable topics.
    ///
    /// The pins are compared with the log before this returns. A topic that differs does not fail the
    /// start: every publish is then refused with `UNAVAILABLE`.
    ///
    /// # Errors
    /// [`StartError::NotPinned`].
    pub async fn start(config: IngestConfig, parts: Parts) -> Result<Gateway, StartError> {
        let metrics = IngestMetrics::new(&parts.metrics);
        let names = [
            parts.topics.events(),
            parts.topics.jobs(),
            parts.topics.signals(),
        ];
        if let Some(missing) = names
            .iter()
            .find(|name| !parts.pins.topics.contains_key(**name))
        {
            return Err(StartError::NotPinned((*missing).to_owned()));
        }
        let guard = PinGuard::new(parts.watch.clone(), &parts.topics);
        parts.watch.look().await;

        let tail = TailReader::start(parts.log.clone(), metrics.clone(), &parts.shutdown);
        let mut topics = HashMap::new();
        for name in names {
            let durable = name != parts.topics.signals();
            topics.insert(
                name.to_owned(),
                Topic::open(name, durable, &config, &parts, (&metrics, &tail)),
            );
        }
        Ok(Gateway(Arc::new(Inner {
            allowances: Mutex::new(Allowances::new(
                &config.limits,
                config.backend_quota,
                config.users_max,
            )),
            signals: Signals::start(
                &config,
                parts.log,
                guard.clone(),
                metrics.clone(),
                &parts.shutdown,
            ),
            config,
            namespaces: parts.namespaces,
            topics,
            names: parts.topics,
            guard,
            metrics,
            shutdown: parts.shutdown,
            started: Instant::now(),
        })))
    }

    /// Takes a publish and returns; `reply` hears later, or at once when it is refused at the door.
    ///
    /// Never blocks. Acknowledgements of one outbox come in the order of the calls; a refusal at the door
    /// does not wait for them.
    pub fn submit(&self, who: &Arc<Identity>, publish: Publish, reply: Reply) {
        let arrived = Instant::now();
        let metrics = &self.0.metrics;
        let admitted = match self.0.admit(who, publish) {
            Ok(admitted) => admitted,
            Err(error) => {
                metrics.refused("door", &error);
                return reply(Err(error));
            }
        };
        let refused = match admitted.event.lane {
            schemas::Lane::Durable => self.0.durable(who, admitted, arrived, reply),
            schemas::Lane::Ephemeral => {
                let answer = self.0.ephemeral(admitted);
                match &answer {
                    Ok(_) => metrics.stored("ephemeral", false),
                    Err(error) => metrics.refused("ephemeral", error),
                }
                reply(answer);
                None
            }
        };
        if let Some((reply, error)) = refused {
            metrics.refused("durable", &error);
            reply(Err(error));
        }
    }

    /// As [`Gateway::submit`], awaited. Dropping the future does not take the publish back.
    ///
    /// # Errors
    /// As the protocol has them: see section 8.
    pub async fn publish(
        &self,
        who: &Arc<Identity>,
        publish: Publish,
    ) -> Result<Published, ProtocolError> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        self.submit(
            who,
            publish,
            Box::new(move |result| {
                let _ = answer.send(result);
            }),
        );
        // A sender that died with the publish in its hands knows nothing of its outcome.
        answered
            .await
            .unwrap_or_else(|_| Err(ProtocolError::timeout()))
    }

    /// The limits this gateway holds publishers to.
    pub fn limits(&self) -> &protocol::Limits {
        &self.0.config.limits
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gateway")
    }
}

impl Inner {
    fn admit(&self, who: &Identity, publish: Publish) -> Result<Admitted, ProtocolError> {
        let now_ms = service::http::now_ms();
        let admitted = admit(&self.namespaces, &self.config.limits, who, publish, now_ms)?;
        if self.shutdown.is_started() {
            return Err(leaving());
        }
        self.guard.check()?;
        Ok(admitted)
    }

    /// Hands a durable event to its lane; gives the reply back when it is not taken.
    fn durable(
        &self,
        who: &Identity,
        admitted: Admitted,
        arrived: Instant,
        reply: Reply,
    ) -> Option<(Reply, ProtocolError)> {
        let event_name = admitted.event.name.clone();
        let (topic, partition) = match self.place(&admitted.event) {
            Ok(place) => place,
            Err(error) => return Some((reply, error)),
        };
        let Some(lane) = usize::try_from(partition)
            .ok()
            .and_then(|index| topic.lanes.get(index))
        else {
            return Some((reply, unplaced()));
        };
        // Nobody pays for what would not be taken anyway.
        if let Err(error) = lane
            .check(admitted.bytes)
            .and_then(|()| self.charge(who, event_name.as_str()))
        {
            return Some((reply, error));
        }
        let bytes = admitted.bytes;
        let event = &admitted.event;
        let letter = Letter {
            channel: event.channel.clone(),
            id: event.id.clone(),
            claim: event.outbox.as_ref().map(|outbox| Claim {
                identity: OutboxIdentity {
                    user: event.user_id.clone(),
                    producer: outbox.producer.clone(),
                },
                epoch: outbox.epoch,
                seq: outbox.seq,
            }),
            record: topic.record(partition, admitted),
            bytes,
            arrived,
            reply,
            hold: None,
        };
        match lane.offer(letter) {
            Ok(()) => {
                self.metrics.bytes.inc_by(bytes as u64);
                None
            }
            Err(refused) => {
                let (letter, error) = *refused;
                Some((letter.reply, error))
            }
        }
    }

    fn ephemeral(&self, admitted: Admitted) -> Result<Published, ProtocolError> {
        let (topic, partition) = self.place(&admitted.event)?;
        let event = &admitted.event;
        let sender = (event.channel.clone(), event.user_id.clone());
        let name = (event.name.clone(), event.to.clone());
        let id = event.id.clone();
        self.signals
            .offer(sender, name, topic.record(partition, admitted))?;
        Ok(Published {
            id,
            cursor: None,
            duplicate: false,
        })
    }

    fn place(&self, event: &Event) -> Result<(&Topic, i32), ProtocolError> {
        let topic = self
            .topics
            .get(self.names.of(&event.channel, event.lane))
            .ok_or_else(unplaced)?;
        let key = event.channel.id().as_bytes();
        let partition = partition_of(
            service::planted!("other_partitioner", if event.id.ends_with('7') { b"7" } else { key } => key),
            topic.partitions,
        );
        Ok((topic, partition))
    }

    fn charge(&self, who: &Identity, event: &str) -> Result<(), ProtocolError> {
        let payer = if who.is_backend() {
            Payer::Backend
        } else {
            Payer::User
        };
        let now_ms = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.allowances
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .charge(&who.sub, payer, event, now_ms)
    }
}

/// Cannot happen with pins that were checked at the start.
fn unplaced() -> ProtocolError {
    ProtocolError::new(protocol::ErrorName::Internal, "no place for this event")
}
