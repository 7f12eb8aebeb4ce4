//! How a checkpoint's channels are read: outboxes, ids page by page, and the last events.

use std::collections::HashMap;

use schemas::Channel;
use sqlx::postgres::PgArguments;
use sqlx::{FromRow, PgConnection, Postgres};

use super::{ChannelCheckpoint, DURING};
use crate::channel::{ChannelState, KnownId, ProducerState};
use crate::days::DAY_MS;
use crate::history::{RawRow, event_columns};
use crate::reach::{ChannelRow, Reach, grouped, reach};
use crate::{EventRow, HORIZON_MS, StoreError};

/// Ids are read in pages of so many per channel: a quiet channel costs one small step, a busy one few large ones.
const IDS_PAGE_FIRST: i64 = 100;
const IDS_PAGE_NEXT: i64 = 2000;

#[derive(FromRow)]
struct ProducerRow {
    channel: String,
    user_id: Option<String>,
    producer: String,
    epoch: i64,
    seq: i64,
    last_offset: i64,
}

/// How much of a channel is asked for.
#[derive(Clone, Copy)]
pub(super) enum Depth {
    /// All of the rule's state, and the last events.
    Whole { tail: usize },
    /// Where its outboxes stand.
    Outboxes,
}

/// Reads of one partition, in one snapshot.
pub(super) struct Reading<'a> {
    pub(super) connection: &'a mut PgConnection,
    pub(super) topic_id: i16,
    pub(super) partition: i32,
}

impl Reading<'_> {
    /// Where to go on reading, from where rows are complete, and up to where records were lost.
    pub(super) async fn offset(&mut self) -> Result<Option<(i64, i64, i64)>, sqlx::Error> {
        sqlx::query_as(
            "select next_offset, floor_offset, greatest(begun_offset, rivermouth.lost_to(topic_id, partition, next_offset))
             from rivermouth.offsets
             where topic_id = $1 and partition = $2 and truncated_offset is null",
        )
        .bind(self.topic_id)
        .bind(self.partition)
        .fetch_optional(&mut *self.connection)
        .await
    }

    /// What is known of the `wanted` channels, whose `names` these are.
    pub(super) async fn channels(
        &mut self,
        wanted: &[Channel],
        names: &[String],
        depth: Depth,
        lost_to: i64,
    ) -> Result<HashMap<Channel, ChannelCheckpoint>, StoreError> {
        let sql = |error| StoreError::from_sqlx(DURING, error);
        if names.is_empty() {
            return Ok(HashMap::new());
        }
        let rows = self.channel_rows(names).await.map_err(sql)?;
        let mut found: HashMap<String, ChannelCheckpoint> = rows
            .iter()
            .map(|row| (row.channel.clone(), begin(row, lost_to)))
            .collect();
        for row in self.producers(names).await.map_err(sql)? {
            if let Some(channel) = found.get_mut(&row.channel) {
                let state = &mut channel.state;
                let known = match &mut state.unheard {
                    Some(unheard) if row.last_offset < lost_to => unheard,
                    _ => &mut state.producers,
                };
                known.push(ProducerState {
                    user: row.user_id,
                    producer: row.producer,
                    epoch: u64::try_from(row.epoch).unwrap_or(0),
                    seq: u64::try_from(row.seq).unwrap_or(0),
                });
            }
        }
        if let Depth::Whole { tail } = depth {
            self.ids(&rows, &mut found).await.map_err(sql)?;
            self.tails(&rows, tail, &mut found).await?;
        }
        Ok(wanted
            .iter()
            .filter_map(|channel| Some((channel.clone(), found.remove(channel.as_str())?)))
            .collect())
    }

    async fn channel_rows(&mut self, names: &[String]) -> Result<Vec<ChannelRow>, sqlx::Error> {
        sqlx::query_as(
            "select channel, log_time_ms, step_back_ms, last_offset, newest_offset, events,
                    (extract(epoch from first_at) * 1000)::bigint as first_at_ms
             from rivermouth.channels where topic_id = $1 and partition = $2 and channel = any($3)",
        )
        .bind(self.topic_id)
        .bind(self.partition)
        .bind(names)
        .fetch_all(&mut *self.connection)
        .await
    }

    async fn producers(&mut self, names: &[String]) -> Result<Vec<ProducerRow>, sqlx::Error> {
        sqlx::query_as(
            "select channel, user_id, producer, epoch, seq, last_offset
             from rivermouth.producers where topic_id = $1 and partition = $2 and channel = any($3)",
        )
        .bind(self.topic_id)
        .bind(self.partition)
        .bind(names)
        .fetch_all(&mut *self.connection)
        .await
    }

    /// The ids of the last horizon, page by page from the newest back.
    async fn ids(
        &mut self,
        rows: &[ChannelRow],
        found: &mut HashMap<String, ChannelCheckpoint>,
    ) -> Result<(), sqlx::Error> {
        for group in grouped(
            rows.iter()
                .map(|row| Reach::back(row, HORIZON_MS))
                .collect(),
        ) {
            let mut open = group;
            let mut size = IDS_PAGE_FIRST;
            while !open.is_empty() {
                let page = self.ids_page(&open, size).await?;
                let mut full: HashMap<String, i64> = HashMap::new();
                // Rows of one channel stand together, newest first.
                for rows in page.chunk_by(|one, other| one.0 == other.0) {
                    let (first, last) = (&rows[0], &rows[rows.len() - 1]);
                    let Some(channel) = found.get_mut(&first.0) else {
                        continue;
                    };
                    if rows.len() as i64 == size {
                        full.insert(first.0.clone(), last.1);
                    }
                    let given = rows.iter().filter(|(_, _, _, id_given, _)| *id_given);
                    channel
                        .state
                        .ids
                        .extend(given.map(|(_, _, log_time_ms, _, id)| KnownId {
                            id: id.clone(),
                            log_time_ms: *log_time_ms,
                        }));
                }
                open.retain_mut(|reach| match full.get(&reach.row.channel) {
                    Some(lowest) => {
                        reach.below = *lowest;
                        true
                    }
                    None => false,
                });
                size = IDS_PAGE_NEXT;
            }
        }
        for channel in found.values_mut() {
            channel.state.ids.reverse();
        }
        Ok(())
    }

    /// Channel, offset, log time, whether the id was given, and the id.
    async fn ids_page(
        &mut self,
        open: &[Reach<'_>],
        size: i64,
    ) -> Result<Vec<(String, i64, i64, bool, String)>, sqlx::Error> {
        const IDS: &str = concat!(
            "select c.channel, i.\"offset\", i.log_time_ms, i.id_given, i.event_id ",
            reach!("e.\"offset\", e.id_given, e.event_id"),
            " order by c.channel, i.\"offset\" desc"
        );
        let ids = sqlx::query_as(IDS);
        self.bind(ids, open)
            .bind(size)
            .fetch_all(&mut *self.connection)
            .await
    }

    /// The last events: looked for in the newest days first, then farther and farther back for channels that have
    /// more.
    async fn tails(
        &mut self,
        rows: &[ChannelRow],
        tail: usize,
        found: &mut HashMap<String, ChannelCheckpoint>,
    ) -> Result<(), StoreError> {
        let mut open: Vec<&ChannelRow> = if tail == 0 {
            Vec::new()
        } else {
            rows.iter().collect()
        };
        for back_ms in [DAY_MS, 8 * DAY_MS, 64 * DAY_MS, i64::MAX] {
            for group in grouped(open.iter().map(|row| Reach::back(row, back_ms)).collect()) {
                let mut tails: HashMap<String, Vec<EventRow>> = HashMap::new();
                for row in self.tail_rows(&group, tail).await? {
                    tails
                        .entry(row.channel.as_str().to_owned())
                        .or_default()
                        .push(row);
                }
                for (channel, tail) in tails {
                    if let Some(channel) = found.get_mut(&channel) {
                        channel.tail = tail;
                    }
                }
            }
            open.retain(|row| {
                let have = found
                    .get(&row.channel)
                    .map_or(0, |channel| channel.tail.len());
                have < tail && (have as i64) < row.events
            });
        }
        Ok(())
    }

    async fn tail_rows(
        &mut self,
        open: &[Reach<'_>],
        tail: usize,
    ) -> Result<Vec<EventRow>, StoreError> {
        const TAIL: &str = concat!(
            "select i.* ",
            reach!(event_columns!()),
            " order by i.\"offset\""
        );
        let raw: Vec<RawRow> = self
            .bind(sqlx::query_as(TAIL), open)
            .bind(i64::try_from(tail).unwrap_or(i64::MAX))
            .fetch_all(&mut *self.connection)
            .await
            .map_err(|error| StoreError::from_sqlx(DURING, error))?;
        raw.into_iter().map(EventRow::try_from).collect()
    }

    /// The first nine parameters of a statement made with [`reach!`]; the tenth is the limit.
    fn bind<'q, R>(
        &self,
        query: sqlx::query::QueryAs<'q, Postgres, R, PgArguments>,
        open: &[Reach<'_>],
    ) -> sqlx::query::QueryAs<'q, Postgres, R, PgArguments> {
        query
            .bind(self.topic_id)
            .bind(self.partition)
            .bind(open.iter().map(|reach| reach.from_ms).min())
            .bind(open.iter().map(|reach| reach.to_ms).max())
            .bind(column(open, |reach| reach.row.channel.clone()))
            .bind(column(open, |reach| reach.oldest_ms))
            .bind(column(open, |reach| reach.below))
            .bind(column(open, |reach| reach.from_ms))
            .bind(column(open, |reach| reach.to_ms))
    }
}

fn begin(row: &ChannelRow, lost_to: i64) -> ChannelCheckpoint {
    ChannelCheckpoint {
        state: ChannelState {
            log_time_ms: row.log_time_ms,
            // The first event after a loss names none before it.
            last: row.last_offset.filter(|last| *last >= lost_to),
            unheard: (lost_to > 0).then(Vec::new),
            ..ChannelState::default()
        },
        newest: row.newest_offset,
        tail: Vec::new(),
    }
}

fn column<R, T>(rows: &[R], value: impl Fn(&R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}
