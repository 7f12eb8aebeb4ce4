//! A crowd that publishes: over WebSocket to a fan-out node, over HTTP to a gateway; every publish is acknowledged by
//! the log.

use std::rc::Rc;

use super::engine::{Engine, Wish};
use super::traffic::{micros, spent};
use super::{Sitting, node};
use crate::dialect::Who;
use crate::load::{Hammer, Load, Pace, Run, Sender, Storm, Traffic, Way};
use crate::order::Position;
use crate::results::Point;

const CLIENTS: u32 = 1000;
const CHANNELS: u32 = 100;
const PAYLOAD: usize = 100;

/// Takes both ways.
pub(super) async fn take(sitting: &mut Sitting) -> anyhow::Result<()> {
    if sitting.engines(&[Engine::Rivermouth]).is_empty() {
        return Ok(());
    }
    socket(sitting).await?;
    http(sitting).await
}

/// Every client has one publish on its way.
async fn socket(sitting: &mut Sitting) -> anyhow::Result<()> {
    let point = sitting.begin("ingest-ws", Engine::Rivermouth.name());
    let clients = sitting.clients(CLIENTS);
    let wish = Wish {
        acknowledged: true,
        ..Wish::users(clients)
    };
    let running = Engine::Rivermouth.start(sitting, wish).await?;
    let mut load = Load::new(Rc::clone(&running.dialect))?;
    load.expect_answers();
    // Nobody listens, so nothing is missing when nothing comes.
    let nobody = load.group(0);
    let publishers = (0..clients).map(|user| {
        let who = Who::publisher(user, user % CHANNELS);
        (who, nobody, Position::default())
    });
    let ids = load.connect(publishers, Storm::default())?.ids;
    let senders = ids.into_iter().zip(0..).map(|(id, user): (_, u32)| Sender {
        number: user,
        group: nobody,
        channel: user % CHANNELS,
        id: Some(id),
    });
    let traffic = Traffic {
        senders: senders.collect(),
        also: Vec::new(),
        pace: Pace::Window(1),
        bytes: PAYLOAD,
        warm_up: sitting.arguments.warm_up,
        time: sitting.arguments.time,
    };
    let run = load.stretch(&traffic, &mut Way::Sockets, &running.watched)?;
    sitting.keep(figures(point, &run))
}

async fn http(sitting: &mut Sitting) -> anyhow::Result<()> {
    let point = sitting.begin("ingest-http", Engine::Rivermouth.name());
    let bed = sitting.bed().await?;
    let mut node = node::start(&bed, "ingest").await?;
    let clients = sitting.clients(CLIENTS);
    let hammer = Hammer {
        address: node::address(&node)?,
        tokens: (0..clients)
            .map(|user| {
                let token = bed.token(&format!("u{user}"));
                token.role("session.*", "player").mint()
            })
            .collect(),
        channels: CHANNELS,
        bytes: PAYLOAD,
    };
    let watched = sitting.watched(node.process().pid());
    let run = hammer
        .run(sitting.arguments.warm_up, sitting.arguments.time, &watched)
        .await?;
    sitting.keep(figures(point, &run))
}

fn figures(point: Point, run: &Run) -> Point {
    let cpu = run.spent.of("server");
    let acknowledged = run.counts.acknowledged.max(1) as f64;
    spent(point, run)
        .checked(run.counts.wrong, &run.complaints)
        .with("acknowledged_per_s", acknowledged / run.time.as_secs_f64())
        .with("server_us_per_event", micros(cpu) / acknowledged)
        .with(
            "p50_ms",
            run.counts.last.value_at_quantile(0.5) as f64 / 1e6,
        )
        .with(
            "p99_ms",
            run.counts.last.value_at_quantile(0.99) as f64 / 1e6,
        )
}
