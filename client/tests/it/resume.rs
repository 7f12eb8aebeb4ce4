//! Subscriptions across lost connections.

use client::{Client, Error, Item, Since, Subscribe, Subscription};
use serde_json::json;
use tokio::time::timeout;

use crate::script::{PATIENCE, Peer, Script, client_of};

/// Subscribes and answers the subscribe at the same time.
async fn subscribe(
    client: &Client,
    peer: &mut Peer,
    request: Subscribe,
    expected: serde_json::Value,
) -> Subscription {
    let serve = async {
        let (id, params) = peer.request("subscribe").await;
        assert_eq!(params["since"], expected);
        peer.respond(
            &id,
            json!({"channel":"session.1","cursor":"c0","recovered":true}),
        )
        .await;
    };
    let (subscription, ()) = tokio::join!(client.subscribe(request), serve);
    subscription.unwrap()
}

/// The next cursors given to the reader, and what happened between.
async fn read(subscription: &mut Subscription, count: usize) -> (Vec<String>, Vec<Item>) {
    let (mut cursors, mut others) = (Vec::new(), Vec::new());
    while cursors.len() < count {
        match timeout(PATIENCE, subscription.next())
            .await
            .expect("nothing comes")
            .expect("the subscription ended")
        {
            Item::Event(event) => cursors.push(event.cursor.unwrap()),
            other => others.push(other),
        }
    }
    (cursors, others)
}

#[tokio::test]
async fn a_lost_connection_resumes_from_the_last_cursor_and_drops_what_comes_again() {
    let script = Script::new().await;
    let client = script.client();
    let mut peer = script.accept().await;
    let mut reader = subscribe(
        &client,
        &mut peer,
        Subscribe::new("session.1", Since::Latest),
        json!("latest"),
    )
    .await;
    peer.event("c1", Some("c0")).await;
    peer.event("c2", Some("c1")).await;
    assert_eq!(read(&mut reader, 2).await.0, ["c1", "c2"]);
    drop(peer);

    let mut peer = script.accept().await;
    let (id, params) = peer.request("subscribe").await;
    assert_eq!(params["since"], "c2");
    peer.respond(
        &id,
        json!({"channel":"session.1","cursor":"c2","recovered":true}),
    )
    .await;
    peer.event("c2", Some("c1")).await;
    peer.event("c3", Some("c2")).await;
    let (cursors, others) = read(&mut reader, 1).await;
    assert_eq!(cursors, ["c3"]);
    assert!(
        others
            .iter()
            .any(|item| matches!(item, Item::Disconnected(_)))
    );
    let stats = client.stats();
    assert_eq!(
        (
            stats.connects,
            stats.delivered,
            stats.repeated,
            stats.broken
        ),
        (2, 3, 1, 0)
    );
}

#[tokio::test]
async fn latest_is_kept_even_when_no_event_came_before_the_cut() {
    let script = Script::new().await;
    let client = script.client();
    let mut peer = script.accept().await;
    let _reader = subscribe(
        &client,
        &mut peer,
        Subscribe::new("session.1", Since::Latest),
        json!("latest"),
    )
    .await;
    drop(peer);
    let mut peer = script.accept().await;
    assert_eq!(peer.request("subscribe").await.1["since"], "c0");
}

#[tokio::test]
async fn a_missing_event_is_asked_for_again_and_told_when_it_stays_missing() {
    let script = Script::new().await;
    let client = script.client();
    let mut peer = script.accept().await;
    let mut reader = subscribe(
        &client,
        &mut peer,
        Subscribe::new("session.1", Since::Earliest),
        json!("earliest"),
    )
    .await;
    peer.event("c1", None).await;
    peer.event("c3", Some("c2")).await;
    let (id, params) = peer.request("subscribe").await;
    assert_eq!(params["since"], "c1");
    // What is still on its way belongs to the old subscription.
    peer.event("c4", Some("c3")).await;
    peer.respond(
        &id,
        json!({"channel":"session.1","cursor":"c1","recovered":true}),
    )
    .await;
    peer.event("c2", Some("c1")).await;
    peer.event("c3", Some("c2")).await;
    assert_eq!(read(&mut reader, 3).await.0, ["c1", "c2", "c3"]);

    peer.event("c5", Some("c4")).await;
    let (id, _) = peer.request("subscribe").await;
    peer.respond(
        &id,
        json!({"channel":"session.1","cursor":"c3","recovered":true}),
    )
    .await;
    peer.event("c5", Some("c4")).await;
    peer.event("c6", Some("c5")).await;
    let (cursors, others) = read(&mut reader, 1).await;
    assert_eq!(cursors, ["c6"]);
    assert!(
        others
            .iter()
            .any(|item| matches!(item, Item::Broken { expected: Some(c), .. } if c == "c3")),
        "{others:?}"
    );
    assert_eq!(client.stats().broken, 2);
}

#[tokio::test]
async fn another_endpoint_takes_over_when_the_first_is_gone() {
    let (first, second) = (Script::new().await, Script::new().await);
    let client = client_of(vec![first.endpoint(), second.endpoint()]);
    let mut peer = first.accept().await;
    let mut reader = subscribe(
        &client,
        &mut peer,
        Subscribe::new("session.1", Since::Earliest),
        json!("earliest"),
    )
    .await;
    peer.event("c1", None).await;
    assert_eq!(read(&mut reader, 1).await.0, ["c1"]);
    drop(first);
    peer.close(3001, "draining, spread 1 ms").await;
    let mut peer = second.accept().await;
    assert_eq!(peer.request("subscribe").await.1["since"], "c1");
}

#[tokio::test]
async fn a_close_for_good_ends_readers_and_callers_with_the_reason() {
    let script = Script::new().await;
    let client = script.client();
    let mut peer = script.accept().await;
    let mut reader = subscribe(
        &client,
        &mut peer,
        Subscribe::new("session.1", Since::Latest),
        json!("latest"),
    )
    .await;
    peer.say(json!({"type":"error","error":{"code":4429,"name":"RATE_LIMIT_EXCEEDED","message":"m","retryable":true}})).await;
    peer.close(1008, "").await;
    let ended = loop {
        match timeout(PATIENCE, reader.next()).await.unwrap() {
            Some(Item::Ended(error)) => break error,
            Some(_) => {}
            None => panic!("the reader was not told"),
        }
    };
    assert!(matches!(&ended, Error::Ended { code: 1008, .. }));
    assert_eq!(ended.name(), Some("RATE_LIMIT_EXCEEDED"));
    assert!(matches!(
        client.request("ping", "{}").await,
        Err(Error::Ended { .. })
    ));
}

#[tokio::test]
async fn a_revoked_channel_ends_its_reader_only() {
    let script = Script::new().await;
    let client = script.client();
    let mut peer = script.accept().await;
    let mut reader = subscribe(
        &client,
        &mut peer,
        Subscribe::new("session.1", Since::Latest),
        json!("latest"),
    )
    .await;
    peer.say(json!({"type":"error","channel":"session.1",
        "error":{"code":4403,"name":"PERMISSION_DENIED","message":"m","retryable":false}}))
        .await;
    let serve = async {
        let (id, _) = peer.request("ping").await;
        peer.respond(&id, json!({"serverTime":5})).await;
    };
    let (pong, ()) = tokio::join!(client.request("ping", "{}"), serve);
    assert_eq!(pong.unwrap(), r#"{"serverTime":5}"#);
    while let Some(item) = timeout(PATIENCE, reader.next()).await.unwrap() {
        if let Item::Ended(error) = item {
            return assert_eq!(error.name(), Some("PERMISSION_DENIED"));
        }
    }
    panic!("the reader was not told");
}

#[tokio::test]
async fn a_window_is_acknowledged_as_the_reader_takes_events() {
    let script = Script::new().await;
    let client = script.client();
    let mut peer = script.accept().await;
    let mut request = Subscribe::new("session.1", Since::Earliest);
    request.window = Some(4);
    let mut reader = subscribe(&client, &mut peer, request, json!("earliest")).await;
    for (cursor, prev) in [("c1", None), ("c2", Some("c1")), ("c3", Some("c2"))] {
        peer.event(cursor, prev).await;
    }
    read(&mut reader, 3).await;
    let ack = peer.hear().await;
    assert_eq!(
        (&ack["method"], &ack["params"]["cursor"], &ack["id"]),
        (&json!("ack"), &json!("c2"), &json!(null))
    );
}

#[tokio::test]
async fn a_reader_with_a_full_queue_holds_the_connection_and_loses_nothing() {
    let script = Script::new().await;
    let client = script.client();
    let mut peer = script.accept().await;
    let mut request = Subscribe::new("session.1", Since::Earliest);
    request.queue = 2;
    let mut reader = subscribe(&client, &mut peer, request, json!("earliest")).await;
    let cursors: Vec<String> = (10..40).map(|number| format!("c{number}")).collect();
    for (at, cursor) in cursors.iter().enumerate() {
        peer.event(
            cursor,
            at.checked_sub(1).map(|before| cursors[before].as_str()),
        )
        .await;
    }
    assert_eq!(read(&mut reader, cursors.len()).await.0, cursors);
}

#[tokio::test]
async fn dropping_a_reader_unsubscribes() {
    let script = Script::new().await;
    let client = script.client();
    let mut peer = script.accept().await;
    let reader = subscribe(
        &client,
        &mut peer,
        Subscribe::new("session.1", Since::Latest),
        json!("latest"),
    )
    .await;
    drop(reader);
    assert_eq!(peer.request("unsubscribe").await.1["channel"], "session.1");
}
