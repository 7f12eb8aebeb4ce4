//! The states of channels after a batch.

use super::{Writing, column};
use crate::SnapshotRow;
use crate::days::{day_of, storable};

impl Writing<'_> {
    /// Each row is of another channel or another day.
    pub(super) async fn snapshots(&mut self, rows: &[SnapshotRow]) -> Result<(), sqlx::Error> {
        sqlx::query(
            "insert into rivermouth.snapshots (topic_id, partition, channel, day, next_offset, kind, version, state,
                 taken_at)
             select $1, $2, s.channel, date '1970-01-01' + s.day, s.next_offset, s.kind, s.version, s.state,
                 to_timestamp(s.at_ms::double precision / 1000)
             from unnest($3::text[], $4::integer[], $5::bigint[], $6::text[], $7::integer[], $8::bytea[], $9::bigint[])
                 as s (channel, day, next_offset, kind, version, state, at_ms)
             on conflict (topic_id, partition, channel, day) do update set
                 next_offset = excluded.next_offset, kind = excluded.kind, version = excluded.version,
                 state = excluded.state, taken_at = excluded.taken_at
             where excluded.next_offset > snapshots.next_offset",
        )
        .bind(self.topic_id)
        .bind(self.partition)
        .bind(column(rows, |row| row.channel.as_str()))
        .bind(column(rows, |row| {
            i32::try_from(day_of(row.at_ms)).unwrap_or(i32::MAX)
        }))
        .bind(column(rows, |row| row.next))
        .bind(column(rows, |row| row.kind.as_str()))
        .bind(column(rows, |row| row.version))
        .bind(column(rows, |row| row.state.as_ref()))
        .bind(column(rows, |row| storable(row.at_ms)))
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }
}
