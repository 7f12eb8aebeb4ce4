//! Rebuilding the tables from the log: what the log can give again, and waiting until it has.
//!
//! [`plan`] looks and changes nothing. `Store::order_rebuilds` takes its orders, whichever persister holds a partition
//! carries its order out, and [`finish`] waits for that. So running persisters are no obstacle: they are what does it.

use std::time::Duration;

use broker::{BrokerError, Code, Watermarks};
use service::Shutdown;
use store::{Order, Place, Progress, Rebuild, Store, StoreError};
use tokio::time::Instant;

use crate::config::{PersisterConfig, Ports};
use crate::instance::{PersisterError, places};
use crate::lane::now_ms;

/// Between two looks at how far it is.
const EVERY: Duration = Duration::from_millis(500);
/// Nothing moved for this long: whatever is in the way does not go away by itself.
const PATIENCE: Duration = Duration::from_secs(600);

/// Why there is no rebuild, or no end of it.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// Rows would go that the log cannot give again: it lost its end. Asked for a lossy plan, they go.
    #[error(
        "{code} {place}: the log lost what lay from {from} on, and rows are stored up to {next}: a rebuild would lose them too",
        code = Code::LogTruncated.as_str()
    )]
    Truncated {
        /// The partition.
        place: Place,
        /// The first offset that the log lost.
        from: i64,
        /// How far it is stored.
        next: i64,
    },
    /// No topic of this installation has that name.
    #[error("{0} is no topic whose records are stored")]
    UnknownTopic(String),
    /// Nothing has moved for ten minutes. What was done stays done: see what stops the persisters, and run it again.
    #[error("REBUILD_STALLED nothing has moved for ten minutes; {0}")]
    Stalled(String),
    /// The settings do not fit this installation.
    #[error(transparent)]
    Persister(#[from] PersisterError),
    /// PostgreSQL refuses, or is away.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log refuses, or is away.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

/// What a rebuild does to one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The partition.
    pub place: Place,
    /// What lies below stays as it is: the log no longer has it, or may not have it for long enough. Equal to `next`
    /// when that is everything.
    pub from: i64,
    /// How far it is stored.
    pub next: i64,
    /// Up to where the log can give it again: `next`, or where the log was truncated.
    pub to: i64,
    /// Rows are complete from here on. Below `from` that many offsets keep their rows.
    pub floor: i64,
}

impl Part {
    /// The order that does it; `None` where the log can give nothing again.
    #[must_use]
    pub fn order(&self) -> Option<Order> {
        (self.from < self.next).then(|| Order {
            place: self.place.clone(),
            from: self.from,
            to: self.to,
        })
    }
}

/// How far a rebuild goes.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// Only this topic; `None` for all that are stored.
    pub topic: Option<&'a str>,
    /// Rows that retention takes from the log within this time stay (or within half of the retention, if that is
    /// shorter).
    pub margin: Duration,
    /// Rows may go that a truncated log can never give again.
    pub lossy: bool,
}

/// What a rebuild would do to each partition.
///
/// # Errors
/// See [`RebuildError`]; nothing has been changed.
pub async fn plan(
    config: &PersisterConfig,
    ports: &Ports,
    scope: &Scope<'_>,
) -> Result<Vec<Part>, RebuildError> {
    let mut all = places(config, ports)?;
    if let Some(topic) = scope.topic {
        all.retain(|place| place.topic == topic);
        if all.is_empty() {
            return Err(RebuildError::UnknownTopic(topic.to_owned()));
        }
    }
    let mut parts = Vec::new();
    for place in all {
        let Some(progress) = ports.store.progress(&place).await? else {
            continue;
        };
        let lasting = lasting(ports, &place, scope.margin).await?;
        let watermarks = ports.log.watermarks(&place.topic, place.partition).await?;
        parts.push(part(place, progress, watermarks, lasting, scope.lossy)?);
    }
    Ok(parts)
}

/// The first offset that retention by age leaves alone for `margin`.
async fn lasting(ports: &Ports, place: &Place, margin: Duration) -> Result<i64, BrokerError> {
    let Some(retention_ms) = ports.log.retention(&place.topic).await?.ms else {
        return Ok(0);
    };
    let margin_ms = i64::try_from(margin.as_millis()).unwrap_or(i64::MAX);
    let oldest_ms = now_ms() - retention_ms + margin_ms.min(retention_ms / 2);
    let log = &ports.log;
    log.offset_at(&place.topic, place.partition, oldest_ms)
        .await
}

fn part(
    place: Place,
    progress: Progress,
    watermarks: Watermarks,
    lasting: i64,
    lossy: bool,
) -> Result<Part, RebuildError> {
    let next = progress.next;
    // A log that has grown again since ends behind what it lost.
    let to = progress
        .truncated
        .unwrap_or(next)
        .min(watermarks.high)
        .min(next);
    if to < next && !lossy {
        return Err(RebuildError::Truncated {
            place,
            from: to,
            next,
        });
    }
    let from = watermarks.low.max(lasting).max(progress.floor);
    Ok(Part {
        place,
        from: from.min(to),
        next,
        to,
        floor: progress.floor,
    })
}

/// Waits until every ordered rebuild of this installation is complete, and calls it so. `told` hears how far they are.
/// `false`: told to stop before that; what was ordered goes on wherever a persister runs.
///
/// # Errors
/// [`RebuildError::Stalled`] when nothing moves any more.
pub async fn finish(
    config: &PersisterConfig,
    ports: &Ports,
    shutdown: &Shutdown,
    mut told: impl FnMut(&[Rebuild]),
) -> Result<bool, RebuildError> {
    let ours = places(config, ports)?;
    let mut seen = Vec::new();
    let mut moved = Instant::now();
    loop {
        match look(&ports.store, &ours).await {
            Ok(rebuilds) if rebuilds.iter().all(Rebuild::is_complete) => {
                told(&rebuilds);
                ports.store.complete_rebuilds().await?;
                return Ok(true);
            }
            Ok(rebuilds) => {
                told(&rebuilds);
                if rebuilds != seen {
                    (seen, moved) = (rebuilds, Instant::now());
                }
            }
            Err(error @ StoreError::Retry { .. }) => {
                tracing::warn!(%error, "waiting for PostgreSQL")
            }
            Err(error) => return Err(error.into()),
        }
        if moved.elapsed() > PATIENCE {
            return Err(RebuildError::Stalled(stuck(&seen)));
        }
        tokio::select! {
            () = shutdown.started() => return Ok(false),
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

async fn look(store: &Store, ours: &[Place]) -> Result<Vec<Rebuild>, StoreError> {
    let mut rebuilds = store.rebuilds().await?;
    // Those of a topic's earlier generation have no log any more.
    rebuilds.retain(|rebuild| ours.contains(&rebuild.place));
    Ok(rebuilds)
}

fn stuck(seen: &[Rebuild]) -> String {
    let left = seen.iter().filter(|rebuild| !rebuild.is_complete());
    let places: Vec<String> = left
        .map(|rebuild| format!("{} at {} of {}", rebuild.place, rebuild.next, rebuild.to))
        .collect();
    places.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(next: i64, floor: i64, truncated: Option<i64>) -> Progress {
        Progress {
            next,
            floor,
            lost: Vec::new(),
            complete_to_ms: None,
            removing: false,
            rebuild_to: None,
            truncated,
        }
    }

    fn planned(
        progress: Progress,
        (low, high): (i64, i64),
        lasting: i64,
        lossy: bool,
    ) -> Result<Part, RebuildError> {
        let place = Place::new("t", 0, 0);
        part(place, progress, Watermarks { low, high }, lasting, lossy)
    }

    fn from(next: i64, floor: i64, marks: (i64, i64), lasting: i64) -> Option<i64> {
        let part = planned(progress(next, floor, None), marks, lasting, false).unwrap();
        part.order().map(|order| order.from)
    }

    #[test]
    fn only_what_the_log_holds_for_long_enough_is_removed() {
        assert_eq!(from(100, 0, (0, 120), 0), Some(0));
        assert_eq!(from(100, 0, (30, 120), 0), Some(30), "erased from the log");
        assert_eq!(from(100, 0, (30, 120), 40), Some(40), "about to be erased");
        assert_eq!(
            from(100, 50, (30, 120), 40),
            Some(50),
            "dropped by the tables' own retention"
        );
        assert_eq!(from(100, 0, (100, 120), 0), None);
        assert_eq!(
            from(100, 0, (110, 120), 0),
            None,
            "nothing of what is stored"
        );
        assert_eq!(from(100, 0, (0, 120), 120), None);
    }

    #[test]
    fn rows_that_a_truncated_log_cannot_give_again_go_only_when_told_so() {
        let shorter = progress(100, 0, None);
        let grown_again = progress(100, 0, Some(90));
        for (progress, high, lost) in [(shorter, 99, 99), (grown_again.clone(), 200, 90)] {
            let refused = planned(progress.clone(), (0, high), 0, false);
            assert!(
                matches!(refused, Err(RebuildError::Truncated { from, .. }) if from == lost),
                "{refused:?}"
            );
            let part = planned(progress, (0, high), 0, true).unwrap();
            assert_eq!((part.from, part.to), (0, lost));
        }
        // The log no longer even has the place where it was cut.
        let part = planned(grown_again, (150, 200), 0, true).unwrap();
        assert_eq!(part.order().map(|order| order.from), Some(90));
    }
}
