//! Partitions added under running processes: nothing is appended, what was pinned is read on, and it is said aloud.

use serde_json::json;
use testbed::{Bed, Foreign, until};

use super::{CHANNEL, metrics, refused, said, stored, unready};
use crate::BINARY;
use crate::talk::{Talk, fill};

#[tokio::test(flavor = "multi_thread")]
async fn f34_added_partitions_stop_publishing_and_starts_while_readers_go_on_and_shout() {
    let mut bed = Bed::on_kafka(BINARY).await;
    bed.set("RIVERMOUTH_SETTINGS_CHECK_INTERVAL", "500ms");
    let (fanout, ingest, persister) = tokio::join!(
        bed.start("fanout"),
        bed.start("ingest"),
        bed.start("persister")
    );
    fill(&bed, &fanout, CHANNEL, 3).await;
    let token = bed.gm("u1");
    let mut talk = Talk::open(&fanout, &token).await;
    talk.subscribe(json!({"channel": CHANNEL})).await;

    let topic = bed.broker().topic("events");
    bed.broker().grow_topic(&topic, 5).await;
    unready(&ingest, "PARTITIONS_CHANGED").await;
    until("the reader to shout", || async {
        metrics(&fanout)
            .await
            .contains("code=\"PARTITIONS_CHANGED\"")
            .then_some(())
    })
    .await;
    for reader in [&fanout, &persister] {
        until("health to show it", || async {
            let topics = said(reader, "topics").await;
            let reason = topics["reason"].as_str()?;
            (topics["ok"] == false && reason.contains("PARTITIONS_CHANGED")).then_some(())
        })
        .await;
        let ready = reader.admin().get("/readyz").await.unwrap();
        assert!(ready.status.is_success(), "it still serves readers");
    }
    let refusal = talk
        .call(
            "publish",
            json!({"channel": CHANNEL, "event": "draw", "data": 1}),
        )
        .await
        .unwrap_err();
    assert_eq!(refusal.name, "UNAVAILABLE");

    // A backend that does not know better: into the new partition, which is nobody's, and into the pinned one.
    let pinned = schemas::partition_of(b"closed", 4);
    for (partition, data) in [(4, "lost"), (pinned, "read")] {
        let value = json!({"event": "draw", "data": data}).to_string();
        let record = Foreign {
            key: Some(b"closed"),
            value: Some(value.as_bytes()),
            partition: Some(partition),
            ..Foreign::default()
        };
        bed.broker().produce(&topic, record).await;
    }
    assert_eq!(talk.event().await.data, r#""read""#);
    talk.quiet().await;
    stored(&bed, 0, 4).await;

    for node in [&fanout, &ingest, &persister] {
        let settings = said(node, "settings").await;
        let reason = settings["reason"].as_str().unwrap_or_default();
        assert!(
            !reason.contains("PARTITIONS"),
            "that is the code of a first start: {reason}"
        );
    }
    for service in ["fanout", "ingest", "persister"] {
        let said = refused(&bed, service).await;
        assert!(
            said.contains("PARTITIONS_CHANGED") && said.contains("rivermouth repin"),
            "{said}"
        );
    }
    let doctor = bed.run(&["doctor"]).await;
    assert_eq!(doctor.status.code(), Some(1));
    assert!(
        doctor.output.contains("refused  PARTITIONS_CHANGED"),
        "{}",
        doctor.output
    );
}
