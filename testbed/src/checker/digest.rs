//! The digests of the stored events, worked out from Kafka alone, and as the tables say them.
//!
//! Written from the text of docs/OPERATING.md. The cursors are made anew from the pinned key; PostgreSQL serves as a
//! calculator only, for SHA-256 and for what its jsonb prints.

use std::collections::BTreeMap;
use std::hash::Hasher as _;

use sqlx::Row as _;
use sqlx::postgres::PgPool;

use super::{Accepted, LogRecord};

/// The number of rows and the digest, by day, topic and partition.
pub type Digests = BTreeMap<(String, String, i32), (i64, String)>;

/// The digests of all events as the tables say them.
pub(crate) async fn stored(pool: &PgPool) -> Digests {
    let rows = sqlx::query(
        "select day::text, topic, partition, count, digest
         from rivermouth.digests(date '1970-01-01', date '9999-12-31') where content = 'events'",
    )
    .fetch_all(pool)
    .await
    .expect("the digests can be read");
    rows.iter()
        .map(|row| {
            (
                (row.get(0), row.get(1), row.get(2)),
                (row.get(3), row.get(4)),
            )
        })
        .collect()
}

/// The digests of what counts, by channel, where no topic was ever created again.
pub(crate) async fn expected(
    pool: &PgPool,
    key: [u8; 16],
    accepted: &BTreeMap<String, Vec<Accepted>>,
) -> Digests {
    let mut columns = Columns::default();
    for (channel, events) in accepted {
        for event in events {
            columns.add(key, channel, event);
        }
    }
    let rows = sqlx::query(
        "select day, topic, partition, count(*),
                encode(sha256(string_agg(sha256(convert_to(line, 'UTF8')), ''::bytea order by place)), 'hex')
         from (
             select (to_timestamp(at_ms / 1000) at time zone 'UTC')::date::text as day, topic, partition, place,
                    head || octet_length(data::jsonb::text) || ':' || data::jsonb::text as line
             from unnest($1::text[], $2::int[], $3::bigint[], $4::bigint[], $5::text[], $6::text[])
                  as l (topic, partition, place, at_ms, head, data)
         ) l group by day, topic, partition",
    )
    .bind(columns.topics)
    .bind(columns.partitions)
    .bind(columns.places)
    .bind(columns.times)
    .bind(columns.heads)
    .bind(columns.data)
    .fetch_all(pool)
    .await
    .expect("PostgreSQL can calculate");
    rows.iter()
        .map(|row| {
            (
                (row.get(0), row.get(1), row.get(2)),
                (row.get(3), row.get(4)),
            )
        })
        .collect()
}

/// One line of a digest for each event, all but its end.
#[derive(Default)]
struct Columns {
    topics: Vec<String>,
    partitions: Vec<i32>,
    places: Vec<i64>,
    times: Vec<i64>,
    heads: Vec<String>,
    data: Vec<String>,
}

impl Columns {
    fn add(&mut self, key: [u8; 16], channel: &str, event: &Accepted) {
        let fact = &event.fact;
        let to = event.to.as_ref().map_or_else(
            || "-".to_owned(),
            |to| {
                format!(
                    "[{}]",
                    to.iter().map(|user| field(user)).collect::<String>()
                )
            },
        );
        let cursor = cursor(key, channel, event.partition, event.offset + 1);
        let head = [
            field(&event.offset.to_string()),
            field(&fact.timestamp_ms.to_string()),
            field(channel),
            field(&fact.event),
            field(&fact.id),
            fact.user_id.as_deref().map_or("-".to_owned(), field),
            to,
            event
                .prev_offset
                .map_or("-".to_owned(), |prev| field(&prev.to_string())),
            field(&cursor),
            field(&fact.data),
        ];
        self.topics.push(event.topic.clone());
        self.partitions.push(event.partition);
        self.places.push(event.offset);
        self.times.push(fact.timestamp_ms);
        self.heads.push(head.concat());
        self.data.push(fact.data.clone());
    }
}

fn field(text: &str) -> String {
    format!("{}:{text}", text.len())
}

/// The key that the first pin record names.
pub(crate) fn pinned_key(state: &[LogRecord]) -> [u8; 16] {
    let pin = state
        .iter()
        .filter(|record| record.partition == 0)
        .find(|record| {
            record
                .key
                .as_ref()
                .is_some_and(|key| key.starts_with(b"pins/"))
        })
        .expect("the state topic has a pin record");
    let value: serde_json::Value =
        serde_json::from_slice(pin.value.as_deref().unwrap_or_default()).expect("pins are JSON");
    let key = value["cursor_key"].as_str().expect("pins have a key");
    u128::from_str_radix(key, 16)
        .expect("a key in hex")
        .to_be_bytes()
}

/// A cursor of generation 0: a `1`, then place and seal in a base64 that sorts.
fn cursor(key: [u8; 16], channel: &str, partition: i32, next: i64) -> String {
    const DIGITS: &[u8; 64] = b"-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";
    let mut raw = [0_u8; 18];
    raw[2..4].copy_from_slice(&u16::try_from(partition).unwrap().to_be_bytes());
    raw[4..12].copy_from_slice(&next.to_be_bytes());
    let half = |from: usize| u64::from_le_bytes(key[from..from + 8].try_into().unwrap());
    // Deprecated as a hasher of maps; it is SipHash-2-4 all the same.
    #[allow(deprecated)]
    let mut hasher = std::hash::SipHasher::new_with_keys(half(0), half(8));
    hasher.write(b"c");
    hasher.write(&raw[..12]);
    hasher.write(channel.as_bytes());
    raw[12..].copy_from_slice(&hasher.finish().to_be_bytes()[..6]);
    let spelled = raw.chunks_exact(3).flat_map(|group| {
        let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        [18, 12, 6, 0].map(|shift| char::from(DIGITS[(bits >> shift) as usize & 63]))
    });
    std::iter::once('1').chain(spelled).collect()
}
