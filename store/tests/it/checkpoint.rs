//! The checkpoint: the acceptance rule's state and the last events, as of one offset.

use schemas::{Channel, Outbox};
use store::testing::Database;
use store::{HORIZON_MS, NewEvent, ProducerState};

use crate::sample::{NOON_MS, batch, channel, event, place, stored};

#[tokio::test]
async fn an_unknown_partition_has_no_checkpoint_and_an_unknown_channel_no_part_in_it() {
    let (_database, store) = Database::migrated().await;
    assert!(store.checkpoint(&place(), &[], 0).await.unwrap().is_none());
    store.open(&place(), 7).await.unwrap();
    let checkpoint = store
        .checkpoint(&place(), &[channel("session.1")], 10)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((checkpoint.next, checkpoint.floor), (7, 7));
    assert!(checkpoint.channels.is_empty());
}

#[tokio::test]
async fn ids_of_the_horizon_come_back_in_log_order_and_older_ones_do_not() {
    let (_database, store) = Database::migrated().await;
    let mut events: Vec<NewEvent> = Vec::new();
    // Three thousand recent ids make several pages; every third was not given by its publisher.
    for n in 0..3000 {
        let mut one = event("session.42", n, NOON_MS + n);
        one.id_given = n % 3 != 0;
        events.push(one);
    }
    let mut old = event("session.7", 3000, NOON_MS);
    old.id = "old".into();
    let mut edge = event("session.7", 3001, NOON_MS + 1);
    edge.id = "edge".into();
    // Exactly one horizon after "old": its id may come again.
    let last = event("session.7", 3002, NOON_MS + HORIZON_MS);
    events.extend([old, edge, last]);
    stored(&store, events).await;

    let asked = [
        channel("session.42"),
        channel("session.7"),
        channel("session.8"),
    ];
    let checkpoint = store
        .checkpoint(&place(), &asked, 0)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(checkpoint.channels.len(), 2);
    let ids = &checkpoint.channels[&asked[0]].state.ids;
    assert_eq!(ids.len(), 2000);
    assert!(ids.is_sorted_by_key(|known| known.log_time_ms));
    let few: Vec<&str> = checkpoint.channels[&asked[1]]
        .state
        .ids
        .iter()
        .map(|known| known.id.as_str())
        .collect();
    assert_eq!(few, ["edge", "id-3002"]);
}

#[tokio::test]
async fn ids_are_found_though_the_clock_stepped_back_by_days() {
    let (_database, store) = Database::migrated().await;
    let mut events = vec![event("session.42", 0, NOON_MS)];
    for n in 1..4 {
        let mut late = event("session.42", n, NOON_MS - n * store::DAY_MS);
        late.log_time_ms = NOON_MS;
        events.push(late);
    }
    stored(&store, events).await;
    let asked = [channel("session.42")];
    let checkpoint = store
        .checkpoint(&place(), &asked, 10)
        .await
        .unwrap()
        .unwrap();
    let part = &checkpoint.channels[&asked[0]];
    assert_eq!(part.state.ids.len(), 4);
    assert_eq!(part.state.log_time_ms, NOON_MS);
    assert_eq!(
        part.tail.iter().map(|row| row.offset).collect::<Vec<_>>(),
        [0, 1, 2, 3]
    );
}

#[tokio::test]
async fn outboxes_stand_where_their_last_record_left_them() {
    let (_database, store) = Database::migrated().await;
    let numbered = |offset: i64, user: Option<&str>, epoch: u64, seq: u64| {
        let mut event = event("session.42", offset, NOON_MS);
        event.user_id = user.map(str::to_owned);
        event.outbox = Some(Outbox {
            producer: "p".into(),
            epoch,
            seq,
        });
        event
    };
    stored(
        &store,
        vec![
            numbered(0, Some("u1"), 1, 0),
            numbered(1, None, 5, 9),
            numbered(2, Some("u1"), 1, 1),
        ],
    )
    .await;
    store
        .write(
            &place(),
            &batch(
                3,
                vec![numbered(3, Some("u1"), 2, 0), numbered(4, None, 5, 10)],
            ),
        )
        .await
        .unwrap();
    let asked = [channel("session.42")];
    let checkpoint = store
        .checkpoint(&place(), &asked, 0)
        .await
        .unwrap()
        .unwrap();
    let mut producers = checkpoint.channels[&asked[0]].state.producers.clone();
    producers.sort_by_key(|producer| producer.user.clone());
    let state = |user: Option<&str>, epoch, seq| ProducerState {
        user: user.map(str::to_owned),
        producer: "p".into(),
        epoch,
        seq,
    };
    assert_eq!(producers, [state(None, 5, 10), state(Some("u1"), 2, 0)]);
}

#[tokio::test]
async fn the_tail_reaches_back_over_days_and_last_skips_addressed_events() {
    let (_database, store) = Database::migrated().await;
    let mut whispered = event("session.42", 9, NOON_MS);
    whispered.to = Some(vec!["u2".into()]);
    let mut events: Vec<NewEvent> = (0..9)
        .map(|n| event("session.42", n, NOON_MS - (9 - n) * 20 * store::DAY_MS))
        .collect();
    events.push(whispered);
    stored(&store, events).await;
    let asked = [channel("session.42")];
    for (tail, expected) in [(0, 0), (1, 1), (4, 4), (100, 10)] {
        let checkpoint = store
            .checkpoint(&place(), &asked, tail)
            .await
            .unwrap()
            .unwrap();
        let part = &checkpoint.channels[&asked[0]];
        assert_eq!(part.state.last, Some(8));
        assert_eq!(part.tail.len(), expected);
        assert!(part.tail.is_sorted_by_key(|row| row.offset));
        assert!(part.tail.last().is_none_or(|row| row.offset == 9));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_taken_while_batches_arrive_is_of_one_moment() {
    let (database, store) = Database::migrated().await;
    store.open(&place(), 0).await.unwrap();
    let writer = database.store().await;
    let writing = tokio::spawn(async move {
        for start in (0..600).step_by(3) {
            let events = (start..start + 3)
                .map(|n| event("session.42", n, NOON_MS + n))
                .collect();
            writer.write(&place(), &batch(start, events)).await.unwrap();
        }
    });
    let asked: [Channel; 1] = [channel("session.42")];
    let mut moments = 0;
    while !writing.is_finished() {
        let checkpoint = store
            .checkpoint(&place(), &asked, 5)
            .await
            .unwrap()
            .unwrap();
        if let Some(part) = checkpoint.channels.get(&asked[0]) {
            assert_eq!(part.state.last, Some(checkpoint.next - 1));
            assert_eq!(part.state.ids.len() as i64, checkpoint.next);
            assert_eq!(part.tail.last().unwrap().offset, checkpoint.next - 1);
            moments += 1;
        }
    }
    writing.await.unwrap();
    assert!(moments > 0);
}
