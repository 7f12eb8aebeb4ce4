//! The first minute of every service: the topics are there and are the ones this installation was born with.

use std::time::Duration;

use anyhow::Context as _;
use broker::{BrokerError, Code, Flaw, Log, PinError, PinWatch, Pins, TopicSpec};
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

/// The topics whose identity is pinned.
pub(crate) fn to_pin(topics: &Topics) -> [&str; 4] {
    [
        topics.events(),
        topics.signals(),
        topics.jobs(),
        topics.state(),
    ]
}

/// The topics as they are made and checked once they are pinned: with the partitions they were pinned with, whatever
/// the settings say by now.
pub(crate) fn as_pinned(specs: &[TopicSpec], pins: &Pins) -> Vec<TopicSpec> {
    let pinned = |spec: &TopicSpec| {
        let pin = pins.topics.get(&spec.name);
        TopicSpec {
            partitions: pin.map_or(spec.partitions, |pin| pin.partitions),
            ..spec.clone()
        }
    };
    specs.iter().map(pinned).collect()
}

/// What the state topic has pinned; `None` when there is no such topic, or nothing in it yet.
pub(crate) async fn pinned(log: &Log, topics: &Topics) -> Result<Option<Pins>, PinError> {
    match broker::pinned(log, topics.state()).await {
        Err(PinError::Broker(BrokerError::Unknown { .. })) => Ok(None),
        pins => pins,
    }
}

async fn once(
    log: &Log,
    topics: &Topics,
    specs: &[TopicSpec],
    create: bool,
) -> anyhow::Result<Pins> {
    const READING: &str = "reading the pins";
    let specs = match pinned(log, topics).await.context(READING)? {
        // A pinned topic that is gone is not quietly made anew: its cursors and rows would mean other records.
        Some(pins) => {
            let watch = PinWatch::new(log.clone(), &pins);
            watch.look().await;
            if let Some(flaw) = watch.flaws().into_values().next() {
                return Err(PinError::Changed(flaw)).context(READING);
            }
            as_pinned(specs, &pins)
        }
        None => {
            if let Some(flaw) = lost(log, topics).await.context(READING)? {
                return Err(PinError::Changed(flaw)).context(READING);
            }
            specs.to_vec()
        }
    };
    log.ensure_topics(&specs, create)
        .await
        .context("looking at the topics")?;
    broker::pin(log, topics.state(), &to_pin(topics))
        .await
        .context(READING)
}

/// No pins although there are events: the state topic is not the one of the first start.
pub(crate) async fn lost(log: &Log, topics: &Topics) -> Result<Option<Flaw>, PinError> {
    for topic in topics.durable() {
        // Another node may have pinned, and its clients published, since we looked.
        if holds_records(log, topic).await? && pinned(log, topics).await?.is_none() {
            let state = topics.state();
            let what = format!(
                "no pins in it, but {topic} holds records: it was deleted and created again, or producers were \
                 faster than the first start"
            );
            let mend = format!(
                "restore its partition 0 from a backup; without one, rivermouth repin --topic {state} --yes \
                 (all cursors of before become invalid)"
            );
            return Ok(Some(Flaw::new(Code::PinsLost, state, what, mend)));
        }
    }
    Ok(None)
}

async fn holds_records(log: &Log, topic: &str) -> Result<bool, BrokerError> {
    let partitions = match log.describe(topic).await {
        Ok(facts) => i32::try_from(facts.partitions).unwrap_or(i32::MAX),
        Err(BrokerError::Unknown { .. }) => return Ok(false),
        Err(error) => return Err(error),
    };
    for partition in 0..partitions {
        if log.watermarks(topic, partition).await?.high > 0 {
            return Ok(true);
        }
    }
    Ok(false)
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
