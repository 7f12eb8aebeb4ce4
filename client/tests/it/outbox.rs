//! Publishes across lost connections and refusals.

use client::{Client, Error, OutboxHandle, Publish, Receipt};
use serde_json::{Value, json};

use crate::script::{Peer, Script};

async fn send(outbox: &OutboxHandle, data: &str) -> Receipt {
    outbox
        .send(Publish::new("session.1", "draw", data).unwrap())
        .await
        .unwrap()
}

async fn heard(peer: &mut Peer) -> (String, u64, Value) {
    let (id, params) = peer.request("publish").await;
    (id, params["seq"].as_u64().unwrap(), params["data"].clone())
}

async fn accept(peer: &mut Peer, id: &str, duplicate: bool) {
    peer.respond(id, json!({"id":"e","cursor":"c","duplicate":duplicate}))
        .await;
}

async fn start(script: &Script) -> (Client, Peer) {
    let client = script.client();
    let peer = script.accept().await;
    (client, peer)
}

#[tokio::test]
async fn an_outbox_sends_again_in_order_after_a_cut_and_takes_a_duplicate_for_success() {
    let script = Script::new().await;
    let (client, mut peer) = start(&script).await;
    let outbox = client.outbox("p", 3);
    let receipts = [
        send(&outbox, "0").await,
        send(&outbox, "1").await,
        send(&outbox, "2").await,
    ];
    let mut sent = Vec::new();
    for _ in 0..3 {
        sent.push(heard(&mut peer).await);
    }
    assert_eq!(
        sent.iter()
            .map(|(_, seq, data)| (*seq, data.clone()))
            .collect::<Vec<_>>(),
        [(0, json!(0)), (1, json!(1)), (2, json!(2))]
    );
    accept(&mut peer, &sent[0].0, false).await;
    let [first, second, third] = receipts;
    assert!(!first.await.unwrap().duplicate);
    drop(peer);

    let mut peer = script.accept().await;
    for expected in [1, 2] {
        let (id, seq, _) = heard(&mut peer).await;
        assert_eq!(seq, expected);
        accept(&mut peer, &id, seq == 1).await;
    }
    assert!(second.await.unwrap().duplicate);
    assert!(!third.await.unwrap().duplicate);
}

#[tokio::test]
async fn an_unknown_outcome_repeats_the_tail_and_a_refused_record_gives_up_its_number() {
    let script = Script::new().await;
    let (client, mut peer) = start(&script).await;
    let outbox = client.outbox("p", 0);
    let receipts = [
        send(&outbox, "0").await,
        send(&outbox, "1").await,
        send(&outbox, "2").await,
    ];
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(heard(&mut peer).await.0);
    }
    for id in &ids {
        peer.refuse(
            id,
            json!({"code":4408,"name":"TIMEOUT","message":"","retryable":true}),
        )
        .await;
    }
    let (id, seq, data) = heard(&mut peer).await;
    assert_eq!((seq, data), (0, json!(0)));
    peer.refuse(
        &id,
        json!({"code":4400,"name":"INVALID_MESSAGE","message":"","retryable":false}),
    )
    .await;
    let [first, second, third] = receipts;
    assert!(
        matches!(first.await, Err(Error::Refused(refusal)) if refusal.name == "INVALID_MESSAGE")
    );
    let mut taken = Vec::new();
    while taken.len() < 2 {
        let (id, seq, data) = heard(&mut peer).await;
        if seq == taken.len() as u64 && data == json!(taken.len() + 1) {
            accept(&mut peer, &id, false).await;
            taken.push(data);
        } else {
            // Sent before the refusal was known: not the successor for a server.
            peer.refuse(&id, json!({"code":4503,"name":"UNAVAILABLE","message":"","retryable":true,"retryAfterMs":0,"details":{"seq":0}})).await;
        }
    }
    assert!(second.await.is_ok() && third.await.is_ok());
}

#[tokio::test]
async fn a_stale_outbox_fails_everything_it_holds() {
    let script = Script::new().await;
    let (client, mut peer) = start(&script).await;
    let outbox = client.outbox("p", 0);
    let receipts = [send(&outbox, "0").await, send(&outbox, "1").await];
    let (id, ..) = heard(&mut peer).await;
    peer.refuse(&id, json!({"code":4409,"name":"STALE_PRODUCER","message":"","retryable":false,"details":{"epoch":9}})).await;
    for receipt in receipts {
        let Err(Error::Refused(refusal)) = receipt.await else {
            panic!("no refusal")
        };
        assert_eq!(
            (refusal.name.as_str(), refusal.detail_u64("epoch")),
            ("STALE_PRODUCER", Some(9))
        );
    }
}

#[tokio::test]
async fn a_plain_publish_is_repeated_with_the_same_id() {
    let script = Script::new().await;
    let (client, mut peer) = start(&script).await;
    let serve = async {
        let (_, params) = peer.request("publish").await;
        let id = params["id"].as_str().unwrap().to_owned();
        drop(peer);
        let mut peer = script.accept().await;
        let (request, params) = peer.request("publish").await;
        assert_eq!(params["id"], id);
        peer.refuse(&request, json!({"code":4429,"name":"RATE_LIMIT_EXCEEDED","message":"","retryable":true,"retryAfterMs":5})).await;
        let (request, params) = peer.request("publish").await;
        assert_eq!(params["id"], id);
        accept(&mut peer, &request, false).await;
    };
    let (published, ()) = tokio::join!(
        client.publish(Publish::new("session.1", "draw", "1").unwrap()),
        serve
    );
    assert_eq!(published.unwrap().cursor.as_deref(), Some("c"));
}

#[tokio::test]
async fn never_more_than_sixty_requests_wait_at_once() {
    let script = Script::new().await;
    let (client, mut peer) = start(&script).await;
    let outbox = client.outbox("p", 0);
    let mut receipts = Vec::new();
    for number in 0..100 {
        receipts.push(send(&outbox, &number.to_string()).await);
    }
    let mut ids: Vec<String> = Vec::new();
    for _ in 0..60 {
        ids.push(heard(&mut peer).await.0);
    }
    // The sixty-first comes only once one is answered; the next word must therefore carry seq 60.
    accept(&mut peer, &ids[0], false).await;
    assert_eq!(heard(&mut peer).await.1, 60);
}
