//! Processor time and where threads run.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;

use super::family_of;

/// The calling thread.
const HERE: Pid = Pid::from_raw(0);

/// Processor time that a process has used so far, all its threads together, as the scheduler accounts it (not by
/// ticks).
pub fn cpu_of(pid: i32) -> anyhow::Result<Duration> {
    let clock = clock_getcpuclockid(Pid::from_raw(pid))
        .with_context(|| format!("no process clock of {pid}"))?;
    Ok(clock
        .now()
        .with_context(|| format!("{pid} is gone"))?
        .into())
}

/// The same of a process and of everything that descends from it and still runs.
pub fn cpu_of_family(root: i32) -> anyhow::Result<Duration> {
    // Who has just ended is counted no more.
    let times = family_of(root)?.into_iter().map(cpu_of);
    Ok(times.map(Result::unwrap_or_default).sum())
}

/// While it lives, the calling thread and what it starts run on one processor: a server that asks how many there are
/// is told one.
#[derive(Debug)]
pub struct Pinned {
    before: CpuSet,
}

impl Pinned {
    /// Moves the calling thread to `cpu`.
    pub fn to(cpu: usize) -> anyhow::Result<Pinned> {
        let before = sched_getaffinity(HERE).context("asking where this thread may run")?;
        alone_on(cpu)?;
        Ok(Pinned { before })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // It ran there before.
        let _ = sched_setaffinity(HERE, &self.before);
    }
}

/// Keeps the calling thread, and what it starts from now on, on one processor.
pub fn alone_on(cpu: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu % processors()).context("no such processor")?;
    sched_setaffinity(HERE, &set).context("pinning a thread")
}

/// Lets the calling thread, and what it starts from now on, run on every processor.
pub fn anywhere() -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    for cpu in 0..processors() {
        set.set(cpu).context("no such processor")?;
    }
    sched_setaffinity(HERE, &set).context("letting a thread run anywhere")
}

fn processors() -> usize {
    // What the machine has, not what this thread may use.
    let online = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let count = online
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    count.max(1)
}

/// The machine's busy time at a moment.
#[derive(Debug, Clone, Copy)]
pub struct Busy {
    at: Instant,
    busy: Duration,
}

impl Busy {
    /// Reads it.
    pub fn now() -> anyhow::Result<Busy> {
        let stat = fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
        let fields: Vec<u64> = stat
            .lines()
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .skip(1)
            .filter_map(|field| field.parse().ok())
            .collect();
        let [user, nice, system, _idle, _wait, interrupt, soft, ..] = fields[..] else {
            anyhow::bail!("/proc/stat is not as it should be");
        };
        // In ticks of 10 ms; time stolen by other machines is not in it.
        let ticks = user + nice + system + interrupt + soft;
        Ok(Busy {
            at: Instant::now(),
            busy: Duration::from_millis(ticks * 10),
        })
    }
}

/// How much of one processor others used between two moments, in percent, when the measurement's own processes used
/// `ours`. Coarse: the machine's counters are sampled by ticks.
pub fn foreign_percent(from: Busy, to: Busy, ours: Duration) -> f64 {
    let wall = to.at.duration_since(from.at).as_secs_f64();
    let foreign = (to.busy.saturating_sub(from.busy)).as_secs_f64() - ours.as_secs_f64();
    (foreign / wall * 100.0).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_seen_on_the_process_clock() {
        let pid = Pid::this().as_raw();
        let before = cpu_of(pid).unwrap();
        let mut x = 1_u64;
        while cpu_of(pid).unwrap() < before + Duration::from_millis(20) {
            x = std::hint::black_box(x.wrapping_mul(3));
        }
        assert!(cpu_of(pid).unwrap() > before);
    }

    #[test]
    fn what_is_started_on_a_processor_knows_only_that_one() {
        let pinned = Pinned::to(0).unwrap();
        let seen = std::thread::available_parallelism().unwrap();
        drop(pinned);
        assert_eq!(seen.get(), 1);
    }
}
