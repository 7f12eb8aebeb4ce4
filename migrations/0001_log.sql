-- Where the persister stands in the log: topics, offsets, days, gaps, leases.
--
-- Schema rivermouth is ours alone. Analysts get the views of schema analytics and nothing else.

comment on schema rivermouth is
    'tables of Rivermouth; not a contract: analysts use the views of schema analytics';
comment on table rivermouth.schema_migrations is 'which migrations have been applied (kept by sqlx)';
comment on column rivermouth.schema_migrations.version is 'number of the migration';
comment on column rivermouth.schema_migrations.description is 'name of the migration';
comment on column rivermouth.schema_migrations.installed_on is 'when it was applied';
comment on column rivermouth.schema_migrations.success is 'whether it ran to its end';
comment on column rivermouth.schema_migrations.checksum is 'SHA-384 of its text; an applied migration never changes';
comment on column rivermouth.schema_migrations.execution_time is 'how long it took, in nanoseconds; -1 if unknown';

-- A topic's name would stand in every row and every index entry; two bytes stand for it instead.
create table rivermouth.topics (
    topic_id   smallint generated always as identity primary key,
    topic      text     not null,
    generation integer  not null check (generation between 0 and 65535),
    unique (topic, generation)
);
comment on table rivermouth.topics is 'the topics whose records are stored, one row per generation of a topic';
comment on column rivermouth.topics.topic_id is 'small number that stands for the topic in every other table';
comment on column rivermouth.topics.topic is 'name of the topic in Kafka';
comment on column rivermouth.topics.generation is 'how many times the topic was re-created under this name; 0 for the first';

-- The line that fences: a batch is stored only together with moving next_offset from where its writer believed it stood.
create table rivermouth.offsets (
    topic_id       smallint    not null references rivermouth.topics,
    partition      integer     not null check (partition >= 0),
    next_offset    bigint      not null,
    floor_offset   bigint      not null,
    complete_to_at timestamptz,
    updated_at     timestamptz not null default now(),
    primary key (topic_id, partition),
    check (floor_offset <= next_offset)
) with (fillfactor = 50);
comment on table rivermouth.offsets is
    'how far each partition is stored; moved in the transaction that stores the rows, only by whoever knows its present value';
comment on column rivermouth.offsets.topic_id is 'the topic';
comment on column rivermouth.offsets.partition is 'the partition, from 0';
comment on column rivermouth.offsets.next_offset is 'every record below this offset has been dealt with: stored, void or quarantined';
comment on column rivermouth.offsets.floor_offset is 'rows are complete from this offset on; below it retention or a gap has taken some';
comment on column rivermouth.offsets.complete_to_at is 'every record of the partition with an earlier time in the log is stored; null before the first record';
comment on column rivermouth.offsets.updated_at is 'when this row last changed, by the clock of PostgreSQL';

-- Which offsets lie in which day. History asks for offsets, the events are cut by days: this tells which days to open.
create table rivermouth.days (
    topic_id     smallint not null references rivermouth.topics,
    partition    integer  not null,
    day          date     not null,
    first_offset bigint   not null,
    last_offset  bigint   not null,
    events       bigint   not null check (events > 0),
    primary key (topic_id, partition, day),
    check (first_offset <= last_offset)
) with (fillfactor = 50);
comment on table rivermouth.days is 'which offsets of a partition have their events in which day';
comment on column rivermouth.days.topic_id is 'the topic';
comment on column rivermouth.days.partition is 'the partition';
comment on column rivermouth.days.day is 'the day (UTC) of the events'' time';
comment on column rivermouth.days.first_offset is 'smallest offset of an event of that day';
comment on column rivermouth.days.last_offset is 'largest offset of an event of that day; ranges of neighbouring days overlap when a clock stepped back';
comment on column rivermouth.days.events is 'how many events of the partition that day has';

create table rivermouth.gaps (
    topic_id    smallint    not null references rivermouth.topics,
    partition   integer     not null,
    from_offset bigint      not null,
    to_offset   bigint      not null,
    reason      text        not null check (reason in ('retention', 'truncated')),
    found_at    timestamptz not null default now(),
    primary key (topic_id, partition, from_offset),
    check (from_offset < to_offset)
);
comment on table rivermouth.gaps is 'offsets that were gone from the log before they could be stored; an empty table is the healthy state';
comment on column rivermouth.gaps.topic_id is 'the topic';
comment on column rivermouth.gaps.partition is 'the partition';
comment on column rivermouth.gaps.from_offset is 'first missing offset';
comment on column rivermouth.gaps.to_offset is 'first offset after the missing ones';
comment on column rivermouth.gaps.reason is 'retention: the log erased them before they were stored; truncated: the log ends before them';
comment on column rivermouth.gaps.found_at is 'when the persister found them missing, by the clock of PostgreSQL';

-- A lease says who should write a partition, so that instances share the work. It guards nothing: offsets does.
create table rivermouth.leases (
    topic_id  smallint    not null references rivermouth.topics,
    partition integer     not null,
    owner     text,
    until     timestamptz not null default '-infinity',
    primary key (topic_id, partition)
) with (fillfactor = 50);
comment on table rivermouth.leases is 'which persister instance works on which partition; only a division of work, offsets is what fences';
comment on column rivermouth.leases.topic_id is 'the topic';
comment on column rivermouth.leases.partition is 'the partition';
comment on column rivermouth.leases.owner is 'the instance that holds the lease; null when it was given back';
comment on column rivermouth.leases.until is 'the lease is free to take from this moment on, by the clock of PostgreSQL';

create table rivermouth.members (
    owner text        primary key,
    until timestamptz not null
) with (fillfactor = 50);
comment on table rivermouth.members is 'the persister instances alive, between which partitions are shared evenly';
comment on column rivermouth.members.owner is 'name of the instance, new at each start';
comment on column rivermouth.members.until is 'the instance counts as dead from this moment on unless it renews, by the clock of PostgreSQL';
