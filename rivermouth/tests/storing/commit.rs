//! What happens between the rows and the answer to their commit (F50, F52, F53).

use testbed::{Bed, Database, Loss, Proxy, until};

use crate::BINARY;
use crate::poured::{pour, tables_are_the_log};

/// From now on a commit that moves an offset waits, all its rows written, while somebody holds the lock.
const COMMITS_WAIT: &str = "
    create function hold_commit() returns trigger language plpgsql as $$
    begin
        perform pg_advisory_xact_lock_shared(4711);
        return null;
    end $$;
    create constraint trigger hold_commit after update on rivermouth.offsets deferrable initially deferred
        for each row when (old.next_offset <> new.next_offset) execute function hold_commit()";
const HOLD: &str = "select pg_advisory_lock(4711)";
const WAITING: &str =
    "from pg_stat_activity where datname = current_database() and wait_event = 'advisory'";

async fn a_commit_waits(database: &Database) {
    until("a commit to be under way", || async {
        let waiting = database.number(&format!("select count(*) {WAITING}")).await;
        (waiting > 0).then_some(())
    })
    .await;
}

/// What PostgreSQL does with a commit whose client is gone.
async fn lose(database: &Database) {
    database
        .execute(&format!("select pg_terminate_backend(pid) {WAITING}"))
        .await;
}

/// Killed with all rows written and the commit asked for. Every other time the transaction is lost with it, every other
/// time it goes through and nobody hears.
#[tokio::test(flavor = "multi_thread")]
async fn f50_a_persister_killed_between_insert_and_commit_leaves_every_row_once() {
    let bed = Bed::on_kafka(BINARY).await;
    let mut persister = bed.start("persister").await;
    let database = bed.database();
    database.execute(COMMITS_WAIT).await;
    for round in 0..6 {
        let held = database.hold(HOLD).await;
        pour(&bed, round * 150, 150).await;
        a_commit_waits(database).await;
        persister.kill_9().await;
        if round % 2 == 0 {
            lose(database).await;
        }
        held.release().await;
        persister.start().await;
    }
    tables_are_the_log(&bed).await;
}

/// Stopped in the middle of a commit for longer than its lease, while another one takes its partitions over.
#[tokio::test(flavor = "multi_thread")]
async fn f52_a_persister_stopped_in_its_commit_doubles_nothing_when_it_goes_on() {
    let bed = Bed::on_kafka(BINARY).await;
    let mut zombie = bed.start("persister").await;
    let database = bed.database();
    database.execute(COMMITS_WAIT).await;
    let checker = bed.checker().await;
    for round in 0..2 {
        let held = database.hold(HOLD).await;
        pour(&bed, round * 400, 200).await;
        a_commit_waits(database).await;
        zombie.process().pause();
        if round == 0 {
            lose(database).await;
        }
        held.release().await;
        let mut heir = bed.start("persister").await;
        pour(&bed, round * 400 + 200, 200).await;
        // The heir alone brings all of it to the end.
        checker.stored().await;
        zombie.process().go_on();
        pour(&bed, 1000 + round * 100, 100).await;
        checker.stored().await;
        assert!(heir.terminate().await.success());
    }
    tables_are_the_log(&bed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f53_connections_cut_at_commit_before_or_after_it_lose_and_double_nothing() {
    let mut bed = Bed::on_kafka(BINARY).await;
    let proxy = Proxy::to(bed.database().address());
    let url = bed.database().url_by(proxy.port());
    bed.set("DATABASE_URL", url);
    let _persister = bed.start("persister").await;
    for round in 0..8 {
        let loss = match round % 2 {
            0 => Loss::Question,
            _ => Loss::Answer,
        };
        proxy.lose(loss, b"COMMIT", 3);
        pour(&bed, round * 200, 200).await;
        until("commits to be cut", || async {
            (proxy.still_to_lose() == 0).then_some(())
        })
        .await;
    }
    tables_are_the_log(&bed).await;
}
