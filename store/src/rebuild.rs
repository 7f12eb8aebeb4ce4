//! Rebuilding a partition from the log: ordered by one, carried out by whoever stores the partition next.
//!
//! An order moves nothing. It closes the partition to writers, whoever finds it closed removes the rows from the ordered
//! offset on, piece by piece, and opens it again there; storing then goes on as after any pause. Every step may be
//! repeated and may end in the middle, so that nobody has to survive.

mod remove;
mod rewind;

use std::time::Duration;

use sqlx::PgConnection;

use crate::connect::BEGIN;
use crate::{Place, Store, StoreError};
use remove::remove_newest;

/// Counting what lies above an offset may take long in a large partition. The statement below says the same.
const PATIENCE: Duration = Duration::from_secs(600);

const DURING: &str = "rebuilding a partition";

/// A partition to be rebuilt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The partition.
    pub place: Place,
    /// Rows from here on are removed and come again from the log, which has to hold them. What lies below stays.
    pub from: i64,
    /// Once it is stored up to here again, it is complete.
    pub to: i64,
}

/// A partition whose rebuild has been ordered and not yet been called complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebuild {
    /// The partition.
    pub place: Place,
    /// How far it is stored now.
    pub next: i64,
    /// Up to where it has to be stored again.
    pub to: i64,
    /// Rows are still being removed.
    pub removing: bool,
}

impl Rebuild {
    /// Whether everything is back.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.removing && self.next >= self.to
    }
}

/// What a call of [`Store::make_way`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// There is more to remove: call again.
    Blocked,
    /// Nothing is in the way (any more): store from the offset on.
    Clear,
}

/// An offset's row, locked.
struct Locked {
    topic_id: i16,
    partition: i32,
    next: i64,
    floor: i64,
    begun: i64,
    from: i64,
}

impl Store {
    /// Orders rebuilds, all or none. A partition stored no farther than its order's offset is left as it is.
    ///
    /// # Errors
    /// [`StoreError::Retry`] while PostgreSQL is away: nothing was ordered, or all of it ([`Store::rebuilds`] tells).
    pub async fn order_rebuilds(&self, orders: &[Order]) -> Result<(), StoreError> {
        self.within(DURING, async {
            let sql = |error| StoreError::from_sqlx(DURING, error);
            let mut tx = self.begin(BEGIN).await.map_err(sql)?;
            for order in orders {
                let topic_id = self.topic_id(&order.place).await?;
                sqlx::query(
                    "update rivermouth.offsets
                     set rebuild_from = least(greatest($3, floor_offset), rebuild_from),
                         rebuild_to = greatest(rebuild_to, $4)
                     where topic_id = $1 and partition = $2 and next_offset > greatest($3, floor_offset)",
                )
                .bind(topic_id)
                .bind(order.place.partition)
                .bind(order.from)
                .bind(order.to)
                .execute(&mut *tx)
                .await
                .map_err(sql)?;
            }
            tx.commit().await.map_err(sql)
        })
        .await
    }

    /// Every rebuild that was ordered and not yet called complete.
    ///
    /// # Errors
    /// [`StoreError::Retry`] while PostgreSQL is away.
    pub async fn rebuilds(&self) -> Result<Vec<Rebuild>, StoreError> {
        type Row = (String, i32, i32, i64, i64, bool);
        self.within(DURING, async {
            let rows: Vec<Row> = sqlx::query_as(
                "select t.topic, t.generation, o.partition, o.next_offset, o.rebuild_to, o.rebuild_from is not null
                 from rivermouth.offsets o join rivermouth.topics t using (topic_id)
                 where o.rebuild_to is not null order by 1, 2, 3",
            )
            .fetch_all(&self.pool)
            .await
            .map_err(|error| StoreError::from_sqlx(DURING, error))?;
            Ok(rows
                .into_iter()
                .map(|(topic, generation, partition, next, to, removing)| Rebuild {
                    place: Place::new(topic, u16::try_from(generation).unwrap_or(0), partition),
                    next,
                    to,
                    removing,
                })
                .collect())
        })
        .await
    }

    /// Calls every rebuild complete that is. Answers whether none is left.
    ///
    /// # Errors
    /// [`StoreError::Retry`] while PostgreSQL is away.
    pub async fn complete_rebuilds(&self) -> Result<bool, StoreError> {
        self.within(DURING, async {
            sqlx::query(
                "update rivermouth.offsets set rebuild_to = null
                 where rebuild_from is null and next_offset >= rebuild_to",
            )
            .execute(&self.pool)
            .await
            .map_err(|error| StoreError::from_sqlx(DURING, error))?;
            Ok(())
        })
        .await?;
        Ok(self.rebuilds().await?.is_empty())
    }

    /// Takes one step to remove what an ordered rebuild removes of a partition. The steps of several callers do no harm
    /// to each other, and none is ever taken twice.
    ///
    /// # Errors
    /// [`StoreError::Retry`] while PostgreSQL is away.
    pub async fn make_way(&self, place: &Place) -> Result<Way, StoreError> {
        let sql = |error| StoreError::from_sqlx(DURING, error);
        let step = async {
            let topic_id = self.topic_id(place).await?;
            let mut tx = self.begin(BEGIN).await.map_err(sql)?;
            sqlx::query("set local statement_timeout = '600s'")
                .execute(&mut *tx)
                .await
                .map_err(sql)?;
            let way = match lock(&mut tx, topic_id, place.partition)
                .await
                .map_err(sql)?
            {
                None => Way::Clear,
                Some(row) if row.next > row.from => {
                    row.rewind(&mut tx).await.map_err(sql)?;
                    Way::Blocked
                }
                Some(row) => remove_newest(&row, &mut tx).await.map_err(sql)?,
            };
            tx.commit().await.map_err(sql)?;
            Ok(way)
        };
        tokio::time::timeout(PATIENCE, step)
            .await
            .unwrap_or_else(|_| Err(StoreError::retry(DURING, "took longer than ten minutes")))
    }
}

/// Locks a partition's offset against writers and other rebuilders; `None` when it is open to writers.
async fn lock(
    connection: &mut PgConnection,
    topic_id: i16,
    partition: i32,
) -> Result<Option<Locked>, sqlx::Error> {
    let row: Option<(i64, i64, i64, i64)> = sqlx::query_as(
        // Days may have been dropped since the order: what is gone for that reason stays away.
        "select next_offset, floor_offset, begun_offset, greatest(rebuild_from, floor_offset) from rivermouth.offsets
         where topic_id = $1 and partition = $2 and rebuild_from is not null for update",
    )
    .bind(topic_id)
    .bind(partition)
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|(next, floor, begun, from)| Locked {
        topic_id,
        partition,
        next,
        floor,
        begun,
        from,
    }))
}
