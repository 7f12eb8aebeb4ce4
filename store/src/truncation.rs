//! A log that ends before what is stored of it: said once, and nothing is stored until a person has looked.

use crate::connect::BEGIN;
use crate::{Place, Store, StoreError};

impl Store {
    /// Says that the log ends at `end`, before the stored offset `next`: in `gaps`, and so that nobody stores on top of
    /// the rows that the log no longer has. A rebuild lifts it.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when the stored offset is not `next`, or the partition is said to be truncated already.
    pub async fn truncated(&self, place: &Place, next: i64, end: i64) -> Result<(), StoreError> {
        const DURING: &str = "recording a truncation";
        self.within(DURING, async {
            let sql = |error| StoreError::from_sqlx(DURING, error);
            let topic_id = self.topic_id(place).await?;
            let mut tx = self.begin(BEGIN).await.map_err(sql)?;
            let said = sqlx::query(
                "update rivermouth.offsets set truncated_offset = $4, updated_at = now()
                 where topic_id = $1 and partition = $2 and next_offset = $3 and next_offset > $4
                   and truncated_offset is null",
            )
            .bind(topic_id)
            .bind(place.partition)
            .bind(next)
            .bind(end)
            .execute(&mut *tx)
            .await
            .map_err(sql)?;
            if said.rows_affected() != 1 {
                return Err(crate::offsets::fenced(place, next));
            }
            sqlx::query(
                "insert into rivermouth.gaps (topic_id, partition, from_offset, to_offset, reason)
                 values ($1, $2, $4, $3, 'truncated')
                 on conflict (topic_id, partition, from_offset) do update set to_offset = excluded.to_offset,
                     reason = excluded.reason, found_at = now()",
            )
            .bind(topic_id)
            .bind(place.partition)
            .bind(next)
            .bind(end)
            .execute(&mut *tx)
            .await
            .map_err(sql)?;
            tx.commit().await.map_err(sql)
        })
        .await
    }
}
