-- The delivery ledger: how far each user has acknowledged a channel, under each name, as kept in the state topic.

create table rivermouth.deliveries (
    channel     text        not null,
    user_id     text        not null,
    durable     text        not null,
    topic_id    smallint    not null references rivermouth.topics,
    generation  integer     not null,
    partition   integer     not null,
    next_offset bigint      not null,
    cursor      text        not null,
    acked_at    timestamptz not null,
    primary key (channel, user_id, durable)
) with (fillfactor = 50);
comment on table rivermouth.deliveries is
    'the furthest acknowledged cursor of every user, channel and name; made from the state topic and from nothing else';
comment on column rivermouth.deliveries.channel is 'the channel as its reader asked for it; a view such as activity.42 stands for itself';
comment on column rivermouth.deliveries.user_id is 'the user who acknowledged';
comment on column rivermouth.deliveries.durable is 'the name under which the cursor is kept';
comment on column rivermouth.deliveries.topic_id is 'the topic of the acknowledged events';
comment on column rivermouth.deliveries.generation is 'its generation: a cursor of a higher one is further, whatever its offset';
comment on column rivermouth.deliveries.partition is 'the partition of the acknowledged events';
comment on column rivermouth.deliveries.next_offset is 'every event of the channel below this offset is acknowledged';
comment on column rivermouth.deliveries.cursor is 'the cursor, as clients see it';
comment on column rivermouth.deliveries.acked_at is 'when it was acknowledged, by the clock of the node that took it';

create view analytics.deliveries as
select d.user_id, d.channel, d.durable, d.cursor, d.acked_at, t.topic, d.partition, d.next_offset as acked_to_offset,
       c.last_offset, coalesce(c.last_offset >= d.next_offset, false) as behind
from rivermouth.deliveries d
join rivermouth.topics t using (topic_id)
left join rivermouth.channels c
    on c.topic_id = d.topic_id and c.partition = d.partition
   and c.channel = case when d.channel like 'activity.%' then 'session.' || substr(d.channel, length('activity.') + 1)
                        else d.channel end;
comment on view analytics.deliveries is
    'what users have acknowledged, for subscriptions with a name; how many events one is behind: count those of the channel with "offset" >= acked_to_offset';
comment on column analytics.deliveries.user_id is 'the user who acknowledged';
comment on column analytics.deliveries.channel is 'the channel; activity.<id> is the activity feed of session.<id>, acknowledged for itself';
comment on column analytics.deliveries.durable is 'the name under which the cursor is kept, for example one per device';
comment on column analytics.deliveries.cursor is 'everything up to this cursor is acknowledged';
comment on column analytics.deliveries.acked_at is 'when it was acknowledged, by the clock of the node that took it';
comment on column analytics.deliveries.topic is 'the Kafka topic of the acknowledged events';
comment on column analytics.deliveries.partition is 'their partition';
comment on column analytics.deliveries.acked_to_offset is 'every event of the channel below this offset is acknowledged';
comment on column analytics.deliveries.last_offset is 'offset of the last event stored in the channel that everybody may see; null when there is none';
comment on column analytics.deliveries.behind is 'whether an event for everybody is stored that is not acknowledged; for a view, one of its channel';
