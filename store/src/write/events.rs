//! Events and what must be remembered of them, each table with one statement of unnested columns.

use std::collections::BTreeMap;
use std::str;

use super::derive::{ChannelMove, DayMove, OutboxMove};
use super::{Cast, Writing, column};
use crate::NewEvent;
use crate::days::storable;

/// Everything but how `data_text` becomes `data`.
macro_rules! insert_events {
    ($data:literal) => {
        concat!(
            "insert into rivermouth.events (topic_id, partition, \"offset\", at, log_time_ms, prev_offset, id_given,
                 epoch, seq, producer, channel, event, event_id, user_id, cursor, to_users, data_text, data)
             select $1, $2, e.o, to_timestamp(e.at_ms::double precision / 1000), e.log_time_ms, e.prev, e.id_given,
                 e.epoch, e.seq, e.producer, e.channel, e.event, e.event_id, e.user_id, e.cursor,
                 case when e.to_json is not null then array(select jsonb_array_elements_text(e.to_json::jsonb)) end,
                 e.data_text, ",
            $data,
            " from unnest($3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::boolean[], $8::bigint[],
                 $9::bigint[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[],
                 $16::text[], $17::text[])
                 as e (o, at_ms, log_time_ms, prev, id_given, epoch, seq, producer, channel, event, event_id, user_id,
                       cursor, to_json, data_text)"
        )
    };
}
// No `on conflict`: the offset was just moved, so a row that is there already is a defect that must be heard (F57).
const PLAIN: &str = insert_events!("e.data_text::jsonb");
const CAREFUL: &str = insert_events!("rivermouth.jsonb_or_null(e.data_text)");

impl Writing<'_> {
    pub(super) async fn events(
        &mut self,
        rows: &[NewEvent],
        cast: Cast,
    ) -> Result<(), sqlx::Error> {
        let data = rows
            .iter()
            .map(|row| str::from_utf8(&row.data))
            .collect::<Result<Vec<&str>, _>>()
            .map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
        // Lists of lists do not unnest by rows; JSON carries each list as one value.
        let to = rows
            .iter()
            .map(|row| row.to.as_ref().map(serde_json::to_string).transpose())
            .collect::<Result<Vec<Option<String>>, _>>()
            .map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
        let statement = match cast {
            Cast::Plain => PLAIN,
            Cast::Careful => CAREFUL,
        };
        sqlx::query(statement)
            .bind(self.topic_id)
            .bind(self.partition)
            .bind(column(rows, |row| row.offset))
            .bind(column(rows, |row| storable(row.at_ms)))
            .bind(column(rows, |row| row.log_time_ms))
            .bind(column(rows, |row| row.prev))
            .bind(column(rows, |row| row.id_given))
            .bind(column(rows, |row| {
                row.outbox.as_ref().map(|outbox| signed(outbox.epoch))
            }))
            .bind(column(rows, |row| {
                row.outbox.as_ref().map(|outbox| signed(outbox.seq))
            }))
            .bind(column(rows, |row| {
                row.outbox.as_ref().map(|outbox| outbox.producer.as_str())
            }))
            .bind(column(rows, |row| row.channel.as_str()))
            .bind(column(rows, |row| row.name.as_str()))
            .bind(column(rows, |row| row.id.as_str()))
            .bind(column(rows, |row| row.user_id.as_deref()))
            .bind(column(rows, |row| row.cursor.as_str()))
            .bind(to)
            .bind(data)
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }

    pub(super) async fn channels(
        &mut self,
        moves: &BTreeMap<&str, ChannelMove>,
    ) -> Result<(), sqlx::Error> {
        let rows: Vec<(&str, ChannelMove)> =
            moves.iter().map(|(name, moved)| (*name, *moved)).collect();
        sqlx::query(
            "insert into rivermouth.channels as c (topic_id, partition, channel, log_time_ms, step_back_ms, last_offset,
                 newest_offset, first_at, events)
             select $1, $2, m.channel, m.log_time_ms, m.step_back_ms, m.last, m.newest,
                    to_timestamp(m.first_at_ms::double precision / 1000), m.events
             from unnest($3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[])
                  as m (channel, log_time_ms, step_back_ms, last, newest, first_at_ms, events)
             on conflict (topic_id, partition, channel) do update set
                 log_time_ms = excluded.log_time_ms,
                 step_back_ms = greatest(c.step_back_ms, excluded.step_back_ms),
                 last_offset = coalesce(excluded.last_offset, c.last_offset),
                 newest_offset = excluded.newest_offset,
                 first_at = least(c.first_at, excluded.first_at),
                 events = c.events + excluded.events",
        )
        .bind(self.topic_id)
        .bind(self.partition)
        .bind(column(&rows, |(name, _)| *name))
        .bind(column(&rows, |(_, moved)| moved.log_time_ms))
        .bind(column(&rows, |(_, moved)| moved.step_back_ms))
        .bind(column(&rows, |(_, moved)| moved.last))
        .bind(column(&rows, |(_, moved)| moved.newest))
        .bind(column(&rows, |(_, moved)| moved.first_at_ms))
        .bind(column(&rows, |(_, moved)| moved.events))
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }

    pub(super) async fn producers(
        &mut self,
        moves: &BTreeMap<(&str, Option<&str>, &str), OutboxMove>,
    ) -> Result<(), sqlx::Error> {
        let rows: Vec<_> = moves.iter().collect();
        sqlx::query(
            "insert into rivermouth.producers (topic_id, partition, channel, user_id, producer, epoch, seq, last_offset)
             select $1, $2, p.* from unnest($3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[]) as p
             on conflict (topic_id, partition, channel, user_id, producer) do update set
                 epoch = excluded.epoch, seq = excluded.seq, last_offset = excluded.last_offset",
        )
        .bind(self.topic_id)
        .bind(self.partition)
        .bind(column(&rows, |((channel, _, _), _)| *channel))
        .bind(column(&rows, |((_, user, _), _)| *user))
        .bind(column(&rows, |((_, _, producer), _)| *producer))
        .bind(column(&rows, |(_, moved)| signed(moved.epoch)))
        .bind(column(&rows, |(_, moved)| signed(moved.seq)))
        .bind(column(&rows, |(_, moved)| moved.offset))
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }

    pub(super) async fn days(&mut self, moves: &BTreeMap<i64, DayMove>) -> Result<(), sqlx::Error> {
        let rows: Vec<(i64, DayMove)> = moves.iter().map(|(day, moved)| (*day, *moved)).collect();
        sqlx::query(
            "insert into rivermouth.days as d (topic_id, partition, day, first_offset, last_offset, events)
             select $1, $2, date '1970-01-01' + m.day, m.first, m.last, m.events
             from unnest($3::integer[], $4::bigint[], $5::bigint[], $6::bigint[]) as m (day, first, last, events)
             on conflict (topic_id, partition, day) do update set
                 first_offset = least(d.first_offset, excluded.first_offset),
                 last_offset = greatest(d.last_offset, excluded.last_offset),
                 events = d.events + excluded.events",
        )
        .bind(self.topic_id)
        .bind(self.partition)
        // Storable times end in the year 9999, far within i32 days.
        .bind(column(&rows, |(day, _)| i32::try_from(*day).unwrap_or(i32::MAX)))
        .bind(column(&rows, |(_, moved)| moved.first))
        .bind(column(&rows, |(_, moved)| moved.last))
        .bind(column(&rows, |(_, moved)| moved.events))
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }
}

/// The decoder lets in no epoch and no seq above `i64::MAX`.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
