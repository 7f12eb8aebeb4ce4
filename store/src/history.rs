//! History: the rows of one channel, in log order, in either direction.
//!
//! A reader first learns which days the asked offsets lie in, and opens a few of them at a time: a page is usually found
//! in the first day, and a plan over hundreds of days costs more than the page.

use bytes::Bytes;
use schemas::Channel;
use sqlx::FromRow;

use crate::days::{DAY_MS, storable};
use crate::window::{Day, Window};
use crate::{EventRow, Place, Progress, Store, StoreError};

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
            and e.at < to_timestamp($7::double precision / 1000)
            and ($8::text[] is null or e.event = any($8))"
    };
}

// The running sum ends the page by bytes in the database, so that what is too much is never sent.
const AFTER: &str = concat!(
    "select \"offset\", at_ms, channel, event, event_id, user_id, data_text, to_users, prev_offset from (
        select *, sum(octet_length(data_text)) over (order by \"offset\") - octet_length(data_text) as before from (
            select ",
    event_columns!(),
    channel_range!(),
    "       order by e.\"offset\" limit $9
        ) page
    ) weighed where before < $10 order by \"offset\""
);
const BEFORE: &str = concat!(
    "select ",
    event_columns!(),
    channel_range!(),
    " order by e.\"offset\" desc limit $9"
);

const DURING: &str = "reading history";

/// What is still wanted of one channel.
struct Wanted {
    filter: HistoryFilter,
    bytes: i64,
}

impl Store {
    /// Events of `channel` with `after_next <= offset < until`, ascending: at most `limit`, and no more once their
    /// data has passed `bytes_max` (if that is not 0, the first is always given). An empty answer means there are no
    /// more.
    ///
    /// `until` must not exceed what is stored ([`crate::Progress::next`]), or the answer is not complete.
    ///
    /// # Errors
    /// [`StoreError::Gone`] when rows at `after_next` may have been erased, [`StoreError::Retry`] while PostgreSQL is
    /// away or the rows are being rebuilt.
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
            let wanted = Wanted {
                filter: HistoryFilter {
                    limit,
                    ..HistoryFilter::between(after_next, until)
                },
                bytes: i64::try_from(bytes_max).unwrap_or(i64::MAX),
            };
            let rows = self.read(place, channel, wanted).await?;
            // Asked after the rows were read: days that were dropped meanwhile have raised the floor by now.
            match self.progress(place).await? {
                Some(progress) if after_next < progress.floor => Err(StoreError::Gone {
                    place: place.clone(),
                    floor: progress.floor,
                }),
                Some(progress) => progress.still_has(until).map(|()| rows),
                None => Ok(rows),
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
    /// [`StoreError::Retry`] while PostgreSQL is away or the rows are being rebuilt.
    pub async fn history(
        &self,
        place: &Place,
        channel: &Channel,
        filter: HistoryFilter,
    ) -> Result<Vec<EventRow>, StoreError> {
        let until = filter.hi;
        let wanted = Wanted {
            filter,
            bytes: i64::MAX,
        };
        self.within(DURING, async {
            let rows = self.read(place, channel, wanted).await?;
            match self.progress(place).await? {
                // Whoever asks without an end asks for what there is.
                Some(progress) if until < i64::MAX => progress.still_has(until).map(|()| rows),
                _ => Ok(rows),
            }
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
        let first = HistoryFilter {
            from_ms: Some(time_ms),
            limit: 1,
            ..HistoryFilter::between(0, i64::MAX)
        };
        let rows = self.history(place, channel, first).await?;
        Ok(rows.first().map(|row| row.offset))
    }

    /// Reads window by window, each eight times as many days as the one before, until there is enough.
    async fn read(
        &self,
        place: &Place,
        channel: &Channel,
        mut wanted: Wanted,
    ) -> Result<Vec<EventRow>, StoreError> {
        let mut rows = Vec::new();
        let Some(topic_id) = self.find_topic_id(place).await? else {
            return Ok(rows);
        };
        let days = self.days_of(topic_id, place, &wanted.filter).await?;
        let mut size = 1;
        while wanted.filter.limit > 0
            && wanted.bytes > 0
            && let Some(window) = Window::of(&days, size, &wanted.filter)
        {
            let page = self.page(topic_id, place, channel, &wanted, window).await?;
            wanted.filter.limit = wanted
                .filter
                .limit
                .saturating_sub(u32::try_from(page.len()).unwrap_or(u32::MAX));
            let bytes: usize = page.iter().map(|row| row.data_text.len()).sum();
            wanted.bytes = wanted
                .bytes
                .saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
            for row in page {
                rows.push(EventRow::try_from(row)?);
            }
            if wanted.filter.desc {
                wanted.filter.hi = window.offsets.0;
            } else {
                wanted.filter.lo = window.offsets.1;
            }
            size *= 8;
        }
        Ok(rows)
    }

    /// The days that hold offsets and times of the range.
    async fn days_of(
        &self,
        topic_id: i16,
        place: &Place,
        filter: &HistoryFilter,
    ) -> Result<Vec<Day>, StoreError> {
        let days: Vec<(i32, i64, i64)> = sqlx::query_as(
            "select day - date '1970-01-01', first_offset, last_offset from rivermouth.days
             where topic_id = $1 and partition = $2 and last_offset >= $3 and first_offset < $4",
        )
        .bind(topic_id)
        .bind(place.partition)
        .bind(filter.lo)
        .bind(filter.hi)
        .fetch_all(&self.pool)
        .await
        .map_err(|error| StoreError::from_sqlx(DURING, error))?;
        let (from_ms, to_ms) = filter.times();
        Ok(days
            .into_iter()
            .map(|(day, first, last)| Day {
                from_ms: i64::from(day) * DAY_MS,
                to_ms: (i64::from(day) + 1) * DAY_MS,
                first,
                last,
            })
            .filter(|day| day.to_ms > from_ms && day.from_ms < to_ms)
            .collect())
    }

    async fn page(
        &self,
        topic_id: i16,
        place: &Place,
        channel: &Channel,
        wanted: &Wanted,
        window: Window,
    ) -> Result<Vec<RawRow>, StoreError> {
        let filter = &wanted.filter;
        let (from_ms, to_ms) = filter.times();
        let query = sqlx::query_as(if filter.desc { BEFORE } else { AFTER })
            .bind(topic_id)
            .bind(place.partition)
            .bind(channel.as_str())
            .bind(window.offsets.0)
            .bind(window.offsets.1)
            .bind(window.times.0.max(from_ms))
            .bind(window.times.1.min(to_ms))
            .bind(filter.types.as_deref())
            .bind(i64::from(filter.limit));
        let query = if filter.desc {
            query
        } else {
            query.bind(wanted.bytes)
        };
        query
            .fetch_all(&self.pool)
            .await
            .map_err(|error| StoreError::from_sqlx(DURING, error))
    }
}

impl Progress {
    /// The rows are those of the log below this offset.
    #[must_use]
    pub fn held(&self) -> i64 {
        self.truncated.map_or(self.next, |end| end.min(self.next))
    }

    /// Whether what was read up to `until` was there all the time. The offset moves back when a rebuild begins or the
    /// log is found truncated, and never else.
    fn still_has(&self, until: i64) -> Result<(), StoreError> {
        if self.held() < until {
            return Err(StoreError::retry(DURING, "its rows are being rebuilt"));
        }
        Ok(())
    }
}

impl HistoryFilter {
    /// Everything with `lo <= offset < hi`, ascending, a thousand at most.
    #[must_use]
    pub fn between(lo: i64, hi: i64) -> HistoryFilter {
        HistoryFilter {
            lo,
            hi,
            from_ms: None,
            to_ms: None,
            types: None,
            limit: 1000,
            desc: false,
        }
    }

    fn times(&self) -> (i64, i64) {
        (
            self.from_ms.map_or(0, storable),
            self.to_ms.map_or(i64::MAX, |to_ms| to_ms.max(0)),
        )
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
