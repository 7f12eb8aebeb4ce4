//! Traffic of a shape against each server.

use std::time::Duration;

use super::engine::{Engine, Running, Wish};
use super::{Shape, Sitting};
use crate::dialect::Who;
use crate::load::{Load, Run, Sender, Storm, Traffic, Way};
use crate::order::Position;
use crate::results::Point;

/// Bytes of a payload, as in the published figures of others.
pub(super) const PAYLOAD: usize = 200;

/// Connections that publish to a channel whose members do not: one alone may have only so many publishes unanswered.
pub(super) const PUBLISHERS: u32 = 8;

/// Takes a shape with every server that can do it.
pub(super) async fn take(sitting: &mut Sitting, shape: &Shape) -> anyhow::Result<()> {
    let shape = shape.divided(sitting.arguments.divide);
    for engine in sitting.engines_and_peers(&Engine::OWN) {
        one(sitting, &shape, engine).await?;
    }
    Ok(())
}

async fn one(sitting: &mut Sitting, shape: &Shape, engine: Engine) -> anyhow::Result<()> {
    let point = sitting.begin(shape.name, engine.name());
    let members = shape.channels * shape.members;
    let wish = Wish {
        // A broker that syncs every request to its disk gets no more than it can take.
        linger_ms: if shape.events_per_s() >= 2000.0 {
            10
        } else {
            1
        },
        ..Wish::users(members + PUBLISHERS)
    };
    let mut running = engine.start(sitting, wish).await?;
    let run = traffic(sitting, shape, &mut running)?;
    sitting.keep(figures(point, &run))
}

/// Runs a shape against what runs.
pub(super) fn traffic(
    sitting: &Sitting,
    shape: &Shape,
    running: &mut Running,
) -> anyhow::Result<Run> {
    let mut load = Load::new(std::rc::Rc::clone(&running.dialect))?;
    let senders = settle(&mut load, shape, running.kafka.is_some())?;
    let traffic = Traffic {
        senders,
        also: Vec::new(),
        pace: shape.pace,
        bytes: PAYLOAD,
        warm_up: sitting.arguments.warm_up,
        time: sitting.arguments.time,
    };
    let mut way = match &mut running.kafka {
        Some(kafka) => Way::Kafka(kafka),
        None => Way::Sockets,
    };
    load.run(&traffic, &mut way, &running.watched)
}

/// Brings the shape's clients in; its senders.
pub(super) fn settle(
    load: &mut Load,
    shape: &Shape,
    by_kafka: bool,
) -> anyhow::Result<Vec<Sender>> {
    let groups: Vec<usize> = (0..shape.channels)
        .map(|_| load.group(shape.members))
        .collect();
    let member = |user: u32| {
        let channel = user % shape.channels;
        let who = Who::member(user, channel);
        (who, groups[channel as usize], Position::default())
    };
    let members = shape.channels * shape.members;
    let connected = load.connect((0..members).map(member), Storm::default())?;
    if by_kafka {
        // One record after the other goes to another channel, as members' messages do.
        return Ok((0..shape.channels)
            .map(|channel| Sender {
                number: channel,
                group: groups[channel as usize],
                channel,
                id: None,
            })
            .collect());
    }
    if shape.members_publish {
        let ids = connected.ids.into_iter().zip(0..);
        return Ok(ids
            .map(|(id, user): (_, u32)| Sender {
                number: user,
                group: groups[(user % shape.channels) as usize],
                channel: user % shape.channels,
                id: Some(id),
            })
            .collect());
    }
    publishers(load, members, groups[0])
}

/// A few users from `first` on who publish to channel 0 in turn, and do not listen.
pub(super) fn publishers(load: &mut Load, first: u32, group: usize) -> anyhow::Result<Vec<Sender>> {
    let publishers = (first..first + PUBLISHERS).map(|user| {
        let who = Who::publisher(user, 0);
        (who, group, Position::default())
    });
    let connected = load.connect(publishers, Storm::default())?;
    let numbered = connected.ids.into_iter().zip(0..);
    Ok(numbered
        .map(|(id, number)| Sender {
            number,
            group,
            channel: 0,
            id: Some(id),
        })
        .collect())
}

/// Adds what every run of traffic tells.
pub(super) fn figures(mut point: Point, run: &Run) -> Point {
    point.rate_percent = run.rate_percent();
    let seconds = run.time.as_secs_f64();
    let deliveries = run.counts.deliveries.max(1) as f64;
    let cpu = run.spent.of("server");
    let ms = |ns: u64| ns as f64 / 1e6;
    spent(point, run)
        .checked(run.counts.wrong, &run.complaints)
        .with("deliveries_per_s", run.counts.deliveries as f64 / seconds)
        .with("published_per_s", run.counts.published as f64 / seconds)
        .with("server_us_per_delivery", micros(cpu) / deliveries)
        .with(
            "server_us_per_event",
            micros(cpu) / run.counts.published.max(1) as f64,
        )
        .with("deliveries_per_cpu_s", deliveries / cpu.as_secs_f64())
        .with("bytes_per_delivery", run.counts.bytes as f64 / deliveries)
        .with(
            "deliveries_per_read",
            deliveries / run.counts.reads.max(1) as f64,
        )
        .with("p50_ms", ms(run.counts.latency.value_at_quantile(0.5)))
        .with("p99_ms", ms(run.counts.latency.value_at_quantile(0.99)))
        .with("p999_ms", ms(run.counts.latency.value_at_quantile(0.999)))
        .with("last_p50_ms", ms(run.counts.last.value_at_quantile(0.5)))
        .with("last_p99_ms", ms(run.counts.last.value_at_quantile(0.99)))
}

/// Adds who had the processors meanwhile.
pub(super) fn spent(mut point: Point, run: &Run) -> Point {
    let percent = |cpu: Duration| cpu.as_secs_f64() / run.time.as_secs_f64() * 100.0;
    point.foreign_percent = Some(run.spent.foreign_percent);
    for (name, cpu) in run.spent.beside() {
        point = point.with(&format!("{name}_cpu_percent"), percent(cpu));
    }
    point
        .with("server_cpu_percent", percent(run.spent.of("server")))
        .with("load_cpu_percent", percent(run.spent.load))
}

/// A time in microseconds.
pub(super) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
