//! Reaches: which part of a channel's end to read, so that only the days that hold it are opened. Pure.

use sqlx::FromRow;

use crate::days::{DAY_MS, storable};

/// Of each channel the newest rows `i` within its reach; the limit comes before the bound on log time, so that the scan
/// ends early in a busy channel too. $3 and $4 bound the times of all of them: known when the
/// statement is planned, they keep all other days out of the plan.
macro_rules! reach {
    ($($columns:tt)*) => {
        concat!(
            "from unnest($5::text[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[])
                  as c (channel, oldest_ms, below, from_ms, to_ms)
             cross join lateral (
                 select ",
            $($columns)*,
            "    , e.log_time_ms
                 from rivermouth.events e
                 where e.topic_id = $1 and e.partition = $2 and e.channel = c.channel and e.\"offset\" < c.below
                   and e.at >= to_timestamp($3::double precision / 1000)
                   and e.at <= to_timestamp($4::double precision / 1000)
                   and e.at >= to_timestamp(c.from_ms::double precision / 1000)
                   and e.at <= to_timestamp(c.to_ms::double precision / 1000)
                 order by e.\"offset\" desc limit $10
             ) i
             where i.log_time_ms >= c.oldest_ms"
        )
    };
}

pub(crate) use reach;

/// A row of `rivermouth.channels`.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct ChannelRow {
    pub(crate) channel: String,
    pub(crate) log_time_ms: i64,
    pub(crate) step_back_ms: i64,
    pub(crate) last_offset: Option<i64>,
    pub(crate) newest_offset: i64,
    pub(crate) first_at_ms: i64,
    pub(crate) events: i64,
}

/// How far back in a channel to look. Log time never steps back, so the events after one moment of log time are an
/// unbroken end of the channel; their own times lie behind log time by `step_back_ms` at most.
pub(crate) struct Reach<'a> {
    pub(crate) row: &'a ChannelRow,
    /// Events with an older log time are left out.
    pub(crate) oldest_ms: i64,
    /// Events from this offset on are left out.
    pub(crate) below: i64,
    /// The own times of all that is wanted.
    pub(crate) from_ms: i64,
    pub(crate) to_ms: i64,
}

impl<'a> Reach<'a> {
    /// Everything less than `back_ms` of log time before the channel's last event.
    pub(crate) fn back(row: &'a ChannelRow, back_ms: i64) -> Reach<'a> {
        let oldest_ms = row.log_time_ms.saturating_sub(back_ms).saturating_add(1);
        let from_ms = storable(oldest_ms.saturating_sub(row.step_back_ms));
        Reach {
            row,
            oldest_ms,
            below: row.newest_offset.saturating_add(1),
            from_ms: from_ms.max(row.first_at_ms),
            to_ms: storable(row.log_time_ms),
        }
    }
}

/// Puts channels together whose times lie near each other: a plan that knows the times of all opens only those days.
pub(crate) fn grouped(mut all: Vec<Reach<'_>>) -> Vec<Vec<Reach<'_>>> {
    all.sort_unstable_by_key(|reach| reach.from_ms);
    let mut groups: Vec<Vec<Reach<'_>>> = Vec::new();
    let mut until_ms = i64::MIN;
    for reach in all {
        match groups.last_mut() {
            Some(group) if reach.to_ms <= until_ms => group.push(reach),
            _ => {
                until_ms = reach.to_ms.saturating_add(2 * DAY_MS);
                groups.push(vec![reach]);
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(channel: &str, log_time_ms: i64, step_back_ms: i64) -> ChannelRow {
        ChannelRow {
            channel: channel.into(),
            log_time_ms,
            step_back_ms,
            last_offset: None,
            newest_offset: 0,
            first_at_ms: 0,
            events: 1,
        }
    }

    #[test]
    fn a_channel_whose_clock_stepped_back_is_looked_at_farther_back() {
        let row = row("session.1", 100 * DAY_MS, 3 * DAY_MS);
        let reach = Reach::back(&row, DAY_MS);
        assert_eq!(reach.oldest_ms, 99 * DAY_MS + 1);
        assert_eq!(
            (reach.from_ms, reach.to_ms),
            (96 * DAY_MS + 1, 100 * DAY_MS)
        );
        let all = Reach::back(&row, i64::MAX);
        assert_eq!((all.from_ms, all.to_ms), (0, 100 * DAY_MS));
    }

    #[test]
    fn channels_of_the_same_days_are_asked_together_and_old_ones_apart() {
        let rows = [
            row("a", 500 * DAY_MS, 0),
            row("b", 3 * DAY_MS, 0),
            row("c", 501 * DAY_MS, 0),
        ];
        let groups = grouped(rows.iter().map(|row| Reach::back(row, DAY_MS)).collect());
        let names: Vec<Vec<&str>> = groups
            .iter()
            .map(|group| {
                group
                    .iter()
                    .map(|reach| reach.row.channel.as_str())
                    .collect()
            })
            .collect();
        assert_eq!(names, [vec!["b"], vec!["a", "c"]]);
    }
}
