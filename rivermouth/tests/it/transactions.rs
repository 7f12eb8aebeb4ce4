//! Backends that write in Kafka transactions: what they abort nobody ever sees, what they commit everybody sees, also
//! who came while it was open (F41).

use client::{History, ServerMessage};
use serde_json::json;
use testbed::checker::Received;
use testbed::{Bed, Foreign, Transactions, within};

use crate::BINARY;
use crate::talk::Talk;
use crate::ways::{Reading, WAYS};

const CHANNEL: &str = "session.transactions";
const KEY: &str = "transactions";
/// Transactions, with so many records in each and a plain one after it.
const ROUNDS: usize = 20;
const EACH: usize = 5;

#[tokio::test(flavor = "multi_thread")]
async fn f41_what_a_backend_aborts_is_never_visible_and_what_it_commits_is_to_everybody() {
    let bed = Bed::on_kafka(BINARY).await;
    let (one, two, _persister) = tokio::join!(
        bed.start("fanout"),
        bed.start("fanout"),
        bed.start("persister")
    );
    let topic = bed.broker().topic("events");
    let token = bed.gm("u1");
    let mut live = Talk::open(&one, &token).await;
    live.subscribe(json!({"channel": CHANNEL})).await;
    // Read all the time: who answers no ping for a minute is taken for gone. Every other transaction counts.
    let hearing = tokio::spawn(async move { live.events(ROUNDS / 2 * EACH + ROUNDS).await });
    let transactions = tokio::task::block_in_place(|| {
        Transactions::start(bed.broker().bootstrap(), bed.broker().prefix())
    });
    let mut expected = Vec::new();
    for round in 0..ROUNDS {
        let (aborts, late) = (round % 2 == 0, format!("plain-{round}"));
        let records: Vec<(&str, String)> = (0..EACH)
            .map(|at| {
                let id = format!("t{round}-{at}");
                let value = json!({"event": "draw", "id": id, "data": {"by": "a transaction"}});
                (KEY, value.to_string())
            })
            .collect();
        tokio::task::block_in_place(|| transactions.write(&topic, &records));
        // Somebody comes, and a plain record is written, while the transaction is open.
        let mut during = Talk::open(&two, &token).await;
        let since = json!({"last": 1});
        if round > 1 {
            during
                .subscribe(json!({"channel": CHANNEL, "since": since}))
                .await;
        }
        let plain = json!({"event": "draw", "id": late, "data": null}).to_string();
        let record = Foreign {
            key: Some(KEY.as_bytes()),
            value: Some(plain.as_bytes()),
            ..Foreign::default()
        };
        bed.broker().produce(&topic, record).await;
        tokio::task::block_in_place(|| match aborts {
            true => transactions.abort(),
            false => transactions.commit(),
        });
        if !aborts {
            expected.extend((0..EACH).map(|at| format!("t{round}-{at}")));
        }
        expected.push(late.clone());
        if round > 1 {
            let mut seen = Vec::new();
            within("what came while it was open", async {
                while seen.last() != Some(&late) {
                    if let ServerMessage::Event(event) = during.next().await {
                        seen.push(event.id);
                    }
                }
            })
            .await;
            let last = &expected[expected.len() - seen.len()..];
            assert_eq!(
                seen, last,
                "round {round}: one before, then all that counts"
            );
        }
    }
    let events = within("the live reader", hearing).await.unwrap();
    let ids: Vec<&String> = events.iter().map(|event| &event.id).collect();
    assert_eq!(ids, expected.iter().collect::<Vec<_>>());
    let accepted = bed.checker().await.tables_equal_log().await;
    Received(events.clone()).assert_equal("the live reader", &accepted[CHANNEL]);
    for way in WAYS {
        let reading = Reading {
            place: two.endpoint(),
            token: token.clone(),
            channel: CHANNEL.to_owned(),
            way,
        };
        let since = events[0].cursor.as_deref().unwrap();
        let read = reading.to(since, expected.last().unwrap()).await;
        assert!(
            read.events == events[1..] && read.gaps.is_empty(),
            "{way:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_transaction_is_waited_for_and_told_and_nothing_behind_it_is_left_out() {
    let bed = Bed::on_kafka(BINARY).await;
    let node = bed.start("fanout").await;
    let token = bed.gm("u1");
    let mut live = Talk::open(&node, &token).await;
    live.subscribe(json!({"channel": CHANNEL})).await;
    let transactions = tokio::task::block_in_place(|| {
        Transactions::start(bed.broker().bootstrap(), bed.broker().prefix())
    });
    let record = json!({"event": "draw", "id": "inside", "data": null}).to_string();
    let topic = bed.broker().topic("events");
    tokio::task::block_in_place(|| transactions.write(&topic, &[(KEY, record)]));
    live.publish(CHANNEL, "draw", json!("behind")).await;

    // What was acknowledged cannot be read: no answer is made up without it, and whoever stays is told.
    let asked = History {
        channel: CHANNEL.into(),
        ..History::default()
    };
    let http = node.http(&token);
    let refused = http.history(&asked).await.unwrap_err();
    assert!(format!("{refused:?}").contains("TIMEOUT"), "{refused:?}");
    // A log that stood still before that was told too, and that it went on.
    loop {
        match live.next().await {
            ServerMessage::Other(said) if said.contains(r#""event":"stale""#) => break,
            ServerMessage::Other(said) => assert!(said.contains(r#""event":"fresh""#), "{said}"),
            other => panic!("{other:?}"),
        }
    }
    let mut late = Talk::open(&node, &token).await;
    late.subscribe(json!({"channel": CHANNEL, "since": "earliest"}))
        .await;

    tokio::task::block_in_place(|| transactions.commit());
    for talk in [&mut live, &mut late] {
        let mut seen = Vec::new();
        while seen.len() < 2 {
            if let ServerMessage::Event(event) = talk.next().await {
                seen.push(event.data.clone());
            }
        }
        assert_eq!(seen, ["null", "\"behind\""]);
    }
    assert_eq!(http.history(&asked).await.unwrap().events.len(), 2);
}
