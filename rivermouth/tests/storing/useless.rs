//! PostgreSQL is there and of no use: read-only, without connections, without disk, locked (F55). The lag grows and is
//! told, nothing is lost, and once PostgreSQL is of use again the tables become complete by themselves.

use std::time::Instant;

use testbed::{Bed, Database, Disk, Held, Node, PATIENCE, Random, Server, until};

use crate::BINARY;
use crate::poured::{is_ready, number, pour, tables_are_the_log};

const OURS: &str = "from pg_stat_activity where datname = current_database() and application_name = 'rivermouth-persister'";

/// Cuts the persister's connections, so that it has to make new ones.
async fn cut(database: &Database) {
    database
        .execute(&format!("select pg_terminate_backend(pid) {OURS}"))
        .await;
}

/// Pours what cannot be stored, and waits until the persister says so.
async fn told(bed: &Bed, persister: &Node, from: usize) {
    let before = number(persister, "persister_retries_total").await;
    pour(bed, from, 500).await;
    until("the trouble to be told", || async {
        let retries = number(persister, "persister_retries_total").await;
        (retries > before).then_some(())
    })
    .await;
    until("the lag to be told", || async {
        (number(persister, "persister_lag_records").await > 0.0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f55_a_read_only_postgresql_delays_rows_and_loses_none() {
    let bed = Bed::on_kafka(BINARY).await;
    let persister = bed.start("persister").await;
    pour(&bed, 0, 200).await;
    let database = bed.database();
    bed.checker().await.stored().await;
    let name = database.name().to_owned();
    database
        .execute(&format!(
            "alter database {name} set default_transaction_read_only = on"
        ))
        .await;
    cut(database).await;
    told(&bed, &persister, 200).await;
    until("the persister to be unready", || async {
        (!is_ready(&persister).await).then_some(())
    })
    .await;
    // For connections to come: those the persister has stay read-only, as those to a standby do.
    database
        .execute(&format!(
            "begin read write; alter database {name} reset default_transaction_read_only; commit"
        ))
        .await;
    tables_are_the_log(&bed).await;
    until("the persister to be ready", || async {
        is_ready(&persister).await.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f55_a_postgresql_without_free_connections_delays_rows_and_loses_none() {
    let server = Server::start().await;
    let bed = Bed::on_kafka_and(BINARY, &server).await;
    let persister = bed.start("persister").await;
    pour(&bed, 0, 200).await;
    bed.checker().await.stored().await;
    let others = all_connections(bed.database()).await;
    told(&bed, &persister, 200).await;
    for other in others {
        other.release().await;
    }
    tables_are_the_log(&bed).await;
}

/// Takes connections until the persister has none and finds none.
async fn all_connections(database: &Database) -> Vec<Held> {
    let mut mine = database.hold("select 1").await;
    let mut others = Vec::new();
    let begun = Instant::now();
    loop {
        while let Some(other) = database.try_hold("select 1").await {
            others.push(other);
        }
        if mine.number(&format!("select count(*) {OURS}")).await == 0 {
            others.push(mine);
            return others;
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "the persister keeps a connection"
        );
        mine.execute(&format!("select pg_terminate_backend(pid) {OURS}"))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f55_a_full_disk_delays_rows_and_loses_none() {
    let Some(disk) = Disk::of("24m") else {
        println!("SKIPPED: this user may mount no file system to fill up");
        return;
    };
    // Ends before its disk goes.
    let server = Server::start().await;
    let bed = Bed::on_kafka_and(BINARY, &server).await;
    let database = bed.database();
    let place = disk.path().join("tables");
    server.directory(&place);
    database
        .execute(&format!(
            "create tablespace small location '{}'",
            place.display()
        ))
        .await;
    let name = database.name();
    // The days are made by the persister, on its first start.
    database
        .execute(&format!(
            "alter database {name} set default_tablespace = small"
        ))
        .await;
    let persister = bed.start("persister").await;
    pour(&bed, 0, 200).await;
    bed.checker().await.stored().await;
    let mut random = Random::seeded("disk");
    let large = (0..20_000).map(|n| {
        let noise: String = (0..80)
            .map(|_| format!("{:016x}", random.below(u64::MAX)))
            .collect();
        let value = format!(r#"{{"event":"draw","id":"large-{n}","data":"{noise}"}}"#);
        ((n % 30).to_string(), value)
    });
    let topic = bed.broker().topic("events");
    bed.broker().pour(&topic, large).await;
    told(&bed, &persister, 200).await;
    until("the persister to be stopped by the disk", || async {
        persister
            .output()
            .contains("No space left on device")
            .then_some(())
    })
    .await;
    disk.grow("400m");
    tables_are_the_log(&bed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f55_a_table_locked_by_somebody_delays_rows_and_loses_none() {
    let bed = Bed::on_kafka(BINARY).await;
    let persister = bed.start("persister").await;
    pour(&bed, 0, 200).await;
    bed.checker().await.stored().await;
    let held = bed
        .database()
        .hold("begin; lock table rivermouth.events in access exclusive mode")
        .await;
    told(&bed, &persister, 200).await;
    held.release().await;
    tables_are_the_log(&bed).await;
}
