-- What analysts may rely on: views only, every column explained, and a role that can read them and nothing else.

create schema analytics;
comment on schema analytics is 'the contract with analysts: views over what Rivermouth has stored';

create view analytics.events as
select e.channel, e.event, e.event_id, e.user_id, e.data, e.at, e.cursor, t.topic, e.partition, e."offset",
       e.to_users as addressed_to
from rivermouth.events e join rivermouth.topics t using (topic_id);
comment on view analytics.events is 'every accepted event, once; give a range of "at" so that only those days are read';
comment on column analytics.events.channel is 'the channel, for example session.42';
comment on column analytics.events.event is 'name of the event, for example draw or chat.message';
comment on column analytics.events.event_id is 'id of the event; <topic>:<partition>:<offset> when the publisher gave none';
comment on column analytics.events.user_id is 'who published it; null for a backend that named nobody';
comment on column analytics.events.data is 'what was published';
comment on column analytics.events.at is 'when the log took it: the timestamp clients see';
comment on column analytics.events.cursor is 'its cursor, as clients see it; within a channel cursors sort as the events do';
comment on column analytics.events.topic is 'the Kafka topic it lies in';
comment on column analytics.events.partition is 'the partition';
comment on column analytics.events."offset" is 'the offset';
comment on column analytics.events.addressed_to is 'the users an addressed event was for; null when it was for everybody';

create view analytics.activity as
select e.channel, e.event, e.event_id, e.user_id, e.data, e.at, e.cursor, t.topic, e.partition, e."offset",
       substr(e.channel, length('session.') + 1) as session_id,
       coalesce(e.data ->> 'username', e.data ->> 'name') as username
from rivermouth.events e join rivermouth.topics t using (topic_id)
where e.channel like 'session.%' and e.to_users is null
  and e.event in ('user.joined', 'user.left', 'chat.message', 'dice.roll', 'turn.changed', 'map.updated', 'note.edited');
comment on view analytics.activity is 'the activity feed of every session: its events of the activity types, one row each';
comment on column analytics.activity.channel is 'the session''s channel, session.<id>';
comment on column analytics.activity.event is 'user.joined, user.left, chat.message, dice.roll, turn.changed, map.updated or note.edited';
comment on column analytics.activity.event_id is 'id of the event';
comment on column analytics.activity.user_id is 'who did it; null for a backend that named nobody';
comment on column analytics.activity.data is 'what was published';
comment on column analytics.activity.at is 'when the log took it';
comment on column analytics.activity.cursor is 'its cursor, as clients see it';
comment on column analytics.activity.topic is 'the Kafka topic it lies in';
comment on column analytics.activity.partition is 'the partition';
comment on column analytics.activity."offset" is 'the offset';
comment on column analytics.activity.session_id is 'the session: the channel without "session."';
comment on column analytics.activity.username is 'the name the event carries for its user (data.username or data.name); null when it carries none';

create view analytics.jobs as
select job_id, kind, owner_id, status, progress, message, error_code, error_message,
       created_at, updated_at, finished_at, cursor
from rivermouth.jobs;
comment on view analytics.jobs is 'every job as of its last update';
comment on column analytics.jobs.job_id is 'id of the job: the id of its channel jobs.<id>';
comment on column analytics.jobs.kind is 'what kind of job it is, as its worker calls it; null if never said';
comment on column analytics.jobs.owner_id is 'the user the job runs for; null if never said';
comment on column analytics.jobs.status is 'queued, running, succeeded, failed or cancelled; the last three are final';
comment on column analytics.jobs.progress is 'percent done, 0 to 100; null if never said';
comment on column analytics.jobs.message is 'the last message for people';
comment on column analytics.jobs.error_code is 'code of the error of a failed job';
comment on column analytics.jobs.error_message is 'message of that error';
comment on column analytics.jobs.created_at is 'time of its first update';
comment on column analytics.jobs.updated_at is 'time of the last update that counted';
comment on column analytics.jobs.finished_at is 'time of the update that ended it; null while it runs';
comment on column analytics.jobs.cursor is 'cursor of the last update that counted';

create view analytics.job_history as
select job_id, status, progress, message, error_code, at, cursor
from rivermouth.job_history;
comment on view analytics.job_history is 'every update of every job that counted, one row per step';
comment on column analytics.job_history.job_id is 'the job';
comment on column analytics.job_history.status is 'its status after the step';
comment on column analytics.job_history.progress is 'its progress after the step, percent';
comment on column analytics.job_history.message is 'its message after the step';
comment on column analytics.job_history.error_code is 'code of its error after the step';
comment on column analytics.job_history.at is 'when the log took the update';
comment on column analytics.job_history.cursor is 'cursor of the step';

create view analytics.completeness as
select t.topic, o.partition, o.next_offset as complete_to_offset, o.complete_to_at, o.updated_at,
       o.floor_offset as complete_from_offset
from rivermouth.offsets o join rivermouth.topics t using (topic_id);
comment on view analytics.completeness is
    'how far the stored events are complete, per partition; a question about "at" below the smallest complete_to_at will not change its answer';
comment on column analytics.completeness.topic is 'the Kafka topic';
comment on column analytics.completeness.partition is 'the partition';
comment on column analytics.completeness.complete_to_offset is 'every record below this offset is stored, void or in quarantine';
comment on column analytics.completeness.complete_to_at is 'every record of the partition that the log took before this time is stored; null before the first';
comment on column analytics.completeness.updated_at is 'when that was last found';
comment on column analytics.completeness.complete_from_offset is 'nothing is missing from this offset on; below it retention has taken events';

create view analytics.quarantine as
select t.topic, q.partition, q."offset", q.at, q.reason, q.detail, q.key, q.value, q.headers
from rivermouth.quarantine q join rivermouth.topics t using (topic_id);
comment on view analytics.quarantine is 'records that could not be taken, with the reason; the same records are in the dead letter topic';
comment on column analytics.quarantine.topic is 'the Kafka topic of the record';
comment on column analytics.quarantine.partition is 'its partition';
comment on column analytics.quarantine."offset" is 'its offset';
comment on column analytics.quarantine.at is 'when the log took it';
comment on column analytics.quarantine.reason is 'one word, for example not_json, no_key, bad_channel, unknown_schema, not_storable';
comment on column analytics.quarantine.detail is 'a sentence for a person';
comment on column analytics.quarantine.key is 'the record''s key; null if it had none';
comment on column analytics.quarantine.value is 'the record''s value; null if it had none';
comment on column analytics.quarantine.headers is 'its headers in order: [{"name", "value"}], a value that is not text as {"name", "hex"}';

-- Roles belong to the whole cluster, migrations to one database, and several databases may be migrated at once. So this
-- is a function that gives the same result however often and by however many it is run; it runs after every migration.
-- Its settings are those of this database only, so that databases cannot get into each other's way.
create function rivermouth.prepare_analyst() returns boolean
language plpgsql set search_path = pg_catalog as $$
declare
    setting record;
begin
    if not exists (select from pg_roles where rolname = 'rivermouth_analyst') then
        begin
            -- LOGIN, because a role's settings count only for the role that logs in; without a password nobody can
            -- until an administrator gives it one.
            create role rivermouth_analyst login nosuperuser nocreatedb nocreaterole noinherit connection limit 16;
        exception
            when duplicate_object or unique_violation then
                null; -- another database was faster
            when insufficient_privilege then
                raise warning 'role rivermouth_analyst is missing and % may not create it; an administrator may run: create role rivermouth_analyst login', current_user;
                return false;
        end;
    end if;
    execute format('grant connect on database %I to rivermouth_analyst', current_database());
    grant usage on schema analytics to rivermouth_analyst;
    grant select on all tables in schema analytics to rivermouth_analyst;
    for setting in
        select * from (values
            ('default_transaction_read_only', 'on'),
            ('statement_timeout', '60s'),
            ('lock_timeout', '5s'),
            ('idle_in_transaction_session_timeout', '60s'),
            ('search_path', 'analytics')
        ) as s (name, value)
    loop
        -- What an administrator has changed stays.
        continue when exists (
            select from pg_db_role_setting s
            where s.setrole = 'rivermouth_analyst'::regrole
              and s.setdatabase = (select oid from pg_database where datname = current_database())
              and exists (select from unnest(s.setconfig) c where split_part(c, '=', 1) = setting.name)
        );
        begin
            execute format('alter role rivermouth_analyst in database %I set %I = %L',
                           current_database(), setting.name, setting.value);
        exception when insufficient_privilege then
            raise warning '% may not set % of role rivermouth_analyst', current_user, setting.name;
        end;
    end loop;
    return true;
end $$;
comment on function rivermouth.prepare_analyst() is
    'makes the read-only role of the analysts if it is missing and gives it the views and its timeouts in this database; false when it may not';
