//! Jobs and their steps.

use super::{Writing, column};
use crate::days::storable;
use crate::{JobRow, JobStep};

impl Writing<'_> {
    pub(super) async fn jobs(&mut self, rows: &[JobRow]) -> Result<(), sqlx::Error> {
        sqlx::query(
            "insert into rivermouth.jobs (job_id, kind, owner_id, status, progress, message, error_code, error_message,
                 created_at, updated_at, finished_at, cursor)
             select j.job_id, j.kind, j.owner_id, j.status, j.progress, j.message, j.error_code, j.error_message,
                 to_timestamp(j.created_ms::double precision / 1000), to_timestamp(j.updated_ms::double precision / 1000),
                 to_timestamp(j.finished_ms::double precision / 1000), j.cursor
             from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::double precision[], $6::text[], $7::text[],
                     $8::text[], $9::bigint[], $10::bigint[], $11::bigint[], $12::text[])
                 as j (job_id, kind, owner_id, status, progress, message, error_code, error_message, created_ms,
                       updated_ms, finished_ms, cursor)
             on conflict (job_id) do update set
                 kind = excluded.kind, owner_id = excluded.owner_id, status = excluded.status,
                 progress = excluded.progress, message = excluded.message, error_code = excluded.error_code,
                 error_message = excluded.error_message, created_at = excluded.created_at,
                 updated_at = excluded.updated_at,
                 finished_at = excluded.finished_at, cursor = excluded.cursor",
        )
        .bind(column(rows, |row| row.job_id.as_str()))
        .bind(column(rows, |row| row.kind.as_deref()))
        .bind(column(rows, |row| row.owner_id.as_deref()))
        .bind(column(rows, |row| row.status.as_str()))
        .bind(column(rows, |row| row.progress))
        .bind(column(rows, |row| row.message.as_deref()))
        .bind(column(rows, |row| row.error_code.as_deref()))
        .bind(column(rows, |row| row.error_message.as_deref()))
        .bind(column(rows, |row| storable(row.created_at_ms)))
        .bind(column(rows, |row| storable(row.updated_at_ms)))
        .bind(column(rows, |row| row.finished_at_ms.map(storable)))
        .bind(column(rows, |row| row.cursor.as_str()))
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }

    pub(super) async fn job_history(&mut self, rows: &[JobStep]) -> Result<(), sqlx::Error> {
        sqlx::query(
            "insert into rivermouth.job_history (topic_id, partition, job_id, \"offset\", status, progress, message,
                 error_code, at, cursor)
             select $1, $2, s.job_id, s.o, s.status, s.progress, s.message, s.error_code,
                 to_timestamp(s.at_ms::double precision / 1000), s.cursor
             from unnest($3::text[], $4::bigint[], $5::text[], $6::double precision[], $7::text[], $8::text[],
                     $9::bigint[], $10::text[])
                 as s (job_id, o, status, progress, message, error_code, at_ms, cursor)",
        )
        .bind(self.topic_id)
        .bind(self.partition)
        .bind(column(rows, |row| row.job_id.as_str()))
        .bind(column(rows, |row| row.offset))
        .bind(column(rows, |row| row.status.as_str()))
        .bind(column(rows, |row| row.progress))
        .bind(column(rows, |row| row.message.as_deref()))
        .bind(column(rows, |row| row.error_code.as_deref()))
        .bind(column(rows, |row| storable(row.at_ms)))
        .bind(column(rows, |row| row.cursor.as_str()))
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }
}
