//! One producer of librdkafka, from its making to its replacement.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _};

use super::answers::{Answers, State};
use super::polled::Polled;
use crate::delivery::{Limit, Overdue, delivery};
use crate::kafka::config::KafkaConfig;
use crate::kafka::error::append_error;
use crate::{Append, AppendError, BrokerError, Delivery};

/// librdkafka looks for late records once a second; one that is later than this is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(3);

pub(super) struct Live {
    pub(super) producer: Polled,
    pub(super) state: Arc<State>,
    delivery_timeout: Duration,
}

impl Live {
    pub(super) fn new(config: &KafkaConfig, state: State) -> Result<Live, BrokerError> {
        let state = Arc::new(state);
        let producer = config
            .producer()
            .create_with_context(Answers(Arc::clone(&state)))
            .map_err(|error| BrokerError::Config(error.to_string()))?;
        Ok(Live {
            producer: Polled::start(producer, state.alive())?,
            delivery_timeout: config.delivery_timeout,
            state,
        })
    }

    pub(super) fn send(&self, record: &Append) -> Result<Delivery, AppendError> {
        let (deliver, delivery) = delivery();
        let delivery = delivery.limited(Limit {
            at: tokio::time::Instant::now() + self.delivery_timeout + FORGOTTEN,
            topic: Arc::clone(&record.topic),
            partition: record.partition,
            tell: Arc::clone(&self.state) as Arc<dyn Overdue>,
            sleep: None,
        });
        let sent = self.state.sent(deliver);
        let mut base = BaseRecord::<[u8], [u8], _>::with_opaque_to(&record.topic, Box::new(sent))
            .partition(record.partition);
        base.key = record.key.as_deref();
        base.payload = record.value.as_deref();
        if !record.headers.is_empty() {
            let headers = record.headers.iter().fold(
                OwnedHeaders::new_with_capacity(record.headers.len()),
                |headers, (key, value)| {
                    headers.insert(Header {
                        key,
                        value: Some(value.as_ref()),
                    })
                },
            );
            base = base.headers(headers);
        }
        match self.producer.send(base) {
            Ok(()) => Ok(delivery),
            Err((KafkaError::MessageProduction(code), _)) => {
                if code != RDKafkaErrorCode::QueueFull
                    && self.producer.client().fatal_error().is_some()
                {
                    self.state.broke();
                    return Err(AppendError::Fatal);
                }
                // Nothing was enqueued, so nothing can have been stored.
                Err(append_error(code, false))
            }
            Err((_, _)) => Err(AppendError::Refused {
                code: "INVALID_TOPIC".into(),
            }),
        }
    }
}
