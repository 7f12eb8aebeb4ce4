-- Rebuilding the tables from the log, and the digests that show whether that changed anything.

alter table rivermouth.offsets
    -- Of a partition that is older than this column nobody knows any more where it began; 0 claims nothing.
    add column begun_offset bigint not null default 0,
    add column rebuild_from bigint,
    add column rebuild_to bigint;
comment on column rivermouth.offsets.begun_offset is 'where storing of the partition began: nothing below was ever stored; 0 where that is not known';
comment on column rivermouth.offsets.rebuild_from is
    'a rebuild has been ordered and everything from this offset on is being removed; nobody stores before it is null again';
comment on column rivermouth.offsets.rebuild_to is
    'where the partition was stored up to when its rebuild was ordered; null once the rebuild is complete';

create or replace view analytics.completeness as
select t.topic, o.partition, o.next_offset as complete_to_offset, o.complete_to_at, o.updated_at,
       o.floor_offset as complete_from_offset,
       greatest(o.rebuild_to, o.next_offset) as rebuild_to_offset
from rivermouth.offsets o join rivermouth.topics t using (topic_id);
comment on column analytics.completeness.rebuild_to_offset is
    'a rebuild is under way: what it removed is back once complete_to_offset has reached this; otherwise the same as complete_to_offset';

-- One value of a digest's line: its length and itself, so that no two lines look alike.
create function rivermouth.digest_field(value text) returns text
language sql immutable parallel safe
return coalesce(octet_length(value) || ':' || value, '-');
comment on function rivermouth.digest_field(text) is 'the value as it stands in a digest''s line: <bytes>:<value>, or - for null';

create function rivermouth.digest_list(list text[]) returns text
language sql immutable parallel safe
return case when list is not null then
    '[' || coalesce((select string_agg(rivermouth.digest_field(value), '' order by place)
                     from unnest(list) with ordinality as l (value, place)), '') || ']'
else '-' end;
comment on function rivermouth.digest_list(text[]) is 'the values as they stand in a digest''s line: in brackets, or - for null';

create function rivermouth.digest_time(moment timestamptz) returns text
language sql stable parallel safe
return rivermouth.digest_field(((extract(epoch from moment) * 1000)::bigint)::text);
comment on function rivermouth.digest_time(timestamptz) is 'the moment as it stands in a digest''s line: Unix milliseconds';

create function rivermouth.digest_number(value double precision) returns text
language sql immutable parallel safe
return rivermouth.digest_field(encode(float8send(value), 'hex'));
comment on function rivermouth.digest_number(double precision) is 'the number as it stands in a digest''s line: its eight bytes in hex';

-- The digest of a day is the SHA-256 of the SHA-256 of its rows' lines, in the order of the log. What is the same in the
-- tables gives the same digest, however often and by whomever it was stored.
create function rivermouth.digests(first_day date, last_day date)
returns table (topic text, generation integer, partition integer, day date, content text, count bigint, digest text)
language sql stable
begin atomic
    select t.topic, t.generation, l.partition, l.day, l.content, count(*),
           encode(sha256(string_agg(sha256(convert_to(l.line, 'UTF8')), ''::bytea order by l.place, l.name)), 'hex')
    from (
        select e.topic_id, e.partition, (e.at at time zone 'UTC')::date as day, 'events' as content,
               e."offset" as place, '' as name,
               rivermouth.digest_field(e."offset"::text) || rivermouth.digest_time(e.at)
               || rivermouth.digest_field(e.channel) || rivermouth.digest_field(e.event)
               || rivermouth.digest_field(e.event_id) || rivermouth.digest_field(e.user_id)
               || rivermouth.digest_list(e.to_users) || rivermouth.digest_field(e.prev_offset::text)
               || rivermouth.digest_field(e.cursor) || rivermouth.digest_field(e.data_text)
               || rivermouth.digest_field(e.data::text) as line
        from rivermouth.events e
        where e.at >= first_day::timestamp at time zone 'UTC' and e.at < (last_day + 1)::timestamp at time zone 'UTC'
        union all
        select h.topic_id, h.partition, (h.at at time zone 'UTC')::date, 'job_history', h."offset", h.job_id,
               rivermouth.digest_field(h."offset"::text) || rivermouth.digest_time(h.at)
               || rivermouth.digest_field(h.job_id) || rivermouth.digest_field(h.status)
               || rivermouth.digest_number(h.progress) || rivermouth.digest_field(h.message)
               || rivermouth.digest_field(h.error_code) || rivermouth.digest_field(h.cursor)
        from rivermouth.job_history h
        where h.at >= first_day::timestamp at time zone 'UTC' and h.at < (last_day + 1)::timestamp at time zone 'UTC'
        union all
        select q.topic_id, q.partition, (q.at at time zone 'UTC')::date, 'quarantine', q."offset", '',
               rivermouth.digest_field(q."offset"::text) || rivermouth.digest_time(q.at)
               || rivermouth.digest_field(q.reason) || rivermouth.digest_field(q.detail)
               || rivermouth.digest_field(encode(q.key, 'hex')) || rivermouth.digest_field(encode(q.value, 'hex'))
               || rivermouth.digest_field(q.headers::text)
        from rivermouth.quarantine q
        where q.at >= first_day::timestamp at time zone 'UTC' and q.at < (last_day + 1)::timestamp at time zone 'UTC'
        union all
        -- A job belongs to no partition: all of a day, by their ids.
        select null, null, (j.created_at at time zone 'UTC')::date, 'jobs', 0, j.job_id,
               rivermouth.digest_field(j.job_id) || rivermouth.digest_field(j.kind)
               || rivermouth.digest_field(j.owner_id) || rivermouth.digest_field(j.status)
               || rivermouth.digest_number(j.progress) || rivermouth.digest_field(j.message)
               || rivermouth.digest_field(j.error_code) || rivermouth.digest_field(j.error_message)
               || rivermouth.digest_time(j.created_at) || rivermouth.digest_time(j.updated_at)
               || rivermouth.digest_time(j.finished_at) || rivermouth.digest_field(j.cursor)
        from rivermouth.jobs j
        where j.created_at >= first_day::timestamp at time zone 'UTC'
          and j.created_at < (last_day + 1)::timestamp at time zone 'UTC'
    ) l left join rivermouth.topics t using (topic_id)
    group by t.topic, t.generation, l.partition, l.day, l.content
    order by l.day, l.content, t.topic, t.generation, l.partition;
end;
comment on function rivermouth.digests(date, date) is
    'a digest of what the tables hold of each day (UTC) from the first to the last, by topic, generation, partition and table; jobs have neither topic nor partition';
