//! Appends what is acknowledged to the state topic.

use std::{sync::Arc, time::Duration};

use broker::{Append, AppendError, Appended};
use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use protocol::{ErrorName, ProtocolError};
use schemas::KeptKey;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{Keeper, pending::Flight};

/// Appends under way at once.
const FLIGHTS_MAX: usize = 1_024;
/// How long a node that stops waits for what is still on its way.
const FLUSH: Duration = Duration::from_secs(5);
/// How often it is looked whether somebody has waited too long.
const LOOK: Duration = Duration::from_millis(500);

type Landed = (Arc<KeptKey>, Result<Appended, AppendError>);

/// Runs until `stop`, then until nothing is on its way any more.
pub(super) async fn run(keeper: Arc<Keeper>, stop: CancellationToken) {
    let mut flying: FuturesUnordered<BoxFuture<'static, Landed>> = FuturesUnordered::new();
    let mut failing = false;
    let mut ends: Option<Instant> = None;
    let mut look = Instant::now() + LOOK;
    loop {
        let now = Instant::now();
        if now >= look {
            look = now + LOOK;
            keeper.tell_overdue(now);
        }
        if ends.is_some_and(|ends| keeper.lock().pending.is_settled() || now >= ends) {
            return;
        }
        let (flights, due) = {
            let mut state = keeper.lock();
            let flights = state
                .pending
                .fly(FLIGHTS_MAX.saturating_sub(flying.len()), now);
            keeper.metrics.pending.set(state.pending.len() as i64);
            (flights, state.pending.next_due())
        };
        for flight in flights {
            flying.push(keeper.launch(flight));
        }
        let full = flying.len() >= FLIGHTS_MAX;
        let wake = due.filter(|_| !full).map_or(look, |due| due.min(look));
        tokio::select! {
            () = stop.cancelled(), if ends.is_none() => {
                let now = Instant::now();
                ends = Some(now + FLUSH);
                keeper.lock().pending.hurry(now);
            }
            Some((key, outcome)) = flying.next(), if !flying.is_empty() => {
                keeper.landed(&key, outcome, &mut failing);
            }
            () = keeper.bell.notified() => {}
            () = sleep_until(wake) => {}
        }
    }
}

impl Keeper {
    fn launch(&self, Flight { key, mark }: Flight) -> BoxFuture<'static, Landed> {
        let place = self.place(&key);
        let record = self.record(&key, mark);
        self.metrics.appends.inc();
        let enqueued = self.tiers.log.append(Append {
            topic: place.topic,
            partition: place.partition,
            key: Some(record.key.encode()),
            headers: Vec::new(),
            value: Some(record.encode()),
        });
        match enqueued {
            Ok(delivery) => Box::pin(async move { (key, delivery.await) }),
            Err(error) => Box::pin(std::future::ready((key, Err(error)))),
        }
    }

    fn landed(
        &self,
        key: &Arc<KeptKey>,
        outcome: Result<Appended, AppendError>,
        failing: &mut bool,
    ) {
        let now = Instant::now();
        let told = self.lock().pending.landed(key, outcome.is_ok(), now);
        if let Err(error) = &outcome {
            self.metrics.failed.inc();
            if !std::mem::replace(failing, true) {
                tracing::warn!(%error, "acknowledgements cannot be kept now; they are tried until they are");
            }
        } else {
            *failing = false;
        }
        for who in told {
            who.tell(outcome.as_ref().map(|_| ()).map_err(coded));
        }
    }

    fn tell_overdue(&self, now: Instant) {
        let overdue = self.lock().pending.overdue(now);
        for who in overdue {
            who.tell(Err(ProtocolError::timeout()));
        }
    }
}

/// A repeated acknowledgement is harmless, so nothing here is worse than "send it again".
fn coded(error: &AppendError) -> ProtocolError {
    match error {
        AppendError::Unknown | AppendError::Fatal => ProtocolError::timeout(),
        AppendError::Full | AppendError::Closed => {
            ProtocolError::unavailable("the log takes nothing just now", 1_000)
        }
        _ => ProtocolError::new(ErrorName::Internal, "the log refuses the acknowledgement"),
    }
}
