//! Where the persister has been, outboxes are looked up in PostgreSQL and not in the whole log.

use store::testing::Database;
use store::{Batch, NewEvent, Place};

use crate::load::{Settled, settle};
use crate::world::{Node, World, backend, identity};

/// What a persister would have stored of the first `count` records of the partition of `session.1`.
async fn persist(world: &World, store: &store::Store, count: usize) {
    let place = Place::new(world.topics.events(), 0, world.partition("session.1"));
    let mut prev = None;
    let events = world.accepted("session.1").await;
    let rows = events[..count].iter().map(|(offset, event)| NewEvent {
        offset: *offset,
        at_ms: 1_000 + offset,
        log_time_ms: 1_000 + offset,
        channel: event.channel.clone(),
        name: event.name.as_str().to_owned(),
        id: event.id.clone(),
        id_given: true,
        user_id: event.user_id.clone(),
        data: event.data.clone(),
        prev: prev.replace(*offset),
        to: None,
        outbox: event.outbox.clone(),
        cursor: String::new(),
    });
    let batch = Batch {
        start: 0,
        end: i64::try_from(count).unwrap(),
        events: rows.collect(),
        ..Batch::default()
    };
    store.open(&place, 0).await.unwrap();
    store.write(&place, &batch).await.unwrap();
}

async fn publish(node: &Node, seq: u64) -> Settled {
    let who = identity(&backend());
    let mut settled = settle(node, &who, "session.1", "p", 2, seq..=seq).await;
    settled.remove(0)
}

async fn is_new(node: &Node, seq: u64) {
    let told = publish(node, seq).await;
    assert!(told.is_new(), "{told:?}");
}

/// `said`: why it is known.
async fn is_known(node: &Node, seq: u64, said: &str) {
    let told = publish(node, seq).await;
    assert!(told.is_known(), "{said}: {told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outbox_goes_on_from_the_checkpoint_and_only_the_rest_of_the_log_is_read() {
    let world = World::embedded().await;
    let (_database, store) = Database::migrated().await;
    let first = world.node().await;
    for seq in 0..50 {
        is_new(&first, seq).await;
    }
    persist(&world, &store, 40).await;

    let second = world.node_on(store).await;
    is_known(&second, 7, "persisted long ago").await;
    is_known(&second, 45, "in the log only").await;
    let read_back = second.number("rivermouth_ingest_read_back_records_total");
    assert_eq!(read_back, 10);
    // And on it goes.
    is_new(&second, 50).await;
    is_known(&first, 50, "the other's").await;
    assert_eq!(world.accepted("session.1").await.len(), 51);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_store_a_log_that_has_its_beginning_tells_everything() {
    let world = World::embedded().await;
    let first = world.node().await;
    for seq in 0..5 {
        is_new(&first, seq).await;
    }
    let nobody = "postgres://nobody@127.0.0.1:1/nothing";
    let store = store::Store::connect(nobody, store::StoreOptions::default())
        .await
        .unwrap();
    let second = world.node_on(store).await;
    is_known(&second, 4, "in the log").await;
    is_new(&second, 5).await;
}
