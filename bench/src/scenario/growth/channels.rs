//! More channels, each with one subscriber and an event now and then, at as many events a second.

use std::rc::Rc;

use super::super::Sitting;
use super::super::engine::{Engine, Wish};
use super::super::traffic::{PAYLOAD, figures};
use crate::dialect::Who;
use crate::load::{Load, Pace, Sender, Storm, Traffic, Way};
use crate::machine::private_kib;
use crate::order::Position;

const CHANNELS: [u32; 5] = [10, 100, 1000, 10_000, 100_000];
/// Subscriptions of one connection, at most.
const EACH: u32 = 20;
const EVENTS_PER_S: f64 = 2000.0;

/// Takes it.
pub(in super::super) async fn take(sitting: &mut Sitting) -> anyhow::Result<()> {
    for channels in CHANNELS {
        if channels > sitting.clients(CHANNELS[4]) {
            break;
        }
        for engine in sitting.engines(&[Engine::RivermouthKafka]) {
            one(sitting, engine, channels).await?;
        }
    }
    Ok(())
}

async fn one(sitting: &mut Sitting, engine: Engine, channels: u32) -> anyhow::Result<()> {
    let point = sitting.begin(&format!("growth-channels-{channels}"), engine.name());
    let each = EACH.min(channels);
    let clients = channels / each;
    let wish = Wish {
        linger_ms: 10,
        ..Wish::users(clients)
    };
    let mut running = engine.start(sitting, wish).await?;
    let pid = running.watched[0].pid;
    let memory = private_kib(pid)?;
    let mut load = Load::new(Rc::clone(&running.dialect))?;
    let groups: Vec<usize> = (0..clients).map(|_| load.group(1)).collect();
    let members = (0..clients).map(|user| {
        let who = Who {
            channels: each,
            ..Who::member(user, user * each)
        };
        (who, groups[user as usize], Position::default())
    });
    let connected = load.connect(members, Storm::default())?;
    let joined = private_kib(pid)?.saturating_sub(memory);
    let traffic = Traffic {
        senders: (0..channels)
            .map(|channel| Sender {
                number: channel,
                group: groups[(channel / each) as usize],
                channel,
                id: None,
            })
            .collect(),
        also: Vec::new(),
        pace: Pace::Rate(EVENTS_PER_S),
        bytes: PAYLOAD,
        warm_up: sitting.arguments.warm_up,
        time: sitting.arguments.time,
    };
    let Some(kafka) = running.kafka.as_mut() else {
        anyhow::bail!("events of so many channels come by way of Kafka");
    };
    let run = load.run(&traffic, &mut Way::Kafka(kafka), &running.watched)?;
    let after = private_kib(pid)?.saturating_sub(memory);
    let point = point
        .with("kib_per_channel", joined as f64 / f64::from(channels))
        .with("mib", after as f64 / 1024.0)
        .with("join_s", connected.took.as_secs_f64());
    sitting.keep(figures(point, &run))
}
