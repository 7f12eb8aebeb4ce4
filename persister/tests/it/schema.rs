//! Records whose schema has to be asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use persister::SchemaFetch;

use crate::bed::{Bed, eventually};

/// Schema id 7 in Confluent framing; what follows does not matter while the schema is absent.
const FRAMED: &[u8] = &[0, 0, 0, 0, 7, 1, 2, 3];

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_waits_for_the_registry_and_the_others_go_on() {
    let bed = Bed::embedded(8).await;
    let answers = Arc::new(AtomicBool::new(false));
    let registry = Arc::clone(&answers);
    let fetch: SchemaFetch = Arc::new(move |id| {
        let answers = registry.load(Ordering::SeqCst);
        Box::pin(async move {
            assert_eq!(id, 7);
            if answers {
                Ok(None)
            } else {
                Err("away".to_owned())
            }
        })
    });
    let instance = bed.start_with(bed.config(), bed.database.url().to_owned(), Some(fetch));
    let events = bed.topics.events().to_owned();
    let other = (0..)
        .map(|n| n.to_string())
        .find(|key| schemas::partition_of(key.as_bytes(), 8) != schemas::partition_of(b"42", 8));
    bed.append(&events, "42", r#"{"event":"draw","data":"before"}"#)
        .await;
    bed.append_with(&events, Some("42"), &[], Some(FRAMED))
        .await;
    bed.append(&events, "42", r#"{"event":"draw","data":"after"}"#)
        .await;
    eventually("what came before is stored", async || {
        bed.count("analytics.events").await == 1
    })
    .await;
    eventually("the partition waits", async || {
        instance.number("persister_retries_total") > 1
    })
    .await;
    bed.append(&events, &other.unwrap(), r#"{"event":"draw"}"#)
        .await;
    eventually("others go on", async || {
        bed.count("analytics.events").await == 2
    })
    .await;
    assert_eq!(
        bed.count("analytics.quarantine").await,
        0,
        "no verdict without the registry"
    );

    answers.store(true, Ordering::SeqCst);
    bed.caught_up().await;
    assert_eq!(bed.count("analytics.events").await, 3);
    assert_eq!(
        bed.count("analytics.quarantine where reason = 'unknown_schema'")
            .await,
        1
    );
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_registry_an_unknown_schema_is_quarantined() {
    let bed = Bed::embedded(1).await;
    let instance = bed.start();
    bed.append_with(bed.topics.events(), Some("42"), &[], Some(FRAMED))
        .await;
    bed.caught_up().await;
    assert_eq!(
        bed.count("analytics.quarantine where reason = 'unknown_schema'")
            .await,
        1
    );
    instance.stop().await;
}
