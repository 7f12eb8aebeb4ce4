//! Snapshots: the states of channels as they were folded. What the bytes mean is the fold's matter, not ours.

use std::collections::HashMap;

use bytes::Bytes;
use schemas::Channel;
use sqlx::{FromRow, PgConnection};

use crate::connect::BEGIN_SNAPSHOT;
use crate::{Place, Store, StoreError};

/// A channel's state as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotRow {
    /// The channel.
    pub channel: Channel,
    /// It is the state of all events of the channel below this offset. 0 when it was kept of an earlier generation of
    /// the topic: the state that the present one begins with.
    pub next: i64,
    /// Time of the last event in it, Unix milliseconds. One snapshot is kept of each channel and day of this time.
    pub at_ms: i64,
    /// Which fold made it.
    pub kind: String,
    /// The form of the bytes.
    pub version: i32,
    /// The state.
    pub state: Bytes,
}

/// What a state at some offset can be folded from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footing {
    /// The newest snapshot at or before the offset.
    pub snapshot: Option<SnapshotRow>,
    /// Every record below has been dealt with.
    pub next: i64,
    /// Rows of all channels are complete from here on. If the offset is not below it, then all events of the channel
    /// between the snapshot and the offset are in the tables too, as far as they are stored. Not below the end of what
    /// was erased before it was stored, up to the offset: a state after that is one of what is left.
    pub floor: i64,
    /// No event of the channel was dropped, and it brought no state from a topic before this one: without a snapshot
    /// one can begin at its first.
    pub whole: bool,
}

#[derive(FromRow)]
struct RawSnapshot {
    channel: String,
    own: bool,
    next_offset: i64,
    at_ms: i64,
    kind: String,
    version: i32,
    state: Vec<u8>,
}

impl TryFrom<RawSnapshot> for SnapshotRow {
    type Error = StoreError;

    fn try_from(raw: RawSnapshot) -> Result<SnapshotRow, StoreError> {
        let channel = Channel::parse(&raw.channel)
            .map_err(|error| StoreError::fatal(DURING, format!("{}: {error}", raw.channel)))?;
        Ok(SnapshotRow {
            channel,
            next: if raw.own { raw.next_offset } else { 0 },
            at_ms: raw.at_ms,
            kind: raw.kind,
            version: raw.version,
            state: Bytes::from(raw.state),
        })
    }
}

/// The newest snapshot of each channel, below an offset of this generation or of an earlier generation.
const NEWEST: &str =
    "select distinct on (s.channel) s.channel, t.generation = $2 as own, s.next_offset,
            (extract(epoch from s.taken_at) * 1000)::bigint as at_ms, s.kind, s.version, s.state
     from rivermouth.snapshots s join rivermouth.topics t using (topic_id)
     where t.topic = $1 and t.generation <= $2 and s.partition = $3 and s.channel = any($4)
       and (t.generation < $2 or s.next_offset <= $5)
     order by s.channel, t.generation desc, s.next_offset desc";

const FOOTING: &str = "select o.next_offset,
            greatest(o.floor_offset, rivermouth.lost_to(o.topic_id, o.partition, least(o.next_offset, $5))),
            not exists (
                select from rivermouth.channels c
                where c.topic_id = o.topic_id and c.partition = o.partition and c.channel = $4
                  and c.first_at < coalesce(
                      (select min(d.day)::timestamp at time zone 'UTC' from rivermouth.days d
                       where d.topic_id = o.topic_id and d.partition = o.partition), 'infinity'))
     from rivermouth.offsets o join rivermouth.topics t using (topic_id)
     where t.topic = $1 and t.generation = $2 and o.partition = $3";

const DURING: &str = "reading a snapshot";

impl Store {
    /// What the state of `channel` at offset `at` can be folded from, all as of one moment; `None` while no persister
    /// has begun with the partition.
    ///
    /// # Errors
    /// [`StoreError::Retry`] while PostgreSQL is away.
    pub async fn footing(
        &self,
        place: &Place,
        channel: &Channel,
        at: i64,
    ) -> Result<Option<Footing>, StoreError> {
        self.within(DURING, async {
            let sql = |error| StoreError::from_sqlx(DURING, error);
            let mut tx = self.begin(BEGIN_SNAPSHOT).await.map_err(sql)?;
            let stands: Option<(i64, i64, bool)> = sqlx::query_as(FOOTING)
                .bind(&place.topic)
                .bind(i32::from(place.generation))
                .bind(place.partition)
                .bind(channel.as_str())
                .bind(at)
                .fetch_optional(&mut *tx)
                .await
                .map_err(sql)?;
            let Some((next, floor, whole)) = stands else {
                return Ok(None);
            };
            let names = [channel.as_str().to_owned()];
            let mut found = newest(&mut tx, place, &names, at).await?;
            tx.commit().await.map_err(sql)?;
            let snapshot = found.remove(channel);
            // What a topic before this one left is needed too.
            let whole = whole && snapshot.as_ref().is_none_or(|row| row.next > 0);
            Ok(Some(Footing {
                snapshot,
                next,
                floor,
                whole,
            }))
        })
        .await
    }

    /// Drops the snapshots that nothing in the tables goes on from any more, but never a channel's last. Answers how
    /// many that were.
    ///
    /// # Errors
    /// [`StoreError::Retry`] while PostgreSQL is away.
    pub async fn drop_snapshots(&self) -> Result<i64, StoreError> {
        const DURING: &str = "dropping old snapshots";
        self.within(DURING, async {
            let (dropped,): (i64,) = sqlx::query_as("select rivermouth.drop_snapshots()")
                .fetch_one(&self.pool)
                .await
                .map_err(|error| StoreError::from_sqlx(DURING, error))?;
            Ok(dropped)
        })
        .await
    }
}

/// The newest snapshot at or before `at` of each channel that has one.
pub(crate) async fn newest(
    connection: &mut PgConnection,
    place: &Place,
    channels: &[String],
    at: i64,
) -> Result<HashMap<Channel, SnapshotRow>, StoreError> {
    let raw: Vec<RawSnapshot> = sqlx::query_as(NEWEST)
        .bind(&place.topic)
        .bind(i32::from(place.generation))
        .bind(place.partition)
        .bind(channels)
        .bind(at)
        .fetch_all(connection)
        .await
        .map_err(|error| StoreError::from_sqlx(DURING, error))?;
    raw.into_iter()
        .map(|raw| SnapshotRow::try_from(raw).map(|row| (row.channel.clone(), row)))
        .collect()
}
