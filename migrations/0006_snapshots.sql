-- States of channels as they were folded, so that nobody has to begin at a channel's first event, and so that a state
-- outlives the events it came from.

-- One row per channel and day, because a day is what retention drops: whatever day goes, the state after its last event
-- of the channel stays. Which rows there are follows from the log alone, not from how it was cut into batches.
create table rivermouth.snapshots (
    topic_id    smallint    not null references rivermouth.topics,
    partition   integer     not null,
    channel     text        not null,
    day         date        not null,
    next_offset bigint      not null,
    kind        text        not null,
    version     integer     not null check (version > 0),
    state       bytea       not null,
    taken_at    timestamptz not null,
    primary key (topic_id, partition, channel, day)
) with (fillfactor = 70);
comment on table rivermouth.snapshots is
    'the state of a channel after its last event of each day, for channels that have one (jobs); moved in the transaction that stores the events';
comment on column rivermouth.snapshots.topic_id is 'the topic the channel lies in';
comment on column rivermouth.snapshots.partition is 'its partition';
comment on column rivermouth.snapshots.channel is 'the channel';
comment on column rivermouth.snapshots.day is 'the day (UTC) of the time of the last event in the state';
comment on column rivermouth.snapshots.next_offset is 'the state is that of all events of the channel below this offset: one past its last one';
comment on column rivermouth.snapshots.kind is 'which fold made it: job';
comment on column rivermouth.snapshots.version is 'form of the state''s bytes; a fold reads its own form and all earlier ones';
comment on column rivermouth.snapshots.state is 'the state, in a form that is the fold''s own';
comment on column rivermouth.snapshots.taken_at is 'time of the last event in the state';

-- A snapshot is still needed while events after it are there or while it is the channel's last: of those from before the
-- floor that is the newest one of each channel.
create function rivermouth.drop_snapshots() returns bigint
language sql set search_path = pg_catalog, rivermouth as $$
    with gone as (
        delete from rivermouth.snapshots s
        using rivermouth.offsets o
        where o.topic_id = s.topic_id and o.partition = s.partition and s.next_offset < o.floor_offset
          and exists (
              select from rivermouth.snapshots n
              where n.topic_id = s.topic_id and n.partition = s.partition and n.channel = s.channel
                and n.next_offset > s.next_offset and n.next_offset <= o.floor_offset)
        returning 1
    )
    select count(*) from gone
$$;
comment on function rivermouth.drop_snapshots() is
    'drops the snapshots that no event left in the tables goes on from, but never a channel''s last; how many that were';

-- The jobs that are there already, in the form that version 1 of the fold "job" reads.
insert into rivermouth.snapshots (topic_id, partition, channel, day, next_offset, kind, version, state, taken_at)
select distinct on (c.channel)
    c.topic_id, c.partition, c.channel, (to_timestamp(c.log_time_ms / 1000.0) at time zone 'UTC')::date,
    c.newest_offset + 1, 'job', 1,
    convert_to(json_build_object(
        'kind', j.kind, 'owner', j.owner_id, 'status', j.status, 'progress', j.progress::text, 'message', j.message,
        'error_code', j.error_code, 'error_message', j.error_message,
        'created_ms', (extract(epoch from j.created_at) * 1000)::bigint,
        'updated_ms', (extract(epoch from j.updated_at) * 1000)::bigint,
        'finished_ms', (extract(epoch from j.finished_at) * 1000)::bigint)::text, 'UTF8'),
    to_timestamp(c.log_time_ms / 1000.0)
from rivermouth.jobs j
join rivermouth.channels c on c.channel = 'jobs.' || j.job_id
join rivermouth.topics t using (topic_id)
order by c.channel, t.generation desc;
