-- Where records were erased before they were stored, the rows before and after stay, and the acceptance rule goes on
-- with what it can still know.

alter table rivermouth.producers add column last_offset bigint not null default 0;
comment on column rivermouth.producers.last_offset is
    'offset of its last accepted record; 0 where that is not known. Below rivermouth.lost_to it may have gone on in what was lost';

comment on column rivermouth.offsets.floor_offset is
    'rows are complete from here on, but for the ranges in gaps whose reason is retention';

create function rivermouth.lost_to(topic smallint, part integer, below bigint) returns bigint
language sql stable
return coalesce(
    (select max(g.to_offset) from rivermouth.gaps g
     where g.topic_id = topic and g.partition = part and g.reason = 'retention' and g.to_offset <= below), 0);
comment on function rivermouth.lost_to(smallint, integer, bigint) is
    'the end of the last range below an offset that was erased before it was stored; 0 when there is none';

comment on column analytics.completeness.complete_from_offset is
    'events are complete from this offset on, but for the ranges in analytics.gaps whose reason is retention';
