//! Producers that share no code with us: kcat, and confluent-kafka for Python with its own Avro serializer.

use std::process::Stdio;

use client::{Event, ServerMessage};
use serde_json::{Value, json};
use testbed::checker::Row;
use testbed::{Bed, Registry, python, within, workspace};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::BINARY;
use crate::talk::Talk;

/// Runs a producer to its end and gives what it printed.
async fn produce(mut command: Command, input: &str) -> String {
    let name = format!("{:?}", command.as_std().get_program());
    let child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = child
        .unwrap_or_else(|error| panic!("{name} does not start ({error}): `make test` installs it"));
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).await.unwrap();
    drop(stdin);
    let output = within(&name, child.wait_with_output()).await.unwrap();
    assert!(
        output.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The same event in the subscriber's hands and in the table.
fn assert_same(event: &Event, row: &Row) {
    let seen = (
        &event.id,
        &event.name,
        &event.user_id,
        &event.data,
        event.timestamp_ms,
        event.cursor.as_ref(),
    );
    let fact = &row.fact;
    assert_eq!(
        seen,
        (
            &fact.id,
            &fact.event,
            &fact.user_id,
            &fact.data,
            fact.timestamp_ms,
            Some(&row.cursor)
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn kcat_publishes_to_sessions_and_jobs() {
    let bed = Bed::on_kafka(BINARY).await;
    let (fanout, _persister) = tokio::join!(bed.start("fanout"), bed.start("persister"));
    let mut talk = Talk::open(&fanout, &bed.backend()).await;
    for channel in ["session.kcat", "docs.kcat"] {
        talk.subscribe(json!({"channel": channel})).await;
    }
    let kcat = |topic: &str, key: &str, headers: &[&str]| {
        let mut command = Command::new("kcat");
        command.args([
            "-P",
            "-b",
            bed.broker().bootstrap(),
            "-t",
            &bed.broker().topic(topic),
            "-k",
            key,
        ]);
        command.args(["-X", "partitioner=murmur2_random"]);
        for header in headers {
            command.args(["-H", header]);
        }
        command
    };
    let lines = "{\"event\":\"draw\",\"id\":\"k1\",\"data\":{ \"x\" : 1.50 }}\n{\"event\":\"draw\",\"id\":\"k2\"}\n";
    produce(kcat("events", "kcat", &[]), lines).await;
    let cloud = [
        "ce_specversion=1.0",
        "ce_type=note.added",
        "ce_id=k3",
        "ce_source=/shell",
    ];
    produce(kcat("events", "kcat", &cloud), "{\"text\":\"hi\"}\n").await;
    produce(
        kcat("events", "kcat", &["rm-channel=docs.kcat"]),
        "{\"event\":\"draw\",\"id\":\"k4\"}\n",
    )
    .await;
    let job = r#"{"event":"job.update","id":"j","data":{"jobId":"j1","status":"running","progress":40,"ownerId":"u1","kind":"render"}}"#;
    produce(kcat("jobs", "j1", &[]), &format!("{job}\n")).await;

    // A job that nobody has heard of cannot be subscribed to; this one is in the log by now.
    talk.subscribe(json!({"channel": "jobs.j1", "since": "earliest"}))
        .await;
    let mut events = Vec::new();
    while events.len() < 5 {
        match talk.next_of_channel().await {
            ServerMessage::Event(event) => events.push(*event),
            ServerMessage::CaughtUp { channel, .. } => assert_eq!(channel, "jobs.j1"),
            other => panic!("{other:?}"),
        }
    }
    // Across channels any order is right.
    events.sort_by(|a, b| (&a.channel, &a.cursor).cmp(&(&b.channel, &b.cursor)));
    let seen: Vec<_> = events
        .iter()
        .map(|event| {
            (
                event.channel.as_str(),
                event.id.as_str(),
                event.data.as_str(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("docs.kcat", "k4", "null"),
            (
                "jobs.j1",
                "j",
                r#"{"jobId":"j1","status":"running","progress":40,"ownerId":"u1","kind":"render"}"#
            ),
            ("session.kcat", "k1", r#"{"x":1.50}"#),
            ("session.kcat", "k2", "null"),
            ("session.kcat", "k3", r#"{"text":"hi"}"#),
        ]
    );
    let checker = bed.checker().await;
    checker.tables_equal_log().await;
    let stored = checker.stored_now().await;
    for (event, row) in events.iter().zip(stored.values().flatten()) {
        assert_same(event, row);
    }
    let job = checker.job("j1").await;
    assert_eq!(
        job,
        Some((
            Some("render".into()),
            Some("u1".into()),
            "running".into(),
            Some(40.0)
        ))
    );
    // The owner may read the job; nobody else learns whether it exists.
    let mut owner = Talk::open(&fanout, &bed.token("u1").mint()).await;
    owner
        .subscribe(json!({"channel": "jobs.j1", "since": "earliest"}))
        .await;
    assert_eq!(owner.event().await.id, "j");
    for job in ["jobs.j1", "jobs.unknown"] {
        let mut other = Talk::open(&fanout, &bed.token("u2").mint()).await;
        let refused = other
            .call("subscribe", json!({"channel": job}))
            .await
            .unwrap_err();
        assert_eq!(refused.name, "PERMISSION_DENIED", "{job}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn confluent_kafka_publishes_in_all_five_forms() {
    let mut bed = Bed::on_kafka(BINARY).await;
    let registry = Registry::start().await;
    bed.set("SCHEMA_REGISTRY_URL", registry.url());
    let (fanout, _persister) = tokio::join!(bed.start("fanout"), bed.start("persister"));
    let mut talk = Talk::open(&fanout, &bed.gm("u1")).await;
    talk.subscribe(json!({"channel": "session.python"})).await;

    let topic = bed.broker().topic("events");
    let mut command = Command::new(python());
    command.arg(workspace().join("testbed/python/produce.py"));
    command.args([bed.broker().bootstrap(), &topic, &registry.url()]);
    command
        .arg(workspace().join("schemas/avro/event.avsc"))
        .arg("python");
    let said = produce(command, "").await;
    let meant: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(meant.len(), 6);

    let events = talk.events(meant.len()).await;
    let stored = bed.checker().await.stored().await;
    let rows = &stored["session.python"];
    assert_eq!(rows.len(), meant.len());
    for ((meant, event), row) in meant.iter().zip(&events).zip(rows) {
        let made = format!("{topic}:{}:{}", meant["partition"], meant["offset"]);
        let id = meant["id"].as_str().unwrap_or(&made);
        let seen = (
            event.id.as_str(),
            event.name.as_str(),
            event.user_id.as_deref(),
            event.data.as_str(),
        );
        let expected = (
            id,
            meant["event"].as_str().unwrap(),
            meant["userId"].as_str(),
            meant["data"].as_str().unwrap(),
        );
        assert_eq!(seen, expected, "{}", meant["form"]);
        assert_same(event, row);
    }
}
