//! History: the rows of one channel, in log order, in either direction.
//!
//! A reader first learns which days the asked offsets lie in, so that PostgreSQL opens only those.

use bytes::Bytes;
use schemas::Channel;
use sqlx::FromRow;

use crate::days::{DAY_MS, storable};
use crate::{EventRow, Place, Store, StoreError};

/// Which events of a channel, at most how many, and in which direction.
#[derive(Clone, Debug)]
pub struct HistoryFilter {
    /// First offset, inclusive.
    pub lo: i64,
    /// Last offset, exclusive; the caller asks for no more than is stored ([`crate::Progress::next`]).
    pub hi: i64,
    /// Earliest time, inclusive, Unix milliseconds.
    pub from_ms: Option<i64>,
    /// Latest time, exclusive.
    pub to_ms: Option<i64>,
    /// Event names; `None` for all.
    pub types: Option<Vec<String>>,
    /// Rows at most.
    pub limit: u32,
    /// Newest first.
    pub desc: bool,
}

#[derive(FromRow)]
pub(crate) struct RawRow {
    offset: i64,
    at_ms: i64,
    channel: String,
    event: String,
    event_id: String,
    user_id: Option<String>,
    data_text: String,
    to_users: Option<Vec<String>>,
    prev_offset: Option<i64>,
}

/// The columns of [`RawRow`], of an `events e`.
macro_rules! event_columns {
    () => {
        "e.\"offset\", (extract(epoch from e.at) * 1000)::bigint as at_ms, e.channel, e.event, e.event_id,
         e.user_id, e.data_text, e.to_users, e.prev_offset"
    };
}
pub(crate) use event_columns;

/// One channel, between two offsets and two times.
macro_rules! channel_range {
    () => {
        " from rivermouth.events e
          where e.topic_id = $1 and e.partition = $2 and e.channel = $3
            and e.\"offset\" >= $4 and e.\"offset\" < $5
            and e.at >= to_timestamp($6::double precision / 1000)
            and e.at < to_timestamp($7::double precision / 1000)"
    };
}

// The running sum ends the page by bytes in the database, so that what is too much is never sent.
const AFTER: &str = concat!(
    "select \"offset\", at_ms, channel, event, event_id, user_id, data_text, to_users, prev_offset from (
        select *, sum(octet_length(data_text)) over (order by \"offset\") - octet_length(data_text) as before from (
            select ",
    event_columns!(),
    channel_range!(),
    "       order by e.\"offset\" limit $8
        ) page
    ) weighed where before < $9 order by \"offset\""
);
const ASCENDING: &str = concat!(
    "select ",
    event_columns!(),
    channel_range!(),
    " and ($8::text[] is null or e.event = any($8)) order by e.\"offset\" limit $9"
);
const DESCENDING: &str = concat!(
    "select ",
    event_columns!(),
    channel_range!(),
    " and ($8::text[] is null or e.event = any($8)) order by e.\"offset\" desc limit $9"
);
const FIRST_AT: &str = concat!(
    "select e.\"offset\"",
    channel_range!(),
    " order by e.\"offset\" limit 1"
);

const DURING: &str = "reading history";

/// A question about one channel, ready to be asked.
struct Range<'a> {
    topic_id: i16,
    place: &'a Place,
    channel: &'a Channel,
    offsets: (i64, i64),
    times: (i64, i64),
}

impl Store {
    /// Events of `channel` with `after_next <= offset < until`, ascending: at most `limit`, and no more once their
    /// data has passed `bytes_max` (the first is always given). An empty answer means there are no more.
    ///
    /// `until` must not exceed what is stored ([`crate::Progress::next`]), or the answer is not complete.
    ///
    /// # Errors
    /// [`StoreError::Gone`] when rows at `after_next` may have been erased, [`StoreError::Retry`] while PostgreSQL is
    /// away.
    pub async fn events_after(
        &self,
        place: &Place,
        channel: &Channel,
        after_next: i64,
        until: i64,
        limit: u32,
        bytes_max: usize,
    ) -> Result<Vec<EventRow>, StoreError> {
        self.within(DURING, async {
            let mut rows = Vec::new();
            if let Some(range) = self.range(place, channel, (after_next, until)).await? {
                let bytes_max = i64::try_from(bytes_max).unwrap_or(i64::MAX);
                let raw: Vec<RawRow> = range
                    .bind(sqlx::query_as(AFTER))
                    .bind(i64::from(limit))
                    .bind(bytes_max)
                    .fetch_all(&self.pool)
                    .await
                    .map_err(|error| StoreError::from_sqlx(DURING, error))?;
                rows = raw
                    .into_iter()
                    .map(EventRow::try_from)
                    .collect::<Result<_, _>>()?;
            }
            // Asked after the rows were read: days that were dropped meanwhile have raised the floor by now.
            match self.progress(place).await? {
                Some(progress) if after_next < progress.floor => Err(StoreError::Gone {
                    place: place.clone(),
                    floor: progress.floor,
                }),
                _ => Ok(rows),
            }
        })
        .await
    }

    /// Events of `channel` that pass the filter, in the filter's direction.
    ///
    /// Rows that retention has erased are not there and not told: compare [`crate::Progress::floor`], read *after* this
    /// answer, with the range that was asked for.
    ///
    /// # Errors
    /// [`StoreError::Retry`] while PostgreSQL is away.
    pub async fn history(
        &self,
        place: &Place,
        channel: &Channel,
        filter: HistoryFilter,
    ) -> Result<Vec<EventRow>, StoreError> {
        self.within(DURING, async {
            let Some(mut range) = self.range(place, channel, (filter.lo, filter.hi)).await? else {
                return Ok(Vec::new());
            };
            range.narrow(filter.from_ms, filter.to_ms);
            let statement = if filter.desc { DESCENDING } else { ASCENDING };
            let raw: Vec<RawRow> = range
                .bind(sqlx::query_as(statement))
                .bind(filter.types)
                .bind(i64::from(filter.limit))
                .fetch_all(&self.pool)
                .await
                .map_err(|error| StoreError::from_sqlx(DURING, error))?;
            raw.into_iter().map(EventRow::try_from).collect()
        })
        .await
    }

    /// Offset of the first event of `channel` whose time is `time_ms` or later; `None` when there is none.
    ///
    /// # Errors
    /// [`StoreError::Retry`] while PostgreSQL is away.
    pub async fn offset_at(
        &self,
        place: &Place,
        channel: &Channel,
        time_ms: i64,
    ) -> Result<Option<i64>, StoreError> {
        self.within(DURING, async {
            let Some(mut range) = self.range(place, channel, (0, i64::MAX)).await? else {
                return Ok(None);
            };
            range.narrow(Some(time_ms), None);
            let found: Option<(i64,)> = range
                .bind(sqlx::query_as(FIRST_AT))
                .fetch_optional(&self.pool)
                .await
                .map_err(|error| StoreError::from_sqlx(DURING, error))?;
            Ok(found.map(|(offset,)| offset))
        })
        .await
    }

    /// The range of days in which the offsets lie; `None` when no event has such an offset.
    async fn range<'a>(
        &self,
        place: &'a Place,
        channel: &'a Channel,
        offsets: (i64, i64),
    ) -> Result<Option<Range<'a>>, StoreError> {
        let Some(topic_id) = self.find_topic_id(place).await? else {
            return Ok(None);
        };
        let days: (Option<i32>, Option<i32>) = sqlx::query_as(
            "select min(day) - date '1970-01-01', max(day) - date '1970-01-01' from rivermouth.days
             where topic_id = $1 and partition = $2 and last_offset >= $3 and first_offset < $4",
        )
        .bind(topic_id)
        .bind(place.partition)
        .bind(offsets.0)
        .bind(offsets.1)
        .fetch_one(&self.pool)
        .await
        .map_err(|error| StoreError::from_sqlx(DURING, error))?;
        let (Some(first), Some(last)) = days else {
            return Ok(None);
        };
        Ok(Some(Range {
            topic_id,
            place,
            channel,
            offsets,
            times: (i64::from(first) * DAY_MS, (i64::from(last) + 1) * DAY_MS),
        }))
    }
}

type RangeQuery<'q, R> = sqlx::query::QueryAs<'q, sqlx::Postgres, R, sqlx::postgres::PgArguments>;

impl Range<'_> {
    fn narrow(&mut self, from_ms: Option<i64>, to_ms: Option<i64>) {
        let (from, to) = &mut self.times;
        *from = (*from).max(from_ms.map_or(0, storable));
        *to = (*to).min(to_ms.map_or(i64::MAX, |to| to.max(0)));
    }

    fn bind<'q, R>(&self, query: RangeQuery<'q, R>) -> RangeQuery<'q, R> {
        query
            .bind(self.topic_id)
            .bind(self.place.partition)
            .bind(self.channel.as_str().to_owned())
            .bind(self.offsets.0)
            .bind(self.offsets.1)
            .bind(self.times.0)
            .bind(self.times.1)
    }
}

impl TryFrom<RawRow> for EventRow {
    type Error = StoreError;

    fn try_from(row: RawRow) -> Result<EventRow, StoreError> {
        let channel = Channel::parse(&row.channel)
            .map_err(|error| StoreError::fatal(DURING, format!("{}: {error}", row.channel)))?;
        Ok(EventRow {
            offset: row.offset,
            at_ms: row.at_ms,
            channel,
            name: row.event,
            id: row.event_id,
            user_id: row.user_id,
            data: Bytes::from(row.data_text),
            to: row.to_users,
            prev: row.prev_offset,
        })
    }
}
