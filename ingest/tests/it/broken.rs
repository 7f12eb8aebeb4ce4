//! What only a broken broker shows: outcomes that nobody knows, and a log that is away.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ingest::{BreakerConfig, IngestConfig};
use protocol::ErrorName;
use protocol::client::parse_publish;
use serde_json::json;
use tempfile::TempDir;

use crate::web::Web;
use crate::world::{DEADLINE, World, backend, identity, player};

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
        let answer = web.publish(&node, &user, numbered(seq)).await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
    }

    cluster.run("pause", &["1"]).await;
    // Both are on their way when the broker falls silent: the first is unknown, and so is what follows it.
    let begun = Instant::now();
    let (first, second) = tokio::join!(web.publish(&node, &user, numbered(3)), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        web.publish(&node, &user, numbered(4)).await
    });
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
    let begun = Instant::now();
    let answer = web.publish(&node, &user, numbered(3)).await;
    assert_eq!(
        (answer.status.as_u16(), answer.error().as_str()),
        (503, "UNAVAILABLE")
    );
    assert!(answer.json()["error"]["retryAfterMs"].is_u64());
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    assert!(
        node.metrics
            .encode()
            .contains("rivermouth_ingest_breakers_open 1\n")
    );

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
    node.gateway.publish(&who, publish(0)).await.unwrap();
    cluster.run("pause", &["1"]).await;

    let begun = Instant::now();
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
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f34_partitions_added_under_us_stop_publishing() {
    let cluster = Cluster::start().await;
    let world = World::at(&cluster.bootstrap()).await;
    let node = world.node().await;
    let (web, user) = (Web::new(), player("u1"));
    assert_eq!(web.publish(&node, &user, numbered(0)).await.status, 200);

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
