//! The delivery ledger: kept cursors as the state topic adds up to, and how a node looks them up.

use schemas::KeptKey;

use crate::{Place, Store, StoreError};

/// How far a user has acknowledged a channel under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRow {
    /// Whose, of which channel, under which name.
    pub key: KeptKey,
    /// Where the acknowledged events lie.
    pub place: Place,
    /// Every event of the channel below this offset is acknowledged.
    pub next: i64,
    /// The same as a cursor.
    pub cursor: String,
    /// When it was acknowledged, Unix milliseconds; times before 1970 or after 9999 are stored as those.
    pub acked_at_ms: i64,
}

/// What PostgreSQL keeps for some keys, as of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptCursors {
    /// Records of the state topic's partition below this offset are in it; `None` while no persister has begun with it.
    pub next: Option<i64>,
    /// For each key asked for, in order, its cursor and when it was acknowledged (Unix milliseconds).
    pub cursors: Vec<Option<(String, i64)>>,
}

type Row = (Option<i64>, Option<String>, Option<i64>);

impl Store {
    /// The kept cursors of `keys`, all of whose records lie in `place`, a partition of the state topic.
    ///
    /// # Errors
    /// [`StoreError::Retry`] while PostgreSQL is away.
    pub async fn kept(&self, place: &Place, keys: &[&KeptKey]) -> Result<KeptCursors, StoreError> {
        const DURING: &str = "looking up kept cursors";
        let part = |of: fn(&KeptKey) -> &str| keys.iter().map(|key| of(key)).collect::<Vec<_>>();
        self.within(DURING, async {
            // One statement, so that cursors and offset are of the same moment.
            let rows: Vec<Row> = sqlx::query_as(
                "select o.next_offset, d.cursor, (extract(epoch from d.acked_at) * 1000)::bigint
                 from unnest($4::text[], $5::text[], $6::text[]) with ordinality as k (channel, user_id, durable, n)
                 left join rivermouth.deliveries d using (channel, user_id, durable)
                 left join (
                     select o.next_offset from rivermouth.offsets o join rivermouth.topics t using (topic_id)
                     where t.topic = $1 and t.generation = $2 and o.partition = $3
                 ) o on true
                 order by k.n",
            )
            .bind(&place.topic)
            .bind(i32::from(place.generation))
            .bind(place.partition)
            .bind(part(|key| key.channel.as_str()))
            .bind(part(|key| &key.user))
            .bind(part(|key| &key.durable))
            .fetch_all(&self.pool)
            .await
            .map_err(|error| StoreError::from_sqlx(DURING, error))?;
            Ok(KeptCursors {
                next: rows.first().and_then(|row| row.0),
                cursors: rows.into_iter().map(|(_, cursor, at)| cursor.zip(at)).collect(),
            })
        })
        .await
    }
}
