//! `rivermouth rebuild` and `rivermouth digest`: the tables come back from Kafka as they were.

use client::{Client, Options, Since, Subscribe};
use testbed::{Bed, Exited, Foreign, until};

use crate::BINARY;
use crate::poured::{pour, tables_are_the_log};

async fn digests(bed: &Bed) -> String {
    bed.checker().await.stored().await;
    let digests = bed.run(&["digest"]).await;
    assert!(digests.status.success(), "{}", digests.output);
    digests.output
}

/// What the tables hold beside what a digest covers, and what may differ: when a row was last touched.
async fn besides(bed: &Bed) -> Vec<String> {
    let mut all = Vec::new();
    for (table, order) in [
        ("channels", "topic_id, partition, channel"),
        (
            "producers",
            "topic_id, partition, channel, user_id, producer",
        ),
        ("days", "topic_id, partition, day"),
        ("snapshots", "topic_id, partition, channel, day"),
        ("deliveries", "channel, user_id, durable"),
        ("jobs", "job_id"),
    ] {
        let sql = format!(
            "select '{table} ' || count(*) || ' ' || coalesce(md5(string_agg(r::text, '|' order by {order})), '')
             from rivermouth.{table} r"
        );
        all.extend(bed.database().texts(None, &sql).await);
    }
    all
}

async fn rebuilt(bed: &Bed) -> Exited {
    let rebuilt = bed.run(&["rebuild", "--yes"]).await;
    assert_complete(&rebuilt);
    rebuilt
}

fn assert_complete(rebuilt: &Exited) {
    assert!(rebuilt.status.success(), "{}", rebuilt.output);
    assert!(rebuilt.output.contains("complete"), "{}", rebuilt.output);
    assert!(
        !rebuilt.output.contains("0 of 0 records"),
        "{}",
        rebuilt.output
    );
}

/// Numbers `from..to` of an outbox.
async fn outbox(bed: &Bed, from: usize, to: usize) {
    for seq in from..to {
        let seq = seq.to_string();
        let headers: [(&str, &[u8]); 3] = [
            ("rm-producer", b"p"),
            ("rm-epoch", b"3"),
            ("rm-seq", seq.as_bytes()),
        ];
        let record = Foreign {
            key: Some(b"outbox"),
            value: Some(br#"{"event":"draw","userId":"u1"}"#),
            headers: &headers,
            partition: None,
        };
        bed.broker()
            .produce(&bed.broker().topic("events"), record)
            .await;
    }
}

/// Jobs with several updates each, the first of which end, and late updates after that.
async fn jobs(bed: &Bed) {
    let updates = (0..60).map(|n| {
        let (job, status) = (n % 12, ["queued", "running", "failed", "running", "running"][n / 12]);
        let data = format!(
            r#"{{"jobId":"j{job}","status":"{status}","progress":{n},"ownerId":"u1","error":{{"code":"E{n}","message":"no"}}}}"#
        );
        (format!("j{job}"), format!(r#"{{"event":"job.update","data":{data}}}"#))
    });
    bed.broker()
        .pour(&bed.broker().topic("jobs"), updates)
        .await;
}

async fn poison(bed: &Bed) {
    let records = (0..10).map(|n| (n.to_string(), format!("poison {n}")));
    bed.broker()
        .pour(&bed.broker().topic("events"), records)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rebuilt_tables_are_the_same_though_persisters_run_and_rebuilds_are_killed() {
    let bed = Bed::on_kafka(BINARY).await;
    let (fanout, _persisters) = tokio::join!(bed.start("fanout"), async {
        tokio::join!(bed.start("persister"), bed.start("persister"))
    });
    outbox(&bed, 0, 1).await;
    tokio::join!(
        pour(&bed, 0, 3000),
        jobs(&bed),
        poison(&bed),
        outbox(&bed, 1, 20)
    );
    let before = digests(&bed).await;
    for content in ["events", "job_history", "jobs", "quarantine"] {
        assert!(
            before.contains(&format!("\t{content}\t")),
            "{content}: {before}"
        );
    }
    tables_are_the_log(&bed).await;
    let dead = bed.checker().await.topic("deadletter").await.len();

    let asked = bed.run(&["rebuild"]).await;
    assert_eq!(asked.status.code(), Some(0), "{}", asked.output);
    for told in ["records to store again", "nothing was done"] {
        assert!(asked.output.contains(told), "{}", asked.output);
    }
    let database = bed.database();
    let ordered = "select count(*) from rivermouth.offsets where rebuild_to is not null";
    assert_eq!(database.number(ordered).await, 0, "nothing was done");

    // What somebody broke comes right again, and what is killed in the middle goes on.
    database
        .execute(
            "delete from rivermouth.events where event_id in ('e5', 'e2999');
             update rivermouth.events set data_text = '0' where event_id = 'e6';
             update rivermouth.jobs set status = 'queued'; delete from rivermouth.producers",
        )
        .await;
    // While this is held nobody can bring it to its end, neither a rebuild nor a persister.
    let held = database
        .hold("begin; lock table rivermouth.events in exclusive mode")
        .await;
    let mut killed = bed.spawn(&["rebuild", "--yes"]);
    until("the rebuild to be ordered", || async {
        (database.number(ordered).await > 0).then_some(())
    })
    .await;
    killed.kill_9().await;
    let mut another = bed.spawn(&["rebuild", "--yes"]);
    until("another to go on with it", || async {
        another.output().contains("going on with it").then_some(())
    })
    .await;
    // Live records come before it can end, and go on coming while it does.
    pour(&bed, 3000, 100).await;
    let (status, (), ()) = tokio::join!(another.wait(), held.release(), pour(&bed, 3100, 100));
    assert_complete(&Exited {
        status,
        output: another.output(),
    });
    tables_are_the_log(&bed).await;

    let whole = (digests(&bed).await, besides(&bed).await);
    assert_ne!(whole.0, before, "200 events have come");
    self::rebuilt(&bed).await;
    assert_eq!((digests(&bed).await, besides(&bed).await), whole);
    assert_eq!(
        bed.checker().await.topic("deadletter").await.len(),
        dead,
        "no second letter"
    );

    // Whoever reads meets no seam, and outboxes go on where they were.
    outbox(&bed, 20, 25).await;
    tables_are_the_log(&bed).await;
    let client = Client::start(Options::new(vec![fanout.endpoint()], bed.gm("u1"))).unwrap();
    let subscribe = Subscribe::new("session.outbox", Since::Earliest);
    let mut reader = testbed::within("a subscription", client.subscribe(subscribe))
        .await
        .unwrap();
    let mut seen = 0;
    while seen < bed.checker().await.accepted().await["session.outbox"].len() {
        let item = testbed::within("an event", reader.next()).await;
        seen += usize::from(matches!(item, Some(client::Item::Event(_))));
    }
}

/// No persister runs: the rebuild itself stores. Kafka has erased half: those rows stay, and with them what they say of
/// outboxes, so that what follows counts as it did.
#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_keeps_what_kafka_has_erased_and_needs_no_persister() {
    let bed = Bed::on_kafka(BINARY).await;
    let mut persister = bed.start("persister").await;
    outbox(&bed, 0, 10).await;
    pour(&bed, 0, 700).await;
    jobs(&bed).await;
    outbox(&bed, 10, 20).await;
    let whole = (digests(&bed).await, besides(&bed).await);
    assert!(persister.terminate().await.success());
    let erased = bed.checker().await.accepted().await;
    for (topic, partition, offset) in middles(&erased) {
        bed.broker().erase(&topic, partition, offset).await;
    }
    let rebuilt = rebuilt(&bed).await;
    assert!(
        rebuilt.output.contains("stay as they are"),
        "{}",
        rebuilt.output
    );
    assert_eq!((digests(&bed).await, besides(&bed).await), whole);
    let _persister = bed.start("persister").await;
    outbox(&bed, 20, 25).await;
    bed.checker().await.stored().await;
    let database = bed.database();
    let counted = "select count(*) from analytics.events where channel = 'session.outbox'";
    assert_eq!(database.number(counted).await, 25);
}

type Erased = std::collections::BTreeMap<String, Vec<testbed::checker::Accepted>>;

/// The middle of each partition that has events.
fn middles(accepted: &Erased) -> Vec<(String, i32, i64)> {
    let mut offsets = std::collections::BTreeMap::<(String, i32), Vec<i64>>::new();
    for event in accepted.values().flatten() {
        let place = (event.topic.clone(), event.partition);
        offsets.entry(place).or_default().push(event.offset);
    }
    let middle = |((topic, partition), mut offsets): ((String, i32), Vec<i64>)| {
        offsets.sort_unstable();
        (topic, partition, offsets[offsets.len() / 2])
    };
    offsets.into_iter().map(middle).collect()
}
