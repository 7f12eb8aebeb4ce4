//! A Kafka cluster of a test's own, which it may kill; gone when dropped.

use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;

pub struct Cluster {
    dir: TempDir,
    pub bootstrap: String,
}

impl Cluster {
    pub async fn start(brokers: u32) -> Cluster {
        let dir = tempfile::tempdir().unwrap();
        // Made before the start, so that a start that fails half-way is also stopped.
        let mut cluster = Cluster {
            dir,
            bootstrap: String::new(),
        };
        cluster
            .run("start", &["--brokers", &brokers.to_string()])
            .await;
        cluster.bootstrap = std::fs::read_to_string(cluster.dir.path().join("bootstrap"))
            .unwrap()
            .trim()
            .to_owned();
        cluster
    }

    /// kill -9.
    pub async fn kill(&self, broker: u32) {
        self.run("kill", &[&broker.to_string()]).await;
    }

    pub async fn restart(&self, broker: u32) {
        self.run("restart", &[&broker.to_string()]).await;
    }

    pub async fn pause(&self, broker: u32) {
        self.run("pause", &[&broker.to_string()]).await;
    }

    pub async fn resume(&self, broker: u32) {
        self.run("resume", &[&broker.to_string()]).await;
    }

    async fn run(&self, command: &str, args: &[&str]) {
        let mut script = self.script(command);
        script.args(args);
        let output: Output = tokio::task::spawn_blocking(move || script.output())
            .await
            .unwrap()
            .unwrap();
        assert!(
            output.status.success(),
            "{command}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn script(&self, command: &str) -> Command {
        let script: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "scripts", "kafka.sh"]
            .iter()
            .collect();
        let mut all = Command::new(script);
        all.arg(command).arg(self.dir.path());
        all
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for broker in 1..=3 {
            let _ = self.script("kill").arg(broker.to_string()).output();
        }
    }
}
