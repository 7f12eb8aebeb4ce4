//! Traffic for a while: warmed up, measured, brought to its end and checked.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Context as _;
use nix::unistd::Pid;

use super::pace::Schedule;
use super::{Counts, Load, Pace, Traffic, Way};
use crate::machine::{Busy, cpu_of, family_of, foreign_percent};

/// How long the last events may take to arrive.
const PATIENCE: Duration = Duration::from_secs(30);

/// A process whose processor time is measured.
#[derive(Debug, Clone)]
pub struct Watched {
    /// What it is called in the results.
    pub name: String,
    /// The process.
    pub pid: i32,
}

impl Watched {
    /// A process by that name.
    pub fn new(name: &str, pid: i32) -> Watched {
        Watched {
            name: name.to_owned(),
            pid,
        }
    }

    /// The server under test.
    pub fn server(pid: i32) -> Watched {
        Watched::new("server", pid)
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Run {
    /// Of the measurement alone.
    pub time: Duration,
    /// What was counted in that time; what is wrong, from the beginning of the load.
    pub counts: Counts,
    /// Deliveries that the pace asks for in that time; nothing where nothing is due at a time.
    pub due: Option<f64>,
    /// Processor time in that time.
    pub spent: Spent,
    /// The first complaints.
    pub complaints: Vec<String>,
}

impl Run {
    /// What was delivered in the time, percent of what the pace asks for.
    pub fn rate_percent(&self) -> Option<f64> {
        Some(self.counts.deliveries as f64 / self.due? * 100.0)
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
        let mut run = self.stretch(traffic, way, watched)?;
        let mut groups: Vec<usize> = traffic.senders.iter().map(|sender| sender.group).collect();
        groups.extend(traffic.also.iter().map(|(_, group)| *group));
        groups.sort_unstable();
        groups.dedup();
        self.finish(&mut run, &groups)?;
        // Not before: while it waits for its answers nobody reads, and what comes then would seem late.
        if let Way::Kafka(kafka) = way {
            kafka.flush()?;
        }
        Ok(run)
    }

    /// Waits for what is under way to these groups. It belongs to the run in which it was due, however late it comes.
    pub fn finish(&mut self, run: &mut Run, groups: &[usize]) -> anyhow::Result<()> {
        self.drain(groups, PATIENCE)?;
        let late = self.counts.renew();
        run.counts.latency.add(&late.latency)?;
        run.counts.last.add(&late.last)?;
        run.counts.wrong = self.counts.wrong;
        run.complaints.clone_from(&self.complaints);
        Ok(())
    }

    /// The same without an end: what is under way stays so, and is missing from the times until [`Load::finish`].
    pub fn stretch(
        &mut self,
        traffic: &Traffic,
        way: &mut Way<'_>,
        watched: &[Watched],
    ) -> anyhow::Result<Run> {
        let mut schedule = self.schedule(traffic);
        self.flow(&mut schedule, way, traffic.warm_up, u64::MAX)?;
        self.counts.renew();
        let before = Reading::take(watched)?;
        let start = self.now_ns();
        self.since_ns = start;
        let published = self.flow(&mut schedule, way, traffic.time, u64::MAX)?;
        let time = Duration::from_nanos(self.now_ns() - start);
        let spent = before.until(watched)?;
        self.numbers = schedule.numbers();
        let mut counts = self.counts.renew();
        counts.published = published;
        Ok(Run {
            time,
            counts,
            due: self.due(traffic, time),
            spent,
            complaints: self.complaints.clone(),
        })
    }

    /// Publishes so many events as told, without measuring, and waits until whoever is there has them.
    pub fn publish(
        &mut self,
        traffic: &Traffic,
        way: &mut Way<'_>,
        count: u64,
    ) -> anyhow::Result<()> {
        let mut schedule = self.schedule(traffic);
        let published = self.flow(&mut schedule, way, traffic.time, count)?;
        anyhow::ensure!(
            published == count,
            "only {published} of {count} were published"
        );
        self.numbers = schedule.numbers();
        let groups: Vec<usize> = traffic.senders.iter().map(|sender| sender.group).collect();
        let present: Vec<usize> = groups
            .into_iter()
            .filter(|group| {
                let mut conns = self.conns.iter();
                conns.any(|(_, conn)| conn.who.member && conn.group == *group)
            })
            .collect();
        self.drain(&present, PATIENCE)
    }

    /// Deliveries that the pace asks for in a time, the senders taking turns.
    fn due(&self, traffic: &Traffic, time: Duration) -> Option<f64> {
        let Pace::Rate(rate) = traffic.pace else {
            return None;
        };
        let members = |group: usize| f64::from(self.groups[group].order.members());
        let senders = traffic.senders.iter();
        let reached = senders.map(|sender| {
            let also = traffic.also.iter();
            let also = also.filter(|also| also.0 == sender.channel);
            members(sender.group) + also.map(|also| members(also.1)).sum::<f64>()
        });
        let each = reached.sum::<f64>() / traffic.senders.len() as f64;
        Some(rate * each * time.as_secs_f64()).filter(|due| *due > 0.0)
    }

    fn schedule(&self, traffic: &Traffic) -> Schedule {
        Schedule::new(traffic, &self.numbers, self.now_ns())
    }

    fn flow(
        &mut self,
        schedule: &mut Schedule,
        way: &mut Way<'_>,
        time: Duration,
        most: u64,
    ) -> anyhow::Result<u64> {
        let end = self.now_ns() + time.as_nanos() as u64;
        let mut published = 0;
        while self.now_ns() < end && published < most {
            published += schedule.publish(self, way, most - published)?;
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
pub(super) struct Reading {
    cpu: Vec<Duration>,
    load: Duration,
    /// Everybody who belongs to the measurement.
    ours: HashMap<i32, Duration>,
    busy: Busy,
}

/// What they have advanced by.
#[derive(Debug)]
pub struct Spent {
    /// Each watched process.
    cpu: Vec<(String, Duration)>,
    /// The load itself.
    pub load: Duration,
    /// Anybody else, percent of one processor: who is neither watched nor was started by this process.
    pub foreign_percent: f64,
}

impl Spent {
    /// Processor time of a watched process.
    pub fn of(&self, name: &str) -> Duration {
        let found = self.cpu.iter().filter(|(watched, _)| watched == name);
        found.map(|(_, time)| *time).sum()
    }

    /// The processes that were watched besides the server, and their processor time.
    pub fn beside(&self) -> impl Iterator<Item = (&str, Duration)> {
        let all = self.cpu.iter().map(|(name, time)| (name.as_str(), *time));
        all.filter(|(name, _)| *name != "server")
    }
}

impl Reading {
    pub(super) fn take(watched: &[Watched]) -> anyhow::Result<Reading> {
        let cpu = watched
            .iter()
            .map(|watched| cpu_of(watched.pid).context(watched.name.clone()))
            .collect::<anyhow::Result<_>>()?;
        let here = Pid::this().as_raw();
        // Brokers are no descendants of ours: who started them has ended.
        let ours = family_of(here)?
            .into_iter()
            .chain(watched.iter().map(|watched| watched.pid))
            .filter_map(|pid| Some((pid, cpu_of(pid).ok()?)));
        Ok(Reading {
            cpu,
            load: cpu_of(here)?,
            ours: ours.collect(),
            busy: Busy::now()?,
        })
    }

    pub(super) fn until(&self, watched: &[Watched]) -> anyhow::Result<Spent> {
        let now = Reading::take(watched)?;
        let pairs = self.cpu.iter().zip(&now.cpu);
        let cpu: Vec<(String, Duration)> = watched
            .iter()
            .zip(pairs)
            .map(|(watched, (before, after))| (watched.name.clone(), *after - *before))
            .collect();
        let before = |pid| self.ours.get(pid).copied().unwrap_or_default();
        let ours = now.ours.iter();
        let ours = ours
            .map(|(pid, time)| time.saturating_sub(before(pid)))
            .sum();
        Ok(Spent {
            cpu,
            load: now.load - self.load,
            foreign_percent: foreign_percent(self.busy, now.busy, ours),
        })
    }
}
