//! More stored events: what a page of history and a channel's whole past cost then.

use std::rc::Rc;
use std::time::{Duration, Instant};

use testbed::Bed;

use super::super::catch_up::{pour, store};
use super::super::engine::Engine;
use super::super::traffic::micros;
use super::super::{Sitting, node};
use crate::dialect::{Rivermouth, Who, channel};
use crate::load::{Load, Storm, histogram};
use crate::machine::cpu_of;
use crate::order::Position;

const STORED: [u32; 3] = [100_000, 1_000_000, 10_000_000];
/// Events of one channel: the past that is asked for is always as long.
const EACH: u32 = 1000;
/// Pages asked for, each of another channel.
const PAGES: u32 = 200;

/// Takes it.
pub(in super::super) async fn take(sitting: &mut Sitting) -> anyhow::Result<()> {
    if sitting.engines(&[Engine::Rivermouth]).is_empty() {
        return Ok(());
    }
    for events in STORED {
        let events = sitting.clients(events);
        one(sitting, events).await?;
    }
    Ok(())
}

async fn one(sitting: &mut Sitting, events: u32) -> anyhow::Result<()> {
    let channels = (events / EACH).max(1);
    let events = channels * EACH;
    let name = format!("growth-stored-{events}");
    let point = sitting.begin(&name, Engine::Rivermouth.name());
    let bed = sitting.bed().await?;
    pour(&bed, channels, u64::from(events)).await?;
    let mut persister = bed.start("persister").await;
    store(&bed, u64::from(events)).await?;
    persister.terminate().await;

    let started = Instant::now();
    let mut node = node::start(&bed, "fanout").await?;
    let start = started.elapsed();
    let pid = node.process().pid();
    let http = node.http(&bed.token("u0").role("session.*", "player").mint());
    let mut pages = histogram();
    let before = cpu_of(pid)?;
    for number in 0..PAGES {
        let path = format!(
            "/api/realtime/history?channel={}&order=asc&limit=100",
            channel(spread(number, channels))
        );
        let asked = Instant::now();
        let answer = http.get(&path).await?;
        anyhow::ensure!(answer.status.is_success(), "history: {}", answer.status);
        pages.saturating_record(asked.elapsed().as_nanos() as u64);
    }
    let paged = cpu_of(pid)? - before;
    let (caught_up, took) = whole_past(&bed, node::address(&node)?, channels)?;
    node.terminate().await;
    let point = point
        .with("start_s", start.as_secs_f64())
        .with("page_p50_ms", pages.value_at_quantile(0.5) as f64 / 1e6)
        .with("page_p99_ms", pages.value_at_quantile(0.99) as f64 / 1e6)
        .with("server_us_per_page", micros(paged) / f64::from(PAGES))
        .with("catch_up_1000_ms", took.as_secs_f64() * 1e3);
    sitting.keep(point.checked(caught_up.0, &caught_up.1))
}

/// Some channel, another one for each number.
fn spread(number: u32, channels: u32) -> u32 {
    number.wrapping_mul(2_654_435_761) % channels
}

type Checked = (crate::order::Wrong, Vec<String>);

/// One reader of one channel from its beginning.
fn whole_past(
    bed: &Bed,
    address: std::net::SocketAddr,
    channels: u32,
) -> anyhow::Result<(Checked, Duration)> {
    let dialect = Rivermouth::new(address, 1, |user| bed.token(user));
    let mut load = Load::new(Rc::new(dialect))?;
    let group = load.group(1);
    load.expect(group, u64::from(EACH));
    let who = Who {
        since: Some("earliest".to_owned()),
        ..Who::member(0, channels / 2)
    };
    let started = Instant::now();
    load.connect([(who, group, Position::default())], Storm::default())?;
    load.drain(&[group], Duration::from_secs(60))?;
    let (wrong, complaints) = load.wrong();
    Ok(((wrong, complaints.to_vec()), started.elapsed()))
}
