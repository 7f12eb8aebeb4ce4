//! Kept cursors on real Kafka and PostgreSQL: acknowledged at one node, gone on with at another exactly after that,
//! whatever was killed, emptied or away in between; and the ledger in SQL says what the topic says.

use std::collections::BTreeMap;

use client::{Event, ServerMessage};
use serde_json::{Value, json};
use testbed::{Bed, Node, PATIENCE, Server, until, within};

use crate::BINARY;
use crate::insisting::surely;
use crate::retention::figure;
use crate::talk::Talk;
use crate::traffic::publish_surely;

const CHANNEL: &str = "session.kept";

async fn fill(bed: &Bed, node: &Node, count: usize) {
    let door = [node.http(&bed.backend())];
    for number in 0..count {
        let publish = client::Publish::new(CHANNEL, "draw", number.to_string()).unwrap();
        publish_surely(&door, &publish.id(format!("e{number}"))).await;
    }
}

fn numbers(events: &[Event]) -> Vec<usize> {
    events.iter().map(|e| e.data.parse().unwrap()).collect()
}

async fn ack(talk: &mut Talk, event: &Event) {
    let params = json!({"channel": CHANNEL, "cursor": event.cursor});
    assert_eq!(talk.surely("ack", params).await, json!({}));
}

/// (channel, user, name) to cursor, worked out from the state topic by itself: cursors sort as positions do.
async fn by_topic(bed: &Bed) -> BTreeMap<(String, String, String), String> {
    let mut kept: BTreeMap<_, String> = BTreeMap::new();
    for record in bed.checker().await.topic("state").await {
        if !record.key.is_some_and(|key| key.starts_with(b"ack/")) {
            continue;
        }
        let value: Value = serde_json::from_slice(&record.value.unwrap()).unwrap();
        let text = |name: &str| value[name].as_str().unwrap().to_owned();
        let furthest = kept
            .entry((text("channel"), text("user"), text("durable")))
            .or_default();
        *furthest = text("cursor").max(std::mem::take(furthest));
    }
    kept
}

/// The same, as analysts see it.
async fn by_analyst(bed: &Bed) -> BTreeMap<(String, String, String), String> {
    let sql = "select row_to_json(d)::text from analytics.deliveries d";
    let rows = bed.database().texts(Some("rivermouth_analyst"), sql).await;
    rows.iter()
        .map(|row| {
            let row: Value = serde_json::from_str(row).unwrap();
            let text = |name: &str| row[name].as_str().unwrap().to_owned();
            let key = (text("channel"), text("user_id"), text("durable"));
            (key, text("cursor"))
        })
        .collect()
}

/// Everything that analysts see of the ledger, as text.
async fn ledger(bed: &Bed) -> Vec<String> {
    let sql = "select row_to_json(d)::text from analytics.deliveries d order by 1";
    bed.database().texts(None, sql).await
}

async fn agrees(bed: &Bed) {
    let topic = by_topic(bed).await;
    assert!(!topic.is_empty());
    until("the ledger to say what the topic says", || async {
        (by_analyst(bed).await == topic).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_at_a_killed_node_is_where_another_goes_on() {
    let bed = Bed::on_kafka(BINARY).await;
    let (mut first, second, _persister) = tokio::join!(
        bed.start("fanout"),
        bed.start("fanout"),
        bed.start("persister")
    );
    fill(&bed, &second, 60).await;
    let token = bed.gm("u1");
    let asked = json!({"channel": CHANNEL, "since": "earliest", "durable": "tab", "window": 8});
    let mut at = 0;
    for kill in 1..=3 {
        let mut talk = Talk::open(&first, &token).await;
        let response = talk.subscribe(asked.clone()).await;
        assert_eq!(response["recovered"], true);
        // Two windows' worth, acknowledged half-way through the second.
        let mut events = talk.events(8).await;
        ack(&mut talk, &events[7]).await;
        events.extend(talk.events(8).await);
        assert_eq!(numbers(&events), (at..at + 16).collect::<Vec<_>>());
        ack(&mut talk, &events[11]).await;
        at += 12;
        first.kill_9().await;

        // The other node has it, whatever was asked for.
        let mut talk = Talk::open(&second, &token).await;
        let response = talk.subscribe(asked.clone()).await;
        assert_eq!(
            (&response["cursor"], &response["wasRecovering"]),
            (&json!(events[11].cursor), &json!(true)),
            "after kill {kill}"
        );
        let next = talk.event().await;
        assert_eq!(
            (numbers(std::slice::from_ref(&next)), next.prev),
            (vec![at], events[11].cursor.clone())
        );
        first.start().await;
    }
    // An event stream with a window, acknowledged over HTTP through the node that does not carry it.
    let path = format!("/sse?channel={CHANNEL}&since=earliest&durable=feed&window=5");
    let mut stream = first.http(&token).sse_at(&path).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 60 {
        match within("an event", stream.next()).await.unwrap() {
            ServerMessage::Event(event) => seen.push(*event),
            _ => continue,
        }
        if seen.len() % 5 == 0 {
            let cursor = seen.last().and_then(|e| e.cursor.clone()).unwrap();
            let http = second.http(&token);
            surely("an acknowledgement", || http.ack(CHANNEL, &cursor, "feed")).await;
        }
    }
    assert_eq!(numbers(&seen), (0..60).collect::<Vec<_>>());
    agrees(&bed).await;
    let rows = ledger(&bed).await;
    assert_eq!(rows.len(), 2);
    assert!(
        rows.iter()
            .any(|row| row.contains("\"durable\":\"feed\"") && row.contains("\"behind\":false")),
        "{rows:?}"
    );
    assert!(
        rows.iter()
            .any(|row| row.contains("\"durable\":\"tab\"") && row.contains("\"behind\":true")),
        "{rows:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_was_dropped_is_made_again_and_sends_nobody_back_to_the_beginning() {
    let bed = Bed::on_kafka(BINARY).await;
    let (node, mut persister) = tokio::join!(bed.start("fanout"), bed.start("persister"));
    fill(&bed, &node, 12).await;
    let mut kept = Vec::new();
    for user in 0..6 {
        let mut talk = Talk::open(&node, &bed.gm(&format!("u{user}"))).await;
        talk.subscribe(json!({"channel": CHANNEL, "since": "earliest", "durable": "tab"}))
            .await;
        let events = talk.events(12).await;
        ack(&mut talk, &events[user + 1]).await;
        ack(&mut talk, &events[user + 3]).await;
        kept.push(events[user + 3].cursor.clone().unwrap());
    }
    agrees(&bed).await;
    let before = ledger(&bed).await;
    // The node has let go of what the store has.
    until("the node to forget what is stored", || async {
        (figure(&node, "rivermouth_fanout_kept_tail").await == 0.0).then_some(())
    })
    .await;
    persister.terminate().await;
    let database = bed.database();
    database.execute("truncate rivermouth.deliveries").await;
    database
        .execute("delete from rivermouth.offsets where topic_id in (select topic_id from rivermouth.topics where topic like '%.state')")
        .await;
    // Nothing is stored and nobody stores: the answer is the right place, or none for now, and never the beginning.
    for (user, kept) in kept.iter().enumerate() {
        let token = bed.gm(&format!("u{user}"));
        until("the kept cursor, out of the topic", || async {
            let mut talk = Talk::open(&node, &token).await;
            let asked = json!({"channel": CHANNEL, "since": "earliest", "durable": "tab"});
            match talk.call("subscribe", asked).await {
                Ok(response) => {
                    assert_eq!(response["cursor"], json!(kept), "user {user}");
                    Some(())
                }
                Err(refusal) => {
                    assert!(refusal.retryable, "{refusal:?}");
                    None
                }
            }
        })
        .await;
    }
    persister.start().await;
    agrees(&bed).await;
    assert_eq!(ledger(&bed).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_postgres_is_away_acknowledgements_are_kept_and_found_again() {
    let mut server = Server::start().await;
    let bed = Bed::on_kafka_and(BINARY, &server).await;
    let (first, _persister) = tokio::join!(bed.start("fanout"), bed.start("persister"));
    fill(&bed, &first, 12).await;
    let token = bed.gm("u1");
    let asked = json!({"channel": CHANNEL, "since": "earliest", "durable": "tab"});
    let mut talk = Talk::open(&first, &token).await;
    talk.subscribe(asked.clone()).await;
    let events = talk.events(12).await;
    // The node remembers what nobody can store, and forgets it once it is stored.
    let unstored = bed
        .database()
        .hold("begin; lock table rivermouth.deliveries in exclusive mode")
        .await;
    ack(&mut talk, &events[2]).await;
    let cursor = |number: usize| events[number].cursor.clone().unwrap();
    let http = first.http(&token).with_deadline(PATIENCE);
    let keep = async |number: usize, name: &str| {
        let cursor = cursor(number);
        surely("an acknowledgement", || http.ack(CHANNEL, &cursor, name)).await;
    };
    keep(9, "stored").await;
    let remembered = async |count: f64| {
        until(&format!("the node to remember {count}"), || async {
            let tail = figure(&first, "rivermouth_fanout_kept_tail").await;
            (tail == count).then_some(())
        })
        .await;
    };
    remembered(2.0).await;
    unstored.release().await;
    remembered(0.0).await;
    agrees(&bed).await;
    server.kill_9().await;
    // By socket and by HTTP: the log is what takes them.
    ack(&mut talk, &events[5]).await;
    keep(7, "tab").await;
    // One that has forgotten what PostgreSQL had, and one that knows nothing but the topic.
    let second = bed.start("fanout").await;
    for node in [&first, &second] {
        for (name, kept) in [("tab", Some(7)), ("stored", Some(9)), ("unused", None)] {
            let asked = json!({"channel": CHANNEL, "since": "earliest", "durable": name});
            let mut talk = Talk::open(node, &token).await;
            let response = within("an answer", async {
                loop {
                    match talk.call("subscribe", asked.clone()).await {
                        Ok(response) => return response,
                        Err(refusal) => assert!(refusal.retryable, "{refusal:?}"),
                    }
                }
            })
            .await;
            if let Some(kept) = kept {
                assert_eq!(response["cursor"], json!(cursor(kept)), "{name}");
            }
            let coming = (kept.map_or(0, |kept| kept + 1)..12).collect::<Vec<_>>();
            assert_eq!(numbers(&talk.events(coming.len()).await), coming, "{name}");
        }
    }
    server.launch().await;
    agrees(&bed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_cursor_whose_events_are_gone_is_told_as_a_gap() {
    let bed = Bed::on_kafka(BINARY).await;
    let node = bed.start("fanout").await;
    fill(&bed, &node, 8).await;
    let token = bed.gm("u1");
    let asked = json!({"channel": CHANNEL, "since": "earliest", "durable": "tab"});
    let mut talk = Talk::open(&node, &token).await;
    talk.subscribe(asked.clone()).await;
    let events = talk.events(8).await;
    ack(&mut talk, &events[1]).await;
    let accepted = bed.checker().await.accepted().await;
    let first = &accepted[CHANNEL][5];
    let broker = bed.broker();
    broker
        .erase(&first.topic, first.partition, first.offset)
        .await;
    // A node that has none of it in memory.
    let other = bed.start("fanout").await;
    let mut talk = Talk::open(&other, &token).await;
    let response = talk.subscribe(asked).await;
    assert_eq!(
        (&response["recovered"], &response["wasRecovering"]),
        (&json!(false), &json!(true))
    );
    match talk.next_of_channel().await {
        ServerMessage::Gap { gap, .. } => {
            assert_eq!(
                (gap.from, gap.reason.as_str()),
                (events[1].cursor.clone(), "retention")
            );
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(numbers(&talk.events(3).await), [5, 6, 7]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_with_a_name_goes_on_after_the_last_event_it_printed() {
    let bed = Bed::on_kafka(BINARY).await;
    let node = bed.start("fanout").await;
    fill(&bed, &node, 9).await;
    let token = bed.gm("u1");
    let mut printed = Vec::new();
    for count in ["4", "3", "2"] {
        let tail = bed
            .run(&[
                "tail",
                CHANNEL,
                "--since",
                "earliest",
                "--durable",
                "desk",
                "--json",
                "--count",
                count,
                "--url",
                node.url(),
                "--token",
                &token,
            ])
            .await;
        assert!(tail.status.success(), "{}", tail.output);
        let lines = tail.output.lines().filter(|line| line.starts_with('{'));
        printed.extend(lines.map(|line| {
            let event: Value = serde_json::from_str(line).unwrap();
            event["data"].as_u64().unwrap()
        }));
    }
    assert_eq!(printed, (0..9).collect::<Vec<_>>());
}
