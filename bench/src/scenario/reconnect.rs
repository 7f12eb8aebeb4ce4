//! Everybody comes back at once, each from its own cursor, with as much missed as a short outage makes one miss.

use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use super::Sitting;
use super::engine::{Engine, Wish};
use super::node::reads;
use super::traffic::{PAYLOAD, micros};
use crate::dialect::Who;
use crate::load::{Load, Pace, Sender, Storm, Traffic, Way};
use crate::machine::cpu_of;
use crate::order::Position;
use anyhow::Context as _;

const CLIENTS: u32 = 5000;
const CHANNELS: u32 = 50;
/// Missed by each client.
const MISSED: u32 = 100;

/// Takes it; only servers that resume can do it.
pub(super) async fn take(sitting: &mut Sitting) -> anyhow::Result<()> {
    for engine in sitting.engines(&[Engine::Rivermouth]) {
        one(sitting, engine).await?;
    }
    Ok(())
}

async fn one(sitting: &mut Sitting, engine: Engine) -> anyhow::Result<()> {
    let point = sitting.begin("reconnect-storm", engine.name());
    let clients = sitting.clients(CLIENTS);
    let channels = CHANNELS.min(clients / 2);
    let clients = clients / channels * channels;
    let wish = Wish::users(clients + channels);
    let mut running = engine.start(sitting, wish).await?;
    let pid = running.watched[0].pid;
    let (_, node) = running.river.as_mut().context("a server that resumes")?;
    let mut load = Load::new(Rc::clone(&running.dialect))?;
    load.keep_newest();
    let groups: Vec<usize> = (0..channels)
        .map(|_| load.group(clients / channels))
        .collect();
    let senders = publishers(&mut load, &groups, clients..clients + channels)?;
    let first = Crowd {
        clients,
        groups: &groups,
    };
    let ids = load
        .connect(first.members(|_| None, 0), Storm::default())?
        .ids;
    burst(&mut load, &senders, 1)?;
    let cursors: Vec<Option<String>> = groups.iter().map(|group| load.newest(*group)).collect();
    load.cut(&ids);
    burst(&mut load, &senders, MISSED)?;
    load.idle(Duration::from_secs(2))?;

    let before = (cpu_of(pid)?, reads(node).await?);
    let back = first.members(|channel| cursors[channel].clone(), 1);
    let started = std::time::Instant::now();
    let connected = load.connect(back, Storm::default())?;
    load.drain(&groups, Duration::from_secs(60))?;
    let took = started.elapsed();
    let cpu = cpu_of(pid)? - before.0;
    let reads = reads(node).await? - before.1;
    let count = f64::from(clients);
    let point = point
        .with("resumes_per_s", count / took.as_secs_f64())
        .with("resumes_per_cpu_s", count / cpu.as_secs_f64())
        .with("server_us_per_resume", micros(cpu) / count)
        .with(
            "p99_ms",
            connected.each.value_at_quantile(0.99) as f64 / 1e6,
        )
        .with("reads_of_log_and_tables", reads);
    let (wrong, complaints) = load.wrong();
    sitting.keep(point.checked(wrong, complaints))
}

/// The members of some channels, each of which has a group.
struct Crowd<'a> {
    clients: u32,
    groups: &'a [usize],
}

impl Crowd<'_> {
    fn members(
        &self,
        since: impl Fn(usize) -> Option<String>,
        have: u64,
    ) -> impl Iterator<Item = (Who, usize, Position)> {
        (0..self.clients).map(move |user| {
            let channel = user as usize % self.groups.len();
            let who = Who {
                since: since(channel),
                ..Who::member(user, channel as u32)
            };
            (who, self.groups[channel], Position(have))
        })
    }
}

/// One publisher for each group's channel.
fn publishers(load: &mut Load, groups: &[usize], users: Range<u32>) -> anyhow::Result<Vec<Sender>> {
    let whos = users
        .clone()
        .zip(groups)
        .zip(0..)
        .map(|((user, group), channel)| {
            let who = Who::publisher(user, channel);
            (who, *group, Position::default())
        });
    let ids = load.connect(whos, Storm::default())?.ids;
    let numbered = ids.into_iter().zip(groups).zip(0..);
    Ok(numbered
        .map(|((id, group), channel)| Sender {
            number: channel,
            group: *group,
            channel,
            id: Some(id),
        })
        .collect())
}

/// Publishes so many events in each channel, and waits until those who are there have them.
fn burst(load: &mut Load, senders: &[Sender], each: u32) -> anyhow::Result<()> {
    // So slow that no publisher is refused.
    let rate = 2000.0;
    let total = f64::from(each) * senders.len() as f64;
    let traffic = Traffic {
        senders: senders.to_vec(),
        also: Vec::new(),
        pace: Pace::Rate(rate),
        bytes: PAYLOAD,
        warm_up: Duration::ZERO,
        time: Duration::from_secs_f64(total / rate + 1.0),
    };
    load.publish(&traffic, &mut Way::Sockets, total as u64)
}
