//! Outboxes: order, retries and takeovers, through one gateway and several (D3, D4).

use std::sync::Arc;
use std::time::{Duration, Instant};

use broker::{Append, AppendError};
use bytes::Bytes;
use protocol::ErrorName;
use serde_json::{Value, json};
use testbed::PATIENCE;

use crate::load::{numbered, settle};
use crate::reading::{counted, numbers};
use crate::web::Web;
use crate::world::{World, backend, identity, player};

pub async fn order_is_kept_under_concurrency(world: World) {
    let nodes = [Arc::new(world.node().await), Arc::new(world.node().await)];
    let who = identity(&backend());
    let mut tasks = tokio::task::JoinSet::new();
    // Eight outboxes, three channels, two gateways that write to the same partitions.
    for outbox in 0..8_usize {
        let (node, who) = (Arc::clone(&nodes[outbox % 2]), Arc::clone(&who));
        tasks.spawn(async move {
            let channel = format!("session.{}", outbox % 3);
            let producer = format!("p{outbox}");
            let settled = settle(&node, &who, &channel, &producer, 0, 0..200).await;
            (channel, settled)
        });
    }
    while let Some(done) = tasks.join_next().await {
        let (channel, settled) = done.unwrap();
        assert_eq!(settled.len(), 200);
        let mut cursors = Vec::new();
        for told in settled {
            assert!(told.is_new(), "{channel}: {told:?}");
            let cursor = told.answer.unwrap().cursor;
            // Where a duplicate stands need not be known.
            assert!(cursor.is_some() || told.unheard > 0, "{channel}");
            cursors.extend(cursor);
        }
        assert!(cursors.is_sorted_by(|one, next| one < next), "{channel}");
    }
    for channel in ["session.0", "session.1", "session.2"] {
        let numbers = numbers(&world.accepted(channel).await);
        assert!(numbers.values().all(|count| *count == 1));
        assert_eq!(numbers.len() % 200, 0);
        assert!(numbers.len() >= 400);
    }
}

pub async fn retries_through_another_gateway_end_as_one_event(world: World) {
    let (one, other, web) = (world.node().await, world.node().await, Web::new());
    let user = player("u1");
    let mut cursors = Vec::new();
    for seq in 0..10 {
        let answer = web
            .surely(&one, &user, numbered("session.1", "p", 0, seq))
            .await;
        let told = answer.json();
        assert!(answer.is_new(), "{told}");
        // What nobody heard of may have been stored under another id.
        cursors.push((answer.unheard == 0).then(|| (told["id"].clone(), told["cursor"].clone())));
    }
    for seq in 0..12 {
        let answer = web
            .surely(&other, &user, numbered("session.1", "p", 0, seq))
            .await;
        let told = answer.json();
        if seq < 10 {
            assert_eq!(told["duplicate"], true, "{told}");
        } else {
            assert!(answer.is_new(), "{told}");
        }
        if let Some(Some((id, cursor))) = cursors.get(usize::try_from(seq).unwrap()) {
            assert_eq!(&told["id"], id, "the stored event's id");
            assert!(told["cursor"].is_null() || told["cursor"] == *cursor);
        }
    }
    // And once more where they came from, with a third of them pipelined.
    let who = identity(&user);
    for told in settle(&one, &who, "session.1", "p", 0, 0..20).await {
        let as_it_should = if told.seq < 12 {
            told.is_known()
        } else {
            told.is_new()
        };
        assert!(as_it_should, "{told:?}");
    }
    let events = world.accepted("session.1").await;
    let data: Vec<String> = events
        .iter()
        .map(|(_, event)| String::from_utf8(event.data.to_vec()).unwrap())
        .collect();
    assert_eq!(data, (0..20).map(|seq| seq.to_string()).collect::<Vec<_>>());
}

pub async fn an_outbox_moves_between_gateways_and_back(world: World) {
    let nodes = [world.node().await, world.node().await, world.node().await];
    let who = identity(&backend());
    for round in 0..9_u64 {
        let node = &nodes[usize::try_from(round).unwrap() % 3];
        for told in settle(node, &who, "session.1", "p", 0, round * 20..round * 20 + 20).await {
            assert!(told.is_new(), "{told:?}");
        }
    }
    assert_eq!(world.accepted("session.1").await.len(), 180);
}

pub async fn f05_a_takeover_makes_the_first_owner_stale(world: World) {
    let (one, other) = (world.node().await, world.node().await);
    let who = identity(&backend());
    for told in settle(&one, &who, "session.1", "p", 3, 0..5).await {
        assert!(told.is_new(), "{told:?}");
    }
    for told in settle(&other, &who, "session.1", "p", 4, 0..3).await {
        assert!(told.is_new(), "{told:?}");
    }
    // The first gateway has not heard of it: what it appends now must not be called a success.
    for told in settle(&one, &who, "session.1", "p", 3, 5..8).await {
        let error = told.answer.unwrap_err();
        assert_eq!(error.name, ErrorName::StaleProducer, "{error:?}");
        assert_eq!(error.details, Some(json!({"epoch": 4})));
    }
    let events = world.accepted("session.1").await;
    assert_eq!(events.len(), 8);
    let web = Web::new();
    let answer = web
        .surely(&one, &backend(), numbered("session.1", "p", 2, 0))
        .await;
    assert_eq!(
        (answer.status.as_u16(), answer.error().as_str()),
        (409, "STALE_PRODUCER")
    );
}

pub async fn a_skipped_number_is_named(world: World) {
    let (node, web) = (world.node().await, Web::new());
    let user = player("u1");
    let ahead = |answer: Value, next: u64| {
        assert_eq!(answer["error"]["name"], "UNAVAILABLE", "{answer}");
        assert_eq!(answer["error"]["details"]["seq"], next);
        assert_eq!(answer["error"]["retryAfterMs"], 0);
        assert_eq!(answer["error"]["retryable"], true);
    };
    ahead(
        web.surely(&node, &user, numbered("session.1", "p", 0, 1))
            .await
            .json(),
        0,
    );
    web.surely(&node, &user, numbered("session.1", "p", 0, 0))
        .await;
    ahead(
        web.surely(&node, &user, numbered("session.1", "p", 0, 7))
            .await
            .json(),
        1,
    );
    ahead(
        web.surely(&node, &user, numbered("session.1", "p", 1, 1))
            .await
            .json(),
        0,
    );
    let answer = web
        .surely(&node, &user, numbered("session.1", "p", 0, 1))
        .await;
    assert!(answer.is_new(), "{:?}", answer.body);
    // Another user, another channel: another outbox.
    ahead(
        web.surely(&node, &player("u2"), numbered("session.1", "p", 0, 2))
            .await
            .json(),
        0,
    );
    ahead(
        web.surely(&node, &user, numbered("session.2", "p", 0, 2))
            .await
            .json(),
        0,
    );
    assert_eq!(world.accepted("session.1").await.len(), 2);
}

pub async fn records_of_others_in_between_change_nothing(world: World) {
    let node = world.node().await;
    let who = identity(&backend());
    let partition = world.partition("session.1");
    let stop = service::Shutdown::new();
    let (log, topic, told) = (
        world.log.clone(),
        Arc::<str>::from(world.topics.events()),
        stop.clone(),
    );
    // A backend that writes to the log itself, to the same partition, all the time.
    let noise = tokio::spawn(async move {
        let mut count = 0;
        while !told.is_started() {
            let value = json!({"event": "note.added", "data": 1, "id": format!("n{count}")});
            let record = Append {
                topic: Arc::clone(&topic),
                partition,
                key: Some(Bytes::from_static(b"1")),
                headers: Vec::new(),
                value: Some(Bytes::from(value.to_string())),
            };
            // The same id again while nobody knows: it counts once.
            let end = Instant::now() + PATIENCE;
            while let Err(error) = log.append(record.clone()).unwrap().await {
                let unknown = [AppendError::Unknown, AppendError::Fatal];
                assert!(unknown.contains(&error) && Instant::now() < end, "{error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            count += 1;
        }
        count
    });
    let mut expected = 0;
    for round in 0..20_u64 {
        for told in settle(
            &node,
            &who,
            "session.1",
            "p",
            0,
            round * 10..round * 10 + 10,
        )
        .await
        {
            assert!(told.is_new(), "{told:?}");
            expected += 1;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    stop.start();
    let noise: usize = noise.await.unwrap();
    assert!(noise > 0);
    assert_eq!(world.accepted("session.1").await.len(), expected + noise);
    assert!(
        node.metrics
            .encode()
            .contains("rivermouth_ingest_read_back_records_total")
    );
}

pub async fn a_storm_of_new_outboxes_gets_through(world: World) {
    let nodes = [Arc::new(world.node().await), Arc::new(world.node().await)];
    let who = identity(&backend());
    // Every channel is new to both gateways, and both write to all partitions.
    let mut tasks = tokio::task::JoinSet::new();
    for outbox in 0..600_usize {
        let (node, who) = (Arc::clone(&nodes[outbox % 2]), Arc::clone(&who));
        tasks.spawn(async move {
            let channel = format!("session.s{outbox}");
            settle(&node, &who, &channel, "p", 0, 0..5).await
        });
    }
    let (mut stored, mut again, mut unheard) = (0, 0, 0);
    while let Some(settled) = tasks.join_next().await {
        for told in settled.unwrap() {
            assert!(told.is_new(), "{told:?}");
            stored += 1;
            again += usize::from(told.tries > 0);
            unheard += told.unheard;
        }
    }
    assert_eq!(stored, 3_000);
    assert!(again * 10 <= stored, "{again} of {stored} were put off");
    let read = world.read(world.topics.events()).await;
    assert_eq!(counted(&read), 3_000);
    let read = read.len();
    assert!(
        (3_000..=3_000 + unheard).contains(&read),
        "{read}: nothing was written twice but what nobody heard of, {unheard}"
    );
}
