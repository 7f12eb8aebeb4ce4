//! A tenth of the subscribers stop reading: what the others notice, and whether those who stopped miss anything.

use std::rc::Rc;
use std::time::Duration;

use super::Sitting;
use super::engine::{Engine, Wish};
use crate::dialect::Who;
use crate::load::{Load, Pace, Sender, Storm, Traffic, Way};
use crate::order::Position;
use crate::results::Point;

const SUBSCRIBERS: u32 = 1000;
/// So many events and bytes that a socket that nobody reads is full before the measurement begins.
const RATE: f64 = 100.0;
const PAYLOAD: usize = 2000;

/// Takes it with every server: alone, then with some who do not read.
pub(super) async fn take(sitting: &mut Sitting) -> anyhow::Result<Vec<Point>> {
    let mut points = Vec::new();
    for engine in sitting.engines(&[Engine::Raw, Engine::Rivermouth]) {
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
        let publisher = Who::publisher(all, 0);
        let publisher = load.connect(
            [(publisher, groups[0], Position::default())],
            Storm::default(),
        )?;
        let mut traffic = Traffic {
            senders: vec![Sender {
                number: 0,
                group: groups[0],
                channel: 0,
                id: publisher.ids.first().copied(),
            }],
            also: vec![(0, groups[1])],
            pace: Pace::Rate(RATE),
            bytes: PAYLOAD,
            warm_up: sitting.arguments.warm_up,
            time: sitting.arguments.time,
        };
        let alone = load.run(&traffic, &mut Way::Sockets, &running.watched)?;
        let stuck = &ids[..stuck as usize];
        load.set_room(stuck, 2048)?;
        load.set_reading(stuck, false);
        traffic.warm_up += Duration::from_secs(2);
        let mut beside = load.stretch(&traffic, &mut Way::Sockets, &running.watched)?;
        load.finish(&mut beside, &groups[..1])?;
        load.set_room(stuck, 1 << 20)?;
        load.set_reading(stuck, true);
        load.drain(&groups, Duration::from_secs(60))?;
        let quantile =
            |run: &crate::load::Run, q| run.counts.latency.value_at_quantile(q) as f64 / 1e6;
        let point = Point::new("slow-readers", engine.name())
            .with("alone_p50_ms", quantile(&alone, 0.5))
            .with("alone_p99_ms", quantile(&alone, 0.99))
            .with("beside_p50_ms", quantile(&beside, 0.5))
            .with("beside_p99_ms", quantile(&beside, 0.99))
            .with(
                "p99_ratio",
                quantile(&beside, 0.99) / quantile(&alone, 0.99),
            );
        let (wrong, complaints) = load.wrong();
        points.push(point.checked(wrong, complaints));
    }
    Ok(points)
}

const WISH: Wish = Wish::users(SUBSCRIBERS + 1);
