//! Kept cursors: only ever forward, so that the order in which records come does not matter.

use super::{Writing, column};
use crate::days::storable;
use crate::{DeliveryRow, Store, StoreError};

impl Store {
    /// The small numbers of the topics that the rows' cursors are of. Before the transaction, for it makes missing ones.
    pub(super) async fn topics_of(&self, rows: &[DeliveryRow]) -> Result<Vec<i16>, StoreError> {
        let mut ids = Vec::with_capacity(rows.len());
        for row in rows {
            ids.push(self.topic_id(&row.place).await?);
        }
        Ok(ids)
    }
}

impl Writing<'_> {
    /// Each key once; `topic_ids` are those of the rows, in order.
    pub(super) async fn deliveries(
        &mut self,
        rows: &[DeliveryRow],
        topic_ids: &[i16],
    ) -> Result<(), sqlx::Error> {
        sqlx::query(
            "insert into rivermouth.deliveries as d
                 (channel, user_id, durable, topic_id, generation, partition, next_offset, cursor, acked_at)
             select k.channel, k.user_id, k.durable, k.topic_id, k.generation, k.partition, k.next, k.cursor,
                    to_timestamp(k.acked_ms::double precision / 1000)
             from unnest($1::text[], $2::text[], $3::text[], $4::smallint[], $5::integer[], $6::integer[], $7::bigint[],
                     $8::text[], $9::bigint[])
                 as k (channel, user_id, durable, topic_id, generation, partition, next, cursor, acked_ms)
             on conflict (channel, user_id, durable) do update set
                 topic_id = excluded.topic_id, generation = excluded.generation, partition = excluded.partition,
                 next_offset = excluded.next_offset, cursor = excluded.cursor, acked_at = excluded.acked_at
             where (d.generation, d.next_offset) <= (excluded.generation, excluded.next_offset)",
        )
        .bind(column(rows, |row| row.key.channel.as_str()))
        .bind(column(rows, |row| row.key.user.as_str()))
        .bind(column(rows, |row| row.key.durable.as_str()))
        .bind(topic_ids)
        .bind(column(rows, |row| i32::from(row.place.generation)))
        .bind(column(rows, |row| row.place.partition))
        .bind(column(rows, |row| row.next))
        .bind(column(rows, |row| row.cursor.as_str()))
        .bind(column(rows, |row| storable(row.acked_at_ms)))
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }
}
