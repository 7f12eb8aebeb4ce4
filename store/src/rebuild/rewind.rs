//! Rewinding: what the acceptance rule, the jobs and the days knew as of an earlier offset.
//!
//! Where nothing lies below that offset they knew nothing. Else it follows from the rows below, which stay. Of an outbox
//! or a channel all of whose rows below were dropped by the tables' retention, it follows from its first row above, for
//! that row was accepted: a number goes on from the one before it.

use sqlx::PgConnection;

use super::Locked;

/// Everything of a partition that never had a row below.
const FORGET: [&str; 5] = [
    "delete from rivermouth.jobs where job_id in (
         select job_id from rivermouth.job_history where topic_id = $1 and partition = $2)",
    "delete from rivermouth.snapshots where topic_id = $1 and partition = $2",
    "delete from rivermouth.producers where topic_id = $1 and partition = $2",
    "delete from rivermouth.channels where topic_id = $1 and partition = $2",
    "delete from rivermouth.days where topic_id = $1 and partition = $2",
];

/// In this order: each reads what the next ones change.
const REWIND: [&str; 6] = [JOBS_GONE, JOBS, SNAPSHOTS, PRODUCERS, CHANNELS, DAYS];

const JOBS_GONE: &str = "
    delete from rivermouth.jobs where job_id in (
        select job_id from rivermouth.job_history where topic_id = $1 and partition = $2
        group by job_id having min(\"offset\") >= $3)";

/// Steps say what each update brought; the job has the last of everything. Its kind and its owner are in no step, and
/// come again with the updates that said them.
const JOBS: &str = "
    update rivermouth.jobs j
    set status = s.status[1], progress = s.progress[1], message = s.message[1], error_code = s.error_code[1],
        error_message = null, updated_at = s.updated_at, finished_at = null, cursor = s.cursor[1]
    from (
        select job_id,
               array_agg(status order by \"offset\" desc) as status,
               array_agg(progress order by \"offset\" desc) filter (where progress is not null) as progress,
               array_agg(message order by \"offset\" desc) filter (where message is not null) as message,
               array_agg(error_code order by \"offset\" desc) filter (where error_code is not null) as error_code,
               array_agg(cursor order by \"offset\" desc) as cursor, max(at) as updated_at
        from rivermouth.job_history
        where topic_id = $1 and partition = $2 and \"offset\" < $3 and job_id in (
            select job_id from rivermouth.job_history where topic_id = $1 and partition = $2 and \"offset\" >= $3)
        group by job_id
    ) s
    where j.job_id = s.job_id";

/// What is left of a channel is folded on from, with the rows that stay.
const SNAPSHOTS: &str = "
    delete from rivermouth.snapshots where topic_id = $1 and partition = $2 and next_offset > $3";

/// $4 says whether rows below may have been dropped. An outbox whose first row above opens an epoch was in a lower one:
/// at the end of the epoch just below, so that no other record could have opened this one.
const PRODUCERS: &str = "
    with above as (
        select distinct on (channel, user_id, producer) channel, user_id, producer, epoch, seq
        from rivermouth.events
        where topic_id = $1 and partition = $2 and \"offset\" >= $3 and producer is not null
        order by channel, user_id, producer, \"offset\"
    ), before as (
        select a.channel, a.user_id, a.producer,
               case when b.epoch is not null then b.epoch
                    when not $4 then null
                    when a.seq > 0 then a.epoch
                    when a.epoch > 0 then a.epoch - 1 end as epoch,
               case when b.epoch is not null then b.seq
                    when a.seq > 0 then a.seq - 1
                    else 9007199254740991 end as seq,
               coalesce(b.\"offset\", $3 - 1) as last_offset
        from above a left join lateral (
            select e.epoch, e.seq, e.\"offset\" from rivermouth.events e
            where e.topic_id = $1 and e.partition = $2 and e.channel = a.channel and e.\"offset\" < $3
              and e.producer = a.producer and e.user_id is not distinct from a.user_id
            order by e.\"offset\" desc limit 1
        ) b on true
    ), gone as (
        delete from rivermouth.producers p using before b
        where p.topic_id = $1 and p.partition = $2 and b.epoch is null and p.channel = b.channel
          and p.user_id is not distinct from b.user_id and p.producer = b.producer
    )
    update rivermouth.producers p set epoch = b.epoch, seq = b.seq, last_offset = b.last_offset from before b
    where p.topic_id = $1 and p.partition = $2 and b.epoch is not null and p.channel = b.channel
      and p.user_id is not distinct from b.user_id and p.producer = b.producer";

/// $4 as above. How far the clock stepped back and the first time are bounds, and stay true as they are.
const CHANNELS: &str = "
    with above as (
        select channel, count(*) as events,
               (array_agg(log_time_ms order by \"offset\"))[1] as log_time_ms,
               (array_agg(prev_offset order by \"offset\"))[1] as prev_offset
        from rivermouth.events where topic_id = $1 and partition = $2 and \"offset\" >= $3 group by channel
    ), before as (
        select c.channel, coalesce(b.log_time_ms, a.log_time_ms, c.log_time_ms) as log_time_ms,
               coalesce(v.\"offset\", a.prev_offset) as last_offset, coalesce(b.\"offset\", $3 - 1) as newest_offset,
               case when b.\"offset\" is not null then greatest(c.events - coalesce(a.events, 0), 1)
                    when $4 then c.events - coalesce(a.events, 0)
                    else 0 end as events
        from rivermouth.channels c left join above a using (channel)
        left join lateral (
            select e.\"offset\", e.log_time_ms from rivermouth.events e
            where e.topic_id = $1 and e.partition = $2 and e.channel = c.channel and e.\"offset\" < $3
            order by e.\"offset\" desc limit 1
        ) b on true
        left join lateral (
            select e.\"offset\" from rivermouth.events e
            where e.topic_id = $1 and e.partition = $2 and e.channel = c.channel and e.\"offset\" < $3
              and e.to_users is null
            order by e.\"offset\" desc limit 1
        ) v on true
        where c.topic_id = $1 and c.partition = $2 and c.newest_offset >= $3
    ), gone as (
        delete from rivermouth.channels c using before b
        where c.topic_id = $1 and c.partition = $2 and c.channel = b.channel and b.events <= 0
    )
    update rivermouth.channels c
    set log_time_ms = b.log_time_ms, last_offset = b.last_offset, newest_offset = b.newest_offset, events = b.events
    from before b
    where c.topic_id = $1 and c.partition = $2 and c.channel = b.channel and b.events > 0";

const DAYS: &str = "
    with cut as (
        delete from rivermouth.days where topic_id = $1 and partition = $2 and last_offset >= $3
        returning day, first_offset
    )
    insert into rivermouth.days (topic_id, partition, day, first_offset, last_offset, events)
    select $1, $2, c.day, k.first_offset, k.last_offset, k.events
    from cut c cross join lateral (
        select min(e.\"offset\") as first_offset, max(e.\"offset\") as last_offset, count(*) as events
        from rivermouth.events e
        where e.topic_id = $1 and e.partition = $2 and e.\"offset\" >= c.first_offset and e.\"offset\" < $3
          and e.at >= c.day::timestamp at time zone 'UTC' and e.at < (c.day + 1)::timestamp at time zone 'UTC'
    ) k
    where k.events > 0";

const OFFSET: &str = "
    update rivermouth.offsets o
    set next_offset = $3, updated_at = now(), truncated_offset = null, complete_to_at = (
        select e.at from rivermouth.events e
        where e.topic_id = $1 and e.partition = $2 and e.\"offset\" < $3 order by e.\"offset\" desc limit 1)
    where topic_id = $1 and partition = $2";

impl Locked {
    /// Everything but the rows themselves as of `self.from`, and the offset with it.
    pub(super) async fn rewind(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let state = if self.from <= self.begun {
            &FORGET[..]
        } else {
            &REWIND[..]
        };
        for statement in state.iter().chain([&OFFSET]) {
            sqlx::query(*statement)
                .bind(self.topic_id)
                .bind(self.partition)
                .bind(self.from)
                .bind(self.floor > self.begun)
                .execute(&mut *connection)
                .await?;
        }
        Ok(())
    }
}
