//! Days: the events are cut by day of their time. Makes the cuts ahead, and drops the oldest.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::connect::BEGIN;
use crate::{Store, StoreError};

/// Milliseconds of a day.
pub const DAY_MS: i64 = 86_400_000;

/// PostgreSQL could hold more, but nothing true lies outside: the years 1970 to 9999.
const AT_MAX_MS: i64 = 253_402_300_799_999;
/// A record's time may be anything its producer's clock says. Days farther away than this get no partition of their
/// own, so that a mad clock makes one row in the default partition and not a thousand tables.
const PAST_DAYS: i64 = 400;
const FUTURE_DAYS: i64 = 8;
/// After a day could not be made (an analyst's long query holds the lock), its rows go to the default partition this
/// long before it is tried again.
const PAUSE: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(crate) struct KnownDays {
    made: BTreeSet<i64>,
    failed: HashMap<i64, Instant>,
}

/// The nearest time that is kept.
pub(crate) fn storable(at_ms: i64) -> i64 {
    at_ms.clamp(0, AT_MAX_MS)
}

/// The day that a time is stored under, in days since 1970-01-01 UTC. Times PostgreSQL cannot hold lie in the nearest
/// day it can.
#[must_use]
pub fn day_of(at_ms: i64) -> i64 {
    storable(at_ms) / DAY_MS
}

fn today() -> i64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(now.as_millis()).map_or(0, day_of)
}

impl Store {
    /// Makes the partitions of today and of `ahead` days (at most 7 count) after it. Cheap when they exist.
    ///
    /// # Errors
    /// [`StoreError::Retry`] when a lock was not to be had within a second; rows are stored all the same.
    pub async fn prepare_days(&self, ahead: u32) -> Result<(), StoreError> {
        self.within("preparing days", async {
            let today = today();
            for day in today..=today + i64::from(ahead).min(FUTURE_DAYS - 1) {
                self.create_day(day).await?;
            }
            Ok(())
        })
        .await
    }

    /// Drops the events of all days before the one `oldest_kept_ms` lies in, and raises the floors.
    /// Answers how many days were dropped.
    ///
    /// # Errors
    /// [`StoreError::Retry`] when a lock was not to be had within a second.
    pub async fn drop_days(&self, oldest_kept_ms: i64) -> Result<i32, StoreError> {
        const DURING: &str = "dropping old days";
        self.within(DURING, async {
            let sql = |error| StoreError::from_sqlx(DURING, error);
            let mut tx = self.begin(BEGIN).await.map_err(sql)?;
            hurry(&mut tx).await.map_err(sql)?;
            let (dropped,): (i32,) =
                sqlx::query_as("select rivermouth.drop_days(date '1970-01-01' + $1::integer)")
                    .bind(i32::try_from(day_of(oldest_kept_ms)).unwrap_or(0))
                    .fetch_one(&mut *tx)
                    .await
                    .map_err(sql)?;
            tx.commit().await.map_err(sql)?;
            if let Ok(mut known) = self.days.lock() {
                known.made.clear();
            }
            Ok(dropped)
        })
        .await
    }

    /// Makes the partitions a batch needs as far as that can be done now; what has none goes to the default one.
    pub(crate) async fn days_for(&self, wanted: impl Iterator<Item = i64>) {
        let today = today();
        for day in wanted {
            if !(today - PAST_DAYS..=today + FUTURE_DAYS).contains(&day) || !self.worth_a_try(day) {
                continue;
            }
            if let Err(error) = self.create_day(day).await {
                tracing::warn!(day, %error, "a day has no partition yet, its events go to the default one");
            }
        }
    }

    fn worth_a_try(&self, day: i64) -> bool {
        let Ok(known) = self.days.lock() else {
            return false;
        };
        let failed_lately = |at: &Instant| at.elapsed() < PAUSE;
        !known.made.contains(&day) && !known.failed.get(&day).is_some_and(failed_lately)
    }

    async fn create_day(&self, day: i64) -> Result<(), StoreError> {
        const DURING: &str = "making the partition of a day";
        if self
            .days
            .lock()
            .is_ok_and(|known| known.made.contains(&day))
        {
            return Ok(());
        }
        let made = async {
            let mut tx = self.begin(BEGIN).await?;
            hurry(&mut tx).await?;
            sqlx::query("select rivermouth.create_day(date '1970-01-01' + $1::integer)")
                .bind(i32::try_from(day).unwrap_or(0))
                .execute(&mut *tx)
                .await?;
            tx.commit().await
        }
        .await
        .map_err(|error| StoreError::from_sqlx(DURING, error));
        if let Ok(mut known) = self.days.lock() {
            match made {
                Ok(()) => {
                    known.failed.remove(&day);
                    known.made.insert(day);
                }
                Err(_) => {
                    known.failed.insert(day, Instant::now());
                }
            }
        }
        made
    }
}

/// Whoever waits for these locks makes everybody behind wait too, so the wait is short.
async fn hurry(tx: &mut sqlx::Transaction<'_, sqlx::Postgres>) -> Result<(), sqlx::Error> {
    sqlx::query("set local lock_timeout = '1s'")
        .execute(&mut **tx)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bogus_times_are_moved_to_the_nearest_that_is_kept() {
        assert_eq!(storable(-1), 0);
        assert_eq!(storable(i64::MAX), AT_MAX_MS);
        assert_eq!(day_of(DAY_MS - 1), 0);
        assert_eq!(day_of(DAY_MS), 1);
    }
}
