//! A second process on an embedded log: this very test binary, asked to run one of the tests below.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use broker::{EmbeddedConfig, Fsync, Log, TopicSpec};

use crate::bed::record;

const DIR: &str = "BROKER_IT_CHILD_DIR";
const FSYNC_MS: &str = "BROKER_IT_CHILD_FSYNC_MS";
const VALUE_BYTES: &str = "BROKER_IT_CHILD_VALUE_BYTES";
pub const TOPIC: &str = "killed";

/// A child that appends records of about `bytes` as fast as it can and prints the offset of each acknowledged one.
pub fn spawn(dir: &Path, fsync: Fsync, bytes: usize) -> (Child, impl Iterator<Item = i64>) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "--exact",
        "child::appends_until_killed",
        "--nocapture",
        "--test-threads=1",
    ]);
    command
        .env(DIR, dir)
        .env(VALUE_BYTES, bytes.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if let Fsync::Interval(ms) = fsync {
        command.env(FSYNC_MS, ms.to_string());
    }
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let offsets = lines
        .map_while(Result::ok)
        .filter_map(|line| line.strip_prefix("acknowledged ")?.parse().ok());
    (child, offsets)
}

/// The child's part; alone, without a directory, it shows that a log opened twice by one process is
/// refused as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_until_killed() {
    let Some(dir) = std::env::var_os(DIR) else {
        let dir = tempfile::tempdir().unwrap();
        let _first = Log::embedded(EmbeddedConfig::new(dir.path()))
            .await
            .unwrap();
        let second = Log::embedded(EmbeddedConfig::new(dir.path())).await;
        assert!(
            matches!(second, Err(broker::BrokerError::Locked { .. })),
            "{second:?}"
        );
        return;
    };
    let mut config = EmbeddedConfig::new(dir);
    if let Ok(ms) = std::env::var(FSYNC_MS) {
        config.fsync = Fsync::Interval(ms.parse().unwrap());
    }
    let log = Log::embedded(config).await.unwrap();
    log.ensure_topics(&[spec()], true).await.unwrap();
    let bytes = std::env::var(VALUE_BYTES).unwrap().parse().unwrap();
    let (sender, mut receiver) = tokio::sync::mpsc::channel(200);
    tokio::spawn(async move {
        for n in 0_u64.. {
            let delivery = log
                .append(record(TOPIC, 0, "k", &format!("{n} {}", "x".repeat(bytes))))
                .unwrap();
            sender.send(delivery).await.unwrap();
        }
    });
    while let Some(delivery) = receiver.recv().await {
        println!("acknowledged {}", delivery.await.unwrap().offset);
    }
}

pub fn spec() -> TopicSpec {
    TopicSpec {
        name: TOPIC.into(),
        partitions: 1,
        replication: -1,
        retention_ms: None,
        retention_bytes: None,
        compact: false,
    }
}
