//! The lookout: asks the log where each partition ends, and from that tells the lag, and confirms quiet partitions as
//! complete.

use std::sync::Arc;
use std::time::Duration;

use broker::{Retention, Watermarks};
use service::Shutdown;
use store::{Place, StoreError};

use crate::budget::{Budgets, Lag};
use crate::instance::Shared;
use crate::lane::now_ms;
use crate::standings::Standing;
use crate::worker::Command;

/// The clocks of brokers and persisters are taken to agree within this: a quiet partition is called complete up to
/// this long ago only.
const CLOCKS_APART_MS: i64 = 5000;
/// A round that takes longer is stuck; /health then says that nobody has looked.
const ROUND: Duration = Duration::from_secs(120);

/// What was seen of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// Where it was left, or it could not be told.
    Unmoved,
    /// Somebody else has moved the offset, which a partition without new records would never notice.
    Moved,
}

struct Lookout {
    shared: Arc<Shared>,
    budgets: Budgets,
    /// PostgreSQL did not answer in this round: nothing more is asked of it.
    store_away: bool,
}

/// Looks at every partition, again and again; `tell` hears which have to begin again.
pub(crate) async fn look_out(shared: Arc<Shared>, shutdown: Shutdown, tell: impl Fn(Command)) {
    let health = shared.ports.health.told("retention", ROUND);
    let mut lookout = Lookout {
        budgets: Budgets::new(health),
        store_away: false,
        shared,
    };
    loop {
        tokio::select! {
            () = shutdown.started() => return,
            () = tokio::time::sleep(lookout.shared.config.observe_every) => {}
        }
        lookout.store_away = false;
        for (place, standing) in lookout.shared.standings.all() {
            if shutdown.is_started() {
                return;
            }
            if lookout.look(&place, standing).await == Seen::Moved {
                tell(Command::Reopen(place));
            }
        }
        let Lookout {
            shared, budgets, ..
        } = &mut lookout;
        budgets.report(|place| shared.standings.has(place));
    }
}

impl Lookout {
    /// Tells the numbers of a partition, and confirms it where no records wait.
    async fn look(&mut self, place: &Place, standing: Standing) -> Seen {
        let asked_ms = now_ms();
        let log = &self.shared.ports.log;
        let watermarks = match log.watermarks(&place.topic, place.partition).await {
            Ok(watermarks) => watermarks,
            Err(error) => {
                tracing::debug!(%place, %error, "the end of a partition is not known");
                return Seen::Unmoved;
            }
        };
        // Asked after the offset was known: the log was cut. Who reads there hears it when it begins again.
        if watermarks.high < standing.committed {
            return Seen::Moved;
        }
        if self.told_lag(place, standing, watermarks, asked_ms).await > 0 {
            return Seen::Unmoved;
        }
        self.confirm(place, standing.committed, asked_ms - CLOCKS_APART_MS)
            .await
    }

    /// Tells how far a partition lags and what that uses up; answers the records that wait.
    async fn told_lag(
        &mut self,
        place: &Place,
        standing: Standing,
        watermarks: Watermarks,
        now_ms: i64,
    ) -> i64 {
        let log = &self.shared.ports.log;
        let retention = self.budgets.retention(log, &place.topic).await;
        let mut lag = Lag {
            watermarks,
            committed: standing.committed,
            stored_to_ms: standing.stored_to_ms,
        };
        if lag.stored_to_ms.is_none() && lag.records() > 0 {
            lag.stored_to_ms = self.oldest_ms(place, &lag, retention, now_ms).await;
        }
        let used = lag.used(retention, now_ms);
        let records = lag.records();
        let numbers = &self.shared.numbers;
        numbers.standing(place, records, lag.age_ms(now_ms), used);
        self.budgets.tell(place, used);
        records
    }

    /// Of a partition of which nothing was ever stored: about how old its oldest record is, as far as alarms care.
    async fn oldest_ms(
        &self,
        place: &Place,
        lag: &Lag,
        retention: Retention,
        now_ms: i64,
    ) -> Option<i64> {
        let log = &self.shared.ports.log;
        for tenths in [8, 5] {
            let then_ms = now_ms - retention.ms? / 10 * tenths;
            let first = log.offset_at(&place.topic, place.partition, then_ms).await;
            if first.is_ok_and(|first| first > lag.committed) {
                return Some(then_ms);
            }
        }
        None
    }

    /// Says that a partition without waiting records is complete up to a time.
    async fn confirm(&mut self, place: &Place, committed: i64, complete_to_ms: i64) -> Seen {
        if self.store_away {
            return Seen::Unmoved;
        }
        let Shared {
            ports, standings, ..
        } = &*self.shared;
        match ports.store.confirm(place, committed, complete_to_ms).await {
            Ok(true) => {
                if standings.stands_at(place, committed) {
                    standings.moved(place, committed, Some(complete_to_ms));
                }
                Seen::Unmoved
            }
            // Unless it was this instance that moved it meanwhile.
            Ok(false) if standings.stands_at(place, committed) => Seen::Moved,
            Ok(false) => Seen::Unmoved,
            Err(error) => {
                tracing::debug!(%place, %error, "a quiet partition could not be confirmed");
                self.store_away = matches!(error, StoreError::Retry { .. });
                Seen::Unmoved
            }
        }
    }
}
