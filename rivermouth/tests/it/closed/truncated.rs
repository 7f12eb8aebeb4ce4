//! A log that lost its end (F32): told to clients, flagged in SQL, and nothing is stored on top of it.

use client::{Event, Gap, Publish, ServerMessage};
use serde_json::json;
use testbed::{Bed, Node, until};

use super::{CHANNEL, metrics, stored};
use crate::BINARY;
use crate::talk::{Talk, fill};
use crate::traffic::publish_surely;
use crate::ways::{Reading, WAYS};

#[tokio::test(flavor = "multi_thread")]
async fn f32_what_a_log_lost_is_a_gap_to_clients_and_flagged_in_sql_and_nothing_is_stored_over_it()
{
    let bed = Bed::on_own_kafka(BINARY, 1).await;
    let (mut fanout, mut persister) = tokio::join!(bed.start("fanout"), bed.start("persister"));
    let topic = bed.broker().topic("events");
    let partition = schemas::partition_of(b"closed", 4);
    let segment = bed.broker().cluster().segment(1, &topic, partition);
    let kept = fill(&bed, &fanout, CHANNEL, 3).await;
    let length = std::fs::metadata(&segment).unwrap().len();
    let lost = fill(&bed, &fanout, CHANNEL, 4).await;
    stored(&bed, 0, 7).await;
    let mut live = Talk::open(&fanout, &bed.gm("u2")).await;
    live.subscribe(json!({ "channel": CHANNEL })).await;
    let hearing = tokio::spawn(hear(live, 2));

    // The broker dies and comes back without the end of its file: acknowledged events are gone.
    tokio::task::block_in_place(|| {
        let cluster = bed.broker().cluster();
        cluster.kill_9(1);
        let file = std::fs::File::options().write(true).open(&segment).unwrap();
        file.set_len(length).unwrap();
        file.sync_all().unwrap();
        cluster.restart(1);
    });
    until("the persister to say that the log was cut", || async {
        metrics(&persister)
            .await
            .contains("rivermouth_persister_truncated_partitions{")
            .then_some(())
    })
    .await;
    let said = persister.process();
    until("the persister to write it down", || async {
        said.output().contains("LOG_TRUNCATED").then_some(())
    })
    .await;
    let database = bed.database();
    let flagged = format!(
        "select count(*) from analytics.gaps
         where topic = '{topic}' and from_offset = 3 and to_offset = 7 and reason = 'truncated'"
    );
    assert_eq!(database.number(&flagged).await, 1);

    // The log grows again, over the same offsets.
    let door = [fanout.http(&bed.gm("u1"))];
    for seq in 0..2 {
        let event = Publish::new(CHANNEL, "draw", seq.to_string()).unwrap();
        publish_surely(&door, &event.identity("outbox", 1, seq)).await;
    }
    let (gap, new) = hearing.await.unwrap();
    assert_eq!((&gap.from, &gap.to), (&lost[3].cursor, &kept[2].cursor));
    assert_eq!(gap.reason, "truncated");
    let rest = [&kept[1..], &new].concat();
    every_way_tells_it(&bed, &fanout, (&lost[3], &kept[0]), (&new, &rest)).await;
    // The rows stand as they were.
    stored(&bed, 0, 7).await;
    let complete = format!(
        "select count(*) from analytics.completeness where topic = '{topic}' and partition = {partition}
         and complete_to_offset = 3 and truncated_from_offset = 3"
    );
    assert_eq!(database.number(&complete).await, 1);

    // A node that begins now judges by the log, not by rows of events that are gone.
    fanout.terminate().await;
    let node = bed.start("fanout").await;
    every_way_tells_it(&bed, &node, (&lost[3], &kept[0]), (&new, &rest)).await;

    // A person has looked: the tables follow the log again.
    let rebuilt = bed
        .run(&[
            "rebuild", "--topic", &topic, "--lossy", "--yes", "--margin", "0s",
        ])
        .await;
    assert!(rebuilt.status.success(), "{}", rebuilt.output);
    stored(&bed, 0, 5).await;
}

/// Who was connected all the time: the gap, then so many events.
async fn hear(mut live: Talk, count: usize) -> (Gap, Vec<Event>) {
    let gap = loop {
        match live.next().await {
            ServerMessage::Gap { gap, .. } => break gap,
            ServerMessage::Event(event) => panic!("{event:?} came before the gap"),
            // The log was silent for some seconds: `stale`, and perhaps `fresh`.
            _ => {}
        }
    };
    let mut events = Vec::new();
    while events.len() < count {
        match live.next().await {
            ServerMessage::Event(event) => events.push(*event),
            ServerMessage::Gap { gap, .. } => panic!("{gap:?} is told twice"),
            _ => {}
        }
    }
    (gap, events)
}

/// After the cursor of a lost event: a gap, then what came since. After one that was kept: all that is there.
async fn every_way_tells_it(
    bed: &Bed,
    node: &Node,
    (lost, kept): (&Event, &Event),
    (new, rest): (&[Event], &[Event]),
) {
    let last = &new.last().unwrap().id;
    for way in WAYS {
        let reading = Reading {
            place: node.endpoint(),
            token: bed.gm("u1"),
            channel: CHANNEL.to_owned(),
            way,
        };
        let read = reading.to(lost.cursor.as_deref().unwrap(), last).await;
        let [(0, gap)] = &read.gaps[..] else {
            panic!("{way:?}: one gap before all events, not {:?}", read.gaps)
        };
        assert_eq!(
            (gap.reason.as_str(), &gap.from),
            ("truncated", &lost.cursor),
            "{way:?}"
        );
        assert_eq!(read.events, new, "{way:?}");
        let read = reading.to(kept.cursor.as_deref().unwrap(), last).await;
        assert_eq!(
            (read.gaps.len(), read.events.as_slice()),
            (0, rest),
            "{way:?}"
        );
    }
}
