//! Pins: agreed on once, held for ever.

use broker::{Code, PinError, pin};

use crate::bed::{Bed, DEADLINE};

pub async fn nodes_that_start_together_agree_on_the_pins(bed: &Bed) {
    let (state, events) = (bed.topic(2).await, bed.topic(3).await);
    bed.put(&state, 0, "presence/somebody", "not a pin").await;
    let tasks: Vec<_> = (0..5)
        .map(|_| {
            let (log, state, events) = (bed.log.clone(), state.clone(), events.clone());
            tokio::spawn(async move { pin(&log, &state, &[&events, &state]).await.unwrap() })
        })
        .collect();
    let mut pins = Vec::new();
    for task in tasks {
        pins.push(tokio::time::timeout(DEADLINE, task).await.unwrap().unwrap());
    }
    assert!(pins.iter().all(|p| *p == pins[0]));
    assert_eq!(pins[0].topics[&events].partitions, 3);
    assert_eq!(pins[0].topics[&events].generation, 0);
    assert_ne!(pins[0].cursor_key, [0; 16]);
    bed.put(&state, 0, "presence/somebody", "later").await;
    assert_eq!(pin(&bed.log, &state, &[&events]).await.unwrap(), pins[0]);
}

pub async fn a_topic_that_was_not_pinned_is_refused(bed: &Bed) {
    let (state, events, other) = (bed.topic(1).await, bed.topic(1).await, bed.topic(1).await);
    pin(&bed.log, &state, &[&events]).await.unwrap();
    let refused = pin(&bed.log, &state, &[&events, &other]).await;
    let Err(PinError::Changed(flaw)) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!((flaw.code, flaw.topic), (Code::TopicUnpinned, other));
}
