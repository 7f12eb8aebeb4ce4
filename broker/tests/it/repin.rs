//! Repinning on Kafka: who may, who wins, and what a watch says meanwhile.

use broker::{Code, PinWatch, RepinError, Standing, pin, pinned, repin};
use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};

use crate::bed::{Bed, DEADLINE, admin, kafka_address};

/// Deletes a topic and makes it again, with as many partitions.
async fn recreate(topic: &str, partitions: i32) {
    let admin = admin(&kafka_address());
    let options = AdminOptions::new();
    admin.delete_topics(&[topic], &options).await.unwrap();
    let again = async {
        loop {
            let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
            let made = admin.create_topics([&new], &options).await.unwrap();
            if matches!(made[..], [Ok(_)]) {
                return;
            }
        }
    };
    tokio::time::timeout(DEADLINE, again).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn f33_of_two_operators_who_repin_at_once_one_wins_and_the_other_is_told() {
    let bed = Bed::kafka().await;
    let (state, events) = (bed.topic(1).await, bed.topic(2).await);
    let first = pin(&bed.log, &state, &[&events]).await.unwrap();
    let nothing = repin(&bed.log, &state, &events).await.unwrap_err();
    assert!(matches!(nothing, RepinError::Refused(flaw) if flaw.code == Code::RepinNothing));
    let unknown = repin(&bed.log, &state, &state).await.unwrap_err();
    assert!(matches!(unknown, RepinError::Refused(flaw) if flaw.code == Code::RepinUnknown));

    recreate(&events, 2).await;
    let both = tokio::join!(
        repin(&bed.log, &state, &events),
        repin(&bed.log, &state, &events)
    );
    // One may have been so late that it saw the other's.
    let told = match both {
        (Ok(_), Err(told)) | (Err(told), Ok(_)) => told,
        other => panic!("{other:?}"),
    };
    assert!(
        matches!(&told, RepinError::Refused(flaw) if matches!(flaw.code, Code::RepinLost | Code::RepinNothing)),
        "{told:?}"
    );
    let now = pinned(&bed.log, &state).await.unwrap().unwrap();
    assert_eq!(now.cursor_key, first.cursor_key);
    assert_eq!(now.topics[&events].generation, 1);
    assert_eq!(pin(&bed.log, &state, &[&events]).await.unwrap(), now);
    bed.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f33_a_watch_tells_another_topic_from_a_missing_one_and_from_one_that_grew() {
    let bed = Bed::kafka().await;
    let (state, events) = (bed.topic(1).await, bed.topic(1).await);
    let pins = pin(&bed.log, &state, &[&events]).await.unwrap();
    let watch = PinWatch::new(bed.log.clone(), &pins);
    assert_eq!(watch.check(&events).await, Standing::Sound);
    assert!(watch.is_sound());
    recreate(&events, 2).await;
    let found = async {
        loop {
            match watch.check(&events).await {
                Standing::Lost(flaw) if flaw.code == Code::TopicRecreated => return,
                // The broker that is asked may not know it yet, or not again.
                _ => {}
            }
        }
    };
    tokio::time::timeout(DEADLINE, found).await.unwrap();
    assert_eq!(watch.lost(&events).unwrap().topic, events);
    let refused = pin(&bed.log, &state, &[&events]).await.unwrap_err();
    assert!(
        refused.to_string().starts_with("TOPIC_RECREATED"),
        "{refused}"
    );
    // Repinned with another number of partitions, channels would lie elsewhere.
    let grown = repin(&bed.log, &state, &events).await.unwrap_err();
    assert!(matches!(grown, RepinError::Refused(flaw) if flaw.code == Code::PartitionsChanged));
    bed.clean().await;
}
