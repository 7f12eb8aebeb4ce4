//! A topic that was deleted and created again: refused, repinned, and told as what it is.

use client::{Event, History};
use serde_json::json;
use testbed::{Bed, Node, until};

use super::{CHANNEL, mending, refused, stored};
use crate::BINARY;
use crate::insisting::surely;
use crate::talk::{Talk, fill};
use crate::ways::{Reading, WAYS};

#[tokio::test(flavor = "multi_thread")]
async fn f33_a_topic_created_again_is_refused_until_repinned_and_then_old_cursors_are_told_the_epoch()
 {
    let bed = Bed::on_kafka(BINARY).await;
    let (mut fanout, mut persister) = tokio::join!(bed.start("fanout"), bed.start("persister"));
    let old = fill(&bed, &fanout, CHANNEL, 7).await;
    stored(&bed, 0, 7).await;
    fanout.terminate().await;
    persister.terminate().await;
    let topic = bed.broker().topic("events");
    bed.broker().delete_topic(&topic).await;
    for service in ["fanout", "ingest", "persister"] {
        let said = refused(&bed, service).await;
        assert!(
            said.contains("TOPIC_GONE"),
            "a topic is not quietly made anew: {said}"
        );
    }
    bed.broker().create_topic(&topic, 4, &[]).await;
    for service in ["fanout", "ingest", "persister"] {
        let said = refused(&bed, service).await;
        assert!(said.contains("TOPIC_RECREATED"), "{said}");
    }
    // The command that the refusal names is the one that mends it.
    let said = refused(&bed, "persister").await;
    let mended = bed.run(&mending(&said)).await;
    assert!(mended.status.success(), "{}", mended.output);
    assert!(mended.output.contains("generation 1"), "{}", mended.output);

    let (fanout, _persister) = tokio::join!(bed.start("fanout"), bed.start("persister"));
    let new = fill(&bed, &fanout, CHANNEL, 3).await;
    for cursor in [&old[0].cursor, &old[6].cursor] {
        every_transport_tells_the_epoch(&bed, &fanout, cursor.as_deref().unwrap(), &new).await;
    }
    // A node that has seen nothing of it live says the same.
    let other = bed.start("fanout").await;
    every_transport_tells_the_epoch(&bed, &other, old[3].cursor.as_deref().unwrap(), &new).await;
    assert!(
        old.last().unwrap().cursor < new[0].cursor,
        "cursors sort as the events"
    );

    // Rows of both, by generation.
    stored(&bed, 0, 7).await;
    stored(&bed, 1, 3).await;
    let database = bed.database();
    let complete = |generation: &str| {
        format!(
            "select count(*) from analytics.completeness where topic = '{topic}' and generation {generation}"
        )
    };
    // The partitions without events are taken when their turn comes.
    until("every partition to be complete", || async {
        (database.number(&complete("= 1")).await == 4).then_some(())
    })
    .await;
    assert_eq!(
        database.number(&complete("<> 1")).await,
        0,
        "the present topic alone can become more complete"
    );
    let told = format!(
        "select count(*) from analytics.gaps
         where topic = '{topic}' and generation = 0 and reason = 'epoch' and from_offset = 7"
    );
    assert_eq!(database.number(&told).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn f33_repinning_what_is_not_to_be_repinned_is_refused_with_a_code() {
    let bed = Bed::on_kafka(BINARY).await;
    let mut fanout = bed.start("fanout").await;
    fanout.terminate().await;
    let topic = bed.broker().topic("events");
    let cases = [
        (vec!["--topic", topic.as_str()], 64, "--yes"),
        (vec!["--topic", topic.as_str(), "--yes"], 1, "REPIN_NOTHING"),
        (vec!["--topic", "nobody.knows", "--yes"], 1, "REPIN_UNKNOWN"),
        (vec!["--yes"], 64, "--topic"),
    ];
    for (arguments, status, said) in cases {
        let ended = bed.run(&[&["repin"], arguments.as_slice()].concat()).await;
        assert_eq!(
            ended.status.code(),
            Some(status),
            "{arguments:?}: {}",
            ended.output
        );
        assert!(
            ended.output.contains(said),
            "{arguments:?}: {}",
            ended.output
        );
    }
    // As many partitions as were pinned, or channels would lie elsewhere.
    bed.broker().recreate_topic(&topic, 5).await;
    let ended = bed.run(&["repin", "--topic", &topic, "--yes"]).await;
    assert_eq!(ended.status.code(), Some(1));
    assert!(
        ended.output.contains("PARTITIONS_CHANGED"),
        "{}",
        ended.output
    );
    // One that is gone is made by the command itself.
    bed.broker().delete_topic(&topic).await;
    let ended = bed.run(&["repin", "--topic", &topic, "--yes"]).await;
    assert!(ended.status.success(), "{}", ended.output);
    bed.start("fanout").await;
}

/// WebSocket, SSE, lines, poll and history with a cursor of before: a gap, then exactly what is there now.
async fn every_transport_tells_the_epoch(bed: &Bed, node: &Node, cursor: &str, new: &[Event]) {
    let token = bed.gm("u1");
    for way in WAYS {
        let reading = Reading {
            place: node.endpoint(),
            token: token.clone(),
            channel: CHANNEL.to_owned(),
            way,
        };
        let read = reading.to(cursor, &new.last().unwrap().id).await;
        assert_eq!(read.events, new, "{way:?}");
        let [(0, gap)] = &read.gaps[..] else {
            panic!("{way:?}: one gap before all events, not {:?}", read.gaps)
        };
        assert_eq!(
            (gap.reason.as_str(), gap.from.as_deref()),
            ("epoch", Some(cursor)),
            "{way:?}"
        );
        let to = gap.to.as_deref().unwrap();
        assert!(
            cursor < to && to < new[0].cursor.as_deref().unwrap(),
            "{way:?}"
        );
    }
    let mut talk = Talk::open(node, &token).await;
    let answer = talk
        .subscribe(json!({"channel": CHANNEL, "since": cursor}))
        .await;
    assert_eq!(
        (&answer["recovered"], &answer["wasRecovering"]),
        (&json!(false), &json!(true))
    );
    let before = History {
        channel: CHANNEL.into(),
        before: Some(cursor.to_owned()),
        ..History::default()
    };
    let http = node.http(&token);
    let page = surely("a page", || http.history(&before)).await;
    assert_eq!(
        (page.events.len(), page.gap.unwrap().reason.as_str()),
        (0, "epoch")
    );
}
