//! PostgreSQL goes away, comes back, and sometimes does not say what it did (F53, F54, F55).

use std::time::Duration;

use testbed::{Loss, Proxy};

use crate::bed::{Bed, Instance, eventually};
use crate::rows::{exactly_once, publish};

async fn behind_a_proxy(bed: &Bed) -> (Proxy, Instance) {
    let proxy = Proxy::to(bed.database.address());
    let mut config = bed.config();
    config.batch_rows_max = 50;
    let instance = bed.start_with(config, bed.database.url_by(proxy.port()), None);
    (proxy, instance)
}

#[tokio::test(flavor = "multi_thread")]
async fn f54_while_postgresql_is_away_nothing_is_lost_and_storing_goes_on_by_itself() {
    let bed = Bed::embedded(3).await;
    let (proxy, instance) = behind_a_proxy(&bed).await;
    publish(&bed, 0, 200, 9).await;
    bed.caught_up().await;
    proxy.away();
    publish(&bed, 200, 600, 9).await;
    eventually("the outage is noticed", async || {
        instance.number("persister_retries_total") > 0
    })
    .await;
    proxy.back();
    bed.caught_up().await;
    exactly_once(&bed, 800).await;
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f53_commits_whose_answer_is_lost_are_neither_lost_nor_doubled() {
    let bed = Bed::embedded(3).await;
    let (proxy, instance) = behind_a_proxy(&bed).await;
    for round in 0..5 {
        proxy.lose(Loss::Answer, b"COMMIT", 2);
        publish(&bed, round * 100, 100, 9).await;
        eventually("commits lose their answer", async || {
            proxy.still_to_lose() == 0
        })
        .await;
    }
    bed.caught_up().await;
    exactly_once(&bed, 500).await;
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_persister_may_be_started_and_stopped_while_postgresql_is_away() {
    let bed = Bed::embedded(1).await;
    let (proxy, instance) = behind_a_proxy(&bed).await;
    proxy.away();
    instance.stop().await;
    let mut config = bed.config();
    config.stop_timeout = Duration::from_secs(5);
    let instance = bed.start_with(config, bed.database.url_by(proxy.port()), None);
    publish(&bed, 0, 20, 3).await;
    proxy.back();
    bed.caught_up().await;
    exactly_once(&bed, 20).await;
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f55_an_analyst_holding_every_lock_delays_rows_and_loses_none() {
    let bed = Bed::embedded(1).await;
    let instance = bed.start();
    publish(&bed, 0, 20, 3).await;
    bed.caught_up().await;
    let locking = bed.database.execute(
        "begin; lock table rivermouth.events in access exclusive mode; select pg_sleep(2); commit",
    );
    tokio::join!(locking, publish(&bed, 20, 20, 3));
    bed.caught_up().await;
    exactly_once(&bed, 40).await;
    instance.stop().await;
}
