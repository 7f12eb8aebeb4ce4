-- The events, cut by day, and what the acceptance rule (D3) has to remember of each channel.

create table rivermouth.events (
    topic_id    smallint    not null,
    partition   integer     not null,
    "offset"    bigint      not null,
    at          timestamptz not null,
    log_time_ms bigint      not null,
    prev_offset bigint,
    id_given    boolean     not null,
    epoch       bigint,
    seq         bigint,
    producer    text,
    channel     text        not null,
    event       text        not null,
    event_id    text        not null,
    user_id     text,
    cursor      text        not null,
    to_users    text[],
    data_text   text        not null,
    data        jsonb,
    -- Every unique key of a partitioned table has to hold the column it is cut by.
    primary key (topic_id, partition, "offset", at)
) partition by range (at);

-- The one path of history: a channel, in log order. Analysts' questions by time are served by the cut itself.
create index events_channel on rivermouth.events (channel, topic_id, partition, "offset");

comment on table rivermouth.events is 'accepted events of the durable lane, one row per event, cut by day of their time';
comment on column rivermouth.events.topic_id is 'the topic the record lies in';
comment on column rivermouth.events.partition is 'its partition';
comment on column rivermouth.events."offset" is 'its offset';
comment on column rivermouth.events.at is 'the record''s time in the log: append time on our own topics; kept between the years 1970 and 9999';
comment on column rivermouth.events.log_time_ms is 'the largest time accepted in the channel up to and including this event, Unix ms; never steps back within a channel';
comment on column rivermouth.events.prev_offset is 'offset of the accepted event before it in the channel that everybody may see; null for the first';
comment on column rivermouth.events.id_given is 'whether the publisher gave event_id; false when it was made from the position';
comment on column rivermouth.events.epoch is 'epoch of the outbox the record came from; null without an outbox';
comment on column rivermouth.events.seq is 'the record''s number within that epoch';
comment on column rivermouth.events.producer is 'name of that outbox';
comment on column rivermouth.events.channel is 'the channel, for example session.42';
comment on column rivermouth.events.event is 'name of the event, in its canonical spelling with dots';
comment on column rivermouth.events.event_id is 'id of the event; <topic>:<partition>:<offset> when the publisher gave none';
comment on column rivermouth.events.user_id is 'who published it; null for a backend that named nobody';
comment on column rivermouth.events.cursor is 'the cursor of the event, as clients see it; sorts as the events of the channel do';
comment on column rivermouth.events.to_users is 'the users an addressed event is for; null for everybody';
comment on column rivermouth.events.data_text is 'the published JSON, byte for byte: what history sends';
comment on column rivermouth.events.data is 'the same as jsonb: what analysts ask; null only if PostgreSQL could not hold it, then quarantine says why';

-- Takes rows whose day has no partition yet (a bogus clock, or a database that ran out of prepared days), so that no row
-- is ever refused. create_day moves them out when their day is made.
create table rivermouth.events_default (like rivermouth.events including all);
alter table rivermouth.events attach partition rivermouth.events_default default;
comment on table rivermouth.events_default is 'events of days that have no partition of their own; empty in a healthy database';

-- Makes the partition of a day and moves into it what the default partition holds of that day. True when it was made now.
-- Locks are taken from the parent down, as readers do, and the caller's lock_timeout bounds the wait for them.
create function rivermouth.create_day(wanted date) returns boolean
language plpgsql set search_path = pg_catalog, rivermouth as $$
declare
    name text := 'events_p' || to_char(wanted, 'YYYYMMDD');
    lower timestamptz := wanted::timestamp at time zone 'UTC';
    upper timestamptz := (wanted + 1)::timestamp at time zone 'UTC';
begin
    if to_regclass('rivermouth.' || name) is not null then
        return false;
    end if;
    lock table rivermouth.events in share update exclusive mode;
    if to_regclass('rivermouth.' || name) is not null then
        return false;
    end if;
    execute format('create table rivermouth.%I (like rivermouth.events including all)', name);
    execute format('comment on table rivermouth.%I is %L', name, 'events of ' || wanted || ' (UTC)');
    lock table rivermouth.events_default in access exclusive mode;
    execute format(
        'with moved as (delete from rivermouth.events_default where at >= %L and at < %L returning *)
         insert into rivermouth.%I select * from moved', lower, upper, name);
    execute format(
        'alter table rivermouth.events attach partition rivermouth.%I for values from (%L) to (%L)', name, lower, upper);
    return true;
end $$;
comment on function rivermouth.create_day(date) is
    'makes the partition of a day of events, with the rows the default partition holds of that day; true when it was made now';

-- Drops whole days older than a day and says so in the offsets, so that history tells a gap instead of an empty past.
create function rivermouth.drop_days(oldest_kept date) returns integer
language plpgsql set search_path = pg_catalog, rivermouth as $$
declare
    child record;
    dropped integer := 0;
begin
    lock table rivermouth.events in access exclusive mode;
    for child in
        select c.relname as name
        from pg_inherits i join pg_class c on c.oid = i.inhrelid
        where i.inhparent = 'rivermouth.events'::regclass
          and c.relname ~ '^events_p[0-9]{8}$'
          and to_date(substr(c.relname, 9), 'YYYYMMDD') < oldest_kept
    loop
        execute format('drop table rivermouth.%I', child.name);
        dropped := dropped + 1;
    end loop;
    delete from rivermouth.events_default where at < oldest_kept::timestamp at time zone 'UTC';
    with gone as (
        delete from rivermouth.days where day < oldest_kept returning topic_id, partition, last_offset
    ), floors as (
        select topic_id, partition, max(last_offset) + 1 as floor_offset from gone group by topic_id, partition
    )
    update rivermouth.offsets o
    set floor_offset = greatest(o.floor_offset, f.floor_offset), updated_at = now()
    from floors f
    where o.topic_id = f.topic_id and o.partition = f.partition;
    return dropped;
end $$;
comment on function rivermouth.drop_days(date) is
    'drops the events of all days before a day and raises the floors of the partitions; the number of days dropped';

-- For the rare batch that holds a text jsonb refuses: such a row is stored without its jsonb form instead of stopping all.
create function rivermouth.jsonb_or_null(text_form text) returns jsonb
language plpgsql immutable strict set search_path = pg_catalog as $$
begin
    return text_form::jsonb;
exception when data_exception or program_limit_exceeded then
    return null;
end $$;
comment on function rivermouth.jsonb_or_null(text) is 'the text as jsonb, null where jsonb cannot hold it';

create table rivermouth.channels (
    topic_id     smallint    not null references rivermouth.topics,
    partition    integer     not null,
    channel      text        not null,
    log_time_ms  bigint      not null,
    step_back_ms bigint      not null default 0 check (step_back_ms >= 0),
    last_offset  bigint,
    newest_offset bigint     not null,
    first_at     timestamptz not null,
    events       bigint      not null check (events > 0),
    primary key (topic_id, partition, channel)
) with (fillfactor = 70);
comment on table rivermouth.channels is 'what the acceptance rule knows of each channel as of offsets.next_offset, moved in the same transaction';
comment on column rivermouth.channels.topic_id is 'the topic the channel lies in';
comment on column rivermouth.channels.partition is 'its partition';
comment on column rivermouth.channels.channel is 'the channel';
comment on column rivermouth.channels.log_time_ms is 'the largest time accepted so far, Unix ms';
comment on column rivermouth.channels.step_back_ms is 'the most that an accepted event''s own time lay behind log_time_ms, in ms; bounds which days may hold recent ids';
comment on column rivermouth.channels.last_offset is 'offset of the last accepted event everybody may see: the next event''s prev; null when there was none';
comment on column rivermouth.channels.newest_offset is 'offset of the last accepted event, addressed ones included';
comment on column rivermouth.channels.first_at is 'the smallest time of an accepted event';
comment on column rivermouth.channels.events is 'how many events were accepted since the channel began';

create table rivermouth.producers (
    topic_id  smallint not null references rivermouth.topics,
    partition integer  not null,
    channel   text     not null,
    user_id   text,
    producer  text     not null,
    epoch     bigint   not null,
    seq       bigint   not null,
    -- A backend's outbox has no user, and two of the same name are the same one.
    unique nulls not distinct (topic_id, partition, channel, user_id, producer)
) with (fillfactor = 70);
comment on table rivermouth.producers is 'where each outbox stands in each channel, as of offsets.next_offset';
comment on column rivermouth.producers.topic_id is 'the topic the channel lies in';
comment on column rivermouth.producers.partition is 'its partition';
comment on column rivermouth.producers.channel is 'the channel';
comment on column rivermouth.producers.user_id is 'the user the outbox belongs to; null for a backend''s';
comment on column rivermouth.producers.producer is 'name of the outbox';
comment on column rivermouth.producers.epoch is 'its last accepted epoch';
comment on column rivermouth.producers.seq is 'its last accepted number within that epoch';
