//! How far a partition is stored, and the compare-and-swap that fences: whoever does not know the present offset
//! cannot move it.

use sqlx::{FromRow, PgConnection};

use crate::connect::BEGIN;
use crate::days::storable;
use crate::{Place, Store, StoreError};

/// How far a partition is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Every record below has been dealt with: stored, void or quarantined.
    pub next: i64,
    /// Rows are complete from here on, but for `lost`.
    pub floor: i64,
    /// Ranges between `floor` and `next` that were erased from the log before they were stored, ascending. At most
    /// [`LOST_MAX`]: rows before older ones count as gone, and `floor` says so.
    pub lost: Vec<(i64, i64)>,
    /// Every record with an earlier time in the log is stored, Unix milliseconds; `None` before the first.
    pub complete_to_ms: Option<i64>,
    /// A rebuild removes rows: [`Store::make_way`] comes before [`Store::write`].
    pub removing: bool,
    /// While it is being rebuilt: how far it was stored before. Records below were dealt with once.
    pub rebuild_to: Option<i64>,
    /// The log ends here, before `next`: rows from here on are of events it no longer has, and nothing is stored.
    pub truncated: Option<i64>,
}

/// How many lost ranges of a partition are told apart.
pub const LOST_MAX: usize = 32;

#[derive(FromRow)]
struct ProgressRow {
    next_offset: i64,
    floor_offset: i64,
    lost_from: Vec<i64>,
    lost_to: Vec<i64>,
    complete_to_ms: Option<i64>,
    removing: bool,
    rebuild_to: Option<i64>,
    truncated_offset: Option<i64>,
}

impl From<ProgressRow> for Progress {
    fn from(row: ProgressRow) -> Progress {
        // The newest come first, and one more than are told apart.
        let mut lost: Vec<(i64, i64)> = row.lost_from.into_iter().zip(row.lost_to).collect();
        let floor = match lost.get(LOST_MAX) {
            Some((_, to)) => row.floor_offset.max(*to),
            None => row.floor_offset,
        };
        lost.truncate(LOST_MAX);
        lost.reverse();
        Progress {
            next: row.next_offset,
            floor,
            lost,
            complete_to_ms: row.complete_to_ms,
            removing: row.removing,
            rebuild_to: row.rebuild_to,
            truncated: row.truncated_offset,
        }
    }
}

impl Store {
    /// How far `place` is stored; `None` while no persister has begun with it.
    ///
    /// # Errors
    /// [`StoreError::Retry`] while PostgreSQL is away.
    pub async fn progress(&self, place: &Place) -> Result<Option<Progress>, StoreError> {
        const DURING: &str = "reading an offset";
        self.within(DURING, async {
        let row: Option<ProgressRow> = sqlx::query_as(
            "select o.next_offset, o.floor_offset, (extract(epoch from o.complete_to_at) * 1000)::bigint as complete_to_ms,
                    o.rebuild_from is not null as removing, o.rebuild_to, o.truncated_offset,
                    coalesce(l.lost_from, '{}') as lost_from, coalesce(l.lost_to, '{}') as lost_to
             from rivermouth.offsets o join rivermouth.topics t using (topic_id) cross join lateral (
                 select array_agg(g.from_offset order by g.from_offset desc) as lost_from,
                        array_agg(g.to_offset order by g.from_offset desc) as lost_to
                 from (select from_offset, to_offset from rivermouth.gaps
                       where topic_id = o.topic_id and partition = o.partition and reason = 'retention'
                         and to_offset > o.floor_offset and to_offset <= o.next_offset
                       order by from_offset desc limit $4) g
             ) l
             where t.topic = $1 and t.generation = $2 and o.partition = $3",
        )
        .bind(&place.topic)
        .bind(i32::from(place.generation))
        .bind(place.partition)
        .bind(i64::try_from(LOST_MAX).unwrap_or(i64::MAX).saturating_add(1))
        .fetch_optional(&self.pool)
        .await
        .map_err(|error| StoreError::from_sqlx(DURING, error))?;
        Ok(row.map(Progress::from))
    }).await
    }

    /// Begins with a partition: where it is stored up to, or at `low` (the log's low watermark) if it is new. The first
    /// of a later generation says in `gaps` that what was not stored of the generation before is gone.
    ///
    /// # Errors
    /// [`StoreError::Retry`] while PostgreSQL is away.
    pub async fn open(&self, place: &Place, low: i64) -> Result<Progress, StoreError> {
        const DURING: &str = "beginning with a partition";
        self.within(DURING, async {
            let sql = |error| StoreError::from_sqlx(DURING, error);
            let topic_id = self.topic_id(place).await?;
            let mut tx = self.begin(BEGIN).await.map_err(sql)?;
            let begun = sqlx::query(
                "insert into rivermouth.offsets (topic_id, partition, next_offset, floor_offset, begun_offset)
             values ($1, $2, $3, $3, $3) on conflict (topic_id, partition) do nothing",
            )
            .bind(topic_id)
            .bind(place.partition)
            .bind(low)
            .execute(&mut *tx)
            .await
            .map_err(sql)?;
            if begun.rows_affected() == 1 && place.generation > 0 {
                sqlx::query(
                    "insert into rivermouth.gaps (topic_id, partition, from_offset, to_offset, reason)
                     select o.topic_id, o.partition, o.next_offset, 9223372036854775807, 'epoch'
                     from rivermouth.offsets o join rivermouth.topics t using (topic_id)
                     where t.topic = $1 and t.generation < $2 and o.partition = $3
                     on conflict do nothing",
                )
                .bind(&place.topic)
                .bind(i32::from(place.generation))
                .bind(place.partition)
                .execute(&mut *tx)
                .await
                .map_err(sql)?;
            }
            tx.commit().await.map_err(sql)?;
            self.progress(place)
                .await?
                .ok_or_else(|| StoreError::fatal(DURING, "the offset just added is not there"))
        })
        .await
    }

    /// Records that the log no longer holds `from..to`, and goes on at `to`. The rows before stay; where there are none,
    /// they are complete from `to` on.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when the stored offset is not `from`.
    pub async fn skip(&self, place: &Place, from: i64, to: i64) -> Result<(), StoreError> {
        const DURING: &str = "recording a gap";
        self.within(DURING, async {
            let sql = |error| StoreError::from_sqlx(DURING, error);
            let topic_id = self.topic_id(place).await?;
            let moved = sqlx::query(
                "with moved as (
                     update rivermouth.offsets set next_offset = $4, updated_at = now(),
                         floor_offset = case when floor_offset = next_offset then $4 else floor_offset end
                     where topic_id = $1 and partition = $2 and next_offset = $3 and rebuild_from is null
                       and truncated_offset is null
                     returning topic_id, partition
                 )
                 insert into rivermouth.gaps (topic_id, partition, from_offset, to_offset, reason)
                 select topic_id, partition, $3, $4, 'retention' from moved",
            )
            .bind(topic_id)
            .bind(place.partition)
            .bind(from)
            .bind(to)
            .execute(&self.pool)
            .await
            .map_err(sql)?;
            match moved.rows_affected() {
                1 => Ok(()),
                _ => Err(fenced(place, from)),
            }
        })
        .await
    }

    /// Says that a quiet partition, stored up to its end `next`, is complete up to a time. Answers whether that was
    /// so: false when somebody else has moved the offset, or a rebuild has been ordered.
    ///
    /// # Errors
    /// [`StoreError::Retry`] while PostgreSQL is away.
    pub async fn confirm(
        &self,
        place: &Place,
        next: i64,
        complete_to_ms: i64,
    ) -> Result<bool, StoreError> {
        const DURING: &str = "confirming an offset";
        self.within(DURING, async {
        let topic_id = self.topic_id(place).await?;
        let confirmed = sqlx::query(
            "update rivermouth.offsets
             set complete_to_at = greatest(complete_to_at, to_timestamp($4::double precision / 1000)), updated_at = now()
             where topic_id = $1 and partition = $2 and next_offset = $3 and rebuild_from is null
               and truncated_offset is null",
        )
        .bind(topic_id)
        .bind(place.partition)
        .bind(next)
        .bind(storable(complete_to_ms))
        .execute(&self.pool)
        .await
        .map_err(|error| StoreError::from_sqlx(DURING, error))?;
        Ok(confirmed.rows_affected() == 1)
    }).await
    }
}

/// Moves the offset from `start` to `end` within the caller's transaction. Takes the row's lock, so that of two
/// writers the second waits here and then finds the offset moved.
pub(crate) async fn advance(
    connection: &mut PgConnection,
    topic_id: i16,
    place: &Place,
    (start, end): (i64, i64),
    complete_to_ms: Option<i64>,
) -> Result<Result<(), StoreError>, sqlx::Error> {
    let moved = sqlx::query(
        "update rivermouth.offsets
         set next_offset = $4, updated_at = now(),
             complete_to_at = greatest(complete_to_at, to_timestamp($5::double precision / 1000))
         where topic_id = $1 and partition = $2 and next_offset = $3 and rebuild_from is null
               and truncated_offset is null",
    )
    .bind(topic_id)
    .bind(place.partition)
    .bind(start)
    .bind(end)
    .bind(complete_to_ms.map(storable))
    .execute(connection)
    .await?;
    Ok(match moved.rows_affected() {
        1 => Ok(()),
        _ => Err(fenced(place, start)),
    })
}

pub(crate) fn fenced(place: &Place, expected: i64) -> StoreError {
    StoreError::Fenced {
        place: place.clone(),
        expected,
    }
}
