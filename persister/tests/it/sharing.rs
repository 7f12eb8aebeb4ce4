//! Several instances: even shares, quick take-over, and rows exactly once whoever dies (F50, F51, F52).

use std::time::Duration;

use serde_json::json;

use crate::bed::{Bed, eventually, within};
use crate::rows::{exactly_once, publish};

/// How many partitions each living instance holds, ascending.
async fn shares(bed: &Bed) -> Vec<i64> {
    let rows = bed
        .database
        .rows("select count(*) as held from rivermouth.leases where until > now() group by owner order by 1")
        .await;
    rows.iter()
        .map(|row| row["held"].as_i64().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_share_evenly_and_whoever_stops_gives_back_at_once() {
    let bed = Bed::embedded(5).await;
    let one = bed.start();
    eventually("one holds all", async || shares(&bed).await == [10]).await;
    let owners = bed
        .database
        .rows("select distinct owner from rivermouth.leases");
    let first = owners.await[0]["owner"].as_str().unwrap().to_owned();
    let two = bed.start();
    let three = bed.start();
    eventually("three share", async || shares(&bed).await == [3, 3, 4]).await;
    publish(&bed, 0, 300, 30).await;
    bed.caught_up().await;
    one.stop().await;
    // Nothing is left that would have to run out first.
    for kept in ["leases", "members"] {
        let of_one = format!("rivermouth.{kept} where owner = '{first}'");
        assert_eq!(bed.count(&of_one).await, 0, "{kept} of one that is gone");
    }
    eventually("two share", async || shares(&bed).await == [5, 5]).await;
    two.stop().await;
    publish(&bed, 300, 300, 30).await;
    bed.caught_up().await;
    exactly_once(&bed, 600).await;
    three.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_partitions_of_a_dead_instance_move_within_ten_seconds() {
    let bed = Bed::embedded(2).await;
    let victim = bed.start();
    let heir = bed.start();
    eventually("both share", async || shares(&bed).await == [2, 2]).await;
    victim.kill();
    within(Duration::from_secs(10), "the heir holds all", async || {
        shares(&bed).await == [4]
    })
    .await;
    publish(&bed, 0, 100, 10).await;
    bed.caught_up().await;
    exactly_once(&bed, 100).await;
    heir.stop().await;
}

pub(crate) async fn killed_again_and_again(bed: &Bed) {
    let start = || {
        let mut config = bed.config();
        // Short leases and small batches, so that many kills hit many transactions.
        config.lease_ttl = Duration::from_millis(600);
        config.lease_every = Duration::from_millis(100);
        config.batch_rows_max = 20;
        config.linger = Duration::from_millis(5);
        bed.start_with(config, bed.database.url().to_owned(), None)
    };
    let mut published = 0;
    let mut living = [start(), start()];
    for round in 0..12 {
        // Counted before there is more to store: all of it may be stored by the time it is published.
        let stored = bed.count("analytics.events").await;
        publish(bed, published, 200, 17).await;
        published += 200;
        // Not before it stored something more, so that it dies at work.
        eventually("something is stored", async || {
            bed.count("analytics.events").await > stored
        })
        .await;
        std::mem::replace(&mut living[round % 2], start()).kill();
    }
    bed.caught_up().await;
    exactly_once(bed, published).await;
    for instance in living {
        instance.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f50_killed_again_and_again_every_event_is_stored_once() {
    killed_again_and_again(&Bed::embedded(4).await).await;
}

/// Holds the offset's row as a second writer would, moves it past record 0, and lets go when the instance waits for it:
/// what the instance had of record 0 must not appear.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_at_the_stored_offset_is_fenced_and_begins_again() {
    let bed = Bed::embedded(1).await;
    let mut config = bed.config();
    // Nobody but the writer comes for the row.
    config.observe_every = Duration::from_secs(3_600);
    let instance = bed.start_with(config, bed.database.url().to_owned(), None);
    eventually("begun", async || bed.count("rivermouth.offsets").await == 2).await;
    let events = bed.topics.events().to_owned();
    let stolen = bed.database.execute(
        "begin; update rivermouth.offsets set next_offset = 1 where topic_id = (select topic_id from rivermouth.topics where topic = 'rivermouth.events');
         do $$ begin for i in 1..1500 loop
             if exists (select from pg_stat_activity where pg_backend_pid() = any (pg_blocking_pids(pid))) then return; end if;
             perform pg_sleep(0.02), pg_stat_clear_snapshot();
         end loop; raise exception 'nobody came for the row'; end $$; commit",
    );
    let publishing = async {
        eventually("the row is locked", async || {
            bed.count(
                "pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'",
            )
            .await
                > 0
        })
        .await;
        bed.append(&events, "42", r#"{"event":"draw","data":0}"#)
            .await;
    };
    tokio::join!(stolen, publishing);
    bed.append(&events, "42", r#"{"event":"draw","data":1}"#)
        .await;
    bed.caught_up().await;
    assert_eq!(
        bed.database.rows("select data from analytics.events").await,
        [json!({"data": 1})]
    );
    assert!(instance.number("persister_fenced_total") >= 1);
    instance.stop().await;
}

/// A zombie that has lost its leases without knowing (stopped, then continued) shares a partition with the heir for a
/// moment: both write, nothing is doubled.
#[tokio::test(flavor = "multi_thread")]
async fn f51_two_instances_at_work_on_the_same_partitions_double_nothing() {
    let bed = Bed::embedded(2).await;
    let slow = || {
        let mut config = bed.config();
        // Renewed so rarely that each believes it holds what the other has taken long ago.
        config.lease_ttl = Duration::from_millis(300);
        config.lease_every = Duration::from_secs(3);
        config.linger = Duration::from_millis(2);
        bed.start_with(config, bed.database.url().to_owned(), None)
    };
    let one = slow();
    eventually("one began", async || {
        bed.count("rivermouth.offsets").await == 4
    })
    .await;
    let two = slow();
    for round in 0..30 {
        publish(&bed, round * 20, 20, 7).await;
    }
    bed.caught_up().await;
    exactly_once(&bed, 600).await;
    one.stop().await;
    two.stop().await;
}
