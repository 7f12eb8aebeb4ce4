//! Leases: how several persisters share the partitions evenly, and how a dead one's move on.
//!
//! Nothing depends on a lease being true; the offsets fence. All times are those of PostgreSQL, so that the clocks of
//! the instances do not matter.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::connect::BEGIN;
use crate::{Place, Store, StoreError};

/// One instance's view of the leases over a fixed set of partitions.
#[derive(Debug)]
pub struct Leases {
    store: Store,
    owner: String,
    ttl: Duration,
    /// The partitions shared out, by the numbers PostgreSQL knows them by.
    places: BTreeMap<(i16, i32), Place>,
}

/// What an instance holds after a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shares {
    /// The partitions leased to this instance until `ttl` from now.
    pub held: Vec<Place>,
    /// How many it should hold: when it holds more, it finishes with some and gives them back.
    pub fair: usize,
}

const DURING: &str = "sharing out the partitions";

impl Leases {
    /// Joins as `owner` (unique to this start of this instance) in sharing `places`; leases last `ttl` unless renewed.
    ///
    /// # Errors
    /// [`StoreError::Retry`] while PostgreSQL is away.
    pub async fn join(
        store: Store,
        owner: impl Into<String>,
        ttl: Duration,
        places: &[Place],
    ) -> Result<Leases, StoreError> {
        let mut numbered = BTreeMap::new();
        for place in places {
            let topic_id = store.topic_id(place).await?;
            numbered.insert((topic_id, place.partition), place.clone());
        }
        let leases = Leases {
            store,
            owner: owner.into(),
            ttl,
            places: numbered,
        };
        let (topic_ids, partitions) = leases.columns(leases.places.keys());
        sqlx::query(
            "insert into rivermouth.leases (topic_id, partition)
             select * from unnest($1::smallint[], $2::integer[]) on conflict do nothing",
        )
        .bind(topic_ids)
        .bind(partitions)
        .execute(&leases.store.pool)
        .await
        .map_err(|error| StoreError::from_sqlx(DURING, error))?;
        Ok(leases)
    }

    /// One round: says that this instance is alive, renews what it holds, and takes free partitions up to its fair
    /// share. Call it every third of the ttl or more often.
    ///
    /// # Errors
    /// [`StoreError::Retry`] while PostgreSQL is away: go on with what was held, the offsets fence.
    pub async fn round(&self) -> Result<Shares, StoreError> {
        self.store.within(DURING, async {
        let sql = |error| StoreError::from_sqlx(DURING, error);
        let (topic_ids, partitions) = self.columns(self.places.keys());
        let mut tx = self.store.begin(BEGIN).await.map_err(sql)?;
        sqlx::query(
            "insert into rivermouth.members (owner, until) values ($1, now() + make_interval(secs => $2))
             on conflict (owner) do update set until = excluded.until",
        )
        .bind(&self.owner)
        .bind(self.ttl.as_secs_f64())
        .execute(&mut *tx)
        .await
        .map_err(sql)?;
        // Those who died long ago; skipping locked rows keeps two instances from waiting for each other.
        sqlx::query(
            "delete from rivermouth.members where owner in (
                 select owner from rivermouth.members where until < now() - interval '1 hour' for update skip locked)",
        )
        .execute(&mut *tx)
        .await
        .map_err(sql)?;
        // Everybody ranks the living the same way, so the fair shares add up to all partitions.
        let (living, before_me): (i64, i64) = sqlx::query_as(
            "select count(*), count(*) filter (where owner < $1) from rivermouth.members where until > now()",
        )
        .bind(&self.owner)
        .fetch_one(&mut *tx)
        .await
        .map_err(sql)?;
        let fair = fair_share(self.places.len(), living, before_me);
        let mut held: Vec<(i16, i32)> = sqlx::query_as(
            "update rivermouth.leases l set until = now() + make_interval(secs => $2)
             from unnest($3::smallint[], $4::integer[]) as w (topic_id, partition)
             where l.topic_id = w.topic_id and l.partition = w.partition and l.owner = $1
             returning l.topic_id, l.partition",
        )
        .bind(&self.owner)
        .bind(self.ttl.as_secs_f64())
        .bind(&topic_ids)
        .bind(&partitions)
        .fetch_all(&mut *tx)
        .await
        .map_err(sql)?;
        if held.len() < fair {
            let taken: Vec<(i16, i32)> = sqlx::query_as(
                "with free as (
                     select l.topic_id, l.partition from rivermouth.leases l
                     join unnest($3::smallint[], $4::integer[]) as w (topic_id, partition) using (topic_id, partition)
                     where l.until <= now() and l.owner is distinct from $1
                     order by l.partition, l.topic_id limit $5 for update of l skip locked
                 )
                 update rivermouth.leases l set owner = $1, until = now() + make_interval(secs => $2)
                 from free f where l.topic_id = f.topic_id and l.partition = f.partition
                 returning l.topic_id, l.partition",
            )
            .bind(&self.owner)
            .bind(self.ttl.as_secs_f64())
            .bind(&topic_ids)
            .bind(&partitions)
            .bind(i64::try_from(fair - held.len()).unwrap_or(i64::MAX))
            .fetch_all(&mut *tx)
            .await
            .map_err(sql)?;
            held.extend(taken);
        }
        tx.commit().await.map_err(sql)?;
        held.sort_unstable();
        Ok(Shares {
            held: held
                .iter()
                .filter_map(|slot| self.places.get(slot).cloned())
                .collect(),
            fair,
        })
    }).await
    }

    /// Gives partitions back, so that others need not wait for the lease to run out.
    ///
    /// # Errors
    /// [`StoreError::Retry`] while PostgreSQL is away: the leases run out by themselves.
    pub async fn release(&self, places: &[Place]) -> Result<(), StoreError> {
        self.store
            .within(DURING, async {
                let slots = self
                    .places
                    .iter()
                    .filter(|(_, place)| places.contains(place));
                let (topic_ids, partitions) = self.columns(slots.map(|(slot, _)| slot));
                sqlx::query(
                    "update rivermouth.leases l set owner = null, until = '-infinity'
             from unnest($2::smallint[], $3::integer[]) as w (topic_id, partition)
             where l.topic_id = w.topic_id and l.partition = w.partition and l.owner = $1",
                )
                .bind(&self.owner)
                .bind(topic_ids)
                .bind(partitions)
                .execute(&self.store.pool)
                .await
                .map_err(|error| StoreError::from_sqlx(DURING, error))?;
                Ok(())
            })
            .await
    }

    /// Gives everything back and is no longer counted.
    ///
    /// # Errors
    /// As [`Leases::release`].
    pub async fn leave(&self) -> Result<(), StoreError> {
        self.store
            .within(DURING, async {
                sqlx::query("delete from rivermouth.members where owner = $1")
                    .bind(&self.owner)
                    .execute(&self.store.pool)
                    .await
                    .map_err(|error| StoreError::from_sqlx(DURING, error))?;
                let all: Vec<Place> = self.places.values().cloned().collect();
                self.release(&all).await
            })
            .await
    }

    fn columns<'a>(&self, slots: impl Iterator<Item = &'a (i16, i32)>) -> (Vec<i16>, Vec<i32>) {
        slots.copied().unzip()
    }
}

/// How many of `partitions` the instance with `before_me` of the `living` ranked before it should hold.
fn fair_share(partitions: usize, living: i64, before_me: i64) -> usize {
    let living = usize::try_from(living).unwrap_or(1).max(1);
    let rank = usize::try_from(before_me).unwrap_or(0);
    partitions / living + usize::from(rank < partitions % living)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fair_shares_add_up_and_differ_by_one_at_most() {
        for partitions in 0..40 {
            for living in 1..9 {
                let shares: Vec<usize> = (0..living)
                    .map(|rank| fair_share(partitions, living, rank))
                    .collect();
                assert_eq!(shares.iter().sum::<usize>(), partitions);
                assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1);
            }
        }
    }
}
