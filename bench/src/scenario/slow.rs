//! A tenth of the subscribers stop reading: what the others notice, and whether those who stopped miss anything.

use std::rc::Rc;
use std::time::Duration;

use super::Sitting;
use super::engine::{Engine, Running, Wish};
use super::traffic::{PUBLISHERS, publishers};
use crate::dialect::Who;
use crate::load::{Id, Load, Pace, Run, Storm, Traffic, Way};
use crate::order::Position;
use crate::results::Point;

const SUBSCRIBERS: u32 = 1000;
/// So many events and bytes that a socket that nobody reads is full before the measurement begins.
const RATE: f64 = 100.0;
const PAYLOAD: usize = 2000;

/// Until such a socket is full.
const FILLING: Duration = Duration::from_secs(2);

/// The two halves of a measurement, each with a server of its own, so that neither gets the warmer one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Half {
    /// Everybody reads.
    Alone,
    /// Some do not.
    Beside,
}

impl Half {
    /// What is shared, such as the brokers, grows warmer all the same: who comes first changes with every repeat.
    fn order(repeat: u32) -> [Half; 2] {
        match repeat.is_multiple_of(2) {
            true => [Half::Alone, Half::Beside],
            false => [Half::Beside, Half::Alone],
        }
    }
}

/// Takes it with every server.
pub(super) async fn take(sitting: &mut Sitting) -> anyhow::Result<()> {
    for engine in sitting.engines(&[Engine::Raw, Engine::Rivermouth]) {
        let mut point = sitting.begin("slow-readers", engine.name());
        for half in Half::order(sitting.repeat) {
            point = measure(sitting, engine, half, point).await?;
        }
        let ratio = point.figures["beside_p99_ms"] / point.figures["alone_p99_ms"];
        sitting.keep(point.with("p99_ratio", ratio))?;
    }
    Ok(())
}

/// Adds a half's figures, and what was wrong in it.
async fn measure(
    sitting: &mut Sitting,
    engine: Engine,
    half: Half,
    mut point: Point,
) -> anyhow::Result<Point> {
    let running = engine.start(sitting, WISH).await?;
    let mut load = Load::new(Rc::clone(&running.dialect))?;
    let all = sitting.clients(SUBSCRIBERS);
    let stuck = all / 10;
    let groups = [load.group(all - stuck), load.group(stuck)];
    let members = (0..all).map(|user| {
        let who = Who::member(user, 0);
        (who, groups[usize::from(user < stuck)], Position::default())
    });
    let ids = load.connect(members, Storm::default())?.ids;
    let mut traffic = Traffic {
        senders: publishers(&mut load, all, groups[0])?,
        also: vec![(0, groups[1])],
        pace: Pace::Rate(RATE),
        bytes: PAYLOAD,
        warm_up: Duration::ZERO,
        time: sitting.arguments.warm_up,
    };
    // Until somebody stops reading, everybody does.
    load.run(&traffic, &mut Way::Sockets, &running.watched)?;
    traffic.warm_up = FILLING;
    traffic.time = sitting.arguments.time;
    let stopped = &ids[..stuck as usize];
    let way = &mut Way::Sockets;
    let (name, readers, run) = match half {
        Half::Alone => ("alone", all, load.run(&traffic, way, &running.watched)?),
        Half::Beside => {
            let run = beside(&mut load, &traffic, &running, &groups, stopped)?;
            ("beside", all - stuck, run)
        }
    };
    let rate = run.rate_percent();
    let rate = rate.map(|percent| percent * f64::from(all) / f64::from(readers));
    // The worse of both halves.
    point.rate_percent = point.rate_percent.into_iter().chain(rate).reduce(f64::min);
    let foreign = Some(run.spent.foreign_percent);
    point.foreign_percent = point
        .foreign_percent
        .into_iter()
        .chain(foreign)
        .reduce(f64::max);
    let quantile = |q| run.counts.latency.value_at_quantile(q) as f64 / 1e6;
    let (wrong, complaints) = load.wrong();
    Ok(point
        .with(&format!("{name}_p50_ms"), quantile(0.5))
        .with(&format!("{name}_p99_ms"), quantile(0.99))
        .also_checked(wrong, complaints))
}

/// Some stop reading, and read on at the end, when they have to get all that they missed.
fn beside(
    load: &mut Load,
    traffic: &Traffic,
    running: &Running,
    groups: &[usize; 2],
    stuck: &[Id],
) -> anyhow::Result<Run> {
    load.set_room(stuck, 2048)?;
    load.set_reading(stuck, false);
    let mut run = load.stretch(traffic, &mut Way::Sockets, &running.watched)?;
    load.finish(&mut run, &groups[..1])?;
    load.set_room(stuck, 1 << 20)?;
    load.set_reading(stuck, true);
    load.drain(groups, Duration::from_secs(60))?;
    Ok(run)
}

const WISH: Wish = Wish::users(SUBSCRIBERS + PUBLISHERS);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_first_changes_with_every_repeat() {
        assert_eq!(Half::order(0), [Half::Alone, Half::Beside]);
        assert_eq!(Half::order(1), [Half::Beside, Half::Alone]);
        assert_eq!(Half::order(2), Half::order(0));
    }
}
