//! PostgreSQL is away for half an hour (F54). Nobody waits that long: Kafka gets half an hour's events at once.

use std::time::{Duration, Instant};

use client::{Client, Item, Options, Publish, Since, Subscribe};
use testbed::{Bed, Proxy, until, within};
use tokio::time::MissedTickBehavior;

use crate::BINARY;
use crate::poured::{number, pour, tables_are_the_log};

/// Events a second of a lively installation, and how many it makes in half an hour.
const LIVE_PER_S: usize = 100;
const HALF_AN_HOUR: usize = LIVE_PER_S * 1800;

const STORED: &str = "select coalesce(sum(next_offset), 0)::bigint from rivermouth.offsets join rivermouth.topics using (topic_id) where topic like '%.events'";

/// Records of [`pour`] over so many events.
fn records(events: usize) -> i64 {
    i64::try_from(events + events.div_ceil(7)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn f54_half_an_hour_without_postgresql_is_stored_at_five_times_live_speed_and_delays_no_delivery()
 {
    let mut bed = Bed::on_kafka(BINARY).await;
    let proxy = Proxy::to(bed.database().address());
    let url = bed.database().url_by(proxy.port());
    bed.set("DATABASE_URL", url);
    let (persister, fanout) = tokio::join!(bed.start("persister"), bed.start("fanout"));
    let database = bed.database();

    let live = live_speed(&bed).await;
    proxy.away();
    let before = 5 * LIVE_PER_S;
    pour(&bed, before, HALF_AN_HOUR).await;
    until("the outage to be noticed", || async {
        (number(&persister, "persister_retries_total").await > 0.0).then_some(())
    })
    .await;
    delivered(&bed, &fanout).await;

    let stored = database.number(STORED).await;
    let total = records(before + HALF_AN_HOUR) + 1;
    let back = Instant::now();
    proxy.back();
    until("the backlog to be stored", || async {
        (database.number(STORED).await >= total).then_some(())
    })
    .await;
    let took = back.elapsed();
    let speed = (total - stored) as f64 / took.as_secs_f64();
    println!(
        "{} records of half an hour were stored in {took:?}: {speed:.0} a second, {:.0} times the live speed of {live:.0}",
        total - stored,
        speed / live
    );
    assert!(speed >= 5.0 * live, "{speed} a second against {live} live");
    tables_are_the_log(&bed).await;
}

/// Stores [`LIVE_PER_S`] for five seconds as they come; what that was in truth, a second.
async fn live_speed(bed: &Bed) -> f64 {
    let begun = Instant::now();
    let mut pace = tokio::time::interval(Duration::from_secs(1));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for second in 0..5 {
        pace.tick().await;
        pour(bed, second * LIVE_PER_S, LIVE_PER_S).await;
    }
    let total = records(5 * LIVE_PER_S);
    until("live events to be stored", || async {
        (bed.database().number(STORED).await >= total).then_some(())
    })
    .await;
    total as f64 / begun.elapsed().as_secs_f64()
}

/// An event published and delivered while PostgreSQL is away.
async fn delivered(bed: &Bed, node: &testbed::Node) {
    let options = Options::new(vec![node.endpoint()], bed.gm("u1"));
    let client = Client::start(options).unwrap();
    let subscribe = Subscribe::new("session.live", Since::Latest);
    let mut reader = within("a subscription", client.subscribe(subscribe))
        .await
        .unwrap();
    let publish = Publish::new("session.live", "draw", "1")
        .unwrap()
        .id("live");
    within("a publish", client.publish(publish)).await.unwrap();
    let event = async {
        loop {
            if let Item::Event(event) = reader.next().await.unwrap() {
                return event;
            }
        }
    };
    assert_eq!(within("its delivery", event).await.id, "live");
}
