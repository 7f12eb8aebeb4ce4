//! Records that could not be taken. Nothing about them may be trusted, not even that their text is text.

use std::fmt::Write as _;

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Writing, column};
use crate::QuarantineRow;
use crate::days::storable;

/// Longer sentences are cut.
const DETAIL_CHARS_MAX: usize = 1000;

impl Writing<'_> {
    pub(super) async fn quarantine(&mut self, rows: &[QuarantineRow]) -> Result<(), sqlx::Error> {
        sqlx::query(
            "insert into rivermouth.quarantine (topic_id, partition, \"offset\", at, reason, detail, key, value, headers)
             select $1, $2, q.o, to_timestamp(q.at_ms::double precision / 1000), q.reason, q.detail, q.key, q.value,
                    q.headers::jsonb
             from unnest($3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::bytea[], $8::bytea[], $9::text[])
                  as q (o, at_ms, reason, detail, key, value, headers)",
        )
        .bind(self.topic_id)
        .bind(self.partition)
        .bind(column(rows, |row| row.offset))
        .bind(column(rows, |row| storable(row.at_ms)))
        .bind(column(rows, |row| text(&row.reason)))
        .bind(column(rows, |row| text(&row.detail)))
        .bind(column(rows, |row| row.key.as_deref()))
        .bind(column(rows, |row| row.value.as_deref()))
        .bind(column(rows, |row| headers(&row.headers)))
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }

    /// For the careful way: says which of the events just stored have no jsonb form.
    pub(super) async fn quarantine_unstorable(
        &mut self,
        (start, end): (i64, i64),
    ) -> Result<(), sqlx::Error> {
        sqlx::query(
            "insert into rivermouth.quarantine (topic_id, partition, \"offset\", at, reason, detail, key, value, headers)
             select topic_id, partition, \"offset\", at, 'not_storable',
                    'delivered to subscribers, but its data cannot be held as jsonb',
                    null, convert_to(data_text, 'UTF8'), '[]'
             from rivermouth.events
             where topic_id = $1 and partition = $2 and \"offset\" >= $3 and \"offset\" < $4 and data is null",
        )
        .bind(self.topic_id)
        .bind(self.partition)
        .bind(start)
        .bind(end)
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }
}

/// Text as PostgreSQL takes it: without U+0000, of bounded length.
fn text(raw: &str) -> String {
    raw.chars()
        .take(DETAIL_CHARS_MAX)
        .map(|c| {
            if c == '\0' {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}

/// `[{"name", "value"}]` in order; a value that is not text as `hex`.
fn headers(raw: &[(String, Bytes)]) -> String {
    let list = raw.iter().map(|(name, value)| {
        let name = text(name);
        match std::str::from_utf8(value) {
            Ok(value) if !value.contains('\0') => json!({"name": name, "value": value}),
            _ => json!({"name": name, "hex": hex(value)}),
        }
    });
    Value::Array(list.collect()).to_string()
}

fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(out, "{byte:02x}").expect("a String takes whatever is written to it");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_keep_their_order_and_bytes_that_are_no_text() {
        let raw = [
            ("a".to_owned(), Bytes::from_static(b"x")),
            ("a".to_owned(), Bytes::from_static(b"\xff\0")),
            ("n\0".to_owned(), Bytes::from_static(b"\0")),
        ];
        assert_eq!(
            headers(&raw),
            "[{\"name\":\"a\",\"value\":\"x\"},{\"hex\":\"ff00\",\"name\":\"a\"},{\"hex\":\"00\",\"name\":\"n\u{fffd}\"}]"
        );
    }
}
