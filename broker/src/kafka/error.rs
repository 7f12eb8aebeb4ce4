//! librdkafka's error codes, sorted by what our caller can do about them.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::{AppendError, BrokerError};

/// The fate of a record whose delivery failed. `maybe_stored` is librdkafka's own verdict on whether
/// the broker may have it: a refusal is only a refusal when no earlier attempt can have got through.
pub(crate) fn append_error(code: Code, maybe_stored: bool) -> AppendError {
    match code {
        Code::QueueFull => AppendError::Full,
        // The producer is beyond repair; so is everything that was in it.
        Code::Fatal
        | Code::Fenced
        | Code::ProducerFenced
        | Code::GaplessGuarantee
        | Code::Inconsistent
        | Code::OutOfOrderSequenceNumber
        | Code::UnknownProducerId
        | Code::InvalidProducerEpoch
        | Code::InvalidProducerIdMapping => AppendError::Fatal,
        _ if maybe_stored => AppendError::Unknown,
        Code::ThrottlingQuotaExceeded => AppendError::Full,
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => {
            AppendError::TooLarge
        }
        Code::TopicAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::SaslAuthenticationFailed
        | Code::Authentication
        | Code::InvalidRecord
        | Code::InvalidTimestamp
        | Code::InvalidTopic
        | Code::InvalidArgument
        | Code::UnknownTopic
        | Code::UnknownPartition
        | Code::UnknownTopicOrPartition
        | Code::UnknownTopicId
        | Code::PolicyViolation
        | Code::UnsupportedForMessageFormat
        | Code::UnsupportedCompressionType
        | Code::UnsupportedVersion
        | Code::InvalidRequiredAcks => AppendError::Refused { code: name(code) },
        // Timeouts, lost connections, purges, too few replicas, and whatever comes in later versions.
        _ => AppendError::Unknown,
    }
}

/// An answer to a question, or a partition that cannot be read.
pub(crate) fn broker_error(what: &str, topic: &str, partition: i32, code: Code) -> BrokerError {
    match code {
        Code::UnknownTopic
        | Code::UnknownPartition
        | Code::UnknownTopicOrPartition
        | Code::UnknownTopicId => BrokerError::Unknown {
            topic: topic.into(),
            partition,
        },
        Code::BadMessage | Code::BadCompression | Code::InvalidMessage => {
            BrokerError::Corrupt(format!("{what} {topic}/{partition}: {}", name(code)))
        }
        Code::TopicAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::SaslAuthenticationFailed
        | Code::Authentication
        | Code::SSL
        | Code::UnsupportedVersion
        | Code::UnsupportedFeature
        | Code::UnsupportedSASLMechanism
        | Code::InvalidArgument
        | Code::InvalidConfig
        | Code::InvalidTopic
        | Code::InvalidPartitions
        | Code::InvalidReplicationFactor
        | Code::InvalidRequest
        | Code::PolicyViolation => BrokerError::Refused {
            what: format!("{what} {topic}"),
            code: name(code),
        },
        _ => BrokerError::Unavailable {
            what: format!("{what} {topic}/{partition}: {}", name(code)),
        },
    }
}

pub(crate) fn kafka_error(
    what: &str,
    topic: &str,
    partition: i32,
    error: &KafkaError,
) -> BrokerError {
    match error.rdkafka_error_code() {
        Some(code) => broker_error(what, topic, partition, code),
        None => BrokerError::Config(format!("{what} {topic}: {error}")),
    }
}

/// `TopicAuthorizationFailed` as Kafka spells it: `TOPIC_AUTHORIZATION_FAILED`.
pub(crate) fn name(code: Code) -> String {
    let mut name = String::new();
    let mut previous_lower = false;
    for c in format!("{code:?}").chars() {
        if c.is_uppercase() && previous_lower {
            name.push('_');
        }
        previous_lower = c.is_lowercase();
        name.extend(c.to_uppercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_never_called_a_failure() {
        for code in [
            Code::MessageTimedOut,
            Code::RequestTimedOut,
            Code::BrokerTransportFailure,
            Code::NetworkException,
            Code::NotEnoughReplicasAfterAppend,
            Code::PurgeInflight,
        ] {
            for maybe_stored in [false, true] {
                assert_eq!(
                    append_error(code, maybe_stored),
                    AppendError::Unknown,
                    "{code:?}"
                );
            }
        }
    }

    #[test]
    fn a_refusal_after_a_lost_attempt_is_unknown() {
        assert_eq!(
            append_error(Code::TopicAuthorizationFailed, true),
            AppendError::Unknown
        );
        assert_eq!(
            append_error(Code::TopicAuthorizationFailed, false),
            AppendError::Refused {
                code: "TOPIC_AUTHORIZATION_FAILED".into()
            }
        );
    }
}
