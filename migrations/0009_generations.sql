-- Topics that are created again, and partitions that were cut: nothing of before is overwritten, and both are told.

alter table rivermouth.offsets add column truncated_offset bigint;
comment on column rivermouth.offsets.truncated_offset is
    'the log was found to end here, before what is stored: rows from this offset on are of events the log no longer has, and nothing is stored until a rebuild removes them; null: the log has what is stored';

alter table rivermouth.gaps drop constraint gaps_reason_check;
alter table rivermouth.gaps add constraint gaps_reason_check check (reason in ('retention', 'truncated', 'epoch'));
comment on table rivermouth.gaps is 'offsets that are gone from the log; an empty table is the healthy state';
comment on column rivermouth.gaps.from_offset is 'first offset that is gone';
comment on column rivermouth.gaps.to_offset is 'first offset after those that are gone; 9223372036854775807: all that followed';
comment on column rivermouth.gaps.reason is
    'retention: the log erased them before they were stored; truncated: the log ends before them, and they are stored; epoch: the topic was created again, and whatever it held from there on was not stored';

-- Of a topic that was created again the newest generation alone can still become more complete.
create or replace view analytics.completeness as
select t.topic, o.partition, least(o.next_offset, o.truncated_offset) as complete_to_offset, o.complete_to_at, o.updated_at,
       o.floor_offset as complete_from_offset,
       greatest(o.rebuild_to, o.next_offset) as rebuild_to_offset,
       t.generation, o.truncated_offset as truncated_from_offset
from rivermouth.offsets o join rivermouth.topics t using (topic_id)
where t.generation = (select max(n.generation) from rivermouth.topics n where n.topic = t.topic);
comment on column analytics.completeness.generation is
    'how many times the topic was created again; rows of earlier generations stay, see generation in analytics.gaps';
comment on column analytics.completeness.truncated_from_offset is
    'the log lost its end: stored events from this offset on are not in it any more; null when nothing was lost';

create view analytics.gaps as
select t.topic, t.generation, g.partition, g.from_offset, g.to_offset, g.reason, g.found_at
from rivermouth.gaps g join rivermouth.topics t using (topic_id);
comment on view analytics.gaps is 'what the log has lost, by partition; empty when nothing was lost';
comment on column analytics.gaps.topic is 'the Kafka topic';
comment on column analytics.gaps.generation is 'which of the topics of that name: how many times it had been created again';
comment on column analytics.gaps.partition is 'the partition';
comment on column analytics.gaps.from_offset is 'first offset that is gone';
comment on column analytics.gaps.to_offset is 'first offset after those that are gone; 9223372036854775807: all that followed';
comment on column analytics.gaps.reason is
    'retention: erased before it was stored; truncated: stored, and not in the log any more; epoch: the topic was created again, and what it held from there on was not stored';
comment on column analytics.gaps.found_at is 'when it was found';
