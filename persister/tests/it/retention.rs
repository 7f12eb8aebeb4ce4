//! Where the log begins: a fresh start behind erased records, and retention that overtakes the persister (F35, F36).

use std::time::Duration;

use broker::Retention;
use serde_json::json;
use testbed::Proxy;

use crate::bed::{Bed, Instance, eventually};

const SMALL: Retention = Retention {
    ms: None,
    bytes: Some(20_000),
};

/// Appends until the log has erased something, and answers its low watermark.
async fn erased(bed: &Bed) -> i64 {
    let events = bed.topics.events().to_owned();
    let marks = async || bed.log.watermarks(&events, 0).await.unwrap();
    let value = format!(r#"{{"event":"draw","data":"{}"}}"#, "x".repeat(1000));
    for _ in 0..100 {
        bed.append(&events, "42", &value).await;
    }
    // Eighteen of them fit; after that retention leaves the log alone.
    eventually("the log erases its oldest records", async || {
        let marks = marks().await;
        marks.low == marks.high - 18
    })
    .await;
    marks().await.low
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_start_begins_at_the_low_watermark_and_records_it_as_the_floor() {
    let bed = Bed::embedded_with(1, SMALL).await;
    let low = erased(&bed).await;
    assert!(low > 0);
    let instance = bed.start();
    bed.caught_up().await;
    let place = store::Place::new(bed.topics.events(), 0, 0);
    let progress = bed.store.progress(&place).await.unwrap().unwrap();
    assert_eq!((progress.floor, progress.next), (low, 100));
    assert_eq!(bed.count("rivermouth.gaps").await, 0, "nothing was missed");
    assert_eq!(bed.count("analytics.events").await, 100 - low);
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_that_overtakes_the_persister_is_recorded_and_storing_goes_on_behind_it() {
    let bed = Bed::embedded_with(1, SMALL).await;
    let events = bed.topics.events().to_owned();
    let instance = bed.start();
    bed.append(&events, "42", r#"{"event":"draw","data":1}"#)
        .await;
    bed.caught_up().await;
    instance.stop().await;
    let low = erased(&bed).await;

    let instance = bed.start();
    bed.caught_up().await;
    assert_eq!(
        bed.database
            .rows("select from_offset, to_offset, reason from rivermouth.gaps")
            .await,
        [json!({"from_offset": 1, "to_offset": low, "reason": "retention"})]
    );
    assert_eq!(
        instance.number("persister_gap_records_total"),
        low.unsigned_abs() - 1
    );
    let completeness = bed
        .database
        .rows("select complete_from_offset, complete_to_offset from analytics.completeness where topic = 'rivermouth.events'")
        .await;
    assert_eq!(
        completeness,
        [json!({"complete_from_offset": 0, "complete_to_offset": 101})],
        "but for what analytics.gaps tells"
    );
    instance.stop().await;
}

/// What /health says of the log's retention; empty when all is well.
fn alarm(instance: &Instance) -> String {
    let report = instance.health.ready();
    let told = report.components.iter().find(|one| one.name == "retention");
    told.and_then(|told| told.reason.clone())
        .unwrap_or_default()
}

/// The log keeps records for half a minute, and PostgreSQL is away for most of it.
#[tokio::test(flavor = "multi_thread")]
async fn f36_alarms_come_at_half_and_four_fifths_of_retention_early_enough_to_lose_nothing() {
    let half_a_minute = Retention {
        ms: Some(30_000),
        bytes: None,
    };
    let bed = Bed::embedded_with(1, half_a_minute).await;
    let events = bed.topics.events().to_owned();
    let proxy = Proxy::to(bed.database.address());
    let mut config = bed.config();
    config.observe_every = Duration::from_millis(100);
    let instance = bed.start_with(config, bed.database.url_by(proxy.port()), None);
    bed.append(&events, "42", r#"{"event":"draw","data":1}"#)
        .await;
    bed.caught_up().await;
    assert_eq!(alarm(&instance), "");
    proxy.away();
    bed.append(&events, "42", r#"{"event":"draw","data":2}"#)
        .await;
    for code in ["RETENTION_HALF_USED", "RETENTION_NEARLY_USED"] {
        eventually(code, async || alarm(&instance).starts_with(code)).await;
        let low = bed.log.watermarks(&events, 0).await.unwrap().low;
        assert!(low <= 1, "{code} comes before what waits is erased");
    }
    let text = instance.metrics.encode();
    let used = text.lines().find(|line| {
        line.starts_with("rivermouth_persister_retention_used_ratio{") && line.contains("events")
    });
    let used: f64 = used
        .and_then(|line| line.rsplit(' ').next()?.parse().ok())
        .unwrap();
    assert!((0.8..1.0).contains(&used), "{used}");
    proxy.back();
    eventually("both to be stored", async || {
        bed.count("analytics.events").await == 2
    })
    .await;
    assert_eq!(instance.number("persister_gap_records_total"), 0);
    eventually("the end of the alarm", async || alarm(&instance).is_empty()).await;
    instance.stop().await;
}
