//! More subscribers of one channel, at as many deliveries a second.

use super::super::engine::{Engine, Wish};
use super::super::traffic::{figures, traffic};
use super::super::{Shape, Sitting};
use crate::load::Pace;

const SUBSCRIBERS: [u32; 5] = [0, 1, 10, 100, 1000];
const DELIVERIES_PER_S: f64 = 20_000.0;
/// Most events a second that one channel gets here.
const EVENTS_PER_S: f64 = 2000.0;

/// Takes it.
pub(in super::super) async fn take(sitting: &mut Sitting) -> anyhow::Result<()> {
    for members in SUBSCRIBERS {
        let shape = Shape {
            name: "growth-subscribers",
            channels: 1,
            members,
            members_publish: false,
            pace: Pace::Rate((DELIVERIES_PER_S / f64::from(members.max(1))).min(EVENTS_PER_S)),
        };
        for engine in sitting.engines(&[Engine::RivermouthKafka]) {
            let name = format!("{}-{members}", shape.name);
            let point = sitting.begin(&name, engine.name());
            let wish = Wish {
                linger_ms: 10,
                ..Wish::users(members)
            };
            let mut running = engine.start(sitting, wish).await?;
            let run = traffic(sitting, &shape, &mut running)?;
            sitting.keep(figures(point, &run))?;
        }
    }
    Ok(())
}
