//! Leases: even shares, given back or run out, whoever comes and goes.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use store::testing::Database;
use store::{Leases, Place, Store};

/// Of those who live: nothing runs out while a test takes its time.
const TTL: Duration = Duration::from_secs(3_600);

fn places(count: i32) -> Vec<Place> {
    (0..count)
        .map(|partition| Place::new("rivermouth.events", 0, partition))
        .collect()
}

async fn join(store: &Store, owner: &str, ttl: Duration) -> Leases {
    Leases::join(store.clone(), owner, ttl, &places(7))
        .await
        .unwrap()
}

/// One round that gives back what is too much, as the persister does.
async fn settle(leases: &Leases) -> HashSet<Place> {
    let shares = leases.round().await.unwrap();
    let surplus = &shares.held[shares.fair.min(shares.held.len())..];
    leases.release(surplus).await.unwrap();
    shares.held[..shares.held.len() - surplus.len()]
        .iter()
        .cloned()
        .collect()
}

#[tokio::test]
async fn shares_are_even_and_add_up() {
    let (_database, store) = Database::migrated().await;
    let a = join(&store, "a", TTL).await;
    assert_eq!(settle(&a).await.len(), 7);
    let b = join(&store, "b", TTL).await;
    let c = join(&store, "c", TTL).await;
    for _ in 0..2 {
        settle(&b).await;
        settle(&c).await;
        settle(&a).await;
    }
    let (held_a, held_b, held_c) = (settle(&a).await, settle(&b).await, settle(&c).await);
    assert_eq!([held_a.len(), held_b.len(), held_c.len()], [3, 2, 2]);
    let all: HashSet<&Place> = held_a.iter().chain(&held_b).chain(&held_c).collect();
    assert_eq!(all.len(), 7, "nobody shares a partition");
}

#[tokio::test]
async fn what_is_left_behind_on_leaving_is_taken_at_once() {
    let (_database, store) = Database::migrated().await;
    let a = join(&store, "a", TTL).await;
    let b = join(&store, "b", TTL).await;
    settle(&a).await;
    a.leave().await.unwrap();
    assert_eq!(settle(&b).await.len(), 7);
}

#[tokio::test]
async fn the_partitions_of_the_dead_move_when_their_leases_run_out() {
    let (_database, store) = Database::migrated().await;
    let a = join(&store, "a", Duration::from_millis(400)).await;
    // It dies after its only round: its leases run from some moment after this one.
    let before = Instant::now();
    assert_eq!(settle(&a).await.len(), 7);
    let died = Instant::now();
    let b = join(&store, "b", TTL).await;
    while settle(&b).await.len() < 7 {
        assert!(
            died.elapsed() < Duration::from_secs(5),
            "the leases of the dead never moved"
        );
    }
    assert!(
        before.elapsed() >= Duration::from_millis(400),
        "a living lease was taken"
    );
    // Back from the dead it holds nothing.
    let back = a.round().await.unwrap();
    assert!(back.held.is_empty() && back.fair > 0);
}
