//! A topic created again under running processes: within the interval nothing of it is read, stored or appended.

use client::{ServerMessage, Socket};
use http::Method;
use serde_json::json;
use testbed::{Bed, Foreign, until, within};

use super::{CHANNEL, metrics, stored, unready};
use crate::BINARY;
use crate::talk::{Talk, fill};

/// Listens until the connection is closed; why it was.
async fn closed(socket: &mut Socket) -> String {
    within("the connection to be closed", async {
        loop {
            match socket.next().await {
                Ok(ServerMessage::Event(event)) => panic!("nothing was published: {event:?}"),
                Ok(_) => {}
                Err(error) => {
                    assert!(error.is_retryable(), "{error}");
                    return error.to_string();
                }
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn f33_a_topic_created_again_under_running_processes_is_neither_read_nor_stored_nor_appended_to()
 {
    let bed = Bed::on_kafka(BINARY).await;
    let (mut fanout, mut ingest, mut persister) = tokio::join!(
        bed.start("fanout"),
        bed.start("ingest"),
        bed.start("persister")
    );
    fill(&bed, &fanout, CHANNEL, 3).await;
    stored(&bed, 0, 3).await;
    let token = bed.gm("u1");
    let mut talk = Talk::open(&fanout, &token).await;
    talk.subscribe(json!({"channel": CHANNEL})).await;

    let topic = bed.broker().topic("events");
    bed.broker().recreate_topic(&topic, 4).await;
    for node in [&fanout, &ingest, &persister] {
        unready(node, "TOPIC_RECREATED").await;
    }
    let why = closed(talk.socket()).await;
    assert!(why.contains("3001"), "{why}");
    // Beyond the old end, where whoever went on reading would take them for the next ones.
    for number in 0..9 {
        let value = format!(r#"{{"event":"draw","data":{number}}}"#);
        let record = Foreign {
            key: Some(b"closed"),
            value: Some(value.as_bytes()),
            ..Foreign::default()
        };
        bed.broker().produce(&topic, record).await;
    }
    for node in [&fanout, &ingest] {
        let body = json!({"channel": CHANNEL, "event": "draw", "data": 1}).to_string();
        let http = node.http(&token);
        let answer = http
            .call(Method::POST, "/api/realtime/publish", &[], body)
            .await
            .unwrap();
        assert_eq!(answer.status, 503, "{answer:?}");
        assert_eq!(answer.refusal().unwrap().name, "UNAVAILABLE");
    }
    for path in [
        format!("/api/realtime/history?channel={CHANNEL}"),
        format!("/api/realtime/poll?channel={CHANNEL}&since=earliest&wait=0"),
        format!("/api/realtime/stream?channel={CHANNEL}&since=earliest"),
        format!("/sse?channel={CHANNEL}&since=earliest"),
    ] {
        let answer = fanout.http(&token).get(&path).await.unwrap();
        assert_eq!(answer.status, 503, "{path}");
        assert_eq!(answer.refusal().unwrap().name, "UNAVAILABLE", "{path}");
    }
    // The persister has looked at the new topic and left it alone.
    let process = &*persister.process();
    until("the persister to say so", || async {
        let said = process.output();
        said.contains("nothing more of this partition is stored")
            .then_some(())
    })
    .await;
    stored(&bed, 0, 3).await;
    for node in [&mut fanout, &mut ingest, &mut persister] {
        let said = node.process().output();
        assert!(said.contains("TOPIC_RECREATED"), "{said}");
        assert!(
            said.contains(&format!("rivermouth repin --topic {topic} --yes")),
            "{said}"
        );
    }
    let exposed = metrics(&fanout).await;
    assert!(
        exposed.contains("rivermouth_fanout_subscriptions 0\n"),
        "{exposed}"
    );
}
