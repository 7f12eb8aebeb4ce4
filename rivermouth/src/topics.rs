//! The first minute of every service: the topics are there and are the ones this installation was born with.

use std::time::Duration;

use anyhow::Context as _;
use broker::{BrokerError, Log, PinError, Pins, TopicSpec};
use schemas::Topics;
use service::Shutdown;

/// Between two tries while the log is away; it may come up after us.
const PAUSE: Duration = Duration::from_secs(1);

/// Makes or checks the topics and reads the pins (D2), waiting for a log that is away until told to stop.
///
/// `None`: told to stop first.
pub(crate) async fn ready(
    log: &Log,
    topics: &Topics,
    specs: &[TopicSpec],
    create: bool,
    shutdown: &Shutdown,
) -> anyhow::Result<Option<Pins>> {
    loop {
        match once(log, topics, specs, create).await {
            Ok(pins) => return Ok(Some(pins)),
            Err(error) if is_away(&error) => {
                tracing::warn!(error = %format!("{error:#}"), "waiting for the log");
            }
            Err(error) => return Err(error),
        }
        tokio::select! {
            () = shutdown.started() => return Ok(None),
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

async fn once(
    log: &Log,
    topics: &Topics,
    specs: &[TopicSpec],
    create: bool,
) -> anyhow::Result<Pins> {
    log.ensure_topics(specs, create)
        .await
        .context("looking at the topics")?;
    let pinned = [
        topics.events(),
        topics.signals(),
        topics.jobs(),
        topics.state(),
    ];
    broker::pin(log, topics.state(), &pinned)
        .await
        .context("reading the pins")
}

fn is_away(error: &anyhow::Error) -> bool {
    let by_broker = error
        .downcast_ref::<BrokerError>()
        .is_some_and(BrokerError::retryable);
    let by_pin = match error.downcast_ref::<PinError>() {
        Some(PinError::Broker(error)) => error.retryable(),
        Some(PinError::Append(_)) => true,
        _ => false,
    };
    by_broker || by_pin
}
