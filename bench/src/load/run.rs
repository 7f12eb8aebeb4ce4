//! Traffic for a while: warmed up, measured, brought to its end and checked.

use std::time::Duration;

use anyhow::Context as _;
use hdrhistogram::Histogram;

use super::pace::Schedule;
use super::{Counts, Load, Pace, Sender, Way, histogram};
use crate::machine::{Busy, cpu_of, foreign_percent};
use crate::order::Wrong;

/// How long the last events may take to arrive.
const PATIENCE: Duration = Duration::from_secs(30);

/// What to do.
#[derive(Debug, Clone)]
pub struct Traffic {
    /// Who publishes.
    pub senders: Vec<Sender>,
    /// Groups of a channel besides the one its senders name.
    pub also: Vec<(u32, usize)>,
    /// How fast.
    pub pace: Pace,
    /// Bytes of a payload.
    pub bytes: usize,
    /// Before anything is measured.
    pub warm_up: Duration,
    /// What is measured.
    pub time: Duration,
}

/// A process whose processor time is measured.
#[derive(Debug, Clone)]
pub struct Watched {
    /// What it is called in the results.
    pub name: String,
    /// The process.
    pub pid: i32,
}

/// What came of it.
#[derive(Debug)]
pub struct Run {
    /// Of the measurement alone.
    pub time: Duration,
    /// Events received by somebody, in that time.
    pub deliveries: u64,
    /// Events published in that time.
    pub published: u64,
    /// Publishes answered in that time, when answers are asked for.
    pub acknowledged: u64,
    /// Bytes received.
    pub bytes: u64,
    /// Reads of sockets that had something.
    pub reads: u64,
    /// From due to received.
    pub latency: Histogram<u64>,
    /// From due to received by the last member; when answers are asked for, from due to answered.
    pub last: Histogram<u64>,
    /// Processor time of each watched process.
    pub cpu: Vec<(String, Duration)>,
    /// The load's own.
    pub load_cpu: Duration,
    /// Processor time of anybody else, percent of one processor. The brokers are somebody else unless watched.
    pub foreign_percent: f64,
    /// What was wrong from the beginning of the load to the end of this run.
    pub wrong: Wrong,
    /// The first complaints.
    pub complaints: Vec<String>,
}

impl Run {
    /// Processor time of a watched process.
    pub fn cpu_of(&self, name: &str) -> Duration {
        let found = self.cpu.iter().filter(|(watched, _)| watched == name);
        found.map(|(_, time)| *time).sum()
    }
}

impl Load {
    /// Publishes as told, measures, waits for what is under way, and checks.
    pub fn run(
        &mut self,
        traffic: &Traffic,
        way: &mut Way<'_>,
        watched: &[Watched],
    ) -> anyhow::Result<Run> {
        let mut schedule = Schedule::new(
            traffic.senders.clone(),
            traffic.also.clone(),
            traffic.pace,
            traffic.bytes,
            self.now_ns(),
        );
        self.flow(&mut schedule, way, traffic.warm_up)?;
        self.fresh_counts();
        let before = Reading::take(watched)?;
        let start = self.now_ns();
        let published = self.flow(&mut schedule, way, traffic.time)?;
        let time = Duration::from_nanos(self.now_ns() - start);
        let after = Reading::take(watched)?;
        let mut counts = std::mem::replace(&mut self.counts, Counts::new());
        self.counts.wrong = counts.wrong;
        if let Way::Kafka(kafka) = way {
            kafka.flush()?;
        }
        let mut groups: Vec<usize> = traffic.senders.iter().map(|sender| sender.group).collect();
        groups.extend(traffic.also.iter().map(|(_, group)| *group));
        groups.sort_unstable();
        groups.dedup();
        self.drain(&groups, PATIENCE)?;
        counts.wrong = self.counts.wrong;
        let cpu: Vec<(String, Duration)> = watched
            .iter()
            .zip(before.cpu.iter().zip(&after.cpu))
            .map(|(watched, (before, after))| (watched.name.clone(), *after - *before))
            .collect();
        let load_cpu = after.load - before.load;
        let ours = cpu.iter().map(|(_, time)| *time).sum::<Duration>() + load_cpu;
        Ok(Run {
            time,
            deliveries: counts.deliveries,
            published,
            acknowledged: counts.acknowledged,
            bytes: counts.bytes,
            reads: counts.reads,
            latency: counts.latency,
            last: counts.last,
            cpu,
            load_cpu,
            foreign_percent: foreign_percent(before.busy, after.busy, ours),
            wrong: counts.wrong,
            complaints: self.complaints.clone(),
        })
    }

    fn fresh_counts(&mut self) {
        let counts = Counts::new();
        let old = std::mem::replace(&mut self.counts, counts);
        self.counts.wrong = old.wrong;
        self.counts.latency = histogram();
    }

    fn flow(
        &mut self,
        schedule: &mut Schedule,
        way: &mut Way<'_>,
        time: Duration,
    ) -> anyhow::Result<u64> {
        let end = self.now_ns() + time.as_nanos() as u64;
        let mut published = 0;
        while self.now_ns() < end {
            published += schedule.publish(self, way)?;
            if let Way::Kafka(kafka) = way {
                kafka.collect();
            }
            self.turn(schedule.next_ns().min(end))?;
        }
        Ok(published)
    }
}

/// The processor clocks at a moment.
#[derive(Debug)]
struct Reading {
    cpu: Vec<Duration>,
    load: Duration,
    busy: Busy,
}

impl Reading {
    fn take(watched: &[Watched]) -> anyhow::Result<Reading> {
        let cpu = watched
            .iter()
            .map(|watched| cpu_of(watched.pid).context(watched.name.clone()))
            .collect::<anyhow::Result<_>>()?;
        Ok(Reading {
            cpu,
            load: cpu_of(nix::unistd::Pid::this().as_raw())?,
            busy: Busy::now()?,
        })
    }
}
