//! What only a broken broker shows: outcomes that nobody knows, and a log that is away.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use broker::Append;
use ingest::{BreakerConfig, IngestConfig};
use protocol::ErrorName;
use protocol::client::parse_publish;
use serde_json::json;
use tempfile::TempDir;
use testbed::until;

use crate::web::Web;
use crate::world::{DEADLINE, Node, World, backend, identity, player};

/// A Kafka of this test alone; gone when dropped.
struct Cluster(TempDir);

impl Cluster {
    async fn start() -> Cluster {
        let cluster = Cluster(tempfile::tempdir().unwrap());
        cluster.run("start", &[]).await;
        cluster
    }

    fn bootstrap(&self) -> String {
        let address = std::fs::read_to_string(self.0.path().join("bootstrap")).unwrap();
        address.trim().to_owned()
    }

    async fn run(&self, command: &str, args: &[&str]) {
        let mut script = script(command, self.0.path());
        script.args(args);
        let output = tokio::task::spawn_blocking(move || script.output())
            .await
            .unwrap()
            .unwrap();
        assert!(
            output.status.success(),
            "{command}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // A broker that is stopped in its tracks cannot end by itself.
        let _ = script("resume", self.0.path()).arg("1").output();
        let _ = script("stop", self.0.path()).output();
    }
}

fn script(command: &str, dir: &Path) -> Command {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../scripts/kafka.sh");
    let mut script = Command::new(path);
    script.arg(command).arg(dir);
    script
}

fn numbered(seq: u64) -> String {
    json!({
        "channel": "session.1", "event": "draw", "data": seq,
        "producer": "p", "epoch": 0, "seq": seq,
    })
    .to_string()
}

/// How many records wait or are in flight.
fn queued(node: &Node) -> u64 {
    node.number("rivermouth_ingest_queued_records")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_outcome_is_called_so_and_its_retry_ends_as_one_event() {
    let cluster = Cluster::start().await;
    let world = World::at(&cluster.bootstrap()).await;
    // Once open it stays so for longer than what was let through before takes to be lost.
    let config = IngestConfig {
        breaker: BreakerConfig {
            pause: Duration::from_secs(10),
            ..BreakerConfig::default()
        },
        ..IngestConfig::default()
    };
    let node = world.node_with(config, world.pins.clone()).await;
    let (web, user) = (Web::new(), player("u1"));
    for seq in 0..3 {
        let answer = web.surely(&node, &user, numbered(seq)).await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
    }
    until("nothing to wait", || async {
        (queued(&node) == 0).then_some(())
    })
    .await;

    cluster.run("pause", &["1"]).await;
    // Both are on their way when the broker falls silent: the first is unknown, and so is what follows it.
    let begun = Instant::now();
    let is_over = Cell::new(false);
    let first = async {
        let answer = web.publish(&node, &user, numbered(3)).await;
        is_over.set(true);
        answer
    };
    let second = async {
        // Whoever looks too late would wait for nothing.
        until("the first to be on its way", || async {
            (queued(&node) >= 1 || is_over.get()).then_some(())
        })
        .await;
        web.publish(&node, &user, numbered(4)).await
    };
    let (first, second) = tokio::join!(first, second);
    for answer in [&first, &second] {
        assert_eq!(
            (answer.status.as_u16(), answer.error().as_str()),
            (504, "TIMEOUT")
        );
        assert_eq!(answer.json()["error"]["retryable"], true);
    }
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "{:?}",
        begun.elapsed()
    );

    // The breaker: a dead broker costs a few clients a timeout, then nobody.
    let lines: String = (0..20)
        .map(|n| {
            format!(
                "{}\n",
                json!({"channel": "session.1", "event": "draw", "id": format!("x{n}")})
            )
        })
        .collect();
    web.batch(&node, &user, lines).await;
    let taken_in = || node.number("rivermouth_ingest_appended_bytes_total");
    let before = taken_in();
    let answer = web.publish(&node, &user, numbered(3)).await;
    assert_eq!(
        (answer.status.as_u16(), answer.error().as_str()),
        (503, "UNAVAILABLE")
    );
    assert!(answer.json()["error"]["retryAfterMs"].is_u64());
    assert_eq!(taken_in(), before, "said at the door, where nobody waits");
    assert_eq!(node.number("rivermouth_ingest_breakers_open"), 1);

    cluster.run("resume", &["1"]).await;
    // As a client does it: the same identity, until there is an answer, and in order.
    for seq in 3..6 {
        let until = Instant::now() + Duration::from_secs(40);
        loop {
            let answer = web.publish(&node, &user, numbered(seq)).await;
            if answer.status == 200 {
                break;
            }
            assert!(Instant::now() < until, "{seq}: {:?}", answer.body);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    let events = world.accepted("session.1").await;
    let data: Vec<String> = events
        .iter()
        .filter(|(_, event)| event.outbox.is_some())
        .map(|(_, event)| String::from_utf8(event.data.to_vec()).unwrap())
        .collect();
    assert_eq!(data, ["0", "1", "2", "3", "4", "5"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_log_does_not_answer_in_time_at_shutdown_is_called_unknown() {
    let cluster = Cluster::start().await;
    let world = World::at(&cluster.bootstrap()).await;
    let config = IngestConfig {
        flush_deadline: Duration::from_millis(300),
        ..IngestConfig::default()
    };
    let node = world.node_with(config, world.pins.clone()).await;
    let who = identity(&backend());
    let publish = |seq: u64| parse_publish(numbered(seq).as_bytes()).unwrap();
    until("the first to be taken", || async {
        node.gateway.publish(&who, publish(0)).await.ok()
    })
    .await;
    cluster.run("pause", &["1"]).await;

    // Appended before it, so that the log would answer for this one first.
    let mut earlier = world.log.append(Append {
        topic: world.topics.events().into(),
        partition: world.partition("session.1"),
        key: Some("1".into()),
        headers: Vec::new(),
        value: Some(r#"{"event":"draw"}"#.into()),
    });
    let (told, answered) = tokio::sync::oneshot::channel();
    let reply = Box::new(move |answer| told.send(answer).unwrap());
    node.gateway.submit(&who, publish(1), reply);
    node.shutdown.start();
    let error = answered.await.unwrap().unwrap_err();
    assert_eq!(error.name, ErrorName::Timeout);
    node.shutdown
        .finished(DEADLINE)
        .await
        .expect("every task ends");
    let log = tokio::time::timeout(Duration::ZERO, earlier.as_mut().unwrap()).await;
    assert!(log.is_err(), "nobody waited for the log: {log:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f34_partitions_added_under_us_stop_publishing() {
    let cluster = Cluster::start().await;
    let world = World::at(&cluster.bootstrap()).await;
    let node = world.node().await;
    let (web, user) = (Web::new(), player("u1"));
    assert_eq!(web.surely(&node, &user, numbered(0)).await.status, 200);

    cluster
        .run("topic", &["grow", world.topics.events(), "5"])
        .await;
    let until = Instant::now() + DEADLINE;
    // The brokers tell each other first.
    while node.watch.is_sound() {
        assert!(Instant::now() < until, "the change is noticed");
        node.watch.look().await;
    }
    let answer = web.publish(&node, &user, numbered(1)).await;
    assert_eq!(
        (answer.status.as_u16(), answer.error().as_str()),
        (503, "UNAVAILABLE")
    );
}
