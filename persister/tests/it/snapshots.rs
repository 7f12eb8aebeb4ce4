//! Snapshots are what the jobs add up to, however often a persister is killed, and states go on from them.

use std::time::Duration;

use serde_json::{Value, json};

use crate::bed::{Bed, eventually};

/// The part of migration 0006 that keeps the states of jobs that are there already.
fn backfill() -> &'static str {
    let migration = include_str!("../../../migrations/0006_snapshots.sql");
    migration
        .split_once("\ninsert into rivermouth.snapshots")
        .map(|(before, _)| &migration[before.len()..])
        .unwrap()
}

async fn update(bed: &Bed, id: &str, data: &str) -> i64 {
    let value = format!(r#"{{"event":"job.update","data":{data}}}"#);
    bed.append(bed.topics.jobs(), id, &value).await.offset
}

/// For every job: what its snapshot says and what its row says, which have to be the same.
async fn agree(bed: &Bed) -> Vec<Value> {
    let rows = bed
        .database
        .rows(
            "select j.job_id, c.newest_offset + 1 = s.next_offset as place,
                    k ->> 'status' = j.status and (k ->> 'progress')::double precision is not distinct from j.progress
                    and k ->> 'owner' is not distinct from j.owner_id and k ->> 'kind' is not distinct from j.kind
                    and k ->> 'message' is not distinct from j.message
                    and (k ->> 'created_ms')::bigint = (extract(epoch from j.created_at) * 1000)::bigint
                    and (k ->> 'updated_ms')::bigint = (extract(epoch from j.updated_at) * 1000)::bigint
                    and (k ->> 'finished_ms')::bigint
                        is not distinct from (extract(epoch from j.finished_at) * 1000)::bigint as state
             from rivermouth.jobs j
             join rivermouth.channels c on c.channel = 'jobs.' || j.job_id
             left join rivermouth.snapshots s using (topic_id, partition, channel)
             cross join lateral (select convert_from(s.state, 'UTF8')::jsonb) as f (k)
             order by j.job_id",
        )
        .await;
    for row in &rows {
        assert_eq!(
            (&row["place"], &row["state"]),
            (&json!(true), &json!(true)),
            "{row}"
        );
    }
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_the_fold_of_the_rows_though_persisters_are_killed_all_the_time() {
    let bed = Bed::embedded(2).await;
    let (mut instance, mut kills) = (bed.start(), 0);
    for n in 0..400 {
        let id = format!("j{}", n % 5);
        let status = if n > 300 && n % 50 < 5 {
            "succeeded"
        } else {
            "running"
        };
        let data = format!(
            r#"{{"jobId":"{id}","status":"{status}","progress":{},"ownerId":"u{}","message":"\u00e4 {n}"}}"#,
            f64::from(n) / 7.0,
            n / 100
        );
        update(&bed, &id, &data).await;
        if n % 40 == 39 {
            // Somewhere in the middle of storing.
            std::mem::replace(&mut instance, bed.start()).kill();
            kills += 1;
        }
    }
    bed.caught_up().await;
    assert_eq!((agree(&bed).await.len(), kills), (5, 10));
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_goes_on_where_it_was_with_a_snapshot_a_later_one_or_none() {
    let bed = Bed::embedded(1).await;
    let first =
        r#"{"jobId":"9f","status":"running","ownerId":"u1","kind":"export","progress":12.5}"#;
    let ended = r#"{"jobId":"done","status":"failed","error":{"code":"E7","message":"no ink"}}"#;
    let instance = bed.start();
    update(&bed, "9f", first).await;
    update(&bed, "done", ended).await;
    bed.caught_up().await;
    instance.stop().await;
    for (round, before) in [
        // As it was stored.
        "select 1",
        // By a version without snapshots: the rows are folded again.
        "delete from rivermouth.snapshots",
        // The same, and then the migration.
        &format!("delete from rivermouth.snapshots; {}", backfill()),
        // By a later version: from the first event again.
        "update rivermouth.snapshots set version = 99, state = '\\x00'",
    ]
    .into_iter()
    .enumerate()
    {
        bed.database.execute(before).await;
        let instance = bed.start();
        let data = format!(r#"{{"jobId":"9f","status":"running","message":"round {round}"}}"#);
        update(&bed, "9f", &data).await;
        update(&bed, "done", r#"{"jobId":"done","status":"running"}"#).await;
        bed.caught_up().await;
        let jobs = bed
            .database
            .rows("select status, owner_id, kind, progress, message, error_code from analytics.jobs order by job_id")
            .await;
        let going = json!({"status": "running", "owner_id": "u1", "kind": "export", "progress": 12.5,
            "message": format!("round {round}"), "error_code": null});
        let stays = json!({"status": "failed", "owner_id": null, "kind": null, "progress": null,
            "message": null, "error_code": "E7"});
        assert_eq!(jobs, [going, stays], "after {before}");
        assert_eq!(agree(&bed).await.len(), 2);
        instance.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_cannot_be_known_stops_its_partition_and_is_never_made_up() {
    let bed = Bed::embedded(2).await;
    let key_of = |partition: i32| {
        let keys = (0..).map(|n| format!("k{n}"));
        keys.into_iter()
            .find(|key| schemas::partition_of(key.as_bytes(), 2) == partition)
            .unwrap()
    };
    let (lost, other) = (key_of(0), key_of(1));
    let running = |id: &str| format!(r#"{{"jobId":"{id}","status":"running","ownerId":"u1"}}"#);
    let instance = bed.start();
    update(&bed, &lost, &running(&lost)).await;
    bed.caught_up().await;
    instance.stop().await;
    bed.database
        .execute("update rivermouth.snapshots set version = 99; select rivermouth.drop_days(current_date + 2)")
        .await;
    let instance = bed.start();
    let stopped_at = update(
        &bed,
        &lost,
        &format!(r#"{{"jobId":"{lost}","status":"succeeded"}}"#),
    )
    .await;
    update(&bed, &other, &running(&other)).await;
    let progress = async |partition| {
        let place = store::Place::new(bed.topics.jobs(), 0, partition);
        bed.store
            .progress(&place)
            .await
            .unwrap()
            .map(|progress| progress.next)
    };
    eventually("the other partition goes on", async || {
        progress(1).await.is_some_and(|next| next > 0)
    })
    .await;
    assert_eq!(progress(0).await, Some(stopped_at));
    let known = bed
        .database
        .rows("select status from analytics.jobs order by owner_id")
        .await;
    assert_eq!(
        known,
        [json!({"status": "running"}), json!({"status": "running"})]
    );
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_snapshots_go_with_the_days_they_came_from() {
    let bed = Bed::embedded(1).await;
    update(&bed, "9f", r#"{"jobId":"9f","status":"running"}"#).await;
    let mut config = bed.config();
    config.retention_days = Some(1);
    let instance = bed.start_with(config.clone(), bed.database.url().to_owned(), None);
    bed.caught_up().await;
    instance.stop().await;
    // One of long ago, which nothing goes on from; the last one stays.
    bed.database
        .execute(
            "insert into rivermouth.snapshots
             select topic_id, partition, channel, day - 30, 0, kind, version, state, taken_at from rivermouth.snapshots;
             update rivermouth.offsets set floor_offset = 1 where next_offset = 1",
        )
        .await;
    let instance = bed.start_with(config, bed.database.url().to_owned(), None);
    eventually("the old one is dropped", async || {
        bed.count("rivermouth.snapshots").await == 1
    })
    .await;
    assert_eq!(agree(&bed).await.len(), 1);
    tokio::time::timeout(Duration::from_secs(20), instance.stop())
        .await
        .unwrap();
}
