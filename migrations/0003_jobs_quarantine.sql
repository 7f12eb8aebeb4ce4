-- Jobs as their events add up, every step of them, and the records that could not be read.

create table rivermouth.jobs (
    job_id        text        primary key,
    kind          text,
    owner_id      text,
    status        text        not null check (status in ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    progress      double precision,
    message       text,
    error_code    text,
    error_message text,
    created_at    timestamptz not null,
    updated_at    timestamptz not null,
    finished_at   timestamptz,
    cursor        text        not null
) with (fillfactor = 70);
create index jobs_status on rivermouth.jobs (status, created_at);
comment on table rivermouth.jobs is 'every job as of its last update; a job that has ended never changes again';
comment on column rivermouth.jobs.job_id is 'id of the job: the id of its channel jobs.<id>';
comment on column rivermouth.jobs.kind is 'what kind of job it is, as its worker calls it; null if never said';
comment on column rivermouth.jobs.owner_id is 'the user the job runs for, who may read it; null if never said';
comment on column rivermouth.jobs.status is 'queued, running, succeeded, failed or cancelled; the last three are final';
comment on column rivermouth.jobs.progress is 'percent done, 0 to 100; null if never said';
comment on column rivermouth.jobs.message is 'the last message for people';
comment on column rivermouth.jobs.error_code is 'code of the error of a failed job';
comment on column rivermouth.jobs.error_message is 'message of that error';
comment on column rivermouth.jobs.created_at is 'time of its first update';
comment on column rivermouth.jobs.updated_at is 'time of the last update that counted';
comment on column rivermouth.jobs.finished_at is 'time of the update that ended it; null while it runs';
comment on column rivermouth.jobs.cursor is 'cursor of the last update that counted';

create table rivermouth.job_history (
    job_id     text        not null,
    topic_id   smallint    not null references rivermouth.topics,
    partition  integer     not null,
    "offset"   bigint      not null,
    status     text        not null,
    progress   double precision,
    message    text,
    error_code text,
    at         timestamptz not null,
    cursor     text        not null,
    primary key (job_id, topic_id, partition, "offset")
);
create index job_history_at on rivermouth.job_history using brin (at);
comment on table rivermouth.job_history is 'every update of every job that counted, one row per step';
comment on column rivermouth.job_history.job_id is 'the job';
comment on column rivermouth.job_history.topic_id is 'the topic of the update''s record';
comment on column rivermouth.job_history.partition is 'its partition';
comment on column rivermouth.job_history."offset" is 'its offset';
comment on column rivermouth.job_history.status is 'the job''s status after the step';
comment on column rivermouth.job_history.progress is 'its progress after the step, percent';
comment on column rivermouth.job_history.message is 'its message after the step';
comment on column rivermouth.job_history.error_code is 'code of its error after the step';
comment on column rivermouth.job_history.at is 'the record''s time in the log';
comment on column rivermouth.job_history.cursor is 'cursor of the step';

create table rivermouth.quarantine (
    topic_id  smallint    not null references rivermouth.topics,
    partition integer     not null,
    "offset"  bigint      not null,
    at        timestamptz not null,
    reason    text        not null,
    detail    text        not null,
    key       bytea,
    value     bytea,
    headers   jsonb       not null,
    primary key (topic_id, partition, "offset")
);
create index quarantine_at on rivermouth.quarantine using brin (at);
comment on table rivermouth.quarantine is 'records that could not be taken, kept as they were; an empty table is the healthy state';
comment on column rivermouth.quarantine.topic_id is 'the topic of the record';
comment on column rivermouth.quarantine.partition is 'its partition';
comment on column rivermouth.quarantine."offset" is 'its offset';
comment on column rivermouth.quarantine.at is 'its time in the log';
comment on column rivermouth.quarantine.reason is 'one word: not_json, no_key, bad_channel, unknown_schema, ...; not_storable: delivered, but PostgreSQL cannot hold its data as jsonb';
comment on column rivermouth.quarantine.detail is 'a sentence for a person';
comment on column rivermouth.quarantine.key is 'the record''s key; null if it had none';
comment on column rivermouth.quarantine.value is 'the record''s value; null if it had none';
comment on column rivermouth.quarantine.headers is 'the record''s headers in order: [{"name", "value"}], a value that is not text as {"name", "hex"}';
