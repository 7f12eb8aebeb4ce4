//! Whether the topics are still the ones that were pinned (D2), and whether the settings they rest on are still safe
//! (D13): one task looks for the whole process, and says what it finds by log, metric and health.

use std::collections::BTreeSet;
use std::time::Duration;

use broker::is_lost;
use service::Component;
use store::Store;
use tokio::time::Instant;

use crate::checkup::{Finding, Findings, told};
use crate::parts::Ground;
use crate::run::process::Process;
use crate::settings::kafka::KafkaArgs;

/// Looking at all topics takes no longer, even while the log is away.
const LOOK: Duration = Duration::from_secs(20);

/// What a process does with topics that got more partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// It only appends, and refuses all of that: it should get no work.
    Publishes,
    /// It goes on reading the pinned partitions.
    Reads,
}

/// Looks for as long as the process works.
pub(crate) fn watch(
    ground: &Ground,
    args: &KafkaArgs,
    store: Option<&Store>,
    work: Work,
    process: &Process,
) {
    let silence = args.topic_check_interval + args.settings_check_interval + LOOK * 2;
    let mut footing = Footing {
        ground: ground.clone(),
        findings: Findings::new(args, ground, store, &process.metrics),
        topics_every: args.topic_check_interval,
        settings_every: args.settings_check_interval,
        work,
        topics: process.health.component("topics", silence),
        settings: process.health.told("settings", silence),
    };
    let shutdown = process.workers.clone();
    process.workers.spawn("footing", async move {
        tokio::select! {
            () = footing.run() => {}
            () = shutdown.started() => {}
        }
    });
}

struct Footing {
    ground: Ground,
    findings: Findings,
    topics_every: Duration,
    settings_every: Duration,
    work: Work,
    topics: Component,
    settings: Component,
}

impl Footing {
    async fn run(&mut self) {
        let watch = self.ground.watch.clone();
        let mut changes = watch.subscribe();
        let mut settings_due = Instant::now();
        loop {
            watch.look().await;
            changes.mark_unchanged();
            self.stand();
            if settings_due <= Instant::now() {
                settings_due = Instant::now() + self.settings_every;
                self.check_settings().await;
            }
            tokio::select! {
                () = tokio::time::sleep(self.topics_every) => {}
                // Somebody who reads was faster.
                _ = changes.changed() => self.stand(),
            }
        }
    }

    /// Says how the topics stand.
    fn stand(&mut self) {
        let flaws = self.ground.watch.flaws();
        let stops = flaws.values().any(is_lost) || self.work == Work::Publishes;
        let found: BTreeSet<Finding> = flaws.into_values().map(Finding::from).collect();
        match told(&found) {
            _ if found.is_empty() => self.topics.ok(),
            reason if stops => self.topics.failing(reason),
            reason => self.topics.limping(reason),
        }
        self.findings.topics(found);
    }

    async fn check_settings(&mut self) {
        // While the log is away there is nothing to compare; that it is away is told elsewhere.
        match self.findings.check_settings().await {
            None => {}
            Some(found) if found.is_empty() => self.settings.ok(),
            Some(found) => self.settings.failing(told(found)),
        }
    }
}
