//! What the log erased before it was stored: the rows before it and the events after it are still had, the range
//! between is told, and whoever published through it goes on, for every reader alike.

use client::{Event, History, ServerMessage};
use serde_json::{Value, json};
use testbed::{Bed, Node, until};

use crate::BINARY;
use crate::erased::erase_before;
use crate::insisting::surely;
use crate::talk::{Talk, is_of};

const CHANNEL: &str = "session.lost";
/// Events that are stored, and events that are lost.
const STORED: usize = 5;
const LOST: usize = 4;

/// A channel with a loss in it: its events as a subscriber saw them live, and who goes on.
struct Loss {
    bed: Bed,
    /// Has read all of it.
    warm: Node,
    _persister: Node,
    events: Vec<Event>,
    talk: Talk,
}

/// The next number of one outbox; every other event is without. Each has an id, so that it may be published again.
async fn publish(talk: &mut Talk, seq: usize) -> Value {
    let mut params = json!({"channel": CHANNEL, "event": "draw", "data": seq});
    if seq.is_multiple_of(2) {
        params["producer"] = json!("pen");
        params["epoch"] = json!(3);
        params["seq"] = json!(seq / 2);
    }
    params["id"] = json!(format!("e{seq}"));
    talk.surely("publish", params).await
}

impl Loss {
    async fn suffered() -> Loss {
        let bed = Bed::on_kafka(BINARY).await;
        let (warm, mut persister) = tokio::join!(bed.start("fanout"), bed.start("persister"));
        let mut talk = Talk::open(&warm, &bed.gm("u1")).await;
        talk.subscribe(json!({ "channel": CHANNEL })).await;
        let mut events = Vec::new();
        for number in 0..STORED + LOST + 3 {
            if number == STORED {
                bed.checker().await.stored().await;
                persister.terminate().await;
            }
            publish(&mut talk, number).await;
            events.push(talk.event().await);
        }
        erase_before(&bed, CHANNEL, &events[STORED + LOST].id).await;
        persister.start().await;
        let loss = Loss {
            bed,
            warm,
            _persister: persister,
            events,
            talk,
        };
        loss.stored(loss.events.len() - LOST).await;
        loss
    }

    async fn stored(&self, count: usize) {
        let sql =
            format!("select count(*)::text from analytics.events where channel = '{CHANNEL}'");
        until("the rows", || async {
            let rows = self.bed.database().texts(None, &sql).await;
            (rows == [count.to_string()]).then_some(())
        })
        .await;
    }

    fn left(&self) -> Vec<String> {
        let (stored, rest) = self.events.split_at(STORED);
        ids(stored.iter().chain(&rest[LOST..]))
    }
}

fn ids<'a>(events: impl IntoIterator<Item = &'a Event>) -> Vec<String> {
    events.into_iter().map(|event| event.id.clone()).collect()
}

/// Everything up to `caught_up`: events, and `gap` for a gap.
async fn told(talk: &mut Talk) -> Vec<String> {
    let mut told = Vec::new();
    loop {
        match talk.next_of_channel().await {
            ServerMessage::Event(event) => told.push(event.id.clone()),
            ServerMessage::Gap { .. } => told.push("gap".to_owned()),
            ServerMessage::CaughtUp { .. } => return told,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f36_what_was_lost_before_it_was_stored_is_told_and_nothing_else_is_missing() {
    let loss = Loss::suffered().await;
    let cold = loss.bed.start("fanout").await;
    let token = loss.bed.gm("u1");
    let mut talk = Talk::open(&cold, &token).await;
    let cursor = |at: usize| loss.events[at].cursor.clone();
    let mut whole = loss.left();
    whole.insert(STORED, "gap".to_owned());
    for (since, missed) in [
        (json!("earliest"), 0),
        (json!(cursor(0)), 1),
        (json!({"time": loss.events[1].timestamp_ms}), 1),
        (json!(cursor(STORED + 1)), STORED),
    ] {
        talk.subscribe(json!({"channel": CHANNEL, "since": since}))
            .await;
        let told = told(&mut talk).await;
        // Clocks are coarse: earlier events may have the same time.
        let from = told.len().min(whole.len() - missed);
        assert_eq!(told[told.len() - from..], whole[missed..], "{since}");
    }

    let http = cold.http(&token);
    for order in ["asc", "desc"] {
        let asked = History {
            channel: CHANNEL.into(),
            order: Some(order),
            ..History::default()
        };
        let page = surely("a page", || http.history(&asked)).await;
        let mut events = page.events;
        if order == "desc" {
            events.reverse();
        }
        assert_eq!(ids(&events), loss.left(), "{order}");
        assert_eq!(
            events[STORED].prev, None,
            "what came before it is not known"
        );
        let gap = page.gap.unwrap();
        assert_eq!(gap.reason, "retention");
        assert!(gap.from >= cursor(STORED - 1), "{gap:?}");
        assert!(gap.to < cursor(STORED + LOST), "{gap:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f36_an_outbox_that_went_on_in_what_was_lost_goes_on_for_every_reader() {
    let mut loss = Loss::suffered().await;
    let cold = loss.bed.start("fanout").await;
    let mut there = Talk::open(&cold, &loss.bed.gm("u1")).await;
    there.subscribe(json!({ "channel": CHANNEL })).await;
    let mut count = loss.events.len();
    // By turns through the node that has read everything and the one that knows only what is left.
    for _ in 0..4 {
        for here in [true, false] {
            let talk = if here { &mut loss.talk } else { &mut there };
            let answer = publish(talk, count).await;
            let (one, other) = (loss.talk.event().await, there.event().await);
            assert_eq!(one.data, count.to_string(), "it counts");
            count += 1;
            assert_eq!(one, other);
            assert!(is_of(&answer, &one), "{answer} {one:?}");
        }
    }
    loss.stored(count - LOST).await;
    // A number from before the loss was dealt with, for both.
    for talk in [&mut loss.talk, &mut there] {
        let again = json!({"channel": CHANNEL, "event": "draw", "data": 0, "producer": "pen", "epoch": 3, "seq": 0});
        assert_eq!(
            talk.call("publish", again).await.unwrap()["duplicate"],
            true
        );
        talk.quiet().await;
    }
    drop(loss.warm);
}
