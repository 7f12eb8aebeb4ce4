//! Whether the log answers this process: the readiness component "log".
//!
//! For readiness only. A process does not get better from being restarted while the log is away.

use std::time::{Duration, Instant};

use broker::Log;
use service::{Component, Shutdown};

use crate::parts::Ground;
use crate::run::process::Process;

/// Between two questions.
const EVERY: Duration = Duration::from_secs(3);
/// The same after one that was not answered.
const SOON: Duration = Duration::from_secs(1);
/// An answer that takes longer is none.
const ANSWER: Duration = Duration::from_secs(2);
/// Longer than a question and the pause after it, with some air for a busy machine.
const SILENCE: Duration = Duration::from_secs(10);
/// So many questions in a row without an answer are an outage. Each is about another partition: one without a
/// leader for a moment is none.
const FAILURES: u32 = 2;

/// Asks the log for as long as the process works; it is unready while there are no answers.
pub(crate) fn watch(ground: &Ground, process: &Process) {
    let events = ground.topics.events();
    let partitions = ground.pins.topics.get(events).map_or(1, |p| p.partitions);
    let watch = Watch {
        log: ground.log.clone(),
        topic: events.to_owned(),
        partitions: i32::try_from(partitions).unwrap_or(i32::MAX).max(1),
        component: process.health.component("log", SILENCE),
    };
    let shutdown = process.workers.clone();
    process.workers.spawn("log watch", watch.run(shutdown));
}

struct Watch {
    log: Log,
    topic: String,
    partitions: i32,
    component: Component,
}

impl Watch {
    async fn run(self, shutdown: Shutdown) {
        let (mut partition, mut failures) = (0, 0_u32);
        let mut answered = Instant::now();
        loop {
            let asked = tokio::time::timeout(ANSWER, self.log.watermarks(&self.topic, partition));
            let answer = tokio::select! {
                answer = asked => answer,
                () = shutdown.started() => return,
            };
            partition = (partition + 1) % self.partitions;
            let failure = match answer {
                Ok(Ok(_)) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some(format!("no answer within {} s", ANSWER.as_secs())),
            };
            let pause = if let Some(failure) = failure {
                failures = failures.saturating_add(1);
                if failures >= FAILURES {
                    self.component.failing(format!(
                        "no answer from the log for {} s: {failure}",
                        answered.elapsed().as_secs()
                    ));
                }
                if failures == FAILURES {
                    tracing::warn!(reason = failure, "the log does not answer: not ready");
                }
                SOON
            } else {
                if failures >= FAILURES {
                    tracing::info!("the log answers again");
                }
                (failures, answered) = (0, Instant::now());
                self.component.ok();
                EVERY
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.started() => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use broker::KafkaConfig;
    use service::Health;

    use super::*;

    #[tokio::test]
    async fn a_log_that_does_not_answer_makes_the_process_unready_and_not_dead() {
        // Takes connections and never says a word.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let config = KafkaConfig::new(silent.local_addr().unwrap().to_string());
        let (health, shutdown) = (Health::new("test"), Shutdown::new());
        let component = health.component("log", SILENCE);
        component.ok();
        let watch = Watch {
            log: Log::kafka(config).await.unwrap(),
            topic: "t".to_owned(),
            partitions: 2,
            component,
        };
        let began = Instant::now();
        let run = tokio::spawn(watch.run(shutdown.clone()));
        let unready = async {
            while health.ready().ok {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), unready)
            .await
            .unwrap();
        assert!(began.elapsed() < SILENCE, "a failure, not a silence");
        let reason = health.ready().components[0].reason.clone().unwrap();
        assert!(reason.contains("no answer from the log"), "{reason}");
        assert!(health.live().ok);
        shutdown.start();
        run.await.unwrap();
    }
}
