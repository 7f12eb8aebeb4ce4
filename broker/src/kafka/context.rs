//! What librdkafka says on its own: log lines and client-wide errors go to tracing.

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;

#[derive(Debug, Clone)]
pub(crate) struct Context;

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // Repeated for as long as brokers are away, and librdkafka goes on by itself.
        tracing::debug!(%error, reason, "kafka client");
    }
}

impl ConsumerContext for Context {}

pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    if is_known(facility, message) {
        return;
    }
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(target: "librdkafka", facility, "{message}");
        }
        // What librdkafka calls an error or a warning here it also repairs here.
        RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
            tracing::warn!(target: "librdkafka", facility, "{message}");
        }
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
            tracing::info!(target: "librdkafka", facility, "{message}");
        }
        RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, "{message}"),
    }
}

/// What librdkafka says at every start, and we know and want.
///
/// It calls `enable.gapless.guarantee` experimental whenever it is set, whatever to. We set it, to `false`: a promise
/// of ours rests on a hole after a timeout being no fatal error, whatever a later default may be. Nobody who reads the
/// log could do anything about it.
fn is_known(facility: &str, message: &str) -> bool {
    const GAPLESS: &str = "Configuration property enable.gapless.guarantee is experimental";
    // The message may begin with the name of the thread that says it.
    facility == "CONFWARN" && message.contains(GAPLESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_warning_that_is_known_is_kept_out_of_the_log() {
        let known = "Configuration property enable.gapless.guarantee is experimental: When set to `true`, any error";
        let on_its_thread = format!("[thrd:app]: {known}");
        assert!(is_known("CONFWARN", known) && is_known("CONFWARN", &on_its_thread));
        for (facility, message) in [
            ("FAIL", known),
            (
                "CONFWARN",
                "Configuration property enable.gapless.guarantee is deprecated: it does nothing",
            ),
            (
                "CONFWARN",
                "Configuration property acks is experimental: no",
            ),
        ] {
            assert!(!is_known(facility, message), "{facility} {message}");
        }
    }
}
